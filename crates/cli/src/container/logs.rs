//! `logs`.

use docker_api::{Request, encode_path};
use jiff::Timestamp;
use serde::Deserialize;

use crate::attach::Output;
use crate::grammar::{Call, Outcome};
use crate::units::parse_time;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    config: ContainerConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    #[serde(default)]
    tty: bool,
}

/// `logs [OPTIONS] CONTAINER`
pub(crate) async fn logs(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let now = Timestamp::now();
    let since = parse_time(flags.text("since"), now)
        .map_err(|e| format!("invalid value for \"since\": {e}"))?;
    let until = parse_time(flags.text("until"), now)
        .map_err(|e| format!("invalid value for \"until\": {e}"))?;
    let client = call.cli.client().await?;
    let path = format!("/containers/{}/json", encode_path(&call.args[0]));
    let container: Container = client.call(Request::get(path)).await?.json().await?;
    let given = |value: String| Some(value).filter(|value| !value.is_empty());
    let request = Request::get(format!("/containers/{}/logs", container.id))
        .query("stdout", "1")
        .query("stderr", "1")
        .query_flag("follow", flags.on("follow"))
        .query_flag("timestamps", flags.on("timestamps"))
        .query_flag("details", flags.on("details"))
        .query_some("since", given(since))
        .query_some("until", given(until))
        .query("tail", flags.get("tail").unwrap_or("all"));
    let mut response = client.call(request).await?;
    let mut output = Output::new(container.config.tty);
    while let Some(chunk) = response.chunk().await? {
        output.write(&chunk).await?;
    }
    Ok(0)
}
