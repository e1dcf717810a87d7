//! Programs that a container's config wants run at its turning points (runtime-spec
//! config.md#posix-platform-hooks).
//!
//! ```text
//! namespaces made -> prestart, createRuntime   here, in the shim's namespaces
//!                 -> createContainer           in the container's, before its root is /
//! root is /       -> startContainer            in the container, by its own paths
//! program runs    -> poststart                 here
//! cgroup removed  -> poststop                  here
//! ```
//! The program gets the container's state on standard input. One that fails ends the start, after
//! the start it is told as a warning. An external runtime runs its hooks itself.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use linux::process::Pidfd;
use oci_spec::runtime::{Hook, Hooks, Spec};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::failure::During;
use crate::shim::protocol::Failure;

/// The directory in the bundle where the root is mounted for hooks to find it.
pub(crate) const ROOTFS: &str = "rootfs";
/// How much of a program's complaint is told.
const TOLD: usize = 4 << 10;

/// When a program is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Namespaces are there, the program is not.
    Created,
    /// From inside, before the root is `/`.
    CreateContainer,
    /// From inside, right before the program.
    StartContainer,
    /// The program runs.
    Started,
    /// All is over.
    Stopped,
}

impl Moment {
    fn status(self) -> &'static str {
        match self {
            Self::Created | Self::CreateContainer => "creating",
            Self::StartContainer => "created",
            Self::Started => "running",
            Self::Stopped => "stopped",
        }
    }

    /// The programs of this moment, with the name of their list.
    fn of(self, hooks: &Hooks) -> Vec<(&'static str, &Hook)> {
        let lists = match self {
            Self::Created => {
                #[allow(deprecated, reason = "configs still have it, and it has to run first")]
                let prestart = hooks.prestart();
                vec![("prestart", prestart), ("createRuntime", hooks.create_runtime())]
            }
            Self::CreateContainer => vec![("createContainer", hooks.create_container())],
            Self::StartContainer => vec![("startContainer", hooks.start_container())],
            Self::Started => vec![("poststart", hooks.poststart())],
            Self::Stopped => vec![("poststop", hooks.poststop())],
        };
        let all = lists
            .into_iter()
            .flat_map(|(name, list)| list.iter().flatten().map(move |hook| (name, hook)));
        all.collect()
    }
}

/// Whose hooks they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
    /// Process 1, as the program sees it; 0 when there is none.
    pub(crate) pid: u32,
}

/// Tells whether the config has a program for any of the moments.
pub(crate) fn any(spec: &Spec, moments: &[Moment]) -> bool {
    let Some(hooks) = spec.hooks() else { return false };
    moments.iter().any(|moment| !moment.of(hooks).is_empty())
}

/// Runs the programs of a moment until one fails.
pub(crate) fn run(subject: &Subject<'_>, moment: Moment) -> Result<(), Failure> {
    let Some(hooks) = subject.spec.hooks() else { return Ok(()) };
    for (number, (list, hook)) in moment.of(hooks).into_iter().enumerate() {
        run_one(subject, moment, hook)
            .map_err(|reason| Failure::other(format!("{list} hook #{number}: {reason}")))?;
    }
    Ok(())
}

/// Runs all programs of a moment; gives the reasons of those that failed.
pub(crate) fn run_all(subject: &Subject<'_>, moment: Moment) -> Vec<String> {
    let Some(hooks) = subject.spec.hooks() else { return Vec::new() };
    let outcomes = moment.of(hooks).into_iter().enumerate().filter_map(|(number, (list, hook))| {
        let reason = run_one(subject, moment, hook).err()?;
        Some(format!("{list} hook #{number}: {reason}"))
    });
    outcomes.collect()
}

fn run_one(subject: &Subject<'_>, moment: Moment, hook: &Hook) -> Result<(), String> {
    let path = hook.path();
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if !path.is_absolute() {
        return Err(failed(&"the path of a hook must be absolute"));
    }
    let state = state(subject, moment).map_err(|error| failed(&error))?;
    // A file, not a pipe: a program that does not read it cannot stop us.
    let input = linux_file(&state).map_err(|error| failed(&error))?;
    let output = linux_file(&[]).map_err(|error| failed(&error))?;
    let errors = output.try_clone().map_err(|error| failed(&error))?;
    let told = output.try_clone().map_err(|error| failed(&error))?;
    let mut arguments = hook.args().iter().flatten();
    let mut command = Command::new(path);
    command.arg0(arguments.next().map_or(path.as_os_str(), |name| name.as_ref()));
    command.args(arguments).env_clear();
    command.envs(hook.env().iter().flatten().filter_map(|variable| variable.split_once('=')));
    command.stdin(input).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let in_time = wait(child.id(), hook.timeout());
    if !matches!(in_time, Ok(true)) {
        // It is reaped below, whichever way it ended.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| failed(&error))?;
    match in_time {
        Err(error) => return Err(failed(&error)),
        Ok(false) => {
            let seconds = hook.timeout().unwrap_or_default();
            return Err(failed(&format!("hook ran past specified timeout of {seconds}s")));
        }
        Ok(true) if status.success() => return Ok(()),
        Ok(true) => {}
    }
    let said = said(&told);
    let said = if said.is_empty() { said } else { format!(", output: {said}") };
    Err(failed(&format!("{status}{said}")))
}

/// Waits for the end of a child that is not reaped; `false` if its time is over.
fn wait(pid: u32, timeout_secs: Option<i64>) -> io::Result<bool> {
    let pidfd = Pidfd::open(pid)?;
    let limit = timeout_secs.and_then(|seconds| u64::try_from(seconds).ok());
    let limit = limit.map(Duration::from_secs).and_then(|limit| Timespec::try_from(limit).ok());
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut fds, limit.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The container's state (runtime-spec runtime.md#state).
fn state(subject: &Subject<'_>, moment: Moment) -> io::Result<Vec<u8>> {
    let empty = HashMap::new();
    let annotations = subject.spec.annotations().as_ref().unwrap_or(&empty);
    let state = serde_json::json!({
        "ociVersion": subject.spec.version(),
        "id": subject.id,
        "status": moment.status(),
        "pid": subject.pid,
        "bundle": subject.bundle,
        "annotations": annotations,
    });
    Ok(serde_json::to_vec(&state)?)
}

/// A file in memory that holds `content` and is read from its beginning.
fn linux_file(content: &[u8]) -> io::Result<std::fs::File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::memfd_create(c"hook", flags)?);
    file.write_all(content)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

fn said(output: &std::fs::File) -> String {
    let mut text = vec![0; TOLD];
    let length = std::os::unix::fs::FileExt::read_at(output, &mut text, 0).unwrap_or(0);
    String::from_utf8_lossy(&text[..length]).trim().to_owned()
}

/// Makes the place in the bundle where hooks look for the root.
pub(crate) fn make_rootfs(bundle: &Path) -> Result<std::path::PathBuf, Failure> {
    let place = bundle.join(ROOTFS);
    std::fs::create_dir_all(&place).during(|| format!("create {}", place.display()))?;
    Ok(place)
}
