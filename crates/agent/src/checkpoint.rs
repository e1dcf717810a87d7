//! Records on disk: what an agent that is killed at any moment finds again.
//!
//! A file of one message is written beside its place and renamed into it. The stream of a task is
//! appended to, each line after its length; a line that was cut short by the end of the agent is
//! dropped when the stream is read. The directory of a run goes once its sentinel stands.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cluster::agent::{
    Killing, Record, Recovered, RecoveredExecutor, RecoveredFramework, RecoveredTask,
};
use cluster::id::{ContainerId, ExecutorId, FrameworkId};
use mesos_api::internal::StatusUpdateRecord;
use mesos_api::v1::{AgentInfo, ExecutorInfo, FrameworkInfo, Resource, TaskInfo};
use prost::Message;

use crate::layout::{Layout, Run};

const SENTINEL: &str = "executor.sentinel";
const COMMAND: &str = "executor_generated_for_command_task";

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

/// The records of an agent.
#[derive(Debug)]
pub(crate) struct Store {
    layout: Layout,
    /// The agent's id, once it has one.
    agent: Option<String>,
}

impl Store {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, agent: None }
    }

    /// Under which id sandboxes are kept; there is none before the first registration.
    pub(crate) fn agent_id(&self) -> &str {
        self.agent.as_deref().unwrap_or_default()
    }

    /// Makes a record durable.
    pub(crate) fn write(&mut self, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Agent(info) => self.write_agent(info),
            Record::Resources(resources) => {
                let mut bytes = Vec::new();
                resources.iter().for_each(|resource| frame(&mut bytes, resource));
                replace(&self.layout.resources(), &bytes)
            }
            Record::Framework { id, info, pid } => {
                let directory = self.layout.framework(self.agent_id(), id);
                write_message(&directory.join("framework.info"), info)?;
                replace(&directory.join("framework.pid"), pid.as_deref().unwrap_or("").as_bytes())
            }
            Record::Executor { framework, executor, container, info, command } => {
                let directory = self.layout.executor(self.agent_id(), framework, executor);
                if *command {
                    replace(&directory.join(COMMAND), b"")?;
                }
                let run = directory.join("runs").join(container.as_str());
                fs::create_dir_all(run.join("tasks")).map_err(failed("create", &run))?;
                write_message(&directory.join("executor.info"), info)?;
                link(&directory.join("runs").join("latest"), container.as_str())
            }
            Record::Task { framework, executor, container, info } => {
                let run = Run { framework, executor, container };
                let task = info.task_id.value.as_str().into();
                let directory = self.layout.task(self.agent_id(), run, &task);
                write_message(&directory.join("task.info"), info.as_ref())
            }
            Record::Update { framework, executor, container, task, record } => {
                let run = Run { framework, executor, container };
                let path = self.layout.task(self.agent_id(), run, task).join("task.updates");
                append(&path, record.as_ref()).map_err(failed("append to", &path))
            }
            Record::Killing { framework, executor, container, task, killing } => {
                let run = Run { framework, executor, container };
                let path = self.layout.task(self.agent_id(), run, task).join("task.killing");
                replace(&path, killing_name(*killing).as_bytes())
            }
            Record::Finished { framework, executor, container } => {
                self.finish_run(Run { framework, executor, container })
            }
            Record::FrameworkFinished { framework } => {
                let directory = self.layout.framework(self.agent_id(), framework);
                remove_tree(&directory)
            }
        }
    }

    fn write_agent(&mut self, info: &AgentInfo) -> Result<(), StoreError> {
        let id = info.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
        write_message(&self.layout.agent(&id).join("slave.info"), info)?;
        link(&self.layout.latest(), &crate::layout::component(&id))?;
        self.agent = Some(id);
        Ok(())
    }

    fn finish_run(&self, run: Run<'_>) -> Result<(), StoreError> {
        let directory = self.layout.run(self.agent_id(), run);
        if !directory.exists() {
            return Ok(()); // of a framework that leaves no records
        }
        replace(&directory.join(SENTINEL), b"")?;
        remove_tree(&self.layout.executor(self.agent_id(), run.framework, run.executor))
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
        replace(&self.layout.boot_id(), id.as_bytes())
    }

    /// Reads everything that is not finished.
    pub(crate) fn read(&mut self) -> Result<Recovered, StoreError> {
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
            recovered.frameworks.extend(self.read_framework(&framework)?);
        }
        Ok(recovered)
    }

    fn read_framework(&self, directory: &Path) -> Result<Option<RecoveredFramework>, StoreError> {
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
            executors.extend(read_executor(&executor)?);
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
    if run.join(SENTINEL).exists() {
        remove_tree(directory)?;
        return Ok(None);
    }
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
        tasks.push(RecoveredTask { info, lines, killing });
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
    }
}

fn killing_named(name: &[u8]) -> Option<Killing> {
    [Killing::ByFramework, Killing::ByHealth, Killing::ByTimeLimit, Killing::ByDrain]
        .into_iter()
        .find(|killing| killing_name(*killing).as_bytes() == name)
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed("write", path))
}

fn write_message(path: &Path, message: &impl Message) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    frame(&mut bytes, message);
    replace(path, &bytes)
}

/// Points a link at `target`, whole or not at all.
fn link(path: &Path, target: &str) -> Result<(), StoreError> {
    let beside = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&beside); // left by an agent that was killed here
        std::os::unix::fs::symlink(target, &beside)?;
        fs::rename(&beside, path)
    };
    write().map_err(failed("link", path))
}

fn append(path: &Path, message: &impl Message) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame(&mut bytes, message);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = File::options().create(true).append(true).open(path)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(&bytes) {
        // Half a line would make every later one unreadable.
        file.set_len(before)?;
        return Err(error);
    }
    file.sync_data()
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
