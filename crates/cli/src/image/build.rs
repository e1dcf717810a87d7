//! `build`: the context to the daemon, its progress back, and the result to where it is wanted.

mod cache;
mod call;
mod context;
mod display;
mod output;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use docker_api::{Client, Host, Request};
use serde_json::{Map, Value as Json, json};

use self::cache::Caches;
use self::call::{Call as Wanted, Method};
use self::context::{Shape, Source};
use self::display::Display;
use self::output::Output;
use super::auth;
use crate::cli::env;
use crate::container::checks::parse_ulimit;
use crate::failure::Failure;
use crate::grammar::{Call, Outcome, Values};
use crate::units::parse_bytes;

/// `build [OPTIONS] PATH | URL | -`
pub(crate) async fn command(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    for flag in ["provenance", "sbom"] {
        no_attestation(flag, flags.get(flag))?;
    }
    flags.all("attest").iter().try_for_each(|text| no_attestation("attest", Some(text)))?;
    no_annotation(flags.all("annotation"))?;
    only_builder(flags.get("builder"))?;
    let wanted = Wanted::parse(flags.get("call"), flags.on("check"))?;
    let short = [("load", "type=docker"), ("push", "type=registry")];
    let short = short.into_iter().filter(|(flag, _)| flags.on(flag));
    let mut outputs = flags.all("output").to_vec();
    outputs.extend(short.map(|(_, output)| output.to_owned()));
    let outputs = Output::parse_all(&outputs, flags.all("tag"))?;
    let tags = outputs.tags();
    let caches = Caches::parse(flags.all("cache-from"), flags.all("cache-to"))?;
    let display = Display::parse(flags)?;
    let iidfile = flags.get("iidfile").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = &iidfile
        && path.is_dir()
    {
        return Err(format!("{}: it is a directory", path.display()).into());
    }
    let source = Source::parse(&call.args[0], flags.get("file").filter(|file| !file.is_empty()))?;
    let client = call.cli.client().await?;
    let mut request = Request::post("/build").query("events", "1");
    request = options(request, flags, call.cli.config().proxies.get("default"))?;
    request = request.header("X-Registry-Config", credentials(&call));
    request = request.query_flag("inlinecache", caches.is_inline());
    let (images, fetched) = caches.read(call.cli).await?;
    if !images.is_empty() {
        request = request.query("cachefrom", json!(images).to_string());
    }
    request = inputs(client, request, flags).await?;
    if wanted.method != Method::Build {
        request = request.query("call", wanted.method.name());
    }
    if outputs.wants_image() {
        for tag in tags {
            request = request.query("t", tag);
        }
    }
    let shape =
        Shape { dockerfile_only: wanted.method != Method::Build, compressed: flags.on("compress") };
    let (request, sending) = source.into_request(request, shape).await?;
    let response = client.call(request).await;
    if let Some(sending) = sending {
        sending.finish(response.is_ok()).await?;
    }
    let done = match response {
        Ok(response) => display.follow(response).await,
        Err(error) => Err(error.into()),
    };
    Caches::forget(call.cli, &fetched).await?;
    let done = done?;
    if let Some(answer) = &done.answer {
        print!("{}", wanted.shown(answer));
    }
    let Some(id) = done.image else { return Ok(0) };
    caches.write(call.cli, &done.steps).await?;
    outputs.write(call.cli, &id).await?;
    if let Some(path) = iidfile {
        std::fs::write(&path, &id).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = flags.get("metadata-file").filter(|path| !path.is_empty()) {
        let metadata = metadata(&id, tags)?;
        std::fs::write(path, metadata).map_err(|error| format!("{path}: {error}"))?;
    }
    if flags.on("quiet") {
        println!("{id}");
    }
    Ok(0)
}

/// Refuses what would say something about the image beside it, as Docker does without the store for
/// that; what turns it off is fine.
fn no_attestation(flag: &str, text: Option<&str>) -> Result<(), String> {
    let is_off = |text: &str| {
        matches!(text, "" | "0" | "f" | "F" | "false" | "False" | "FALSE")
            || text.split(',').any(|field| field == "disabled=true")
    };
    match text.filter(|text| !is_off(text)) {
        None => Ok(()),
        Some(text) => Err(format!(
            "--{flag} {text}: Attestation is not supported: an image is kept here without others that \
             speak of it. Leave the option out, or say --provenance=false --sbom=false"
        )),
    }
}

fn no_annotation(texts: &[String]) -> Result<(), String> {
    let Some(text) = texts.first() else { return Ok(()) };
    Err(format!(
        "--annotation {text}: Annotations are not supported: an image is kept here by its configuration, \
         its manifest is made when it goes out. Give the image a --label"
    ))
}

/// There is one builder, the daemon; it has the name that buildx gives to a daemon's own.
fn only_builder(name: Option<&str>) -> Result<(), String> {
    match name {
        None | Some("" | "default") => Ok(()),
        Some(name) => Err(format!(
            "no builder {name:?} found: the daemon itself builds, and is called default (another \
             daemon is chosen with --host or --context)"
        )),
    }
}

/// What buildx writes of an image that the daemon has.
fn metadata(id: &str, tags: &[String]) -> Result<String, Failure> {
    let mut names = Vec::new();
    for text in tags {
        let (name, tag) = super::split_reference(text)?;
        names.push(format!("{name}:{tag}"));
    }
    let mut metadata = json!({"containerimage.config.digest": id, "containerimage.digest": id});
    if !names.is_empty() {
        metadata["image.name"] = json!(names.join(","));
    }
    Ok(format!("{metadata:#}\n"))
}

fn options(
    request: Request,
    flags: &Values,
    proxy: Option<&crate::config::Proxy>,
) -> Result<Request, Failure> {
    let mut request = request
        .query_flag("nocache", flags.on("no-cache"))
        .query_flag("pull", flags.on("pull"))
        .query_flag("forcerm", flags.on("force-rm"))
        .query("rm", if flags.on_by_default("rm") { "1" } else { "0" })
        .query_flag("squash", flags.on("squash"))
        .query("buildargs", build_args(flags, proxy).to_string())
        .query("labels", labels(flags).to_string());
    let named = [
        ("target", "target"),
        ("platform", "platform"),
        ("network", "networkmode"),
        ("isolation", "isolation"),
        ("cgroup-parent", "cgroupparent"),
        ("cpu-period", "cpuperiod"),
        ("cpu-quota", "cpuquota"),
        ("cpu-shares", "cpushares"),
        ("cpuset-cpus", "cpusetcpus"),
        ("cpuset-mems", "cpusetmems"),
    ];
    for (flag, parameter) in named {
        request = request.query_some(parameter, flags.get(flag).filter(|text| !text.is_empty()));
    }
    for (flag, parameter) in [("memory", "memory"), ("shm-size", "shmsize")] {
        if let Some(text) = flags.get(flag) {
            request = request.query(parameter, parse_bytes(text)?.to_string());
        }
    }
    if let Some(text) = flags.get("memory-swap") {
        let bytes = if text == "-1" { -1 } else { parse_bytes(text)? };
        request = request.query("memswap", bytes.to_string());
    }
    for stage in flags.all("no-cache-filter").iter().flat_map(|list| list.split(',')) {
        request = request.query("nocachefilter", stage);
    }
    for host in flags.all("add-host") {
        request =
            request.query("extrahosts", host.replacen('=', ":", usize::from(!host.contains(':'))));
    }
    for entitlement in flags.all("allow").iter().flat_map(|list| list.split(',')) {
        request = match entitlement {
            "security.insecure" | "device" => request.query("allow", entitlement),
            device if device.starts_with("device=") => request.query("allow", device),
            // Always possible here.
            "network.host" => request,
            other => return Err(format!("invalid entitlement: {other}").into()),
        };
    }
    if let Some(option) = flags.all("security-opt").first() {
        return Err(format!(
            "--security-opt {option}: the daemon does not support setting security options on build"
        )
        .into());
    }
    let ulimits = flags.all("ulimit").iter().map(|limit| {
        let (name, soft, hard) = parse_ulimit(limit)?;
        Ok(json!({"Name": name, "Soft": soft, "Hard": hard}))
    });
    let ulimits = ulimits.collect::<Result<Vec<Json>, String>>()?;
    if !ulimits.is_empty() {
        request = request.query("ulimits", Json::Array(ulimits).to_string());
    }
    Ok(request)
}

/// Values for ARG; a name alone takes the value from the environment, and is no argument where that has
/// none. Proxies come from the
/// configuration, `SOURCE_DATE_EPOCH` from the environment.
fn build_args(flags: &Values, proxy: Option<&crate::config::Proxy>) -> Json {
    let mut args: Map<String, Json> = Map::new();
    let mut proxies = Vec::new();
    crate::container::env::add_proxies(&mut proxies, proxy);
    for text in &proxies {
        if let Some((name, value)) = text.split_once('=') {
            args.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(epoch) = env("SOURCE_DATE_EPOCH") {
        args.insert("SOURCE_DATE_EPOCH".to_owned(), json!(epoch));
    }
    for text in flags.all("build-arg") {
        let given = match text.split_once('=') {
            Some((name, value)) => Some((name, value.to_owned())),
            None => env(text).map(|value| (text.as_str(), value)),
        };
        if let Some((name, value)) = given {
            args.insert(name.to_owned(), json!(value));
        }
    }
    Json::Object(args)
}

fn labels(flags: &Values) -> Json {
    let pairs = flags.all("label").iter().map(|text| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), json!(value))
    });
    Json::Object(pairs.collect())
}

/// Credentials of every registry that the configuration knows.
fn credentials(call: &Call<'_>) -> String {
    let config = call.cli.config();
    let servers = config.auths.keys().chain(config.cred_helpers.keys());
    let found: BTreeMap<String, Json> = servers
        .filter_map(|server| Some((server.clone(), auth::lookup(config, server)?)))
        .collect();
    URL_SAFE.encode(json!(found).to_string())
}

/// Sends secrets and further contexts ahead, and names them in the request.
async fn inputs(
    client: &Arc<Client>,
    mut request: Request,
    flags: &Values,
) -> Result<Request, Failure> {
    for text in flags.all("secret") {
        let (id, bytes) = secret(text)?;
        let upload = Request::post("/build/inputs").query("kind", "secret");
        let upload = upload.stream(
            "application/octet-stream",
            futures_util::stream::once(async move { Ok(bytes.into()) }),
        );
        let input = input_id(client, upload).await?;
        request = request.query("secret", format!("{id}={input}"));
    }
    for text in flags.all("ssh") {
        if !matches!(client.host(), Host::Unix(_)) {
            return Err(format!(
                "--ssh {text}: an agent can be given to a daemon on the same host alone, and this one \
                 is at {}: run teu build there (ssh -A)",
                client.host()
            )
            .into());
        }
        request = request.query("ssh", ssh(text)?);
    }
    for text in flags.all("build-context") {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| format!("invalid build context {text:?}: want name=value"))?;
        if value.starts_with("oci-layout://") || value.starts_with("target:") {
            return Err(format!(
                "--build-context {text}: give a directory, docker-image://NAME, an http(s) or a git \
                 address (an OCI layout becomes an image with `load`)"
            )
            .into());
        }
        if value.contains("://") || context::is_remote(value) {
            request = request.query("buildcontext", format!("{name}={value}"));
            continue;
        }
        let source = Source::directory(value)?;
        let upload = Request::post("/build/inputs").query("kind", "context");
        let shape = Shape { compressed: flags.on("compress"), ..Shape::default() };
        let (upload, sending) = source.into_request(upload, shape).await?;
        let input = input_id(client, upload).await;
        if let Some(sending) = sending {
            sending.finish(input.is_ok()).await?;
        }
        request = request.query("buildcontext", format!("{name}=input:{}", input?));
    }
    Ok(request)
}

async fn input_id(client: &Arc<Client>, request: Request) -> Result<String, Failure> {
    let mut response = client.call(request).await?;
    let answer: Option<Json> = response.next_json().await?;
    let id = answer.as_ref().and_then(|answer| answer["Id"].as_str());
    id.map(str::to_owned).ok_or_else(|| "the daemon did not say what it calls the input".into())
}

/// Reads `id=NAME,src=FILE`, `id=NAME,env=VARIABLE`, `id=NAME`.
fn secret(text: &str) -> Result<(String, Vec<u8>), String> {
    let (mut id, mut file, mut variable) = (None, None, None);
    let mut kind = "";
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => file = Some(value),
            Some(("env", value)) => variable = Some(value),
            Some(("type", value @ ("file" | "env"))) => kind = value,
            _ => {
                return Err(format!(
                    "invalid field '{field}' in secret: want id=NAME,src=FILE or id=NAME,env=VARIABLE"
                ));
            }
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| format!("secret {text:?} has no id"))?;
    let from_env = |name: &str| {
        let value = env(name).map(String::into_bytes);
        value.ok_or_else(|| format!("secret {id}: the variable {name} is not set"))
    };
    let bytes = match (file, variable) {
        (Some(file), _) if kind != "env" => {
            std::fs::read(file).map_err(|error| format!("secret {id}: {file}: {error}"))?
        }
        (Some(name), _) | (None, Some(name)) => from_env(name)?,
        (None, None) => from_env(id).or_else(|_| {
            std::fs::read(id).map_err(|error| {
                format!("secret {id}: neither a variable nor a file of that name: {error}")
            })
        })?,
    };
    if bytes.len() > 500 << 10 {
        return Err(format!("secret {id}: {} bytes, at most 500 KiB can be sent", bytes.len()));
    }
    Ok((id.to_owned(), bytes))
}

/// Reads `default`, `NAME=SOCKET`; an agent is used where it is, so the daemon must be on this host.
fn ssh(text: &str) -> Result<String, String> {
    use std::os::unix::fs::FileTypeExt as _;
    let (id, path) = match text.split_once('=') {
        Some((id, path)) => (id, path.to_owned()),
        None => {
            let agent = env("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
            (text, agent.ok_or("--ssh: no agent runs: SSH_AUTH_SOCK is not set")?)
        }
    };
    let metadata =
        std::fs::metadata(&path).map_err(|error| format!("--ssh {id}: {path}: {error}"))?;
    if !metadata.file_type().is_socket() {
        return Err(format!(
            "--ssh {id}: {path} is no agent's socket: add the key to an agent (ssh-add {path}) and \
             give that"
        ));
    }
    let path = std::path::absolute(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(format!("{id}={}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_can_only_be_turned_off() {
        for off in [None, Some("false"), Some("0"), Some("type=sbom,disabled=true")] {
            assert_eq!(no_attestation("sbom", off), Ok(()));
        }
        for on in ["true", "mode=max", "type=provenance,mode=min"] {
            let error = no_attestation("provenance", Some(on)).expect_err("is refused");
            assert!(error.contains("Attestation is not supported"), "{error}");
        }
    }

    #[test]
    fn secrets_are_files_and_variables() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("s");
        std::fs::write(&file, "x").expect("write");
        let found = secret(&format!("id=a,src={}", file.display())).expect("reads");
        assert_eq!(found, ("a".to_owned(), b"x".to_vec()));
        assert!(secret("id=a,src=/none").is_err());
        assert!(secret("src=/none").is_err());
        assert!(secret("id=a,what=b").is_err());
    }
}
