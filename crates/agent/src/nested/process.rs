//! A command beside a task's process: in its cgroup and sandbox, with its environment and user.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use runtime::cgroup::Cgroup;
use rustix::fs::{Gid, OFlags, Uid};
use rustix::process::{Pid, Signal, getsid, kill_process};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, mpsc};

use super::session::{Handle, Launch, Piece, Running, Stream, WAITING, WindowSize};
use crate::containers::SIGKILL;
use crate::identity::{self, User};
use crate::process::{ENTER, EnterSpec, program};

/// How often processes are listed anew that start others while they are killed.
const KILL_ROUNDS: usize = 20;
const CHUNK: usize = 16 << 10;

/// A process of the mesos containerizer.
#[derive(Debug, Clone)]
pub(crate) struct InProcess {
    /// The agent's own directory of it.
    pub(crate) home: PathBuf,
    pub(crate) cgroup: Cgroup,
    pub(crate) sandbox: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) user: Option<User>,
    /// Whether commands may have users of their own.
    pub(crate) switch_user: bool,
}

/// The command's process.
#[derive(Debug)]
pub(super) struct Child {
    /// Held while it is waited for.
    child: Mutex<tokio::process::Child>,
    pid: Option<Pid>,
    cgroup: Cgroup,
    terminal: Option<Arc<AsyncFd<OwnedFd>>>,
}

pub(super) fn start(place: &InProcess, launch: &Launch) -> Result<Running, String> {
    let spec = spec(place, launch)?;
    if !place.cgroup.exists() {
        return Err("its task does not run".to_owned());
    }
    let path = write(place, &spec).map_err(|e| format!("cannot write down what to run: {e}"))?;
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg("agent").arg(ENTER).arg(&path);
    let started = match launch.terminal {
        Some(size) => with_terminal(command, size, spec.user),
        None => with_pipes(command),
    };
    let (child, terminal, input, output) = started.map_err(|e| {
        let _ = fs::remove_file(&path); // it goes with its task otherwise
        format!("cannot start it: {e}")
    })?;
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let cgroup = place.cgroup.clone();
    let child = Child { child: Mutex::new(child), pid, cgroup, terminal };
    Ok(Running { input, output, handle: Handle::Process(Box::new(child)) })
}

fn spec(place: &InProcess, launch: &Launch) -> Result<EnterSpec, String> {
    let (program, arguments) = program(&launch.command)?;
    let own = crate::docker::variables(Some(&launch.command))?;
    let user = match launch.command.user.as_deref().filter(|_| place.switch_user) {
        Some(name) => Some(identity::user(name)?),
        None => place.user,
    };
    Ok(EnterSpec {
        program,
        arguments,
        environment: place.environment.iter().cloned().chain(own).collect(),
        directory: place.sandbox.clone(),
        user: user.map(|user| (user.uid, user.gid)),
        cgroup: crate::process::entrances(&place.cgroup),
        terminal: launch.terminal.is_some(),
    })
}

/// Environments are nobody else's business.
fn write(place: &InProcess, spec: &EnterSpec) -> io::Result<PathBuf> {
    let path = place.home.join(format!("enter-{:016x}.json", rand::random::<u64>()));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(&serde_json::to_vec(spec)?)?;
    Ok(path)
}

type Started = (
    tokio::process::Child,
    Option<Arc<AsyncFd<OwnedFd>>>,
    Box<dyn AsyncWrite + Unpin + Send>,
    mpsc::Receiver<Piece>,
);

fn with_pipes(mut command: tokio::process::Command) -> io::Result<Started> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let missing = || io::Error::other("no pipe");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let (sender, output) = mpsc::channel(WAITING);
    // Both end with the pipes, or with the session.
    tokio::spawn(copy(stdout, Stream::Out, sender.clone()));
    tokio::spawn(copy(stderr, Stream::Err, sender));
    Ok((child, None, Box::new(stdin), output))
}

#[expect(
    deprecated,
    reason = "an OwnedFd stays open while it is registered; the other form is unsafe"
)]
fn with_terminal(
    mut command: tokio::process::Command,
    size: WindowSize,
    user: Option<(u32, u32)>,
) -> io::Result<Started> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&ours)?;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    rustix::termios::tcsetwinsize(&ours, winsize(size))?;
    if let Some((uid, gid)) = user {
        rustix::fs::fchown(&theirs, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    let nonblocking = rustix::fs::fcntl_getfl(&ours)? | OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&ours, nonblocking)?;
    command
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs.try_clone()?))
        .stderr(Stdio::from(theirs));
    let child = command.spawn()?;
    drop(command); // and with it this side's hold on theirs
    let ours = Arc::new(AsyncFd::new(ours)?);
    let (sender, output) = mpsc::channel(WAITING);
    // Ends when nobody has the other side open any more, or with the session.
    tokio::spawn(copy(Terminal(Arc::clone(&ours)), Stream::Out, sender));
    Ok((child, Some(Arc::clone(&ours)), Box::new(Terminal(ours)), output))
}

async fn copy(mut from: impl AsyncRead + Unpin + Send, stream: Stream, to: mpsc::Sender<Piece>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        // A terminal whose other side nobody has open any more answers with an error.
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if to.send((stream, Bytes::copy_from_slice(&buffer[..read]))).await.is_err() {
            return;
        }
    }
}

impl Child {
    pub(super) fn signal(&self, signal: i32) {
        let Some(leader) = self.pid else { return };
        if signal != SIGKILL {
            if let Some(signal) = Signal::from_named_raw(signal) {
                let _ = kill_process(leader, signal); // it may have ended
            }
            return;
        }
        // Those of its session: it leads one. Others of the cgroup are the task's.
        for _ in 0..KILL_ROUNDS {
            let mut any = false;
            for pid in self.cgroup.pids().unwrap_or_default() {
                let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
                if getsid(Some(pid)) == Ok(leader) {
                    any |= kill_process(pid, Signal::KILL).is_ok();
                }
            }
            if !any {
                break;
            }
        }
        let _ = kill_process(leader, Signal::KILL); // it may not have entered the cgroup yet
    }

    pub(super) fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = rustix::termios::tcsetwinsize(terminal.as_fd(), winsize(size))
        {
            tracing::debug!(%error, "cannot resize a terminal");
        }
    }

    pub(super) async fn wait(&self) -> i32 {
        let status = self.child.lock().await.wait().await;
        status.map_or(-1, ExitStatusExt::into_raw)
    }
}

fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The agent's side of a terminal.
struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let unfilled = buffer.initialize_unfilled();
            let read = guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *unfilled)?));
            if let Ok(read) = read {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The end of a terminal's input is a character, which its user types.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
