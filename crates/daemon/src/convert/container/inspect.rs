//! A snapshot as `ContainerInspect`.

use std::collections::BTreeMap;

use docker_api::models::exact;
use engine::container::{
    ContainerConfig, ContainerId, ContainerSnapshot, ContainerState, Health, MountPoint, MountType,
    Status,
};

use super::{host_config, network, time};

/// The storage driver's name: layers are overlayfs's.
pub(crate) const STORAGE_DRIVER: &str = "overlay2";

/// Converts a snapshot.
pub(crate) fn inspect(
    snapshot: &ContainerSnapshot,
    layer: Option<&images::RwLayer>,
) -> exact::ContainerInspect {
    let record = &snapshot.record;
    let mut argv = record.argv().into_iter();
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let paths = &snapshot.paths;
    let was_started = record.state.started_at.is_some();
    let file = |path: &std::path::Path| if was_started { text(path) } else { String::new() };
    let json_file = matches!(record.host_config.log_config.driver.as_str(), "" | "json-file");
    exact::ContainerInspect {
        id: record.id.to_string(),
        created: record.created_at.to_string(),
        path: argv.next().unwrap_or_default(),
        args: argv.collect(),
        state: state(&record.state),
        image: record.image_id.clone(),
        resolv_conf_path: file(&paths.resolv_conf),
        hostname_path: file(&paths.hostname),
        hosts_path: file(&paths.hosts),
        log_path: if json_file { file(&paths.log) } else { String::new() },
        name: format!("/{}", record.name),
        restart_count: record.state.restart_count.into(),
        driver: STORAGE_DRIVER.to_owned(),
        platform: "linux".to_owned(),
        app_armor_profile: snapshot.apparmor_profile.clone(),
        exec_ids: Some(snapshot.exec_ids.clone()).filter(|ids| !ids.is_empty()),
        host_config: host_config::to_wire(&record.host_config, &snapshot.links),
        graph_driver: exact::GraphDriver {
            name: STORAGE_DRIVER.to_owned(),
            data: layer.map(|layer| layer_dirs(&record.id, layer)).unwrap_or_default(),
        },
        size_rw: snapshot.size.map(|size| i64::try_from(size.rw_bytes).unwrap_or(i64::MAX)),
        size_root_fs: snapshot
            .size
            .map(|size| i64::try_from(size.root_fs_bytes).unwrap_or(i64::MAX)),
        mounts: record.mounts.iter().map(mount).collect(),
        config: exact::ContainerConfig {
            mac_address: network::asked_mac(record),
            ..config(&record.config)
        },
        network_settings: network::settings(record),
        ..exact::ContainerInspect::default()
    }
}

/// Where the layers are. The merged tree is nowhere on the host: its path says where Docker would
/// have it.
fn layer_dirs(id: &ContainerId, layer: &images::RwLayer) -> BTreeMap<String, String> {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let lowers: Vec<String> = layer.lowers.iter().map(|lower| text(lower)).collect();
    [
        ("ID", id.to_string()),
        ("LowerDir", lowers.join(":")),
        ("UpperDir", text(&layer.upper)),
        ("WorkDir", text(&layer.work)),
        ("MergedDir", text(&layer.upper.with_file_name("merged"))),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn state(state: &ContainerState) -> exact::ContainerState {
    exact::ContainerState {
        status: state.status.to_string(),
        // Docker calls a container that waits for its restart running as well.
        running: state.status.has_process() || state.status == Status::Restarting,
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: if state.status.has_process() { state.pid.into() } else { 0 },
        exit_code: state.exit_code.into(),
        error: state.error.clone(),
        started_at: time(state.started_at),
        finished_at: time(state.finished_at),
        health: state.health.as_ref().map(health),
    }
}

fn health(health: &Health) -> exact::Health {
    let result = |result: &engine::container::HealthResult| exact::HealthResult {
        start: result.start.to_string(),
        end: result.end.to_string(),
        exit_code: result.exit_code.into(),
        output: result.output.clone(),
    };
    exact::Health {
        status: health.status.to_string(),
        failing_streak: health.failing_streak.into(),
        log: health.log.iter().map(result).collect(),
    }
}

/// Converts a mount for inspect and lists.
pub(super) fn mount(mount: &MountPoint) -> exact::MountPoint {
    let propagation = match mount.kind {
        MountType::Bind if mount.propagation.is_empty() => "rprivate",
        _ => &mount.propagation,
    };
    exact::MountPoint {
        kind: mount.kind.to_string(),
        name: mount.name.clone(),
        source: mount.source.to_string_lossy().into_owned(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.writable,
        propagation: propagation.to_owned(),
    }
}

/// Converts the portable half, for containers and for images' answers alike.
fn config(config: &ContainerConfig) -> exact::ContainerConfig {
    let set = |keys: Vec<String>| keys.into_iter().map(|key| (key, exact::Empty {})).collect();
    let volumes: exact::Set = set(config.volumes.iter().cloned().collect());
    exact::ContainerConfig {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: set(config.exposed_ports.iter().map(ToString::to_string).collect()),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env.clone(),
        cmd: config.cmd.clone().map(exact::Words),
        healthcheck: config.healthcheck.as_ref().map(|health| exact::Healthcheck {
            test: health.test.clone(),
            interval: health.interval_nanos,
            timeout: health.timeout_nanos,
            start_period: health.start_period_nanos,
            start_interval: health.start_interval_nanos,
            retries: health.retries,
            on_failure: match health.on_failure {
                engine::container::HealthAction::None => String::new(),
                action => action.to_string(),
            },
        }),
        args_escaped: config.args_escaped,
        image: config.image.clone(),
        volumes: Some(volumes).filter(|volumes| !volumes.is_empty()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone().map(exact::Words),
        network_disabled: config.network_disabled,
        on_build: Some(config.on_build.clone()).filter(|list| !list.is_empty()),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout: config.stop_timeout_secs,
        shell: config.shell.clone().map(exact::Words),
        ..exact::ContainerConfig::default()
    }
}
