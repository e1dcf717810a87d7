//! The life of containers: create, list, inspect, start to remove.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use docker_api::models::exact;
use engine::container::{ContainerSnapshot, ListFilter, RemoveOptions, StopOptions, TerminalSize};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::body::JsonBody;
use crate::convert::container as convert;
use crate::error::{ApiError, ApiResult};
use crate::extract::Name;
use crate::params::Params;
use crate::version::ApiVersion;

/// `POST /containers/create`
pub(crate) async fn create(
    State(api): State<Api>,
    version: ApiVersion,
    params: Params,
    JsonBody(body): JsonBody<exact::ContainerCreate>,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let body = body.ok_or_else(|| {
        ApiError::invalid("config cannot be empty in order to create a container")
    })?;
    let (name, platform) = (params.text("name"), params.text("platform"));
    let request = convert::create_request(body, name, platform, version)?;
    let created = api.engine.container_create(request).await?;
    let answer = json!({"Id": created.id.as_str(), "Warnings": created.warnings});
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `GET /containers/json`
pub(crate) async fn list(
    State(api): State<Api>,
    params: Params,
) -> ApiResult<Json<Vec<exact::ContainerSummary>>> {
    let containers = api.engine.container_list(convert::list_filter(&params)?).await?;
    let now = Timestamp::now();
    Ok(Json(containers.iter().map(|container| convert::summary(container, now)).collect()))
}

/// `GET /containers/{id}/json`
pub(crate) async fn inspect(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<Json<exact::ContainerInspect>> {
    let snapshot = if params.bool("size") {
        inspect_with_size(&api, &name).await?
    } else {
        api.engine.container_inspect(&name).await?
    };
    let (images, id) = (api.engine.images().clone(), snapshot.record.id.to_string());
    let layer = tokio::task::spawn_blocking(move || images.rw_layer(&id)).await;
    // Of a container on its way out the layer may be gone already.
    let layer = layer.ok().and_then(Result::ok);
    Ok(Json(convert::inspect(&snapshot, layer.as_ref())))
}

/// Sizes are a matter of lists in the engine.
async fn inspect_with_size(api: &Api, name: &str) -> ApiResult<ContainerSnapshot> {
    let snapshot = api.engine.container_inspect(name).await?;
    let id = vec![snapshot.record.id.to_string()];
    let filter = ListFilter { all: true, size: true, id, ..ListFilter::default() };
    let listed = api.engine.container_list(filter).await?.into_iter().next();
    Ok(ContainerSnapshot { size: listed.and_then(|listed| listed.size), ..snapshot })
}

/// `POST /containers/{id}/start`
pub(crate) async fn start(State(api): State<Api>, Name(name): Name) -> ApiResult<StatusCode> {
    api.engine.container_start(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/stop`
pub(crate) async fn stop(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    api.engine.container_stop(&name, stop_options(&params)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/restart`
pub(crate) async fn restart(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    api.engine.container_restart(&name, stop_options(&params)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn stop_options(params: &Params) -> ApiResult<StopOptions> {
    Ok(StopOptions {
        signal: params.text("signal").map(str::to_owned),
        timeout_secs: params.number("t")?,
    })
}

/// `POST /containers/{id}/kill`
pub(crate) async fn kill(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    api.engine.container_kill(&name, params.text("signal")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/pause`
pub(crate) async fn pause(State(api): State<Api>, Name(name): Name) -> ApiResult<StatusCode> {
    api.engine.container_pause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/unpause`
pub(crate) async fn unpause(State(api): State<Api>, Name(name): Name) -> ApiResult<StatusCode> {
    api.engine.container_unpause(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/rename`
pub(crate) async fn rename(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    let new_name = params.text("name").map(|name| name.strip_prefix('/').unwrap_or(name));
    let new_name = new_name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::invalid("Neither old nor new names may be empty"))?;
    api.engine.container_rename(&name, new_name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/update`
pub(crate) async fn update(
    State(api): State<Api>,
    Name(name): Name,
    JsonBody(body): JsonBody<exact::ContainerUpdate>,
) -> ApiResult<Json<Value>> {
    let request = convert::update_request(body.unwrap_or_default())?;
    let warnings = api.engine.container_update(&name, request).await?;
    Ok(Json(json!({"Warnings": warnings})))
}

/// `DELETE /containers/{id}`
pub(crate) async fn remove(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    let options = RemoveOptions {
        force: params.bool("force"),
        volumes: params.bool("v"),
        link: params.bool("link"),
    };
    api.engine.container_remove(&name, options).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/resize`
pub(crate) async fn resize(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    api.engine.container_resize(&name, terminal_size(&params)?).await?;
    Ok(StatusCode::OK)
}

/// Reads `h` and `w`, which must both be there.
pub(crate) fn terminal_size(params: &Params) -> ApiResult<TerminalSize> {
    let side = |name: &str| -> ApiResult<u16> {
        let size: Option<u32> = params.number(name)?;
        size.and_then(|size| u16::try_from(size).ok()).ok_or_else(|| {
            ApiError::invalid(format!("invalid resize {name}: it must be a number up to 65535"))
        })
    };
    Ok(TerminalSize { rows: side("h")?, columns: side("w")? })
}

/// `GET /containers/{id}/top`
pub(crate) async fn top(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<Json<Value>> {
    let top = api.engine.container_top(&name, params.get("ps_args").unwrap_or("")).await?;
    Ok(Json(json!({"Titles": top.titles, "Processes": top.processes})))
}

/// `POST /containers/prune`
pub(crate) async fn prune(State(api): State<Api>, params: Params) -> ApiResult<Json<Value>> {
    let filters = params.filters()?.only(&["until", "label", "label!"])?;
    let pruned = api.engine.container_prune(filters.into()).await?;
    let deleted = Some(pruned.deleted).filter(|deleted| !deleted.is_empty());
    Ok(Json(json!({"ContainersDeleted": deleted, "SpaceReclaimed": pruned.space_reclaimed})))
}
