//! Frameworks and agents come and go: subscribe, failover, teardown; offers, filters.

use std::time::Duration;

use mesos_api::v1::framework_info::capability::Type as Capability;
use mesos_api::v1::scheduler::{call, event};
use mesos_api::v1::{self, TaskState};

use super::harness::*;
use crate::master::{Input, Reply};
use crate::wire::ToAgent;

fn error(world: &mut World, info: v1::FrameworkInfo) -> String {
    let at = world.stream();
    world.try_subscribe(&at, info.clone());
    assert_eq!(world.reply(), Some(Reply::Streaming), "errors of meaning are told on the stream");
    let framework = Framework { id: "".into(), at: at.clone(), info };
    let events = world.events(&framework);
    assert!(world.closed.contains(&at));
    events[0].error.as_ref().expect("an error").message.clone()
}

#[test]
fn subscribe() {
    let mut world = world();
    let first = world.framework(aware());
    let second = world.framework(aware());
    assert_eq!((first.id.as_str(), second.id.as_str()), ("m0-0000", "m0-0001"));
}

#[test]
fn subscribed_on_retry() {
    let mut world = world();
    let first = world.framework(aware());
    let again = world.subscribe(first.at.clone(), aware());
    assert_eq!(first.id, again.id);
}

#[test]
fn framework_subscribe_empty_id() {
    let mut world = world();
    let info = v1::FrameworkInfo { id: Some("".into()), ..aware() };
    assert_eq!(world.framework(info).id.as_str(), "m0-0000");
}

#[test]
fn an_unknown_id_is_taken_as_given() {
    let mut world = world();
    let info = v1::FrameworkInfo { id: Some("mine".into()), ..aware() };
    assert_eq!(world.framework(info).id.as_str(), "mine");
}

#[test]
#[expect(deprecated, reason = "frameworks without MULTI_ROLE have no other way")]
fn reject_framework_with_invalid_role() {
    let mut world = world();
    let role = |role: &str| v1::FrameworkInfo { role: Some(role.into()), ..framework_info(&[]) };
    assert_eq!(
        error(&mut world, role("/a")),
        "'FrameworkInfo.role' is not a valid role: Role '/a' cannot start with a slash"
    );
    assert_eq!(
        error(&mut world, role("a b")),
        "'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid because it \
         contains backspace or whitespace"
    );
    let roles = v1::FrameworkInfo { roles: vec!["a".into()], ..framework_info(&[]) };
    assert_eq!(
        error(&mut world, roles),
        "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    );
}

#[test]
fn reject_framework_with_invalid_failover_timeout() {
    let mut world = world();
    let timeout = |secs| v1::FrameworkInfo { failover_timeout: Some(secs), ..aware() };
    assert_eq!(
        error(&mut world, timeout(1e99)),
        "The framework failover_timeout (1e+99) is invalid"
    );
    world.framework(timeout(-1.0));
}

#[test]
fn calls_are_answered_as_mesos_answers_them() {
    let mut world = world();
    let framework = world.framework(aware());
    let mut call = call_of(call::Type::Revive);
    world.raw_call(Some(framework.at.clone()), call.clone());
    let expected = "Failed to validate scheduler::Call: Expecting 'framework_id' to be present";
    assert_eq!(world.reply(), Some(Reply::BadRequest(expected.into())));
    call.framework_id = Some("nobody".into());
    world.raw_call(Some(framework.at.clone()), call.clone());
    assert_eq!(world.reply(), Some(Reply::BadRequest("Framework cannot be found".into())));
    call.framework_id = Some((&framework.id).into());
    world.raw_call(None, call.clone());
    let expected = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
    assert_eq!(world.reply(), Some(Reply::BadRequest(expected.into())));
    let other = world.stream();
    world.raw_call(Some(other), call.clone());
    assert!(
        matches!(world.reply(), Some(Reply::BadRequest(text)) if text.contains("didn't match"))
    );
    world.raw_call(Some(framework.at.clone()), call.clone());
    assert_eq!(world.reply(), Some(Reply::Accepted));
    world.input(Input::SchedulerGone(framework.at.clone()));
    world.raw_call(Some(framework.at), call);
    assert_eq!(world.reply(), Some(Reply::Forbidden("Framework is not subscribed".into())));
}

fn call_of(kind: call::Type) -> v1::scheduler::Call {
    let mut call = v1::scheduler::Call::default();
    call.set_type(kind);
    call
}

#[test]
fn an_offer_says_what_mesos_says() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096;ports:[31000-32000]");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    let [offer] = offers.as_slice() else { panic!("{offers:?}") };
    assert_eq!(offer.id.value, "m0-O0");
    assert_eq!(offer.agent_id.value, agent.id.as_str());
    assert_eq!(offer.url.as_ref().unwrap().path(), "/slave(1)");
    assert!(offer.allocation_info.is_none(), "the framework has one role");
    assert_eq!(offer.resources.len(), 3);
    let multi = framework_info(&[Capability::MultiRole]);
    world.decline(&framework, &offers, 100.0);
    let multi = world.framework(v1::FrameworkInfo { roles: vec!["web".into()], ..multi });
    let offer = world.offers(&multi).remove(0);
    let role = offer.allocation_info.unwrap().role;
    assert_eq!(role.as_deref(), Some("web"));
    assert!(offer.resources.iter().all(|it| it.allocation_info.as_ref().unwrap().role == role));
}

#[test]
fn decline_keeps_the_agent_away_for_the_time_said() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.decline(&framework, &offers, 10.0);
    world.live(Duration::from_secs(9), &[&agent]);
    assert!(world.offers(&framework).is_empty());
    world.live(Duration::from_secs(2), &[&agent]);
    assert_eq!(world.offers(&framework).len(), 1);
}

/// The allocator divides by shares: a wish is taken and changes nothing.
#[test]
fn a_request_is_taken_and_changes_nothing() {
    let mut world = world();
    world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.decline(&framework, &offers, 1000.0);
    world.call(&framework, call::Type::Request, |call| {
        let request = v1::Request { resources: wire("cpus:1;mem:64"), ..v1::Request::default() };
        call.request = Some(call::Request { requests: vec![request] });
    });
    assert_eq!(world.reply(), Some(Reply::Accepted));
    assert!(world.offers(&framework).is_empty());
}

/// Five seconds without a word, none with a zero.
#[test]
fn what_is_declined_without_filters_is_kept_away_a_little() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.call(&framework, call::Type::Decline, |call| {
        let offer_ids = offers.iter().map(|offer| offer.id.clone()).collect();
        call.decline = Some(call::Decline { offer_ids, filters: None });
    });
    world.live(Duration::from_millis(4_500), &[&agent]);
    assert!(world.offers(&framework).is_empty());
    world.live(Duration::from_secs(1), &[&agent]);
    let offers = world.offers(&framework);
    assert_eq!(offers.len(), 1);
    world.decline(&framework, &offers, 0.0);
    world.live(Duration::from_secs(1), &[&agent]);
    assert_eq!(world.offers(&framework).len(), 1, "at the next run");
}

#[test]
fn revive_forgets_what_was_declined() {
    let mut world = world();
    world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.decline(&framework, &offers, 1000.0);
    assert!(world.offers(&framework).is_empty());
    world.call(&framework, call::Type::Revive, |call| call.revive = None);
    assert_eq!(world.offers(&framework).len(), 1);
}

#[test]
fn suppress_ends_offers_until_revive() {
    let mut world = world();
    world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.call(&framework, call::Type::Suppress, |_| {});
    world.decline(&framework, &offers, 0.0);
    world.advance(Duration::from_secs(3));
    assert!(world.offers(&framework).is_empty());
    world.call(&framework, call::Type::Revive, |_| {});
    assert_eq!(world.offers(&framework).len(), 1);
}

#[test]
fn offer_timeout() {
    let mut config = config();
    config.offer_timeout = Some(Duration::from_secs(30));
    let mut world = World::new(config);
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.live(Duration::from_secs(31), &[&agent]);
    let events = world.events(&framework);
    let rescinded = events.iter().find_map(|event| event.rescind.as_ref()).unwrap();
    assert_eq!(rescinded.offer_id, offers[0].id);
    assert!(events.iter().any(|event| event.offers.is_some()), "offered again");
}

#[test]
fn offer_not_rescinded_once_used_or_declined() {
    let mut config = config();
    config.offer_timeout = Some(Duration::from_secs(30));
    let mut world = World::new(config);
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    let offers = world.offers(&framework);
    world.launch(&framework, &offers, vec![task("t", &agent, "cpus:4;mem:4096")]);
    world.live(Duration::from_secs(60), &[&agent]);
    assert!(!world.kinds(&framework).contains(&event::Type::Rescind));
}

#[test]
fn scheduler_failover() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    let at = world.stream();
    let new = world.subscribe(at, framework.info.clone());
    assert_eq!(new.id, framework.id);
    let events = world.events(&framework);
    assert_eq!(events.last().unwrap().error.as_ref().unwrap().message, "Framework failed over");
    assert!(world.closed.contains(&framework.at));
    assert_eq!(world.offers(&new).len(), 1, "offers are made anew");
    let updated = |message: &ToAgent| matches!(message, ToAgent::UpdateFramework(it) if it.pid() == "@0.0.0.0:0");
    assert!(world.messages(&agent).iter().any(updated));
    assert_eq!(world.master.frameworks[&new.id].tasks.len(), 1);
    // What the old stream does now does not matter.
    world.input(Input::SchedulerGone(framework.at.clone()));
    assert!(world.master.frameworks[&new.id].is_connected());
}

#[test]
fn scheduler_reregister_after_failover_timeout() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.input(Input::SchedulerGone(framework.at.clone()));
    world.live(Duration::from_secs(59), &[&agent]);
    assert!(world.master.frameworks.contains_key(&framework.id));
    world.live(Duration::from_secs(2), &[&agent]);
    assert!(!world.master.frameworks.contains_key(&framework.id));
    let messages = world.messages(&agent);
    assert!(messages.iter().any(|message| matches!(message, ToAgent::ShutdownFramework(_))));
    assert_eq!(error(&mut world, framework.info.clone()), "Framework has been removed");
    assert!(world.master.agents.get(&agent.id).unwrap().used.is_empty());
}

#[test]
fn a_framework_without_failover_timeout_ends_with_its_stream() {
    let mut world = world();
    let framework = world.framework(v1::FrameworkInfo { failover_timeout: None, ..aware() });
    world.input(Input::SchedulerGone(framework.at.clone()));
    world.tick();
    assert!(world.master.frameworks.is_empty());
}

#[test]
fn run_task_and_teardown() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(aware());
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.call(&framework, call::Type::Teardown, |_| {});
    assert_eq!(world.reply(), Some(Reply::Accepted));
    assert!(world.master.frameworks.is_empty());
    assert!(world.closed.contains(&framework.at));
    let snapshot = world.master.snapshot();
    assert_eq!(snapshot.completed_frameworks.len(), 1);
    let completed = &snapshot.completed_frameworks[0].completed_tasks;
    assert_eq!(completed[0].state(), TaskState::TaskKilled);
    let other = world.framework(aware());
    let offers = world.offers(&other);
    let cpus = offers[0].resources.iter().find(|resource| resource.name == "cpus").unwrap();
    assert!((cpus.scalar.unwrap().value - 4.0).abs() < 1e-9, "everything is free again");
}

#[test]
fn change_principal_on_reregistration_fails() {
    let mut world = world();
    let info = v1::FrameworkInfo { principal: Some("a".into()), ..aware() };
    let framework = world.framework(info);
    let other = v1::FrameworkInfo { principal: Some("b".into()), ..framework.info };
    assert_eq!(error(&mut world, other), "Changing framework's principal is not allowed.");
}

#[test]
fn failover_timeout_survives_the_master() {
    let mut world = world();
    let framework = world.framework(v1::FrameworkInfo { failover_timeout: Some(7e5), ..aware() });
    world.fail_over();
    let recovered = &world.master.frameworks[&framework.id];
    assert_eq!(recovered.info.failover_timeout, Some(7e5));
    world.advance(Duration::from_secs(600_000));
    assert!(world.master.frameworks.contains_key(&framework.id));
    world.advance(Duration::from_secs(100_001));
    assert!(!world.master.frameworks.contains_key(&framework.id));
}

#[test]
fn agents_are_registered_once() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let info = v1::AgentInfo { id: None, ..agent.info.clone() };
    let again = world.agent_at(agent.pid.clone(), info.clone());
    assert_eq!(agent.id, again.id, "the answer was lost");
    world.break_link(&agent);
    let new = world.agent_at(agent.pid.clone(), info);
    assert_ne!(agent.id, new.id, "the agent lost its memory");
    assert_eq!(world.master.agents.keys().count(), 1);
}

#[test]
fn ignore_old_agent_registration() {
    let mut world = world();
    let mut message = register_message(&v1::AgentInfo::default());
    message.version = Some("0.28.0".into());
    let agent =
        Agent { id: "".into(), pid: "slave(1)@1.1.1.1:1".into(), info: v1::AgentInfo::default() };
    world.say(&agent, crate::wire::FromAgent::Register(message));
    assert!(world.master.agents.is_empty());
    assert!(world.messages(&agent).is_empty());
}
