//! `--use-api-socket`: the engine's socket inside the container, and the client's credentials for
//! registries beside it, unless the container is told of others by `DOCKER_CONFIG`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_api::{Host, Request, encode_path};
use serde_json::{Map, Value as Json, json};

use crate::config::Config;
use crate::failure::Failure;
use crate::grammar::Call;
use crate::image::auth;

/// Where programs look for the socket when nothing tells them.
const SOCKET: &str = "/var/run/docker.sock";
const CONFIG_DIR: &str = "/run/secrets/docker";

/// Adds the socket to a container's body; returns the file with credentials that belongs into it.
pub(super) async fn add(call: &Call<'_>, body: &mut Json) -> Result<Option<Vec<u8>>, Failure> {
    if !call.flags.on("use-api-socket") {
        return Ok(None);
    }
    let client = call.cli.client().await?;
    let Host::Unix(path) = client.host() else {
        return Err(Failure::new(format!(
            "flag --use-api-socket can only be used with unix sockets: docker endpoint {} incompatible",
            client.host()
        )));
    };
    let mount = json!({"Type": "bind", "Source": path, "Target": SOCKET, "BindOptions": {}});
    append(&mut body["HostConfig"], "Mounts", mount);
    let is_told = |variable: &Json| {
        variable.as_str().is_some_and(|variable| variable.starts_with("DOCKER_CONFIG="))
    };
    if body["Env"].as_array().is_some_and(|env| env.iter().any(is_told)) {
        return Ok(None);
    }
    let auths = credentials(call.cli.config())?;
    if auths.is_empty() {
        return Ok(None);
    }
    append(body, "Env", json!(format!("DOCKER_CONFIG={CONFIG_DIR}")));
    Ok(Some(json!({"auths": auths}).to_string().into_bytes()))
}

fn append(object: &mut Json, key: &str, value: Json) {
    match object[key].as_array_mut() {
        Some(list) => list.push(value),
        None => object[key] = json!([value]),
    }
}

/// All credentials, those of helpers too, as config.json keeps them.
fn credentials(config: &Config) -> Result<Map<String, Json>, Failure> {
    let mut servers: BTreeSet<String> = config.auths.keys().cloned().collect();
    servers.extend(config.cred_helpers.keys().cloned());
    if !config.creds_store.is_empty() {
        let listed = auth::call_helper(&config.creds_store, "list", "")
            .map_err(|error| Failure::new(format!("resolving credentials failed: {error}")))?;
        let listed: Map<String, Json> = serde_json::from_str(&listed)
            .map_err(|error| Failure::new(format!("resolving credentials failed: {error}")))?;
        servers.extend(listed.into_iter().map(|(server, _)| server));
    }
    let found = servers.into_iter().filter_map(|server| {
        let known = auth::lookup(config, &server)?;
        let text = |name: &str| known[name].as_str().unwrap_or_default();
        let mut kept = Map::new();
        if !text("username").is_empty() {
            let pair = format!("{}:{}", text("username"), text("password"));
            kept.insert("auth".to_owned(), json!(STANDARD.encode(pair)));
        }
        for name in ["identitytoken", "registrytoken"] {
            if !text(name).is_empty() {
                kept.insert(name.to_owned(), json!(text(name)));
            }
        }
        Some((server, Json::Object(kept)))
    });
    Ok(found.collect())
}

/// Puts the file into a container that was just made.
pub(super) async fn put(call: &Call<'_>, id: &str, config: &[u8]) -> Result<(), Failure> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(config.len()).unwrap_or(0));
    header.set_mode(0o600);
    let name = format!("{}/config.json", CONFIG_DIR.trim_start_matches('/'));
    archive.append_data(&mut header, name, config)?;
    let bytes = bytes::Bytes::from(archive.into_inner()?);
    let body = futures_util::stream::once(async move { Ok::<_, std::io::Error>(bytes) });
    let request = Request::put(format!("/containers/{}/archive", encode_path(id)))
        .query("path", "/")
        .stream("application/x-tar", body);
    call.cli.client().await?.call(request).await.map_err(|error| {
        let error = Failure::from(error);
        Failure::new(format!("injecting docker config.json into container failed: {}", error.text))
    })?;
    Ok(())
}
