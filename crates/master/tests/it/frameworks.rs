//! The life of frameworks and tasks, from the first byte to the last.

use mesos_api::internal;
use mesos_api::v1::scheduler::{Call, call, event};
use mesos_api::v1::{FrameworkInfo, TaskState};

use crate::world::{Agent, World, framework, launch};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_from_its_offer_to_its_acknowledgement() {
    let world = World::start().await;
    let mut agent = Agent::register(&world).await;
    let mut scheduler = world.subscribe(framework()).await;
    let offers = scheduler.offers().await;
    assert_eq!(offers.len(), 1);
    let offer = &offers[0];
    assert_eq!(offer.url.as_ref().unwrap().path.as_deref(), Some("/slave(1)"));
    // Who does not know of several roles is told of none.
    assert_eq!(offer.allocation_info, None);

    scheduler.call(call::Type::Accept, launch(offer, "t-1")).await;
    let run: internal::RunTaskMessage = agent.receive().await;
    assert_eq!(run.task.task_id.value, "t-1");
    assert_eq!(run.pid.as_deref(), Some("@0.0.0.0:0"));
    let id = scheduler.id.clone().unwrap();
    for state in [TaskState::TaskRunning, TaskState::TaskFinished] {
        agent.update(id.clone(), "t-1".into(), state).await;
        let status = scheduler.update().await;
        assert_eq!(status.state(), state);
        let acknowledge = call::Acknowledge {
            agent_id: status.agent_id.unwrap(),
            task_id: status.task_id,
            uuid: status.uuid.unwrap(),
        };
        let call = Call { acknowledge: Some(acknowledge), ..Default::default() };
        scheduler.call(call::Type::Acknowledge, call).await;
        let acknowledged: internal::StatusUpdateAcknowledgementMessage = agent.receive().await;
        assert_eq!(acknowledged.task_id.value, "t-1");
    }
    let tasks = world.get("/tasks").await.body;
    assert!(tasks.contains(r#""state":"TASK_FINISHED""#), "{tasks}");

    scheduler.call(call::Type::Teardown, Call::default()).await;
    let ended: internal::ShutdownFrameworkMessage = agent.receive().await;
    assert_eq!(ended.framework_id, id);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_ends_the_earlier_stream_and_moves_the_calls() {
    let world = World::start().await;
    let info = FrameworkInfo { failover_timeout: Some(600.0), ..framework() };
    let mut first = world.subscribe(info.clone()).await;
    let id = first.id.clone();
    let second = world.subscribe(FrameworkInfo { id: id.clone(), ..info }).await;
    assert_eq!(second.id, id);
    let error = first.event().await;
    assert_eq!(error.r#type(), event::Type::Error);
    assert_eq!(error.error.unwrap().message, "Framework failed over");
    assert!(first.next_event().await.is_none());
    let refused = first.try_call(call::Type::Revive, Call::default()).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("didn't match the stream ID"), "{}", refused.body);
    second.call(call::Type::Revive, Call::default()).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_that_went_away_is_gone_without_failover_timeout() {
    let world = World::start().await;
    let scheduler = world.subscribe(framework()).await;
    let id = scheduler.id.clone().unwrap();
    drop(scheduler);
    let path = format!("/frameworks?framework_id={id}");
    let gone = async {
        loop {
            let body = world.get(&path).await.body;
            if body.starts_with(r#"{"frameworks":[],"completed_frameworks":[{"#) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::WAIT, gone).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_from_before_calls_is_told_that_it_is_not_served() {
    let world = World::start().await;
    let mut driver = Agent::connect(&world).await;
    let message = internal::RegisterFrameworkMessage { framework: framework() };
    driver.send(&message).await;
    let told: internal::FrameworkErrorMessage = driver.receive().await;
    assert!(told.message.contains("mesos.scheduler.Call"), "{}", told.message);
    let frameworks = world.get("/frameworks").await.body;
    assert!(frameworks.starts_with(r#"{"frameworks":[]"#), "{frameworks}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_with_many_tasks_hears_of_each_at_once() {
    const TASKS: usize = 20_000;
    let world = World::start().await;
    let mut scheduler = world.subscribe(framework()).await;
    let tasks = (0..TASKS).map(|number| call::reconcile::Task {
        task_id: format!("t-{number}").as_str().into(),
        agent_id: None,
    });
    let reconcile = Some(call::Reconcile { tasks: tasks.collect() });
    scheduler.call(call::Type::Reconcile, Call { reconcile, ..Call::default() }).await;
    for number in 0..TASKS {
        assert_eq!(scheduler.update().await.task_id.value, format!("t-{number}"));
    }
}
