//! Requests that the original was asked, and what it answered.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use mesos_api::json;
use mesos_api::v1::scheduler::Event;

use crate::endpoints::populate;
use crate::world::{Events, World};

const SCHEDULER: &str = "/api/v1/scheduler";
const JSON: (&str, &str) = ("content-type", "application/json");
const SUBSCRIBE: &str =
    r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"q"}}}"#;

struct Case {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
    answer: &'static str,
}

const fn post(
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
    answer: &'static str,
) -> Case {
    Case { method: "POST", path: SCHEDULER, headers, body, status, answer }
}

const fn at(method: &'static str, path: &'static str, status: u16, answer: &'static str) -> Case {
    Case { method, path, headers: &[JSON], body: "", status, answer }
}

const CASES: &[Case] = &[
    post(&[], SUBSCRIBE, 400, "Expecting 'Content-Type' to be present"),
    post(
        &[("content-type", "text/plain")],
        SUBSCRIBE,
        415,
        "Expecting 'Content-Type' of application/json or application/x-protobuf",
    ),
    post(
        &[JSON, ("accept", "text/html")],
        SUBSCRIBE,
        406,
        "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
    ),
    at(
        "GET",
        SCHEDULER,
        405,
        "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
    ),
    post(&[JSON], "bad", 400, "Failed to parse body into JSON: syntax error at line 1 near: bad"),
    post(
        &[JSON, ("mesos-stream-id", "x")],
        SUBSCRIBE,
        400,
        "Subscribe calls should not include the 'Mesos-Stream-Id' header",
    ),
    post(
        &[JSON],
        r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"q"}}}"#,
        400,
        "Failed to convert JSON into Call protobuf: Missing required fields: \
         subscribe.framework_info.user",
    ),
    post(
        &[JSON],
        r#"{"type":1}"#,
        400,
        "Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'type'",
    ),
    post(&[JSON], "{}", 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"),
    post(
        &[JSON],
        r#"{"type":"SUBSCRIBE"}"#,
        400,
        "Failed to validate scheduler::Call: Expecting 'subscribe' to be present",
    ),
    post(
        &[JSON],
        r#"{"type":"ACCEPT"}"#,
        400,
        "Failed to validate scheduler::Call: Expecting 'framework_id' to be present",
    ),
    post(
        &[JSON],
        r#"{"type":"SUBSCRIBE","framework_id":{"value":"a"},"subscribe":{"framework_info":{"user":"root","name":"q","id":{"value":"b"}}}}"#,
        400,
        "Failed to validate scheduler::Call: 'framework_id' differs from \
         'subscribe.framework_info.id'",
    ),
    post(
        &[JSON, ("mesos-stream-id", "x")],
        r#"{"type":"TEARDOWN","framework_id":{"value":"nobody"}}"#,
        400,
        "Framework cannot be found",
    ),
    Case {
        body: "{}",
        ..at(
            "POST",
            "/api/v1",
            400,
            "Failed to validate master::Call: Expecting 'type' to be present",
        )
    },
    Case {
        body: r#"{"type":"GET_HEALTH"}"#,
        ..at(
            "POST",
            "/api/v1/operator",
            200,
            r#"{"type":"GET_HEALTH","get_health":{"healthy":true}}"#,
        )
    },
    at("GET", "/nothing", 404, "404 Not Found."),
    at("GET", "/master/state.json", 404, "404 Not Found."),
    at("GET", "/files/browse?path=/x", 404, ""),
    at("GET", "/files/read?path=/x&offset=0", 404, ""),
    at(
        "GET",
        "/teardown",
        405,
        "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
    ),
    at("POST", "/teardown", 400, "Missing 'frameworkId' query parameter in the request body"),
    Case {
        body: "frameworkId=nobody",
        ..at("POST", "/teardown", 400, "No framework found with specified ID")
    },
    at("POST", "/reserve", 400, "Missing 'slaveId' query parameter in the request body"),
    at("GET", "/quota", 200, "{}"),
    at("GET", "/weights", 200, "[]"),
    at("GET", "/maintenance/schedule", 200, "{}"),
    at("GET", "/maintenance/status", 200, "{}"),
    at("GET", "/health", 200, ""),
    at("GET", "/logging/toggle", 200, "0\n"),
    at("GET", "/slaves?slave_id=nobody", 200, r#"{"slaves":[],"recovered_slaves":[]}"#),
    at(
        "GET",
        "/frameworks?framework_id=nobody&jsonp=cb",
        200,
        r#"cb({"frameworks":[],"completed_frameworks":[],"unregistered_frameworks":[]})"#,
    ),
    Case { body: r#"[{"role":"web","weight":2.0}]"#, ..at("PUT", "/weights", 200, "") },
    at("GET", "/weights", 200, r#"[{"weight":2.0,"role":"web"}]"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_by_the_original() {
    let world = World::start().await;
    for case in CASES {
        let answer = world.ask(case.method, case.path, case.headers, case.body).await;
        let told = (answer.status, &*answer.body);
        assert_eq!(told, (case.status, case.answer), "{} {} {}", case.method, case.path, case.body);
        if case.status == 405 {
            assert_eq!(answer.headers["allow"], "POST");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_framework_is_an_event() {
    let world = World::start().await;
    let cases = [
        (
            r#""roles":["a"]"#,
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
        ),
        (
            r#""role":"/a""#,
            "'FrameworkInfo.role' is not a valid role: Role '/a' cannot start with a slash",
        ),
        (
            r#""role":"a b""#,
            "'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid because it contains backspace or whitespace",
        ),
        (r#""failover_timeout":1e99"#, "The framework failover_timeout (1e+99) is invalid"),
    ];
    for (field, expected) in cases {
        let body = SUBSCRIBE.replace(r#""name":"q""#, &format!(r#""name":"q",{field}"#));
        let answer = world.ask("POST", SCHEDULER, &[JSON], &body).await;
        let event = format!(r#"{{"type":"ERROR","error":{{"message":"{expected}"}}}}"#);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, format!("{}\n{event}", event.len()));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_type_may_carry_a_charset() {
    let world = World::start().await;
    let headers = [("content-type", "application/json; charset=utf-8")];
    let answer = world.ask("POST", "/api/v1", &headers, r#"{"type":"GET_HEALTH"}"#).await;
    assert_eq!(answer.status, 200);
    world.stop().await;
}

/// Descriptions of frameworks that look wrong and are taken all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_framework_is_taken_as_leniently_as_by_the_original() {
    let world = World::start().await;
    let generated = format!("{}-", world.id().await);
    for (fields, id) in [
        (r#""failover_timeout":"100""#, &*generated),
        (r#""checkpoint":"true""#, &generated),
        (r#""capabilities":[{"type":"NO_SUCH_CAPABILITY"}]"#, &generated),
        (r#""failover_timeout":-5"#, &generated),
        (r#""hostname":null,"webui_url":null"#, &generated),
        (r#""failoverTimeout":5"#, &generated),
        (r#""id":{"value":"mine"}"#, "mine"),
    ] {
        let mut body = SUBSCRIBE.replace(r#""name":"q""#, &format!(r#""name":"q",{fields}"#));
        if id == "mine" {
            body = body.replacen('{', r#"{"framework_id":{"value":"mine"},"#, 1);
        }
        let request = Request::post(SCHEDULER)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = world.send(request).await;
        assert_eq!(response.status(), 200, "{fields}");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(response.headers()["mesos-stream-id"].len() <= 128);
        let first: Event = Events::new(response).next().await.unwrap();
        let subscribed = first.subscribed.clone().unwrap_or_else(|| panic!("{fields}: {first:?}"));
        assert!(subscribed.framework_id.value.starts_with(id), "{subscribed:?}");
        assert_eq!(subscribed.heartbeat_interval_seconds, Some(15.0));
    }
    world.stop().await;
}

/// An unknown name of a capability is no capability; MULTI_ROLE in small letters is an unknown name.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_enums_are_upper_case() {
    let world = World::start().await;
    let fields = r#""name":"q","roles":["a"],"capabilities":[{"type":"multi_role"}]"#;
    let body = SUBSCRIBE.replace(r#""name":"q""#, fields);
    let answer = world.ask("POST", SCHEDULER, &[JSON], &body).await;
    assert!(
        answer.body.ends_with(
            r#"{"type":"ERROR","error":{"message":"'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"}}"#
        ),
        "{answer:?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_for_a_page_is_a_call_of_its_function() {
    let world = World::start().await;
    let answer = world.get("/master/state?jsonp=cb").await;
    assert_eq!(answer.headers["content-type"], "text/javascript");
    assert!(answer.body.starts_with("cb({") && answer.body.ends_with("})"), "{answer:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_found_by_framework_and_name_and_in_pieces() {
    let world = World::start().await;
    let (_agent, scheduler) = populate(&world).await;
    let id = scheduler.id.clone().unwrap();
    for (query, found) in [
        (String::new(), true),
        (format!("?framework_id={id}"), true),
        (format!("?framework_id={id}&task_id=t-1&limit=5&order=asc"), true),
        ("?framework_id=nobody".to_owned(), false),
        ("?task_id=t-2".to_owned(), false),
        ("?offset=1".to_owned(), false),
        ("?limit=0".to_owned(), false),
    ] {
        let body = world.get(&format!("/tasks{query}")).await.body;
        assert_eq!(body.contains(r#""id":"t-1""#), found, "{query}: {body}");
        assert_eq!(body == r#"{"tasks":[]}"#, !found, "{query}: {body}");
    }
    world.stop().await;
}

/// The endpoints of every Mesos process: where the leader is, what there is, how the host is.
#[tokio::test(flavor = "multi_thread")]
async fn what_every_process_tells_is_told() {
    let world = World::start().await;
    for path in ["/redirect", "/master/redirect"] {
        let answer = world.get(path).await;
        let location = format!("//localhost:{}", world.address.port());
        assert_eq!((answer.status, &*answer.body), (307, ""));
        assert_eq!(answer.headers["location"], *location);
    }
    let help = world.get("/help").await.body;
    for path in ["/api/v1/scheduler", "/files/read", "/machine/down", "/redirect", "/help"] {
        assert!(help.lines().any(|line| line == path), "{path} is not in {help}");
    }
    // Three fractions and three counts, by their names.
    let stats = world.get("/system/stats.json?jsonp=cb").await.body;
    let stats = stats.strip_prefix("cb(").and_then(|text| text.strip_suffix(')')).unwrap();
    let json::Value::Object(members) = json::parse(stats.as_bytes()).unwrap() else {
        panic!("{stats}")
    };
    for (name, value) in &members {
        let whole = matches!(value, json::Value::Signed(_) | json::Value::Unsigned(_));
        assert_eq!(whole, !name.starts_with("avg_load_"), "{name} in {stats}");
    }
    assert_eq!(members.len(), 6, "{stats}");
    for (query, status, expected) in [
        ("?level=1", 400, "Expecting 'duration=value' in query.\n"),
        ("?duration=1hrs", 400, "Expecting 'level=value' in query.\n"),
        ("?level=x&duration=1hrs", 400, "Invalid level 'x'.\n"),
        ("?level=2&duration=1hrs", 200, ""),
        ("", 200, "2\n"),
    ] {
        let answer = world.get(&format!("/logging/toggle{query}")).await;
        assert_eq!((answer.status, &*answer.body), (status, expected), "{query}");
    }
    world.stop().await;
}
