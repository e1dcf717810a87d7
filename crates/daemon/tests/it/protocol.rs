//! What holds for every request: versions, headers, unknown paths, bodies, shutdown.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::{DEADLINE, with_daemon};

#[test]
fn ping_tells_what_a_client_needs() {
    with_daemon(|host| async move {
        for (method, body) in [("GET", "OK"), ("HEAD", "")] {
            let answer = host.request(method, "/_ping", &[], "").await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body, body);
            assert_eq!(answer.header("api-version"), "1.51");
            assert_eq!(answer.header("ostype"), "linux");
            assert_eq!(answer.header("builder-version"), "1");
            assert_eq!(answer.header("docker-experimental"), "false");
            assert_eq!(answer.header("swarm"), "inactive");
            assert!(answer.header("server").starts_with("Teu/"));
        }
    });
}

#[test]
fn versions_are_negotiated() {
    with_daemon(|host| async move {
        for path in ["/v1.24/_ping", "/v1.51/_ping", "/_ping"] {
            assert_eq!(host.get(path).await.status, 200, "{path}");
        }
        let answer = host.get("/v1.52/_ping").await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.message(),
            "client version 1.52 is too new. Maximum supported API version is 1.51"
        );
        assert_eq!(host.get("/v1.23/info").await.status, 400);
    });
}

#[test]
fn unknown_paths_and_methods_are_not_found() {
    with_daemon(|host| async move {
        for (method, path) in
            [("GET", "/nothing"), ("PUT", "/version"), ("GET", "/"), ("GET", "//")]
        {
            let answer = host.request(method, path, &[], "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.message(), "page not found");
            assert_eq!(answer.header("api-version"), "1.51");
        }
    });
}

#[test]
fn bad_bodies_are_refused() {
    with_daemon(|host| async move {
        let json = [("content-type", "application/json")];
        let create = "/containers/create";
        let answer = host.request("POST", create, &json, "").await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.message(), "config cannot be empty in order to create a container");

        let answer = host.request("POST", create, &[("content-type", "text/plain")], "{}").await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.message(),
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
        assert_eq!(host.request("POST", create, &[], "{}").await.status, 400);

        for body in ["{", "[]", r#"{"Image": 5}"#, r#"{"Image": "x"} {}"#, "\"\"", "5"] {
            let answer = host.request("POST", create, &json, body).await;
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.message().starts_with("invalid JSON: "), "{body}: {answer:?}");
        }
    });
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    with_daemon(|host| async move {
        let json = [("content-type", "application/json")];
        let body = format!("{{\"Image\": \"{}\"}}", "x".repeat(20 << 20));
        let answer = host.request("POST", "/containers/create", &json, body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.message().starts_with("request body too large"), "{answer:?}");
    });
}

#[test]
fn what_is_not_here_says_so() {
    with_daemon(|host| async move {
        for path in ["/swarm", "/nodes", "/services", "/tasks/x", "/secrets", "/configs/create"] {
            let answer = host.get(path).await;
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.message().starts_with("This node is not a swarm manager."));
        }
        assert_eq!(host.get("/plugins").await.json(), json!([]));
        assert_eq!(host.post("/session", &json!({})).await.status, 501);
    });
}

#[test]
fn a_stream_does_not_hold_up_the_end() {
    with_daemon(|host| async move {
        let mut stream = UnixStream::connect(&host.socket).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nhost: d\r\n\r\n").await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        host.stop.cancel();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        ended.unwrap().unwrap();
        assert!(rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
        let gone = async {
            while host.socket.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, gone).await.expect("the socket stays");
    });
}

#[test]
fn the_socket_of_a_living_daemon_is_not_taken() {
    with_daemon(|host| async move {
        let mut config = host.config();
        config.data_root = host.dir.join("other-data");
        config.exec_root = host.dir.join("other-exec");
        config.bridge = "td1".to_owned();
        let error = daemon::run(config, host.stop.clone()).await.unwrap_err();
        assert!(error.to_string().contains("another process answers there"), "{error:#}");
        assert_eq!(host.get("/_ping").await.status, 200);
    });
}
