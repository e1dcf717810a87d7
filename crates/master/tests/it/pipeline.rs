//! Calls that follow each other on one connection before any is answered, and what comes between.

use std::time::Duration;

use mesos_api::json;
use mesos_api::v1::scheduler::{Call, call, event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::authentication::guarded;
use crate::world::{Framework, WAIT, World, framework};

/// Asks how a task is that nobody knows: the answer is an event.
fn reconcile(framework: &Framework<'_>, task: &str, stream: &str) -> String {
    let task = call::reconcile::Task { task_id: task.into(), agent_id: None };
    let call = Call {
        framework_id: framework.id.clone(),
        r#type: Some(call::Type::Reconcile.into()),
        reconcile: Some(call::Reconcile { tasks: vec![task] }),
        ..Call::default()
    };
    let body = json::to_string(&call);
    format!(
        "POST /api/v1/scheduler HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\n\
         Mesos-Stream-Id: {stream}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The statuses of so many answers.
async fn statuses(connection: &mut TcpStream, count: usize) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said);
        let found: Vec<String> = text
            .match_indices("HTTP/1.1 ")
            .filter_map(|(at, version)| Some(text.get(at + version.len()..)?.get(..3)?.to_owned()))
            .collect();
        if found.len() >= count {
            return found;
        }
        let more = timeout(WAIT, connection.read_buf(&mut said)).await.expect("answers").unwrap();
        assert!(more > 0, "closed after {}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_and_done_in_their_order_whatever_is_between_them() {
    let world = World::start().await;
    let mut scheduler = world.subscribe(framework()).await;
    let stream = scheduler.stream.clone();
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    let mut sent = String::new();
    for task in ["a", "b", "c"] {
        sent += &reconcile(&scheduler, task, &stream);
    }
    // The last comes in two pieces.
    let (first, second) = sent.split_at(sent.len() - 7);
    connection.write_all(first.as_bytes()).await.unwrap();
    assert_eq!(statuses(&mut connection, 2).await, ["202", "202"]);
    sent = second.to_owned();
    sent += "GET /health HTTP/1.1\r\nHost: m\r\n\r\n";
    sent += &reconcile(&scheduler, "d", "another");
    sent += &reconcile(&scheduler, "e", &stream);
    connection.write_all(sent.as_bytes()).await.unwrap();
    assert_eq!(statuses(&mut connection, 4).await, ["202", "200", "400", "202"]);
    for task in ["a", "b", "c", "e"] {
        let told = scheduler.until(event::Type::Update).await.update.unwrap().status;
        assert_eq!(told.task_id.value, task);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_call_of_a_connection_may_be_refused_and_the_next_not() {
    let world = World::start().await;
    let mut scheduler = world.subscribe(framework()).await;
    let stream = scheduler.stream.clone();
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    let sent = reconcile(&scheduler, "a", "another") + &reconcile(&scheduler, "b", &stream);
    connection.write_all(sent.as_bytes()).await.unwrap();
    assert_eq!(statuses(&mut connection, 2).await, ["400", "202"]);
    let told = scheduler.until(event::Type::Update).await.update.unwrap().status;
    assert_eq!(told.task_id.value, "b");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_follow_each_other_need_credentials_like_any() {
    let world = guarded().await;
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    let call = "POST /api/v1/scheduler HTTP/1.1\r\nHost: m\r\nMesos-Stream-Id: s\r\n\
                Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    connection.write_all(call.as_bytes()).await.unwrap();
    assert_eq!(statuses(&mut connection, 1).await, ["401"]);
    world.stop().await;
}

/// Sends a request and waits for the answer, which has no body; without its date.
async fn answer(connection: &mut TcpStream, request: &str) -> String {
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        let more = timeout(WAIT, connection.read_buf(&mut said)).await.expect("an answer").unwrap();
        assert!(more > 0, "closed after {}", String::from_utf8_lossy(&said));
    }
    let text = String::from_utf8(said).unwrap();
    let (before, date) = text.split_once("date: ").expect("a date");
    let (date, after) = date.split_once("\r\n").unwrap();
    assert!(date.ends_with(" GMT"), "{date}");
    format!("{before}{after}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_in_the_same_words_after_other_requests_as_before() {
    let world = World::start().await;
    let scheduler = world.subscribe(framework()).await;
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    let call = reconcile(&scheduler, "a", &scheduler.stream);
    let before = answer(&mut connection, &call).await;
    answer(&mut connection, "GET /health HTTP/1.1\r\nHost: m\r\n\r\n").await;
    assert_eq!(before, answer(&mut connection, &call).await);
    world.stop().await;
}

/// Lets an hour pass on a connection that is silent.
async fn hour() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_connection_may_be_silent_for_as_long_as_it_likes() {
    let world = World::start().await;
    let scheduler = world.subscribe(framework()).await;
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    let call = reconcile(&scheduler, "a", &scheduler.stream);
    answer(&mut connection, &call).await;
    hour().await;
    answer(&mut connection, &call).await;
    // From here on the HTTP server has the connection.
    answer(&mut connection, "GET /health HTTP/1.1\r\nHost: m\r\n\r\n").await;
    hour().await;
    answer(&mut connection, &call).await;
    world.stop().await;
}
