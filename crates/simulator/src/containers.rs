//! Containers of one machine: they start, run for a while and end, whether an agent lives or not.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cluster::agent::{ContainerEvent, Exit, Launch};
use cluster::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use cluster::rng::Rng;
use cluster::time::Time;

/// Where a container is in its life. Each state ends at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fetching(Time),
    Running(Time),
    Ended,
}

#[derive(Debug)]
struct Container {
    framework: FrameworkId,
    executor: ExecutorId,
    task: Option<TaskId>,
    state: State,
    stopped: bool,
    /// The agent process that is told of it; nobody after a crash.
    watched: bool,
}

/// An event of a container, for the agent that watches it.
pub(crate) type Seen = (FrameworkId, ExecutorId, ContainerId, ContainerEvent);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Containers(BTreeMap<ContainerId, Container>);

impl Containers {
    pub(crate) fn launch(&mut self, now: Time, launch: &Launch, rng: &mut Rng) {
        let fetched = now + Duration::from_millis(rng.below(3000));
        let container = Container {
            framework: launch.framework_id.clone(),
            executor: launch.executor_id.clone(),
            task: launch.task.as_ref().map(|task| task.task_id.value.as_str().into()),
            state: State::Fetching(fetched),
            stopped: false,
            watched: true,
        };
        self.0.insert(launch.container_id.clone(), container);
    }

    /// A new agent looks after a container. One that never started was lost with the old agent.
    pub(crate) fn reattach(&mut self, launch: &Launch) -> Seen {
        let known = self.0.get_mut(&launch.container_id);
        let running = known.is_some_and(|container| {
            container.watched = true;
            matches!(container.state, State::Running(_))
        });
        let event = if running { launched() } else { ended(None) };
        let (framework, executor) = (launch.framework_id.clone(), launch.executor_id.clone());
        (framework, executor, launch.container_id.clone(), event)
    }

    pub(crate) fn stop(&mut self, now: Time, id: &ContainerId, rng: &mut Rng) {
        if let Some(container) = self.0.get_mut(id).filter(|it| it.state != State::Ended) {
            container.stopped = true;
            container.state = State::Running(now + Duration::from_millis(rng.below(2000)));
        }
    }

    /// The agent is gone: nobody fetches any more, and nobody hears of ends.
    pub(crate) fn unwatch(&mut self) {
        for container in self.0.values_mut() {
            container.watched = false;
            if matches!(container.state, State::Fetching(_)) {
                container.state = State::Ended;
            }
        }
    }

    /// The agent ends them all before it leaves.
    pub(crate) fn destroy_all(&mut self) {
        for container in self.0.values_mut() {
            container.state = State::Ended;
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        let due = |container: &Container| match container.state {
            State::Fetching(at) | State::Running(at) => Some(at),
            State::Ended => None,
        };
        self.0.values().filter_map(due).min()
    }

    /// What has happened by now.
    pub(crate) fn advance(&mut self, now: Time, rng: &mut Rng) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (id, container) in &mut self.0 {
            let event = match container.state {
                State::Fetching(at) if at <= now => {
                    let life = Duration::from_millis(500 + rng.below(60_000));
                    container.state = State::Running(now + life);
                    launched()
                }
                State::Running(at) if at <= now => {
                    container.state = State::Ended;
                    let code = if container.stopped { 137 } else { i32::from(rng.one_in(8)) };
                    ended(Some(code))
                }
                _ => continue,
            };
            if container.watched {
                let (framework, executor) =
                    (container.framework.clone(), container.executor.clone());
                seen.push((framework, executor, id.clone(), event));
            }
        }
        seen
    }

    /// The tasks whose containers run now.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&FrameworkId, &TaskId)> {
        self.0.values().filter_map(|container| {
            let running = matches!(container.state, State::Running(_));
            Some((&container.framework, container.task.as_ref()?)).filter(|_| running)
        })
    }
}

fn launched() -> ContainerEvent {
    ContainerEvent::Launched { data: Bytes::new(), network_infos: None, pid: None }
}

fn ended(code: Option<i32>) -> ContainerEvent {
    ContainerEvent::Ended(Exit { code, out_of_memory: false, message: String::new() })
}
