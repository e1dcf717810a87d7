//! Who is let in over HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

use crate::world::World;

const JSON: (&str, &str) = ("content-type", "application/json");
/// `alice:secret`
const RIGHT: (&str, &str) = ("authorization", "Basic YWxpY2U6c2VjcmV0");
/// `alice:wrong`
const WRONG: (&str, &str) = ("authorization", "Basic YWxpY2U6d3Jvbmc=");

const SUBSCRIBE: &str =
    r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"q"}}}"#;

async fn guarded() -> World {
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
