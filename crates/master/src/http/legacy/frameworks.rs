//! `/frameworks`, and frameworks where they appear elsewhere.

use cluster::master::{FrameworkSnapshot, Link, OfferSnapshot, Scheduler, Snapshot};
use cluster::resources::Resources;
use mesos_api::json::{Json, Writer};
use mesos_api::v1;
use mesos_api::v1::framework_info::capability::Type;

use super::super::forms::Fields;
use super::{flag, labels, member, number, resources, tasks};
use crate::view::{self, Index};

/// The endpoint.
pub(super) fn write(snapshot: &Snapshot, query: &Fields) -> String {
    let wanted = |framework: &&FrameworkSnapshot| {
        query.get("framework_id").is_none_or(|text| text == framework.id.as_str())
    };
    let index = Index::new(snapshot);
    let mut to = Writer::new();
    to.begin_object();
    to.array("frameworks", |to| {
        let frameworks = snapshot.frameworks.iter().filter(wanted);
        frameworks.for_each(|framework| full(&index, framework, to));
    });
    to.array("completed_frameworks", |to| {
        let frameworks = view::completed_frameworks(snapshot).filter(wanted);
        frameworks.for_each(|framework| full(&index, framework, to));
    });
    to.array("unregistered_frameworks", |_| {});
    to.end_object();
    to.into_string()
}

/// The frameworks of `/state`.
pub(super) fn members(snapshot: &Snapshot, to: &mut Writer) {
    let index = Index::new(snapshot);
    to.array("frameworks", |to| snapshot.frameworks.iter().for_each(|it| full(&index, it, to)));
    to.array("completed_frameworks", |to| {
        view::completed_frameworks(snapshot).for_each(|it| full(&index, it, to));
    });
}

/// What all endpoints say of a framework.
pub(super) fn summary(index: &Index<'_>, framework: &FrameworkSnapshot, to: &mut Writer) {
    summary_with(&framework.offered(), index, framework, to);
}

/// The same by one who knows what is offered to the framework: the sum of thousands of offers.
fn summary_with(
    offered: &Resources,
    index: &Index<'_>,
    framework: &FrameworkSnapshot,
    to: &mut Writer,
) {
    let info = &framework.info;
    member(to, "id", framework.id.as_str());
    member(to, "name", &info.name);
    if let Link::Connected(Scheduler::Pid(pid)) = &framework.link {
        member(to, "pid", pid);
    }
    resources::sum(to, "used_resources", &index.used(&framework.id));
    resources::sum(to, "offered_resources", offered);
    to.array("capabilities", |to| {
        for capability in &info.capabilities {
            to.string(capability.r#type().as_str_name());
        }
    });
    member(to, "hostname", info.hostname());
    member(to, "webui_url", info.webui_url());
    flag(to, "active", framework.is_connected());
    flag(to, "connected", framework.is_connected());
    flag(to, "recovered", framework.is_recovered());
}

fn full(index: &Index<'_>, framework: &FrameworkSnapshot, to: &mut Writer) {
    let info = &framework.info;
    let offered = framework.offered();
    to.begin_object();
    summary_with(&offered, index, framework, to);
    member(to, "user", &info.user);
    number(to, "failover_timeout", info.failover_timeout());
    flag(to, "checkpoint", info.checkpoint());
    number(to, "registered_time", framework.registered.as_secs_f64());
    let unregistered = framework.unregistered.map_or(0.0, |at| at.as_secs_f64());
    number(to, "unregistered_time", unregistered);
    if let Some(principal) = &info.principal {
        member(to, "principal", principal);
    }
    resources::sum(to, "resources", &index.used(&framework.id).plus(&offered));
    if let Some(reregistered) = framework.reregistered {
        number(to, "reregistered_time", reregistered.as_secs_f64());
    }
    roles(info, to);
    to.array("tasks", |to| framework.tasks.iter().for_each(|task| tasks::one(task, to)));
    to.array("unreachable_tasks", |to| {
        framework.unreachable_tasks.iter().for_each(|task| tasks::one(task, to));
    });
    to.array("completed_tasks", |to| {
        view::ended_tasks(framework).for_each(|task| tasks::one(task, to));
    });
    to.array("offers", |to| framework.offers.iter().for_each(|it| offer(framework, it, to)));
    to.array("executors", |to| {
        for (agent, it) in index.executors(&framework.id) {
            executor(&view::executor_info(it), agent.as_str(), to);
        }
    });
    if let Some(given) = &info.labels {
        labels(to, given);
    }
    to.name("offer_constraints");
    view::constraints(framework).write_json(to);
    to.end_object();
}

#[allow(deprecated, reason = "frameworks without MULTI_ROLE have no other way")]
fn roles(info: &v1::FrameworkInfo, to: &mut Writer) {
    let multi_role = info.capabilities.iter().any(|it| it.r#type() == Type::MultiRole);
    if multi_role {
        to.array("roles", |to| info.roles.iter().for_each(|role| to.string(role)));
    } else {
        member(to, "role", info.role());
    }
}

fn offer(framework: &FrameworkSnapshot, offer: &OfferSnapshot, to: &mut Writer) {
    to.begin_object();
    member(to, "id", offer.id.as_str());
    member(to, "framework_id", framework.id.as_str());
    to.object("allocation_info", |to| member(to, "role", offer.role.as_str()));
    member(to, "slave_id", offer.agent_id.as_str());
    resources::sum(to, "resources", &offer.resources);
    to.end_object();
}

fn executor(info: &v1::ExecutorInfo, agent: &str, to: &mut Writer) {
    to.begin_object();
    member(to, "executor_id", &info.executor_id.value);
    member(to, "name", info.name());
    member(to, "framework_id", info.framework_id.as_ref().map_or("", AsRef::as_ref));
    to.object("command", |to| command(info.command.as_ref(), to));
    resources::sum_wire(to, "resources", &info.resources);
    if !info.resources.is_empty() {
        member(to, "role", tasks::role(&info.resources));
    }
    if let Some(given) = &info.labels {
        labels(to, given);
    }
    if info.r#type.is_some() {
        member(to, "type", info.r#type().as_str_name());
    }
    member(to, "slave_id", agent);
    to.end_object();
}

fn command(command: Option<&v1::CommandInfo>, to: &mut Writer) {
    let empty = v1::CommandInfo::default();
    let command = command.unwrap_or(&empty);
    if let Some(shell) = command.shell {
        flag(to, "shell", shell);
    }
    if let Some(value) = &command.value {
        member(to, "value", value);
    }
    to.array("argv", |to| command.arguments.iter().for_each(|argument| to.string(argument)));
    if let Some(environment) = &command.environment {
        to.name("environment");
        environment.write_json(to);
    }
    to.array("uris", |to| {
        for uri in &command.uris {
            to.begin_object();
            member(to, "value", &uri.value);
            flag(to, "executable", uri.executable());
            to.end_object();
        }
    });
}
