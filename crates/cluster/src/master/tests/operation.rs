//! Operations on resources: reservations, volumes and their sizes.

use mesos_api::internal::ReregisterSlaveMessage;
use mesos_api::v1::framework_info::capability::Type as Capability;
use mesos_api::v1::offer::{Operation, operation, operation::Type};
use mesos_api::v1::scheduler::call;
use mesos_api::v1::{self, OperationState};

use super::harness::*;
use crate::resources::Resources;
use crate::wire::{FromAgent, ToAgent};

/// Capabilities of agents that are told of reservations and volumes as a whole, as ours are.
const WITHOUT_PROVIDERS: [i32; 6] = [1, 2, 3, 5, 7, 8];

fn agent_with(world: &mut World, capabilities: &[i32], resources: &str) -> Agent {
    let info = v1::AgentInfo {
        hostname: "host".into(),
        resources: wire(resources),
        checkpoint: Some(true),
        ..v1::AgentInfo::default()
    };
    let mut agent = Agent { id: "".into(), pid: "slave(1)@10.9.9.9:5051".into(), info };
    let mut message = register_message(&agent.info);
    message.agent_capabilities = capabilities
        .iter()
        .map(|kind| v1::agent_info::Capability { r#type: Some(*kind) })
        .collect();
    world.say(&agent, FromAgent::Register(message));
    for message in world.messages(&agent) {
        if let ToAgent::Registered(message) = message {
            agent.id = (&message.agent_id).into();
        }
    }
    agent
}

pub(super) fn framework(world: &mut World) -> Framework {
    let info = framework_info(&[
        Capability::PartitionAware,
        Capability::ReservationRefinement,
        Capability::MultiRole,
    ]);
    world.framework(v1::FrameworkInfo { roles: vec!["r".into()], ..info })
}

pub(super) fn reserved(resources: &str) -> Vec<v1::Resource> {
    let mut reserved = wire(resources);
    for resource in &mut reserved {
        resource.reservations = vec![v1::resource::ReservationInfo {
            r#type: Some(v1::resource::reservation_info::Type::Dynamic.into()),
            role: Some("r".into()),
            ..v1::resource::ReservationInfo::default()
        }];
    }
    reserved
}

fn volume(megabytes: u32) -> v1::Resource {
    let mut volume = reserved(&format!("disk:{megabytes}")).remove(0);
    volume.disk = Some(Box::new(v1::resource::DiskInfo {
        persistence: Some(v1::resource::disk_info::Persistence {
            id: "v".into(),
            ..v1::resource::disk_info::Persistence::default()
        }),
        volume: Some(v1::Volume {
            container_path: "data".into(),
            mode: v1::volume::Mode::Rw.into(),
            ..v1::Volume::default()
        }),
        ..v1::resource::DiskInfo::default()
    }));
    volume
}

pub(super) fn reserve(resources: &str) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(Type::Reserve);
    operation.reserve = Some(operation::Reserve {
        resources: reserved(resources),
        ..operation::Reserve::default()
    });
    operation
}

fn unreserve(resources: &str) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(Type::Unreserve);
    operation.unreserve = Some(operation::Unreserve { resources: reserved(resources) });
    operation
}

fn create(megabytes: u32) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(Type::Create);
    operation.create = Some(operation::Create { volumes: vec![volume(megabytes)] });
    operation
}

fn destroy(megabytes: u32) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(Type::Destroy);
    operation.destroy = Some(operation::Destroy { volumes: vec![volume(megabytes)] });
    operation
}

fn grow(from: u32, by: u32) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(Type::GrowVolume);
    let addition = reserved(&format!("disk:{by}")).remove(0);
    operation.grow_volume = Some(operation::GrowVolume { volume: volume(from), addition });
    operation
}

fn shrink(from: u32, by: u32) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(Type::ShrinkVolume);
    let subtract = v1::value::Scalar { value: f64::from(by) };
    operation.shrink_volume = Some(operation::ShrinkVolume { volume: volume(from), subtract });
    operation
}

/// A framework that does operations on all it is offered, of one agent.
struct Bench {
    world: World,
    agent: Agent,
    framework: Framework,
    offers: Vec<v1::Offer>,
}

impl Bench {
    fn new(capabilities: &[i32]) -> Self {
        let mut world = world();
        let agent = agent_with(&mut world, capabilities, "cpus:2;mem:512;disk:1000");
        let framework = framework(&mut world);
        let offers = world.offers(&framework);
        Self { world, agent, framework, offers }
    }

    /// Does operations, takes the next offer, and gives what the agent was told to keep.
    fn apply(&mut self, operations: Vec<Operation>) -> Option<Resources> {
        self.world.accept(&self.framework, &self.offers, operations);
        self.world.call(&self.framework, call::Type::Revive, |_| {});
        self.offers = self.world.offers(&self.framework);
        let told =
            self.world.messages(&self.agent).into_iter().rev().find_map(|message| match message {
                ToAgent::CheckpointResources(message) => Some(message.resources),
                _ => None,
            });
        told.map(|resources| Resources::from_wire(&resources).unwrap())
    }

    fn offered(&self) -> Resources {
        let offered: Vec<v1::Resource> =
            self.offers.iter().flat_map(|offer| offer.resources.clone()).collect();
        Resources::from_wire(&offered).unwrap().unallocated()
    }
}

fn read(parts: &[Vec<v1::Resource>]) -> Resources {
    Resources::from_wire(&parts.concat()).unwrap()
}

#[test]
fn reserve_then_unreserve() {
    let mut bench = Bench::new(&WITHOUT_PROVIDERS);
    let kept = bench.apply(vec![reserve("cpus:1;mem:512")]);
    assert_eq!(kept, Some(read(&[reserved("cpus:1;mem:512")])));
    assert_eq!(bench.offered(), read(&[reserved("cpus:1;mem:512"), wire("cpus:1;disk:1000")]));
    let kept = bench.apply(vec![unreserve("cpus:1;mem:512")]);
    assert_eq!(kept, Some(Resources::new()));
    assert_eq!(bench.offered(), read(&[wire("cpus:2;mem:512;disk:1000")]));
}

#[test]
fn drop_reserve_too_large() {
    let mut bench = Bench::new(&WITHOUT_PROVIDERS);
    assert_eq!(bench.apply(vec![reserve("cpus:3")]), None, "the agent is told nothing");
    assert_eq!(bench.offered(), read(&[wire("cpus:2;mem:512;disk:1000")]));
}

#[test]
fn create_and_destroy_persistent_volumes() {
    let mut bench = Bench::new(&WITHOUT_PROVIDERS);
    let kept = bench.apply(vec![reserve("disk:300"), create(200)]);
    let both = [vec![volume(200)], reserved("disk:100")];
    assert_eq!(kept, Some(read(&both)));
    assert_eq!(
        bench.offered(),
        read(&[both.concat(), wire("cpus:2;mem:512;disk:700")]),
        "in the order of the operations"
    );
    // What a volume is made of is the volume's as long as there is one.
    assert_eq!(bench.apply(vec![unreserve("disk:300")]), None);
    let kept = bench.apply(vec![destroy(200), unreserve("disk:300")]);
    assert_eq!(kept, Some(Resources::new()));
    assert_eq!(bench.offered(), read(&[wire("cpus:2;mem:512;disk:1000")]));
}

#[test]
fn grow_volume() {
    let mut bench = Bench::new(&WITHOUT_PROVIDERS);
    bench.apply(vec![reserve("disk:300"), create(200)]);
    let kept = bench.apply(vec![grow(200, 50)]);
    let after = [vec![volume(250)], reserved("disk:50")];
    assert_eq!(kept, Some(read(&after)));
    assert_eq!(bench.offered(), read(&[after.concat(), wire("cpus:2;mem:512;disk:700")]));
}

#[test]
fn shrink_volume() {
    let mut bench = Bench::new(&WITHOUT_PROVIDERS);
    bench.apply(vec![reserve("disk:300"), create(300)]);
    let kept = bench.apply(vec![shrink(300, 200)]);
    let after = [vec![volume(100)], reserved("disk:200")];
    assert_eq!(kept, Some(read(&after)));
    assert_eq!(bench.offered(), read(&[after.concat(), wire("cpus:2;mem:512;disk:700")]));
    assert_eq!(bench.apply(vec![shrink(100, 100)]), None, "nothing would be left of it");
}

/// Mesos waits for the agent's answer, where the agent gives one.
#[test]
fn a_volume_has_its_new_size_when_an_agent_of_mesos_says_so() {
    let mut bench = Bench::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
    bench.apply(vec![reserve("disk:300"), create(200)]);
    bench.apply(vec![grow(200, 50)]);
    assert_eq!(bench.offered(), read(&[reserved("disk:50"), wire("cpus:2;mem:512;disk:700")]));
}

/// An agent that is told of resources as a whole never reports an operation by its name, whatever
/// else it says it can do.
#[test]
fn an_operation_with_a_name_is_refused_where_nobody_would_report_it() {
    for capabilities in [&[1, 2, 3, 5, 7, 8][..], &[1, 2, 3, 5, 6, 7, 8]] {
        let mut bench = Bench::new(capabilities);
        let named = Operation { id: Some("o".into()), ..reserve("cpus:1") };
        bench.world.accept(&bench.framework, &bench.offers, vec![named]);
        let events = bench.world.events(&bench.framework);
        let status = events.iter().find_map(|event| event.update_operation_status.clone());
        let status = status.expect("an answer").status;
        assert_eq!(status.state(), OperationState::OperationError);
        assert!(status.message().contains("AGENT_OPERATION_FEEDBACK"), "{status:?}");
        let told = bench.world.messages(&bench.agent);
        assert!(!told.iter().any(|message| matches!(message, ToAgent::CheckpointResources(_))));
    }
}

/// What offers and tasks hold already cannot be undone because an agent was away.
#[test]
fn an_agent_that_missed_a_reservation_is_told_when_it_is_back() {
    let mut world = world();
    let mut agent = agent_with(&mut world, &WITHOUT_PROVIDERS, "cpus:2;mem:512");
    agent.info.id = Some((&agent.id).into());
    let framework = framework(&mut world);
    let offers = world.offers(&framework);
    world.accept(&framework, &offers, vec![reserve("cpus:1")]);
    // The message that tells of it is lost with the link.
    world.messages(&agent);
    world.break_link(&agent);
    let message = ReregisterSlaveMessage {
        agent: agent.info.clone(),
        version: Some("1.11.0".into()),
        agent_capabilities: WITHOUT_PROVIDERS
            .map(|kind| v1::agent_info::Capability { r#type: Some(kind) })
            .to_vec(),
        ..ReregisterSlaveMessage::default()
    };
    world.say(&agent, FromAgent::Reregister(message));
    let told = world.messages(&agent);
    let kept = told.iter().find_map(|message| match message {
        ToAgent::CheckpointResources(message) => {
            Some(read(std::slice::from_ref(&message.resources)))
        }
        _ => None,
    });
    assert_eq!(kept, Some(read(&[reserved("cpus:1")])), "{told:?}");
}
