//! What operators do to a cluster: reservations and volumes, quotas, weights, maintenance, draining.

use mesos_api::internal::{
    self, ApplyOperationMessage, CheckpointResourcesMessage, DrainSlaveMessage, ShutdownMessage,
    UpdateOperationStatusMessage,
};
use mesos_api::v1::agent_info::capability::Type as Capability;
use mesos_api::v1::scheduler::{Call, call, event};
use mesos_api::v1::{self, FrameworkInfo, OperationState, TaskState, framework_info};

use crate::world::{Agent, Framework, WAIT, World, framework, launch};

/// A framework of the role `r` that is told all there is to know of resources.
fn of_role() -> FrameworkInfo {
    use framework_info::capability::Type;
    let knows = [Type::MultiRole, Type::ReservationRefinement];
    FrameworkInfo {
        roles: vec!["r".to_owned()],
        capabilities: knows
            .map(|kind| framework_info::Capability { r#type: Some(kind.into()) })
            .to_vec(),
        ..framework()
    }
}

fn amount(resources: &[v1::Resource], name: &str) -> f64 {
    let of_name = resources.iter().filter(|resource| resource.name == name);
    of_name.filter_map(|resource| Some(resource.scalar.as_ref()?.value)).sum()
}

/// Calls and expects this status.
async fn operate(world: &World, call: &str, status: u16) -> String {
    let answer = world.operate(call).await;
    assert_eq!(answer.status, status, "{call}: {}", answer.body);
    answer.body
}

/// Reads an endpoint until it says something.
async fn until_read(world: &World, path: &str, wanted: &str) {
    let read = async {
        loop {
            let body = world.get(path).await.body;
            if body.contains(wanted) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let read = tokio::time::timeout(WAIT, read).await;
    assert!(read.is_ok(), "{path} never says {wanted}: {}", world.get(path).await.body);
}

/// Launches `t-1` and has it run.
async fn run_task(agent: &mut Agent, scheduler: &mut Framework<'_>) {
    let offers = scheduler.offers().await;
    scheduler.call(call::Type::Accept, launch(&offers[0], "t-1")).await;
    let run: internal::RunTaskMessage = agent.receive().await;
    let id = scheduler.id.clone().unwrap();
    agent.update(id, run.task.task_id, TaskState::TaskRunning).await;
    assert_eq!(scheduler.update().await.state(), TaskState::TaskRunning);
}

const RESERVED_CPUS: &str = r#"{"name":"cpus","type":"SCALAR","scalar":{"value":2},
    "reservations":[{"type":"DYNAMIC","role":"r","principal":"p"}]}"#;
const RESERVED_DISK: &str = r#"{"name":"disk","type":"SCALAR","scalar":{"value":100},
    "reservations":[{"type":"DYNAMIC","role":"r","principal":"p"}]}"#;

fn volume(megabytes: u32) -> String {
    format!(
        r#"{{"name":"disk","type":"SCALAR","scalar":{{"value":{megabytes}}},
        "reservations":[{{"type":"DYNAMIC","role":"r","principal":"p"}}],
        "disk":{{"persistence":{{"id":"v","principal":"p"}},
                 "volume":{{"container_path":"data","mode":"RW"}}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_reserve_create_destroy_and_unreserve() {
    let world = World::start().await;
    let mut agent = Agent::register(&world).await;
    let id = agent.id.clone().unwrap();
    let reserve = |kind: &str, field: &str, resources: &str| {
        format!(
            r#"{{"type":"{kind}","{field}":{{"agent_id":{{"value":"{id}"}},"resources":[{resources}]}}}}"#
        )
    };
    let volumes = |kind: &str, field: &str| {
        let volume = volume(60);
        format!(
            r#"{{"type":"{kind}","{field}":{{"agent_id":{{"value":"{id}"}},"volumes":[{volume}]}}}}"#
        )
    };
    let both = format!("{RESERVED_CPUS},{RESERVED_DISK}");
    operate(&world, &reserve("RESERVE_RESOURCES", "reserve_resources", &both), 202).await;
    let told: CheckpointResourcesMessage = agent.receive().await;
    assert_eq!((amount(&told.resources, "cpus"), amount(&told.resources, "disk")), (2.0, 100.0));
    let slaves = world.get("/slaves").await.body;
    assert!(slaves.contains(r#""reserved_resources":{"r":{"disk":100.0,"mem":0.0"#), "{slaves}");

    operate(&world, &volumes("CREATE_VOLUMES", "create_volumes"), 202).await;
    let told: CheckpointResourcesMessage = agent.receive().await;
    let made = told.resources.iter().find(|resource| resource.disk.is_some()).unwrap();
    let disk = made.disk.as_ref().unwrap();
    assert_eq!(disk.persistence.as_ref().unwrap().id, "v");
    assert_eq!(disk.volume.as_ref().unwrap().container_path, "data");

    // Only who belongs to the role is offered it, and an offer is taken back for the operator.
    let mut of_others = world.subscribe(framework()).await;
    let offers = of_others.offers().await;
    assert_eq!(amount(&offers[0].resources, "cpus"), 2.0);
    let mut scheduler = world.subscribe(of_role()).await;
    let offers = scheduler.offers().await;
    assert_eq!(amount(&offers[0].resources, "cpus"), 2.0);
    assert!(offers[0].resources.iter().any(|resource| resource.disk.is_some()));

    // A volume keeps its reservation.
    let taken =
        operate(&world, &reserve("UNRESERVE_RESOURCES", "unreserve_resources", RESERVED_DISK), 409)
            .await;
    assert!(taken.contains("The operation needs"), "{taken}");
    operate(&world, &volumes("DESTROY_VOLUMES", "destroy_volumes"), 202).await;
    let told: CheckpointResourcesMessage = agent.receive().await;
    assert!(told.resources.iter().all(|resource| resource.disk.is_none()));
    scheduler.until(event::Type::Rescind).await;
    operate(&world, &reserve("UNRESERVE_RESOURCES", "unreserve_resources", &both), 202).await;
    let told: CheckpointResourcesMessage = agent.receive().await;
    assert_eq!(told.resources, []);
    until_read(&world, "/slaves", r#""reserved_resources":{}"#).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_forms_reserve_and_make_volumes_too() {
    let world = World::start().await;
    let mut agent = Agent::register(&world).await;
    let id = agent.id.clone().unwrap();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    for (path, field, resources, reserved, volumes) in [
        ("/reserve", "resources", RESERVED_DISK.to_owned(), 100.0, 0),
        ("/create-volumes", "volumes", volume(100), 100.0, 1),
        ("/destroy-volumes", "volumes", volume(100), 100.0, 0),
        ("/unreserve", "resources", RESERVED_DISK.to_owned(), 0.0, 0),
    ] {
        let body = format!("slaveId={id}&{field}=[{resources}]");
        let answer = world.ask("POST", &format!("/master{path}"), &headers, &body).await;
        assert_eq!((answer.status, &*answer.body), (202, ""), "{path}");
        let told: CheckpointResourcesMessage = agent.receive().await;
        assert_eq!(amount(&told.resources, "disk"), reserved, "{path}");
        let made = told.resources.iter().filter(|resource| resource.disk.is_some());
        assert_eq!(made.count(), volumes, "{path}");
    }
    let answer = world.ask("POST", "/reserve", &headers, "slaveId=nobody&resources=[]").await;
    assert_eq!((answer.status, &*answer.body), (400, "No agent found with specified ID"));
    world.stop().await;
}

/// Answers an operation as done.
async fn apply(agent: &mut Agent) -> v1::offer::Operation {
    let told: ApplyOperationMessage = agent.receive().await;
    let mut status = v1::OperationStatus {
        uuid: Some(v1::Uuid { value: vec![7; 16].into() }),
        ..Default::default()
    };
    status.set_state(OperationState::OperationFinished);
    let message = UpdateOperationStatusMessage {
        agent_id: agent.id.clone(),
        status,
        operation_uuid: Some(told.operation_uuid),
        ..Default::default()
    };
    agent.send(&message).await;
    let heard: internal::AcknowledgeOperationStatusMessage = agent.receive().await;
    assert_eq!(heard.status_uuid.value, vec![7; 16]);
    told.operation_info
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_grow_and_shrink_volumes() {
    let world = World::start().await;
    let more = [Capability::ResourceProvider, Capability::ResizeVolume];
    let mut agent = Agent::register_with(&world, &more).await;
    let id = agent.id.clone().unwrap();
    let call = |kind: &str, field: &str, rest: &str| {
        format!(r#"{{"type":"{kind}","{field}":{{"agent_id":{{"value":"{id}"}},{rest}}}}}"#)
    };
    let resources = format!(r#""resources":[{RESERVED_DISK}]"#);
    operate(&world, &call("RESERVE_RESOURCES", "reserve_resources", &resources), 202).await;
    assert!(apply(&mut agent).await.reserve.is_some());
    let volumes = format!(r#""volumes":[{}]"#, volume(50));
    operate(&world, &call("CREATE_VOLUMES", "create_volumes", &volumes), 202).await;
    assert!(apply(&mut agent).await.create.is_some());

    let addition = RESERVED_DISK.replace("100", "30");
    let grow = format!(r#""volume":{},"addition":{addition}"#, volume(50));
    operate(&world, &call("GROW_VOLUME", "grow_volume", &grow), 202).await;
    assert!(apply(&mut agent).await.grow_volume.is_some());
    until_read(&world, "/slaves", r#""scalar":{"value":80.0}"#).await;
    let shrink = format!(r#""volume":{},"subtract":{{"value":60}}"#, volume(80));
    operate(&world, &call("SHRINK_VOLUME", "shrink_volume", &shrink), 202).await;
    assert!(apply(&mut agent).await.shrink_volume.is_some());
    // Twenty are the volume's, eighty are free again.
    until_read(&world, "/slaves", r#""scalar":{"value":20.0}"#).await;
    let gone = call("GROW_VOLUME", "grow_volume", &grow);
    let refused = world.operate(&gone).await;
    assert!(matches!(refused.status, 400 | 409), "{refused:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_limits_its_role_and_is_listed_and_removed() {
    let world = World::start().await;
    let agent = Agent::register(&world).await;
    let limit = |cpus: u32| {
        format!(
            r#"{{"type":"UPDATE_QUOTA","update_quota":{{"quota_configs":[{{"role":"r",
            "limits":{{"cpus":{{"value":{cpus}}},"mem":{{"value":512}}}}}}]}}}}"#
        )
    };
    operate(&world, &limit(1), 200).await;
    let mut scheduler = world.subscribe(of_role()).await;
    let offers = scheduler.offers().await;
    let offered = &offers[0].resources;
    assert_eq!((amount(offered, "cpus"), amount(offered, "mem")), (1.0, 512.0));
    let quota = operate(&world, r#"{"type":"GET_QUOTA"}"#, 200).await;
    assert!(quota.contains(r#""role":"r""#) && quota.contains(r#""limits""#), "{quota}");
    let roles = world.get("/roles").await.body;
    assert!(roles.contains(r#""limit":{"cpus":1.0,"mem":512.0}"#), "{roles}");

    // More is offered once more is allowed.
    operate(&world, &limit(3), 200).await;
    scheduler.until(event::Type::Rescind).await;
    let offers = scheduler.until(event::Type::Offers).await.offers.unwrap().offers;
    assert_eq!(amount(&offers[0].resources, "cpus"), 3.0);

    // A limit below what the role has takes nothing back, and has to be insisted on.
    let agent_id = agent.id.clone().unwrap();
    let reserve = format!(
        r#"{{"type":"RESERVE_RESOURCES","reserve_resources":{{
        "agent_id":{{"value":"{agent_id}"}},"resources":[{RESERVED_CPUS}]}}}}"#
    );
    operate(&world, &reserve, 202).await;
    let refused = operate(&world, &limit(1), 400).await;
    assert!(refused.contains("above the limit cpus:1"), "{refused}");
    let insisted = limit(1).replace(r#""quota_configs""#, r#""force":true,"quota_configs""#);
    operate(&world, &insisted, 200).await;

    // A guarantee that the cluster cannot give is refused, unless it is insisted on.
    let form = |force| {
        format!(
            r#"{{"role":"r","force":{force},
            "guarantee":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":400}}}}]}}"#
        )
    };
    let refused = world.ask("POST", "/quota", &[], &form(false)).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.body.contains("Not enough available cluster capacity"), "{refused:?}");
    assert_eq!(world.ask("POST", "/master/quota", &[], &form(true)).await.status, 200);
    let again = world.ask("POST", "/quota", &[], &form(true)).await;
    assert_eq!(again.status, 400);
    assert!(again.body.contains("Quota already set for role 'r'"), "{again:?}");
    let listed = world.get("/quota").await.body;
    assert!(listed.contains(r#""value":400.0"#), "{listed}");
    assert_eq!(world.ask("DELETE", "/quota/r", &[], "").await.status, 200);
    assert_eq!(world.ask("DELETE", "/quota/nobody", &[], "").await.status, 400);
    let listed = world.get("/quota").await.body;
    assert!(!listed.contains("400"), "{listed}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_set_read_and_shown_with_their_roles() {
    let world = World::start().await;
    let put = |body: &'static str| world.ask("PUT", "/weights", &[], body);
    assert_eq!(put(r#"[{"role":"r","weight":2.5},{"role":"s","weight":3}]"#).await.status, 200);
    let weights = world.get("/weights").await.body;
    assert!(weights.contains(r#""weight":2.5"#), "{weights}");
    let listed = operate(&world, r#"{"type":"GET_WEIGHTS"}"#, 200).await;
    assert!(listed.contains(r#""weight":3.0"#), "{listed}");
    let roles = world.get("/roles").await.body;
    assert!(roles.contains(r#"{"name":"r","weight":2.5"#), "{roles}");
    for (body, expected) in [
        (r#"[{"role":"r","weight":-1}]"#, "Weights must be positive"),
        (r#"[{"role":"a b","weight":1}]"#, "Invalid role 'a b'"),
        ("no", "Failed to parse update weights request JSON 'no'"),
    ] {
        let refused = put(body).await;
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains(expected), "{refused:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_scheduled_asked_for_taken_down_and_brought_up() {
    let world = World::start().await;
    let mut agent = Agent::register(&world).await;
    let mut scheduler = world.subscribe(framework()).await;
    run_task(&mut agent, &mut scheduler).await;

    let schedule = r#"{"windows":[{"machine_ids":[{"hostname":"LocalHost"}],
        "unavailability":{"start":{"nanoseconds":4000000000000000000},
                          "duration":{"nanoseconds":5}}}]}"#;
    assert_eq!(world.ask("POST", "/maintenance/schedule", &[], schedule).await.status, 200);
    let read = world.get("/maintenance/schedule").await.body;
    assert!(read.contains(r#""hostname":"localhost""#), "{read}");
    let asked = scheduler.until(event::Type::InverseOffers).await.inverse_offers.unwrap();
    let inverse = &asked.inverse_offers[0];
    assert_eq!(inverse.agent_id, agent.id);
    assert_eq!(inverse.unavailability.start.nanoseconds, 4_000_000_000_000_000_000);
    let accept = call::AcceptInverseOffers {
        inverse_offer_ids: vec![inverse.id.clone()],
        ..Default::default()
    };
    let accept = Call { accept_inverse_offers: Some(accept), ..Default::default() };
    scheduler.call(call::Type::AcceptInverseOffers, accept).await;
    until_read(&world, "/maintenance/status", r#""status":"ACCEPT""#).await;

    let machines = r#"[{"hostname":"localhost"}]"#;
    let up = world.ask("POST", "/machine/up", &[], machines).await;
    assert_eq!(up.status, 400);
    assert!(up.body.contains("not down"), "{up:?}");
    assert_eq!(world.ask("POST", "/machine/down", &[], machines).await.status, 200);
    let ended: ShutdownMessage = agent.receive().await;
    assert!(ended.message.unwrap().contains("Machine DOWN"));
    let lost = scheduler.until(event::Type::Update).await.update.unwrap().status;
    assert_eq!(lost.state(), TaskState::TaskLost);
    until_read(&world, "/maintenance/status", r#""down_machines":[{"hostname":"localhost"}]"#)
        .await;
    // Who is down stays away, in the schedule as well.
    let mut early = Agent::connect(&world).await;
    early.ask_to_register(&[]).await;
    early.receive::<ShutdownMessage>().await;
    let emptied = world.ask("POST", "/maintenance/schedule", &[], r#"{"windows":[]}"#).await;
    assert_eq!(emptied.status, 400);
    assert!(emptied.body.contains("bring it up first"), "{emptied:?}");

    assert_eq!(world.ask("POST", "/machine/up", &[], machines).await.status, 200);
    assert_eq!(world.get("/maintenance/status").await.body, "{}");
    Agent::register(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_agent_is_offered_to_nobody_until_it_is_reactivated() {
    let world = World::start().await;
    let agent = Agent::register(&world).await;
    let id = agent.id.clone().unwrap();
    let mut scheduler = world.subscribe(framework()).await;
    assert_eq!(scheduler.offers().await.len(), 1);
    let call = |kind: &str, id: &str| {
        let field = kind.to_ascii_lowercase();
        format!(r#"{{"type":"{kind}","{field}":{{"agent_id":{{"value":"{id}"}}}}}}"#)
    };
    // What was shown once is not shown again when it is no longer so.
    until_read(&world, "/state", r#""deactivated":false"#).await;
    operate(&world, &call("DEACTIVATE_AGENT", &id.value), 200).await;
    scheduler.until(event::Type::Rescind).await;
    until_read(&world, "/state", r#""deactivated":true"#).await;
    let agents = operate(&world, r#"{"type":"GET_AGENTS"}"#, 200).await;
    assert!(agents.contains(r#""active":false"#), "{agents}");
    assert!(agents.contains(r#""deactivated":true"#), "{agents}");
    let explained =
        world.get(&format!("/explain?framework_id={}", scheduler.id.clone().unwrap())).await.body;
    assert!(explained.contains("deactivated"), "{explained}");
    operate(&world, &call("REACTIVATE_AGENT", &id.value), 200).await;
    assert_eq!(scheduler.offers().await.len(), 1);
    operate(&world, &call("REACTIVATE_AGENT", "nobody"), 400).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_agent_is_drained_when_its_last_task_has_ended() {
    let world = World::start().await;
    let mut agent = Agent::register(&world).await;
    let id = agent.id.clone().unwrap();
    let mut scheduler = world.subscribe(framework()).await;
    run_task(&mut agent, &mut scheduler).await;
    let drain =
        format!(r#"{{"type":"DRAIN_AGENT","drain_agent":{{"agent_id":{{"value":"{id}"}}}}}}"#);
    operate(&world, &drain, 200).await;
    agent.receive::<DrainSlaveMessage>().await;
    let back = drain.replace("DRAIN_AGENT", "REACTIVATE_AGENT");
    let back = back.replace("drain_agent", "reactivate_agent");
    let early = operate(&world, &back, 400).await;
    assert!(early.contains("still in the DRAINING state"), "{early}");
    let framework = scheduler.id.clone().unwrap();
    agent.update(framework, "t-1".into(), TaskState::TaskKilled).await;
    let killed = scheduler.until(event::Type::Update).await.update.unwrap().status;
    assert_eq!(killed.state(), TaskState::TaskKilled);
    until_read(&world, "/slaves", r#""drain_info":{"state":"DRAINED""#).await;
    operate(&world, &back, 200).await;
    scheduler.until(event::Type::Offers).await;
    world.stop().await;
}
