//! From the command line to a running container and the ready line.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use linux::process;
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};

use super::driver::Driver;
use super::protocol::{
    CONFIG_FILE, Failure, INIT_FILE, InitRecord, Reply, SHIM_FILE, SOCKET_FILE, ShimConfig,
    Started, VERSION,
};
use super::server::{INIT, Server, now_ns};
use super::sink::Sink;
use crate::cgroup::{Cgroup, Hierarchies};
use crate::failure::During;
use crate::hooks::Moment;
use crate::spawn::cgroup_failure;

/// Runs the shim of the container in `bundle` until that has ended; gives the exit code.
///
/// If standard input is a listening socket it is the shim's, made by the daemon so that clients
/// could connect before; else the shim makes it.
pub fn run(bundle: &Path) -> u8 {
    let sealed = super::seal::seal(&["--bundle".as_ref(), bundle.as_os_str()]);
    let sealed = sealed.during(|| "protect the shim's binary".to_owned());
    let started =
        sealed.and_then(|()| prepare(bundle)).and_then(|mut server| match start(&mut server) {
            Ok(()) => Ok(server),
            Err(failure) => {
                undo(&mut server);
                Err(failure)
            }
        });
    match started {
        Ok(server) => {
            announce(&Reply::Ok(server.started));
            server.run();
            0
        }
        Err(failure) => {
            announce(&Reply::Error(failure));
            1
        }
    }
}

fn prepare(bundle: &Path) -> Result<Server, Failure> {
    let bundle = std::path::absolute(bundle).during(|| "resolve the bundle's path".to_owned())?;
    // Fails for a process group's leader, which is then on its own already.
    let _ = rustix::process::setsid();
    process::set_subreaper().during(|| "become subreaper".to_owned())?;
    let signals = process::signal_fd(&[libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM])
        .during(|| "watch signals".to_owned())?;
    let config: ShimConfig = read_json(&bundle.join(SHIM_FILE))?;
    if config.version != VERSION {
        return Err(Failure::other(format!("shim.json has version {}", config.version)));
    }
    let spec: Spec = read_json(&bundle.join(CONFIG_FILE))?;
    let listener = listen(&bundle).during(|| "listen on the shim's socket".to_owned())?;
    let filter = match &config.seccomp_bpf {
        Some(path) => Some(std::fs::read(path).during(|| format!("read {}", path.display()))?),
        None => None,
    };
    let cgroup = Hierarchies::detect()
        .and_then(|hierarchies| Cgroup::new(hierarchies, &config.cgroup))
        .map_err(cgroup_failure)?;
    let log = Sink::open(&config.log, &bundle)
        .during(|| "failed to initialize logging driver".to_owned())?;
    Ok(Server {
        driver: Driver::new(&config, &bundle),
        bundle,
        spec,
        cgroup,
        filter,
        listener: Some(listener),
        signals,
        log,
        names: None,
        ports: super::ports::Ports::default(),
        devpts: None,
        rootfs: None,
        jobs: std::collections::BTreeMap::new(),
        pending: std::collections::BTreeMap::new(),
        connections: std::collections::HashMap::new(),
        next_connection: 0,
        finished_execs: std::collections::BTreeMap::new(),
        draining: std::collections::BTreeMap::new(),
        started: Started { pid: 0, start_ticks: 0, started_at_ns: 0 },
        exited_at_ns: 0,
        exit: None,
        paused: false,
        warnings: Vec::new(),
        config,
    })
}

fn start(server: &mut Server) -> Result<(), Failure> {
    detach_stdin()?;
    // Who attached before the start must not miss the first byte.
    server.accept();
    if server.bundle.join(resolver::RESOLVER_FILE).exists() {
        server.serve_names()?;
    }
    server.start_init()?;
    let pid = server.jobs.get(INIT).map_or(0, |init| init.pid);
    let started_at_ns = now_ns();
    let start_ticks = process::start_ticks(pid).during(|| format!("read /proc/{pid}/stat"))?;
    server.started = Started { pid, start_ticks, started_at_ns };
    let shim_pid = std::process::id();
    server.warnings = server.run_late_hooks(Moment::Started, pid);
    let record = InitRecord { version: VERSION, shim_pid, pid, start_ticks, started_at_ns };
    write_json(&server.bundle.join(INIT_FILE), &record)
}

/// Leaves nothing of a container that did not start.
fn undo(server: &mut Server) {
    if let Some(init) = server.jobs.get(INIT) {
        // Gone already, mostly; it must be reaped before its cgroup can go.
        let _ = init.pidfd.kill();
        let _ = init.pidfd.wait();
    }
    let _ = server.driver.delete();
    let _ = server.cgroup.remove();
    // They may have to take back what earlier ones did.
    let _ = server.run_late_hooks(Moment::Stopped, 0);
    for file in [SOCKET_FILE, INIT_FILE] {
        let _ = std::fs::remove_file(server.bundle.join(file));
    }
}

/// Prints the ready line and closes standard output.
fn announce(reply: &Reply<Started>) {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    // Nobody may be there to read it any more; the container goes on.
    let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
    if let Ok(null) = open_null() {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Takes the listener from standard input, or makes one.
fn listen(bundle: &Path) -> io::Result<UnixListener> {
    let is_listening = rustix::net::sockopt::socket_acceptconn(rustix::stdio::stdin());
    let listener = if is_listening.unwrap_or(false) {
        let fd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        UnixListener::from(fd)
    } else {
        // Through a descriptor, because a socket's address is short and a bundle's path may not be.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(bundle, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        listener
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Makes standard input the null device, wherever it came from.
fn detach_stdin() -> Result<(), Failure> {
    let null = open_null().during(|| "open /dev/null".to_owned())?;
    rustix::stdio::dup2_stdin(&null).during(|| "replace stdin".to_owned())
}

pub(super) fn open_null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let bytes = std::fs::read(path).during(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::other(format!("parse {}: {error}", path.display())))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Failure> {
    let written = serde_json::to_vec(value)
        .map_err(io::Error::from)
        .and_then(|bytes| std::fs::write(path, bytes));
    written.during(|| format!("write {}", path.display()))
}
