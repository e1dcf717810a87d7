//! Contexts: endpoints by name, in the files where Docker's client keeps them.
//!
//! ```text
//! <config>/contexts/meta/<sha256 of the name>/meta.json
//! <config>/contexts/tls/<sha256 of the name>/docker/{ca,cert,key}.pem
//! ```

use std::fmt::Write as _;
use std::path::Path;

use docker_api::{Host, TlsFiles};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

/// Reads the endpoint of a context.
pub(crate) fn load(config_dir: &Path, name: &str) -> Result<(Host, Option<TlsFiles>), Failure> {
    let mut key = String::with_capacity(64);
    for byte in Sha256::digest(name.as_bytes()) {
        let _ = write!(key, "{byte:02x}"); // a String takes every write
    }
    let contexts = config_dir.join("contexts");
    let meta_path = contexts.join("meta").join(&key).join("meta.json");
    let bytes = std::fs::read(&meta_path).map_err(|e| {
        format!("context {name:?}: context not found: open {}: {e}", meta_path.display())
    })?;
    let meta: Meta = serde_json::from_slice(&bytes)
        .map_err(|e| format!("context {name:?}: {}: {e}", meta_path.display()))?;
    let endpoint =
        meta.endpoints.docker.ok_or_else(|| format!("context {name:?} has no docker endpoint"))?;
    let dir = contexts.join("tls").join(&key).join("docker");
    let file = |file: &str| Some(dir.join(file)).filter(|path| path.exists());
    let tls = (dir.is_dir() || endpoint.skip_tls_verify).then(|| TlsFiles {
        ca: file("ca.pem"),
        cert: file("cert.pem"),
        key: file("key.pem"),
        verify: !endpoint.skip_tls_verify,
    });
    Ok((Host::parse(&endpoint.host, tls.is_some())?, tls))
}
