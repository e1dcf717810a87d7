//! `version`.

use docker_api::Request;
use serde_json::{Value as Json, json};

use crate::cli::program;
use crate::failure::{Failure, describe};
use crate::grammar::{Call, Outcome};
use crate::template::Format;

/// `version [OPTIONS]`
pub(crate) async fn version(call: Call<'_>) -> Outcome {
    let format = match call.flags.text("format") {
        "" => None,
        "json" => Some(None),
        // Docker's templates have Go's name of this field, whose JSON name differs.
        template => Some(Some(Format::parse(&template.replace(".APIVersion", ".ApiVersion"))?)),
    };
    let (server, failure) = match ask(&call).await {
        Ok(server) => (server, None),
        Err(failure) => (Json::Null, Some(failure)),
    };
    let spoken = call.cli.client().await.ok().and_then(|c| c.version().map(str::to_owned));
    let client = client_facts(spoken.as_deref(), call.cli.context_name().as_deref());
    match format {
        Some(None) => println!("{}", json!({"Client": client, "Server": server})),
        Some(Some(format)) => {
            if let Some(failure) = &failure
                && call.flags.text("format").contains(".Server")
            {
                return Err(Failure::new(failure.text.clone()));
            }
            println!("{}", format.render(&json!({"Client": client, "Server": server}))?);
        }
        None => print!("{}", describe_versions(&client, &server)),
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}

async fn ask(call: &Call<'_>) -> Result<Json, Failure> {
    let client = call.cli.client().await?;
    let answer =
        client.call(Request::get("/version")).await.map_err(|e| Failure::new(describe(&e)))?;
    Ok(answer.json().await?)
}

fn client_facts(spoken: Option<&str>, context: Option<&str>) -> Json {
    json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": spoken.unwrap_or(docker_api::API_VERSION),
        "DefaultAPIVersion": docker_api::API_VERSION,
        "GitCommit": option_env!("TEU_COMMIT").unwrap_or("unknown"),
        "Os": std::env::consts::OS,
        "Arch": arch(),
        "Context": context.unwrap_or("default"),
    })
}

/// Names this machine's architecture as images do.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn describe_versions(client: &Json, server: &Json) -> String {
    let text = |value: &Json, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut out =
        format!("Client: {}\n", if program() == "docker" { "Docker Engine - Teu" } else { "Teu" });
    let mut line = |indent: &str, name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("{indent}{:<18}{value}\n", format!("{name}:")));
        }
    };
    line(" ", "Version", text(client, "Version"));
    line(" ", "API version", text(client, "ApiVersion"));
    line(" ", "Git commit", text(client, "GitCommit"));
    line(" ", "OS/Arch", format!("{}/{}", text(client, "Os"), text(client, "Arch")));
    line(" ", "Context", text(client, "Context"));
    if server.is_null() {
        return out;
    }
    out.push_str(&format!(
        "\nServer: {}\n",
        server["Platform"]["Name"].as_str().unwrap_or_default()
    ));
    for component in server["Components"].as_array().into_iter().flatten() {
        out.push_str(&describe_component(component));
    }
    out
}

fn describe_component(component: &Json) -> String {
    let text = |value: &Json, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut out = format!(" {}:\n", text(component, "Name"));
    let details = &component["Details"];
    let api = match text(details, "ApiVersion") {
        empty if empty.is_empty() => empty,
        newest => format!("{newest} (minimum version {})", text(details, "MinAPIVersion")),
    };
    let platform = match text(details, "Os") {
        empty if empty.is_empty() => empty,
        os => format!("{os}/{}", text(details, "Arch")),
    };
    let lines = [
        ("Version", text(component, "Version")),
        ("API version", api),
        ("Git commit", text(details, "GitCommit")),
        ("Built", text(details, "BuildTime")),
        ("OS/Arch", platform),
        ("Kernel", text(details, "KernelVersion")),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!("  {:<17} {value}\n", format!("{name}:")));
    }
    out
}
