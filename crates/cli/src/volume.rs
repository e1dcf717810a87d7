//! Volumes.

use docker_api::{Request, encode_path};
use serde_json::{Map, Value as Json, json};

use crate::container::env;
use crate::failure::describe;
use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::prune;
use crate::table::{Columns, Row, add_labels, choose, render, row};
use crate::units::human_size;

const COLUMNS: Columns = Columns(&[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
]);

/// `volume create [OPTIONS] [VOLUME]`
pub(crate) async fn create(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let name = match (call.args.first(), flags.get("name")) {
        (Some(_), Some(_)) => {
            return Err("conflicting options: cannot specify a volume-name through both --name and as a positional arg".into());
        }
        (Some(name), None) => name.as_str(),
        (None, flag) => flag.unwrap_or_default(),
    };
    let body = json!({
        "Name": name,
        "Driver": flags.get("driver").unwrap_or("local"),
        "DriverOpts": pairs(flags.all("opt")),
        "Labels": env::labels(&[], flags.all("label"))?,
    });
    let client = call.cli.client().await?;
    let volume: Json =
        client.call(Request::post("/volumes/create").json(&body)).await?.json().await?;
    println!("{}", volume["Name"].as_str().unwrap_or_default());
    Ok(0)
}

/// Reads `name=value` options.
pub(crate) fn pairs(values: &[String]) -> Map<String, Json> {
    let pair = |value: &String| {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        (name.to_owned(), Json::from(value))
    };
    values.iter().map(pair).collect()
}

/// `volume ls [OPTIONS]`
pub(crate) async fn list(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let format = match flags.get("format") {
        None if flags.on("quiet") => "{{.Name}}",
        flag => choose(flag, &call.cli.config().volumes_format, "table {{.Driver}}\t{{.Name}}"),
    };
    let client = call.cli.client().await?;
    let request =
        Request::get("/volumes").query_some("filters", filters::encode(flags.all("filter")));
    let answer: Json = client.call(request).await?.json().await?;
    let mut volumes = answer["Volumes"].as_array().cloned().unwrap_or_default();
    volumes.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
    let rows = volumes.iter().map(volume_row).collect();
    print!("{}", render(format, &COLUMNS, rows)?);
    Ok(0)
}

/// Makes a list's row of a volume.
pub(crate) fn volume_row(volume: &Json) -> Row {
    let text = |name: &str| volume[name].as_str().unwrap_or_default();
    let usage = &volume["UsageData"];
    let number = |name: &str| usage[name].as_i64();
    let mut row = row! {
        "Name": text("Name"),
        "Driver": text("Driver"),
        "Scope": text("Scope"),
        "Mountpoint": text("Mountpoint"),
        "Links": number("RefCount").map_or_else(|| "N/A".to_owned(), |n| n.to_string()),
        "Size": number("Size").map_or_else(|| "N/A".to_owned(), human_size),
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    };
    add_labels(&mut row, &volume["Labels"]);
    row
}

/// `volume rm [OPTIONS] VOLUME [VOLUME...]`
pub(crate) async fn remove(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let mut code = 0;
    for name in &call.args {
        let request = Request::delete(format!("/volumes/{}", encode_path(name)))
            .query_flag("force", call.flags.on("force"));
        match client.call(request).await {
            Ok(response) => {
                response.bytes().await?;
                println!("{name}");
            }
            Err(error) => {
                eprintln!("{}", describe(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}

/// `volume prune [OPTIONS]`
pub(crate) async fn prune(call: Call<'_>) -> Outcome {
    let all = call.flags.on("all");
    let which = if all { "all local volumes" } else { "anonymous local volumes" };
    prune::confirm(
        &call,
        &format!("This will remove {which} not used by at least one container."),
    )?;
    let mut wanted = filters::collect(call.flags.all("filter"));
    if all {
        filters::add(&mut wanted, "all", "true");
    }
    let client = call.cli.client().await?;
    prune::send(client, &prune::VOLUMES, &wanted).await?.print_alone();
    Ok(0)
}
