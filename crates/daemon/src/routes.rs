//! The operations of the Engine API, one file per noun.

mod system;

use axum::Router;
use axum::routing::get;

use crate::api::{Api, not_found};

/// All routes, without version prefixes.
pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
}
