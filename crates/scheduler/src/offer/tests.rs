use super::*;
use crate::scalar;
use crate::task::Network;

fn ports(ranges: &[(u64, u64)]) -> v1::Resource {
    let range = ranges.iter().map(|(begin, end)| value::Range { begin: *begin, end: *end });
    v1::Resource {
        name: "ports".to_owned(),
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges { range: range.collect() }),
        ..Default::default()
    }
}

fn reserved(mut resource: v1::Resource, role: &str) -> v1::Resource {
    resource
        .reservations
        .push(v1::resource::ReservationInfo { role: Some(role.to_owned()), ..Default::default() });
    resource
}

fn offer(resources: Vec<v1::Resource>) -> Offer {
    Offer::new(v1::Offer { resources, ..Default::default() })
}

#[test]
fn tasks_are_cut_out_until_nothing_fits() {
    let mut offer = offer(vec![scalar("cpus", 0.3), scalar("mem", 1000.0)]);
    let task = Task::shell("t", "true").cpus(0.1).mem_mb(10.0);
    for _ in 0..3 {
        assert!(offer.place(&task).is_some());
    }
    // In doubles, 0.3 - 0.1 - 0.1 is less than 0.1.
    assert_eq!((offer.cpus(), offer.mem_mb()), (0.0, 970.0));
    assert!(offer.place(&task).is_none());
    assert_eq!(offer.mem_mb(), 970.0, "a task that does not fit takes nothing");
}

#[test]
fn reserved_resources_go_first_and_keep_their_reservation() {
    let mut offer =
        offer(vec![scalar("cpus", 4.0), reserved(scalar("cpus", 1.0), "web"), scalar("mem", 64.0)]);
    let placed = offer.place(&Task::shell("t", "true").cpus(1.5)).expect("5 processors are there");
    let cpus: Vec<_> = placed.resources.iter().filter(|r| r.name == "cpus").collect();
    assert_eq!(cpus.len(), 2);
    assert_eq!(cpus[0].reservations[0].role.as_deref(), Some("web"));
    assert_eq!(cpus[0].scalar.map(|s| s.value), Some(1.0));
    assert_eq!(cpus[1].scalar.map(|s| s.value), Some(0.5));
    assert!(cpus[1].reservations.is_empty());
}

#[test]
fn volumes_and_revocable_resources_are_left_alone() {
    let mut disk = scalar("disk", 100.0);
    disk.disk = Some(Box::default());
    let mut cpus = scalar("cpus", 8.0);
    cpus.revocable = Some(v1::resource::RevocableInfo::default());
    let mut offer = offer(vec![disk, cpus, scalar("mem", 64.0)]);
    assert_eq!((offer.cpus(), offer.disk_mb()), (0.0, 0.0));
    assert!(offer.place(&Task::shell("t", "true")).is_none());
}

#[test]
fn ports_are_taken_fixed_ones_first() {
    let plenty = [scalar("cpus", 1.0), scalar("mem", 64.0)];
    let resources = plenty.into_iter().chain([ports(&[(31000, 31002)])]).collect();
    let mut offer = offer(resources);
    let task = Task::docker("t", "i").network(Network::Bridge).publish(80).publish_at(31000, 443);
    let placed = offer.place(&task).expect("three ports are there");
    let docker = placed.container.and_then(|c| c.docker).expect("a Docker task");
    let given: Vec<_> =
        docker.port_mappings.iter().map(|m| (m.host_port, m.container_port)).collect();
    assert_eq!(given, [(31001, 80), (31000, 443)]);
    assert_eq!(offer.ports(), [31002..=31002]);
    assert!(offer.place(&task).is_none(), "31000 is gone");
}
