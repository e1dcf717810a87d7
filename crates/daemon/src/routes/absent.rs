//! Operations that are not here, each answered with what the client can do about it.

use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::error::ApiError;

/// Swarm operations on a node that is none.
pub(crate) async fn swarm() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
         connect this node to swarm and try again.",
    )
}

/// `POST /swarm/init`, `POST /swarm/join`
pub(crate) async fn swarm_begin() -> ApiError {
    ApiError::unsupported("swarm mode is not available yet")
}

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
