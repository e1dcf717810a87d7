//! From what is on disk to an agent that carries on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mesos_api::internal::{StatusUpdateRecord, status_update_record};
use mesos_api::v1::task_status::Reason;
use mesos_api::v1::{
    AgentInfo, ExecutorInfo, FrameworkInfo, Resource, TaskInfo, TaskState, TaskStatus,
    executor_info,
};

use super::launch::{new_task, record};
use super::model::is_terminal;
use super::updates::{News, remember};
use super::{Agent, Config, Executor, ExecutorState, Framework, Killing, Kind, Member, Output};
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::time::Time;

/// Everything that an earlier agent made durable and did not finish.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// With the id that the master gave.
    pub info: Option<AgentInfo>,
    pub resources: Vec<Resource>,
    pub frameworks: Vec<RecoveredFramework>,
    /// The host has been started anew since: nothing that ran then runs now.
    pub rebooted: bool,
}

/// A framework on disk.
#[derive(Debug, Clone)]
pub struct RecoveredFramework {
    pub id: FrameworkId,
    pub info: FrameworkInfo,
    pub pid: Option<String>,
    pub executors: Vec<RecoveredExecutor>,
}

/// The latest run of an executor on disk.
#[derive(Debug, Clone)]
pub struct RecoveredExecutor {
    pub id: ExecutorId,
    pub info: ExecutorInfo,
    pub command: bool,
    pub container: ContainerId,
    pub tasks: Vec<RecoveredTask>,
}

/// A task on disk and the lines of its stream.
#[derive(Debug, Clone)]
pub struct RecoveredTask {
    pub info: TaskInfo,
    pub lines: Vec<StatusUpdateRecord>,
    pub killing: Option<Killing>,
    /// The task's own container and its group, under the default executor.
    pub member: Option<(ContainerId, String)>,
}

impl Agent {
    /// Makes an agent out of what is on disk, and says which containers to look after.
    pub fn recover(config: Config, now: Time, recovered: Recovered) -> (Self, Vec<Output>) {
        let mut agent = Self::empty(config, now);
        if let Some(info) = recovered.info {
            agent.info.id = info.id;
        }
        agent.checkpointed = recovered.resources;
        let deadline = now + agent.config.executor_reregistration_timeout;
        for framework in recovered.frameworks {
            let id = framework.id.clone();
            let mut known = Framework::new(id.clone(), framework.info, framework.pid);
            for executor in framework.executors {
                let mut executor = restore(&id, executor);
                if executor.kind == Kind::Custom && executor.state != ExecutorState::Terminated {
                    executor.deadline = Some(deadline);
                }
                known.executors.insert(executor.id.clone(), executor);
            }
            agent.frameworks.insert(id, known);
        }
        agent.reattach(recovered.rebooted);
        agent.end_failed_groups();
        let outputs = std::mem::take(&mut agent.out);
        (agent, outputs)
    }

    fn reattach(&mut self, rebooted: bool) {
        let mut all = Vec::new();
        for framework in self.frameworks.values() {
            all.extend(framework.executors.keys().map(|id| (framework.id.clone(), id.clone())));
        }
        for (framework, id) in all {
            let Some(executor) = self.executor_mut(&framework, &id) else { continue };
            if executor.state == ExecutorState::Terminated {
                self.finish_executor(&framework, &id);
            } else if rebooted {
                self.gone_with_host(&framework, &id);
            } else {
                let specs = self.launch_specs(&framework, &id).into_iter();
                self.out.extend(specs.map(|spec| Output::Reattach(Box::new(spec))));
            }
        }
    }
}

impl Agent {
    /// Whatever an executor ran has ended with the host, and nobody knows how.
    fn gone_with_host(&mut self, framework: &FrameworkId, id: &ExecutorId) {
        let state = self.frameworks.get(framework).map_or(TaskState::TaskLost, Framework::gone);
        if let Some(executor) = self.executor_mut(framework, id) {
            executor.state = ExecutorState::Terminated;
            executor.deadline = None;
        }
        for at in self.live_tasks(framework, id) {
            let text = "The host was restarted, and the task ended with it";
            self.report(&at, state, News::from_agent(Reason::AgentRestarted, text));
        }
        self.finish_executor(framework, id);
    }
}

/// When a status was made, if it says that the task runs.
fn running_since(status: &TaskStatus) -> Option<Time> {
    let secs = status.timestamp.filter(|_| status.state() == TaskState::TaskRunning)?;
    Duration::try_from_secs_f64(secs).ok().map(|since| Time::ZERO + since)
}

fn restore(framework: &FrameworkId, recovered: RecoveredExecutor) -> Executor {
    let kind = match recovered.info.r#type() {
        _ if recovered.command => Kind::Command,
        executor_info::Type::Default => Kind::Default,
        _ => Kind::Custom,
    };
    let mut executor = Executor {
        id: recovered.id,
        info: recovered.info,
        kind,
        container: recovered.container,
        state: if kind == Kind::Default {
            ExecutorState::Running
        } else {
            ExecutorState::Registering
        },
        queued: Vec::new(),
        tasks: BTreeMap::new(),
        completed: VecDeque::new(),
        deadline: None,
        recovered: true,
        connected: false,
        network_infos: None,
        pid: None,
        verdict: None,
    };
    for task in recovered.tasks {
        let mut known = record(task.info.clone(), new_task(framework, &executor, &task.info), kind);
        known.killing = task.killing;
        known.member = task.member.map(|(container, group)| Member {
            container,
            group,
            network_infos: None,
            pid: None,
        });
        let mut done = false;
        for line in task.lines {
            match (line.r#type(), line.update, line.uuid) {
                (status_update_record::Type::Update, Some(update), _)
                    if known.stream.push(update.clone()) =>
                {
                    known.healthy = update.status.healthy.or(known.healthy);
                    known.running_since = known.running_since.or(running_since(&update.status));
                    let checked = update.status.check_status.as_deref().copied();
                    known.checked = known.checked.take().map(|none| checked.unwrap_or(none));
                    remember(&mut known.task, update.status);
                }
                (status_update_record::Type::Ack, _, Some(uuid)) => {
                    let last = known.stream.head().map(|u| u.status.state());
                    known.stream.acknowledge(&uuid);
                    done |= last.is_some_and(is_terminal) && known.stream.has_acknowledged(&uuid);
                }
                _ => {} // a line of another version says nothing that can be used
            }
        }
        if done {
            executor.completed.push_back(known.task);
        } else {
            executor.tasks.insert(TaskId::from(task.info.task_id.value.as_str()), known);
        }
    }
    // Containers are over with their tasks; what is left are acknowledgements.
    let over = executor.tasks.values().all(|t| is_terminal(t.latest()));
    if executor.kind != Kind::Custom && over {
        executor.state = ExecutorState::Terminated;
    }
    executor
}
