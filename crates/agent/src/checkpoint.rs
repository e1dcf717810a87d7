//! Records on disk: what an agent that is killed at any moment finds again.
//!
//! A file of one message is written beside its place and renamed into it. The stream of a task is
//! appended to, each line after its length; a line that was cut short by the end of the agent is
//! dropped when the stream is read. The directory of a run is moved away once nothing is left to do
//! for it, and deleted afterwards.

mod batch;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cluster::agent::{
    Killing, Record, Recovered, RecoveredExecutor, RecoveredFramework, RecoveredTask,
};
use cluster::id::{ContainerId, ExecutorId, FrameworkId};
use mesos_api::internal::StatusUpdateRecord;
use mesos_api::v1::{AgentInfo, ExecutorInfo, FrameworkInfo, Resource, TaskInfo};
use prost::Message;

use crate::layout::{Layout, Run};
use batch::Batch;

const COMMAND: &str = "executor_generated_for_command_task";
const MEMBER: &str = "task.container";

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub(crate) struct StoreError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError { doing, path, source }
}

/// What to do about records that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The agent does not start.
    Refuse,
    /// It starts without the executor, or framework, that they are of.
    LeaveOut,
}

/// The records of an agent.
#[derive(Debug)]
pub(crate) struct Store {
    layout: Layout,
    /// The agent's id, once it has one.
    agent: Option<String>,
    /// How many records were left out because they could not be read.
    left_out: u64,
}

impl Store {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, agent: None, left_out: 0 }
    }

    /// Under which id sandboxes are kept; there is none before the first registration.
    pub(crate) fn agent_id(&self) -> &str {
        self.agent.as_deref().unwrap_or_default()
    }

    /// Makes records durable, all or, as far as anybody can rely on it, none: after an error the
    /// same records are written again.
    pub(crate) fn write<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for record in records {
            self.add(&mut batch, record)?;
        }
        batch.commit()
    }

    fn add(&mut self, batch: &mut Batch, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Agent(info) => {
                let id = info.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
                batch.message(&self.layout.agent(&id).join("slave.info"), info)?;
                batch.link(&self.layout.latest(), &crate::layout::component(&id))?;
                self.agent = Some(id);
                Ok(())
            }
            Record::Resources(resources) => {
                let mut bytes = Vec::new();
                resources.iter().for_each(|resource| frame(&mut bytes, resource));
                batch.replace(&self.layout.resources(), &bytes)
            }
            Record::Framework { id, info, pid } => {
                let directory = self.layout.framework(self.agent_id(), id);
                batch.message(&directory.join("framework.info"), info)?;
                let pid = pid.as_deref().unwrap_or_default();
                batch.replace(&directory.join("framework.pid"), pid.as_bytes())
            }
            Record::Executor { framework, executor, container, info, command } => {
                let directory = self.layout.executor(self.agent_id(), framework, executor);
                let run = directory.join("runs").join(container.as_str());
                fs::create_dir_all(run.join("tasks")).map_err(failed("create", &run))?;
                if *command {
                    batch.mark(&directory.join(COMMAND))?;
                }
                batch.message(&directory.join("executor.info"), info)?;
                batch.link(&directory.join("runs").join("latest"), container.as_str())
            }
            Record::Task { framework, executor, container, info, member } => {
                let run = Run { framework, executor, container };
                let task = info.task_id.value.as_str().into();
                let directory = self.layout.task(self.agent_id(), run, &task);
                if let Some((container, group)) = member {
                    // Before the task itself: a task without is one of another executor.
                    let text = format!("{container} {group}");
                    batch.replace(&directory.join(MEMBER), text.as_bytes())?;
                }
                batch.message(&directory.join("task.info"), info.as_ref())
            }
            Record::Update { framework, executor, container, task, record } => {
                let run = Run { framework, executor, container };
                let path = self.layout.task(self.agent_id(), run, task).join("task.updates");
                batch.append(&path, record.as_ref())
            }
            Record::Killing { framework, executor, container, task, killing } => {
                let run = Run { framework, executor, container };
                let path = self.layout.task(self.agent_id(), run, task).join("task.killing");
                batch.replace(&path, killing_name(*killing).as_bytes())
            }
            Record::Finished { framework, executor, container } => {
                let run = Run { framework, executor, container };
                // A framework that leaves no records has no directory; a later run has its own.
                if self.layout.run(self.agent_id(), run).exists() {
                    let directory = self.layout.executor(self.agent_id(), framework, executor);
                    self.put_away(batch, &directory, container.as_str())?;
                }
                Ok(())
            }
            Record::FrameworkFinished { framework } => {
                let directory = self.layout.framework(self.agent_id(), framework);
                self.put_away(batch, &directory, framework.as_str())
            }
        }
    }

    /// Moves a tree out of the records in one step: no crash leaves half of it there. Whether the
    /// step is durable does not matter: what is found again has no unfinished task in it.
    fn put_away(&self, batch: &mut Batch, tree: &Path, name: &str) -> Result<(), StoreError> {
        let removed = self.layout.removed();
        fs::create_dir_all(&removed).map_err(failed("create", &removed))?;
        let place = removed.join(crate::layout::component(name));
        remove_tree(&place)?;
        batch.forget(tree);
        match fs::rename(tree, &place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("move away", tree)(error))
            }
            _ => Ok(()),
        }
    }

    /// Deletes what was put away.
    pub(crate) fn purge(&self) -> Result<(), StoreError> {
        entries(&self.layout.removed())?.iter().try_for_each(|tree| remove_tree(tree))
    }

    /// Forgets who the agent was: a new id, and none of the old one's tasks.
    pub(crate) fn forget(&mut self) -> Result<(), StoreError> {
        self.agent = None;
        let latest = self.layout.latest();
        match fs::remove_file(&latest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &latest)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes down which boot of the host this is.
    pub(crate) fn write_boot_id(&self, id: &str) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.replace(&self.layout.boot_id(), id.as_bytes())?;
        batch.commit()
    }

    /// How many records were left out because they could not be read.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Passes over what cannot be read, if that may be.
    fn pass<T>(
        &mut self,
        unreadable: Unreadable,
        read: Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Err(error) if unreadable == Unreadable::LeaveOut => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "a checkpoint is left out");
                self.left_out += 1;
                Ok(None)
            }
            other => other,
        }
    }

    /// Reads everything that is not finished.
    pub(crate) fn read(&mut self, unreadable: Unreadable) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        let path = self.layout.resources();
        if let Some(bytes) = read_file(&path)? {
            let (all, _) = unframe::<Resource>(&bytes);
            recovered.resources = all;
        }
        let latest = self.layout.latest();
        let directory = match fs::canonicalize(&latest) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(recovered),
            Err(error) => return Err(failed("read", &latest)(error)),
        };
        let Some(info) = read_message::<AgentInfo>(&directory.join("slave.info"))? else {
            return Ok(recovered);
        };
        self.agent = info.id.as_ref().map(|id| id.value.clone());
        recovered.info = Some(info);
        for framework in entries(&directory.join("frameworks"))? {
            let read = self.read_framework(&framework, unreadable);
            recovered.frameworks.extend(self.pass(unreadable, read)?);
        }
        Ok(recovered)
    }

    fn read_framework(
        &mut self,
        directory: &Path,
        unreadable: Unreadable,
    ) -> Result<Option<RecoveredFramework>, StoreError> {
        let Some(info) = read_message::<FrameworkInfo>(&directory.join("framework.info"))? else {
            return Ok(None); // the agent ended before it had written that much
        };
        let Some(id) = info.id.as_ref().map(|id| FrameworkId::from(id.value.as_str())) else {
            return Ok(None);
        };
        let pid = read_file(&directory.join("framework.pid"))?;
        let pid = pid.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|pid| !pid.is_empty());
        let mut executors = Vec::new();
        for executor in entries(&directory.join("executors"))? {
            executors.extend(self.pass(unreadable, read_executor(&executor))?);
        }
        Ok(Some(RecoveredFramework { id, info, pid, executors }))
    }
}

fn read_executor(directory: &Path) -> Result<Option<RecoveredExecutor>, StoreError> {
    let latest = directory.join("runs").join("latest");
    let (Some(info), Ok(container)) =
        (read_message::<ExecutorInfo>(&directory.join("executor.info"))?, fs::read_link(&latest))
    else {
        return Ok(None);
    };
    let run = directory.join("runs").join(&container);
    let mut tasks = Vec::new();
    for task in entries(&run.join("tasks"))? {
        let Some(info) = read_message::<TaskInfo>(&task.join("task.info"))? else { continue };
        let path = task.join("task.updates");
        let lines = match read_file(&path)? {
            Some(bytes) => {
                let (lines, whole) = unframe::<StatusUpdateRecord>(&bytes);
                if whole < bytes.len() {
                    let file = File::options().write(true).open(&path);
                    file.and_then(|f| f.set_len(whole as u64)).map_err(failed("shorten", &path))?;
                }
                lines
            }
            None => Vec::new(),
        };
        let killing = read_file(&task.join("task.killing"))?;
        let killing = killing.and_then(|bytes| killing_named(&bytes));
        let member = read_file(&task.join(MEMBER))?;
        let member = member.and_then(|bytes| {
            let text = String::from_utf8(bytes).ok()?;
            let (container, group) = text.split_once(' ')?;
            Some((ContainerId::from(container), group.to_owned()))
        });
        tasks.push(RecoveredTask { info, lines, killing, member });
    }
    if tasks.is_empty() {
        // The agent ended between the records of the executor and of its first task.
        remove_tree(directory)?;
        return Ok(None);
    }
    Ok(Some(RecoveredExecutor {
        id: ExecutorId::from(info.executor_id.value.as_str()),
        info,
        command: directory.join(COMMAND).exists(),
        container: ContainerId::from(container.to_string_lossy().into_owned()),
        tasks,
    }))
}

fn killing_name(killing: Killing) -> &'static str {
    match killing {
        Killing::ByFramework => "framework",
        Killing::ByHealth => "health",
        Killing::ByTimeLimit => "time",
        Killing::ByDrain => "drain",
        Killing::ByGroup => "group",
    }
}

fn killing_named(name: &[u8]) -> Option<Killing> {
    [
        Killing::ByFramework,
        Killing::ByHealth,
        Killing::ByTimeLimit,
        Killing::ByDrain,
        Killing::ByGroup,
    ]
    .into_iter()
    .find(|killing| killing_name(*killing).as_bytes() == name)
}

fn frame(bytes: &mut Vec<u8>, message: &impl Message) {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&message.encode_to_vec());
}

/// Reads messages, each after its length; says how many bytes of them are whole.
fn unframe<M: Message + Default>(bytes: &[u8]) -> (Vec<M>, usize) {
    let (mut all, mut whole) = (Vec::new(), 0);
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((body, after)) = after.split_at_checked(length) else { break };
        let Ok(message) = M::decode(body) else { break };
        all.push(message);
        whole += 4 + length;
        rest = after;
    }
    (all, whole)
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn read_message<M: Message + Default>(path: &Path) -> Result<Option<M>, StoreError> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    match unframe(&bytes).0.pop() {
        Some(message) => Ok(Some(message)),
        None => {
            let error = io::Error::new(io::ErrorKind::InvalidData, "not the message it should be");
            Err(failed("read", path)(error))
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", directory)(error)),
    };
    let mut all = Vec::new();
    for entry in listing {
        all.push(entry.map_err(failed("list", directory))?.path());
    }
    all.sort();
    Ok(all)
}

fn remove_tree(directory: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
