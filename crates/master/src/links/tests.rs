use std::collections::BTreeSet;

use bytes::BytesMut;
use cluster::master::Input;
use mesos_api::internal::PingSlaveMessage;
use mesos_api::libprocess::{ACCEPTED, Decoder};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::handle::{Job, Queues, queues};

const WAIT: Duration = Duration::from_secs(10);

async fn peer() -> (TcpListener, Arc<str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pid = format!("slave(1)@{}", listener.local_addr().unwrap());
    (listener, pid.into())
}

fn links() -> (Links, Queues) {
    let (handle, queues) = queues();
    let from = "master@127.0.0.1:5050".parse().unwrap();
    (Links::new(from, handle, tokio::runtime::Handle::current()), queues)
}

fn ping() -> Box<ToAgent> {
    Box::new(ToAgent::Ping(PingSlaveMessage { connected: true }))
}

async fn next_input(queues: &mut Queues) -> Input {
    match timeout(WAIT, queues.jobs.recv()).await.unwrap().unwrap() {
        Job::TellAll(mut inputs) if inputs.len() == 1 => inputs.remove(0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn messages_arrive_in_order_over_one_connection() {
    let (listener, pid) = peer().await;
    let (mut links, _queues) = links();
    links.link(&pid);
    for _ in 0..3000 {
        links.send(&pid, ping());
    }
    links.flush();
    let (mut stream, _) = timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    let mut decoder = Decoder::new(1000);
    let mut seen = 0;
    while seen < 3000 {
        while let Some(request) = decoder.next_request().unwrap() {
            assert_eq!(request.name, "mesos.internal.PingSlaveMessage");
            assert_eq!(request.to, "slave(1)");
            stream.write_all(ACCEPTED).await.unwrap();
            seen += 1;
        }
        if seen < 3000 {
            timeout(WAIT, stream.read_buf(decoder.buffer())).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_link_that_breaks_is_reported() {
    let (listener, pid) = peer().await;
    let (mut links, mut queues) = links();
    links.link(&pid);
    links.flush();
    let (stream, _) = timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    drop(stream);
    assert!(matches!(next_input(&mut queues).await, Input::AgentGone { pid: gone } if gone == pid));
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_is_reported() {
    let (listener, pid) = peer().await;
    drop(listener);
    let (mut links, mut queues) = links();
    links.link(&pid);
    links.flush();
    assert!(matches!(next_input(&mut queues).await, Input::AgentGone { pid: gone } if gone == pid));
}

#[tokio::test]
async fn an_unlinked_connection_ends_quietly_after_what_was_sent() {
    let (listener, pid) = peer().await;
    let (mut links, mut queues) = links();
    links.link(&pid);
    links.send(&pid, ping());
    links.unlink(&pid);
    links.flush();
    let (mut stream, _) = timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    let mut all = BytesMut::new();
    while timeout(WAIT, stream.read_buf(&mut all)).await.unwrap().unwrap() > 0 {}
    assert!(all.starts_with(b"POST /slave(1)/mesos.internal.PingSlaveMessage"));
    assert!(queues.jobs.try_recv().is_err());
}

#[tokio::test]
async fn a_scheduler_that_goes_is_reported_as_one() {
    let (listener, pid) = peer().await;
    let (mut links, mut queues) = links();
    links.event(&pid, Box::default());
    links.flush();
    let (stream, _) = timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    drop(stream);
    let gone = next_input(&mut queues).await;
    assert!(matches!(gone, Input::SchedulerGone(Scheduler::Pid(gone)) if gone == pid));
}

#[tokio::test]
async fn processes_of_one_address_share_a_connection_and_are_reported_one_by_one() {
    let (listener, first) = peer().await;
    let second: Arc<str> = first.replace("slave(1)", "slave(2)").into();
    let third: Arc<str> = first.replace("slave(1)", "slave(3)").into();
    let (mut links, mut queues) = links();
    for pid in [&first, &second, &third] {
        links.link(pid);
        links.send(pid, ping());
    }
    links.unlink(&second);
    links.flush();
    let (mut stream, _) = timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    let mut decoder = Decoder::new(1000);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        timeout(WAIT, stream.read_buf(decoder.buffer())).await.unwrap().unwrap();
        seen.extend(std::iter::from_fn(|| decoder.next_request().unwrap()).map(|it| it.to));
    }
    assert_eq!(seen, ["slave(1)", "slave(2)", "slave(3)"]);
    drop(stream);
    let Some(Job::TellAll(gone)) = timeout(WAIT, queues.jobs.recv()).await.unwrap() else {
        panic!("nothing is reported");
    };
    let gone: BTreeSet<_> = gone
        .into_iter()
        .map(|input| match input {
            Input::AgentGone { pid } => pid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(gone, BTreeSet::from([first, third]));
}
