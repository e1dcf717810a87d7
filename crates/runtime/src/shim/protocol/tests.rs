//! The protocol's text, which old shims and new daemons must agree on.

use super::*;

#[track_caller]
fn check_request(request: Request, text: &str) {
    assert_eq!(serde_json::to_string(&request).unwrap(), text);
    assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
}

#[test]
fn requests_are_flat_objects_with_op() {
    check_request(Request::State, r#"{"op":"state"}"#);
    check_request(
        Request::Kill { signal: 15, all: false },
        r#"{"op":"kill","signal":15,"all":false}"#,
    );
    check_request(
        Request::Attach(Streams { stdin: true, stdout: true, stderr: false }),
        r#"{"op":"attach","stdin":true,"stdout":true,"stderr":false}"#,
    );
    let exec = r#"{"op":"exec","exec_id":"e1","process":{"user":{"uid":0,"gid":0},"args":["true"],"cwd":"/"},"stdout":true}"#;
    let Request::Exec(exec) = serde_json::from_str(exec).unwrap() else { panic!() };
    assert!(exec.streams.stdout && !exec.streams.stdin && !exec.detach);
}

#[test]
fn replies_are_ok_or_error() {
    let ok = Reply::Ok(Started { pid: 7, start_ticks: 8, started_at_ns: 9 });
    assert_eq!(
        serde_json::to_string(&ok).unwrap(),
        r#"{"ok":{"pid":7,"start_ticks":8,"started_at_ns":9}}"#
    );
    let error: Reply<Started> =
        serde_json::from_str(r#"{"error":{"kind":"from_the_future","message":"m"}}"#).unwrap();
    assert_eq!(error.into_result().unwrap_err().kind, FailureKind::Other);
}

#[test]
fn frames_survive_any_split() {
    let mut bytes = Vec::new();
    frame::encode(frame::Stream::Stdout, b"hello", &mut bytes);
    frame::encode(frame::Stream::Stdin, b"", &mut bytes);
    for chunk in 1..bytes.len() {
        let mut decoder = frame::Decoder::default();
        let mut seen = Vec::new();
        for part in bytes.chunks(chunk) {
            decoder.push(part);
            while let Some((stream, payload)) = decoder.next_frame().unwrap() {
                seen.push((stream, payload.to_vec()));
            }
        }
        let expected = [(frame::Stream::Stdout, b"hello".to_vec()), (frame::Stream::Stdin, vec![])];
        assert_eq!(seen, expected);
        assert!(!decoder.is_partial());
    }
    let mut decoder = frame::Decoder::default();
    decoder.push(&[9, 0, 0, 0, 0, 0, 0, 0]);
    assert!(decoder.next_frame().is_err());
}
