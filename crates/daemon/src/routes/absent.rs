//! Operations that are not here, each answered with what the client can do about it.

use axum::Json;
use serde_json::{Value, json};

use crate::error::ApiError;

/// `POST /session`, `POST /grpc`
pub(crate) async fn session() -> ApiError {
    ApiError::unsupported(
        "BuildKit sessions are not offered: set DOCKER_BUILDKIT=0 to build with the docker command, \
         or use `teu build`, which knows all that BuildKit's Dockerfiles do",
    )
}

/// `GET /plugins`: there are none.
pub(crate) async fn plugins() -> Json<Value> {
    Json(json!([]))
}

/// All else about plugins.
pub(crate) async fn plugin() -> ApiError {
    ApiError::unsupported("plugins are not supported")
}

/// Checkpoints.
pub(crate) async fn checkpoint() -> ApiError {
    ApiError::unsupported("checkpoints are not supported")
}
