//! What the shim does for each request.

use linux::process::Pidfd;

use super::connection::{Connection, Phase};
use super::driver::Made;
use super::job::Job;
use super::names::{self, Names};
use super::protocol::{
    Attached, ConsoleSize, Empty, ExecRequest, ExecStarted, Failure, Held, Pids, Request, State,
    Streams, VERSION,
};
use super::server::{INIT, Server, not_running};
use crate::failure::During;
use crate::spawn::cgroup_failure;

impl Server {
    /// Acts on a request and answers it, now or later.
    pub(super) fn dispatch(&mut self, id: u64, request: Request) {
        match request {
            Request::State => {
                let state = self.state();
                self.answer(id, Ok(state));
            }
            Request::Wait => match self.exit.clone() {
                Some(exit) => self.answer(id, Ok(exit)),
                None => self.set_phase(id, Phase::WaitInit),
            },
            Request::Kill { signal, all } => {
                let done = self.kill(signal, all);
                self.answer(id, done);
            }
            Request::Resize { exec_id, rows, cols } => {
                let done = self.resize(exec_id.as_deref(), ConsoleSize { rows, cols });
                self.answer(id, done);
            }
            Request::Attach(streams) => self.attach(id, streams),
            Request::Exec(request) => self.exec(id, *request),
            Request::ExecWait { exec_id } => self.exec_wait(id, exec_id),
            Request::CloseStdin { exec_id } => {
                let job = self.job(exec_id.as_deref());
                let done = job.map(|job| {
                    job.end_stdin();
                    Empty {}
                });
                self.answer(id, done);
            }
            Request::Pids => {
                let pids = self.cgroup.pids().map_err(cgroup_failure);
                self.answer(id, pids.map(|pids| Pids { pids }));
            }
            Request::Update { resources } => {
                let done = self.running().and_then(|()| {
                    self.cgroup.apply(&resources).map_err(cgroup_failure)?;
                    Ok(Empty {})
                });
                self.answer(id, done);
            }
            Request::Pause => {
                let done = self.pause();
                self.answer(id, done);
            }
            Request::ServeNames => {
                let done = self.running().and_then(|()| self.serve_names());
                self.answer(id, done.map(|()| Empty {}));
            }
            Request::HoldPorts { ports } => {
                let came = self.connections.get_mut(&id).map(Connection::take_sockets);
                let done = self.running().map(|()| {
                    let missing = self.ports.keep(&ports, came.unwrap_or_default());
                    Held { missing: missing.into_iter().collect() }
                });
                self.answer(id, done);
            }
            Request::Resume => {
                let done = self.resume();
                self.answer(id, done);
            }
        }
    }

    fn answer<T: serde::Serialize>(&mut self, id: u64, reply: Result<T, Failure>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.finish(reply);
        }
    }

    fn set_phase(&mut self, id: u64, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = phase;
        }
    }

    fn state(&self) -> State {
        let execs = self.jobs.iter().filter(|(name, job)| *name != INIT && job.exit.is_none());
        State {
            version: VERSION,
            container_id: self.config.container_id.clone(),
            pid: self.started.pid,
            start_ticks: self.started.start_ticks,
            started_at_ns: self.started.started_at_ns,
            paused: self.paused,
            exit: self.exit.clone(),
            execs: execs.map(|(name, job)| (name.clone(), job.pid)).collect(),
            oom_kills: self.cgroup.oom_kills(),
        }
    }

    fn running(&self) -> Result<(), Failure> {
        match self.jobs.get(INIT) {
            Some(init) if init.exit.is_none() => Ok(()),
            _ => Err(not_running()),
        }
    }

    fn job(&mut self, exec_id: Option<&str>) -> Result<&mut Job, Failure> {
        let name = exec_id.unwrap_or(INIT);
        self.jobs.get_mut(name).ok_or_else(|| no_such_exec(name))
    }

    fn kill(&mut self, signal: i32, all: bool) -> Result<Empty, Failure> {
        self.running()?;
        if all {
            self.cgroup.signal_all(signal).map_err(cgroup_failure)?;
            return Ok(Empty {});
        }
        let init = &self.job(None)?.pidfd;
        init.send_signal(signal).during(|| format!("send signal {signal}"))?;
        // v1's freezer holds even a killed process; Docker, too, lets it die.
        if signal == libc::SIGKILL && self.paused {
            self.cgroup.thaw().map_err(cgroup_failure)?;
            self.paused = false;
        }
        Ok(Empty {})
    }

    fn resize(&mut self, exec_id: Option<&str>, size: ConsoleSize) -> Result<Empty, Failure> {
        self.job(exec_id)?.resize(size.rows, size.cols)?;
        Ok(Empty {})
    }

    fn pause(&mut self) -> Result<Empty, Failure> {
        self.running()?;
        self.cgroup.freeze().map_err(cgroup_failure)?;
        self.paused = true;
        Ok(Empty {})
    }

    fn resume(&mut self) -> Result<Empty, Failure> {
        self.running()?;
        self.cgroup.thaw().map_err(cgroup_failure)?;
        self.paused = false;
        Ok(Empty {})
    }

    /// Makes names resolve in the container, unless they do already.
    pub(super) fn serve_names(&mut self) -> Result<(), Failure> {
        if self.names.is_some() {
            return Ok(());
        }
        let network = match self.jobs.get(INIT) {
            Some(init) => Some(names::open_network(format!("/proc/{}/ns/net", init.pid).as_ref())?),
            None => names::network_of(&self.spec)?,
        };
        let network = network.ok_or_else(|| {
            Failure::other("the container has no network of its own to resolve names in")
        })?;
        self.names = Some(Names::open(&self.bundle, network)?);
        Ok(())
    }

    fn attach(&mut self, id: u64, streams: Streams) {
        let tty = self.spec.process().as_ref().and_then(|process| process.terminal());
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(init) = self.jobs.get(INIT) else {
            // Whoever attaches before the start sees everything from the first byte on.
            connection.phase = Phase::Attaching(streams);
            return;
        };
        if !init.has_output() || self.exit.is_some() {
            connection.finish::<()>(Err(not_running()));
            return;
        }
        connection.phase = Phase::Streaming { job: INIT.to_owned(), streams };
        connection.reply(Ok(Attached { tty: tty == Some(true) }));
    }

    /// Answers those who attached before the start.
    pub(super) fn attach_early(&mut self) {
        let early = self.connections.iter().filter_map(|(id, connection)| match connection.phase {
            Phase::Attaching(streams) => Some((*id, streams)),
            _ => None,
        });
        let early: Vec<_> = early.collect();
        for (id, streams) in early {
            self.attach(id, streams);
        }
    }

    fn exec(&mut self, id: u64, request: ExecRequest) {
        match self.start_exec(&request) {
            Ok(made) => {
                match made {
                    // Whoever is the only one to write ends it with his own end.
                    Made::Job(mut job) => {
                        job.stdin_once = true;
                        self.jobs.insert(request.exec_id.clone(), job);
                    }
                    Made::Asked(pending) => {
                        self.pending.insert(request.exec_id.clone(), pending);
                    }
                }
                let streams = (!request.detach).then_some(request.streams);
                let exec_id = request.exec_id.clone();
                self.set_phase(id, Phase::Starting { exec_id, streams });
            }
            Err(failure) => self.answer::<()>(id, Err(failure)),
        }
    }

    fn start_exec(&mut self, request: &ExecRequest) -> Result<Made, Failure> {
        self.running()?;
        let name = &request.exec_id;
        let taken = self.jobs.contains_key(name)
            || self.pending.contains_key(name)
            || self.finished_execs.contains_key(name);
        if name.is_empty() || taken {
            return Err(Failure::invalid(format!("exec id {name:?} is taken or empty")));
        }
        if self.paused {
            return Err(Failure::invalid("the container is paused"));
        }
        self.spawn_exec(request)
    }

    /// Called once an exec's program runs, or will not.
    pub(super) fn exec_settled(&mut self, name: &str, failure: Option<Failure>) {
        let Some(job) = self.jobs.get_mut(name) else { return };
        let pid = job.pid;
        if failure.is_some() {
            // Its process has nothing left to do but to end; reaped as an orphan.
            let _: std::io::Result<()> = Pidfd::kill(&job.pidfd);
            self.jobs.remove(name);
            self.draining.remove(name);
            self.finished_execs.remove(name);
        }
        self.answer_exec(name, &failure.map_or(Ok(ExecStarted { pid }), Err));
    }

    /// Takes the terminal that an external runtime sends for an exec.
    pub(super) fn take_console(&mut self, name: &str) {
        let Some(pending) = self.pending.get_mut(name) else { return };
        if let Err(failure) = pending.take_console()
            && let Some(pending) = self.pending.remove(name)
        {
            pending.abandon();
            self.answer_exec(name, &Err(failure));
        }
    }

    /// Goes on with the execs whose external runtime has ended.
    pub(super) fn complete_asked(&mut self) {
        let over = self.pending.iter_mut().filter_map(|(name, pending)| {
            let status = pending.try_wait()?;
            Some((name.clone(), status))
        });
        let over: Vec<_> = over.collect();
        for (name, status) in over {
            let Some(pending) = self.pending.remove(&name) else { continue };
            match pending.complete(status) {
                Ok(mut job) => {
                    job.stdin_once = true;
                    self.jobs.insert(name.clone(), job);
                    self.exec_settled(&name, None);
                    self.take_all_early_stdin();
                }
                Err(failure) => self.answer_exec(&name, &Err(failure)),
            }
        }
    }

    fn answer_exec(&mut self, name: &str, reply: &Result<ExecStarted, Failure>) {
        for connection in self.connections.values_mut() {
            let Phase::Starting { exec_id, streams } = &connection.phase else { continue };
            if exec_id != name {
                continue;
            }
            match (streams, reply) {
                (Some(streams), Ok(started)) => {
                    let phase = Phase::Streaming { job: name.to_owned(), streams: *streams };
                    connection.phase = phase;
                    connection.reply(Ok(*started));
                }
                _ => connection.finish(reply.clone()),
            }
        }
    }

    fn exec_wait(&mut self, id: u64, exec_id: String) {
        if let Some(finished) = self.finished_execs.get(&exec_id).copied() {
            self.answer(id, Ok(finished));
        } else if (self.jobs.contains_key(&exec_id) || self.pending.contains_key(&exec_id))
            && exec_id != INIT
        {
            self.set_phase(id, Phase::WaitExec(exec_id));
        } else {
            self.answer::<()>(id, Err(no_such_exec(&exec_id)));
        }
    }
}

fn no_such_exec(name: &str) -> Failure {
    Failure::invalid(format!("no such exec: {name:?}"))
}
