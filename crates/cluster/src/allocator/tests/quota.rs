//! What quotas guarantee and limit.

use super::*;

fn quota(guarantees: &str, limits: &str) -> Option<Quota> {
    let read = |text: &str| {
        if text.is_empty() { Quantities::default() } else { quantities(text) }
    };
    let limits = read(limits).iter().map(|(name, most)| (name.clone(), most)).collect();
    Some(Quota { guarantees: read(guarantees), limits })
}

#[test]
fn quota_provides_guarantee() {
    let mut bench = Bench::new(options());
    bench.allocator.set_quota(&"r1".into(), quota("cpus:2;mem:1024", ""));
    bench.framework("f2", spec(&["r2"]));
    bench.agent("a1", "cpus:1;mem:512");
    bench.agent("a2", "cpus:1;mem:512");
    assert!(bench.winners().is_empty(), "kept for r1, though nobody is there to take it");
    bench.framework("f1", spec(&["r1"]));
    assert_eq!(bench.winners(), ["f1", "f1"]);
    bench.agent("a3", "cpus:1;mem:512");
    assert_eq!(bench.winners(), ["f2"], "the guarantee is met");
}

#[test]
fn quota_provides_limit() {
    let mut bench = Bench::new(options());
    bench.allocator.set_quota(&"r1".into(), quota("", "cpus:1;mem:512"));
    bench.framework("f1", spec(&["r1"]));
    bench.agent("a1", "cpus:3;mem:2048");
    let given = bench.run();
    assert_eq!(given[0].3, resources("cpus:1;mem:512"));
    assert_eq!(given.len(), 1);
    bench.agent("a2", "cpus:1;mem:512");
    assert!(bench.winners().is_empty());
}

#[test]
fn remove_quota() {
    let mut bench = Bench::new(options());
    bench.allocator.set_quota(&"r1".into(), quota("cpus:2;mem:1024", ""));
    bench.framework("f2", spec(&["r2"]));
    bench.agent("a1", "cpus:1;mem:512");
    assert!(bench.winners().is_empty());
    bench.allocator.set_quota(&"r1".into(), None);
    assert_eq!(bench.winners(), ["f2"]);
}

/// Guarantees are met in pieces: of an agent that has more than is missing, the rest is for all.
#[test]
fn quota_allocation_granularity() {
    let mut bench = Bench::new(options());
    bench.allocator.set_quota(&"r1".into(), quota("cpus:1;mem:512", "cpus:1;mem:512"));
    bench.framework("f1", spec(&["r1"]));
    bench.framework("f2", spec(&["r2"]));
    bench.agent("a1", "cpus:2;mem:1024");
    let given = bench.run();
    let half = |framework: &str, role: &str| {
        (framework.into(), role.into(), "a1".into(), resources("cpus:1;mem:512"))
    };
    assert_eq!(given, [half("f1", "r1"), half("f2", "r2")]);
}

/// What is guaranteed to a role that has nothing yet is not given away, however many others wait;
/// only what is free beyond that is.
#[test]
fn quota_against_starvation() {
    let mut bench = Bench::new(options());
    bench.allocator.set_quota(&"r1".into(), quota("cpus:1;mem:512", ""));
    bench.framework("f2", spec(&["r2"]));
    bench.agent("a1", "cpus:1;mem:512");
    assert!(bench.winners().is_empty());
    bench.agent("a2", "cpus:2;mem:1024");
    let given: Resources =
        bench.run().into_iter().fold(Resources::new(), |sum, (.., what)| sum.plus(&what));
    assert_eq!(given, resources("cpus:2;mem:1024"), "what the guarantee does not need");
    // The others hold all the rest: the one with the guarantee still gets its part.
    bench.framework("f1", spec(&["r1"]));
    assert_eq!(bench.winners(), ["f1"]);
}

/// What is reserved to a role counts towards its guarantee, used or not, so that nothing more has
/// to be kept for it.
#[test]
fn quota_headroom_when_reservations_exceed_the_guarantee() {
    let mut bench = Bench::new(options());
    bench.allocator.set_quota(&"r1".into(), quota("cpus:1;mem:512", ""));
    bench.framework("f2", spec(&["r2"]));
    bench.agent("a1", "cpus:1;mem:512");
    assert!(bench.winners().is_empty());
    bench.agent("a2", "cpus(r1):2;mem(r1):1024");
    assert_eq!(bench.winners(), ["f2"]);
}

/// What can be taken back at any time is beside all quotas.
#[test]
fn revocable_resources_do_not_count_towards_a_quota() {
    let mut bench = Bench::new(options());
    bench.allocator.set_quota(&"r1".into(), quota("", "cpus:1;mem:512"));
    let capabilities =
        FrameworkCapabilities { revocable_resources: true, ..FrameworkCapabilities::default() };
    bench.framework("f1", FrameworkSpec { capabilities, ..spec(&["r1"]) });
    let spare = resources("cpus:4").map(|resource| resource.revocable = true);
    let held = BTreeMap::from([("f1".into(), spare.allocated_to(&"r1".into()))]);
    let info = Arc::new(v1::AgentInfo::default());
    let total = spare.plus(&resources("cpus:1;mem:512"));
    bench.allocator.add_agent(&"a1".into(), info, AgentCapabilities::all(), total, &held);
    let given = bench.run();
    assert_eq!(given.len(), 1);
    assert_eq!(given[0].3, resources("cpus:1;mem:512"));
}
