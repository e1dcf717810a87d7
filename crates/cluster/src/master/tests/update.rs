//! What an agent tells of itself while it is registered, and how changes lead to offers.

use std::sync::Arc;
use std::time::Duration;

use mesos_api::internal::{UpdateSlaveMessage, update_slave_message};
use mesos_api::v1;
use mesos_api::v1::framework_info::capability::Type as Capability;
use mesos_api::v1::scheduler::event;

use super::harness::*;
use crate::master::Change;
use crate::resources::Scalar;
use crate::wire::FromAgent;

fn revocable(resources: &str) -> Vec<v1::Resource> {
    let mut revocable = wire(resources);
    for resource in &mut revocable {
        resource.revocable = Some(v1::resource::RevocableInfo {});
    }
    revocable
}

fn oversubscribe(world: &mut World, agent: &Agent, resources: Vec<v1::Resource>) {
    let message = UpdateSlaveMessage {
        agent_id: (&agent.id).into(),
        update_oversubscribed_resources: Some(true),
        oversubscribed_resources: resources,
        ..UpdateSlaveMessage::default()
    };
    world.say(agent, FromAgent::UpdateAgent(message));
}

fn refusals(world: &World) -> Vec<&str> {
    let refusals = world.changes.iter().filter_map(|change| match change {
        Change::AgentRefused { refusal, .. } => Some(refusal.as_str()),
        _ => None,
    });
    refusals.collect()
}

#[test]
fn total_with_oversubscribed_resources_is_offered_to_who_can_lose_it() {
    let mut world = world();
    let agent = world.agent("cpus:2;mem:1024");
    let knows = [Capability::PartitionAware, Capability::RevocableResources];
    let framework = world.framework(framework_info(&knows));
    assert_eq!(world.offers(&framework).len(), 1);
    oversubscribe(&mut world, &agent, revocable("cpus:3"));
    let offers = world.offers(&framework);
    let more: f64 = offers[0].resources.iter().map(|it| it.scalar.as_ref().unwrap().value).sum();
    assert_eq!((offers.len(), more), (1, 3.0), "the rest of the agent is still offered");
    assert!(offers[0].resources[0].revocable.is_some());
    // What is no longer there is taken back.
    oversubscribe(&mut world, &agent, Vec::new());
    assert_eq!(world.kinds(&framework), [event::Type::Rescind]);
}

#[test]
fn what_is_said_of_an_agent_is_kept_until_it_changes() {
    let mut world = world();
    let agent = world.agent("cpus:2;mem:1024");
    let facts = |world: &World| world.master.snapshot().agents[0].facts.clone();
    let first = facts(&world);
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    assert!(Arc::ptr_eq(&facts(&world), &first), "tasks and offers change nothing of this");
    oversubscribe(&mut world, &agent, revocable("cpus:3"));
    let second = facts(&world);
    assert_eq!(second.total.revocable().amount("cpus"), Some(Scalar::from_f64(3.0)));
    world.break_link(&agent);
    world.reregister(&agent, Vec::new());
    assert!(facts(&world).reregistered > second.reregistered);
}

#[test]
fn resource_providers_are_refused_by_name() {
    let mut world = world();
    let agent = world.agent("cpus:2;mem:1024");
    let framework = world.framework(aware());
    assert_eq!(world.offers(&framework).len(), 1);
    let provider = update_slave_message::ResourceProvider {
        info: Some(v1::ResourceProviderInfo {
            r#type: "org.apache.mesos.rp.local.storage".into(),
            name: "lvm".into(),
            ..v1::ResourceProviderInfo::default()
        }),
        total_resources: wire("disk:4096"),
        ..update_slave_message::ResourceProvider::default()
    };
    let message = UpdateSlaveMessage {
        agent_id: (&agent.id).into(),
        resource_providers: Some(update_slave_message::ResourceProviders {
            providers: vec![provider],
        }),
        resource_version_uuid: Some(v1::Uuid { value: vec![1; 16].into() }),
        ..UpdateSlaveMessage::default()
    };
    world.say(&agent, FromAgent::UpdateAgent(message));
    assert_eq!(world.offers(&framework), []);
    let told = refusals(&world);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("org.apache.mesos.rp.local.storage.lvm"), "{told:?}");
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let mut world = world();
    let agent = world.agent("cpus:2;mem:1024");
    let mut nameless = revocable("cpus:1");
    nameless[0].name.clear();
    oversubscribe(&mut world, &agent, nameless);
    let told = refusals(&world);
    assert!(told[0].contains("Empty resource name"), "{told:?}");
}

#[test]
fn changes_within_a_pause_are_offered_together() {
    let pause = Duration::from_millis(20);
    let mut world = World::new(crate::master::Config { allocation_pause: pause, ..config() });
    let framework = world.framework(aware());
    world.agent("cpus:2;mem:1024");
    assert_eq!(world.offers(&framework).len(), 1, "the first change is not held up");
    world.agent("cpus:2;mem:1024");
    world.agent("cpus:2;mem:1024");
    assert_eq!(world.offers(&framework).len(), 0);
    assert_eq!(world.master.next_wake(), Some(world.now + pause));
    world.advance(pause);
    let offers = world.events(&framework).remove(0).offers.unwrap().offers;
    assert_eq!(offers.len(), 2);
}

#[test]
fn tasks_nobody_watches_are_not_told_of() {
    let mut world = world();
    let agent = world.agent("cpus:2;mem:1024");
    let framework = world.framework(aware());
    world.master.watch_tasks(false);
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    let of_tasks =
        |change: &&Change| matches!(change, Change::TaskAdded(_) | Change::TaskUpdated { .. });
    assert_eq!(world.changes.iter().filter(of_tasks).count(), 0);
}
