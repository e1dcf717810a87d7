//! Networks.

mod create;
mod doctor;

use docker_api::{Request, encode_path};
use serde_json::{Map, Value as Json, json};

pub(crate) use create::create;
pub(crate) use doctor::doctor;

use crate::failure::describe;
use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::table::{Columns, Row, add_labels, choose, render, row, short_id};

const COLUMNS: Columns = Columns(&[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
]);

/// `network ls [OPTIONS]`
pub(crate) async fn list(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let format = match flags.get("format") {
        None if flags.on("quiet") => "{{.ID}}",
        flag => choose(
            flag,
            &call.cli.config().networks_format,
            "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        ),
    };
    let client = call.cli.client().await?;
    let request =
        Request::get("/networks").query_some("filters", filters::encode(flags.all("filter")));
    let mut networks: Vec<Json> = client.call(request).await?.json().await?;
    networks.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
    let rows = networks.iter().map(|network| network_row(network, !flags.on("no-trunc"))).collect();
    print!("{}", render(format, &COLUMNS, rows)?);
    Ok(0)
}

fn network_row(network: &Json, trunc: bool) -> Row {
    let text = |name: &str| network[name].as_str().unwrap_or_default();
    let flag = |name: &str| network[name].as_bool().unwrap_or(false).to_string();
    let mut row = row! {
        "ID": if trunc { short_id(text("Id")) } else { text("Id") },
        "Name": text("Name"),
        "Driver": text("Driver"),
        "Scope": text("Scope"),
        "IPv4": flag("EnableIPv4"),
        "IPv6": flag("EnableIPv6"),
        "Internal": flag("Internal"),
        "CreatedAt": text("Created"),
    };
    add_labels(&mut row, &network["Labels"]);
    row
}

/// `network connect [OPTIONS] NETWORK CONTAINER`
pub(crate) async fn connect(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let mut ipam = Map::new();
    for (flag, name) in [("ip", "IPv4Address"), ("ip6", "IPv6Address")] {
        if let Some(address) = flags.get(flag) {
            ipam.insert(name.to_owned(), json!(address));
        }
    }
    if flags.given("link-local-ip") {
        ipam.insert("LinkLocalIPs".to_owned(), json!(flags.split("link-local-ip")));
    }
    let options = flags.split("driver-opt");
    if let Some(option) = options.iter().find(|option| !option.contains('=')) {
        return Err(format!("invalid key=value pair format in driver options: {option}").into());
    }
    let body = json!({
        "Container": call.args[1],
        "EndpointConfig": {
            "IPAMConfig": ipam,
            "Links": flags.all("link"),
            "Aliases": flags.split("alias"),
            "DriverOpts": crate::volume::pairs(&options),
            "GwPriority": flags.int("gw-priority").unwrap_or(0),
        },
    });
    let path = format!("/networks/{}/connect", encode_path(&call.args[0]));
    call.cli.client().await?.call(Request::post(path).json(&body)).await?.bytes().await?;
    Ok(0)
}

/// `network disconnect [OPTIONS] NETWORK CONTAINER`
pub(crate) async fn disconnect(call: Call<'_>) -> Outcome {
    let path = format!("/networks/{}/disconnect", encode_path(&call.args[0]));
    let body = json!({"Container": call.args[1], "Force": call.flags.on("force")});
    call.cli.client().await?.call(Request::post(path).json(&body)).await?.bytes().await?;
    Ok(0)
}

/// `network rm NETWORK [NETWORK...]`
pub(crate) async fn remove(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let mut code = 0;
    for name in &call.args {
        match client.call(Request::delete(format!("/networks/{}", encode_path(name)))).await {
            Ok(response) => {
                response.bytes().await?;
                println!("{name}");
            }
            Err(error) if call.flags.on("force") && error.is_not_found() => {}
            Err(error) => {
                eprintln!("{}", describe(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}
