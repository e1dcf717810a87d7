//! `exec`.

use std::sync::Arc;

use docker_api::{Client, Request, encode_path};
use serde::Deserialize;
use serde_json::json;

use super::env;
use super::run::{detach_keys, require_terminal};
use crate::attach::{DETACHED, Ended, Streams, pump};
use crate::failure::{Failure, code_of_shells, describe};
use crate::grammar::{Call, Outcome};
use crate::signals;
use crate::terminal::{self, RawMode};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecState {
    exit_code: Option<i64>,
}

/// `exec [OPTIONS] CONTAINER COMMAND [ARG...]`
pub(crate) async fn exec(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let (detach, tty) = (flags.on("detach"), flags.on("tty"));
    let stdin = flags.on("interactive") && !detach;
    if tty && stdin {
        require_terminal()?;
    }
    let variables = env::variables(flags.all("env-file"), flags.all("env"))?;
    let keys = detach_keys(call.cli, flags)?;
    let client = call.cli.client().await?;
    let size = if tty { terminal::size() } else { None };
    let mut body = json!({
        "User": flags.text("user"),
        "Privileged": flags.on("privileged"),
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": !detach,
        "AttachStderr": !detach,
        "DetachKeys": flags.text("detach-keys"),
        "Env": variables,
        "WorkingDir": flags.text("workdir"),
        "Cmd": call.args[1..],
    });
    if let Some((rows, columns)) = size {
        body["ConsoleSize"] = json!([rows, columns]);
    }
    let path = format!("/containers/{}/exec", encode_path(&call.args[0]));
    let created: Created = client.call(Request::post(path).json(&body)).await?.json().await?;
    let mut begin = json!({"Detach": detach, "Tty": tty});
    if let Some((rows, columns)) = size {
        begin["ConsoleSize"] = json!([rows, columns]);
    }
    let request = Request::post(format!("/exec/{}/start", created.id)).json(&begin);
    if detach {
        client.call(request).await.map_err(|e| start_failure(&e))?.bytes().await?;
        return Ok(0);
    }
    attached(
        client,
        &created.id,
        request,
        Streams {
            tty,
            stdin,
            output: true,
            detach_keys: terminal::parse_detach_keys(&keys).unwrap_or_default(),
        },
    )
    .await
}

async fn attached(client: &Arc<Client>, id: &str, request: Request, streams: Streams) -> Outcome {
    let tty = streams.tty;
    let hijacked = client.hijack(request).await.map_err(|e| start_failure(&e))?;
    let raw = (tty && streams.stdin).then(RawMode::enter).transpose()?;
    let tidy = tty.then(signals::restore_terminal_on_end);
    let resizer = (tty && terminal::stdout_is_terminal())
        .then(|| signals::follow_size(Arc::clone(client), format!("/exec/{id}/resize")));
    let ended = pump(hijacked, streams).await;
    drop((raw, tidy, resizer));
    if ended? == Ended::Detached {
        return Err(DETACHED.into());
    }
    let state: ExecState =
        client.call(Request::get(format!("/exec/{id}/json"))).await?.json().await?;
    Ok(u8::try_from(state.exit_code.unwrap_or(0) & 0xff).unwrap_or(1))
}

/// A command that does not exist or does not run has the exit code shells give it.
fn start_failure(error: &docker_api::Error) -> Failure {
    let text = describe(error);
    Failure::with_code(code_of_shells(&text).unwrap_or(1), text)
}
