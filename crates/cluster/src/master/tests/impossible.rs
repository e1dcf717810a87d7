//! What peers ask for and cannot be, in form or in amount. The harness audits the books after each.

use mesos_api::v1::scheduler::call;
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::value::{self, Type};
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::wire::{FromAgent, ToAgent};

fn scalar(name: &str, amount: f64) -> v1::Resource {
    v1::Resource {
        name: name.into(),
        r#type: Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount }),
        ..v1::Resource::default()
    }
}

fn ranges(pairs: &[(u64, u64)]) -> v1::Resource {
    let range = pairs.iter().map(|(begin, end)| value::Range { begin: *begin, end: *end });
    v1::Resource {
        name: "ports".into(),
        r#type: Type::Ranges.into(),
        ranges: Some(value::Ranges { range: range.collect() }),
        ..v1::Resource::default()
    }
}

/// Resources that no offer can hold.
fn impossible() -> Vec<v1::Resource> {
    let reserved = |role: &str| v1::Resource {
        reservations: vec![v1::resource::ReservationInfo {
            r#type: Some(v1::resource::reservation_info::Type::Dynamic.into()),
            role: Some(role.into()),
            ..v1::resource::ReservationInfo::default()
        }],
        ..scalar("cpus", 1.0)
    };
    vec![
        scalar("cpus", -1.0),
        scalar("cpus", f64::NAN),
        scalar("cpus", f64::INFINITY),
        scalar("cpus", f64::MAX),
        scalar("cpus", 1e18),
        scalar("", 1.0),
        scalar("unobtainium", 1.0),
        v1::Resource { scalar: None, ..scalar("cpus", 1.0) },
        v1::Resource { r#type: Type::Text.into(), ..scalar("cpus", 1.0) },
        v1::Resource { r#type: 99, ..scalar("cpus", 1.0) },
        ranges(&[(5, 4)]),
        ranges(&[(31000, 31005), (31003, 31010)]),
        ranges(&[(0, u64::MAX)]),
        ranges(&[(31000, 99999)]),
        v1::Resource { ranges: None, ..ranges(&[]) },
        reserved("r"),
        reserved("*"),
        reserved("a b"),
        v1::Resource { revocable: Some(Default::default()), ..scalar("cpus", 1.0) },
        v1::Resource { shared: Some(Default::default()), ..scalar("cpus", 1.0) },
        v1::Resource {
            allocation_info: Some(v1::resource::AllocationInfo { role: Some("other".into()) }),
            ..scalar("cpus", 1.0)
        },
    ]
}

#[test]
fn a_task_of_impossible_resources_is_an_error_and_costs_nothing() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096;ports:[31000-32000]");
    let framework = world.framework(aware());
    for resource in impossible() {
        world.call(&framework, call::Type::Revive, |_| {});
        let offers = world.offers(&framework);
        assert_eq!(offers.len(), 1, "all is free before {resource:?}");
        let mut bad = task("t", &agent, "mem:64");
        bad.resources.push(resource.clone());
        world.launch(&framework, &offers, vec![bad]);
        let updates = world.updates(&framework);
        let [status] = updates.as_slice() else { panic!("{resource:?}: {updates:?}") };
        assert_eq!(
            (status.state(), status.reason()),
            (TaskState::TaskError, Reason::TaskInvalid),
            "{resource:?}: {status:?}"
        );
        assert!(!status.message().is_empty(), "{resource:?}");
        assert!(world.messages(&agent).iter().all(|it| !matches!(it, ToAgent::RunTask(_))));
    }
}

/// Reservations that make sense are left out: an agent may well have some.
#[test]
fn an_agent_of_impossible_resources_is_sent_away_with_the_reason() {
    let mut world = world();
    let framework = world.framework(aware());
    world.events(&framework);
    let unreadable = impossible().into_iter().filter(|resource| {
        resource.reservations.iter().all(|it| it.role() != "r")
            && resource.revocable.is_none()
            && resource.shared.is_none()
            && resource.allocation_info.is_none()
            && resource.name != "unobtainium"
            && *resource != ranges(&[(31000, 99999)])
            && *resource != ranges(&[(0, u64::MAX)])
            && *resource != scalar("cpus", 1e18)
            && *resource != scalar("cpus", f64::MAX)
    });
    for (number, resource) in unreadable.enumerate() {
        let info = v1::AgentInfo {
            hostname: "host".into(),
            resources: vec![resource.clone()],
            ..v1::AgentInfo::default()
        };
        let pid = format!("slave(1)@10.1.1.{number}:5051").into();
        let agent = Agent { id: "".into(), pid, info };
        world.say(&agent, FromAgent::Register(register_message(&agent.info)));
        let messages = world.messages(&agent);
        let [ToAgent::Shutdown(message)] = messages.as_slice() else {
            panic!("{resource:?}: {messages:?}")
        };
        assert!(message.message().starts_with("The agent's resources are invalid"), "{message:?}");
    }
    assert!(world.offers(&framework).is_empty());
}

#[test]
fn ids_of_offers_that_never_were_are_lost_or_nothing() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    let [offer] = offers.as_slice() else { panic!("{offers:?}") };
    for id in ["", "m0-O", "m0-O99", "m0-O-1", "m0-O18446744073709551616", "m1-O0", "\u{1f980}"] {
        let unknown = v1::Offer { id: id.into(), ..offer.clone() };
        world.decline(&framework, std::slice::from_ref(&unknown), 5.0);
        assert!(world.events(&framework).is_empty(), "{id}");
        world.launch(&framework, &[unknown], vec![task("t", &agent, "cpus:1")]);
        let updates = world.updates(&framework);
        let [status] = updates.as_slice() else { panic!("{id}: {updates:?}") };
        assert_eq!(
            (status.state(), status.reason()),
            (TaskState::TaskDropped, Reason::InvalidOffers),
            "{id}"
        );
    }
    world.launch(&framework, &[], vec![task("t", &agent, "cpus:1")]);
    assert_eq!(world.updates(&framework)[0].state(), TaskState::TaskDropped, "no offer at all");
    // The offer is out all the while.
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:1")]);
    assert!(matches!(world.messages(&agent)[..], [ToAgent::RunTask(_)]));
}

#[test]
fn filters_of_any_number_are_some_time() {
    for secs in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 1e-300, f64::INFINITY, f64::MAX] {
        let mut world = world();
        world.agent("cpus:4;mem:4096");
        let framework = world.framework(aware());
        let offers = world.offers(&framework);
        world.decline(&framework, &offers, secs);
        world.call(&framework, call::Type::Revive, |_| {});
        assert_eq!(world.offers(&framework).len(), 1, "{secs}");
    }
}

#[test]
fn calls_about_what_is_not_there_change_nothing() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(framework_info(&[]));
    world.offers(&framework);
    let nobody = Agent { id: "nobody".into(), ..agent.clone() };
    for agent in [&agent, &nobody] {
        world.call(&framework, call::Type::Shutdown, |call| {
            call.shutdown =
                Some(call::Shutdown { executor_id: "e".into(), agent_id: (&agent.id).into() });
        });
        world.call(&framework, call::Type::Message, |call| {
            call.message = Some(call::Message {
                executor_id: "e".into(),
                agent_id: (&agent.id).into(),
                data: vec![1].into(),
            });
        });
        world.acknowledge(&framework, agent, "t", TaskState::TaskRunning);
        world.call(&framework, call::Type::AcceptInverseOffers, |call| {
            call.accept_inverse_offers = Some(call::AcceptInverseOffers {
                inverse_offer_ids: vec!["m0-O7".into()],
                filters: None,
            });
        });
    }
    assert!(world.events(&framework).is_empty());
    // What an agent may know better goes to it, as with the original.
    let messages = world.messages(&agent);
    assert!(
        matches!(
            messages[..],
            [
                ToAgent::ShutdownExecutor(_),
                ToAgent::FrameworkToExecutor(_),
                ToAgent::AcknowledgeStatus(_)
            ]
        ),
        "{messages:?}"
    );
}
