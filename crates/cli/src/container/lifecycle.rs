//! Commands that do one thing to each container named: stop, kill, rm and so on.

use docker_api::{Client, Request, encode_path};
use serde_json::{Value as Json, json};

use super::body;
use crate::failure::{Failure, describe};
use crate::grammar::{Call, Outcome};

/// Does the same to every container, prints the names of those it succeeded for.
async fn each<F>(call: &Call<'_>, request: F) -> Outcome
where
    F: Fn(&str) -> Request,
{
    let client = call.cli.client().await?;
    let mut code = 0;
    for name in &call.args {
        match done(client, request(&encode_path(name))).await {
            Ok(()) => println!("{name}"),
            Err(error) => {
                eprintln!("{}", describe(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}

async fn done(client: &Client, request: Request) -> docker_api::Result<()> {
    client.call(request).await?.bytes().await.map(drop)
}

/// `stop [OPTIONS] CONTAINER [CONTAINER...]`
pub(crate) async fn stop(call: Call<'_>) -> Outcome {
    each(&call, |name| stopping(&call, Request::post(format!("/containers/{name}/stop")))).await
}

/// `restart [OPTIONS] CONTAINER [CONTAINER...]`
pub(crate) async fn restart(call: Call<'_>) -> Outcome {
    each(&call, |name| stopping(&call, Request::post(format!("/containers/{name}/restart")))).await
}

fn stopping(call: &Call<'_>, request: Request) -> Request {
    let seconds = call.flags.get("timeout").or_else(|| call.flags.get("time"));
    request
        .query_some("t", seconds)
        .query_some("signal", call.flags.get("signal").filter(|s| !s.is_empty()))
}

/// `kill [OPTIONS] CONTAINER [CONTAINER...]`
pub(crate) async fn kill(call: Call<'_>) -> Outcome {
    let signal = call.flags.get("signal").filter(|s| !s.is_empty());
    each(&call, |name| {
        Request::post(format!("/containers/{name}/kill")).query_some("signal", signal)
    })
    .await
}

/// `pause CONTAINER [CONTAINER...]`
pub(crate) async fn pause(call: Call<'_>) -> Outcome {
    each(&call, |name| Request::post(format!("/containers/{name}/pause"))).await
}

/// `unpause CONTAINER [CONTAINER...]`
pub(crate) async fn unpause(call: Call<'_>) -> Outcome {
    each(&call, |name| Request::post(format!("/containers/{name}/unpause"))).await
}

/// `rm [OPTIONS] CONTAINER [CONTAINER...]`
pub(crate) async fn remove(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let flags = &call.flags;
    let mut code = 0;
    for name in &call.args {
        let trimmed = name.trim_matches('/');
        if trimmed.is_empty() {
            return Err("container name cannot be empty".into());
        }
        let request = Request::delete(format!("/containers/{}", encode_path(trimmed)))
            .query_flag("v", flags.on("volumes"))
            .query_flag("link", flags.on("link"))
            .query_flag("force", flags.on("force"));
        match done(client, request).await {
            Ok(()) => println!("{name}"),
            Err(error) if flags.on("force") && error.is_not_found() => {
                eprintln!("{}", describe(&error))
            }
            Err(error) => {
                eprintln!("{}", describe(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}

/// `rename CONTAINER NEW_NAME`
pub(crate) async fn rename(call: Call<'_>) -> Outcome {
    let (old, new) = (call.args[0].trim(), call.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err("Error: Neither old nor new names may be empty".into());
    }
    let client = call.cli.client().await?;
    let request =
        Request::post(format!("/containers/{}/rename", encode_path(old))).query("name", new);
    if let Err(error) = done(client, request).await {
        eprintln!("{}", describe(&error));
        return Err(format!("Error: failed to rename container named {old}").into());
    }
    Ok(0)
}

/// `wait CONTAINER [CONTAINER...]`
pub(crate) async fn wait(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let mut code = 0;
    for name in &call.args {
        let request = Request::post(format!("/containers/{}/wait", encode_path(name)));
        let waited = match client.call(request).await {
            Ok(response) => response.json::<Json>().await,
            Err(error) => Err(error),
        };
        match waited {
            Ok(exit) => println!("{}", exit["StatusCode"]),
            Err(error) => {
                eprintln!("{}", describe(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}

/// `update [OPTIONS] CONTAINER [CONTAINER...]`
pub(crate) async fn update(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let mut changes = body::resources(flags)?;
    if let Some(policy) = flags.get("restart") {
        changes.insert("RestartPolicy".to_owned(), body::restart_policy(policy)?);
    }
    if changes.is_empty() {
        return Err("you must provide one or more flags when using this command".into());
    }
    let client = call.cli.client().await?;
    let (mut warnings, mut failed) = (Vec::new(), Vec::new());
    for name in &call.args {
        let request =
            Request::post(format!("/containers/{}/update", encode_path(name))).json(&changes);
        let updated = match client.call(request).await {
            Ok(response) => response.json::<Json>().await,
            Err(error) => Err(error),
        };
        match updated {
            Ok(answer) => {
                println!("{name}");
                let new = answer["Warnings"].as_array().cloned().unwrap_or_default();
                warnings.extend(new.iter().filter_map(Json::as_str).map(str::to_owned));
            }
            Err(error) => failed.push(describe(&error)),
        }
    }
    for warning in warnings {
        println!("{warning}");
    }
    if failed.is_empty() { Ok(0) } else { Err(Failure::new(failed.join("\n"))) }
}

/// `commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]`
pub(crate) async fn commit(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    if flags.given("pause") && flags.given("no-pause") {
        return Err("conflicting options: --no-pause and --pause cannot be used together".into());
    }
    let pause = flags.on_by_default("pause") && !flags.on("no-pause");
    let mut request = Request::post("/commit").query("container", &call.args[0]);
    if let Some(reference) = call.args.get(1) {
        let (name, tag) = crate::image::split_reference(reference)?;
        request = request.query("repo", name).query("tag", tag);
    }
    request = request
        .query_some("comment", flags.get("message"))
        .query_some("author", flags.get("author"))
        .query_some("pause", (!pause).then_some("0"));
    for change in flags.all("change") {
        request = request.query("changes", change);
    }
    let client = call.cli.client().await?;
    let answer: Json = client.call(request.json(&json!({}))).await?.json().await?;
    println!("{}", answer["Id"].as_str().unwrap_or_default());
    Ok(0)
}
