//! What a master knows after it was gone.

use mesos_api::internal::{ReregisterSlaveMessage, SlaveReregisteredMessage};
use mesos_api::v1::FrameworkInfo;

use crate::world::{Agent, World, framework};

#[tokio::test(flavor = "multi_thread")]
async fn agents_and_frameworks_come_back_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let work_dir = format!("--work_dir={}", dir.path().display());
    let world = World::start_with(&[&work_dir]).await;
    let agent = Agent::register(&world).await;
    let info = FrameworkInfo { failover_timeout: Some(600.0), ..framework() };
    let scheduler = world.subscribe(info.clone()).await;
    let (agent_id, framework_id) = (agent.id.clone(), scheduler.id.clone());
    drop(scheduler);
    world.stop().await;

    let world = World::start_with(&[&work_dir]).await;
    let recovered = world.get("/slaves").await.body;
    assert!(recovered.starts_with(r#"{"slaves":[],"recovered_slaves":[{"id":"#), "{recovered}");
    let frameworks = world.get("/frameworks").await.body;
    assert!(frameworks.contains(r#""recovered":true"#), "{frameworks}");
    assert!(frameworks.contains(r#""failover_timeout":600.0"#), "{frameworks}");

    let mut again = Agent::connect(&world).await;
    again.info.id = agent_id.clone();
    let message = ReregisterSlaveMessage {
        agent: again.info.clone(),
        version: Some("1.11.0".to_owned()),
        ..Default::default()
    };
    again.send(&message).await;
    let back: SlaveReregisteredMessage = again.receive().await;
    assert_eq!(Some(back.agent_id), agent_id);

    let mut scheduler = world.subscribe(FrameworkInfo { id: framework_id.clone(), ..info }).await;
    assert_eq!(scheduler.id, framework_id);
    assert_eq!(scheduler.offers().await.len(), 1);
    world.stop().await;
}
