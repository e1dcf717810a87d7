//! Persistent volumes.

use mesos_api::internal as wire;
use mesos_api::v1::Resource;
use mesos_api::v1::resource::{DiskInfo, ReservationInfo, disk_info};

use super::harness::*;
use crate::agent::{Output, VolumeId};
use crate::wire::ToAgent;

#[test]
fn volumes_are_made_and_deleted_as_the_master_says() {
    let volume = |id: &str| {
        let persistence = Some(disk_info::Persistence { id: id.to_owned(), principal: None });
        let disk = Some(Box::new(DiskInfo { persistence, ..DiskInfo::default() }));
        let reservation = ReservationInfo { role: Some("r".to_owned()), ..Default::default() };
        Resource { disk, reservations: vec![reservation], ..Resource::default() }
    };
    let named = |id: &str| VolumeId { role: "r".to_owned(), id: id.to_owned() };
    let mut rig = Rig::registered();
    let mut hear = |resources| {
        rig.hear(ToAgent::CheckpointResources(wire::CheckpointResourcesMessage { resources }));
        std::mem::take(&mut rig.did)
    };
    assert_eq!(hear(vec![volume("a")]), [Output::MakeVolume(named("a"))]);
    assert_eq!(
        hear(vec![volume("b")]),
        [Output::DeleteVolume(named("a")), Output::MakeVolume(named("b"))]
    );
    assert_eq!(hear(vec![volume("b"), Resource::default()]), []);
}
