//! Volumes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use docker_api::models::VolumeCreateRequest;
use engine::volume::{VolumeRemoveOptions, VolumeRequest};
use serde_json::{Value, json};

use crate::api::Api;
use crate::body::JsonBody;
use crate::convert::volume;
use crate::error::{ApiError, ApiResult};
use crate::extract::Name;
use crate::params::Params;
use crate::version::ApiVersion;

/// `GET /volumes`
pub(crate) async fn list(State(api): State<Api>, params: Params) -> ApiResult<Json<Value>> {
    let filters = params.filters()?.only(&["dangling", "driver", "label", "label!", "name"])?;
    let volumes = api.engine.volume_list(filters.into()).await?;
    let volumes: Vec<Value> = volumes.iter().map(volume).collect();
    Ok(Json(json!({"Volumes": volumes, "Warnings": null})))
}

/// `POST /volumes/create`
pub(crate) async fn create(
    State(api): State<Api>,
    JsonBody(body): JsonBody<VolumeCreateRequest>,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let body = body.unwrap_or_default();
    if body.cluster_volume_spec.is_some() {
        return Err(ApiError::invalid("cluster volumes need a swarm manager"));
    }
    let request = VolumeRequest {
        name: body.name.unwrap_or_default(),
        driver: body.driver.unwrap_or_default(),
        driver_options: body.driver_opts.unwrap_or_default().into_iter().collect(),
        labels: body.labels.unwrap_or_default().into_iter().collect(),
    };
    let created = api.engine.volume_create(request).await?;
    Ok((StatusCode::CREATED, Json(volume(&created))))
}

/// `GET /volumes/{name}`
pub(crate) async fn inspect(State(api): State<Api>, Name(name): Name) -> ApiResult<Json<Value>> {
    Ok(Json(volume(&api.engine.volume_inspect(&name).await?)))
}

/// `DELETE /volumes/{name}`
pub(crate) async fn remove(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    let options = VolumeRemoveOptions { force: params.bool("force") };
    api.engine.volume_remove(&name, options).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /volumes/prune`
pub(crate) async fn prune(
    State(api): State<Api>,
    version: ApiVersion,
    params: Params,
) -> ApiResult<Json<Value>> {
    const ANONYMOUS_ONLY: ApiVersion = ApiVersion(42);
    let mut filters = params.filters()?.only(&["all", "label", "label!"])?;
    if version < ANONYMOUS_ONLY {
        filters.0.insert("all".to_owned(), vec!["true".to_owned()]);
    }
    let pruned = api.engine.volume_prune(filters.into()).await?;
    Ok(Json(json!({
        "VolumesDeleted": Some(pruned.deleted).filter(|deleted| !deleted.is_empty()),
        "SpaceReclaimed": pruned.space_reclaimed,
    })))
}
