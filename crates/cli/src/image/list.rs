//! `images` and `history`.

use docker_api::{Request, encode_path};
use serde_json::{Value as Json, json};

use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::table::{Columns, Row, choose, ellipsis, render, row, short_id};
use crate::units::{ago, human_size, human_size_short, local_time, now_seconds};

use super::split_tag;

const COLUMNS: Columns = Columns(&[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
]);
const NONE: &str = "<none>";

/// `images [OPTIONS] [REPOSITORY[:TAG]]`
pub(crate) async fn list(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let (digests, trunc) = (flags.on("digests"), !flags.on("no-trunc"));
    let table = if digests {
        "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    } else {
        "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    };
    let format = match flags.get("format") {
        None if flags.on("quiet") => "{{.ID}}",
        flag => choose(flag, &call.cli.config().images_format, table),
    };
    let mut wanted = filters::collect(flags.all("filter"));
    if let Some(reference) = call.args.first() {
        filters::add(&mut wanted, "reference", reference);
    }
    let client = call.cli.client().await?;
    let request = Request::get("/images/json")
        .query_flag("all", flags.on("all"))
        .query_flag(
            "shared-size",
            [".SharedSize", ".UniqueSize"].iter().any(|field| format.contains(field)),
        )
        .query_some(
            "filters",
            (!wanted.is_empty()).then(|| Json::Object(wanted.clone()).to_string()),
        );
    let images: Vec<Json> = client.call(request).await?.json().await?;
    let now = now_seconds();
    let with_digest = digests || format.contains(".Digest");
    let rows = images.iter().flat_map(|image| rows(image, now, trunc, with_digest)).collect();
    print!("{}", render(format, &COLUMNS, rows)?);
    Ok(0)
}

fn strings<'a>(image: &'a Json, name: &str) -> Vec<&'a str> {
    let all = image[name].as_array().into_iter().flatten().filter_map(Json::as_str);
    all.filter(|text| !text.starts_with(NONE)).collect()
}

/// One row for each tag; with digests, one for each pair of tag and digest of a name.
fn rows(image: &Json, now: i64, trunc: bool, with_digest: bool) -> Vec<Row> {
    let (tags, digests) = (strings(image, "RepoTags"), strings(image, "RepoDigests"));
    let split_digest =
        |text: &&str| text.split_once('@').map(|(n, d)| (n.to_owned(), d.to_owned()));
    let digests: Vec<(String, String)> = digests.iter().filter_map(split_digest).collect();
    let mut rows = Vec::new();
    for tag in &tags {
        let (name, tag) = split_tag(tag);
        let tag = tag.unwrap_or(NONE);
        let of_name: Vec<&str> =
            digests.iter().filter(|(n, _)| n == name).map(|(_, d)| d.as_str()).collect();
        if with_digest && !of_name.is_empty() {
            rows.extend(
                of_name.iter().map(|digest| image_row(image, (name, tag, digest), now, trunc)),
            );
        } else {
            rows.push(image_row(image, (name, tag, NONE), now, trunc));
        }
    }
    if tags.is_empty() {
        if digests.is_empty() {
            rows.push(image_row(image, (NONE, NONE, NONE), now, trunc));
        }
        rows.extend(
            digests.iter().map(|(name, digest)| image_row(image, (name, NONE, digest), now, trunc)),
        );
        if !with_digest {
            rows.truncate(1);
        }
    }
    rows
}

fn image_row(image: &Json, (name, tag, digest): (&str, &str, &str), now: i64, trunc: bool) -> Row {
    let id = image["Id"].as_str().unwrap_or_default();
    let created = image["Created"].as_i64().unwrap_or_default();
    let number = |name: &str| image[name].as_i64().unwrap_or(-1);
    let size_of = |size: i64| if size < 0 { "N/A".to_owned() } else { human_size_short(size) };
    let (size, shared, containers) = (number("Size"), number("SharedSize"), number("Containers"));
    row! {
        "ID": if trunc { short_id(id) } else { id },
        "Repository": name,
        "Tag": tag,
        "Digest": digest,
        "CreatedSince": if created == 0 { "N/A".to_owned() } else { ago(created, now) },
        "CreatedAt": local_time(created),
        "Size": size_of(size),
        "VirtualSize": if size < 0 { "N/A".to_owned() } else { human_size(size) },
        "SharedSize": size_of(shared),
        "UniqueSize": if shared < 0 { "N/A".to_owned() } else { human_size(size - shared) },
        "Containers": if containers < 0 { "N/A".to_owned() } else { containers.to_string() },
    }
}

const HISTORY: Columns = Columns(&[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
]);

const HISTORY_PLAIN: Columns = Columns(&[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED AT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
]);

/// `history [OPTIONS] IMAGE`
pub(crate) async fn history(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let table = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
    let format = match flags.get("format") {
        None if flags.on("quiet") => "{{.ID}}",
        flag => choose(flag, "", table),
    };
    let client = call.cli.client().await?;
    let platform = flags.get("platform").filter(|p| !p.is_empty()).map(platform_json);
    let request = Request::get(format!("/images/{}/history", encode_path(&call.args[0])))
        .query_some("platform", platform);
    let items: Vec<Json> = client.call(request).await?.json().await?;
    let columns = if flags.on_by_default("human") { &HISTORY } else { &HISTORY_PLAIN };
    let (human, trunc, now) = (flags.on_by_default("human"), !flags.on("no-trunc"), now_seconds());
    let rows = items.iter().map(|item| history_row(item, human, trunc, now)).collect();
    print!("{}", render(format, columns, rows)?);
    Ok(0)
}

fn history_row(item: &Json, human: bool, trunc: bool, now: i64) -> Row {
    let text = |name: &str| item[name].as_str().unwrap_or_default();
    let (id, created) = (text("Id"), item["Created"].as_i64().unwrap_or_default());
    let size = item["Size"].as_i64().unwrap_or_default();
    let by = text("CreatedBy").replace('\t', " ");
    let at = jiff::Timestamp::from_second(created).map(|t| t.to_string()).unwrap_or_default();
    let since = if human { ago(created, now) } else { at.clone() };
    row! {
        "ID": if trunc { short_id(id) } else { id },
        "CreatedSince": if created <= 0 { "N/A".to_owned() } else { since },
        "CreatedAt": at,
        "CreatedBy": if trunc { ellipsis(&by, 45) } else { by },
        "Size": if human { human_size_short(size) } else { size.to_string() },
        "Comment": text("Comment"),
    }
}

/// Writes `os/arch[/variant]` as the API's JSON platform.
pub(crate) fn platform_json(text: &str) -> String {
    let mut parts = text.split('/');
    let mut platform = json!({"os": parts.next().unwrap_or_default()});
    for (name, part) in ["architecture", "variant"].into_iter().zip(parts) {
        platform[name] = Json::from(part);
    }
    platform.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_dockers_columns() {
        let image = json!({
            "Id": "sha256:0123456789abcdef", "RepoTags": ["debian:bookworm", "localhost:5000/d:1"],
            "RepoDigests": ["debian@sha256:feed"], "Created": 86400, "Size": 117_000_000, "SharedSize": -1, "Containers": -1,
        });
        let table = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
        let text = render(table, &COLUMNS, rows(&image, 86400 * 4, true, false)).expect("renders");
        expect_test::expect![[r"
            REPOSITORY         TAG        IMAGE ID       CREATED      SIZE
            debian             bookworm   0123456789ab   3 days ago   117MB
            localhost:5000/d   1          0123456789ab   3 days ago   117MB
        "]]
        .assert_eq(&text);
        assert_eq!(rows(&image, 0, true, true)[0]["Digest"], "sha256:feed");
        let dangling = json!({"Id": "sha256:1", "RepoTags": [], "RepoDigests": [], "Size": 0});
        assert_eq!(rows(&dangling, 0, true, false)[0]["Repository"], "<none>");
    }
}
