use std::future::poll_fn;

use mesos_api::json;
use mesos_api::recordio::Decoder;
use tokio::sync::mpsc;

use super::*;
use crate::handle::{Job, queues};

fn event(kind: event::Type) -> Box<Event> {
    Box::new(Event { r#type: Some(kind.into()), ..Event::default() })
}

/// The events of the next piece.
async fn next(stream: &mut EventStream) -> Vec<String> {
    let mut decoder = Decoder::new(1000);
    if let Some(records) = poll_fn(|cx| stream.poll_next(cx)).await {
        decoder.feed(&records);
    }
    std::iter::from_fn(|| decoder.next_record().unwrap())
        .map(|record| json::from_slice::<Event>(&record).unwrap().r#type().as_str_name().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_follows_subscribed_at_once_and_then_at_its_pace() {
    let (handle, mut queues) = queues();
    let (sender, events) = mpsc::channel(10);
    let every = Duration::from_secs(15);
    let mut stream = EventStream::new("id".into(), events, Media::Json, every, handle);
    sender.send(event(event::Type::Subscribed)).await.unwrap();
    sender.send(event(event::Type::Offers)).await.unwrap();
    let started = tokio::time::Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.extend(next(&mut stream).await);
    }
    assert_eq!(seen, ["SUBSCRIBED", "HEARTBEAT", "OFFERS", "HEARTBEAT", "HEARTBEAT"]);
    assert_eq!(started.elapsed(), every * 2);
    drop(sender);
    assert!(next(&mut stream).await.is_empty());
    drop(stream);
    let gone = queues.jobs.recv().await.unwrap();
    assert!(matches!(gone, Job::Tell(Input::SchedulerGone(Scheduler::Stream(id))) if &*id == "id"));
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_a_stream_without_heartbeats() {
    let (handle, _queues) = queues();
    let (sender, events) = mpsc::channel(10);
    let mut stream =
        EventStream::new("id".into(), events, Media::Json, Duration::from_secs(1), handle);
    sender.send(event(event::Type::Error)).await.unwrap();
    drop(sender);
    assert_eq!(next(&mut stream).await, ["ERROR"]);
    assert!(next(&mut stream).await.is_empty());
}
