use std::future::poll_fn;

use mesos_api::json;
use mesos_api::recordio::Decoder;
use tokio::sync::mpsc;

use super::*;
use crate::handle::queues;

fn event(kind: event::Type) -> Box<Event> {
    Box::new(Event { r#type: Some(kind.into()), ..Event::default() })
}

async fn next(stream: &mut EventStream) -> Option<String> {
    let record = poll_fn(|cx| stream.poll_next(cx)).await?;
    let mut decoder = Decoder::new(1000);
    decoder.feed(&record);
    let event: Event = json::from_slice(&decoder.next_record().unwrap().unwrap()).unwrap();
    Some(event.r#type().as_str_name().to_owned())
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
    for _ in 0..5 {
        seen.push(next(&mut stream).await.unwrap());
    }
    assert_eq!(seen, ["SUBSCRIBED", "HEARTBEAT", "OFFERS", "HEARTBEAT", "HEARTBEAT"]);
    assert_eq!(started.elapsed(), every * 2);
    drop(sender);
    assert_eq!(next(&mut stream).await, None);
    drop(stream);
    let gone = queues.jobs.recv().await.unwrap().input;
    assert!(matches!(gone, Input::SchedulerGone(Scheduler::Stream(id)) if &*id == "id"));
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_a_stream_without_heartbeats() {
    let (handle, _queues) = queues();
    let (sender, events) = mpsc::channel(10);
    let mut stream =
        EventStream::new("id".into(), events, Media::Json, Duration::from_secs(1), handle);
    sender.send(event(event::Type::Error)).await.unwrap();
    drop(sender);
    assert_eq!(next(&mut stream).await.as_deref(), Some("ERROR"));
    assert_eq!(next(&mut stream).await, None);
}
