//! Peers that send what is no message, too much of one, or half of one. Each is told or left; the
//! master serves the others all the same.

use mesos_api::internal;
use mesos_api::libprocess::{self, Upid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{Agent, WAIT, World, framework};

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.address).await.unwrap()
}

/// Everything that the master says until it closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    timeout(WAIT, stream.read_to_end(&mut said)).await.expect("the master closes").unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_sends_what_is_no_message_may_go_on() {
    let world = World::start().await;
    let mut stream = connect(&world).await;
    let from = Upid::new("slave(1)", world.address);
    let to = Upid::new("master", world.address);
    let mut bytes = Vec::new();
    for (name, body) in [
        ("mesos.internal.RegisterSlaveMessage", &b"\xff\xff\xff"[..]),
        // The agent's description must be there.
        ("mesos.internal.RegisterSlaveMessage", b""),
        ("mesos.internal.NoSuchMessage", b""),
        ("mesos.scheduler.Call", b"\x0a"),
    ] {
        libprocess::encode(&mut bytes, &from, &to, name, body);
    }
    let nobody = Upid::new("nobody", world.address);
    libprocess::encode(&mut bytes, &from, &nobody, "mesos.internal.PongSlaveMessage", b"");
    stream.write_all(&bytes).await.unwrap();
    let mut answers = vec![0; 4 * libprocess::ACCEPTED.len()];
    timeout(WAIT, stream.read_exact(&mut answers)).await.unwrap().unwrap();
    assert_eq!(answers, libprocess::ACCEPTED.repeat(4), "messages are answered, whatever they are");
    let mut refused = [0; 12];
    timeout(WAIT, stream.read_exact(&mut refused)).await.unwrap().unwrap();
    assert_eq!(&refused, b"HTTP/1.1 404");
    let agents = world.operate(r#"{"type":"GET_AGENTS"}"#).await.body;
    assert!(agents.contains(r#""agents":[]"#), "{agents}");
    let mut agent = Agent::connect(&world).await;
    agent.ask_to_register(&[]).await;
    agent.receive::<internal::SlaveRegisteredMessage>().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_or_none_ends_its_connection() {
    let world = World::start().await;
    let head = "POST /master/mesos.internal.PongSlaveMessage HTTP/1.1\r\n\
                Libprocess-From: slave(1)@127.0.0.1:9\r\n";
    for rest in [
        "Content-Length: 999999999999\r\n\r\n",
        "Content-Length: many\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut stream = connect(&world).await;
        stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        assert_eq!(until_closed(&mut stream).await, "", "{rest:?}");
    }
    // Half a message, and the peer is gone.
    let mut stream = connect(&world).await;
    stream.write_all(format!("{head}Content-Length: 10\r\n\r\n12345").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(until_closed(&mut stream).await, "");
    let mut agent = Agent::connect(&world).await;
    agent.ask_to_register(&[]).await;
    agent.receive::<internal::SlaveRegisteredMessage>().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_call_is_refused_and_half_a_body_is_nothing() {
    let world = World::start().await;
    let json = [("content-type", "application/json")];
    let protobuf = [("content-type", "application/x-protobuf")];
    for (headers, body, expected) in [
        (json, r#"{"type":"SUBSCRIBE","subscribe":{"framew"#, "Failed to parse body into JSON"),
        (json, "[]", "Expecting a JSON object"),
        (json, "", "Failed to parse body into JSON"),
        (protobuf, "\u{8}\u{1}\u{12}\u{7f}", "Failed to parse body into Call protobuf"),
        (protobuf, "", "Failed to validate"),
    ] {
        for path in ["/api/v1", "/api/v1/scheduler"] {
            let answer = world.ask("POST", path, &headers, body).await;
            assert_eq!(answer.status, 400, "{path} {body}: {answer:?}");
            assert!(answer.body.contains(expected), "{path} {body}: {answer:?}");
        }
    }
    let mut stream = connect(&world).await;
    let head = "POST /api/v1 HTTP/1.1\r\nHost: master\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"type\":";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    until_closed(&mut stream).await;
    let mut scheduler = world.subscribe(framework()).await;
    let _agent = Agent::register(&world).await;
    assert_eq!(scheduler.offers().await.len(), 1);
    world.stop().await;
}
