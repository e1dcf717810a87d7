//! `ContainerCreate` and `ContainerUpdate` into engine requests.

use std::collections::{BTreeMap, BTreeSet};

use docker_api::models::exact;
use engine::container::{
    ContainerConfig, CreateRequest, HealthConfig, RestartPolicy, UpdateRequest,
};

use super::host_config;
use super::network::endpoint_request;
use crate::error::{ApiError, ApiResult};
use crate::version::ApiVersion;

/// First version with several endpoints at create.
const SEVERAL_ENDPOINTS: ApiVersion = ApiVersion(44);

/// Builds the engine's request; `name` and `platform` are query parameters.
pub(crate) fn create_request(
    body: exact::ContainerCreate,
    name: Option<&str>,
    platform: Option<&str>,
    version: ApiVersion,
) -> ApiResult<CreateRequest> {
    let endpoints = body.networking_config.endpoints_config;
    if version < SEVERAL_ENDPOINTS && endpoints.len() > 1 {
        let names: Vec<String> = endpoints.into_keys().collect();
        return Err(ApiError::invalid(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    let networks = endpoints
        .into_iter()
        .map(|(network, endpoint)| Ok((network, endpoint_request(endpoint.unwrap_or_default())?)))
        .collect::<ApiResult<BTreeMap<_, _>>>()?;
    Ok(CreateRequest {
        name: name.map(str::to_owned),
        platform: platform.map(str::to_owned),
        config: config(body.config)?,
        host_config: host_config::from_wire(body.host_config, version)?,
        networks,
        ..CreateRequest::default()
    })
}

/// Builds the engine's request to change limits.
pub(crate) fn update_request(body: exact::ContainerUpdate) -> ApiResult<UpdateRequest> {
    Ok(UpdateRequest {
        resources: host_config::resources_from_wire(body.resources),
        restart_policy: body.restart_policy.map(restart_policy).transpose()?,
    })
}

/// Reads a restart policy.
pub(super) fn restart_policy(policy: exact::RestartPolicy) -> ApiResult<RestartPolicy> {
    let maximum_retry_count = u32::try_from(policy.maximum_retry_count).map_err(|_| {
        ApiError::invalid("invalid restart policy: maximum retry count cannot be negative")
    })?;
    Ok(RestartPolicy { name: policy.name.parse()?, maximum_retry_count })
}

/// Reads the portable half.
pub(crate) fn config(config: exact::ContainerConfig) -> ApiResult<ContainerConfig> {
    Ok(ContainerConfig {
        image: config.image,
        cmd: config.cmd.map(|words| words.0),
        entrypoint: config.entrypoint.map(|words| words.0),
        env: config.env,
        user: config.user,
        working_dir: config.working_dir,
        hostname: config.hostname,
        domainname: config.domainname,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        labels: config.labels,
        exposed_ports: config
            .exposed_ports
            .into_keys()
            .map(|port| port.parse())
            .collect::<Result<BTreeSet<_>, _>>()?,
        volumes: config.volumes.unwrap_or_default().into_keys().collect(),
        healthcheck: config.healthcheck.map(healthcheck).transpose()?,
        stop_signal: Some(config.stop_signal).filter(|signal| !signal.is_empty()),
        stop_timeout_secs: config.stop_timeout,
        shell: config.shell.map(|words| words.0),
        mac_address: Some(config.mac_address).filter(|mac| !mac.is_empty()),
        network_disabled: config.network_disabled,
        on_build: config.on_build.unwrap_or_default(),
        args_escaped: config.args_escaped,
    })
}

fn healthcheck(health: exact::Healthcheck) -> ApiResult<HealthConfig> {
    Ok(HealthConfig {
        test: health.test,
        interval_nanos: health.interval,
        timeout_nanos: health.timeout,
        start_period_nanos: health.start_period,
        start_interval_nanos: health.start_interval,
        retries: health.retries,
        on_failure: health.on_failure.parse()?,
    })
}
