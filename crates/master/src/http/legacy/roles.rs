//! `/roles`

use cluster::master::Snapshot;
use cluster::resources::{Quantities, Resources};
use mesos_api::json::Writer;

use super::{member, number, resources};

/// The endpoint.
pub(super) fn write(snapshot: &Snapshot) -> String {
    let mut to = Writer::new();
    to.begin_object();
    to.array("roles", |to| {
        for (name, role) in snapshot.roles() {
            to.begin_object();
            member(to, "name", name.as_str());
            number(to, "weight", role.weight);
            to.object("quota", |to| {
                member(to, "role", name.as_str());
                let quota = role.quota.clone().unwrap_or_default();
                resources::quantities(to, "guarantee", &quota.guarantees);
                let limits = quota.limits.iter().map(|(name, amount)| (name, *amount));
                resources::amounts(to, "limit", limits);
                resources::quantities(to, "consumed", &role.consumed);
            });
            let mut sum = |name, of: &Resources| {
                resources::quantities(to, name, &Quantities::from(of));
            };
            sum("resources", &role.allocated.plus(&role.offered));
            sum("allocated", &role.allocated);
            sum("offered", &role.offered);
            sum("reserved", &role.reserved);
            to.array("frameworks", |to| {
                role.frameworks.iter().for_each(|framework| to.string(framework.as_str()));
            });
            to.end_object();
        }
    });
    to.end_object();
    to.into_string()
}
