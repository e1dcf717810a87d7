//! Logging in, and pulling what not everybody may.

use std::sync::atomic::{AtomicUsize, Ordering};

use images::ErrorKind;
use images::registry::{AuthConfig, PullOptions};
use serde_json::json;

use crate::content::{Format, Memory, TestImage, error};
use crate::harness::{DockerRegistry, Fixture, credentials, is_root};
use crate::server::{Answer, Reply, Request, Server};

/// `alice` with the password `secret`.
pub const HTPASSWD: &str = "alice:$2y$05$PvFdcxe6CmTu6kml16iQqOw8kGMY9Bugi5capi/b4AwSTkCdp/2lK\n";
const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";

fn image() -> TestImage {
    TestImage::new(Format::DockerGzip, "amd64", 40, &[1000, 500])
}

/// A token server: `alice` gets any token, nobody gets one for `public`, `refresh-1` is alice's refresh token.
async fn token_server(expires_in: u64) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        let by_refresh = request.method == "POST";
        let known = request.header("authorization") == Some(ALICE) || by_refresh;
        if request.header("authorization").is_some() && !known {
            return Answer::new(401, r#"{"details":"incorrect username or password"}"#).into();
        }
        let who = if known { "alice" } else { "nobody" };
        let mut reply = json!({"token": format!("{who}-{n}"), "expires_in": expires_in});
        if request.path.contains("offline_token=true") && known {
            reply["refresh_token"] = json!("refresh-1");
        }
        Answer::new(200, reply.to_string()).into()
    })
    .await
}

/// Serves `memory` to those whose token `takes` it, and sends others to the token server.
fn guarded(
    memory: Memory,
    realm: String,
    takes: impl Fn(&Request, &str) -> bool + Send + Sync + 'static,
) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(|token| takes(request, token)) {
            return memory.reply(request);
        }
        let scope = if request.path == "/v2/" { "" } else { r#",scope="repository:app:pull""# };
        let Reply::Answer(answer) = error(401, "UNAUTHORIZED", "authentication required") else {
            unreachable!()
        };
        answer
            .with("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="test"{scope}"#))
            .into()
    }
}

fn realm(server: &Server) -> String {
    format!("http://{}/token", server.host())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_once_and_used_for_everything() {
    if !is_root() {
        return;
    }
    let tokens = token_server(300).await;
    let registry = Server::start(guarded(Memory::of("1", &image()), realm(&tokens), |_, token| {
        token.starts_with("alice")
    }))
    .await;
    let fixture = Fixture::new();
    let name = format!("{}/app:1", registry.host());
    let options = PullOptions { auth: credentials("alice", "secret"), ..Default::default() };
    fixture.pull_with(&name, &options).await.unwrap();
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        asked[0].line(),
        "GET /token?service=test&scope=repository%3Aapp%3Apull&account=alice"
    );

    let failure = fixture.pull(&name).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(failure.to_string().starts_with("pull access denied for"), "{failure}");
    assert!(tokens.requests().last().unwrap().header("authorization").is_none());

    let options = PullOptions { auth: credentials("alice", "wrong"), ..Default::default() };
    let failure = fixture.pull_with(&name, &options).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unauthorized);
    assert_eq!(failure.to_string(), "unauthorized: incorrect username or password");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_goes_to_the_token_server() {
    if !is_root() {
        return;
    }
    let tokens = token_server(300).await;
    let registry = Server::start(guarded(Memory::of("1", &image()), realm(&tokens), |_, token| {
        token.starts_with("alice")
    }))
    .await;
    let fixture = Fixture::new();
    let by_field = AuthConfig { identity_token: "refresh&1".into(), ..Default::default() };
    for auth in [by_field, credentials("<token>", "refresh&1")] {
        let options = PullOptions { auth, ..Default::default() };
        fixture.pull_with(&format!("{}/app:1", registry.host()), &options).await.unwrap();
    }
    for request in tokens.requests() {
        assert_eq!(request.line(), "POST /token");
        assert_eq!(
            String::from_utf8(request.body).unwrap(),
            "service=test&grant_type=refresh_token&client_id=teu&refresh_token=refresh%261&scope=repository%3Aapp%3Apull"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_in_the_middle_is_renewed() {
    if !is_root() {
        return;
    }
    let tokens = token_server(300).await;
    // The first token is good for the manifest only.
    let takes = |request: &Request, token: &str| {
        token != "nobody-0" || request.path.contains("/manifests/")
    };
    let registry = Server::start(guarded(Memory::of("1", &image()), realm(&tokens), takes)).await;
    let fixture = Fixture::new();
    fixture.pull(&format!("{}/app:1", registry.host())).await.unwrap();
    assert!(tokens.requests().len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_made_bearer_token_is_sent_as_it_is() {
    if !is_root() {
        return;
    }
    let registry = Server::start(guarded(
        Memory::of("1", &image()),
        "http://127.0.0.1:9/".into(),
        |_, token| token == "mine",
    ))
    .await;
    let fixture = Fixture::new();
    let auth = AuthConfig { registry_token: "mine".into(), ..Default::default() };
    let options = PullOptions { auth, ..Default::default() };
    fixture.pull_with(&format!("{}/app:1", registry.host()), &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    if !is_root() {
        return;
    }
    let image = image();
    let memory = Memory::of("1", &image);
    let elsewhere = Server::start(move |request| memory.reply(request)).await;
    let place = elsewhere.host();
    let memory = Memory::of("1", &image);
    let registry = Server::start(move |request| {
        if request.header("authorization") != Some(ALICE) {
            return Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\"").into();
        }
        if request.path.contains("/blobs/") {
            return Answer::new(307, "")
                .with("Location", format!("http://{place}{}", request.path))
                .into();
        }
        memory.reply(request)
    })
    .await;
    let fixture = Fixture::new();
    let options = PullOptions { auth: credentials("alice", "secret"), ..Default::default() };
    fixture.pull_with(&format!("{}/app:1", registry.host()), &options).await.unwrap();
    assert_eq!(elsewhere.requests().len(), 3);
    assert!(elsewhere.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn login_with_a_token_server_returns_its_refresh_token() {
    let tokens = token_server(300).await;
    let registry = Server::start(guarded(Memory::default(), realm(&tokens), |_, token| {
        token.starts_with("alice")
    }))
    .await;
    let fixture = Fixture::new();
    let logged_in =
        fixture.registry.login(&registry.host(), &credentials("alice", "secret")).await.unwrap();
    assert_eq!(logged_in.identity_token, "refresh-1");
    let failure =
        fixture.registry.login(&registry.host(), &credentials("alice", "no")).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn login_with_a_password_file_is_checked() {
    let Some(registry) = DockerRegistry::start(Some(HTPASSWD)) else { return };
    let fixture = Fixture::new();
    let address = format!("http://{}/v2/", registry.host());
    let logged_in =
        fixture.registry.login(&address, &credentials("alice", "secret")).await.unwrap();
    assert_eq!(logged_in.identity_token, "");
    for auth in [credentials("alice", "wrong"), credentials("bob", "secret"), AuthConfig::default()]
    {
        let failure = fixture.registry.login(&address, &auth).await.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Unauthorized, "{failure}");
        assert_eq!(failure.to_string(), "unauthorized: authentication required");
    }
}

#[test]
fn secrets_are_not_in_debug_texts() {
    let auth = AuthConfig {
        username: "alice".into(),
        password: "hunter2".into(),
        identity_token: "hunter2".into(),
        registry_token: "hunter2".into(),
    };
    assert!(!format!("{auth:?}").contains("hunter2"));
}
