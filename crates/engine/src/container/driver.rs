//! Acts: brings a container's process up and takes down what a run needed.
//!
//! ```text
//! start     bundle directory -> network -> mounts' sources -> name files -> config.json, shim.json
//!           -> shim -> ready line                         (any failure: tear down, then report)
//! tear down leftover processes -> network -> bundle directory; idempotent, goes on past errors
//! ```
//! The bundle directory is made before anything else and removed after everything else. So where
//! there is one without a shim, a start was cut off or a run has ended, and recovery tears down.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use linux::fs::Root;
use runtime::shim::SealedBinary;
use runtime::shim::protocol::{
    CONFIG_FILE, ConsoleSize, ExitInfo, FailureKind, Reply, Rootfs, RuntimeConfig, SHIM_FILE,
    ShimConfig, Started, Stdin, VERSION,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::host_config::MountType;
use super::links::Linked;
use super::log;
use super::namespaces::OwnedNamespaces;
use super::network::{self, Connected};
use super::record::{ContainerRecord, EndpointSettings};
use super::request::ContainerPaths;
use crate::shim::Shim;
use crate::spec::{self, SecurityOptions, SpecInput};
use crate::{Engine, Error, Result, RuntimeEntry};

/// How long a shim may take to start a process, mounts of slow devices included.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A process that was brought up.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) pid: i32,
    pub(super) start_ticks: u64,
    pub(super) started_at: Timestamp,
    pub(super) networks: BTreeMap<String, EndpointSettings>,
    /// The shim, to be reaped.
    pub(super) child: Child,
}

/// Brings the container's process up. On an error nothing of the attempt is left.
pub(super) async fn start(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
    listener: Option<UnixListener>,
) -> Result<Run> {
    let outcome = attempt(engine, record, paths, listener).await;
    if outcome.is_err() {
        let (engine, record, paths) = (engine.clone(), record.clone(), paths.clone());
        crate::blocking(move || {
            tear_down(&engine, &record, &paths);
            Ok(())
        })
        .await?;
    }
    outcome
}

async fn attempt(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
    listener: Option<UnixListener>,
) -> Result<Run> {
    let (own_engine, own_record, own_paths) = (engine.clone(), record.clone(), paths.clone());
    let launched = crate::blocking(move || {
        let Prepared { listener, networks, held } =
            prepare(&own_engine, &own_record, &own_paths, listener)?;
        // Here as well because the caller of vfork waits until the child executes.
        Ok((spawn(&own_engine, &own_paths, listener)?, networks, held))
    });
    let (mut child, networks, _held) = launched.await?;
    engine.step("start:shim");
    let ready = tokio::time::timeout(START_DEADLINE, ready_line(&mut child, paths)).await;
    let started = match ready {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => {
            // It has undone everything and is on its way out.
            let _ = child.wait().await;
            return Err(error);
        }
        Err(_) => {
            let _ = child.kill().await; // it may have ended in this moment
            return Err(Error::Internal(format!(
                "the shim of container {} did not start it within {} s",
                record.id,
                START_DEADLINE.as_secs()
            )));
        }
    };
    engine.step("start:ready");
    Ok(Run {
        pid: i32::try_from(started.pid).unwrap_or(0),
        start_ticks: started.start_ticks,
        started_at: timestamp(started.started_at_ns),
        networks,
        child,
    })
}

/// Starts the shim, whose socket the listener is.
fn spawn(engine: &Engine, paths: &ContainerPaths, listener: UnixListener) -> Result<Child> {
    let log = paths.bundle.join("shim.log");
    let mut options = std::fs::OpenOptions::new();
    let stderr = options.create(true).append(true).mode(0o600).open(&log);
    let shim = &engine.config().shim_path;
    Command::new(shim_program(engine))
        .arg0("teu-shim")
        .arg("--bundle")
        .arg(&paths.bundle)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(Stdio::piped())
        .stderr(stderr.map_err(Error::io("open", log))?)
        .current_dir("/")
        .spawn()
        .map_err(Error::io("run", shim))
}

/// The shim on its read-only mount; where that is not to be had or has gone stale, its plain path,
/// from which it helps itself.
fn shim_program(engine: &Engine) -> PathBuf {
    let plain = &engine.config().shim_path;
    let sealed = engine.inner.shim.get_or_init(|| SealedBinary::new(plain).ok());
    let sealed = sealed.as_ref().map(SealedBinary::path).filter(|path| path.exists());
    sealed.unwrap_or_else(|| plain.clone())
}

async fn ready_line(child: &mut Child, paths: &ContainerPaths) -> Result<Started> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .await
            .map_err(Error::io("read from the shim of", &paths.bundle))?;
    }
    let reply: Reply<Started> = serde_json::from_str(&line).map_err(|_| {
        let log = std::fs::read_to_string(paths.bundle.join("shim.log")).unwrap_or_default();
        Error::Internal(format!(
            "the shim ended without a word: {}",
            log.lines().last().unwrap_or("it left no message")
        ))
    })?;
    reply.into_result().map_err(|failure| Error::StartFailed {
        exit_code: exit_code_of(failure.kind),
        message: format!(
            "failed to create task for container: failed to create shim task: \
             OCI runtime create failed: {}: unknown",
            failure.message
        ),
    })
}

/// The exit code that a start failure leaves.
pub(crate) fn exit_code_of(kind: FailureKind) -> i32 {
    match kind {
        FailureKind::NotFound => 127,
        FailureKind::Permission | FailureKind::IsDirectory => 126,
        _ => 128,
    }
}

/// Everything the shim needs is in place.
struct Prepared {
    listener: UnixListener,
    networks: BTreeMap<String, EndpointSettings>,
    /// Holds what the paths in the configuration go through; until the shim has used them.
    held: (Vec<crate::volume::PreparedMount>, Option<OwnedNamespaces>),
}

fn prepare(
    engine: &Engine,
    record: &ContainerRecord,
    paths: &ContainerPaths,
    listener: Option<UnixListener>,
) -> Result<Prepared> {
    make_bundle(paths)?;
    engine.step("start:bundle");
    remove_stale_exit(paths)?;
    let listener = match listener {
        Some(listener) => listener,
        None => {
            Shim::new(&paths.bundle).listen().map_err(Error::io("listen on", &paths.shim_socket))?
        }
    };
    let owned = OwnedNamespaces::of(engine, record)?;
    let Connected { namespaces, networks, name_paths } =
        network::connect(engine, record, paths, owned.as_ref())?;
    engine.step("start:network");
    let mounts = crate::volume::prepare_mounts(&engine.inner.volumes, &record.mounts)?;
    let sources: Vec<PathBuf> = mounts.iter().map(|mount| mount.source.clone()).collect();
    let layer = rootfs(engine, record)?;
    let users = user_database(engine, &layer)?;
    let config = engine.config();
    let external = runtime_entry(engine, record)?;
    let security = SecurityOptions::parse(&record.host_config)?;
    let seccomp = super::seccomp::filter(engine, &security, &record.host_config)?;
    let input = SpecInput {
        record,
        sources: &sources,
        foreign: mounts.iter().map(|mount| mount.is_foreign).collect(),
        image_layers: image_layers(engine, record)?,
        is_builtin: external == RuntimeEntry::Builtin,
        paths: &name_paths,
        host: &engine.inner.host,
        namespaces,
        user: users.resolve(&record.config.user)?,
        additional_groups: users.additional(&record.host_config.group_add)?,
        cgroup: cgroup(config, record),
        link_environment: Linked::present(engine, record).environment(record),
        shm_size_bytes: match u64::try_from(record.host_config.shm_size_bytes) {
            Ok(0) | Err(_) => config.default_shm_size_bytes,
            Ok(size) => size,
        },
        shared_shm: network::shared_shm(engine, record, paths, external == RuntimeEntry::Builtin)?,
        default_ulimits: &config.default_ulimits,
        init: init_path(engine, record)?,
        cdi: spec::cdi::find(
            &engine.config().cdi_spec_dirs,
            &record.host_config.resources.device_requests,
        )?,
        apparmor: engine.inner.host.apparmor.ready(&security, record.host_config.privileged)?,
        seccomp: match external {
            RuntimeEntry::Builtin => None,
            RuntimeEntry::External { .. } => seccomp.profile,
        },
    };
    let oci = spec::build(&input)?;
    write(&paths.bundle.join(CONFIG_FILE), &oci)?;
    let shim = ShimConfig {
        version: VERSION,
        container_id: record.id.to_string(),
        container_dir: paths.directory.clone(),
        rootfs: Some(layer),
        stdin: Stdin {
            open: record.config.open_stdin,
            once: record.config.stdin_once && !record.config.tty,
        },
        console_size: record
            .host_config
            .console_size
            .map(|(rows, cols)| ConsoleSize { rows, cols }),
        log: log::shim_config(record, &engine.inner.host, &paths.log)?,
        runtime: match external {
            RuntimeEntry::Builtin => RuntimeConfig::Builtin,
            RuntimeEntry::External { path, args } => RuntimeConfig::Oci { path, args },
        },
        seccomp_bpf: seccomp.compiled,
        cgroup: input.cgroup.clone(),
        drain_timeout_ms: 2_000,
    };
    write(&paths.bundle.join(SHIM_FILE), &shim)?;
    engine.step("start:config");
    Ok(Prepared { listener, networks, held: (mounts, owned) })
}

/// The layers of every image that is mounted, by the mount's number.
fn image_layers(
    engine: &Engine,
    record: &ContainerRecord,
) -> Result<BTreeMap<usize, Vec<PathBuf>>> {
    let numbers = record.mounts.iter().enumerate();
    numbers
        .filter(|(_, mount)| mount.kind == MountType::Image)
        .map(|(number, _)| {
            Ok((number, engine.inner.images.held_image(record.id.as_str(), number)?))
        })
        .collect()
}

/// Makes the bundle directory if an attachment has not made it already.
pub(super) fn make_bundle(paths: &ContainerPaths) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&paths.bundle)
        .map_err(Error::io("create", &paths.bundle))
}

/// An exit of an earlier run must not be taken for one of this.
fn remove_stale_exit(paths: &ContainerPaths) -> Result<()> {
    match std::fs::remove_file(&paths.exit) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &paths.exit)(error))
        }
        _ => Ok(()),
    }
}

fn rootfs(engine: &Engine, record: &ContainerRecord) -> Result<Rootfs> {
    let layer = engine.inner.images.rw_layer(record.id.as_str())?;
    // The kernel marks a layer that was mounted as volatile, and refuses it the next time.
    let mark = layer.work.join("work/incompat");
    match std::fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &mark)(error));
        }
        _ => {}
    }
    // What no run will follow is worth no sync: neither the container's own, nor the one of the
    // whole file system below at the end. Volumes are not concerned.
    let volatile = record.host_config.auto_remove.then(|| "volatile".to_owned());
    Ok(Rootfs {
        lowers: layer.lowers,
        upper: layer.upper,
        work: layer.work,
        mount_options: volatile.into_iter().collect(),
    })
}

/// Reads the users of a container that does not run. Its upper directory is read as the topmost
/// layer, because mounting it as such a second time would be undefined.
///
/// What an image brings is remembered: it holds as long as the container has written nothing.
fn user_database(engine: &Engine, layer: &Rootfs) -> Result<Arc<spec::user::UserDatabase>> {
    let read = || {
        let mut lowers = vec![layer.upper.clone()];
        lowers.extend(layer.lowers.iter().cloned());
        let overlay = linux::mount::Overlay { lowers, ..linux::mount::Overlay::default() };
        let root = linux::mount::overlay(&overlay)
            .map_err(Error::io("mount the layers of", &layer.upper))?;
        Ok(Arc::new(spec::user::UserDatabase::read(&Root::from_fd(root))))
    };
    let untouched =
        std::fs::read_dir(&layer.upper).is_ok_and(|mut entries| entries.next().is_none());
    // The first of them is the container's own and has mount points alone.
    match layer.lowers.split_first() {
        Some((_, image)) if untouched => engine.inner.users.get(image, read),
        _ => read(),
    }
}

/// The cgroup of a container, relative to each hierarchy's root.
pub(crate) fn cgroup(config: &crate::Config, record: &ContainerRecord) -> PathBuf {
    let asked = &record.host_config.resources.cgroup_parent;
    let parent = if asked.is_empty() { &config.cgroup_parent } else { asked };
    Path::new("/").join(parent.trim_start_matches('/')).join(record.id.as_str())
}

/// The runtime a container runs with.
pub(super) fn runtime_entry(engine: &Engine, record: &ContainerRecord) -> Result<RuntimeEntry> {
    let config = engine.config();
    let asked = &record.host_config.runtime;
    let name = if asked.is_empty() { &config.default_runtime } else { asked };
    config.runtimes.get(name).cloned().ok_or_else(|| {
        Error::InvalidParameter(format!(
            "unknown or invalid runtime name: {}",
            name.escape_default()
        ))
    })
}

fn init_path(engine: &Engine, record: &ContainerRecord) -> Result<Option<PathBuf>> {
    let config = engine.config();
    if !record.host_config.init.unwrap_or(config.init) {
        return Ok(None);
    }
    if let Some(path) = &config.init_path {
        if path.exists() {
            return Ok(Some(path.clone()));
        }
        return Err(Error::InvalidParameter(format!(
            "--init needs a static init at {}, which --init-path names: there is none",
            path.display()
        )));
    }
    // The version in the name: a container of an older daemon goes on with what it was given.
    let path = config.exec_root.join(concat!("docker-init-", env!("CARGO_PKG_VERSION")));
    if !path.exists() {
        linux::fs::write_durable_with_mode(&path, runtime::CONTAINER_INIT, 0o755)
            .map_err(Error::io("write", &path))?;
    }
    Ok(Some(path))
}

fn write(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))?;
    // The bundle is on a memory file system; a crash that could tear the file takes it away.
    std::fs::write(path, bytes).map_err(Error::io("write", path))
}

/// Takes down whatever a run or an attempt may have left. Idempotent; goes on past errors.
pub(crate) fn tear_down(engine: &Engine, record: &ContainerRecord, paths: &ContainerPaths) {
    let id = &record.id;
    if let Err(error) = engine.inner.network.destroy_sandbox(id.as_str()) {
        tracing::warn!(container_id = %id, %error, "network not taken down");
    }
    match std::fs::remove_dir_all(&paths.bundle) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(container_id = %id, %error, "bundle not removed");
        }
        _ => {}
    }
}

/// Reads how the run with this process ended, if its shim has written it.
pub(crate) fn exit_info(paths: &ContainerPaths, pid: i32) -> Option<ExitInfo> {
    let bytes = std::fs::read(&paths.exit).ok()?;
    let info: ExitInfo = serde_json::from_slice(&bytes).ok()?;
    (i32::try_from(info.pid) == Ok(pid)).then_some(info)
}

/// Turns the shim's time into ours.
pub(crate) fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_else(|_| Timestamp::now())
}
