//! An engine that takes a request and does not answer.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, ensure};
use e2e::{busybox, eventually};

use super::framework;

/// Stands before an engine, and holds requests for containers back until it is opened.
#[derive(Clone)]
struct Gate {
    engine: PathBuf,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    open: bool,
    waiting: usize,
}

impl Gate {
    fn before(engine: &Path, socket: &Path) -> Result<Self> {
        let gate = Self { engine: engine.to_owned(), state: Arc::default() };
        let listener = UnixListener::bind(socket)?;
        let each = gate.clone();
        // Ends with the test's process, as do the connections.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(engine) = UnixStream::connect(&each.engine) else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), engine.try_clone()) else { continue };
                let gate = each.clone();
                thread::spawn(move || copy(from, to, |request| gate.pass(request)));
                thread::spawn(move || copy(engine, client, |_| {}));
            }
        });
        Ok(gate)
    }

    fn pass(&self, request: &[u8]) {
        let creates = b"/containers/create";
        if !request.windows(creates.len()).any(|part| part == creates) {
            return;
        }
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        while !state.open {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> usize {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }

    fn open(&self) {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        self.state.1.notify_all();
    }
}

fn copy(mut from: impl Read, mut to: UnixStream, pass: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        pass(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write); // the other side is gone
}

#[test]
fn a_kill_does_not_wait_for_an_engine_that_hangs() -> Result<()> {
    let Some((mut cluster, mut scheduler)) = framework()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("engine.sock");
    let gate = Gate::before(&cluster.host().socket(), &socket)?;
    cluster.kill_agent()?;
    cluster.set_agent_flags(&[&format!("--docker_socket={}", socket.display())]);
    cluster.start_agent()?;
    let id = scheduler.launch(&[busybox("HOST", "exec sleep 1000")])?.remove(0);
    scheduler.until(&id, "TASK_STARTING")?;
    eventually("the engine is asked for a container", || {
        ensure!(gate.waiting() > 0, "not yet");
        Ok(())
    })?;
    scheduler.kill(&id)?;
    let updates = scheduler.until(&id, "TASK_KILLED")?;
    let last = updates.last();
    ensure!(
        last.is_some_and(|update| update["reason"] == "REASON_TASK_KILLED_DURING_LAUNCH"),
        "{last:?}"
    );
    // What it makes of the request now is nobody's, and goes.
    gate.open();
    eventually("what comes late is removed, and was never started", || {
        let events = ["events", "--since", "10m", "--until", "0s", "--filter", "type=container"];
        let actions = [&events[..], &["--format", "{{.Action}}"]].concat();
        let actions = cluster.host().docker().run(&actions)?;
        let actions: Vec<&str> = actions.lines().collect();
        ensure!(actions == ["create", "destroy"], "{actions:?}");
        Ok(())
    })
}
