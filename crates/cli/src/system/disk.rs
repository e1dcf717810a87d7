//! `system df`.

use docker_api::Request;
use serde_json::Value as Json;

use crate::grammar::{Call, Outcome};
use crate::table::{Columns, Row, choose, ellipsis, render, row, short_id};
use crate::units::{ago, human_size, human_size_short, now_seconds};
use crate::volume::volume_row;

const COLUMNS: Columns = Columns(&[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
]);

/// `system df [OPTIONS]`
pub(crate) async fn usage(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let usage: Json = client.call(Request::get("/system/df")).await?.json().await?;
    if call.flags.on("verbose") {
        print!("{}", verbose(&usage)?);
        return Ok(0);
    }
    let table = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
    let format = choose(call.flags.get("format"), "", table);
    print!("{}", render(format, &COLUMNS, summary(&usage))?);
    Ok(0)
}

fn list<'a>(usage: &'a Json, name: &str) -> &'a [Json] {
    usage[name].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Json, name: &str) -> i64 {
    value[name].as_i64().unwrap_or(0)
}

fn line(kind: &str, total: usize, active: usize, size: i64, reclaimable: i64) -> Row {
    let share = if size > 0 {
        format!(" ({}%)", reclaimable.saturating_mul(100) / size)
    } else {
        String::new()
    };
    row! {
        "Type": kind,
        "TotalCount": total.to_string(),
        "Active": active.to_string(),
        "Size": human_size(size),
        "Reclaimable": format!("{}{share}", human_size(reclaimable)),
    }
}

fn summary(usage: &Json) -> Vec<Row> {
    let images = list(usage, "Images");
    let used = |image: &&Json| number(image, "Containers") > 0;
    // Shared layers are kept as long as one image uses them.
    let kept: i64 = images
        .iter()
        .filter(used)
        .map(|i| number(i, "Size") - number(i, "SharedSize").max(0))
        .sum();
    let layers = number(usage, "LayersSize");
    let images = line(
        "Images",
        images.len(),
        images.iter().filter(used).count(),
        layers,
        (layers - kept).max(0),
    );

    let containers = list(usage, "Containers");
    let active = |container: &&Json| {
        matches!(container["State"].as_str(), Some("running" | "paused" | "restarting"))
    };
    let size: i64 = containers.iter().map(|c| number(c, "SizeRw")).sum();
    let held: i64 = containers.iter().filter(active).map(|c| number(c, "SizeRw")).sum();
    let containers = line(
        "Containers",
        containers.len(),
        containers.iter().filter(active).count(),
        size,
        size - held,
    );

    let volumes = list(usage, "Volumes");
    let volume_size = |volume: &Json| number(&volume["UsageData"], "Size").max(0);
    let linked = |volume: &&Json| number(&volume["UsageData"], "RefCount") > 0;
    let size: i64 = volumes.iter().map(volume_size).sum();
    let held: i64 = volumes.iter().filter(linked).map(volume_size).sum();
    let volumes = line(
        "Local Volumes",
        volumes.len(),
        volumes.iter().filter(linked).count(),
        size,
        size - held,
    );

    let cache = list(usage, "BuildCache");
    let in_use = |record: &&Json| record["InUse"].as_bool().unwrap_or(false);
    let own = |record: &Json| {
        if record["Shared"].as_bool().unwrap_or(false) { 0 } else { number(record, "Size") }
    };
    let size: i64 = cache.iter().map(own).sum();
    let held: i64 = cache.iter().filter(in_use).map(own).sum();
    let cache =
        line("Build Cache", cache.len(), cache.iter().filter(in_use).count(), size, size - held);
    vec![images, containers, volumes, cache]
}

const VERBOSE: Columns = Columns(&[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
]);
const CONTAINERS: Columns = Columns(&[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
]);
const VOLUMES: Columns = Columns(&[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")]);

fn verbose(usage: &Json) -> Result<String, crate::failure::Failure> {
    let now = now_seconds();
    let mut out = "Images space usage:\n\n".to_owned();
    let rows = list(usage, "Images").iter().map(|image| image_row(image, now)).collect();
    let table = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    out.push_str(&render(table, &VERBOSE, rows)?);
    out.push_str("\nContainers space usage:\n\n");
    let rows =
        list(usage, "Containers").iter().map(|container| container_row(container, now)).collect();
    let table = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    out.push_str(&render(table, &CONTAINERS, rows)?);
    out.push_str("\nLocal Volumes space usage:\n\n");
    let rows = list(usage, "Volumes").iter().map(volume_row).collect();
    out.push_str(&render("table {{.Name}}\t{{.Links}}\t{{.Size}}", &VOLUMES, rows)?);
    let cache: i64 = list(usage, "BuildCache").iter().map(|record| number(record, "Size")).sum();
    out.push_str(&format!("\nBuild cache usage: {}\n\n", human_size(cache)));
    let rows = list(usage, "BuildCache").iter().map(|record| cache_row(record, now)).collect();
    let table = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";
    out.push_str(&render(table, &CACHE, rows)?);
    Ok(out)
}

const CACHE: Columns = Columns(&[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
]);

fn cache_row(record: &Json, now: i64) -> Row {
    let since = |name: &str| {
        let time = record[name].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        time.map(|time| ago(time.as_second(), now)).unwrap_or_default()
    };
    row! {
        "ID": short_id(record["ID"].as_str().unwrap_or_default()),
        "CacheType": record["Type"].as_str().unwrap_or_default(),
        "Size": human_size_short(number(record, "Size")),
        "CreatedSince": since("CreatedAt"),
        "LastUsedSince": since("LastUsedAt"),
        "UsageCount": number(record, "UsageCount").to_string(),
        "Shared": record["Shared"].as_bool().unwrap_or(false).to_string(),
    }
}

fn image_row(image: &Json, now: i64) -> Row {
    let reference = image["RepoTags"][0].as_str().unwrap_or("<none>:<none>");
    let (name, tag) = crate::image::split_tag(reference);
    let shared = number(image, "SharedSize").max(0);
    row! {
        "Repository": name,
        "Tag": tag.unwrap_or("<none>"),
        "ID": short_id(image["Id"].as_str().unwrap_or_default()),
        "CreatedSince": ago(number(image, "Created"), now),
        "Size": human_size_short(number(image, "Size")),
        "SharedSize": human_size_short(shared),
        "UniqueSize": human_size(number(image, "Size") - shared),
        "Containers": number(image, "Containers").max(0).to_string(),
    }
}

fn container_row(container: &Json, now: i64) -> Row {
    let text = |name: &str| container[name].as_str().unwrap_or_default();
    let volumes =
        list(container, "Mounts").iter().filter(|mount| mount["Type"] == "volume").count();
    row! {
        "ID": short_id(text("Id")),
        "Image": crate::container::list::image(container, true),
        "Command": format!("{:?}", ellipsis(text("Command"), 20)),
        "LocalVolumes": volumes.to_string(),
        "Size": human_size_short(number(container, "SizeRw")),
        "RunningFor": ago(number(container, "Created"), now),
        "Status": text("Status"),
        "Names": container["Names"][0].as_str().unwrap_or_default().trim_start_matches('/'),
    }
}
