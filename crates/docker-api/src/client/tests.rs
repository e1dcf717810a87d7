//! The client against a small server on a Unix socket.

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::*;

#[test]
fn hosts_parse() {
    let tcp = |host: &str, port, prefix: &str| Host::Tcp {
        host: host.into(),
        port,
        prefix: prefix.into(),
    };
    let cases = [
        ("unix:///run/teu/teu.sock", Host::Unix("/run/teu/teu.sock".into())),
        ("tcp://10.0.0.1:2375", tcp("10.0.0.1", 2375, "")),
        ("tcp://box", tcp("box", 2375, "")),
        ("tcp://[::1]:80/x/", tcp("::1", 80, "/x")),
        ("tcp://[::1]", tcp("::1", 2375, "")),
        (":1234", tcp("localhost", 1234, "")),
    ];
    for (text, expected) in cases {
        assert_eq!(Host::parse(text, false).expect(text), expected);
    }
    for text in ["ftp://x", "unix://", "tcp://x:99999", "ssh://box"] {
        assert!(Host::parse(text, false).is_err(), "{text}");
    }
}

#[test]
fn the_older_version_wins() {
    assert_eq!(negotiate("1.41"), "1.41");
    assert_eq!(negotiate("1.99"), API_VERSION);
    assert_eq!(negotiate(""), MIN_API_VERSION);
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the client sends a whole head"));
    }
    String::from_utf8(head).expect("ascii")
}

fn server() -> (tempfile_dir::Dir, UnixListener, Client) {
    let dir = tempfile_dir::Dir::new();
    let path = dir.path().join("api.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let client = Client::new(Host::Unix(path));
    (dir, listener, client)
}

/// A directory that goes away with the test.
mod tempfile_dir {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    pub(super) struct Dir(PathBuf);
    static NEXT: AtomicU32 = AtomicU32::new(0);

    impl Dir {
        pub(super) fn new() -> Self {
            let name = format!(
                "docker-api-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).expect("temp dir");
            Self(path)
        }
        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0); // best effort in tests
        }
    }
}

#[tokio::test]
async fn calls_share_one_connection() {
    let (_dir, listener, client) = server();
    let serve = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut heads = Vec::new();
        for body in ["", "{\"ID\":\"a\"}", "{\"ID\":\"b\"}"] {
            heads.push(read_head(&mut stream).await.lines().next().unwrap_or_default().to_owned());
            let answer = format!(
                "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("write");
        }
        heads
    });
    for expected in ["a", "b"] {
        let value: serde_json::Value = client
            .call(Request::get("/info").query("q", "a b"))
            .await
            .expect("call")
            .json()
            .await
            .expect("json");
        assert_eq!(value["ID"], expected);
    }
    let heads = serve.await.expect("server");
    assert_eq!(
        heads,
        [
            "HEAD /_ping HTTP/1.1",
            "GET /v1.44/info?q=a%20b HTTP/1.1",
            "GET /v1.44/info?q=a%20b HTTP/1.1"
        ]
    );
}

#[tokio::test]
async fn an_answer_counts_that_comes_before_the_body_is_taken() {
    let (_dir, listener, client) = server();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("write");
        read_head(&mut stream).await;
        let body = "{\"message\":\"too much\"}";
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.expect("write");
        // Closed with the body on its way.
    });
    // Goes on until the connection is closed for sure.
    let pieces = futures_util::stream::iter(0..2000).then(|_| async {
        tokio::task::yield_now().await;
        Ok(Bytes::from_static(&[0; 4096]))
    });
    let request = Request::post("/build").stream("application/x-tar", pieces);
    let error = client.call(request).await.expect_err("is refused");
    assert!(error.to_string().contains("too much"), "{error}");
}

#[tokio::test]
async fn refusals_carry_the_servers_message() {
    let (_dir, listener, client) = server();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_head(&mut stream).await;
        let body = "{\"message\":\"No such container: x\"}";
        let answer =
            format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.expect("write");
    });
    let error = client
        .with_version("1.51")
        .call(Request::get("/containers/x/json"))
        .await
        .expect_err("refused");
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "Error response from daemon: No such container: x");
}

#[tokio::test]
async fn a_hijacked_stream_closes_one_half_at_a_time() {
    let (_dir, listener, client) = server();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
                      Content-Type: application/vnd.docker.raw-stream\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("write");
        let mut input = Vec::new();
        stream.read_to_end(&mut input).await.expect("read to the half-close");
        input.make_ascii_uppercase();
        stream.write_all(&input).await.expect("answer after the client's end");
    });
    let mut hijacked = client
        .with_version("1.51")
        .hijack(Request::post("/containers/x/attach"))
        .await
        .expect("hijack");
    assert_eq!(hijacked.content_type, "application/vnd.docker.raw-stream");
    hijacked.io.write_all(b"hello").await.expect("write");
    hijacked.io.shutdown().await.expect("half-close");
    let mut output = String::new();
    hijacked.io.read_to_string(&mut output).await.expect("read");
    assert_eq!(output, "HELLO");
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (_dir, listener, client) = server();
    let serve = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let head = read_head(&mut stream).await;
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.expect("chunked body"));
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"id\":1}\n\n {\"id\":2} \r\n";
        stream.write_all(answer.as_bytes()).await.expect("write");
        (head, String::from_utf8(body).expect("ascii"))
    });
    let parts =
        futures_util::stream::iter([Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"cd"))]);
    let request = Request::post("/images/load").stream("application/x-tar", parts);
    let mut response = client.with_version("1.51").call(request).await.expect("call");
    let mut ids = Vec::new();
    while let Some(value) = response.next_json::<serde_json::Value>().await.expect("json line") {
        ids.push(value["id"].as_u64().expect("number"));
    }
    assert_eq!(ids, [1, 2]);
    let (head, body) = serve.await.expect("server");
    assert!(head.contains("content-type: application/x-tar"), "{head}");
    assert_eq!(body, "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
}
