//! Removal of what is not used, and the question before it.

use std::io::Write as _;

use docker_api::{Client, Request};
use serde_json::{Map, Value as Json};

use crate::failure::Failure;
use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::units::{human_size, parse_bytes};

/// One kind of objects that can be pruned.
pub(crate) struct Kind {
    path: &'static str,
    /// Title of the list of what was removed, and the answer's field for it.
    title: &'static str,
    field: &'static str,
}

pub(crate) const CONTAINERS: Kind =
    Kind { path: "/containers/prune", title: "Deleted Containers:", field: "ContainersDeleted" };
pub(crate) const IMAGES: Kind =
    Kind { path: "/images/prune", title: "Deleted Images:", field: "ImagesDeleted" };
pub(crate) const VOLUMES: Kind =
    Kind { path: "/volumes/prune", title: "Deleted Volumes:", field: "VolumesDeleted" };
pub(crate) const NETWORKS: Kind =
    Kind { path: "/networks/prune", title: "Deleted Networks:", field: "NetworksDeleted" };

/// What was removed.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    title: &'static str,
    pub(crate) items: Vec<String>,
    pub(crate) bytes: i64,
}

impl Pruned {
    /// Prints the list alone, as the total of several lists follows later.
    pub(crate) fn print_list(&self) {
        if !self.items.is_empty() {
            println!("{}", self.title);
            self.items.iter().for_each(|item| println!("{item}"));
            println!();
        }
    }

    /// Prints the list and its total.
    pub(crate) fn print_alone(&self) {
        self.print_list();
        println!("Total reclaimed space: {}", human_size(self.bytes));
    }
}

/// Asks the user unless `--force` was given.
pub(crate) fn confirm(call: &Call<'_>, warning: &str) -> Result<(), Failure> {
    if call.flags.on("force") {
        return Ok(());
    }
    print!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(format!(
        "{} has been cancelled",
        call.path.split_once(' ').map_or("prune", |(_, verb)| verb)
    )
    .into())
}

/// Prunes one kind.
pub(crate) async fn send(
    client: &Client,
    kind: &Kind,
    wanted: &Map<String, Json>,
) -> Result<Pruned, Failure> {
    let filters = (!wanted.is_empty()).then(|| Json::Object(wanted.clone()).to_string());
    let request = Request::post(kind.path).query_some("filters", filters);
    let answer: Json = client.call(request).await?.json().await?;
    let items = answer[kind.field].as_array().into_iter().flatten();
    let items = items
        .map(|item| match (item.as_str(), item["Untagged"].as_str(), item["Deleted"].as_str()) {
            (Some(name), _, _) => name.to_owned(),
            (None, Some(name), _) => format!("untagged: {name}"),
            (None, None, id) => format!("deleted: {}", id.unwrap_or_default()),
        })
        .collect();
    Ok(Pruned { title: kind.title, items, bytes: answer["SpaceReclaimed"].as_i64().unwrap_or(0) })
}

/// `container prune [OPTIONS]`
pub(crate) async fn containers(call: Call<'_>) -> Outcome {
    confirm(&call, "This will remove all stopped containers.")?;
    let client = call.cli.client().await?;
    send(client, &CONTAINERS, &filters::collect(call.flags.all("filter"))).await?.print_alone();
    Ok(0)
}

/// `image prune [OPTIONS]`
pub(crate) async fn images(call: Call<'_>) -> Outcome {
    let all = call.flags.on("all");
    confirm(
        &call,
        if all {
            "This will remove all images without at least one container associated to them."
        } else {
            "This will remove all dangling images."
        },
    )?;
    let mut wanted = filters::collect(call.flags.all("filter"));
    filters::add(&mut wanted, "dangling", if all { "false" } else { "true" });
    let client = call.cli.client().await?;
    send(client, &IMAGES, &wanted).await?.print_alone();
    Ok(0)
}

/// `network prune [OPTIONS]`
pub(crate) async fn networks(call: Call<'_>) -> Outcome {
    confirm(&call, "This will remove all custom networks not used by at least one container.")?;
    let client = call.cli.client().await?;
    send(client, &NETWORKS, &filters::collect(call.flags.all("filter"))).await?.print_list();
    Ok(0)
}

/// `builder prune [OPTIONS]`
pub(crate) async fn builder(call: Call<'_>) -> Outcome {
    let all = call.flags.on("all");
    confirm(
        &call,
        if all {
            "This will remove all build cache."
        } else {
            "This will remove all dangling build cache."
        },
    )?;
    let keep = ["keep-storage", "reserved-space"].into_iter().find_map(|name| call.flags.get(name));
    let keep = keep.map(parse_bytes).transpose()?;
    let client = call.cli.client().await?;
    prune_builds(client, all, keep, &filters::collect(call.flags.all("filter")))
        .await?
        .print_alone();
    Ok(0)
}

async fn prune_builds(
    client: &Client,
    all: bool,
    keep: Option<i64>,
    wanted: &Map<String, Json>,
) -> Result<Pruned, Failure> {
    let filters = (!wanted.is_empty()).then(|| Json::Object(wanted.clone()).to_string());
    let request = Request::post("/build/prune")
        .query_flag("all", all)
        .query_some("keep-storage", keep.map(|keep| keep.to_string()))
        .query_some("filters", filters);
    let answer: Json = client.call(request).await?.json().await?;
    let items = answer["CachesDeleted"].as_array().into_iter().flatten();
    let items = items.filter_map(|item| item.as_str().map(str::to_owned)).collect();
    let bytes = answer["SpaceReclaimed"].as_i64().unwrap_or(0);
    Ok(Pruned { title: "Deleted build cache objects:", items, bytes })
}

/// `system prune [OPTIONS]`
pub(crate) async fn system(call: Call<'_>) -> Outcome {
    let (all, volumes) = (call.flags.on("all"), call.flags.on("volumes"));
    if volumes && call.flags.all("filter").iter().any(|filter| filter.starts_with("until=")) {
        return Err("ERROR: The \"until\" filter is not supported with \"--volumes\"".into());
    }
    let mut warning = "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n".to_owned();
    if volumes {
        warning.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    warning.push_str(if all {
        "  - all images without at least one container associated to them\n"
    } else {
        "  - all dangling images\n"
    });
    warning.push_str(if all { "  - all build cache\n" } else { "  - unused build cache\n" });
    for filter in call.flags.all("filter") {
        warning.push_str(&format!("\n  Only what fits the filter: {filter}\n"));
    }
    confirm(&call, &warning)?;
    let client = call.cli.client().await?;
    let wanted = filters::collect(call.flags.all("filter"));
    let mut of_images = wanted.clone();
    filters::add(&mut of_images, "dangling", if all { "false" } else { "true" });
    let mut steps = vec![(&CONTAINERS, &wanted), (&NETWORKS, &wanted)];
    if volumes {
        steps.push((&VOLUMES, &wanted));
    }
    steps.push((&IMAGES, &of_images));
    let mut total = 0;
    for (kind, filters) in steps {
        let pruned = match send(client, kind, filters).await {
            Ok(pruned) => pruned,
            // One kind that cannot be pruned keeps nobody from the others.
            Err(failure) => {
                eprintln!("{}", failure.text);
                continue;
            }
        };
        pruned.print_list();
        total += pruned.bytes;
    }
    // Builds have no labels to filter by.
    if !wanted.keys().any(|name| name.starts_with("label")) {
        match prune_builds(client, all, None, &wanted).await {
            Ok(pruned) => {
                pruned.print_list();
                total += pruned.bytes;
            }
            Err(failure) => eprintln!("{}", failure.text),
        }
    }
    println!("Total reclaimed space: {}", human_size(total));
    Ok(0)
}
