//! LAUNCH and LAUNCH_GROUP: offers become tasks.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesos_api::internal;
use mesos_api::v1;
use mesos_api::v1::TaskState;
use mesos_api::v1::offer::operation;
use mesos_api::v1::task_status::Reason;

use super::accept::Accepted;
use super::agent::Executor;
use super::output::Change;
use super::task::{Cause, Task, allocate_wire, staged};
use super::validate::task::{Context, ExecutorUse};
use super::{Master, validate};
use crate::id::{ExecutorId, FrameworkId, Role, TaskId};
use crate::resources::{Format, Resource, Resources};
use crate::wire::ToAgent;

impl Master {
    pub(super) fn launch(&mut self, accepted: &mut Accepted, mut info: v1::TaskInfo) {
        let framework = accepted.framework.clone();
        if let Some(executor) = &mut info.executor {
            executor.framework_id.get_or_insert_with(|| (&framework).into());
        }
        let holds = match self.check_task(accepted, &info) {
            Ok(holds) => holds,
            Err(error) => {
                let cause = Cause {
                    state: TaskState::TaskError,
                    reason: Some(Reason::TaskInvalid),
                    message: &error,
                };
                return self.task_refused(&framework, &info, cause);
            }
        };
        let launch_executor = self.use_executor(accepted, info.executor.as_deref());
        accepted.remaining.subtract_all(&holds.non_shared());
        self.add_task(accepted, &info, holds);
        self.send_run_task(accepted, info, launch_executor);
    }

    fn check_task(&self, accepted: &Accepted, info: &v1::TaskInfo) -> Result<Resources, String> {
        let context = self.context(accepted)?;
        validate::task::check(&context, info)
    }

    /// What a task is checked against.
    fn context<'a>(&'a self, accepted: &'a Accepted) -> Result<Context<'a>, String> {
        let framework = self
            .frameworks
            .get(&accepted.framework)
            .ok_or_else(|| "The framework has been removed".to_owned())?;
        let agent = self
            .agents
            .get(&accepted.agent)
            .ok_or_else(|| format!("Agent {} has been removed", accepted.agent))?;
        Ok(Context {
            framework,
            agent,
            role: &accepted.role,
            remaining: &accepted.remaining,
            max_executors: self.config.max_executors_per_agent,
        })
    }

    /// Enters an executor into the books if the agent does not run it yet. Whether the agent is to
    /// start one: for a task without, it starts its own.
    fn use_executor(&mut self, accepted: &mut Accepted, info: Option<&v1::ExecutorInfo>) -> bool {
        let Some(info) = info else { return true };
        let Some(agent) = self.agents.get_mut(&accepted.agent) else { return false };
        let key = (accepted.framework.clone(), ExecutorId::from(&info.executor_id));
        if agent.executors.contains_key(&key) {
            return false;
        }
        let resources: Resources =
            info.resources.iter().filter_map(|wire| upgraded(wire, &accepted.role).ok()).collect();
        accepted.remaining.subtract_all(&resources);
        agent.use_more(&accepted.framework, &resources);
        let info = Arc::new(info.clone());
        agent.executors.insert(key, Executor { info, resources, awaited: BTreeSet::new() });
        true
    }

    fn add_task(&mut self, accepted: &Accepted, info: &v1::TaskInfo, holds: Resources) {
        let Some(framework) = self.frameworks.get_mut(&accepted.framework) else { return };
        let user = Some(framework.info.user.as_str());
        let wire = Arc::new(staged(info, &accepted.framework, user, &accepted.role));
        let id = TaskId::from(&info.task_id);
        let task = Task {
            agent: accepted.agent.clone(),
            resources: holds.clone(),
            released: false,
            wire: wire.clone(),
        };
        framework.tasks.insert(id.clone(), task);
        if let Some(agent) = self.agents.get_mut(&accepted.agent) {
            agent.use_more(&accepted.framework, &holds);
            agent.tasks.insert((accepted.framework.clone(), id));
        }
        // What is shared stays in the offer for further tasks: each holder counts on its own.
        self.allocator.allocate_more(&accepted.framework, &accepted.agent, &holds.shared());
        self.publish_task(|| Change::TaskAdded(wire));
    }

    fn send_run_task(
        &mut self,
        accepted: &Accepted,
        mut info: v1::TaskInfo,
        launch_executor: bool,
    ) {
        let Some(framework) = self.frameworks.get(&accepted.framework) else { return };
        let Some(agent) = self.agents.get(&accepted.agent) else { return };
        for_agent(&mut info, &accepted.role, agent.format());
        let message = internal::RunTaskMessage {
            framework: (*framework.info).clone(),
            task: info,
            resource_version_uuids: resource_versions(agent.resource_version.as_ref()),
            pid: Some(framework.pid()),
            launch_executor: Some(launch_executor),
            #[expect(deprecated, reason = "agents before 1.0 read the id here")]
            framework_id: Some((&accepted.framework).into()),
        };
        self.tell_agent(&accepted.agent, ToAgent::RunTask(message));
    }

    pub(super) fn launch_group(&mut self, accepted: &mut Accepted, group: operation::LaunchGroup) {
        let framework = accepted.framework.clone();
        let operation::LaunchGroup { mut executor, mut task_group } = group;
        executor.framework_id.get_or_insert_with(|| (&framework).into());
        let holds = match self.check_group(accepted, &executor, &task_group) {
            Ok(holds) => holds,
            Err((bad, error)) => {
                let others = "Task group is invalid: another of its tasks is not valid".to_owned();
                for (i, task) in task_group.tasks.iter().enumerate() {
                    let own = bad.is_none_or(|bad| bad == i);
                    let cause = Cause {
                        state: TaskState::TaskError,
                        reason: Some(Reason::TaskGroupInvalid),
                        message: if own { &error } else { &others },
                    };
                    self.task_refused(&framework, task, cause);
                }
                return;
            }
        };
        let launch_executor = self.use_executor(accepted, Some(&executor));
        for (task, holds) in task_group.tasks.iter_mut().zip(holds) {
            accepted.remaining.subtract_all(&holds.non_shared());
            task.executor = Some(Box::new(executor.clone()));
            self.add_task(accepted, task, holds);
            task.executor = None;
        }
        let Some(state) = self.frameworks.get(&framework) else { return };
        let Some(agent) = self.agents.get(&accepted.agent) else { return };
        for task in &mut task_group.tasks {
            for_agent(task, &accepted.role, agent.format());
        }
        resources_for_agent(&mut executor.resources, &accepted.role, agent.format());
        let message = internal::RunTaskGroupMessage {
            framework: (*state.info).clone(),
            executor,
            task_group,
            resource_version_uuids: resource_versions(agent.resource_version.as_ref()),
            launch_executor: Some(launch_executor),
        };
        self.tell_agent(&accepted.agent, ToAgent::RunTaskGroup(message));
    }

    /// Checks a group; the error names the task at fault, if one alone is.
    fn check_group(
        &self,
        accepted: &Accepted,
        executor: &v1::ExecutorInfo,
        group: &v1::TaskGroupInfo,
    ) -> Result<Vec<Resources>, (Option<usize>, String)> {
        let context = self.context(accepted).map_err(|error| (None, error))?;
        validate::task::check_group(&context, executor, group)?;
        let mut remaining = accepted.remaining.clone();
        if let ExecutorUse::New(resources) =
            validate::task::executor_use(&context, executor).map_err(|error| (None, error))?
        {
            if !remaining.contains(&resources) {
                let error = format!(
                    "Total resources {resources} required by task group and its executor is more \
                     than available {remaining}"
                );
                return Err((None, error));
            }
            remaining.subtract_all(&resources);
        }
        let mut all = Vec::new();
        for (i, task) in group.tasks.iter().enumerate() {
            let context = Context { remaining: &remaining, ..context };
            let holds = validate::task::check_member(&context, task).map_err(|error| {
                (Some(i), format!("Task '{}' is invalid: {error}", task.task_id))
            })?;
            let left = remaining.minus(&holds.non_shared());
            all.push(holds);
            remaining = left;
        }
        Ok(all)
    }
}

/// Which state of the agent's resources the master has in mind.
fn resource_versions(version: Option<&v1::Uuid>) -> Vec<internal::ResourceVersionUuid> {
    version
        .map(|uuid| internal::ResourceVersionUuid {
            resource_provider_id: None,
            uuid: uuid.clone(),
        })
        .into_iter()
        .collect()
}

/// A resource of a task as the books have it: in the newer format, and allocated.
pub(super) fn upgraded(wire: &v1::Resource, role: &Role) -> Result<Resource, String> {
    let mut resource = Resource::from_wire(wire)?;
    resource.allocation.get_or_insert_with(|| role.clone());
    Ok(resource)
}

/// Writes a task's resources as the agent reads them. Amounts are passed on as they came.
fn for_agent(info: &mut v1::TaskInfo, role: &Role, format: Format) {
    resources_for_agent(&mut info.resources, role, format);
    if let Some(executor) = &mut info.executor {
        resources_for_agent(&mut executor.resources, role, format);
    }
}

fn resources_for_agent(resources: &mut [v1::Resource], role: &Role, format: Format) {
    for wire in resources {
        if format == Format::Refined && is_refined(wire) {
            allocate_wire(wire, role);
            continue;
        }
        let Ok(resource) = upgraded(wire, role) else { continue };
        let mut converted = resource.to_wire(format);
        converted.scalar = wire.scalar.take();
        converted.ranges = wire.ranges.take();
        converted.set = wire.set.take();
        // A volume says more than the books keep.
        converted.disk = wire.disk.take();
        *wire = converted;
    }
}

/// Whether a resource is in the newer format already.
#[expect(deprecated, reason = "the older format is told by these")]
const fn is_refined(wire: &v1::Resource) -> bool {
    wire.role.is_none() && wire.reservation.is_none()
}

impl Master {
    /// What the master refused to start, so that a person can ask why.
    pub(super) fn remember_refusal(&mut self, framework: &FrameworkId, status: &v1::TaskStatus) {
        self.count_ended(framework, status.state(), status);
        let wire = v1::Task {
            name: String::new(),
            task_id: status.task_id.clone(),
            framework_id: framework.into(),
            executor_id: status.executor_id.clone(),
            agent_id: status.agent_id.clone().unwrap_or_default(),
            state: status.state,
            statuses: vec![status.clone()],
            ..v1::Task::default()
        };
        if let Some(framework) = self.frameworks.get_mut(framework) {
            framework.refused.push_back(Arc::new(wire));
            while framework.refused.len() > self.config.max_completed_tasks_per_framework {
                framework.refused.pop_front();
            }
        }
    }
}
