//! What the allocator has to divide, and how it is divided among roles.

use cluster::master::Snapshot;
use cluster::resources::Quantities;

use super::{Metrics, count, set};

/// The resources that are told always.
const ALWAYS: [&str; 3] = ["cpus", "mem", "disk"];

pub(super) fn allocator(snapshot: &Snapshot, metrics: &mut Metrics) {
    let mut total = Quantities::default();
    let mut given = Quantities::default();
    for agent in &snapshot.agents {
        total.add(&Quantities::from(&agent.facts.total));
        agent.used.values().for_each(|used| given.add(&Quantities::from(used)));
        given.add(&Quantities::from(&agent.offered));
    }
    for name in ALWAYS {
        let prefix = format!("allocator/mesos/resources/{name}");
        set(metrics, &format!("{prefix}/total"), total.get(name).as_f64());
        set(metrics, &format!("{prefix}/offered_or_allocated"), given.get(name).as_f64());
    }
    // The allocator runs in the master's turn: what waits for it is one run or none.
    let due = f64::from(u8::from(snapshot.allocation_due));
    set(metrics, "allocator/event_queue_dispatches", due);
    set(metrics, "allocator/mesos/event_queue_dispatches", due);
    roles(snapshot, metrics);
}

fn roles(snapshot: &Snapshot, metrics: &mut Metrics) {
    for (name, role) in snapshot.roles() {
        let filters = format!("allocator/mesos/offer_filters/roles/{name}/active");
        set(metrics, &filters, count(role.filters));
        set(metrics, &format!("allocator/mesos/roles/{name}/shares/dominant"), role.share);
        let prefix = format!("allocator/mesos/quota/roles/{name}/resources");
        for (resource, amount) in role.consumed.iter() {
            set(metrics, &format!("{prefix}/{resource}/consumed"), amount.as_f64());
        }
        let Some(quota) = &role.quota else { continue };
        let given = Quantities::from(&role.allocated.plus(&role.offered));
        for (resource, guaranteed) in quota.guarantees.iter() {
            let given = given.get(resource).as_f64();
            set(metrics, &format!("{prefix}/{resource}/guarantee"), guaranteed.as_f64());
            set(metrics, &format!("{prefix}/{resource}/offered_or_allocated"), given);
        }
        for (resource, limit) in &quota.limits {
            set(metrics, &format!("{prefix}/{resource}/limit"), limit.as_f64());
        }
    }
}
