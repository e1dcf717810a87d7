//! Create: check, resolve the image, merge, plan mounts, then act: layer, volumes, record.
//!
//! ```text
//! name reserved -> writable layer -> directory -> volumes -> their content -> record (the commit)
//! ```
//! Before the record nothing can be seen of the container, and a crash leaves only directories
//! that no record names. An error undoes every step.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use images::{Digest, ImageConfig, ImageId, RunConfig};
use jiff::Timestamp;

use super::config::{ContainerConfig, ContainerPort, HealthConfig};
use super::handle::Container;
use super::host_config::{HostConfig, LogConfig, MountType, RestartPolicyName};
use super::mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode};
use super::owner::{self, Found};
use super::record::{ContainerId, ContainerRecord, EndpointSettings, Intent};
use super::request::{ContainerPaths, CreateRequest, Created, UnnamedImage};
use super::state::ContainerState;
use super::{connect, links, name, publish, remove, userns, validate};
use crate::spec;
use crate::volume::{ANONYMOUS_LABEL, CreatedMounts, MountPlan, plan_mounts};
use crate::{Engine, Error, ErrorKind, Result, RuntimeEntry};

/// Makes a container.
pub(super) async fn create(engine: &Engine, request: CreateRequest) -> Result<Created> {
    let asked_name = request.name.as_deref().map(name::parse).transpose()?.map(str::to_owned);
    let id = ContainerId::random();
    let (own, own_id) = (engine.clone(), id.clone());
    let (draft, _ids) = crate::blocking(move || draft(&own, own_id, request)).await?;
    let warnings = draft.warnings.clone();
    let name = reserve(engine, asked_name, &id)?;
    match make(engine, draft, name.clone()).await {
        Ok(record) => {
            owner::spawn(engine, record.clone(), Found::Stopped);
            publish::event(&engine.inner.events, &record, "create");
            Ok(Created { id, warnings })
        }
        Err(error) => {
            engine.inner.registry.release(&name, &id);
            Err(error)
        }
    }
}

fn reserve(engine: &Engine, asked: Option<String>, id: &ContainerId) -> Result<String> {
    if let Some(name) = asked {
        engine.inner.registry.reserve(&name, id)?;
        return Ok(name);
    }
    let mut attempt = 0;
    loop {
        let name = name::made_up(attempt);
        match engine.inner.registry.reserve(&name, id) {
            Ok(()) => return Ok(name),
            Err(error) if attempt > name::TRIES + 100 => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

/// A container that is checked and merged, but of which nothing exists.
struct Draft {
    record: ContainerRecord,
    base: Base,
    unnamed: BTreeMap<String, UnnamedImage>,
    plans: Vec<MountPlan>,
    warnings: Vec<String>,
    /// How many bytes its own layer may hold.
    layer_limit: Option<u64>,
}

/// What a container stands on.
struct Base {
    image: Option<ImageId>,
    layers: Vec<Digest>,
    config: RunConfig,
}

fn base(
    engine: &Engine,
    name: &str,
    platform: Option<&str>,
    unnamed: &BTreeMap<String, UnnamedImage>,
) -> Result<Base> {
    if let Some(UnnamedImage { layers, config }) = unnamed.get(name).cloned() {
        return Ok(Base { image: None, layers, config });
    }
    let image = engine.inner.images.resolve(name)?;
    let detail = engine.inner.images.inspect(&image)?;
    check_platform(&detail.config, name, platform)?;
    Ok(Base { image: Some(image), layers: detail.layers, config: detail.config.config })
}

/// Also gives what keeps the container's ids from others until it is known.
fn draft(
    engine: &Engine,
    id: ContainerId,
    request: CreateRequest,
) -> Result<(Draft, userns::Decided)> {
    let CreateRequest { platform, mut config, mut host_config, mut networks, unnamed, .. } =
        request;
    if config.image.is_empty() {
        return Err(Error::InvalidParameter("no image specified".to_owned()));
    }
    let host = &engine.inner.host;
    validate::validate(&config, &host_config, host)?;
    let layer_limit = validate::layer_limit(&host_config.storage_opt)?;
    if layer_limit.is_some() && !engine.inner.images.can_limit()? {
        return Err(Error::InvalidParameter(format!(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, or \
             over ext4 with 'prjquota': {} has no project quotas",
            engine.config().data_root.display()
        )));
    }
    let base = base(engine, &config.image, platform.as_deref(), &unnamed)?;
    merge(&mut config, &base.config);
    if config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).next().is_none() {
        return Err(Error::InvalidParameter("no command specified".to_owned()));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        // An image's; Docker takes it from the root as well.
        config.working_dir.insert(0, '/');
    }
    resolve_modes(engine, &mut config, &mut host_config)?;
    fill_in(engine, &id, &mut config, &mut host_config)?;
    links::move_to_network(&mut host_config, &mut networks);
    let links = links::resolve(engine, &host_config)?;
    endpoints(engine, &host_config.network_mode, &mut networks)?;
    let warnings = validate::warnings(&host_config, host);
    let ids = userns::decide(engine, &id, &host_config)?;
    let mut plans = plan_mounts(&config.volumes, &host_config, |name| {
        Ok(Arc::clone(&find_other(engine, name)?.record().mounts))
    })?;
    plans.iter_mut().for_each(name_anonymous);
    let record = ContainerRecord {
        version: ContainerRecord::VERSION,
        id,
        name: String::new(),
        created_at: Timestamp::now(),
        image_id: base.image.map(|image| image.to_string()).unwrap_or_default(),
        config: Arc::new(config),
        host_config: Arc::new(host_config),
        mounts: Arc::default(),
        networks,
        links,
        id_map: ids.map.clone(),
        state: ContainerState::default(),
        intent: None,
    };
    let runtime = super::driver::runtime_entry(engine, &record)?;
    if record.id_map.is_some() && runtime != RuntimeEntry::Builtin {
        return Err(Error::InvalidParameter(format!(
            "user namespaces need the builtin runtime, not {}: take --runtime teu or --userns host",
            record.host_config.runtime
        )));
    }
    Ok((Draft { record, base, unnamed, plans, warnings, layer_limit }, ids))
}

/// Draws the name of an anonymous volume before the volume is made, so that the intent can name it.
fn name_anonymous(plan: &mut MountPlan) {
    if let Some(volume) = plan.volume.as_mut().filter(|volume| volume.name.is_empty()) {
        volume.name = crate::ids::random_hex();
        volume.labels.entry(ANONYMOUS_LABEL.to_owned()).or_default();
        plan.point.name.clone_from(&volume.name);
        plan.point.anonymous = true;
    }
}

async fn make(engine: &Engine, draft: Draft, name: String) -> Result<ContainerRecord> {
    let mut record = draft.record;
    record.name = name;
    // A volume without a user looks like one that somebody keeps. So those that a crash would
    // leave behind are recorded before they are made; other steps need no record to be undone.
    let intended = draft.plans.iter().any(|plan| plan.volume.is_some() && plan.point.anonymous);
    if intended {
        record.intent = Some(Intent::Create);
        let points = draft.plans.iter().map(|plan| plan.point.clone());
        record.mounts = Arc::new(points.collect());
        engine.inner.store.put(&record).await?;
        record.intent = None;
    }
    let paths = ContainerPaths::new(engine.config(), &record.id);
    let (own, own_paths, id) = (engine.clone(), paths.clone(), record.id.clone());
    let made = crate::blocking(move || {
        let base = (&draft.base, &draft.unnamed, draft.layer_limit);
        let made = act(&own, &id, &own_paths, base, draft.plans);
        if made.is_err() {
            remove::delete_files(&own, &id, &own_paths.directory);
        }
        made
    })
    .await;
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            if intended {
                engine.inner.store.remove(&record.id).await?;
            }
            return Err(error);
        }
    };
    record.mounts = Arc::new(made.mounts);
    if let Err(error) = engine.inner.store.put(&record).await {
        let (own, id) = (engine.clone(), record.id.clone());
        crate::blocking(move || {
            own.inner.volumes.remove_all(&made.created_volumes);
            remove::delete_files(&own, &id, &paths.directory);
            Ok(())
        })
        .await?;
        return Err(error);
    }
    engine.step("create:record");
    Ok(record)
}

fn act(
    engine: &Engine,
    id: &ContainerId,
    paths: &ContainerPaths,
    (base, unnamed, limit): (&Base, &BTreeMap<String, UnnamedImage>, Option<u64>),
    plans: Vec<MountPlan>,
) -> Result<CreatedMounts> {
    let images = &engine.inner.images;
    let layer = match &base.image {
        Some(image) => images.create_rw(id.as_str(), image)?,
        None => images.create_rw_on(id.as_str(), &base.layers)?,
    };
    if let Some(bytes) = limit {
        images.limit_rw(id.as_str(), bytes)?;
    }
    engine.step("create:layer");
    for (number, plan) in plans.iter().enumerate() {
        if plan.point.kind == MountType::Image {
            match unnamed.get(&plan.point.name) {
                Some(image) => images.hold_layers(id.as_str(), number, &image.layers)?,
                None => hold_image(engine, id, number, &plan.point.name)?,
            }
        }
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o710)
        .create(&paths.directory)
        .map_err(Error::io("create", &paths.directory))?;
    let volumes = &engine.inner.volumes;
    let made = volumes.create_mounts(plans)?;
    engine.step("create:volumes");
    if let Err(error) = volumes.populate(&made.mounts, &layer.lowers) {
        volumes.remove_all(&made.created_volumes);
        return Err(error);
    }
    Ok(made)
}

/// Keeps the image of a mount. Its absence is no "not found": clients would pull the container's.
fn hold_image(engine: &Engine, id: &ContainerId, number: usize, name: &str) -> Result<()> {
    let images = &engine.inner.images;
    let image = images.resolve(name).map_err(|error| {
        Error::InvalidParameter(format!("invalid mount config for type \"image\": {error}"))
    })?;
    Ok(images.hold_image(id.as_str(), number, &image)?)
}

fn check_platform(config: &ImageConfig, name: &str, asked: Option<&str>) -> Result<()> {
    config.check_platform(name)?;
    let Some(asked) = asked.filter(|platform| !platform.is_empty()) else { return Ok(()) };
    let has = config.platform();
    let same = |a: &str, b: &str| a.split('/').zip(b.split('/')).all(|(a, b)| a == b);
    if same(asked, &has) || !asked.contains('/') && has.contains(asked) {
        return Ok(());
    }
    Err(Error::NotFound(format!(
        "image with reference {name} was found but does not provide the specified platform ({asked})"
    )))
}

/// Fills what the user left open from the image, as Docker merges.
fn merge(config: &mut ContainerConfig, image: &RunConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    let ports = image.exposed_ports.iter().flat_map(|ports| ports.keys());
    // A port that is none cannot be published either.
    config.exposed_ports.extend(ports.filter_map(|port| port.parse::<ContainerPort>().ok()));
    for entry in image.env.iter().flatten() {
        let key = |entry: &str| entry.split_once('=').map_or(entry, |(key, _)| key).to_owned();
        let own = key(entry);
        if !config.env.iter().any(|other| key(other) == own) {
            config.env.push(entry.clone());
        }
    }
    for (key, value) in image.labels.iter().flatten() {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let words = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|words| !words.is_empty());
    if !words(&config.entrypoint) {
        if !words(&config.cmd) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    // `[""]` is how a client takes the image's entrypoint away.
    if config.entrypoint.as_ref().is_some_and(|words| words.len() == 1 && words[0].is_empty()) {
        config.entrypoint = None;
    }
    merge_health(&mut config.healthcheck, image.healthcheck.as_ref());
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    config.volumes.extend(image.volumes.iter().flat_map(|volumes| volumes.keys()).cloned());
    if config.stop_signal.is_none() && !image.stop_signal.is_empty() {
        config.stop_signal = Some(image.stop_signal.clone());
    }
    if config.stop_timeout_secs.is_none() {
        config.stop_timeout_secs = image.stop_timeout;
    }
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
}

fn merge_health(own: &mut Option<HealthConfig>, image: Option<&images::Healthcheck>) {
    let Some(image) = image else { return };
    let own = own.get_or_insert_with(HealthConfig::default);
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval_nanos, image.interval),
        (&mut own.timeout_nanos, image.timeout),
        (&mut own.start_period_nanos, image.start_period),
        (&mut own.start_interval_nanos, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

/// Finds a container that the request names. Its absence is not told as "not found", because
/// clients take that for the image's and go and pull.
fn find_other(engine: &Engine, name: &str) -> Result<Container> {
    engine.inner.registry.find(name).map_err(|error| Error::InvalidParameter(error.to_string()))
}

/// Names of other containers become ids, so that a rename does not break the tie.
fn resolve_modes(
    engine: &Engine,
    config: &mut ContainerConfig,
    host_config: &mut HostConfig,
) -> Result<()> {
    let find = |name: &str| find_other(engine, name);
    if let NetworkMode::Container(other) = &mut host_config.network_mode {
        let container = find(other)?;
        config.hostname.clone_from(&container.record().config.hostname);
        *other = container.id.to_string();
    }
    if let IpcMode::Container(other) = &mut host_config.ipc_mode {
        *other = find(other)?.id.to_string();
    }
    if let PidMode::Container(other) = &mut host_config.pid_mode {
        *other = find(other)?.id.to_string();
    }
    Ok(())
}

/// Makes defaults explicit, as inspect shows them.
fn fill_in(
    engine: &Engine,
    id: &ContainerId,
    config: &mut ContainerConfig,
    host_config: &mut HostConfig,
) -> Result<()> {
    if config.hostname.is_empty() {
        let shares_name = host_config.network_mode == NetworkMode::Host
            || host_config.uts_mode == super::UtsMode::Host;
        config.hostname =
            if shares_name { engine.inner.host.hostname.clone() } else { id.short().to_owned() };
    }
    let daemon = engine.config();
    if host_config.log_config.driver.is_empty() {
        let default = &daemon.default_log;
        let options = std::mem::take(&mut host_config.log_config.options);
        let mut merged = default.options.clone();
        merged.extend(options);
        let driver = if default.driver.is_empty() { "json-file" } else { default.driver.as_str() };
        host_config.log_config = LogConfig { driver: driver.to_owned(), options: merged };
        super::log::validate(&host_config.log_config)?;
    }
    if host_config.runtime.is_empty() {
        host_config.runtime.clone_from(&daemon.default_runtime);
    }
    if host_config.shm_size_bytes == 0 {
        host_config.shm_size_bytes =
            i64::try_from(daemon.default_shm_size_bytes).unwrap_or(64 << 20);
    }
    if host_config.ipc_mode == IpcMode::Unset {
        host_config.ipc_mode = IpcMode::Private;
    }
    if host_config.cgroupns_mode == CgroupnsMode::Unset {
        host_config.cgroupns_mode =
            if engine.inner.host.cgroup_v2 { CgroupnsMode::Private } else { CgroupnsMode::Host };
    }
    if !host_config.privileged {
        let (masked, readonly) = spec::default_paths();
        host_config.masked_paths.get_or_insert(masked);
        host_config.readonly_paths.get_or_insert(readonly);
    }
    let resources = &mut host_config.resources;
    if resources.memory > 0 && resources.memory_swap == 0 {
        resources.memory_swap = resources.memory.saturating_mul(2);
    }
    resources.pids_limit = resources.pids_limit.filter(|limit| *limit > 0);
    if engine.inner.host.cgroup_v2 {
        resources.oom_kill_disable = None;
        resources.memory_swappiness = None;
    }
    if host_config.restart_policy.name == RestartPolicyName::No {
        host_config.restart_policy.maximum_retry_count = 0;
    }
    Ok(())
}

/// Checks the endpoints asked for, and adds the one that the mode implies. They go by the names of
/// their networks, however the client called them.
fn endpoints(
    engine: &Engine,
    mode: &NetworkMode,
    networks: &mut BTreeMap<String, EndpointSettings>,
) -> Result<()> {
    let asked = std::mem::take(networks);
    let is_shared =
        matches!(mode, NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_));
    if is_shared && asked.values().any(|settings| settings.mac_address.is_some()) {
        return Err(Error::InvalidParameter(
            "conflicting options: mac-address and the network mode".to_owned(),
        ));
    }
    let Some(main) = mode.network_name() else { return Ok(()) };
    let mut add = |name: &str, mut settings: EndpointSettings| -> Result<()> {
        let name = match engine.inner.network.inspect(name).map_err(Error::from) {
            // It may be made before the start, which tells if it was not.
            Err(error) if error.kind() == ErrorKind::NotFound => name.to_owned(),
            Err(error) => return Err(error),
            Ok(info) => {
                connect::check_settings(&info, &settings)?;
                settings.network_id.clone_from(&info.record.id);
                info.record.name
            }
        };
        networks.insert(name, settings);
        Ok(())
    };
    // First, so that what a client says of it replaces it.
    add(main, EndpointSettings::default())?;
    for (name, settings) in asked {
        add(&name, settings)?;
    }
    if networks.len() > 1 && networks.keys().any(|name| matches!(name.as_str(), "host" | "none")) {
        return Err(Error::InvalidParameter(
            "container cannot be connected to multiple networks with one of the networks in \
             private (none) or host mode"
                .to_owned(),
        ));
    }
    Ok(())
}
