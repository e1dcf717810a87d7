//! An agent's disk: records as they are written, and what a new agent finds.

use std::collections::BTreeMap;

use cluster::agent::{Record, Recovered, RecoveredExecutor, RecoveredFramework, RecoveredTask};
use cluster::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use mesos_api::v1;

#[derive(Debug, Default)]
struct Run {
    container: Option<ContainerId>,
    info: v1::ExecutorInfo,
    command: bool,
    tasks: BTreeMap<TaskId, RecoveredTask>,
}

#[derive(Debug)]
struct Framework {
    info: v1::FrameworkInfo,
    pid: Option<String>,
    executors: BTreeMap<ExecutorId, Run>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    info: Option<v1::AgentInfo>,
    resources: Vec<v1::Resource>,
    frameworks: BTreeMap<FrameworkId, Framework>,
}

impl Disk {
    pub(crate) fn write(&mut self, record: Record) {
        match record {
            Record::Agent(info) => self.info = Some(info),
            Record::Resources(resources) => self.resources = resources,
            Record::Framework { id, info, pid } => {
                let known = self.frameworks.entry(id).or_insert_with(|| Framework {
                    info: info.clone(),
                    pid: pid.clone(),
                    executors: BTreeMap::new(),
                });
                (known.info, known.pid) = (info, pid);
            }
            Record::Executor { framework, executor, container, info, command } => {
                if let Some(framework) = self.frameworks.get_mut(&framework) {
                    let container = Some(container);
                    let run = Run { container, info, command, tasks: BTreeMap::new() };
                    framework.executors.insert(executor, run);
                }
            }
            Record::Task { framework, executor, container, info, member } => {
                if let Some(run) = self.run(&framework, &executor, &container) {
                    let task = TaskId::from(info.task_id.value.as_str());
                    let (info, lines, killing) = (*info, Vec::new(), None);
                    let recovered = RecoveredTask { info, lines, killing, member };
                    run.tasks.insert(task, recovered);
                }
            }
            Record::Update { framework, executor, container, task, record } => {
                let run = self.run(&framework, &executor, &container);
                if let Some(task) = run.and_then(|run| run.tasks.get_mut(&task)) {
                    task.lines.push(*record);
                }
            }
            Record::Killing { framework, executor, container, task, killing } => {
                let run = self.run(&framework, &executor, &container);
                if let Some(task) = run.and_then(|run| run.tasks.get_mut(&task)) {
                    task.killing = Some(killing);
                }
            }
            Record::Finished { framework, executor, container } => {
                let current = self.run(&framework, &executor, &container).is_some();
                if let Some(framework) = self.frameworks.get_mut(&framework).filter(|_| current) {
                    framework.executors.remove(&executor);
                }
            }
            Record::FrameworkFinished { framework } => {
                self.frameworks.remove(&framework);
            }
        }
    }

    fn run(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &ContainerId,
    ) -> Option<&mut Run> {
        let run = self.frameworks.get_mut(framework)?.executors.get_mut(executor)?;
        (run.container.as_ref() == Some(container)).then_some(run)
    }

    pub(crate) fn recover(&self) -> Recovered {
        let frameworks = self.frameworks.iter().map(|(id, framework)| RecoveredFramework {
            id: id.clone(),
            info: framework.info.clone(),
            pid: framework.pid.clone(),
            executors: framework
                .executors
                .iter()
                .filter_map(|(id, run)| {
                    Some(RecoveredExecutor {
                        id: id.clone(),
                        info: run.info.clone(),
                        command: run.command,
                        container: run.container.clone()?,
                        tasks: run.tasks.values().cloned().collect(),
                    })
                })
                .collect(),
        });
        Recovered {
            info: self.info.clone(),
            resources: self.resources.clone(),
            frameworks: frameworks.collect(),
            rebooted: false,
        }
    }
}
