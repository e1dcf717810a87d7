//! Who is let in over HTTP, and over libprocess.

use bytes::Bytes;
use endpoints::authentication::Credential;
use endpoints::cram_md5;
use http_body_util::Full;
use hyper::Request;
use mesos_api::internal::{
    AuthenticateMessage, AuthenticationMechanismsMessage, AuthenticationStartMessage,
    AuthenticationStepMessage, FrameworkErrorMessage, SchedulerCall, SlaveRegisteredMessage,
    scheduler_call,
};
use mesos_api::v1::FrameworkInfo;
use mesos_api::v1::scheduler::{Event, call, event};
use prost::Message as _;

use crate::world::{Agent, World, framework};

const JSON: (&str, &str) = ("content-type", "application/json");
/// `alice:secret`
const RIGHT: (&str, &str) = ("authorization", "Basic YWxpY2U6c2VjcmV0");
/// `alice:wrong`
const WRONG: (&str, &str) = ("authorization", "Basic YWxpY2U6d3Jvbmc=");

const CALL: &str = "mesos.scheduler.Call";

const SUBSCRIBE: &str =
    r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"q"}}}"#;

pub(crate) async fn guarded() -> World {
    World::start_with(&[
        "--registry=in_memory",
        "--authenticate_http_frameworks",
        "--authenticate_http_readonly",
        "--authenticate_http_readwrite",
        r#"--credentials={"credentials":[{"principal":"alice","secret":"secret"}]}"#,
    ])
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_realm_asks_for_credentials() {
    let world = guarded().await;
    let health = r#"{"type":"GET_HEALTH"}"#;
    for (method, path, body, realm) in [
        ("GET", "/state", "", "mesos-master-readonly"),
        ("GET", "/metrics/snapshot", "", "mesos-master-readonly"),
        ("POST", "/api/v1", health, "mesos-master-readwrite"),
        ("GET", "/weights", "", "mesos-master-readwrite"),
        ("POST", "/teardown", "frameworkId=x", "mesos-master-readwrite"),
        ("POST", "/master/api/v1/scheduler", SUBSCRIBE, "mesos-master-scheduler"),
    ] {
        for headers in [&[JSON][..], &[JSON, WRONG]] {
            let answer = world.ask(method, path, headers, body).await;
            assert_eq!(answer.status, 401, "{path}");
            let challenge = format!("Basic realm=\"{realm}\"");
            assert_eq!(answer.headers["www-authenticate"], challenge.as_str(), "{path}");
        }
    }
    for path in ["/state", "/weights", "/metrics"] {
        assert_eq!(world.ask("GET", path, &[RIGHT], "").await.status, 200, "{path}");
    }
    for path in ["/health", "/version"] {
        assert_eq!(world.get(path).await.status, 200, "{path} is for everybody");
    }
    let flags = world.ask("GET", "/flags", &[RIGHT], "").await.body;
    assert!(flags.contains("credentials") && !flags.contains("secret"), "{flags}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_is_who_it_proves_to_be() {
    let world = guarded().await;
    let other = SUBSCRIBE.replace(r#""name":"q""#, r#""name":"q","principal":"bob""#);
    let answer = world.ask("POST", "/api/v1/scheduler", &[JSON, RIGHT], &other).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("'alice' does not match principal 'bob'"), "{}", answer.body);
    let request = Request::post("/api/v1/scheduler")
        .header(JSON.0, JSON.1)
        .header(RIGHT.0, RIGHT.1)
        .body(Full::new(Bytes::from_static(SUBSCRIBE.as_bytes())))
        .unwrap();
    let stream = world.send(request).await;
    assert_eq!(stream.status(), 200);
    let frameworks = world.ask("GET", "/frameworks", &[RIGHT], "").await.body;
    assert!(frameworks.contains(r#""principal":"alice""#), "{frameworks}");
    drop(stream);
    world.stop().await;
}

async fn demanding() -> World {
    World::start_with(&[
        "--registry=in_memory",
        "--authenticate_agents",
        "--authenticate_frameworks",
        r#"--credentials={"credentials":[{"principal":"alice","secret":"secret"}]}"#,
    ])
    .await
}

/// Proves by messages of its own that somebody is the principal; whether the master believes it.
async fn prove(who: &mut Agent, principal: &str, secret: &str) -> bool {
    let client = who.pid.to_string();
    let (principal, secret) = (principal.to_owned(), secret.to_owned());
    let credential = Credential { principal, secret };
    // As the original has it: another process at the same address does it.
    let authenticatee = "crammd5-authenticatee(1)";
    let name = std::mem::replace(&mut who.pid.id, authenticatee.to_owned());
    who.send(&AuthenticateMessage { pid: client }).await;
    let offered: AuthenticationMechanismsMessage = who.receive().await;
    assert_eq!(offered.mechanisms, ["CRAM-MD5"]);
    let mechanism = "CRAM-MD5".to_owned();
    who.send(&AuthenticationStartMessage { mechanism, data: Some(Bytes::new()) }).await;
    let challenge: AuthenticationStepMessage = who.receive().await;
    let data = cram_md5::answer(&credential, &challenge.data).into();
    who.send(&AuthenticationStepMessage { data }).await;
    let told = who.receive_any().await;
    assert_eq!(told.to, authenticatee);
    who.pid.id = name;
    match &*told.name {
        "mesos.internal.AuthenticationCompletedMessage" => true,
        "mesos.internal.AuthenticationFailedMessage" => false,
        other => panic!("{other}"),
    }
}

fn subscribe(info: FrameworkInfo) -> SchedulerCall {
    let subscribe =
        scheduler_call::Subscribe { framework_info: info, ..scheduler_call::Subscribe::default() };
    let mut call = SchedulerCall { subscribe: Some(subscribe), ..SchedulerCall::default() };
    call.set_type(call::Type::Subscribe);
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_proves_who_it_is_before_it_registers() {
    let world = demanding().await;
    let mut agent = Agent::connect(&world).await;
    // Nobody is told, so the proof that it was not registered is what is listed later.
    agent.ask_to_register(&[]).await;
    assert!(!prove(&mut agent, "alice", "wrong").await);
    agent.ask_to_register(&[]).await;
    assert!(!prove(&mut agent, "bob", "secret").await);
    let agents = world.get("/slaves").await.body;
    assert!(agents.starts_with(r#"{"slaves":[]"#), "{agents}");
    assert!(prove(&mut agent, "alice", "secret").await);
    agent.ask_to_register(&[]).await;
    let registered: SlaveRegisteredMessage = agent.receive().await;
    let agents = world.get("/slaves").await.body;
    assert!(agents.contains(&registered.agent_id.value), "{agents}");
    let metrics = world.get("/metrics/snapshot").await.body;
    assert!(metrics.contains(r#""master/messages_authenticate":3.0"#), "{metrics}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_proves_nothing_is_told_and_one_that_does_has_its_principal() {
    let world = demanding().await;
    let mut driver = Agent::connect(&world).await;
    driver.pid.id = "scheduler-1".to_owned();
    driver.send_as(CALL, &subscribe(framework())).await;
    let told: FrameworkErrorMessage = driver.receive().await;
    assert_eq!(told.message, format!("Framework at {} is not authenticated", driver.pid));
    assert!(prove(&mut driver, "alice", "secret").await);
    let other = FrameworkInfo { principal: Some("bob".to_owned()), ..framework() };
    driver.send_as(CALL, &subscribe(other)).await;
    let told: FrameworkErrorMessage = driver.receive().await;
    let expected = "Framework principal 'bob' does not match authenticated principal 'alice'";
    assert_eq!(told.message, expected);
    driver.send_as(CALL, &subscribe(framework())).await;
    let event = driver.receive_any().await;
    assert_eq!(event.name, "mesos.scheduler.Event");
    let event = Event::decode(event.body).unwrap();
    assert_eq!(event.r#type(), event::Type::Subscribed);
    let frameworks = world.get("/frameworks").await.body;
    assert!(frameworks.contains(r#""principal":"alice""#), "{frameworks}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_endpoint_answers_nobody_by_any_of_its_names() {
    let rules = r#"{"disabled_endpoints": {"paths": ["/master/state", "/files/browse"]}}"#;
    let rules = format!("--firewall_rules={rules}");
    let world = World::start_with(&["--registry=in_memory", &rules]).await;
    for path in ["/state", "/master/state", "/state/", "/master/state?jsonp=f"] {
        let answer = world.get(path).await;
        let told = (answer.status, &*answer.body);
        assert_eq!(told, (403, "Endpoint '/master/state' is disabled"), "{path}");
    }
    let answer = world.get("/files/browse?path=/").await;
    assert_eq!((answer.status, &*answer.body), (403, "Endpoint '/files/browse' is disabled"));
    for path in ["/state-summary", "/files/debug"] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_says_too_much_at_once_is_told_in_the_words_of_mesos() {
    let limits = r#"{"limits": [{"principal": "alice", "qps": 0.001, "capacity": 1}]}"#;
    let limits = format!("--rate_limits={limits}");
    let world = World::start_with(&["--registry=in_memory", &limits]).await;
    let mut driver = Agent::connect(&world).await;
    driver.pid.id = "scheduler-1".to_owned();
    let alice = FrameworkInfo { principal: Some("alice".to_owned()), ..framework() };
    driver.send_as(CALL, &subscribe(alice.clone())).await;
    let event = Event::decode(driver.receive_any().await.body).unwrap();
    assert_eq!(event.r#type(), event::Type::Subscribed);
    // The first passes, the second waits for a quarter of an hour, for the third there is no room.
    for _ in 0..3 {
        driver.send_as(CALL, &subscribe(alice.clone())).await;
    }
    let event = Event::decode(driver.receive_any().await.body).unwrap();
    assert_eq!(event.r#type(), event::Type::Subscribed);
    let told: FrameworkErrorMessage = driver.receive().await;
    assert_eq!(told.message, "Message mesos.scheduler.Call dropped: capacity(1) exceeded");
    // Its subscription is not counted: nobody knew its principal before.
    let metrics = world.get("/metrics/snapshot").await.body;
    for counted in ["messages_received\":3.0", "messages_processed\":1.0"] {
        assert!(metrics.contains(&format!("\"frameworks/alice/{counted}")), "{metrics}");
    }
    let metrics = world.get("/metrics").await.body;
    let labelled = "mesos_frameworks_messages_received{principal=\"alice\"} 3\n";
    assert!(metrics.contains(labelled), "{metrics}");
    // Others are not limited.
    let mut other = Agent::connect(&world).await;
    other.pid.id = "scheduler-2".to_owned();
    for _ in 0..3 {
        other.send_as(CALL, &subscribe(framework())).await;
        assert_eq!(other.receive_any().await.name, "mesos.scheduler.Event");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whitelist_is_heeded_and_read_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "elsewhere\n").unwrap();
    let whitelist = format!("--whitelist=file://{}", file.path().display());
    let world =
        World::start_with(&["--registry=in_memory", "--allocation_interval=50ms", &whitelist])
            .await;
    let agent = Agent::register(&world).await;
    let scheduler = world.subscribe(framework()).await;
    let id = scheduler.id.clone().unwrap();
    let explain = format!("/explain?framework_id={id}");
    let explained = async {
        loop {
            let body = world.get(&explain).await.body;
            if body.contains("the agent's host is not in the file of --whitelist") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::WAIT, explained).await.unwrap();
    std::fs::write(file.path(), "elsewhere\nlocalhost\n").unwrap();
    let mut scheduler = scheduler;
    let offers = scheduler.offers().await;
    assert_eq!(offers[0].agent_id, agent.id.clone().unwrap());
    world.stop().await;
}
