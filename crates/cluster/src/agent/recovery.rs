//! From what is on disk to an agent that carries on.

use std::collections::{BTreeMap, VecDeque};

use mesos_api::internal::{StatusUpdateRecord, status_update_record};
use mesos_api::v1::{AgentInfo, ExecutorInfo, FrameworkInfo, Resource, TaskInfo};

use super::launch::{new_task, record};
use super::model::is_terminal;
use super::updates::remember;
use super::{Agent, Config, Executor, ExecutorState, Framework, Killing, Kind, Output};
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::time::Time;

/// Everything that an earlier agent made durable and did not finish.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// With the id that the master gave.
    pub info: Option<AgentInfo>,
    pub resources: Vec<Resource>,
    pub frameworks: Vec<RecoveredFramework>,
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
        agent.reattach();
        let outputs = std::mem::take(&mut agent.out);
        (agent, outputs)
    }

    fn reattach(&mut self) {
        let mut all = Vec::new();
        for framework in self.frameworks.values() {
            all.extend(framework.executors.keys().map(|id| (framework.id.clone(), id.clone())));
        }
        for (framework, id) in all {
            let Some(executor) = self.executor_mut(&framework, &id) else { continue };
            if executor.state == ExecutorState::Terminated {
                self.finish_executor(&framework, &id);
            } else if let Some(spec) = self.launch_spec(&framework, &id) {
                self.out.push(Output::Reattach(Box::new(spec)));
            }
        }
    }
}

fn restore(framework: &FrameworkId, recovered: RecoveredExecutor) -> Executor {
    let mut executor = Executor {
        id: recovered.id,
        info: recovered.info,
        kind: if recovered.command { Kind::Command } else { Kind::Custom },
        container: recovered.container,
        state: ExecutorState::Registering,
        queued: Vec::new(),
        tasks: BTreeMap::new(),
        completed: VecDeque::new(),
        deadline: None,
        recovered: true,
        connected: false,
        network_infos: Vec::new(),
        pid: None,
        verdict: None,
    };
    for task in recovered.tasks {
        let mut known = record(task.info.clone(), new_task(framework, &executor, &task.info));
        known.killing = task.killing;
        let mut done = false;
        for line in task.lines {
            match (line.r#type(), line.update, line.uuid) {
                (status_update_record::Type::Update, Some(update), _)
                    if known.stream.push(update.clone()) =>
                {
                    known.healthy = update.status.healthy.or(known.healthy);
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
    // A command's container is over with its task; what is left are acknowledgements.
    let over = executor.tasks.values().all(|t| is_terminal(t.latest()));
    if executor.kind == Kind::Command && over {
        executor.state = ExecutorState::Terminated;
    }
    executor
}
