//! `run` and `create`.
//!
//! The output is attached and the exit awaited before the container starts, so
//! that neither a line nor the exit code of a short one is lost.

use std::io::IsTerminal as _;
use std::sync::Arc;

use docker_api::{Client, Request, Response, encode_path};
use serde::Deserialize;

use super::api_socket;
use super::body::{self, NewContainer};
use crate::attach::{Ended, Streams, pump};
use crate::cli::Cli;
use crate::failure::{Failure, REFUSED, code_of_shells, describe};
use crate::grammar::{Call, Outcome, Values};
use crate::image::pull;
use crate::signals;
use crate::terminal::{self, RawMode};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// What the daemon says about an exit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Exit {
    status_code: i64,
    error: Option<ExitError>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExitError {
    message: String,
}

/// `create [OPTIONS] IMAGE [COMMAND] [ARG...]`
pub(crate) async fn create(call: Call<'_>) -> Outcome {
    let refused = |failure: Failure| refusal(failure, &call.path);
    check_pull(&call.flags).map_err(&refused)?;
    let proxy = call.cli.config().proxies.get("default");
    let mut new = body::build(&call.flags, &call.args, proxy).map_err(|e| refused(e.into()))?;
    check_removal(&call.flags).map_err(&refused)?;
    let id = create_container(&call, &mut new).await?;
    println!("{id}");
    Ok(0)
}

/// `run [OPTIONS] IMAGE [COMMAND] [ARG...]`
pub(crate) async fn run(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let refused = |failure: Failure| refusal(failure, &call.path);
    if flags.on("detach") && !flags.all("attach").is_empty() {
        return Err("conflicting options: cannot specify both --attach and --detach".into());
    }
    check_pull(flags).map_err(&refused)?;
    let proxy = call.cli.config().proxies.get("default");
    let mut new = body::build(flags, &call.args, proxy).map_err(|e| refused(e.into()))?;
    check_removal(flags).map_err(&refused)?;
    if new.tty && new.attach_stdin {
        require_terminal()?;
    }
    let detach_keys = detach_keys(call.cli, flags).map_err(&refused)?;
    let caught =
        (!flags.on("detach") && flags.on_by_default("sig-proxy") && !new.tty).then(signals::catch);
    let id = create_container(&call, &mut new).await.map_err(&refused)?;
    let client = call.cli.client().await?;
    if flags.on("detach") {
        start(client, &id, None).await.map_err(|e| start_failure(&e, &call.path))?;
        println!("{id}");
        return Ok(0);
    }
    let forwarder = caught.map(|caught| signals::forward(caught, Arc::clone(client), id.clone()));
    let code = attached(client, &id, &new, flags.on("rm"), &detach_keys, &call.path).await;
    drop(forwarder);
    code
}

async fn attached(
    client: &Arc<Client>,
    id: &str,
    new: &NewContainer,
    removed: bool,
    detach_keys: &str,
    path: &str,
) -> Outcome {
    let any = new.attach_stdin || new.attach_stdout || new.attach_stderr;
    let streams = Streams {
        tty: new.tty,
        stdin: new.attach_stdin,
        output: new.attach_stdout || new.attach_stderr,
        detach_keys: terminal::parse_detach_keys(detach_keys).unwrap_or_default(),
    };
    let hijacked = if any {
        let request = Request::post(format!("/containers/{id}/attach"))
            .query("stream", "1")
            .query_flag("stdin", new.attach_stdin)
            .query_flag("stdout", new.attach_stdout)
            .query_flag("stderr", new.attach_stderr)
            .query("detachKeys", detach_keys);
        Some(client.hijack(request).await.map_err(|e| refusal(e.into(), path))?)
    } else {
        None
    };
    let condition = if removed { "removed" } else { "next-exit" };
    let exit = wait_for_exit(client, id, condition).await?;
    let raw = (new.tty && new.attach_stdin).then(RawMode::enter).transpose()?;
    let tidy = new.tty.then(signals::restore_terminal_on_end);
    if let Err(error) = start(client, id, None).await {
        drop(raw);
        return Err(start_failure(&error, path));
    }
    let resizer = (new.tty && terminal::stdout_is_terminal())
        .then(|| signals::follow_size(Arc::clone(client), format!("/containers/{id}/resize")));
    let ended = match hijacked {
        Some(hijacked) => pump(hijacked, streams).await,
        None => Ok(Ended::Output),
    };
    drop((raw, tidy, resizer));
    if ended? == Ended::Detached {
        return Ok(0);
    }
    exit_code(exit).await
}

/// Starts to wait; the answer's headers come at once, the exit itself later.
pub(crate) async fn wait_for_exit(
    client: &Client,
    id: &str,
    condition: &str,
) -> Result<Response, Failure> {
    let request = Request::post(format!("/containers/{}/wait", encode_path(id)))
        .query("condition", condition);
    Ok(client.call(request).await?)
}

/// Reads the exit that [`wait_for_exit`] waits for.
pub(crate) async fn exit_code(response: Response) -> Outcome {
    let exit: Exit = match response.json().await {
        Ok(exit) => exit,
        Err(error) => {
            return Err(Failure::with_code(
                REFUSED,
                format!("Error waiting for container: {error}"),
            ));
        }
    };
    if let Some(error) = exit.error.filter(|e| !e.message.is_empty()) {
        return Err(Failure::with_code(
            REFUSED,
            format!("Error waiting for container: {}", error.message),
        ));
    }
    Ok(u8::try_from(exit.status_code & 0xff).unwrap_or(REFUSED))
}

/// Starts a container.
pub(crate) async fn start(
    client: &Client,
    id: &str,
    detach_keys: Option<&str>,
) -> docker_api::Result<()> {
    let request = Request::post(format!("/containers/{}/start", encode_path(id)))
        .query_some("detachKeys", detach_keys);
    client.call(request).await?.bytes().await.map(drop)
}

/// Creates the container, pulling its image if that is wanted and needed.
async fn create_container(call: &Call<'_>, new: &mut NewContainer) -> Result<String, Failure> {
    let flags = &call.flags;
    let credentials = api_socket::add(call, &mut new.body).await?;
    let mut cidfile = CidFile::reserve(flags.get("cidfile"))?;
    let client = call.cli.client().await?;
    let image = &call.args[0];
    if flags.text("pull") == "always" {
        pull_image(call, image).await?;
    }
    let request = || {
        Request::post("/containers/create")
            .query_some("name", flags.get("name"))
            .query_some("platform", flags.get("platform").filter(|p| !p.is_empty()))
            .json(&new.body)
    };
    let created = match client.call(request()).await {
        Ok(response) => response,
        Err(error)
            if error.is_not_found() && is_about_image(&error) && flags.text("pull") != "never" =>
        {
            if !flags.on("quiet") {
                eprintln!("Unable to find image '{}' locally", pull::familiar_with_tag(image));
            }
            pull_image(call, image).await?;
            client.call(request()).await?
        }
        Err(error) => return Err(error.into()),
    };
    let created: Created = created.json().await?;
    for warning in created.warnings.unwrap_or_default() {
        eprintln!("WARNING: {warning}");
    }
    if let Some(credentials) = credentials {
        api_socket::put(call, &created.id, &credentials).await?;
    }
    cidfile.write(&created.id)?;
    Ok(created.id)
}

/// A missing network or volume is a 404 as well, and no pull mends it.
fn is_about_image(error: &docker_api::Error) -> bool {
    error.message().to_ascii_lowercase().contains("image")
}

async fn pull_image(call: &Call<'_>, image: &str) -> Result<(), Failure> {
    let options = pull::Options {
        platform: call.flags.get("platform"),
        all_tags: false,
        quiet: call.flags.on("quiet"),
        // stdout belongs to the container.
        to_stderr: true,
    };
    pull::pull(call.cli, image, &options).await
}

/// A container that goes at its end cannot come back.
fn check_removal(flags: &Values) -> Result<(), Failure> {
    if flags.on("rm") && !matches!(flags.text("restart"), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    Ok(())
}

fn check_pull(flags: &Values) -> Result<(), Failure> {
    match flags.text("pull") {
        "" | "always" | "missing" | "never" => Ok(()),
        other => Err(format!(
            "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        )
        .into()),
    }
}

/// Refuses to attach a terminal's input when stdin is none.
pub(crate) fn require_terminal() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        Ok(())
    } else {
        Err("the input device is not a TTY".into())
    }
}

/// Tells the detach keys: the flag's, the configuration's, the default.
pub(crate) fn detach_keys(cli: &Cli, flags: &Values) -> Result<String, Failure> {
    let configured = &cli.config().detach_keys;
    let keys = match flags.get("detach-keys") {
        Some(keys) if !keys.is_empty() => keys,
        _ if configured.is_empty() => "ctrl-p,ctrl-q",
        _ => configured,
    };
    terminal::parse_detach_keys(keys).map_err(|e| format!("invalid detach keys ({keys}): {e}"))?;
    Ok(keys.to_owned())
}

fn refusal(failure: Failure, path: &str) -> Failure {
    if failure.text.is_empty() { failure } else { Failure::run(REFUSED, &failure.text, path) }
}

/// A container that could not start.
fn start_failure(error: &docker_api::Error, path: &str) -> Failure {
    let text = describe(error);
    Failure::run(code_of_shells(&text).unwrap_or(REFUSED), &text, path)
}

/// The file of `--cidfile`; removed again when no container came of it.
struct CidFile(Option<(std::fs::File, String)>, bool);

impl CidFile {
    fn reserve(path: Option<&str>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return Ok(Self(None, true));
        };
        match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self(Some((file, path.to_owned())), false)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )
            .into()),
            Err(error) => Err(format!("failed to create the container ID file: {}", super::env::open_error(path, &error)).into()),
        }
    }

    fn write(&mut self, id: &str) -> Result<(), Failure> {
        use std::io::Write as _;
        if let Some((file, _)) = &mut self.0 {
            file.write_all(id.as_bytes())
                .map_err(|e| format!("failed to write the container ID to the file: {e}"))?;
        }
        self.1 = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.0
            && !self.1
        {
            let _ = std::fs::remove_file(path); // an empty file is all that is left otherwise
        }
    }
}
