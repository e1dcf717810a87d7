//! Every key of what the original told of a cluster, and the kind of its value, against what this
//! master tells of a cluster that has the same in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mesos_api::internal;
use mesos_api::json::{self, Value};
use mesos_api::v1::scheduler::{Call, call};
use mesos_api::v1::task_status::{Reason, Source};
use mesos_api::v1::{self, FrameworkInfo, Label, Labels, TaskState, framework_info};

use crate::world::{Agent, Framework, World, framework, launch, scalar};

/// An answer that the original gave.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    std::fs::read(path).unwrap()
}

/// All paths of keys, and what kinds of values stand there; what stands in arrays is one.
fn keys(value: &Value<'_>, path: &str, to: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = format!("{path}.{name}");
                to.entry(path.clone()).or_default().insert(kind(value));
                keys(value, &path, to);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| keys(element, path, to)),
        _ => {}
    }
}

/// Clients tell whole numbers from others.
fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Signed(_) | Value::Unsigned(_) => "integer",
        Value::Float(_) => "float",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Keys that hold what a master of ours has not: the flags of Mesos' own parts, the commit that it
/// was built from, and where a driver from before the HTTP API listens.
const ELSEWHERE: &[&str] = &[".flags.", ".git_", ".version_info.git_", ".frameworks.pid"];

fn same_keys(name: &str, ours: &str) {
    let read = |text: &[u8]| {
        let mut found = BTreeMap::new();
        keys(&json::parse(text).unwrap(), "", &mut found);
        found
    };
    let (theirs, ours) = (read(&golden(name)), read(ours.as_bytes()));
    let differ: Vec<String> = theirs
        .iter()
        .filter(|(key, _)| !ELSEWHERE.iter().any(|elsewhere| key.contains(elsewhere)))
        .filter(|(key, kinds)| ours.get(*key) != Some(kinds))
        .map(|(key, kinds)| format!("{key}: {kinds:?}, not {:?}", ours.get(key)))
        .collect();
    assert!(differ.is_empty(), "{name}: {differ:#?}");
}

fn labels(key: &str, value: &str) -> Option<Labels> {
    let label = Label { key: key.to_owned(), value: Some(value.to_owned()) };
    Some(Labels { labels: vec![label] })
}

async fn subscribe(world: &World) -> Framework<'_> {
    let gpus = framework_info::capability::Type::GpuResources;
    let info = FrameworkInfo {
        hostname: Some("vm".to_owned()),
        webui_url: Some("http://x".to_owned()),
        failover_timeout: Some(100.0),
        checkpoint: Some(true),
        labels: labels("a", "b"),
        capabilities: vec![framework_info::Capability { r#type: Some(gpus.into()) }],
        ..framework()
    };
    world.subscribe(info).await
}

/// Has a task with an executor of its own come to a state, with all that an agent says of it.
async fn run(scheduler: &mut Framework<'_>, agent: &mut Agent, state: TaskState) {
    let offers = scheduler.offers().await;
    let mut accept = launch(&offers[0], "t-1");
    let task =
        &mut accept.accept.as_mut().unwrap().operations[0].launch.as_mut().unwrap().task_infos[0];
    task.labels = labels("k", "v");
    task.command = None;
    let mut container = v1::ContainerInfo {
        docker: Some(v1::container_info::DockerInfo {
            image: "x:1".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    container.set_type(v1::container_info::Type::Docker);
    let mut executor = v1::ExecutorInfo {
        executor_id: "ex".into(),
        name: Some("pyexec".to_owned()),
        framework_id: scheduler.id.clone(),
        command: Some(v1::CommandInfo {
            shell: Some(false),
            value: Some("/usr/bin/python3".to_owned()),
            arguments: vec!["executor.py".to_owned()],
            ..Default::default()
        }),
        container: Some(Box::new(container)),
        resources: vec![scalar("cpus", 0.1), scalar("mem", 32.0)],
        ..Default::default()
    };
    executor.set_type(v1::executor_info::Type::Custom);
    task.executor = Some(Box::new(executor));
    scheduler.call(call::Type::Accept, accept).await;
    let run: internal::RunTaskMessage = agent.receive().await;
    let address = v1::network_info::IpAddress {
        protocol: Some(v1::network_info::Protocol::IPv4.into()),
        ip_address: Some("127.0.0.1".to_owned()),
    };
    let network = v1::NetworkInfo { ip_addresses: vec![address], ..Default::default() };
    let mut status = v1::TaskStatus {
        task_id: run.task.task_id,
        message: Some("why".to_owned()),
        executor_id: Some("ex".into()),
        container_status: Some(Box::new(v1::ContainerStatus {
            container_id: Some("c".into()),
            network_infos: vec![network],
            ..Default::default()
        })),
        ..Default::default()
    };
    status.set_state(state);
    status.set_source(Source::Executor);
    status.set_reason(Reason::ContainerLaunchFailed);
    agent.tell(scheduler.id.clone().unwrap(), status).await;
    let told = scheduler.update().await;
    assert_eq!(told.state(), state);
    let acknowledge = call::Acknowledge {
        agent_id: agent.id.clone().unwrap(),
        task_id: told.task_id,
        uuid: told.uuid.unwrap_or_default(),
    };
    let call = Call { acknowledge: Some(acknowledge), ..Default::default() };
    scheduler.call(call::Type::Acknowledge, call).await;
    agent.receive::<internal::StatusUpdateAcknowledgementMessage>().await;
}

/// What the original had: an agent, a framework that is over and whose task failed, and one with
/// an executor and a task that runs.
async fn cluster(world: &World) -> (Agent, Framework<'_>) {
    let mut agent = Agent::connect(world).await;
    let mut ports = v1::Resource {
        name: "ports".to_owned(),
        ranges: Some(v1::value::Ranges {
            range: vec![v1::value::Range { begin: 31000, end: 32000 }],
        }),
        ..Default::default()
    };
    ports.set_type(v1::value::Type::Ranges);
    agent.info.resources.push(ports);
    agent.ask_to_register(&[]).await;
    let registered: internal::SlaveRegisteredMessage = agent.receive().await;
    agent.id = Some(registered.agent_id);
    let mut over = subscribe(world).await;
    run(&mut over, &mut agent, TaskState::TaskFailed).await;
    over.call(call::Type::Teardown, Call::default()).await;
    agent.receive::<internal::ShutdownFrameworkMessage>().await;
    let mut scheduler = subscribe(world).await;
    run(&mut scheduler, &mut agent, TaskState::TaskRunning).await;
    (agent, scheduler)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_endpoints_have_the_keys_that_tools_read() {
    let world = World::start().await;
    let _members = cluster(&world).await;
    for (path, name) in [
        ("/state", "run_state.json"),
        ("/master/slaves", "run_slaves.json"),
        ("/frameworks", "run_frameworks.json"),
        ("/roles", "run_roles.json"),
        ("/state-summary", "run_state-summary.json"),
        ("/tasks", "run_tasks.json"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        same_keys(name, &answer.body);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_api_has_the_keys_of_the_original() {
    let world = World::start().await;
    let _members = cluster(&world).await;
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")).unwrap()
    {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(call) = name.strip_prefix("op_master_").and_then(|n| n.strip_suffix(".json"))
        else {
            continue;
        };
        let answer = world.operate(&format!(r#"{{"type":"{call}"}}"#)).await;
        assert_eq!(answer.status, 200, "{call}: {}", answer.body);
        same_keys(&name, &answer.body);
        seen += 1;
    }
    assert!(seen > 14, "{seen} captured answers");
    world.stop().await;
}
