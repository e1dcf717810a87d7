use super::*;

const HEAD: &str = "POST /api/v1/scheduler HTTP/1.1\r\nHost: m\r\nMesos-Stream-Id: s\r\n";

/// What a request that consists of these headers, after the usual ones, and a body is.
fn judged(headers: &str, body: &str) -> String {
    told(&format!("{HEAD}{headers}\r\n\r\n{body}"))
}

fn told(request: &str) -> String {
    match next(request.as_bytes()) {
        Next::Call(plain, length) => format!(
            "{} {} {:?} {} of {length}",
            plain.media.name(),
            plain.stream,
            plain.authorization,
            String::from_utf8_lossy(plain.body)
        ),
        Next::Unfinished { head: true } => "body".to_owned(),
        Next::Unfinished { head: false } => "head".to_owned(),
        Next::Other => "other".to_owned(),
    }
}

#[test]
fn a_plain_call_is_taken_whole() {
    let headers = "content-type: application/json; charset=utf-8\r\ncontent-length: 2";
    let length = HEAD.len() + headers.len() + 6;
    assert_eq!(
        judged(headers, "{}POST /the/next"),
        format!("application/json s None {{}} of {length}")
    );
    let headers = "Content-Length: 0\r\nContent-Type: application/x-protobuf\r\n\
                   Authorization: Basic eA==\r\nConnection: keep-alive";
    let length = HEAD.len() + headers.len() + 4;
    assert_eq!(
        judged(headers, ""),
        format!("application/x-protobuf s Some(\"Basic eA==\")  of {length}")
    );
}

#[test]
fn more_is_waited_for_until_the_call_is_whole() {
    let whole = format!("{HEAD}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    let head = whole.len() - 2;
    for cut in 0..whole.len() {
        assert_eq!(told(&whole[..cut]), if cut < head { "head" } else { "body" }, "{cut}");
    }
}

#[test]
fn whatever_is_unusual_is_for_the_http_server() {
    const TYPE: &str = "Content-Type: application/json";
    let length = format!("{TYPE}\r\nContent-Length: 2");
    for headers in [
        TYPE.to_owned(),
        "Content-Length: 2".to_owned(),
        "Content-Type: text/plain\r\nContent-Length: 2".to_owned(),
        format!("{length}\r\nContent-Length: 2"),
        format!("{length}\r\nMesos-Stream-Id: t"),
        format!("{length}\r\nTransfer-Encoding: chunked"),
        format!("{length}\r\nExpect: 100-continue"),
        format!("{length}\r\nConnection: close"),
        format!("{length}\r\nConnection: upgrade\r\nUpgrade: websocket"),
        format!("{TYPE}\r\nContent-Length: +2"),
        format!("{TYPE}\r\nContent-Length: 99999999999999999999999"),
        format!("{TYPE}\r\nContent-Length: {}", BODY_MAX + 1),
        format!("{length}\r\nno header"),
    ] {
        assert_eq!(judged(&headers, "{}"), "other", "{headers}");
    }
    let call = format!("{HEAD}{length}\r\n\r\n{{}}");
    assert_ne!(told(&call), "other");
    for (usual, unusual) in [
        ("POST", "PUT"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("/api/v1/scheduler", "/api/v1"),
        ("/api/v1/scheduler", "/state"),
        ("Mesos-Stream-Id", "X"),
    ] {
        assert_eq!(told(&call.replace(usual, unusual)), "other", "{unusual}");
    }
    let endless = format!("{HEAD}X: {}", "x".repeat(HEAD_MAX));
    assert_eq!(told(&endless), "other");
}
