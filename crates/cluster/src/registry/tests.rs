use super::*;

fn id(n: u32) -> AgentId {
    AgentId::from(format!("m-S{n}"))
}

fn agent(hostname: &str) -> AdmittedAgent {
    let info = v1::AgentInfo { hostname: hostname.into(), ..v1::AgentInfo::default() };
    AdmittedAgent { info: Arc::new(info), deactivated: false, drain: None }
}

/// Applies the changes, and checks after each that what was written reads back as what is held.
fn check(ops: Vec<Op>) -> Registry {
    let mut registry = Registry::default();
    let mut store: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for op in ops {
        for write in registry.apply(op) {
            match write.value {
                Some(value) => store.insert(write.key, value),
                None => store.remove(&write.key),
            };
        }
        assert_eq!(Registry::load(&store).unwrap(), registry);
    }
    registry
}

#[test]
fn recover_admit_and_remove() {
    let registry = check(vec![
        Op::Admit { id: id(0), agent: agent("a") },
        Op::Admit { id: id(1), agent: agent("b") },
        Op::Remove(id(0)),
        Op::Remove(id(7)),
    ]);
    assert_eq!(registry.agents.keys().cloned().collect::<Vec<_>>(), [id(1)]);
}

#[test]
fn mark_unreachable_then_reachable_then_gone() {
    let drain = Drain {
        max_grace_period: Some(Duration::from_secs(3)),
        mark_gone: true,
        drained: false,
        started: Time::from_nanos(5),
    };
    let draining = AdmittedAgent { deactivated: true, drain: Some(drain), ..agent("a") };
    let registry = check(vec![
        Op::Admit { id: id(0), agent: draining.clone() },
        Op::MarkUnreachable { id: id(0), now: Time::from_nanos(7) },
    ]);
    assert!(registry.agents.is_empty());
    assert_eq!(
        registry.unreachable[&id(0)].agent,
        Some(draining.clone()),
        "drains when it is back"
    );
    let registry = check(vec![
        Op::Admit { id: id(0), agent: draining.clone() },
        Op::MarkUnreachable { id: id(0), now: Time::from_nanos(7) },
        Op::MarkReachable { id: id(0), agent: draining },
        Op::MarkGone { id: id(0), now: Time::from_nanos(9) },
    ]);
    assert!(registry.agents.is_empty() && registry.unreachable.is_empty());
    assert_eq!(registry.gone[&id(0)], Time::from_nanos(9));
}

#[test]
fn frameworks_keep_their_failover_timeout() {
    let info = v1::FrameworkInfo { failover_timeout: Some(60.0), ..v1::FrameworkInfo::default() };
    let framework = FrameworkId::from("m-0000");
    let set = Op::SetFramework { id: framework.clone(), info: Arc::new(info) };
    let registry = check(vec![set.clone()]);
    assert_eq!(registry.frameworks[&framework].failover_timeout, Some(60.0));
    let removed = Op::RemoveFramework { id: framework.clone(), now: Time::from_nanos(1) };
    let registry = check(vec![set, removed]);
    assert!(registry.frameworks.is_empty());
    assert!(registry.removed_frameworks.contains_key(&framework));
}

#[test]
fn maintenance_quota_and_weights_read_back() {
    let machine = MachineId { hostname: "a".into(), ip: String::new() };
    let down = Machine { mode: MachineMode::Down, start: Time::from_nanos(4), duration: None };
    let quota = Quota {
        guarantees: [(Arc::from("cpus"), Scalar::from_milli(1500))].into_iter().collect(),
        limits: [(Arc::from("mem"), Scalar::ZERO)].into_iter().collect(),
    };
    check(vec![
        Op::SetMachine { id: machine.clone(), machine: Some(down) },
        Op::SetQuota { role: Role::from("a/b"), quota: Some(quota) },
        Op::SetWeight { role: Role::from("a"), weight: 2.5 },
        Op::SetMachine { id: machine, machine: None },
        Op::SetQuota { role: Role::from("a/b"), quota: None },
    ]);
}

#[test]
fn a_bad_value_is_named_and_an_unknown_key_is_left_alone() {
    let error = Registry::load([("agent/x", [0xff_u8, 0xff].as_slice())]).unwrap_err();
    assert_eq!(error.key, "agent/x");
    assert_eq!(Registry::load([("future/x", [1_u8].as_slice())]).unwrap(), Registry::default());
}
