//! From disk and shim sockets to state: what a daemon does before it takes its first request.
//!
//! Nothing of the last daemon's memory is assumed. Every record is compared with what there is:
//!
//! | record says | there is | becomes |
//! |---|---|---|
//! | runs | a shim that answers | runs, waited for again |
//! | runs | a shim that is there but silent, an init that lives | runs, waited for again |
//! | runs | no shim, exit.json of that pid | ended with that code and time |
//! | runs | neither, and the same boot | its processes killed, ended with 137 |
//! | runs | nothing, or another boot | ended with 255, as Docker says after a reboot |
//! | does not run | a shim that answers | a start that was cut off after its effect: runs |
//! | does not run | a bundle | a start that was cut off: taken down |
//! | removing | | removed |
//!
//! Bundles, directories, layers and endpoints that no record names are removed: the roots are
//! ours alone, and everything in them is named by a container's id.

use std::collections::HashSet;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linux::fs::{FileLock, LockError};
use runtime::shim::protocol::{self, Request};

use crate::container::driver::{self, exit_info, tear_down, timestamp};
use crate::container::exit::remove_cgroups;
use crate::container::handle::Registry;
use crate::container::owner::{self, Found};
use crate::container::{
    ContainerId, ContainerPaths, ContainerRecord, EndpointSettings, Intent, Status, paths, remove,
    restart,
};
use crate::shim::Shim;
use crate::store::Store;
use crate::{Config, Engine, Error, Inner, Result, event, exec, spec, volume};

/// How long a shim may take to say that it is there. One that is there answers at once, unless it
/// is stopped or the machine is very busy.
const SHIM_DEADLINE: Duration = Duration::from_secs(3);

/// How long a lock's holder may take to end before it counts as alive: a daemon that was told to
/// stop gives its threads half a second.
const DYING_HOLDER: rustix::event::Timespec =
    rustix::event::Timespec { tv_sec: 1, tv_nsec: 500_000_000 };

/// Opens the stores, recovers every container, removes what is left over.
pub(crate) async fn open(config: Config) -> Result<Engine> {
    let began = std::time::Instant::now();
    let (engine, records) = crate::blocking(move || open_stores(config)).await?;
    let mut recovered = recover_all(&engine, records).await;
    let live: Vec<network::Live> = recovered
        .iter()
        .filter(|(_, found)| *found == Found::Running)
        .filter_map(|(record, _)| {
            let pid = u32::try_from(record.state.pid).ok()?;
            Some(network::Live { container_id: record.id.to_string(), pid })
        })
        .collect();
    let known: HashSet<ContainerId> =
        recovered.iter().map(|(record, _)| record.id.clone()).collect();
    let own = engine.clone();
    crate::blocking(move || {
        let reconciled = own.inner.network.reconcile(&live)?;
        if reconciled != network::Reconciled::default() {
            tracing::info!(?reconciled, "removed leftovers of networks");
        }
        remove_unknown(&own, &known);
        Ok(())
    })
    .await?;
    complete_networks(&engine, &mut recovered).await;
    let count = recovered.len();
    for (record, _) in &recovered {
        engine.inner.registry.reserve(&record.name, &record.id)?;
    }
    // Removals last: what they may take along shows only when every container is known.
    recovered.sort_by_key(|(_, found)| *found == Found::ToRemove);
    for (record, found) in recovered {
        owner::spawn(&engine, record, found);
    }
    let used = engine.volumes_in_use(None);
    let volumes = engine.inner.volumes.clone();
    crate::blocking(move || {
        volumes.unmount_unused(&used);
        Ok(())
    })
    .await?;
    let elapsed_ms = began.elapsed().as_millis();
    tracing::info!(containers = count, elapsed_ms, "containers recovered");
    Ok(engine)
}

/// Completes connections and disconnections that were cut off: a container that runs has the
/// endpoints that its record names, and no others.
async fn complete_networks(engine: &Engine, recovered: &mut [(ContainerRecord, Found)]) {
    for (record, found) in recovered {
        if *found != Found::Running || !record.host_config.network_mode.has_sandbox() {
            continue;
        }
        let (own, mut changed) = (engine.clone(), record.clone());
        let completed = crate::blocking(move || {
            complete(&own, &mut changed);
            Ok(changed)
        });
        let completed = completed.await;
        if let Ok(changed) = &completed
            && crate::container::network::publishes(&changed.networks)
        {
            let paths = ContainerPaths::new(engine.config(), &changed.id);
            let shim = Shim::new(&paths.bundle);
            crate::container::network::hold_ports(engine, &changed.id, &shim).await;
        }
        match completed {
            Ok(changed) if changed != *record => {
                *record = changed;
                if let Err(error) = engine.inner.store.put(record).await {
                    tracing::error!(container_id = %record.id, %error, "networks not recorded");
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(container_id = %record.id, %error, "networks not recovered");
            }
        }
    }
}

fn complete(engine: &Engine, record: &mut ContainerRecord) {
    let network = &engine.inner.network;
    let id = record.id.as_str();
    let present = network.endpoints(id);
    for endpoint in &present {
        let name = &endpoint.network_name;
        // One that nobody asked for comes and goes with those it serves.
        if !endpoint.is_way_out_only
            && !record.networks.contains_key(name)
            && let Err(error) = network.disconnect(id, name)
        {
            tracing::warn!(container_id = id, network = name, %error, "endpoint not removed");
        }
    }
    let is_present = |name: &String| present.iter().any(|e| e.network_name == *name);
    for (name, settings) in &record.networks {
        if is_present(name) || matches!(name.as_str(), "none" | "host") {
            continue;
        }
        if let Err(error) = crate::container::network::join(engine, record, name, settings) {
            tracing::warn!(container_id = id, network = name, %error, "network not joined again");
        }
    }
    let mut networks = record.networks.clone();
    crate::container::network::refresh(engine, id, &mut networks);
    record.networks = networks;
}

fn open_stores(config: Config) -> Result<(Engine, Vec<ContainerRecord>)> {
    for (path, mode) in [
        (config.data_root.clone(), 0o710),
        (config.exec_root.clone(), 0o711),
        (paths::directories(&config.data_root), 0o710),
        // What a container was started with, secrets in its environment among it.
        (paths::bundles(&config.exec_root), 0o700),
    ] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&path)
            .map_err(Error::io("create", &path))?;
        // Made by somebody else, it may be open to all; the exec root may be shared with others.
        if path != config.exec_root {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))
                .map_err(Error::io("set the mode of", &path))?;
        }
    }
    let lock = lock(&config.data_root)?;
    let (store, records) = Store::open(&config.data_root.join("state.redb"))?;
    let network = network::Network::open(config.network_config()?)?;
    let inner = Inner {
        volumes: volume::VolumeStore::open(&config.data_root)?,
        events: event::EventBus::open(&config.data_root.join("events.jsonl")),
        images: images::Store::open(&config.data_root)?,
        network,
        host: spec::HostFacts::read(),
        store,
        registry: Registry::default(),
        execs: exec::Execs::default(),
        filters: crate::container::seccomp::FilterCache::default(),
        shim: std::sync::OnceLock::new(),
        users: spec::user::UserCache::default(),
        hosts_files: std::sync::Mutex::default(),
        id_reservations: crate::container::userns::Reservations::default(),
        tasks: tokio_util::task::TaskTracker::new(),
        stopping: tokio_util::sync::CancellationToken::new(),
        _lock: lock,
        config,
    };
    Ok((Engine { inner: Arc::new(inner) }, records))
}

/// Takes the lock. A holder that is about to end gets the time to, and so does the last one: a
/// thread of it may still write, with a database open, when the lock is free already.
fn lock(data_root: &Path) -> Result<FileLock> {
    let path = data_root.join("lock");
    let held = match FileLock::acquire(&path) {
        Err(LockError::Held { holder, path }) => {
            wait_for_end(holder);
            FileLock::acquire(path)
        }
        other => other,
    };
    let last = held.as_ref().ok().and_then(FileLock::last_holder);
    wait_for_end(last.filter(|pid| *pid != std::process::id()));
    held.map_err(|error| match error {
        LockError::Held { holder, .. } => Error::Conflict(format!(
            "{} is in use by another daemon{}; stop it, or choose another --data-root",
            data_root.display(),
            holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
        )),
        LockError::Io { path, source } => Error::Io { operation: "lock", path, source },
    })
}

fn wait_for_end(holder: Option<u32>) {
    let Some(Ok(pidfd)) = holder.map(linux::process::Pidfd::open) else { return };
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    // Whether it ended shows at the second attempt.
    let _ = rustix::event::poll(&mut poll, Some(&DYING_HOLDER));
}

/// Recovers all records at once; the order of the answers is that of the records.
async fn recover_all(
    engine: &Engine,
    records: Vec<ContainerRecord>,
) -> Vec<(ContainerRecord, Found)> {
    let recoveries = records.into_iter().map(|record| {
        let engine = engine.clone();
        tokio::spawn(async move { recover(&engine, record).await })
    });
    let recoveries: Vec<_> = recoveries.collect();
    let mut recovered = Vec::with_capacity(recoveries.len());
    for recovery in recoveries {
        match recovery.await {
            Ok(outcome) => recovered.push(outcome),
            Err(error) => tracing::error!(%error, "recovery of a container panicked"),
        }
    }
    recovered
}

async fn recover(engine: &Engine, mut record: ContainerRecord) -> (ContainerRecord, Found) {
    let paths = ContainerPaths::new(engine.config(), &record.id);
    let before = record.clone();
    let found = match record.intent {
        Some(Intent::Remove | Intent::Create) => Found::ToRemove,
        _ => judge(engine, &mut record, &paths).await,
    };
    if record != before
        && let Err(error) = engine.inner.store.put(&record).await
    {
        tracing::error!(container_id = %record.id, %error, "recovered state not recorded");
    }
    (record, found)
}

async fn judge(engine: &Engine, record: &mut ContainerRecord, paths: &ContainerPaths) -> Found {
    let answer = if paths.bundle.exists() { ask_shim(paths).await } else { Answer::Gone };
    match answer {
        Answer::State(state) if state.exit.is_none() => {
            take_over(engine, record, &state);
            return Found::Running;
        }
        // To end what works because its shim is slow would be the worst of all answers.
        Answer::Silent if record.state.status.has_process() && init_lives(record) => {
            tracing::warn!(container_id = %record.id, "the shim does not answer, its container runs");
            return Found::Running;
        }
        _ => {}
    }
    let was_running = record.state.status.has_process();
    if was_running {
        end(engine, record, paths).await;
    } else if paths.bundle.exists() {
        finish_cut_off_start(engine, record, paths).await;
    }
    after(record, was_running)
}

/// What a shim says of itself.
enum Answer {
    State(Box<protocol::State>),
    /// It is there, but there was no answer in time.
    Silent,
    Gone,
}

async fn ask_shim(paths: &ContainerPaths) -> Answer {
    let shim = Shim::new(&paths.bundle);
    match tokio::time::timeout(SHIM_DEADLINE, shim.request(&Request::State)).await {
        Ok(Ok(state)) => Answer::State(Box::new(state)),
        Ok(Err(error)) if error.is_temporary() => Answer::Silent,
        Ok(Err(_)) => Answer::Gone,
        Err(_) => Answer::Silent,
    }
}

fn init_lives(record: &ContainerRecord) -> bool {
    u32::try_from(record.state.pid)
        .ok()
        .and_then(|pid| linux::process::start_ticks(pid).ok())
        .is_some_and(|ticks| ticks == record.state.pid_start_ticks)
}

/// The container runs: the record follows what its shim says.
fn take_over(engine: &Engine, record: &mut ContainerRecord, state: &protocol::State) {
    let run = &mut record.state;
    let known = run.status.has_process() && i32::try_from(state.pid) == Ok(run.pid);
    run.pid = i32::try_from(state.pid).unwrap_or(0);
    run.pid_start_ticks = state.start_ticks;
    run.boot_id.clone_from(&engine.inner.host.boot_id);
    run.status = if state.paused { Status::Paused } else { Status::Running };
    if !known {
        // The start had its effect, but nobody was left to record it.
        run.started_at = Some(timestamp(state.started_at_ns));
        run.exit_code = 0;
        run.error.clear();
        run.oom_killed = false;
        run.health = crate::container::initial_health(&record.config);
        record.intent = None;
        if record.networks.is_empty() {
            // The mode's network, which a start adds when no other is there.
            let endpoints = engine.inner.network.endpoints(record.id.as_str());
            let names = endpoints.into_iter().map(|endpoint| endpoint.network_name);
            record.networks.extend(names.map(|name| (name, EndpointSettings::default())));
        }
    }
}

/// The container ran and does not any more.
async fn end(engine: &Engine, record: &mut ContainerRecord, paths: &ContainerPaths) {
    let cgroup = driver::cgroup(engine.config(), record);
    let info = exit_info(paths, record.state.pid);
    let run = crate::container::exit::run_id(paths, record, cgroup);
    let end = match &info {
        Some(info) => crate::container::exit::end_of(info),
        None if is_of_another_boot(engine, record, paths) => crate::container::exit::rebooted(),
        None => crate::container::exit::lost(run).await,
    };
    take_down(engine, record, paths).await;
    let state = &mut record.state;
    state.status = Status::Exited;
    state.pid = 0;
    state.pid_start_ticks = 0;
    state.exit_code = end.exit_code;
    state.oom_killed = end.oom_killed;
    state.finished_at = Some(end.finished_at);
    state.error = end.error;
    crate::container::publish::died(&engine.inner.events, record);
    record.networks.values_mut().for_each(|endpoint| endpoint.live = None);
}

/// Whether the machine went down under the container: its process belongs to another boot, or the
/// exec root, which does not outlive one, has nothing of it.
fn is_of_another_boot(engine: &Engine, record: &ContainerRecord, paths: &ContainerPaths) -> bool {
    let (then, now) = (&record.state.boot_id, &engine.inner.host.boot_id);
    !paths.bundle.exists() || (!then.is_empty() && !now.is_empty() && then != now)
}

/// There is a bundle, but neither a shim nor a run that was recorded.
async fn finish_cut_off_start(
    engine: &Engine,
    record: &mut ContainerRecord,
    paths: &ContainerPaths,
) {
    // The shim of the cut-off start may have come so far that the container ran and ended.
    let init = std::fs::read(paths.bundle.join(protocol::INIT_FILE)).ok();
    let init: Option<protocol::InitRecord> =
        init.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(init) = init {
        record.state.status = Status::Running;
        record.state.pid = i32::try_from(init.pid).unwrap_or(0);
        record.state.pid_start_ticks = init.start_ticks;
        record.state.boot_id.clear();
        record.state.started_at = Some(timestamp(init.started_at_ns));
        end(engine, record, paths).await;
        return;
    }
    let cgroup = driver::cgroup(engine.config(), record);
    let removed = crate::blocking(move || {
        remove_cgroups(&cgroup);
        Ok(())
    });
    if let Err(error) = removed.await {
        tracing::error!(container_id = %record.id, %error, "cgroups of a cut-off start");
    }
    take_down(engine, record, paths).await;
}

async fn take_down(engine: &Engine, record: &ContainerRecord, paths: &ContainerPaths) {
    let (engine, own, paths) = (engine.clone(), record.clone(), paths.clone());
    let down = crate::blocking(move || {
        tear_down(&engine, &own, &paths);
        Ok(())
    });
    if let Err(error) = down.await {
        tracing::error!(container_id = %record.id, %error, "run not taken down");
    }
}

/// Decides what becomes of a container that does not run.
fn after(record: &mut ContainerRecord, ended_now: bool) -> Found {
    let restarting = record.state.status == Status::Restarting;
    let wanted_restart = record.intent == Some(Intent::Restart);
    record.intent = None;
    if matches!(record.state.status, Status::Removing | Status::Dead) {
        return Found::ToRemove;
    }
    let policy = &record.host_config.restart_policy;
    if wanted_restart {
        return Found::ToStart(Duration::ZERO);
    }
    let by_policy = restart::at_daemon_start(
        policy,
        record.state.manually_stopped,
        record.state.started_at.is_some(),
    );
    let on_failure = (ended_now || restarting) && {
        let ended = restart::Ended {
            exit_code: record.state.exit_code,
            lasted: Duration::ZERO,
            by_hand: record.state.manually_stopped,
        };
        restart::Backoff::default().next(policy, record.state.restart_count, ended).is_some()
    };
    if by_policy || on_failure {
        record.state.status = Status::Restarting;
        return Found::ToStart(Duration::ZERO);
    }
    if restarting {
        record.state.status = Status::Exited;
    }
    if record.host_config.auto_remove && record.state.started_at.is_some() {
        return Found::ToRemove;
    }
    Found::Stopped
}

/// Removes what is named by an id that no record has.
fn remove_unknown(engine: &Engine, known: &HashSet<ContainerId>) {
    let config = engine.config();
    let bundles = ids_in(&paths::bundles(&config.exec_root));
    let directories = ids_in(&paths::directories(&config.data_root));
    let layers = ids_in(&config.data_root.join("rw"));
    let unknown: HashSet<ContainerId> = bundles
        .into_iter()
        .chain(directories)
        .chain(layers)
        .filter(|id| !known.contains(id))
        .collect();
    for id in unknown {
        tracing::info!(container_id = %id, "removing leftovers of an unknown container");
        let paths = ContainerPaths::new(config, &id);
        kill_unknown(config, &id, &paths);
        if let Err(error) = engine.inner.network.destroy_sandbox(id.as_str()) {
            tracing::warn!(container_id = %id, %error, "network not taken down");
        }
        for path in [&paths.bundle, &paths.directory] {
            match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "leftover not removed");
                }
                _ => {}
            }
        }
        // A big layer takes its time; the first request does not wait for it.
        let own = engine.clone();
        engine
            .inner
            .tasks
            .spawn_blocking(move || remove::delete_files(&own, &id, &paths.directory));
    }
}

/// Ends a shim and a container that no record names, found by their own files.
fn kill_unknown(config: &Config, id: &ContainerId, paths: &ContainerPaths) {
    let init = std::fs::read(paths.bundle.join(protocol::INIT_FILE)).ok();
    let init: Option<protocol::InitRecord> =
        init.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let shim = std::fs::read(paths.bundle.join(protocol::SHIM_FILE)).ok();
    let shim: Option<protocol::ShimConfig> =
        shim.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(init) = init {
        crate::container::exit::kill_process(init.pid, init.start_ticks);
    }
    let default = Path::new(&config.cgroup_parent).join(id.as_str());
    let cgroup = shim.map_or(default, |shim| shim.cgroup);
    remove_cgroups(&cgroup);
}

fn ids_in(directory: &Path) -> Vec<ContainerId> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
