//! Who is offered what, after the tests of Mesos' hierarchical allocator.

mod quota;

use super::*;
use crate::rng::Rng;

const ROLES: [&str; 2] = ["r1", "r2"];

/// An allocator, its time and its luck.
struct Bench {
    allocator: Allocator,
    now: Time,
    rng: Rng,
}

fn resources(text: &str) -> Resources {
    Resources::parse(text, &Role::star()).unwrap()
}

fn quantities(text: &str) -> Quantities {
    Quantities::from(&resources(text))
}

fn options() -> Options {
    Options {
        allocation_interval: Duration::from_secs(1),
        min_allocatable: vec![quantities("cpus:0.01"), quantities("mem:32")],
        filter_gpu_resources: true,
        fair_sharing_excluded: Vec::new(),
        region: None,
        whitelist: None,
    }
}

fn roles(names: &[&str]) -> BTreeSet<Role> {
    names.iter().map(|name| Role::from(*name)).collect()
}

fn spec(names: &[&str]) -> FrameworkSpec {
    FrameworkSpec { roles: roles(names), ..FrameworkSpec::default() }
}

impl Bench {
    fn new(options: Options) -> Self {
        let now = Time::from_nanos(1_000_000_000_000);
        Self { allocator: Allocator::new(options), now, rng: Rng::new(7) }
    }

    fn agent(&mut self, id: &str, total: &str) {
        self.agent_with(id, total, &BTreeMap::new());
    }

    fn agent_with(&mut self, id: &str, total: &str, used: &BTreeMap<FrameworkId, Resources>) {
        let info = v1::AgentInfo { hostname: format!("host-of-{id}"), ..Default::default() };
        let info = Arc::new(info);
        let all = AgentCapabilities::all();
        self.allocator.add_agent(&id.into(), info, all, resources(total), used);
    }

    fn framework(&mut self, id: &str, spec: FrameworkSpec) {
        self.allocator.add_framework(&id.into(), spec, &BTreeMap::new());
    }

    /// A run over all agents: framework, role, agent and what of it, in that order.
    fn run(&mut self) -> Vec<(String, String, String, Resources)> {
        let grants = self.allocator.allocate(self.now, &mut self.rng, Scope::All);
        grants
            .into_iter()
            .map(|grant| {
                let (framework, role) = (grant.framework.as_str(), grant.role.as_str());
                let agent = grant.agent.as_str();
                let what = grant.resources.unallocated();
                (framework.to_owned(), role.to_owned(), agent.to_owned(), what)
            })
            .collect()
    }

    /// To whom a run gives something, once for each agent.
    fn winners(&mut self) -> Vec<String> {
        self.run().into_iter().map(|(framework, ..)| framework).collect()
    }

    /// A framework gives something of an agent back, not to see it for so many milliseconds.
    fn recover(&mut self, framework: &str, role: &str, agent: &str, what: &str, refuse: u64) {
        let what = resources(what).allocated_to(&role.into());
        let refuse = (refuse > 0).then(|| Duration::from_millis(refuse));
        self.allocator.recover(self.now, &framework.into(), &agent.into(), &what, refuse);
    }
}

#[test]
fn unreserved_drf() {
    let mut bench = Bench::new(options());
    bench.agent("a1", "cpus:2;mem:1024");
    bench.framework("f1", spec(&["r1"]));
    assert_eq!(
        bench.run(),
        [("f1".into(), "r1".into(), "a1".into(), resources("cpus:2;mem:1024"))],
        "an agent is offered as a whole"
    );
    bench.framework("f2", spec(&["r2"]));
    bench.agent("a2", "cpus:1;mem:512");
    assert_eq!(bench.winners(), ["f2"]);
    // r1 has two thirds and r2 one.
    bench.agent("a3", "cpus:3;mem:2048");
    assert_eq!(bench.winners(), ["f2"]);
    // r2 has four sixths of the cpus, r1 two; and of r1, f3 has nothing.
    bench.framework("f3", spec(&["r1"]));
    bench.agent("a4", "cpus:4;mem:4096");
    assert_eq!(bench.winners(), ["f3"]);
}

#[test]
fn drf_with_fairness_exclusion() {
    let excluded = Options { fair_sharing_excluded: vec!["gpus".into()], ..options() };
    for (options, winner) in [(options(), "f2"), (excluded, "f1")] {
        let mut bench = Bench::new(options);
        let capabilities =
            FrameworkCapabilities { gpu_resources: true, ..FrameworkCapabilities::default() };
        bench.framework("f1", FrameworkSpec { capabilities, ..spec(&["r1"]) });
        bench.agent("a1", "cpus:1;mem:512;gpus:1");
        assert_eq!(bench.winners(), ["f1"]);
        bench.framework("f2", spec(&["r2"]));
        bench.agent("a2", "cpus:2;mem:1024");
        assert_eq!(bench.winners(), ["f2"]);
        // By cpus r2 has more; by gpus r1 has all there are.
        bench.agent("a3", "cpus:1;mem:512");
        assert_eq!(bench.winners(), [winner]);
    }
}

#[test]
fn nested_role_drf() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["a/b"]));
    bench.framework("f2", spec(&["a/c"]));
    bench.framework("f3", spec(&["d"]));
    for agent in ["a1", "a2", "a3", "a4"] {
        bench.agent(agent, "cpus:1;mem:128");
    }
    let mut winners = bench.winners();
    winners.sort();
    // Half goes to all below a together, half to d.
    assert_eq!(winners, ["f1", "f2", "f3", "f3"]);
}

#[test]
fn update_weight() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["r1"]));
    bench.framework("f2", spec(&["r2"]));
    bench.allocator.set_weight(&"r2".into(), 2.0);
    for number in 0..6 {
        bench.agent(&format!("a{number}"), "cpus:2;mem:1024");
    }
    let winners = bench.winners();
    assert_eq!(winners.iter().filter(|winner| *winner == "f2").count(), 4, "{winners:?}");
    assert_eq!(winners.len(), 6);
}

#[test]
fn allocatable() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["r1"]));
    bench.agent("neither", "cpus:0.005;mem:31");
    assert!(bench.winners().is_empty());
    bench.agent("cpus", "cpus:0.01;mem:1");
    bench.agent("mem", "cpus:0.001;mem:32");
    assert_eq!(bench.winners(), ["f1", "f1"]);
}

#[test]
fn framework_min_allocatable() {
    let mut bench = Bench::new(options());
    let least = BTreeMap::from([(Role::from("r1"), vec![quantities("cpus:2")])]);
    bench.framework("f1", FrameworkSpec { min_allocatable: least, ..spec(&["r1"]) });
    bench.agent("a1", "cpus:1;mem:4096");
    assert!(bench.winners().is_empty());
    bench.agent("a2", "cpus:2;mem:1");
    assert_eq!(bench.winners(), ["f1"]);
}

#[test]
fn framework_empty_min_allocatable() {
    let mut bench = Bench::new(options());
    let least = BTreeMap::from([(Role::from("r1"), Vec::new())]);
    bench.framework("f1", FrameworkSpec { min_allocatable: least, ..spec(&["r1"]) });
    bench.agent("a1", "cpus:0.001;mem:1");
    assert_eq!(bench.winners(), ["f1"]);
}

/// A filter keeps back what was refused and any part of it, and nothing that is more.
#[test]
fn offer_filter() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["r1"]));
    bench.agent("a1", "cpus:2;mem:1024");
    assert_eq!(bench.winners(), ["f1"]);
    bench.recover("f1", "r1", "a1", "cpus:1;mem:512", 3_600_000);
    assert!(bench.winners().is_empty(), "the same");
    bench.recover("f1", "r1", "a1", "cpus:1;mem:512", 0);
    assert_eq!(bench.winners(), ["f1"], "more");
    bench.recover("f1", "r1", "a1", "cpus:2;mem:1024", 3_600_000);
    let less =
        BTreeMap::from([(AgentId::from("a1"), resources("cpus:1").allocated_to(&"r2".into()))]);
    bench.allocator.add_framework(&"f2".into(), FrameworkSpec::default(), &less);
    assert!(bench.winners().is_empty(), "a part");
    bench.now = bench.now + Duration::from_secs(3_601);
    assert_eq!(bench.winners(), ["f1"], "the time has passed");
}

#[test]
fn small_offer_filter_timeout() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["r1"]));
    bench.agent("a1", "cpus:1;mem:512");
    bench.run();
    bench.recover("f1", "r1", "a1", "cpus:1;mem:512", 1);
    bench.now = bench.now + Duration::from_millis(999);
    assert!(bench.winners().is_empty(), "a filter lasts at least to the next periodic run");
    bench.now = bench.now + Duration::from_millis(1);
    assert_eq!(bench.winners(), ["f1"]);
}

#[test]
fn suppress_and_revive_offers_with_multi_role() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&ROLES));
    bench.allocator.suppress(&"f1".into(), &roles(&["r1"]));
    bench.agent("a1", "cpus:1;mem:512");
    assert_eq!(bench.run()[0].1, "r2");
    bench.allocator.suppress(&"f1".into(), &roles(&ROLES));
    bench.agent("a2", "cpus:1;mem:512");
    assert!(bench.winners().is_empty());
    bench.allocator.revive(&"f1".into(), &roles(&["r1"]));
    assert_eq!(bench.run()[0].1, "r1");
}

#[test]
fn revive_offers() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["r1"]));
    bench.agent("a1", "cpus:1;mem:512");
    bench.run();
    bench.recover("f1", "r1", "a1", "cpus:1;mem:512", 3_600_000);
    assert!(bench.winners().is_empty());
    bench.allocator.revive(&"f1".into(), &roles(&["r1"]));
    assert_eq!(bench.winners(), ["f1"]);
}

#[test]
fn deactivate_and_reactivate_framework() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["r1"]));
    bench.allocator.deactivate_framework(&"f1".into());
    bench.agent("a1", "cpus:1;mem:512");
    assert!(bench.winners().is_empty());
    bench.allocator.activate_framework(&"f1".into());
    assert_eq!(bench.winners(), ["f1"]);
}

/// What a framework holds counts once, whichever of it and the agent is known first.
#[test]
fn no_double_accounting() {
    let mut bench = Bench::new(options());
    let used = |framework: &str, what: &str| {
        BTreeMap::from([(FrameworkId::from(framework), resources(what).allocated_to(&"r1".into()))])
    };
    bench.agent_with("a1", "cpus:2;mem:1024", &used("f1", "cpus:1;mem:512"));
    bench.framework("f1", spec(&["r1"]));
    bench.agent_with("a2", "cpus:2;mem:1024", &used("f1", "cpus:1;mem:512"));
    for agent in ["a1", "a2"] {
        assert_eq!(bench.allocator.available(&agent.into()), resources("cpus:1;mem:512"));
    }
    assert_eq!(*bench.allocator.total(), quantities("cpus:4;mem:2048"));
    bench.allocator.remove_agent(&"a1".into());
    bench.agent("a1", "cpus:2;mem:1024");
    assert_eq!(bench.allocator.available(&"a1".into()), resources("cpus:2;mem:1024"));
    assert_eq!(*bench.allocator.total(), quantities("cpus:4;mem:2048"));
}

#[test]
fn an_agent_with_gpus_is_for_frameworks_that_know_of_them() {
    let mut bench = Bench::new(options());
    bench.framework("f1", spec(&["r1"]));
    bench.agent("a1", "cpus:1;mem:512;gpus:1");
    assert!(bench.winners().is_empty());
    let capabilities =
        FrameworkCapabilities { gpu_resources: true, ..FrameworkCapabilities::default() };
    bench.framework("f2", FrameworkSpec { capabilities, ..spec(&["r2"]) });
    assert_eq!(bench.winners(), ["f2"]);
    let mut bench = Bench::new(Options { filter_gpu_resources: false, ..options() });
    bench.framework("f1", spec(&["r1"]));
    bench.agent("a1", "cpus:1;mem:512;gpus:1");
    assert_eq!(bench.winners(), ["f1"]);
}

#[test]
fn whitelist() {
    let hosts = |all: &[&str]| all.iter().map(|host| (*host).to_owned()).collect::<BTreeSet<_>>();
    let mut bench = Bench::new(Options { whitelist: Some(hosts(&["host-of-a1"])), ..options() });
    bench.agent("a1", "cpus:2;mem:1024");
    bench.agent("a2", "cpus:2;mem:1024");
    bench.framework("f1", spec(&["r1"]));
    let offered = |bench: &mut Bench| {
        let given = bench.allocator.allocate(bench.now, &mut bench.rng, Scope::Changed);
        given.iter().map(|grant| grant.agent.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(offered(&mut bench), ["a1"]);
    let explained = bench.allocator.explain(bench.now, &"f1".into()).unwrap();
    assert_eq!(explained[&Role::from("r1")].obstacles[&Obstacle::NotWhitelisted], 1);
    // A change is heeded at once; what was offered before stays so.
    bench.allocator.set_whitelist(hosts(&["host-of-a2", "elsewhere"]));
    assert!(bench.allocator.wants_run());
    assert_eq!(offered(&mut bench), ["a2"]);
    // Nobody is on an empty list.
    bench.agent("a3", "cpus:2;mem:1024");
    bench.allocator.set_whitelist(BTreeSet::new());
    assert!(bench.run().is_empty());
}
