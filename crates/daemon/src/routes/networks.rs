//! Networks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use docker_api::models::exact;
use serde_json::{Value, json};

use crate::api::Api;
use crate::body::JsonBody;
use crate::convert::container::endpoint_request;
use crate::convert::network as convert;
use crate::error::{ApiError, ApiResult};
use crate::extract::Name;
use crate::params::Params;

/// `GET /networks`
pub(crate) async fn list(State(api): State<Api>, params: Params) -> ApiResult<Json<Vec<Value>>> {
    let networks = api.engine.network_list(params.filters()?.into()).await?;
    // A list does not say who is attached.
    let shown = networks.iter().map(|info| convert::network(info, convert::Endpoints::Hidden));
    Ok(Json(shown.collect()))
}

/// `GET /networks/{id}`
pub(crate) async fn inspect(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<Json<Value>> {
    let info = api.engine.network_inspect(&name).await?;
    match params.text("scope") {
        Some(scope) if !scope.is_empty() && scope != info.record.scope() => {
            Err(ApiError::not_found(format!("network {name} not found in scope {scope}")))
        }
        _ => Ok(Json(convert::network(&info, convert::Endpoints::Shown))),
    }
}

/// `POST /networks/create`
pub(crate) async fn create(
    State(api): State<Api>,
    JsonBody(body): JsonBody<exact::NetworkCreate>,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let wire = body.unwrap_or_default();
    let for_swarm = wire.ingress || wire.scope == "swarm";
    if for_swarm && !api.engine.network().is_in_swarm() {
        return Err(network::Error::NotManager.into());
    }
    let request = convert::network_request(wire)?;
    let (id, warnings) = api.engine.network_create(request).await?;
    Ok((StatusCode::CREATED, Json(json!({"Id": id, "Warning": warnings.join("\n")}))))
}

/// `POST /networks/{id}/connect`
pub(crate) async fn connect(
    State(api): State<Api>,
    Name(name): Name,
    JsonBody(body): JsonBody<exact::NetworkConnect>,
) -> ApiResult<StatusCode> {
    let body = body.unwrap_or_default();
    let settings = endpoint_request(body.endpoint_config)?;
    api.engine.network_connect(&name, &body.container, settings).await?;
    Ok(StatusCode::OK)
}

/// `POST /networks/{id}/disconnect`
pub(crate) async fn disconnect(
    State(api): State<Api>,
    Name(name): Name,
    JsonBody(body): JsonBody<exact::NetworkDisconnect>,
) -> ApiResult<StatusCode> {
    let body = body.unwrap_or_default();
    api.engine.network_disconnect(&name, &body.container, body.force).await?;
    Ok(StatusCode::OK)
}

/// `DELETE /networks/{id}`
pub(crate) async fn remove(State(api): State<Api>, Name(name): Name) -> ApiResult<StatusCode> {
    api.engine.network_remove(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /networks/prune`
pub(crate) async fn prune(State(api): State<Api>, params: Params) -> ApiResult<Json<Value>> {
    let pruned = api.engine.network_prune(params.filters()?.into()).await?;
    Ok(Json(json!({"NetworksDeleted": Some(pruned).filter(|pruned| !pruned.is_empty())})))
}
