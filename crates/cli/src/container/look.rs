//! Commands that look at one container: top, port, diff, export.

use docker_api::{Request, encode_path};
use serde_json::Value as Json;

use crate::grammar::{Call, Outcome};
use crate::image::import::{body_to, check_output};
use crate::table::align;
use crate::terminal;

/// `top CONTAINER [ps OPTIONS]`
pub(crate) async fn top(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let options = call.args[1..].join(" ");
    let request = Request::get(format!("/containers/{}/top", encode_path(&call.args[0])))
        .query_some("ps_args", Some(options).filter(|options| !options.is_empty()));
    let answer: Json = client.call(request).await?.json().await?;
    let words = |list: &Json| -> String {
        let words: Vec<&str> =
            list.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        words.join("\t")
    };
    let mut lines = vec![words(&answer["Titles"])];
    lines.extend(answer["Processes"].as_array().into_iter().flatten().map(words));
    print!("{}", align(&lines, 20, 3));
    Ok(0)
}

/// `port CONTAINER [PRIVATE_PORT[/PROTO]]`
pub(crate) async fn port(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let name = &call.args[0];
    let request = Request::get(format!("/containers/{}/json", encode_path(name)));
    let container: Json = client.call(request).await?.json().await?;
    let ports = container["NetworkSettings"]["Ports"].as_object();
    let Some(wanted) = call.args.get(1) else {
        let mut lines: Vec<(u16, String)> = ports
            .into_iter()
            .flatten()
            .flat_map(|(port, bindings)| {
                bound(bindings).into_iter().map(move |b| (number(port), format!("{port} -> {b}")))
            })
            .collect();
        lines.sort();
        lines.iter().for_each(|(_, line)| println!("{line}"));
        return Ok(0);
    };
    let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    if port.parse::<u16>().is_err() {
        return Err(format!(
            "Error: invalid port ({port}): value must be an integer between 0 and 65535"
        )
        .into());
    }
    let key = format!("{port}/{}", protocol.to_ascii_lowercase());
    let found = ports.and_then(|ports| ports.get(&key)).map(bound).unwrap_or_default();
    if found.is_empty() {
        return Err(format!("Error: No public port '{wanted}' published for {name}").into());
    }
    found.iter().for_each(|binding| println!("{binding}"));
    Ok(0)
}

fn number(port: &str) -> u16 {
    port.split('/').next().and_then(|port| port.parse().ok()).unwrap_or(0)
}

/// Writes bindings as `address:port`.
fn bound(bindings: &Json) -> Vec<String> {
    let all = bindings.as_array().into_iter().flatten();
    all.map(|binding| {
        let text = |name: &str| binding[name].as_str().unwrap_or_default();
        let ip = text("HostIp");
        let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        format!("{ip}:{}", text("HostPort"))
    })
    .collect()
}

/// `diff CONTAINER`
pub(crate) async fn diff(call: Call<'_>) -> Outcome {
    let name = &call.args[0];
    if name.is_empty() {
        return Err("container name cannot be empty".into());
    }
    let client = call.cli.client().await?;
    let request = Request::get(format!("/containers/{}/changes", encode_path(name)));
    let changes: Option<Vec<Json>> = client.call(request).await?.json().await?;
    for change in changes.unwrap_or_default() {
        let letter = match change["Kind"].as_i64() {
            Some(1) => 'A',
            Some(2) => 'D',
            _ => 'C',
        };
        println!("{letter} {}", change["Path"].as_str().unwrap_or_default());
    }
    Ok(0)
}

/// `export [OPTIONS] CONTAINER`
pub(crate) async fn export(call: Call<'_>) -> Outcome {
    let output = call.flags.get("output").filter(|path| !path.is_empty());
    if output.is_none() && terminal::stdout_is_terminal() {
        return Err("cowardly refusing to save to a terminal. Use the -o flag or redirect".into());
    }
    check_output(output)
        .map_err(|failure| format!("failed to export container: {}", failure.text))?;
    let client = call.cli.client().await?;
    let request = Request::get(format!("/containers/{}/export", encode_path(&call.args[0])));
    body_to(client.call(request).await?, output).await?;
    Ok(0)
}
