//! `/slaves`, and agents where they appear elsewhere.

use std::collections::BTreeMap;

use cluster::id::Role;
use cluster::master::{AgentFacts, AgentSnapshot, Snapshot};
use cluster::resources::Resources;
use mesos_api::json::{Json, Writer};
use mesos_api::v1;
use mesos_api::v1::value;

use super::super::forms::Fields;
use super::{flag, member, number, resources};
use crate::view;

/// The endpoint.
pub(super) fn write(snapshot: &Snapshot, query: &Fields) -> String {
    let wanted = |id: &str| query.get("slave_id").is_none_or(|text| text == id);
    let mut to = Writer::new();
    to.begin_object();
    to.array("slaves", |to| {
        for agent in snapshot.agents.iter().filter(|agent| wanted(agent.facts.id.as_str())) {
            to.begin_object();
            summary(agent, to);
            full(agent, to);
            to.end_object();
        }
    });
    to.array("recovered_slaves", |to| {
        for info in view::recovered_agents(snapshot).filter(|info| wanted(id(info))) {
            to.begin_object();
            identity(info, to);
            to.end_object();
        }
    });
    to.end_object();
    to.into_string()
}

/// The agents of `/state`.
pub(super) fn members(snapshot: &Snapshot, to: &mut Writer) {
    to.array("slaves", |to| {
        for agent in &snapshot.agents {
            to.begin_object();
            summary(agent, to);
            to.end_object();
        }
    });
    to.array("recovered_slaves", |to| {
        for info in view::recovered_agents(snapshot) {
            to.begin_object();
            identity(info, to);
            to.end_object();
        }
    });
}

fn id(info: &v1::AgentInfo) -> &str {
    info.id.as_ref().map_or("", AsRef::as_ref)
}

fn identity(info: &v1::AgentInfo, to: &mut Writer) {
    member(to, "id", id(info));
    member(to, "hostname", &info.hostname);
    to.name("port");
    to.i64(i64::from(info.port()));
    to.object("attributes", |to| info.attributes.iter().for_each(|it| attribute(it, to)));
    if let Some(domain) = &info.domain {
        to.name("domain");
        domain.write_json(to);
    }
}

fn attribute(attribute: &v1::Attribute, to: &mut Writer) {
    to.name(&attribute.name);
    match attribute.r#type() {
        value::Type::Scalar => to.f64(attribute.scalar.as_ref().map_or(0.0, |it| it.value)),
        value::Type::Ranges => {
            let ranges = attribute.ranges.iter().flat_map(|ranges| &ranges.range);
            let ranges: Vec<String> =
                ranges.map(|range| format!("{}-{}", range.begin, range.end)).collect();
            to.string(&format!("[{}]", ranges.join(", ")));
        }
        value::Type::Set => {
            let items: Vec<&str> =
                attribute.set.iter().flat_map(|set| &set.item).map(|item| &**item).collect();
            to.string(&format!("{{{}}}", items.join(", ")));
        }
        value::Type::Text => to.string(attribute.text.as_ref().map_or("", |it| &*it.value)),
    }
}

/// What all endpoints say of an agent.
pub(super) fn summary(agent: &AgentSnapshot, to: &mut Writer) {
    let facts = &agent.facts;
    let [first, reservations, last] = facts.memo.get_or_make(|| settled(facts));
    to.raw(first);
    resources::sum(to, "used_resources", &view::agent_used(agent));
    resources::sum(to, "offered_resources", &agent.offered);
    to.raw(reservations);
    flag(to, "active", agent.active);
    flag(to, "deactivated", agent.deactivated);
    to.raw(last);
    if let Some(drain) = &agent.drain {
        to.name("drain_info");
        view::drain_info(drain).write_json(to);
        number(to, "estimated_drain_start_time_seconds", drain.started.as_secs_f64());
    }
}

/// The members that stay as they are while tasks and offers come and go, in three parts as others
/// stand between them.
fn settled(facts: &AgentFacts) -> [String; 3] {
    let part = |write: &dyn Fn(&mut Writer)| {
        let mut to = Writer::new();
        write(&mut to);
        to.into_string()
    };
    [
        part(&|to| {
            identity(&facts.info, to);
            member(to, "pid", &facts.pid);
            number(to, "registered_time", facts.registered.as_secs_f64());
            if let Some(reregistered) = facts.reregistered {
                number(to, "reregistered_time", reregistered.as_secs_f64());
            }
            resources::sum(to, "resources", &facts.total);
        }),
        part(&|to| {
            to.object("reserved_resources", |to| {
                for (role, reserved) in reservations(&facts.total) {
                    resources::sum(to, role.as_str(), &reserved);
                }
            });
            resources::sum(to, "unreserved_resources", &facts.total.unreserved());
        }),
        part(&|to| {
            member(to, "version", &facts.version);
            to.array("capabilities", |to| {
                for capability in &facts.capabilities {
                    to.string(capability.r#type().as_str_name());
                }
            });
        }),
    ]
}

/// What `/slaves` says on top: every resource as a message.
fn full(agent: &AgentSnapshot, to: &mut Writer) {
    to.object("reserved_resources_full", |to| {
        for (role, reserved) in reservations(&agent.facts.total) {
            to.messages(role.as_str(), &view::resources(&reserved));
        }
    });
    to.messages("unreserved_resources_full", &view::resources(&agent.facts.total.unreserved()));
    to.messages("used_resources_full", &view::resources(&view::agent_used(agent)));
    to.messages("offered_resources_full", &view::resources(&agent.offered));
}

fn reservations(total: &Resources) -> BTreeMap<Role, Resources> {
    let mut by_role: BTreeMap<Role, Resources> = BTreeMap::new();
    for resource in total.reserved().iter() {
        if let Some(role) = resource.reserved_role() {
            by_role.entry(role.clone()).or_default().add(resource);
        }
    }
    by_role
}
