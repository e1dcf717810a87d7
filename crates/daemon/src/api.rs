//! The API as a function from request to response: version, routes, common headers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse;
use builder::Builder;
use docker_api::models::API_VERSION;
use engine::Engine;
use hyper::body::Incoming;
use images::registry::Registry;
use swarm::Swarm;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::{link, routes, serve, version};

/// What every handler can reach.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Registry,
    pub(crate) builder: Builder,
    pub(crate) swarm: Swarm,
    /// Ends streams that would otherwise outlive the daemon's shutdown.
    pub(crate) stop: CancellationToken,
}

impl Api {
    /// Runs calls of the stores, which block, on a thread for that.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let api = self.clone();
        match tokio::task::spawn_blocking(move || work(&api)).await {
            Ok(result) => result,
            Err(error) => Err(ApiError::internal(format!("operation was cut off: {error}"))),
        }
    }
}

/// Answers requests of one daemon.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    router: Router,
}

impl Service {
    pub(crate) fn new(api: Api) -> Self {
        Self { router: routes::router().with_state(api) }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let mut response = match version::strip(request.uri()) {
            Err(error) => error.into_response(),
            Ok((version, uri)) => {
                if let Some(uri) = uri {
                    *request.uri_mut() = uri;
                }
                if let Some(uri) = link::as_one_name(request.method(), request.uri()) {
                    *request.uri_mut() = uri;
                }
                request.extensions_mut().insert(version);
                tracing::debug!(method = %request.method(), path = request.uri().path(), "request");
                match self.router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        let headers = response.headers_mut();
        headers.insert("api-version", HeaderValue::from_static(API_VERSION));
        headers.insert("docker-experimental", HeaderValue::from_static("false"));
        headers.insert("ostype", HeaderValue::from_static("linux"));
        headers.insert("server", HeaderValue::from_static(SERVER));
        response
    }
}

const SERVER: &str = concat!("Teu/", env!("CARGO_PKG_VERSION"), " (linux)");

impl serve::Handler for Service {
    async fn call(&self, request: Request<Incoming>) -> Response<Body> {
        self.answer(request.map(Body::new)).await
    }
}

/// Answers paths and methods that are not there.
pub(crate) async fn not_found() -> ApiError {
    ApiError::page_not_found()
}
