//! `start` and `attach`.

use std::sync::Arc;

use docker_api::{Client, Request, encode_path};
use serde::Deserialize;

use super::run::{detach_keys, exit_code, require_terminal, start as start_one, wait_for_exit};
use crate::attach::{DETACHED, Ended, Streams, pump};
use crate::failure::Failure;
use crate::grammar::{Call, Outcome};
use crate::signals;
use crate::terminal::{self, RawMode};

/// What attaching needs to know about a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    config: ContainerConfig,
    state: State,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct ContainerConfig {
    tty: bool,
    open_stdin: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    running: bool,
    paused: bool,
    restarting: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    auto_remove: bool,
}

async fn inspect(client: &Client, name: &str) -> Result<Container, Failure> {
    let request = Request::get(format!("/containers/{}/json", encode_path(name)));
    Ok(client.call(request).await?.json().await?)
}

/// `start [OPTIONS] CONTAINER [CONTAINER...]`
pub(crate) async fn start(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    if flags.on("attach") || flags.on("interactive") {
        return match call.args.as_slice() {
            [name] => start_attached(&call, name).await,
            _ => Err("you cannot start and attach multiple containers at once".into()),
        };
    }
    let keys = flags.get("detach-keys");
    let mut failed = Vec::new();
    for name in &call.args {
        let started = match call.cli.client().await {
            Ok(client) => start_one(client, name, keys).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match started {
            Ok(()) => println!("{name}"),
            Err(failure) => {
                eprintln!("{}", failure.text);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(format!("Error: failed to start containers: {}", failed.join(", ")).into())
}

async fn start_attached(call: &Call<'_>, name: &str) -> Outcome {
    let client = call.cli.client().await?;
    let container = inspect(client, name).await?;
    let keys = detach_keys(call.cli, &call.flags)?;
    let stdin = call.flags.on("interactive") && container.config.open_stdin;
    if stdin && container.config.tty {
        require_terminal()?;
    }
    let session = Session { client, container: &container, stdin, keys: &keys, sig_proxy: true };
    let removed = container.host_config.auto_remove;
    session.run(if removed { "removed" } else { "next-exit" }, true).await
}

/// `attach [OPTIONS] CONTAINER`
pub(crate) async fn attach(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let container = inspect(client, &call.args[0]).await?;
    if !container.state.running {
        return Err("cannot attach to a stopped container, start it first".into());
    }
    if container.state.paused {
        return Err("cannot attach to a paused container, unpause it first".into());
    }
    if container.state.restarting {
        return Err("cannot attach to a restarting container, wait until it is running".into());
    }
    let keys = detach_keys(call.cli, &call.flags)?;
    let stdin = !call.flags.on("no-stdin") && container.config.open_stdin;
    if stdin && container.config.tty && !terminal::stdin_is_terminal() {
        return Err("the input device is not a TTY".into());
    }
    let sig_proxy = call.flags.on_by_default("sig-proxy");
    let session = Session { client, container: &container, stdin, keys: &keys, sig_proxy };
    session.run("not-running", false).await
}

struct Session<'a> {
    client: &'a Arc<Client>,
    container: &'a Container,
    stdin: bool,
    keys: &'a str,
    sig_proxy: bool,
}

impl Session<'_> {
    async fn run(&self, condition: &str, start: bool) -> Outcome {
        let (client, id, tty) =
            (self.client, self.container.id.as_str(), self.container.config.tty);
        let caught = (self.sig_proxy && !tty).then(signals::catch);
        let request = Request::post(format!("/containers/{id}/attach"))
            .query("stream", "1")
            .query_flag("stdin", self.stdin)
            .query("stdout", "1")
            .query("stderr", "1")
            .query("detachKeys", self.keys);
        let hijacked = client.hijack(request).await?;
        let exit = wait_for_exit(client, id, condition).await?;
        let forwarder =
            caught.map(|caught| signals::forward(caught, Arc::clone(client), id.to_owned()));
        let raw = (tty && self.stdin).then(RawMode::enter).transpose()?;
        let tidy = tty.then(signals::restore_terminal_on_end);
        if start {
            start_one(client, id, None).await?;
        }
        let resizer = (tty && terminal::stdout_is_terminal())
            .then(|| signals::follow_size(Arc::clone(client), format!("/containers/{id}/resize")));
        let streams = Streams {
            tty,
            stdin: self.stdin,
            output: true,
            detach_keys: terminal::parse_detach_keys(self.keys).unwrap_or_default(),
        };
        let ended = pump(hijacked, streams).await;
        drop((raw, tidy, resizer, forwarder));
        if ended? == Ended::Detached {
            // Docker calls it an error after `attach`, though not after `start` and `run`.
            return if start { Ok(0) } else { Err(DETACHED.into()) };
        }
        exit_code(exit).await
    }
}
