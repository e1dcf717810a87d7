use std::fs;

use cluster::agent::Record;
use mesos_api::internal::PongSlaveMessage;
use mesos_api::v1::AgentInfo;

use super::*;
use crate::layout::Layout;

fn record() -> Output {
    let info = AgentInfo { id: Some("S0".into()), ..AgentInfo::default() };
    Output::Persist(Box::new(Record::Agent(info)))
}

fn stop(container: &str) -> Output {
    Output::Destroy { container: container.into() }
}

fn pong() -> Output {
    Output::Send(Box::new(FromAgent::Pong(PongSlaveMessage {})))
}

#[tokio::test]
async fn what_follows_a_record_waits_for_it_and_keeps_its_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::new(dir.path());
    let mut journal = Journal::start(Store::new(layout.clone())).expect("a thread");
    assert_eq!(journal.take(vec![stop("0")]), [stop("0")], "nothing to wait for");
    assert!(journal.take(vec![record(), stop("a")]).is_empty());
    assert!(journal.take(vec![stop("b")]).is_empty(), "behind what waits");
    assert_eq!(journal.take(vec![record(), pong(), stop("c")]), [pong()]);
    assert_eq!(journal.written().await, [record(), stop("a")]);
    assert!(layout.latest().join("slave.info").exists());
    assert_eq!(journal.written().await, [stop("b"), record(), stop("c")]);
    assert!(journal.is_empty());
}

#[tokio::test]
async fn a_disk_that_takes_nothing_keeps_everything_waiting() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::new(dir.path());
    fs::write(layout.meta(), "in the way").expect("a file");
    let mut journal = Journal::start(Store::new(layout.clone())).expect("a thread");
    assert!(journal.take(vec![record(), stop("a")]).is_empty());
    assert!(journal.take(vec![stop("b")]).is_empty());
    assert!(journal.written().await.is_empty());
    assert!(journal.is_stuck() && !journal.is_empty());
    assert_eq!(journal.waiting()[..], [record(), stop("a"), stop("b")]);
    assert_eq!(journal.take(vec![pong(), stop("c")]), [pong()]);
    fs::remove_file(layout.meta()).expect("out of the way");
    assert_eq!(journal.written().await, [record(), stop("a"), stop("b"), stop("c")]);
    assert!(!journal.is_stuck() && journal.is_empty());
}
