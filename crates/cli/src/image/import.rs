//! Images in and out of files: `import`, `load`, `save`; and `tag`.

use std::fs::File;
use std::path::Path;

use docker_api::{Request, Response, encode_path};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::progress::{Progress, To};
use crate::container::env::open_error;
use crate::failure::Failure;
use crate::grammar::{Call, Outcome};
use crate::terminal;

const CHUNK: usize = 128 * 1024;

/// Sends a file or stdin as a request's body.
pub(crate) fn body_from(request: Request, path: Option<&str>) -> Result<Request, Failure> {
    match path {
        None => Ok(request
            .stream("application/x-tar", ReaderStream::with_capacity(tokio::io::stdin(), CHUNK))),
        Some(path) => {
            let file = File::open(path).map_err(|e| open_error(path, &e))?;
            let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
            Ok(request.stream("application/x-tar", stream))
        }
    }
}

/// Writes an answer's body to a file, by way of a temporary one beside it, or to stdout.
pub(crate) async fn body_to(mut response: Response, path: Option<&str>) -> Result<(), Failure> {
    let Some(path) = path else {
        let mut stdout = tokio::io::stdout();
        while let Some(chunk) = response.chunk().await? {
            stdout.write_all(&chunk).await?;
        }
        return Ok(stdout.flush().await?);
    };
    let target = Path::new(path);
    // A device or a pipe is written to as it is.
    if target.exists() && !target.is_file() {
        let mut file = tokio::fs::OpenOptions::new().write(true).open(target).await?;
        while let Some(chunk) = response.chunk().await? {
            file.write_all(&chunk).await?;
        }
        return Ok(file.flush().await?);
    }
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".teu-temp-")
        .tempfile_in(dir)
        .map_err(|e| format!("failed to save to {path}: {e}"))?;
    let mut file = tokio::fs::File::from_std(temporary.as_file().try_clone()?);
    while let Some(chunk) = response.chunk().await? {
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    temporary.persist(target).map_err(|e| format!("failed to save to {path}: {}", e.error))?;
    Ok(())
}

/// `import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]`
pub(crate) async fn import(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let source = call.args[0].as_str();
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let mut request =
        Request::post("/images/create").query("fromSrc", if is_url { source } else { "-" });
    if let Some(reference) = call.args.get(1) {
        let (name, tag) = super::split_reference(reference)?;
        request = request.query("repo", name).query("tag", tag);
    }
    request = request
        .query_some("message", flags.get("message"))
        .query_some("platform", flags.get("platform").filter(|p| !p.is_empty()));
    for change in flags.all("change") {
        request = request.query("changes", change);
    }
    if !is_url {
        request = body_from(request, (source != "-").then_some(source))?;
    }
    let response = call.cli.client().await?.call(request).await?;
    Progress::new(To::Stdout).follow(response, |_| {}).await?;
    Ok(0)
}

/// `load [OPTIONS]`
pub(crate) async fn load(call: Call<'_>) -> Outcome {
    let input = call.flags.get("input").filter(|path| !path.is_empty());
    if input.is_none() && terminal::stdin_is_terminal() {
        return Err("requested load from stdin, but stdin is empty".into());
    }
    let quiet = call.flags.on("quiet") || !terminal::stdout_is_terminal();
    let mut request = Request::post("/images/load").query("quiet", if quiet { "1" } else { "0" });
    for platform in call.flags.split("platform") {
        request = request.query("platform", super::list::platform_json(&platform));
    }
    let request = body_from(request, input)?;
    let response = call.cli.client().await?.call(request).await?;
    Progress::new(To::Stdout).follow(response, |_| {}).await?;
    Ok(0)
}

/// `save [OPTIONS] IMAGE [IMAGE...]`
pub(crate) async fn save(call: Call<'_>) -> Outcome {
    let output = call.flags.get("output").filter(|path| !path.is_empty());
    if output.is_none() && terminal::stdout_is_terminal() {
        return Err("cowardly refusing to save to a terminal. Use the -o flag or redirect".into());
    }
    check_output(output)?;
    let mut request = Request::get("/images/get");
    for name in &call.args {
        request = request.query("names", name);
    }
    for platform in call.flags.split("platform") {
        request = request.query("platform", super::list::platform_json(&platform));
    }
    let response = call.cli.client().await?.call(request).await?;
    body_to(response, output).await?;
    Ok(0)
}

/// Refuses an output file before anything is transferred.
pub(crate) fn check_output(output: Option<&str>) -> Result<(), Failure> {
    let Some(path) = output else { return Ok(()) };
    check_output_directory(path)?;
    if Path::new(path).is_dir() {
        return Err(format!("invalid output path: {path:?} is a directory").into());
    }
    Ok(())
}

/// Refuses an output path whose directory does not exist.
pub(crate) fn check_output_directory(path: &str) -> Result<(), Failure> {
    let dir =
        Path::new(path.trim_end_matches('/')).parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir
        && !dir.is_dir()
    {
        return Err(format!(
            "invalid output path: directory {:?} does not exist",
            dir.display().to_string()
        )
        .into());
    }
    Ok(())
}

/// `tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]`
pub(crate) async fn tag(call: Call<'_>) -> Outcome {
    let (name, tag) = super::split_reference(&call.args[1])?;
    let request = Request::post(format!("/images/{}/tag", encode_path(&call.args[0])))
        .query("repo", name)
        .query("tag", tag);
    call.cli.client().await?.call(request).await?.bytes().await?;
    Ok(0)
}
