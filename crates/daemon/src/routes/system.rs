//! `/_ping`, `/version`.

use axum::Json;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use axum::response::IntoResponse;
use docker_api::models::SystemVersionPlatform;
use docker_api::models::{API_VERSION, MIN_API_VERSION, SystemVersion, SystemVersionComponents};

/// Answers that the daemon lives, and in its headers what a client must know to talk to it.
/// GET and HEAD.
pub(crate) async fn ping() -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    (headers, "OK")
}

/// `GET /version`.
pub(crate) async fn version() -> Json<SystemVersion> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let details = [
        ("ApiVersion", API_VERSION),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Os", "linux"),
        ("Arch", go_arch()),
        ("KernelVersion", &kernel),
        ("Experimental", "false"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    Json(SystemVersion {
        platform: Some(SystemVersionPlatform { name: "Teu Engine".to_owned() }),
        components: Some(vec![SystemVersionComponents {
            name: "Engine".to_owned(),
            version: version.clone(),
            details: Some(details.into()),
        }]),
        version: Some(version),
        api_version: Some(API_VERSION.to_owned()),
        min_api_version: Some(MIN_API_VERSION.to_owned()),
        git_commit: Some("unknown".to_owned()),
        go_version: Some("none".to_owned()),
        os: Some("linux".to_owned()),
        arch: Some(go_arch().to_owned()),
        kernel_version: Some(kernel),
        ..SystemVersion::default()
    })
}

/// The machine's architecture as image indexes name it.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
