//! Subscribing, losing the subscription, taking over, acknowledging.

use std::time::Duration;

use scheduler::v1::scheduler::{call, event};
use scheduler::v1::{self, TaskState, TaskStatus};
use scheduler::{Builder, Error, Event, Events, Framework};

use crate::master::Master;

async fn next(events: &mut Events) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
    event.expect("no event comes").expect("no error").expect("not the end")
}

async fn subscribed(events: &mut Events) -> scheduler::Subscribed {
    match next(events).await {
        Event::Subscribed(subscribed) => subscribed,
        other => panic!("{other:?} came in place of SUBSCRIBED"),
    }
}

fn builder(master: &Master) -> Builder {
    Builder::new(&master.address, Framework::new("test"))
}

#[tokio::test]
async fn calls_carry_the_stream_id_and_the_framework_id() {
    let master = Master::start().await;
    let (scheduler, mut events) = builder(&master).subscribe().expect("subscribing");
    assert!(matches!(scheduler.revive().await, Err(Error::NotSubscribed { call: "REVIVE" })));
    let mut stream = master.accept().await;
    assert_eq!(stream.call.r#type, Some(call::Type::Subscribe.into()));
    assert_eq!(stream.header("mesos-stream-id"), None);
    stream.subscribed("f1").await;
    assert!(!subscribed(&mut events).await.again);

    let calling = tokio::spawn(async move { scheduler.revive().await });
    let mut request = master.accept().await;
    assert_eq!(request.header("mesos-stream-id"), Some("s1"));
    assert_eq!(request.call.framework_id, Some("f1".into()));
    request.answer("202 Accepted", "", "").await;
    calling.await.expect("ran").expect("taken");
}

#[tokio::test]
async fn a_refused_call_says_what_the_master_said_and_the_next_one_goes_through() {
    let master = Master::start().await;
    let (scheduler, mut events) = builder(&master).subscribe().expect("subscribing");
    let mut stream = master.accept().await;
    stream.subscribed("f1").await;
    subscribed(&mut events).await;
    let calling = tokio::spawn(async move {
        let refused = scheduler.suppress().await;
        (refused, scheduler.revive().await)
    });
    let mut request = master.accept().await;
    request.answer("400 Bad Request", "", "Framework cannot be found").await;
    let mut request = master.accept().await;
    request.answer("202 Accepted", "", "").await;
    let (refused, taken) = calling.await.expect("ran");
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("SUPPRESS: 400 Framework cannot be found"), "{text}");
    taken.expect("taken");
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let (standby, leader) = (Master::start().await, Master::start().await);
    let (_scheduler, mut events) = builder(&standby).subscribe().expect("subscribing");
    let location = format!("Location: //{}/api/v1/scheduler\r\n", leader.address);
    standby.accept().await.answer("307 Temporary Redirect", &location, "").await;
    let mut stream = leader.accept().await;
    stream.subscribed("f1").await;
    assert_eq!(subscribed(&mut events).await.framework_id, "f1".into());
}

#[tokio::test]
async fn a_lost_subscription_is_made_again_under_the_same_id() {
    let master = Master::start().await;
    let (scheduler, mut events) = builder(&master).subscribe().expect("subscribing");
    let mut stream = master.accept().await;
    stream.subscribed("f1").await;
    subscribed(&mut events).await;
    drop(stream);
    assert!(matches!(next(&mut events).await, Event::Disconnected { .. }));
    assert!(scheduler.framework_id().is_none());

    let mut unready = master.accept().await;
    unready.answer("503 Service Unavailable", "", "Master has not finished recovery").await;
    let Event::Disconnected { cause } = next(&mut events).await else {
        panic!("a failed attempt is told");
    };
    assert!(cause.to_string().contains("Master has not finished recovery"), "{cause}");

    let mut stream = master.accept().await;
    assert_eq!(stream.call.framework_id, Some("f1".into()));
    let info = stream.call.subscribe.as_ref().map(|subscribe| &subscribe.framework_info);
    assert_eq!(info.and_then(|info| info.id.clone()), Some("f1".into()));
    stream.subscribed("f1").await;
    assert!(subscribed(&mut events).await.again);
}

#[tokio::test]
async fn an_error_event_is_the_end() {
    let master = Master::start().await;
    let (_scheduler, mut events) = builder(&master).subscribe().expect("subscribing");
    let mut stream = master.accept().await;
    stream.subscribed("f1").await;
    subscribed(&mut events).await;
    let error = event::Error { message: "Framework failed over".to_owned() };
    stream.event(event::Type::Error, |event| event.error = Some(error)).await;
    let refused = events.next().await.expect_err("refused");
    assert!(matches!(&refused, Error::Refused { message } if message == "Framework failed over"));
    assert!(events.next().await.expect("no second error").is_none());
}

#[tokio::test]
async fn an_update_is_acknowledged_when_the_next_event_is_asked_for() {
    let master = Master::start().await;
    let (_scheduler, mut events) = builder(&master).subscribe().expect("subscribing");
    let mut stream = master.accept().await;
    stream.subscribed("f1").await;
    subscribed(&mut events).await;
    let status = TaskStatus {
        task_id: "t1".into(),
        agent_id: Some("a1".into()),
        state: TaskState::TaskRunning.into(),
        uuid: Some(vec![7; 16].into()),
        ..Default::default()
    };
    // Without uuid, as a master's own updates are: not to be acknowledged.
    for uuid in [None, status.uuid.clone()] {
        let status = TaskStatus { uuid, ..status.clone() };
        let update = event::Update { status };
        stream.event(event::Type::Update, |event| event.update = Some(update)).await;
        assert!(matches!(next(&mut events).await, Event::Update(_)));
    }
    let waiting = tokio::spawn(async move { events.next().await });
    let mut request = master.accept().await;
    let acknowledge = request.call.acknowledge.clone().expect("an acknowledgement");
    assert_eq!((acknowledge.task_id, acknowledge.agent_id), ("t1".into(), "a1".into()));
    assert_eq!(acknowledge.uuid, vec![7; 16]);
    request.answer("202 Accepted", "", "").await;
    stream
        .event(event::Type::Rescind, |event| {
            event.rescind = Some(event::Rescind { offer_id: v1::OfferId::from("o1") });
        })
        .await;
    assert!(matches!(waiting.await.expect("ran"), Ok(Some(Event::Rescinded(_)))));
}

#[tokio::test]
async fn a_stored_id_takes_over_and_teardown_forgets_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("framework-id");
    let master = Master::start().await;
    let start = || builder(&master).id_file(&file).subscribe().expect("subscribing");

    let (first, mut events) = start();
    let mut stream = master.accept().await;
    assert_eq!(stream.call.framework_id, None);
    stream.subscribed("f1").await;
    subscribed(&mut events).await;
    drop((first, events, stream));

    let (second, mut events) = start();
    let mut stream = master.accept().await;
    assert_eq!(stream.call.framework_id, Some("f1".into()));
    stream.subscribed("f1").await;
    assert!(subscribed(&mut events).await.again);
    let ending = tokio::spawn(async move { second.teardown().await });
    let mut request = master.accept().await;
    assert_eq!(request.call.r#type, Some(call::Type::Teardown.into()));
    // The tasks' resources are offered to whoever is still there, and then
    // the original ends the stream before it answers.
    let offers = event::Offers { offers: vec![v1::Offer::default()] };
    stream.event(event::Type::Offers, |event| event.offers = Some(offers)).await;
    drop(stream);
    request.answer("202 Accepted", "", "").await;
    ending.await.expect("ran").expect("taken");
    assert!(events.next().await.expect("no error").is_none());
    assert!(!file.exists());
}
