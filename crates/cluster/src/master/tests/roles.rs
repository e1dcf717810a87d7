//! Frameworks of several roles, and what they suppress.

use std::time::Duration;

use mesos_api::v1::framework_info::capability::Type as Capability;
use mesos_api::v1::scheduler::call;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::master::{Input, Reply};

fn of_roles(roles: &[&str]) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..framework_info(&[Capability::MultiRole, Capability::PartitionAware])
    }
}

fn role_of(offer: &v1::Offer) -> &str {
    offer.allocation_info.as_ref().expect("a role").role()
}

#[test]
fn multi_role_framework_receives_offers() {
    let mut world = world();
    world.agent("cpus:2;mem:512");
    world.agent("cpus:2;mem:512");
    let framework = world.framework(of_roles(&["a", "b"]));
    let offers = world.offers(&framework);
    let mut roles: Vec<_> = offers.iter().map(role_of).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["a", "b"], "an agent each: the shares are equal");
    for offer in &offers {
        let marked = |resource: &v1::Resource| {
            resource.allocation_info.as_ref().is_some_and(|info| info.role() == role_of(offer))
        };
        assert!(offer.resources.iter().all(marked), "{offer:?}");
    }
}

#[test]
fn launch_different_role_lost() {
    let mut world = world();
    let agent = world.agent("cpus:2;mem:512");
    world.agent("cpus:2;mem:512");
    let framework = world.framework(of_roles(&["a", "b"]));
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1;mem:64")]);
    let status = world.updates(&framework).remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskDropped, Reason::InvalidOffers));
    assert!(status.message().contains("must be allocated to the same role"), "{status:?}");
}

#[test]
fn multi_role_scheduler_unsubscribe_from_role() {
    let mut world = world();
    let agent = world.agent("cpus:2;mem:512");
    let framework = world.framework(of_roles(&["a"]));
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    let at = world.stream();
    let info = v1::FrameworkInfo { roles: vec!["b".into()], ..framework.info };
    let framework = world.subscribe(at, info);
    let offers = world.offers(&framework);
    assert_eq!(offers.iter().map(role_of).collect::<Vec<_>>(), ["b"]);
    let roles = world.master.snapshot().roles();
    let held = &roles["a"].allocated;
    assert_eq!(held.amount("cpus").unwrap().as_milli(), 1000, "its task goes on in the old role");
    world.update(&agent, &framework, "t", TaskState::TaskFinished);
    world.acknowledge(&framework, &agent, "t", TaskState::TaskFinished);
    assert!(!world.master.snapshot().roles().contains_key("a"));
}

#[test]
fn no_offers_with_all_roles_suppressed() {
    let mut world = world();
    world.agent("cpus:2;mem:512");
    let at = world.stream();
    let mut call = v1::scheduler::Call::default();
    call.set_type(call::Type::Subscribe);
    call.subscribe = Some(call::Subscribe {
        framework_info: of_roles(&["a", "b"]),
        suppressed_roles: vec!["a".into(), "b".into()],
        ..call::Subscribe::default()
    });
    world.raw_call(Some(at.clone()), call);
    let mut framework = Framework { id: "".into(), at, info: of_roles(&["a", "b"]) };
    framework.id = (&world.events(&framework)[0].subscribed.clone().unwrap().framework_id).into();
    world.advance(Duration::from_secs(3));
    assert!(world.offers(&framework).is_empty());
    world.call(&framework, call::Type::Revive, |call| {
        call.revive = Some(call::Revive { roles: vec!["b".into()] });
    });
    let offers = world.offers(&framework);
    assert_eq!(offers.iter().map(role_of).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn no_offers_on_reregistration_with_all_roles_suppressed() {
    let mut world = world();
    world.agent("cpus:2;mem:512");
    let framework = world.framework(of_roles(&["a"]));
    world.input(Input::SchedulerGone(framework.at.clone()));
    let at = world.stream();
    let mut call =
        v1::scheduler::Call { framework_id: framework.info.id.clone(), ..Default::default() };
    call.set_type(call::Type::Subscribe);
    call.subscribe = Some(call::Subscribe {
        framework_info: framework.info.clone(),
        suppressed_roles: vec!["a".into()],
        ..call::Subscribe::default()
    });
    world.raw_call(Some(at.clone()), call);
    let framework = Framework { at, ..framework };
    world.advance(Duration::from_secs(3));
    assert!(world.offers(&framework).is_empty());
}

#[test]
fn a_role_that_is_not_subscribed_cannot_be_revived() {
    let mut world = world();
    let framework = world.framework(of_roles(&["a"]));
    world.call(&framework, call::Type::Revive, |call| {
        call.revive = Some(call::Revive { roles: vec!["b".into()] });
    });
    let Some(Reply::BadRequest(text)) = world.reply() else { panic!("it was accepted") };
    assert!(text.contains("'b'"), "{text}");
}
