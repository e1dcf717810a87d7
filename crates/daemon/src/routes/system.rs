//! The daemon as a whole: ping, version, info, events, disk usage.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use axum::response::{IntoResponse, Response};
use docker_api::models::{API_VERSION, MIN_API_VERSION};
use engine::event::EventRange;
use engine::info::DiskUsageParts;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::api::Api;
use crate::convert::{self, swarm as swarm_wire, system as wire, time};
use crate::error::{ApiError, ApiResult};
use crate::params::{Params, printable};
use crate::stream;
use crate::version::ApiVersion;

/// `GET /_ping`, `HEAD /_ping`: that the daemon lives, and in headers what a client must know to
/// talk to it.
pub(crate) async fn ping(State(api): State<Api>) -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    headers.insert("builder-version", HeaderValue::from_static("1"));
    let part = swarm_wire::header(&api.swarm.status());
    headers.insert("swarm", HeaderValue::from_static(part));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    (headers, "OK")
}

/// `GET /version`
pub(crate) async fn version() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Json(json!({
        "Platform": {"Name": "Teu Engine"},
        "Components": [{
            "Name": "Engine",
            "Version": version,
            "Details": {
                "ApiVersion": API_VERSION,
                "Arch": images::host_architecture(),
                "BuildTime": "",
                "Experimental": "false",
                "GitCommit": "",
                "GoVersion": "",
                "KernelVersion": kernel,
                "MinAPIVersion": MIN_API_VERSION,
                "Os": "linux",
            },
        }],
        "Version": version,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": images::host_architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
    }))
}

/// `GET /info`
pub(crate) async fn info(State(api): State<Api>) -> ApiResult<Json<Value>> {
    let info = api.engine.info().await?;
    let root = api.swarm.trust_root().ok();
    let part = swarm_wire::part(&api.swarm.status(), root.as_ref());
    Ok(Json(wire::info(info, part, &api.config)))
}

/// `GET /events`
pub(crate) async fn events(State(api): State<Api>, params: Params) -> ApiResult<Response> {
    let nanos = |time: Option<jiff::Timestamp>| {
        time.map(|time| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX))
    };
    let range = EventRange {
        since_nanos: nanos(time::parameter(&params, "since")?),
        until_nanos: nanos(time::parameter(&params, "until")?),
    };
    let events = api.engine.events(params.filters()?.into(), range)?;
    let lines = events.map(|event| stream::line(&convert::event(&event)));
    Ok(stream::json_lines(lines.take_until(api.stop.cancelled_owned())))
}

/// `GET /system/df`
pub(crate) async fn disk_usage(
    State(api): State<Api>,
    version: ApiVersion,
    params: Params,
) -> ApiResult<Json<Value>> {
    let mut parts = DiskUsageParts::default();
    let kinds = params.all("type");
    let cache = kinds.is_empty() || kinds.iter().any(|kind| kind == "build-cache");
    if !kinds.is_empty() {
        parts = DiskUsageParts { images: false, containers: false, volumes: false };
    }
    for kind in kinds {
        match kind.as_str() {
            "image" => parts.images = true,
            "container" => parts.containers = true,
            "volume" => parts.volumes = true,
            "build-cache" => {}
            other => {
                let text = printable(other);
                return Err(ApiError::invalid(format!("unknown object type: {text}")));
            }
        }
    }
    let usage = api.engine.disk_usage(parts).await?;
    let mut answer = wire::disk_usage(&usage, parts, version);
    if cache {
        let entries = api.builder.cache_entries().await?;
        wire::add_build_cache(&mut answer, &entries);
    }
    Ok(Json(answer))
}
