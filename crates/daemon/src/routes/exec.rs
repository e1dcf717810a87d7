//! Execs: further processes in running containers.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use docker_api::models::exact;
use serde_json::{Value, json};

use super::containers::terminal_size;
use crate::api::Api;
use crate::body::{self, JsonBody};
use crate::convert::exec as convert;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Name, Upgrade, stream_type};
use crate::hijack::{self, Input};
use crate::params::Params;
use crate::version::ApiVersion;

/// `POST /containers/{id}/exec`
pub(crate) async fn create(
    State(api): State<Api>,
    Name(name): Name,
    JsonBody(body): JsonBody<exact::ExecCreate>,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let config = convert::config(body.unwrap_or_default())?;
    if config.cmd.is_empty() {
        return Err(ApiError::invalid("No exec command specified"));
    }
    let id = api.engine.exec_create(&name, config).await?;
    Ok((StatusCode::CREATED, Json(json!({"Id": id}))))
}

/// `POST /exec/{id}/start`
pub(crate) async fn start(
    State(api): State<Api>,
    Name(id): Name,
    version: ApiVersion,
    Upgrade(upgrade): Upgrade,
    request: Request,
) -> ApiResult<Response> {
    // The body has to be read to its end before the connection can be taken over.
    let JsonBody(wire) = body::json::<exact::ExecStart>(request).await?;
    let options = convert::start_options(wire.unwrap_or_default());
    if options.detach {
        api.engine.exec_start(&id, options).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let exec = api.engine.exec_begin(&id).await?;
    let content_type = stream_type(options.tty, version);
    let stream = async move { exec.start(options).await.ok().flatten() };
    let body = Body::empty();
    Ok(hijack::answer(stream, Input::Attached, upgrade, body, content_type, api.stop.clone()).await)
}

/// `GET /exec/{id}/json`
pub(crate) async fn inspect(
    State(api): State<Api>,
    Name(id): Name,
) -> ApiResult<Json<exact::ExecInspect>> {
    Ok(Json(convert::inspect(api.engine.exec_inspect(&id).await?)))
}

/// `POST /exec/{id}/resize`
pub(crate) async fn resize(
    State(api): State<Api>,
    Name(id): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    api.engine.exec_resize(&id, terminal_size(&params)?).await?;
    Ok(StatusCode::OK)
}
