//! Images as Docker shows them.

use std::collections::BTreeMap;
use std::path::Path;

use docker_api::models::exact;
use images::{HistoryEntry, ImageDetail, ImageSummary, ListFilter, Progress, Removed, RunConfig};
use serde_json::{Map, Value, json};

use super::container::STORAGE_DRIVER;
use super::time;
use crate::error::{ApiError, ApiResult};
use crate::params::Params;
use crate::version::ApiVersion;

/// First version in which images without a name have no names at all instead of `<none>`.
const NO_NONE_NAMES: ApiVersion = ApiVersion(43);

/// First version without `VirtualSize`.
const NO_VIRTUAL_SIZE: ApiVersion = ApiVersion(44);

/// First version without the fields of a container that never mean anything in an image.
const LEAN_CONFIG: ApiVersion = ApiVersion(50);

const FILTERS: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// Reads `all`, `filters`, `shared-size` and the old `filter`.
pub(crate) fn list_filter(params: &Params) -> ApiResult<ListFilter> {
    let filters = params.filters()?.only(&FILTERS)?;
    let list = |name: &str| filters.values(name).to_vec();
    let mut references = list("reference");
    references.extend(params.text("filter").map(str::to_owned));
    let dangling = match filters.values("dangling") {
        [] => None,
        [value] if ["1", "true"].contains(&value.as_str()) => Some(true),
        [value] if ["0", "false"].contains(&value.as_str()) => Some(false),
        other => {
            let text = other.join(",");
            return Err(ApiError::invalid(format!(
                "invalid filter 'dangling={}'",
                text.escape_debug()
            )));
        }
    };
    let until = match filters.values("until") {
        [] => None,
        [text] => Some(time::parse_or_refuse("until", text)?.as_second()),
        _ => return Err(ApiError::invalid("more than one until filter specified")),
    };
    Ok(ListFilter {
        all: params.bool("all"),
        dangling,
        labels: list("label"),
        not_labels: list("label!"),
        before: list("before"),
        since: list("since"),
        references,
        until,
        shared_size: params.bool("shared-size"),
    })
}

/// Converts a row of a list.
pub(crate) fn summary(image: &ImageSummary, version: ApiVersion) -> Value {
    let (repo_tags, repo_digests) = names(&image.repo_tags, &image.repo_digests, version);
    let mut wire = json!({
        "Containers": -1,
        "Created": image.created,
        "Id": image.id.to_string(),
        "Labels": Some(&image.labels).filter(|labels| !labels.is_empty()),
        "ParentId": image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        "RepoDigests": repo_digests,
        "RepoTags": repo_tags,
        "SharedSize": image.shared_size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX)),
        "Size": image.size,
    });
    if version < NO_VIRTUAL_SIZE {
        wire["VirtualSize"] = json!(image.size);
    }
    wire
}

fn names(tags: &[String], digests: &[String], version: ApiVersion) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (tags.to_vec(), digests.to_vec());
    if version < NO_NONE_NAMES && tags.is_empty() && digests.is_empty() {
        tags.push("<none>:<none>".to_owned());
        digests.push("<none>@<none>".to_owned());
    }
    (tags, digests)
}

/// Converts everything about one image.
pub(crate) fn inspect(image: &ImageDetail, version: ApiVersion) -> Value {
    const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
    let config = &image.config;
    let diff_ids: Vec<String> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    let dirs: Vec<_> = image.layer_dirs.iter().map(|dir| dir.to_string_lossy()).collect();
    let mut layer_dirs = BTreeMap::new();
    if let Some((upper, lowers)) = dirs.split_first() {
        let beside = |name: &str| Path::new(&**upper).with_file_name(name).display().to_string();
        layer_dirs.insert("MergedDir", beside("merged"));
        layer_dirs.insert("WorkDir", beside("work"));
        layer_dirs.insert("UpperDir", upper.to_string());
        if !lowers.is_empty() {
            layer_dirs.insert("LowerDir", lowers.join(":"));
        }
    }
    let mut wire = json!({
        "Id": image.id.to_string(),
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        "Comment": config.comment,
        "Created": config.created,
        "DockerVersion": config.docker_version,
        "Author": config.author,
        "Config": run_config(&config.config, version),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "GraphDriver": {"Name": STORAGE_DRIVER, "Data": layer_dirs},
        "RootFS": {"Type": "layers", "Layers": diff_ids},
        "Metadata": {"LastTagTime": image.last_tag_time.as_deref().unwrap_or(ZERO_TIME)},
    });
    if !config.variant.is_empty() {
        wire["Variant"] = json!(config.variant);
    }
    if version < NO_VIRTUAL_SIZE {
        wire["VirtualSize"] = json!(image.size);
    }
    wire
}

fn run_config(config: &RunConfig, version: ApiVersion) -> Value {
    let wire = exact::ContainerConfig {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        exposed_ports: set(config.exposed_ports.as_ref()).unwrap_or_default(),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env.clone().unwrap_or_default(),
        cmd: config.cmd.clone().map(exact::Words),
        healthcheck: config.healthcheck.as_ref().map(|health| exact::Healthcheck {
            test: health.test.clone(),
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
            ..exact::Healthcheck::default()
        }),
        args_escaped: config.args_escaped,
        image: config.image.clone(),
        volumes: set(config.volumes.as_ref()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone().map(exact::Words),
        network_disabled: config.network_disabled,
        on_build: config.on_build.clone(),
        labels: config.labels.clone().unwrap_or_default(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone().map(exact::Words),
        ..exact::ContainerConfig::default()
    };
    let mut wire = json!(wire);
    if version >= LEAN_CONFIG
        && let Value::Object(fields) = &mut wire
    {
        lean(fields);
    }
    wire
}

/// Leaves what the OCI image configuration knows, and of that what is set.
fn lean(fields: &mut Map<String, Value>) {
    const CONTAINERS_ONLY: [&str; 11] = [
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Domainname",
        "Hostname",
        "Image",
        "NetworkDisabled",
        "OpenStdin",
        "StdinOnce",
        "StopTimeout",
        "Tty",
    ];
    fields.retain(|name, value| {
        let empty = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        !empty && !CONTAINERS_ONLY.contains(&name.as_str())
    });
}

fn set(keys: Option<&BTreeMap<String, images::Empty>>) -> Option<exact::Set> {
    keys.map(|keys| keys.keys().map(|key| (key.clone(), exact::Empty {})).collect())
}

/// Converts a line of a history.
pub(crate) fn history_entry(entry: &HistoryEntry) -> Value {
    json!({
        "Comment": entry.comment,
        "Created": entry.created,
        "CreatedBy": entry.created_by,
        "Id": entry.id.as_ref().map_or_else(|| "<missing>".to_owned(), ToString::to_string),
        "Size": entry.size,
        "Tags": Some(&entry.tags).filter(|tags| !tags.is_empty()),
    })
}

/// Converts what a removal did.
pub(crate) fn removed(removed: &[Removed]) -> Value {
    let convert = |removed: &Removed| match removed {
        Removed::Untagged(name) => json!({"Untagged": name}),
        Removed::Deleted(id) => json!({"Deleted": id}),
    };
    removed.iter().map(convert).collect()
}

/// Converts a progress message.
pub(crate) fn progress(progress: &Progress) -> Value {
    match progress {
        Progress::Status { status, id: None } => json!({"status": status}),
        Progress::Status { status, id: Some(id) } => json!({"status": status, "id": id}),
        Progress::Layer { id, state } => {
            let detail = match state.counts() {
                Some((current, Some(total))) => json!({"current": current, "total": total}),
                Some((current, None)) => json!({"current": current}),
                None => json!({}),
            };
            json!({"status": state.status(), "progressDetail": detail, "id": id})
        }
        Progress::Stream(text) => json!({"stream": text}),
        Progress::Pushed { tag, digest, size } => json!({
            "progressDetail": {},
            "aux": {"Tag": tag, "Digest": digest.to_string(), "Size": size},
        }),
        // The enum may grow; what is not known here is not worth breaking a pull.
        _ => json!({}),
    }
}
