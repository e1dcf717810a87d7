use futures_util::{FutureExt, StreamExt};

use super::*;
use crate::filter::Filters;

fn filter(pairs: &[(&str, &str)]) -> EventFilter {
    EventFilter::new(pairs.iter().copied().collect::<Filters>()).unwrap()
}

fn start(id: &str) -> Event {
    Event::new(EventType::Container, "start", id).with("name", "web").with("image", "debian:12")
}

fn drain(stream: &mut EventStream) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(Some(event)) = stream.next().now_or_never() {
        ids.push(event.actor_id.clone());
    }
    ids
}

#[tokio::test]
async fn replay_joins_live_events_without_gap() {
    let bus = EventBus::new();
    bus.publish(start("a"));
    let mut fresh = bus.subscribe(EventFilter::default(), EventRange::default());
    let range = EventRange { since_nanos: Some(0), until_nanos: None };
    let mut replayed = bus.subscribe(EventFilter::default(), range);
    bus.publish(start("b"));
    assert_eq!(drain(&mut fresh), ["b"]);
    assert_eq!(drain(&mut replayed), ["a", "b"]);
}

#[tokio::test]
async fn until_in_the_past_ends_the_stream() {
    let bus = EventBus::new();
    bus.publish(start("a"));
    let range = EventRange { since_nanos: None, until_nanos: Some(now_nanos()) };
    let all: Vec<_> = bus.subscribe(EventFilter::default(), range).collect().await;
    assert_eq!(all.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn until_in_the_future_ends_the_stream_in_time() {
    let bus = EventBus::new();
    let until = now_nanos() + 60_000_000_000;
    let range = EventRange { since_nanos: None, until_nanos: Some(until) };
    let mut stream = bus.subscribe(EventFilter::default(), range);
    bus.publish(start("a"));
    assert!(stream.next().await.is_some());
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_and_others_go_on() {
    let bus = EventBus::new();
    let slow = bus.subscribe(EventFilter::default(), EventRange::default());
    let mut quick = bus.subscribe(EventFilter::default(), EventRange::default());
    for n in 0..=QUEUED_EVENTS {
        bus.publish(start(&n.to_string()));
        assert!(quick.next().await.is_some());
    }
    assert_eq!(slow.collect::<Vec<_>>().await.len(), QUEUED_EVENTS);
    bus.publish(start("last"));
    assert_eq!(drain(&mut quick), ["last"]);
}

#[test]
fn memory_is_bounded_and_times_increase() {
    let bus = EventBus::new();
    for n in 0..KEPT_EVENTS + 10 {
        bus.publish(start(&n.to_string()));
    }
    let state = bus.lock();
    assert_eq!(state.kept.len(), KEPT_EVENTS);
    assert!(
        state
            .kept
            .iter()
            .zip(state.kept.iter().skip(1))
            .all(|(a, b)| { a.time_nanos < b.time_nanos })
    );
}

#[tokio::test]
async fn the_journal_survives_a_restart_and_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    EventBus::open(&path).publish(start("a"));
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend_from_slice(b"{\"type\":\"cont");
    std::fs::write(&path, torn).unwrap();
    EventBus::open(&path).publish(start("b"));
    let bus = EventBus::open(&path);
    let range = EventRange { since_nanos: Some(0), until_nanos: None };
    assert_eq!(drain(&mut bus.subscribe(EventFilter::default(), range)), ["a", "b"]);
}

#[test]
fn filters_match_as_the_engine_api_says() {
    let event = start("0123456789ab").with("role", "db");
    let rows: &[(&[(&str, &str)], bool)] = &[
        (&[], true),
        (&[("type", "container")], true),
        (&[("type", "image")], false),
        (&[("container", "web")], true),
        (&[("container", "0123")], true),
        (&[("container", "other")], false),
        (&[("event", "start"), ("event", "die")], true),
        (&[("event", "stop")], false),
        (&[("image", "debian")], true),
        (&[("image", "debian:12")], true),
        (&[("image", "deb")], false),
        (&[("label", "role=db")], true),
        (&[("label", "role=web")], false),
        (&[("scope", "local")], true),
        (&[("scope", "swarm")], false),
        (&[("volume", "data")], false),
    ];
    for (pairs, expected) in rows {
        assert_eq!(filter(pairs).accepts(&event), *expected, "{pairs:?}");
    }
    let exec = Event::new(EventType::Container, "exec_create: sh -c ls", "a");
    assert!(filter(&[("event", "exec_create")]).accepts(&exec));
    assert!(!filter(&[("event", "exec_start")]).accepts(&exec));
    let pull = Event::new(EventType::Image, "pull", "localhost:5000/a:v1")
        .with("name", "localhost:5000/a");
    assert!(filter(&[("image", "localhost:5000/a")]).accepts(&pull));
    assert!(EventFilter::new([("colour", "red")].into_iter().collect()).is_err());
}
