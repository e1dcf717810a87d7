//! What nobody should send to an agent: an answer that says so, and tasks that do not notice.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{busybox, eventually};

use super::framework;

#[derive(PartialEq)]
enum Then {
    Listen,
    HangUp,
}

/// Sends bytes as they are; returns what comes back.
fn exchange(agent: SocketAddr, request: &[u8], then: Then) -> Result<String> {
    let mut stream = TcpStream::connect(agent)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // The agent may hang up before it has heard everything.
    let _ = stream.write_all(request);
    if then == Then::HangUp {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post(path: &str, media: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {media}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn nonsense_is_answered_and_harms_nobody() -> Result<()> {
    let Some((cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let agent = cluster.agent();
    let mut task = busybox("HOST", "exec sleep 1000");
    task["kill_policy"] = serde_json::json!({"grace_period": {"nanoseconds": 0}});
    let id = scheduler.launch(&[task])?.remove(0);
    scheduler.until(&id, "TASK_RUNNING")?;
    let (json, protobuf) = ("application/json", "application/x-protobuf");
    let deep = "[".repeat(100_000);
    let unknown = r#"{"framework_id":{"value":"x"},"executor_id":{"value":"y"},
                      "type":"SUBSCRIBE","subscribe":{}}"#;
    let beat = unknown.replace("SUBSCRIBE", "HEARTBEAT");
    // A task of a command has no executor that could speak for it.
    let posing = format!(
        r#"{{"framework_id":{{"value":"{}"}},"executor_id":{{"value":"{id}"}},
            "type":"SUBSCRIBE","subscribe":{{}}}}"#,
        scheduler.id()
    );
    let executor = "/api/v1/executor";
    let calls: [(&str, &str, &[u8], &str, &str); 17] = [
        (executor, json, b"", "400", "Failed to parse body into JSON"),
        (executor, json, b"{\"type\":", "400", "Failed to parse body into JSON"),
        (executor, json, b"\xff\xfe{}", "400", ""),
        (executor, json, deep.as_bytes(), "400", ""),
        (executor, json, b"[]", "400", "Expecting a JSON object"),
        (executor, json, b"{\"type\":\"SUBSCRIBE\"}", "400", "Failed to convert JSON into"),
        (executor, json, unknown.as_bytes(), "400", "Framework cannot be found"),
        (executor, json, posing.as_bytes(), "400", "Executor cannot be found"),
        (executor, protobuf, b"\x0a\xff\xff\xff\xff\x0f", "400", "Failed to parse body into"),
        (executor, "text/plain", b"{}", "415", "Expecting 'Content-Type' of"),
        (executor, json, beat.as_bytes(), "202", ""),
        ("/api/v1", json, b"{}", "400", "Expecting 'type' to be present"),
        ("/api/v1", json, b"{\"type\":\"UNKNOWN\"}", "501", ""),
        ("/api/v1", "text/plain", b"{}", "415", "x-protobuf or application/recordio"),
        ("/api/v1", json, b"{\"type\":\"READ_FILE\"}", "400", "'read_file' to be present"),
        ("/api/v1", protobuf, b"\x08", "400", "Failed to parse body into"),
        ("/api/v1", json, b"{\"type\":\"LAUNCH_CONTAINER\"}", "400", "'launch_container' to be"),
    ];
    for (path, media, body, status, text) in calls {
        let answer = exchange(agent, &post(path, media, body), Then::Listen)?;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let first = answer.lines().next().unwrap_or_default();
        ensure!(first.contains(status), "{path} {shown}: {answer}");
        ensure!(answer.contains(text), "{path} {shown}: {answer}");
    }
    for (line, text) in [
        ("GET /api/v1/executor", "Expecting one of { 'POST' }, but received 'GET'."),
        ("PUT /api/v1", "Expecting one of { 'POST' }, but received 'PUT'."),
        ("GET /metrics/snapshot?timeout=soon", "Invalid timeout 'soon': "),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = exchange(agent, request.as_bytes(), Then::Listen)?;
        ensure!(answer.contains(text), "{line}: {answer}");
    }
    // Whoever announces too much, too little, or no end is let go.
    let too_long = "POST /api/v1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                    Content-Length: 99999999999\r\n\r\n{";
    let whole = post("/api/v1", json, b"{\"type\":\"GET_STATE\"}");
    let truncated = &whole[..whole.len() - 5];
    let chunk = "POST /api/v1/executor HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                 Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{";
    let line = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    for request in
        [too_long.as_bytes(), truncated, chunk.as_bytes(), line.as_bytes(), b"\x16\x03\x01"]
    {
        let answer = exchange(agent, request, Then::HangUp)?;
        ensure!(!answer.contains(" 200 "), "{answer}");
    }
    // Messages that are none of a master's are dropped, as libprocess drops them.
    for (name, body) in [
        ("RunTaskMessage", &b"\x0a\xff"[..]),
        ("NoSuchMessage", b"x"),
        ("KillTaskMessage", b"\x0a\x03\x0a\x01x\x12\x03\x0a\x01y"),
    ] {
        let path = format!("/slave(1)/mesos.internal.{name}");
        let answer = exchange(agent, &post(&path, protobuf, body), Then::Listen)?;
        ensure!(answer.contains(" 202 "), "{name}: {answer}");
    }
    let state = e2e::http::get_path(agent, "/state")?;
    ensure!(state.contains(&id), "the agent has lost its task: {state}");
    scheduler.kill(&id)?;
    scheduler.until(&id, "TASK_KILLED")?;
    Ok(())
}

#[test]
fn what_fills_the_disk_fails_and_makes_room_again() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let agent_disk = Some("8m".to_owned());
    let options = e2e::ClusterOptions { agent_disk, ..Default::default() };
    let cluster = e2e::Cluster::start_with(options)?;
    let mut scheduler = e2e::Scheduler::subscribe(cluster.master())?;
    let web = e2e::Web::start(vec![("/large", "200 OK", vec![0; 32 << 20])])?;
    let large = format!("http://127.0.0.1:{}/large", web.port());
    for cache in [false, true] {
        let uris = serde_json::json!([{"value": large, "cache": cache}]);
        let task = serde_json::json!({"command": {"value": "true", "uris": uris}});
        let id = scheduler.launch(&[task])?.remove(0);
        let updates = scheduler.until(&id, "TASK_FAILED")?;
        let last = updates.last().context("no update")?;
        let message = last["message"].as_str().context("no message")?;
        ensure!(message.contains("No space left on device"), "{message}");
        ensure!(message.contains(&large), "{message}");
    }
    let id = scheduler.launch(&[serde_json::json!({"command": {"value": "exit 5"}})])?.remove(0);
    let updates = scheduler.until(&id, "TASK_FAILED")?;
    let last = updates.last().context("no update")?;
    ensure!(last["message"] == "Command exited with status 5", "{last}");
    // A task that fills it itself ends as it ends.
    let script = "dd if=/dev/zero of=filler bs=65536 2>/dev/null; rm filler; exit 6";
    let id = scheduler.launch(&[serde_json::json!({"command": {"value": script}})])?.remove(0);
    let updates = scheduler.until(&id, "TASK_FAILED")?;
    let last = updates.last().context("no update")?;
    ensure!(last["message"] == "Command exited with status 6", "{last}");
    eventually("everything is acknowledged", || {
        let state = e2e::http::get_path(cluster.agent(), "/state")?;
        let state: serde_json::Value = serde_json::from_str(&state)?;
        ensure!(state["frameworks"] == serde_json::json!([]), "{}", state["frameworks"]);
        Ok(())
    })
}
