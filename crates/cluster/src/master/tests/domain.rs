//! Regions and zones of masters and agents.

use mesos_api::v1;
use mesos_api::v1::domain_info::{FaultDomain, fault_domain};
use mesos_api::v1::framework_info::capability::Type as Capability;

use super::harness::*;
use crate::master::Config;
use crate::wire::{FromAgent, ToAgent};

fn domain(region: &str) -> Option<v1::DomainInfo> {
    Some(v1::DomainInfo {
        fault_domain: Some(FaultDomain {
            region: fault_domain::RegionInfo { name: region.into() },
            zone: fault_domain::ZoneInfo { name: "z".into() },
        }),
    })
}

fn master_in(region: Option<&str>) -> World {
    let mut config: Config = config();
    config.info.domain = region.and_then(domain);
    World::new(config)
}

fn info(domain: Option<v1::DomainInfo>) -> v1::AgentInfo {
    v1::AgentInfo {
        hostname: "h".into(),
        resources: wire("cpus:2;mem:512"),
        checkpoint: Some(true),
        domain,
        ..v1::AgentInfo::default()
    }
}

/// What an agent that is not taken is told.
fn refusal(world: &mut World, domain: Option<v1::DomainInfo>) -> String {
    let agent = Agent { id: "".into(), pid: "slave(1)@10.1.1.1:5051".into(), info: info(domain) };
    world.say(&agent, FromAgent::Register(register_message(&agent.info)));
    let told = world.messages(&agent);
    match told.as_slice() {
        [ToAgent::Shutdown(message)] => message.message().to_owned(),
        _ => panic!("it was told {told:?}"),
    }
}

#[test]
fn agent_domain_same_region_different_region_and_unset() {
    for (theirs, offered, to_aware) in
        [(domain("here"), 1, 1), (domain("there"), 0, 1), (None, 1, 1)]
    {
        let mut world = master_in(Some("here"));
        world.agent_at("slave(1)@10.1.1.1:5051".into(), info(theirs.clone()));
        let framework = world.framework(framework_info(&[]));
        let offers = world.offers(&framework);
        assert_eq!(offers.len(), offered, "{theirs:?}");
        world.decline(&framework, &offers, 1000.0);
        let aware = world.framework(framework_info(&[Capability::RegionAware]));
        let offers = world.offers(&aware);
        assert_eq!(offers.len(), to_aware, "{theirs:?}");
        assert_eq!(offers[0].domain, theirs);
    }
}

#[test]
fn agent_domain_mismatch() {
    let told = refusal(&mut master_in(None), domain("here"));
    assert!(told.contains("the master has none"), "{told}");
}

#[test]
fn registration_without_required_agent_domain() {
    let mut config = config();
    config.info.domain = domain("here");
    config.require_agent_domain = true;
    let told = refusal(&mut World::new(config), None);
    assert!(told.contains("--domain"), "{told}");
}

#[test]
fn agent_domain_mismatch_on_reregister() {
    let mut world = master_in(None);
    let mut agent = world.agent_at("slave(1)@10.1.1.1:5051".into(), info(None));
    world.break_link(&agent);
    agent.info.domain = domain("here");
    world.reregister(&agent, Vec::new());
    assert!(matches!(world.messages(&agent).as_slice(), [ToAgent::Shutdown(_)]));
}
