//! What endpoints tell of a running cluster: metrics, events, files, logs.

use std::collections::BTreeSet;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use mesos_api::internal;
use mesos_api::json::{self, Value};
use mesos_api::v1::master::{Event, event};
use mesos_api::v1::scheduler::{Call, call};
use mesos_api::v1::{FrameworkInfo, Label, Labels, TaskState, TaskStatus, framework_info};

use crate::golden::golden;
use crate::world::{Agent, Events, Framework, World, framework, launch};

fn names(metrics: &str) -> BTreeSet<String> {
    let Value::Object(members) = json::parse(metrics.as_bytes()).unwrap() else {
        panic!("{metrics}")
    };
    members.iter().map(|(name, _)| name.to_string()).collect()
}

/// A cluster with an agent, a framework and a task that runs.
pub(crate) async fn populate(world: &World) -> (Agent, Framework<'_>) {
    let mut agent = Agent::register(world).await;
    let label = Label { key: "a".to_owned(), value: Some("b".to_owned()) };
    let gpus = framework_info::capability::Type::GpuResources;
    let info = FrameworkInfo {
        labels: Some(Labels { labels: vec![label] }),
        capabilities: vec![framework_info::Capability { r#type: Some(gpus.into()) }],
        ..framework()
    };
    let mut scheduler = world.subscribe(info).await;
    let offers = scheduler.offers().await;
    let mut accept = launch(&offers[0], "t-1");
    let task =
        &mut accept.accept.as_mut().unwrap().operations[0].launch.as_mut().unwrap().task_infos[0];
    task.labels =
        Some(Labels { labels: vec![Label { key: "k".to_owned(), value: Some("v".to_owned()) }] });
    scheduler.call(call::Type::Accept, accept).await;
    let run: internal::RunTaskMessage = agent.receive().await;
    let id = scheduler.id.clone().unwrap();
    agent.update(id, run.task.task_id, TaskState::TaskRunning).await;
    assert_eq!(scheduler.update().await.state(), TaskState::TaskRunning);
    (agent, scheduler)
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_to_tools_and_to_prometheus() {
    let world = World::start().await;
    let _members = populate(&world).await;
    let text = world.get("/metrics/snapshot").await.body;
    let ours = names(&text);
    for wanted in [
        "master/cpus_total",
        "master/mem_used",
        "master/slaves_active",
        "master/frameworks_connected",
        "master/tasks_running",
        "master/messages_register_slave",
        "master/elected",
        "master/uptime_secs",
        "system/load_1min",
    ] {
        assert!(ours.contains(wanted), "{wanted} is missing in {text}");
    }
    assert!(text.contains(r#""master/tasks_running":1.0"#), "{text}");
    let text = world.get("/metrics").await.body;
    assert!(text.contains("\nmesos_master_cpus_total 4\n"), "{text}");
    assert!(text.contains("mesos_master_framework_subscribed{framework=\"test\""), "{text}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_that_listen_are_told_of_every_change() {
    let world = World::start().await;
    let request = Request::post("/api/v1")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(br#"{"type":"SUBSCRIBE"}"#)))
        .unwrap();
    let response = world.send(request).await;
    assert!(!response.headers().contains_key("mesos-stream-id"));
    let mut events = Events::new(response);
    let mut kinds = Vec::new();
    let members = populate(&world).await;
    while kinds.len() < 6 {
        let event: Event = events.next().await.expect("the stream goes on");
        kinds.push(event.r#type());
    }
    use event::Type;
    assert_eq!(kinds[..2], [Type::Subscribed, Type::Heartbeat]);
    assert_eq!(
        kinds[2..],
        [Type::AgentAdded, Type::FrameworkAdded, Type::TaskAdded, Type::TaskUpdated]
    );
    drop(members);
    world.stop().await;
}

/// One more than may listen ends the stream of who has listened longest.
#[tokio::test(flavor = "multi_thread")]
async fn one_operator_too_many_ends_the_first_ones_stream() {
    let limit = "--max_operator_event_stream_subscribers=2";
    let world = World::start_with(&["--registry=in_memory", limit]).await;
    let mut listening = Vec::new();
    for _ in 0..3 {
        let request = Request::post("/api/v1")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(br#"{"type":"SUBSCRIBE"}"#)))
            .unwrap();
        let mut events = Events::new(world.send(request).await);
        let first: Event = events.next().await.expect("the stream goes on");
        assert_eq!(first.r#type(), event::Type::Subscribed);
        listening.push(events);
    }
    while let Some(event) = listening[0].next::<Event>().await {
        assert_eq!(event.r#type(), event::Type::Heartbeat);
    }
    let _agent = Agent::register(&world).await;
    for events in &mut listening[1..] {
        let heard = loop {
            let event: Event = events.next().await.expect("the others go on");
            if event.r#type() != event::Type::Heartbeat {
                break event.r#type();
            }
        };
        assert_eq!(heard, event::Type::AgentAdded);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_drained_and_gone_by_an_operators_call() {
    let world = World::start().await;
    let (mut agent, mut scheduler) = populate(&world).await;
    let id = agent.id.clone().unwrap();
    let drain = |grace: &str| {
        format!(
            r#"{{"type":"DRAIN_AGENT","drain_agent":{{"agent_id":{{"value":"{id}"}},"max_grace_period":{{{grace}}}}}}}"#
        )
    };
    // Mesos takes this for no grace at all.
    let answer = world.operate(&drain(r#""nanoseconds":5000000000"#)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("has 'seconds' and 'nanos'"), "{}", answer.body);
    let answer = world.operate(&drain(r#""seconds":5"#)).await;
    assert_eq!((answer.status, &*answer.body), (200, ""));
    let drained: internal::DrainSlaveMessage = agent.receive().await;
    assert_eq!(drained.config.max_grace_period.unwrap().nanoseconds, 5_000_000_000);
    let agents = world.operate(r#"{"type":"GET_AGENTS"}"#).await.body;
    assert!(agents.contains(r#""drain_info":{"state":"DRAINING""#), "{agents}");
    let gone = format!(
        r#"{{"type":"MARK_AGENT_GONE","mark_agent_gone":{{"agent_id":{{"value":"{id}"}}}}}}"#
    );
    assert_eq!(world.operate(&gone).await.status, 200);
    // Who does not know of partitions is told LOST.
    assert_eq!(scheduler.update().await.state(), TaskState::TaskLost);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_metrics_may_say_for_how_long_it_would_wait() {
    let world = World::start().await;
    assert_eq!(world.get("/metrics/snapshot?timeout=5secs").await.status, 200);
    let answer = world.get("/metrics/snapshot?timeout=soon").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("Invalid timeout 'soon': "), "{}", answer.body);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_there_are_no_offers_is_explained() {
    let world = World::start().await;
    let scheduler = world.subscribe(framework()).await;
    let id = scheduler.id.clone().unwrap();
    let text = world.get(&format!("/explain?framework_id={id}")).await.body;
    assert!(text.contains("No agent is registered."), "{text}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_task_did_not_start_is_told_after_its_framework_has_heard_it() {
    let world = World::start().await;
    let mut agent = Agent::register(&world).await;
    let mut scheduler = world.subscribe(framework()).await;
    let offer = scheduler.offers().await.remove(0);
    scheduler.call(call::Type::Accept, launch(&offer, "t")).await;
    let run: internal::RunTaskMessage = agent.receive().await;
    let failed = TaskStatus {
        task_id: run.task.task_id,
        state: TaskState::TaskFailed.into(),
        message: Some("there is no such image".to_owned()),
        ..Default::default()
    };
    agent.tell(scheduler.id.clone().unwrap(), failed).await;
    let told = scheduler.update().await;
    let heard = call::Acknowledge {
        agent_id: told.agent_id.unwrap(),
        task_id: told.task_id,
        uuid: told.uuid.unwrap(),
    };
    let heard = Call { acknowledge: Some(heard), ..Call::default() };
    scheduler.call(call::Type::Acknowledge, heard).await;
    let _: internal::StatusUpdateAcknowledgementMessage = agent.receive().await;
    for (path, told) in [
        ("/explain", r#""state":"TASK_FAILED","why":"TASK_FAILED: there is no such image""#),
        ("/tasks", r#""timestamp":1.0,"message":"there is no such image""#),
    ] {
        let text = world.get(path).await.body;
        assert!(text.contains(told), "{path}: {text}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_that_others_keep_is_shown_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("master.log");
    std::fs::write(&log, "first\nsecond\n").unwrap();
    let flag = format!("--external_log_file={}", log.display());
    let world = World::start_with(&["--registry=in_memory", &flag]).await;
    for (path, expected) in [
        ("/files/read?path=/master/log", r#"{"data":"","offset":13}"#),
        ("/files/read?path=/master/log&offset=6&length=3", r#"{"data":"sec","offset":6}"#),
        ("/files/read?path=/master/log&offset=99", r#"{"data":"","offset":99}"#),
        ("/files/download?path=/master/log", "first\nsecond\n"),
    ] {
        assert_eq!(world.get(path).await.body, expected, "{path}");
    }
    let listed = world.get("/files/browse?path=/master").await.body;
    assert!(listed.contains(r#""path":"/master/log","size":13"#), "{listed}");
    let attached = world.get("/files/debug").await.body;
    assert!(attached.contains(r#"{"/master/log":"#), "{attached}");
    for (path, status) in [
        ("/files/read?path=/etc/passwd", 404),
        ("/files/read?path=/master/log/../../etc/passwd", 404),
        ("/files/read?path=/master/log&offset=-5", 400),
        ("/files/read?path=/master/log&length=x", 400),
        ("/files/read", 400),
    ] {
        assert_eq!(world.get(path).await.status, status, "{path}");
    }
    let read = r#"{"type":"READ_FILE","read_file":{"path":"/master/log","offset":6,"length":6}}"#;
    let answer = world.operate(read).await.body;
    assert!(answer.contains(r#""size":13,"data":"c2Vjb25k""#), "{answer}");
    let list = r#"{"type":"LIST_FILES","list_files":{"path":"/master/log"}}"#;
    let answer = world.operate(list).await.body;
    assert!(answer.contains(r#""file_infos":[{"path":"/master/log""#), "{answer}");
    std::fs::remove_file(&log).unwrap();
    assert_eq!(world.get("/files/read?path=/master/log").await.status, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_each_framework_does_and_how_long_things_take() {
    let dir = tempfile::tempdir().unwrap();
    let work_dir = format!("--work_dir={}", dir.path().display());
    let world = World::start_with(&[&work_dir]).await;
    let (_agent, scheduler) = populate(&world).await;
    let text = world.get("/metrics/snapshot").await.body;
    let (ours, theirs) = (names(&text), String::from_utf8(golden("metrics.txt")).unwrap());
    let missing: Vec<&str> = theirs.lines().filter(|name| !ours.contains(*name)).collect();
    assert!(missing.is_empty(), "the original tells {missing:?} too");
    let prefix = format!("master/frameworks/test/{}", scheduler.id.clone().unwrap());
    for (name, value) in [
        ("calls/accept", "1.0"),
        ("events/offers", "1.0"),
        ("events/update", "1.0"),
        ("offers/sent", "1.0"),
        ("offers/accepted", "1.0"),
        ("offers/declined", "0.0"),
        ("operations/launch", "1.0"),
        ("tasks/active/task_running", "1.0"),
    ] {
        let wanted = format!(r#""{prefix}/{name}":{value}"#);
        assert!(text.contains(&wanted), "{wanted} is missing in {text}");
    }
    for timer in ["allocator/mesos/allocation_run_ms", "registrar/state_store_ms"] {
        assert!(text.contains(&format!(r#""{timer}/p99":"#)), "{timer} is missing in {text}");
    }
    assert!(text.contains(r#""registrar/state_fetch_ms/count":1.0"#), "{text}");
    world.stop().await;
}
