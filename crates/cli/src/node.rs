//! Nodes of a swarm.

mod pretty;

use docker_api::{Client, Request, encode_path};
use serde_json::{Value as Json, json};

use crate::failure::{Failure, describe};
use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::swarm;
use crate::system::inspect;
use crate::table::{Columns, Row, choose, render, row};

const COLUMNS: Columns = Columns(&[
    ("ID", "ID"),
    ("Self", ""),
    ("Hostname", "HOSTNAME"),
    ("Status", "STATUS"),
    ("Availability", "AVAILABILITY"),
    ("ManagerStatus", "MANAGER STATUS"),
    ("EngineVersion", "ENGINE VERSION"),
    ("TLSStatus", "TLS STATUS"),
]);

const TASK_COLUMNS: Columns = Columns(&[
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Image", "IMAGE"),
    ("Node", "NODE"),
    ("DesiredState", "DESIRED STATE"),
    ("CurrentState", "CURRENT STATE"),
    ("Error", "ERROR"),
    ("Ports", "PORTS"),
]);

/// `node ls [OPTIONS]`
pub(crate) async fn list(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let format = match flags.get("format") {
        None if flags.on("quiet") => "{{.ID}}",
        flag => choose(
            flag,
            "",
            "table {{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Hostname}}\t{{.Status}}\t\
             {{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
        ),
    };
    let client = call.cli.client().await?;
    let request =
        Request::get("/nodes").query_some("filters", filters::encode(flags.all("filter")));
    let mut nodes: Vec<Json> = client.call(request).await?.json().await?;
    let part = swarm::part(client).await?;
    nodes.sort_by(|a, b| hostname(a).cmp(hostname(b)));
    let rows = nodes.iter().map(|node| node_row(node, &part)).collect();
    print!("{}", render(format, &COLUMNS, rows)?);
    Ok(0)
}

fn hostname(node: &Json) -> &str {
    node["Description"]["Hostname"].as_str().unwrap_or_default()
}

fn node_row(node: &Json, part: &Json) -> Row {
    let manager = &node["ManagerStatus"];
    let status = match manager["Leader"].as_bool() {
        Some(true) => "Leader".to_owned(),
        _ => capitalized(manager["Reachability"].as_str().unwrap_or_default()),
    };
    let root = &node["Description"]["TLSInfo"]["TrustRoot"];
    let is_current = *root == part["Cluster"]["TLSInfo"]["TrustRoot"];
    row! {
        "ID": node["ID"].clone(),
        "Self": node["ID"] == part["NodeID"],
        "Hostname": hostname(node),
        "Status": capitalized(node["Status"]["State"].as_str().unwrap_or_default()),
        "Availability": capitalized(node["Spec"]["Availability"].as_str().unwrap_or_default()),
        "ManagerStatus": status,
        "EngineVersion": node["Description"]["Engine"]["EngineVersion"].clone(),
        "TLSStatus": if is_current { "Ready" } else { "Needs Rotation" },
    }
}

/// `ready` -> `Ready`
fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `node inspect [OPTIONS] self|NODE [NODE...]`
pub(crate) async fn inspect(mut call: Call<'_>) -> Outcome {
    if call.flags.on("pretty") && call.flags.given("format") {
        return Err("--format is incompatible with human friendly format".into());
    }
    let client = call.cli.client().await?;
    for name in &mut call.args {
        *name = resolve(client, name).await?;
    }
    if !call.flags.on("pretty") {
        return inspect::node(call).await;
    }
    for name in &call.args {
        print!("{}", pretty::describe(&get(client, name).await?));
    }
    Ok(0)
}

/// `node update [OPTIONS] NODE`
pub(crate) async fn update(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let role = flags.get("role");
    if let Some(other) = role.filter(|role| !matches!(*role, "worker" | "manager")) {
        let text = format!("invalid role {other:?}, only worker and manager are supported");
        return Err(text.into());
    }
    let wanted = flags.given("availability").then(|| swarm::availability(flags)).transpose()?;
    let added = crate::container::env::labels(&[], flags.all("label-add"))?;
    let client = call.cli.client().await?;
    let name = &call.args[0];
    let node = get(client, &resolve(client, name).await?).await?;
    let mut spec = node["Spec"].clone();
    if let Some(availability) = wanted {
        spec["Availability"] = json!(availability);
    }
    if let Some(role) = role {
        spec["Role"] = json!(role);
    }
    let mut labels = spec["Labels"].as_object().cloned().unwrap_or_default();
    labels.extend(added);
    for label in flags.all("label-rm") {
        if labels.remove(label).is_none() {
            return Err(format!("key {label} doesn't exist in node's labels").into());
        }
    }
    spec["Labels"] = Json::Object(labels);
    change(client, &node, &spec).await?;
    println!("{name}");
    Ok(0)
}

/// `node rm [OPTIONS] NODE [NODE...]`
pub(crate) async fn remove(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let mut failed = Vec::new();
    for name in &call.args {
        let request = Request::delete(format!("/nodes/{}", encode_path(name)))
            .query_flag("force", call.flags.on("force"));
        match client.call(request).await {
            Ok(_) => println!("{name}"),
            Err(error) => failed.push(describe(&error)),
        }
    }
    if failed.is_empty() { Ok(0) } else { Err(Failure::new(failed.join("\n"))) }
}

/// `node promote NODE [NODE...]`
pub(crate) async fn promote(call: Call<'_>) -> Outcome {
    for name in &call.args {
        match make(&call, name, "manager").await? {
            true => println!("Node {name} promoted to a manager in the swarm."),
            false => println!("Node {name} is already a manager."),
        }
    }
    Ok(0)
}

/// `node demote NODE [NODE...]`
pub(crate) async fn demote(call: Call<'_>) -> Outcome {
    for name in &call.args {
        match make(&call, name, "worker").await? {
            true => println!("Manager {name} demoted in the swarm."),
            false => println!("Node {name} is already a worker."),
        }
    }
    Ok(0)
}

/// Gives a node a role; `false` if it had it.
async fn make(call: &Call<'_>, name: &str, role: &str) -> Result<bool, Failure> {
    let client = call.cli.client().await?;
    let node = get(client, &resolve(client, name).await?).await?;
    if node["Spec"]["Role"] == role {
        return Ok(false);
    }
    let mut spec = node["Spec"].clone();
    spec["Role"] = json!(role);
    change(client, &node, &spec).await?;
    Ok(true)
}

/// `node ps [OPTIONS] [NODE...]`: a swarm without services has no tasks.
pub(crate) async fn tasks(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let client = call.cli.client().await?;
    let own = ["self".to_owned()];
    let names = if call.args.is_empty() { &own[..] } else { &call.args };
    let mut all = filters::collect(flags.all("filter"));
    for name in names {
        let node = get(client, &resolve(client, name).await?).await?;
        filters::add(&mut all, "node", node["ID"].as_str().unwrap_or_default());
    }
    let request = Request::get("/tasks").query_some("filters", Some(Json::Object(all).to_string()));
    let tasks: Vec<Json> = client.call(request).await?.json().await?;
    if !tasks.is_empty() {
        return Err("the swarm has tasks, which this program cannot show".into());
    }
    let format = match flags.get("format") {
        None if flags.on("quiet") => "{{.ID}}",
        flag => choose(
            flag,
            "",
            "table {{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t\
             {{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
        ),
    };
    print!("{}", render(format, &TASK_COLUMNS, Vec::new())?);
    Ok(0)
}

/// `self` is the node that was asked.
async fn resolve(client: &Client, name: &str) -> Result<String, Failure> {
    if name != "self" {
        return Ok(name.to_owned());
    }
    let part = swarm::part(client).await?;
    match part["NodeID"].as_str().unwrap_or_default() {
        "" => {
            // The daemon says why.
            client.call(Request::get("/nodes")).await?.bytes().await?;
            Err("node ID not found in /info".into())
        }
        id => Ok(id.to_owned()),
    }
}

async fn get(client: &Client, name: &str) -> Result<Json, Failure> {
    let path = format!("/nodes/{}", encode_path(name));
    Ok(client.call(Request::get(path)).await?.json().await?)
}

async fn change(client: &Client, node: &Json, spec: &Json) -> Result<(), Failure> {
    let path = format!("/nodes/{}/update", node["ID"].as_str().unwrap_or_default());
    let version = node["Version"]["Index"].to_string();
    let request = Request::post(path).query_some("version", Some(version)).json(spec);
    client.call(request).await?.bytes().await?;
    Ok(())
}
