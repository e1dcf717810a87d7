//! The shim's loop: one thread, one poll over the socket, clients, signals and streams.
//!
//! ```text
//! created -> running <-> paused -> exited (output drains) -> finished (exit.json) -> gone
//! ```
//! Nothing in the loop waits for a peer: a client that does not read makes only the container wait
//! (as Docker does), and a process that does not read its input makes only the clients wait.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use linux::process::{self, Exit};
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::connection::{Connection, Input, Phase};
use super::driver::Driver;
use super::external::Pending;
use super::job::{Job, Output};
use super::log::Source;
use super::names::Names;
use super::ports::Ports;
use super::protocol::{
    EXIT_FILE, ExecExit, ExitInfo, Failure, FailureKind, SOCKET_FILE, ShimConfig, Started, Streams,
    VERSION, frame,
};
use super::sink::Sink;
use crate::cgroup::Cgroup;
use crate::failure::chain;
use crate::hooks::Moment;
use crate::spawn::{Sync, read_sync};

/// The job that is the container's init.
pub(super) const INIT: &str = "";

/// All the shim knows.
#[derive(Debug)]
pub(crate) struct Server {
    pub(super) bundle: PathBuf,
    pub(super) config: ShimConfig,
    pub(super) spec: Spec,
    pub(super) cgroup: Cgroup,
    pub(super) driver: Driver,
    /// The seccomp filter for init and execs.
    pub(super) filter: Option<Vec<u8>>,
    pub(super) listener: Option<UnixListener>,
    pub(super) signals: OwnedFd,
    pub(super) log: Option<Sink>,
    /// Once the container is on a user-defined network.
    pub(super) names: Option<Names>,
    pub(super) ports: Ports,
    /// The root of the container's devpts, where execs open their terminals.
    pub(super) devpts: Option<OwnedFd>,
    /// The container's overlay. Its last user makes the kernel sync the whole file system below,
    /// which must not be init: its exit would be known only after that.
    pub(super) rootfs: Option<OwnedFd>,
    pub(super) jobs: BTreeMap<String, Job>,
    /// Execs that an external runtime was asked for.
    pub(super) pending: BTreeMap<String, Pending>,
    pub(super) connections: HashMap<u64, Connection>,
    pub(super) next_connection: u64,
    pub(super) finished_execs: BTreeMap<String, ExecExit>,
    /// When a job exited whose output has not ended yet.
    pub(super) draining: BTreeMap<String, Instant>,
    pub(super) started: Started,
    pub(super) exited_at_ns: i64,
    pub(super) exit: Option<ExitInfo>,
    pub(super) paused: bool,
    /// What went wrong without ending anything.
    pub(super) warnings: Vec<String>,
}

/// What a polled descriptor stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Signals,
    Listener,
    Names,
    Log,
    Sync(String),
    Console(String),
    Output(String, Source),
    Stdin(String),
    Connection(u64),
}

impl Server {
    /// Serves until the container has ended and every client has what it asked for.
    pub(crate) fn run(mut self) {
        self.attach_early();
        self.take_all_early_stdin();
        while !self.is_over() {
            let ready = self.poll();
            for (token, flags) in ready {
                self.handle(token, flags);
            }
            self.settle();
            self.connections.retain(|_, connection| !connection.is_done());
        }
    }

    fn is_over(&self) -> bool {
        self.exit.is_some() && self.connections.is_empty()
    }

    fn poll(&self) -> Vec<(Token, PollFlags)> {
        let interests = self.interests();
        let mut fds: Vec<_> = interests.iter().map(|(_, fd, _)| fd.clone()).collect();
        let timeout = self.timeout().and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // Interrupted, or out of memory for a moment: the next round tries again.
            Err(_) => return Vec::new(),
        }
        let ready = interests.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        ready.map(|((token, _, _), fd)| (token.clone(), fd.revents())).collect()
    }

    fn timeout(&self) -> Option<Duration> {
        let patience = Duration::from_millis(self.config.drain_timeout_ms);
        let drained = self.draining.values().min().map(|earliest| *earliest + patience);
        let names = self.names.as_ref().and_then(Names::due);
        let due = drained.into_iter().chain(names).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn interests(&self) -> Vec<(Token, PollFd<'_>, ())> {
        let mut list = Vec::with_capacity(8);
        let mut add = |token, fd, flags| {
            list.push((token, PollFd::from_borrowed_fd(fd, flags), ()));
        };
        add(Token::Signals, self.signals.as_fd(), PollFlags::IN);
        if let Some(listener) = &self.listener {
            add(Token::Listener, listener.as_fd(), PollFlags::IN);
        }
        for fd in self.names.iter().flat_map(Names::waiting_at) {
            add(Token::Names, fd, PollFlags::IN);
        }
        if let Some(fd) = self.log.as_ref().and_then(Sink::behind) {
            add(Token::Log, fd, PollFlags::OUT);
        }
        for (name, job) in &self.jobs {
            if let Some(sync) = &job.sync {
                add(Token::Sync(name.clone()), sync.as_fd(), PollFlags::IN);
                continue;
            }
            for source in [Source::Stdout, Source::Stderr] {
                if let Some(fd) = job.output(source).filter(|_| !self.is_held_back(name, source)) {
                    add(Token::Output(name.clone(), source), fd.as_fd(), PollFlags::IN);
                }
            }
            if let Some(fd) = job.stdin_waiting() {
                add(Token::Stdin(name.clone()), fd.as_fd(), PollFlags::OUT);
            }
        }
        for (name, pending) in &self.pending {
            if let Some(fd) = pending.console() {
                add(Token::Console(name.clone()), fd, PollFlags::IN);
            }
        }
        for (id, connection) in &self.connections {
            let mut flags = PollFlags::empty();
            if !connection.input_ended && self.takes_input(connection) {
                flags |= PollFlags::IN;
            }
            if connection.wants_write() {
                flags |= PollFlags::OUT;
            }
            add(Token::Connection(*id), connection.fd(), flags);
        }
        list
    }

    /// Tells whether some client is so far behind that the container has to wait.
    fn is_held_back(&self, name: &str, source: Source) -> bool {
        // What an exited process left in its pipes is little, and must reach the log.
        if self.draining.contains_key(name) {
            return false;
        }
        if name == INIT && self.log.as_ref().and_then(Sink::behind).is_some() {
            return true;
        }
        self.connections.values().any(|connection| {
            connection.is_full()
                && matches!(&connection.phase, Phase::Streaming { job, streams }
                    if job == name && wants(*streams, source))
        })
    }

    fn takes_input(&self, connection: &Connection) -> bool {
        match &connection.phase {
            Phase::Streaming { job, .. } => {
                self.jobs.get(job).is_none_or(|job| job.accepts_stdin())
            }
            // What comes before the program runs is for the program.
            Phase::Starting { .. } | Phase::Attaching(_) => false,
            _ => true,
        }
    }

    fn handle(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Signals => self.reap(),
            Token::Listener => self.accept(),
            Token::Names => {
                if let Some(names) = &mut self.names {
                    names.wake();
                }
            }
            Token::Log => {
                if let Some(log) = &mut self.log {
                    log.catch_up();
                }
            }
            Token::Sync(name) => self.hear(&name),
            Token::Console(name) => self.take_console(&name),
            Token::Output(name, source) => self.pump(&name, source),
            Token::Stdin(name) => {
                if let Some(job) = self.jobs.get_mut(&name) {
                    job.write_stdin();
                }
            }
            Token::Connection(id) => self.serve(id, flags),
        }
    }

    /// Collects ended children: jobs, and orphans of the container.
    fn reap(&mut self) {
        let mut buffer = [0_u8; 512];
        // The signals carry no news beyond having come.
        while rustix::io::read(&self.signals, &mut buffer).is_ok_and(|length| length > 0) {}
        self.complete_asked();
        if !self.pending.is_empty() {
            // A child of an unknown number may be the process of one of these, whose exit would
            // be lost: those known are reaped, the others keep.
            return self.reap_jobs();
        }
        while let Some((pid, exit)) = process::reap_any() {
            if self.names.as_mut().is_some_and(|names| names.child_ended(pid, exit)) {
                continue;
            }
            let ended = self.jobs.iter().find(|(_, job)| job.pid == pid && job.exit.is_none());
            if let Some(name) = ended.map(|(name, _)| name.clone()) {
                self.job_exited(&name, exit);
            }
        }
    }

    fn reap_jobs(&mut self) {
        let running = self.jobs.iter().filter(|(_, job)| job.exit.is_none());
        let ended: Vec<_> = running
            .filter_map(|(name, job)| Some((name.clone(), job.pidfd.try_wait().ok()??)))
            .collect();
        for (name, exit) in ended {
            self.job_exited(&name, exit);
        }
    }

    fn job_exited(&mut self, name: &str, exit: Exit) {
        if let Some(job) = self.jobs.get_mut(name) {
            job.exit = Some(exit);
        }
        self.draining.insert(name.to_owned(), Instant::now());
        if name == INIT {
            self.exited_at_ns = now_ns();
            // Before anybody hears of the end: the ports may be wanted at once.
            self.ports.release();
            // With a pid namespace they are dying already; without one this ends them.
            let _ = self.cgroup.signal_all(libc::SIGKILL);
            let _ = self.cgroup.thaw();
            return;
        }
        let Some(job) = self.jobs.get(name) else { return };
        let finished = ExecExit { exit_code: exit.code(), pid: job.pid };
        self.finished_execs.insert(name.to_owned(), finished);
        for connection in self.connections.values_mut() {
            if connection.phase == Phase::WaitExec(name.to_owned()) {
                connection.finish(Ok(finished));
            }
        }
    }

    /// Accepts whoever waits.
    pub(super) fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            if let Ok(connection) = Connection::new(stream) {
                let id = self.next_connection;
                self.next_connection += 1;
                self.connections.insert(id, connection);
                // The request has often come already.
                self.serve(id, PollFlags::IN);
            }
        }
    }

    fn serve(&mut self, id: u64, flags: PollFlags) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if flags.contains(PollFlags::OUT) {
            connection.flush();
        }
        if flags.intersects(PollFlags::ERR | PollFlags::NVAL) {
            connection.broken = true;
        }
        if !flags.intersects(PollFlags::IN | PollFlags::HUP) {
            return;
        }
        let input = if connection.input_ended {
            // Hung up for good while something is still to be written.
            connection.broken = true;
            Input::Stdin { bytes: Vec::new(), ends: true }
        } else {
            connection.read()
        };
        match input {
            Input::Nothing => {}
            Input::Malformed(message) => {
                connection.finish::<()>(Err(Failure::invalid(message)));
            }
            Input::Request(request) => {
                self.dispatch(id, *request);
                self.take_early_stdin(id);
            }
            Input::Stdin { bytes, ends } => self.take_stdin(id, &bytes, ends),
        }
    }

    /// Takes the frames that came with the request, once there is a process to take them.
    fn take_early_stdin(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Phase::Streaming { job, .. } = &connection.phase else { return };
        if self.jobs.contains_key(job)
            && let Input::Stdin { bytes, ends } = connection.take_frames()
        {
            self.take_stdin(id, &bytes, ends);
        }
    }

    /// Does so for every connection: init has been born, or an exec's program runs.
    pub(super) fn take_all_early_stdin(&mut self) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.take_early_stdin(id);
        }
    }

    fn take_stdin(&mut self, id: u64, bytes: &[u8], ends: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Phase::Streaming { job, streams } = &connection.phase else { return };
        if !streams.stdin {
            connection.input_ended |= ends;
            return;
        }
        let Some(job) = self.jobs.get_mut(job) else { return };
        if !bytes.is_empty() {
            job.push_stdin(bytes);
        }
        if ends {
            connection.input_ended = true;
            if job.stdin_once {
                job.end_stdin();
            }
        }
    }

    /// Reads what a process wrote, for the log and for clients.
    fn pump(&mut self, name: &str, source: Source) {
        let mut buffer = [0_u8; 32 << 10];
        let Some(job) = self.jobs.get_mut(name) else { return };
        match job.read(source, &mut buffer) {
            Output::Nothing => {}
            Output::Bytes(length) => self.publish(name, source, &buffer[..length]),
            Output::End => {
                if let Some(log) = self.log.as_mut().filter(|_| name == INIT) {
                    // A log that cannot be written (disk full) does not end the container.
                    let _ = log.end(source, now_ns());
                }
            }
        }
    }

    fn publish(&mut self, name: &str, source: Source, bytes: &[u8]) {
        if let Some(log) = self.log.as_mut().filter(|_| name == INIT) {
            let _ = log.write(source, bytes, now_ns());
        }
        let stream = match source {
            Source::Stdout => frame::Stream::Stdout,
            Source::Stderr => frame::Stream::Stderr,
        };
        for connection in self.connections.values_mut() {
            let takes = matches!(&connection.phase, Phase::Streaming { job, streams }
                if job == name && wants(*streams, source));
            if takes {
                connection.frame(stream, bytes);
            }
        }
    }

    /// Hears whether an exec's program runs.
    fn hear(&mut self, name: &str) {
        let Some(job) = self.jobs.get_mut(name) else { return };
        let Some(sync) = &job.sync else { return };
        let failure = match read_sync(sync) {
            Ok(None) => return,
            Ok(Some(Sync::Terminal(mut fds))) => {
                let master = if fds.len() > 1 { fds.pop() } else { None };
                match master.map_or(Ok(()), |master| job.set_terminal(master)) {
                    Ok(()) => return,
                    Err(failure) => Some(failure),
                }
            }
            // Only init has hooks.
            Ok(Some(Sync::Created)) => return,
            Ok(Some(Sync::Started)) => None,
            Ok(Some(Sync::Failed(failure))) | Err(failure) => Some(failure),
        };
        job.sync = None;
        self.exec_settled(name, failure);
        self.take_all_early_stdin();
    }

    /// Does what the passage of time and the last events have made due.
    fn settle(&mut self) {
        if let Some(names) = &mut self.names {
            names.settle();
        }
        let patience = Duration::from_millis(self.config.drain_timeout_ms);
        let names: Vec<_> = self.draining.keys().cloned().collect();
        for name in names {
            let Some(job) = self.jobs.get_mut(&name) else { continue };
            let is_late = self.draining[&name].elapsed() >= patience;
            if is_late {
                job.abandon_output();
            }
            if job.has_output() || job.sync.is_some() {
                continue;
            }
            self.draining.remove(&name);
            if name == INIT {
                self.finish();
            } else {
                self.jobs.remove(&name);
            }
            self.end_streams(&name);
        }
        let ended: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.sync.is_none() && !job.has_output())
            .map(|(name, _)| name.clone())
            .collect();
        for name in ended {
            self.end_streams(&name);
        }
    }

    /// Ends the connections that carry a job's output, which has ended.
    fn end_streams(&mut self, name: &str) {
        for connection in self.connections.values_mut() {
            let is_its = matches!(&connection.phase, Phase::Streaming { job, .. } if job == name);
            if is_its {
                connection.phase = Phase::Closing;
            }
        }
    }

    /// The container has ended and its output is read: leaves nothing but `exit.json`.
    fn finish(&mut self) {
        let Some(exit) = self.jobs.get(INIT).and_then(|job| job.exit) else { return };
        if let Some(log) = self.log.take() {
            log.finish();
        }
        self.names = None;
        for (_, pending) in std::mem::take(&mut self.pending) {
            pending.abandon();
        }
        let mut warnings = std::mem::take(&mut self.warnings);
        let oom_killed = self.cgroup.oom_kills() > 0;
        if let Err(failure) = self.driver.delete() {
            warnings.push(failure.message);
        }
        if let Err(error) = self.cgroup.remove() {
            warnings.push(chain(&error));
        }
        warnings.extend(self.run_late_hooks(Moment::Stopped, 0));
        let info = ExitInfo {
            version: VERSION,
            pid: self.started.pid,
            exit_code: exit.code(),
            signal: match exit {
                Exit::Signal(signal) => Some(signal),
                Exit::Code(_) => None,
            },
            oom_killed,
            started_at_ns: self.started.started_at_ns,
            finished_at_ns: self.exited_at_ns,
            warnings,
        };
        self.record_exit(&info);
        // New clients find the file from here on; those who came before are still answered.
        let _ = std::fs::remove_file(self.bundle.join(SOCKET_FILE));
        self.exit = Some(info.clone());
        self.accept();
        self.listener = None;
        for connection in self.connections.values_mut() {
            match connection.phase {
                Phase::WaitInit => connection.finish(Ok(info.clone())),
                Phase::Starting { .. } | Phase::WaitExec(_) | Phase::Attaching(_) => {
                    connection.finish::<()>(Err(not_running()));
                }
                Phase::Request => connection.broken = true,
                Phase::Streaming { .. } | Phase::Closing => {}
            }
        }
        // Execs that somehow outlived init have nobody to report to.
        self.jobs.retain(|name, _| name == INIT);
        let all: Vec<_> = self.connections.values_mut().collect();
        for connection in all {
            if matches!(connection.phase, Phase::Streaming { .. }) {
                connection.phase = Phase::Closing;
            }
        }
        self.draining.clear();
    }

    fn record_exit(&self, info: &ExitInfo) {
        let path = self.config.container_dir.join(EXIT_FILE);
        let written = serde_json::to_vec(info)
            .map_err(io::Error::from)
            .and_then(|bytes| linux::fs::write_durable(&path, &bytes));
        if let Err(error) = written {
            // The daemon then finds no record and takes the container for lost.
            eprintln!("write {}: {error}", path.display());
        }
    }
}

fn wants(streams: Streams, source: Source) -> bool {
    match source {
        Source::Stdout => streams.stdout,
        Source::Stderr => streams.stderr,
    }
}

pub(super) fn not_running() -> Failure {
    Failure { kind: FailureKind::NotRunning, message: "the container is not running".to_owned() }
}

/// The time as Unix nanoseconds.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
