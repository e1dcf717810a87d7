//! The executor API (Mesos' executor HTTP API v1), without HTTP.

use std::collections::BTreeMap;

use mesos_api::internal as wire;
use mesos_api::v1::executor::{Call, Event, call, event};
use mesos_api::v1::task_status::{Reason, Source};
use mesos_api::v1::{AgentInfo, TaskState};

use super::launch::launch_event;
use super::model::is_terminal;
use super::updates::{At, News};
use super::{Agent, ExecutorState, Killing, Kind, Output, Phase};
use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::time::Time;
use crate::wire::FromAgent;

/// A call that is not carried out, as HTTP tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub text: String,
}

impl Refusal {
    fn bad(text: impl Into<String>) -> Self {
        Self { status: 400, text: text.into() }
    }
}

/// Who calls, where executors have to prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As it is shown.
    pub name: String,
    /// What its token says: `fid`, `eid` and `cid` are the ids of framework, executor and container.
    pub claims: BTreeMap<String, String>,
}

impl Caller {
    /// Whether it is this executor; the error is in the words of Mesos.
    fn check(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &ContainerId,
    ) -> Result<(), Refusal> {
        let claims = |name: &str, id: &str| self.claims.get(name).is_some_and(|it| it == id);
        let lacks = if !claims("fid", framework.as_str()) {
            format!("an 'fid' claim with the framework ID {framework}, which is set in the call")
        } else if !claims("eid", executor.as_str()) {
            format!("an 'eid' claim with the executor ID {executor}, which is set in the call")
        } else if !claims("cid", container.as_str()) {
            "a 'cid' claim with the correct active ContainerID".to_owned()
        } else {
            return Ok(());
        };
        let text = format!("Authenticated principal '{}' does not contain {lacks}", self.name);
        Err(Refusal { status: 403, text })
    }
}

impl Agent {
    /// Takes a call of an executor. For a subscription the driver opens the stream of the container
    /// that is returned before it carries out the outputs. There is a caller where executors have to
    /// prove who they are.
    ///
    /// # Errors
    /// With Mesos' status codes and texts.
    pub fn executor_call(
        &mut self,
        now: Time,
        call: Call,
        caller: Option<&Caller>,
    ) -> Result<(ContainerId, Vec<Output>), Refusal> {
        self.now = now;
        let kind = check(&call)
            .map_err(|text| Refusal::bad(format!("Failed to validate Executor::Call: {text}")))?;
        let framework = FrameworkId::from(call.framework_id.value.as_str());
        let id = ExecutorId::from(call.executor_id.value.as_str());
        let owner = self
            .frameworks
            .get(&framework)
            .ok_or_else(|| Refusal::bad("Framework cannot be found"))?;
        let shutting_down = owner.shutting_down;
        let executor = owner
            .executors
            .get(&id)
            .filter(|executor| executor.kind == Kind::Custom)
            .ok_or_else(|| Refusal::bad("Executor cannot be found"))?;
        let (container, state) = (executor.container.clone(), executor.state);
        if let Some(caller) = caller {
            caller.check(&framework, &id, &container)?;
        }
        if state == ExecutorState::Registering && kind != call::Type::Subscribe {
            let text = "Executor is not subscribed".to_owned();
            return Err(Refusal { status: 403, text });
        }
        if matches!(state, ExecutorState::Terminated) {
            return Err(Refusal::bad("Executor cannot be found"));
        }
        match (kind, call.subscribe, call.update, call.message) {
            (call::Type::Subscribe, Some(subscribe), ..) => {
                self.subscribe(&framework, &id, subscribe);
            }
            (call::Type::Update, _, Some(update), _) => {
                self.executor_update(&framework, &id, &container, update)?;
            }
            (call::Type::Message, _, _, Some(message)) => {
                let registered = self.phase == Phase::Running;
                self.counters.framework_messages.count(registered && !shutting_down);
                let message = wire::ExecutorToFrameworkMessage {
                    agent_id: self.agent_id(),
                    framework_id: framework.as_str().into(),
                    executor_id: id.as_str().into(),
                    data: message.data,
                };
                self.out.push(Output::send(FromAgent::ExecutorToFramework(message)));
            }
            _ => {} // a heartbeat
        }
        Ok((container, std::mem::take(&mut self.out)))
    }

    fn subscribe(&mut self, framework: &FrameworkId, id: &ExecutorId, call: call::Subscribe) {
        let framework_info = self.frameworks.get(framework).map(|f| f.info.clone());
        let Some(framework_info) = framework_info else { return };
        let agent_info: AgentInfo = self.info.clone();
        let Some(executor) = self.executor_mut(framework, id) else { return };
        let container = executor.container.clone();
        let ending = executor.state == ExecutorState::Terminating;
        if !ending {
            executor.state = ExecutorState::Running;
            executor.deadline = None;
        }
        executor.connected = true;
        let queued = std::mem::take(&mut executor.queued);
        let subscribed = event::Subscribed {
            executor_info: executor.info.clone(),
            framework_info,
            agent_info,
            container_id: Some(container.as_str().into()),
        };
        let mut first = Event { subscribed: Some(subscribed), ..Event::default() };
        first.set_type(event::Type::Subscribed);
        self.tell(&container, first);
        let known: Vec<String> =
            call.unacknowledged_tasks.into_iter().map(|t| t.task_id.value).collect();
        for update in call.unacknowledged_updates {
            // A bad one among them is the executor's loss; the others count.
            let _ = self.executor_update(framework, id, &container, update);
        }
        self.drop_undelivered(framework, id, &known, &queued);
        if ending {
            let mut shutdown = Event::default();
            shutdown.set_type(event::Type::Shutdown);
            self.tell(&container, shutdown);
            return;
        }
        for what in queued {
            self.out
                .push(Output::Executor { container: container.clone(), event: launch_event(what) });
        }
        self.repeat_kills(framework, id, &container);
    }

    /// After a restart: tasks that never reached the executor are lost. It holds to have seen
    /// `known`, those in `queued` are on their way, and whatever has a status has arrived.
    fn drop_undelivered(
        &mut self,
        framework: &FrameworkId,
        id: &ExecutorId,
        known: &[String],
        queued: &[super::Queued],
    ) {
        let dropped =
            self.frameworks.get(framework).map_or(TaskState::TaskLost, super::Framework::dropped);
        for at in self.live_tasks(framework, id) {
            let name = at.task.as_str();
            let fresh = self.record_mut(&at).is_some_and(|t| t.latest() == TaskState::TaskStaging);
            let here = known.iter().any(|task| task == name)
                || queued.iter().any(|it| it.tasks().iter().any(|task| task.task_id.value == name));
            if fresh && !here {
                let text = "Task launched during agent restart";
                self.report(&at, dropped, News::from_agent(Reason::AgentRestarted, text));
            }
        }
    }

    fn repeat_kills(&mut self, framework: &FrameworkId, id: &ExecutorId, container: &ContainerId) {
        for at in self.live_tasks(framework, id) {
            let Some(record) = self.record_mut(&at) else { continue };
            if matches!(record.killing, Some(Killing::ByFramework | Killing::ByDrain)) {
                let event = super::kill::kill_event(at.task.as_str(), record.info.kill_policy);
                self.out.push(Output::Executor { container: container.clone(), event });
            }
        }
    }

    fn executor_update(
        &mut self,
        framework: &FrameworkId,
        id: &ExecutorId,
        container: &ContainerId,
        update: call::Update,
    ) -> Result<(), Refusal> {
        let mut status = update.status;
        check_status(&status)
            .map_err(|text| Refusal::bad(format!("Failed to validate Executor::Call: {text}")))?;
        let at = At {
            framework: framework.clone(),
            executor: id.clone(),
            task: TaskId::from(status.task_id.value.as_str()),
        };
        let (task_id, uuid) = (status.task_id.clone(), status.uuid.clone().unwrap_or_default());
        status.agent_id = self.info.id.clone();
        status.executor_id = Some(id.as_str().into());
        status.timestamp.get_or_insert(self.now.as_secs_f64());
        let ip = self.config.ip.clone();
        if let Some(executor) = self.executor_mut(framework, id) {
            let mut own = executor.container_status(&at.task, &ip);
            if let Some(theirs) = status.container_status.take()
                && !theirs.network_infos.is_empty()
            {
                own.network_infos = theirs.network_infos;
            }
            status.container_status = Some(Box::new(own));
        }
        let terminal = is_terminal(status.state());
        self.push_status(&at, status);
        if terminal && let Some(record) = self.record_mut(&at) {
            record.complete_by = None;
        }
        // The agent has it on disk: the executor may forget it.
        let acknowledged = Some(event::Acknowledged { task_id, uuid });
        let mut event = Event { acknowledged, ..Event::default() };
        event.set_type(event::Type::Acknowledged);
        self.tell(container, event);
        Ok(())
    }

    pub(super) fn executor_gone(
        &mut self,
        framework: &FrameworkId,
        id: &ExecutorId,
        container: &ContainerId,
    ) {
        if let Some(executor) = self.executor_mut(framework, id)
            && executor.container == *container
        {
            executor.connected = false;
        }
    }

    /// A framework's message to one of its executors; there is no promise that it arrives.
    pub(super) fn relay(&mut self, message: wire::FrameworkToExecutorMessage) {
        let framework = FrameworkId::from(message.framework_id.value.as_str());
        let id = ExecutorId::from(message.executor_id.value.as_str());
        let executor = self.executor_mut(&framework, &id).filter(|executor| executor.connected);
        let container = executor.map(|executor| executor.container.clone());
        self.counters.framework_messages.count(container.is_some());
        let Some(container) = container else { return };
        let body = Some(event::Message { data: message.data });
        let mut event = Event { message: body, ..Event::default() };
        event.set_type(event::Type::Message);
        self.tell(&container, event);
    }

    fn tell(&mut self, container: &ContainerId, event: Event) {
        self.out.push(Output::Executor { container: container.clone(), event: Box::new(event) });
    }
}

fn check(call: &Call) -> Result<call::Type, &'static str> {
    let kind = call.r#type();
    if call.r#type.is_none() || kind == call::Type::Unknown {
        return Err("Expecting 'type' to be present");
    }
    let (present, text) = match kind {
        call::Type::Subscribe => (call.subscribe.is_some(), "Expecting 'subscribe' to be present"),
        call::Type::Update => (call.update.is_some(), "Expecting 'update' to be present"),
        call::Type::Message => (call.message.is_some(), "Expecting 'message' to be present"),
        call::Type::Heartbeat | call::Type::Unknown => (true, ""),
    };
    if present { Ok(kind) } else { Err(text) }
}

fn check_status(status: &mesos_api::v1::TaskStatus) -> Result<(), &'static str> {
    match status.uuid.as_ref().map(bytes::Bytes::len) {
        None => return Err("Expecting 'uuid' to be present"),
        Some(16) => {}
        Some(_) => return Err("Not a valid UUID"),
    }
    if status.source() != Source::Executor || status.source.is_none() {
        return Err(
            "Received Call from executor with status update from a different source; expecting 'source' to be SOURCE_EXECUTOR",
        );
    }
    if status.state() == TaskState::TaskStaging {
        return Err("Received TASK_STAGING from executor which is not allowed");
    }
    Ok(())
}
