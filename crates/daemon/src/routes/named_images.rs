//! Operations whose path holds an image's name. A name may contain slashes, so the operation is
//! whatever stands behind the last one.

use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};

use super::{images, registry};
use crate::api::Api;
use crate::error::{ApiError, ApiResult};
use crate::params::Params;
use crate::version::ApiVersion;

/// `/images/{name}…`
pub(crate) async fn image(
    State(api): State<Api>,
    Path(path): Path<String>,
    version: ApiVersion,
    params: Params,
    request: Request,
) -> ApiResult<Response> {
    let method = request.method();
    if method == Method::DELETE {
        return Ok(images::remove(api, path, params).await?.into_response());
    }
    let (name, operation) = path.rsplit_once('/').ok_or_else(ApiError::page_not_found)?;
    let name = name.to_owned();
    match (method.as_str(), operation) {
        ("GET" | "HEAD", "json") => Ok(images::inspect(api, name, version).await?.into_response()),
        ("GET", "history") => Ok(images::history(api, name).await?.into_response()),
        ("GET", "get") => images::save(api, vec![name]).await,
        ("POST", "tag") => Ok(images::tag(api, name, params).await?.into_response()),
        ("POST", "push") => registry::push(api, name, params, request.headers()).await,
        _ => Err(ApiError::page_not_found()),
    }
}

/// `GET /distribution/{name}/json`
pub(crate) async fn distribution(
    State(api): State<Api>,
    Path(path): Path<String>,
    request: Request,
) -> ApiResult<Response> {
    let name = path.strip_suffix("/json").ok_or_else(ApiError::page_not_found)?.to_owned();
    Ok(registry::distribution(api, name, request.headers()).await?.into_response())
}
