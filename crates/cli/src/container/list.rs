//! `ps`.

use docker_api::Request;
use serde_json::{Map, Value as Json};

use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::table::{Columns, Row, add_labels, choose, ellipsis, render, row, short_id};
use crate::units::{ago, human_size_short, local_time, now_seconds};

const COLUMNS: Columns = Columns(&[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
]);
const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

/// `ps [OPTIONS]`
pub(crate) async fn list(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let format_flag = flags.get("format");
    let default =
        if flags.on("size") { format!("{TABLE}\t{{{{.Size}}}}") } else { TABLE.to_owned() };
    let format = match format_flag {
        None if flags.on("quiet") => "{{.ID}}",
        flag => choose(flag, &call.cli.config().ps_format, &default),
    };
    let last = flags.int("last").unwrap_or(-1);
    let limit = if flags.on("latest") && last == -1 { 1 } else { last };
    let client = call.cli.client().await?;
    let request = Request::get("/containers/json")
        .query_flag("all", flags.on("all"))
        .query_some("limit", (limit > 0).then(|| limit.to_string()))
        .query_flag(
            "size",
            flags.on("size") || format.contains(".Size") || format.contains("{{json .}}"),
        )
        .query_some("filters", filters::encode(flags.all("filter")));
    let containers: Vec<Json> = client.call(request).await?.json().await?;
    let now = now_seconds();
    let trunc = !flags.on("no-trunc");
    let rows = containers.iter().map(|container| list_row(container, now, trunc)).collect();
    print!("{}", render(format, &COLUMNS, rows)?);
    Ok(0)
}

fn text<'a>(value: &'a Json, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn list_row(container: &Json, now: i64, trunc: bool) -> Row {
    let id = text(container, "Id");
    let created = container["Created"].as_i64().unwrap_or_default();
    let command = text(container, "Command");
    let command = if trunc { ellipsis(command, 20) } else { command.to_owned() };
    let mounts = mounts(container);
    let local = container["Mounts"]
        .as_array()
        .map_or(0, |mounts| mounts.iter().filter(|mount| text(mount, "Driver") == "local").count());
    let shown: Vec<String> = mounts
        .iter()
        .map(|name| if trunc { ellipsis(name, 15) } else { (*name).to_owned() })
        .collect();
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let networks: Vec<&str> =
        networks.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let mut row = row! {
        "ID": if trunc { short_id(id) } else { id },
        "Names": names(container, trunc),
        "Image": image(container, trunc),
        "Command": format!("{command:?}"),
        "CreatedAt": local_time(created),
        "RunningFor": ago(created, now),
        "Ports": ports(&container["Ports"]),
        "State": text(container, "State"),
        "Status": text(container, "Status"),
        "Size": size(container),
        "Mounts": shown.join(","),
        "LocalVolumes": local.to_string(),
        "Networks": networks.join(","),
        "Platform": Json::Null,
    };
    add_labels(&mut row, &container["Labels"]);
    row
}

/// A name with a second slash is a link's, and hides the container's own.
fn names(container: &Json, trunc: bool) -> String {
    let all = container["Names"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let all = all.map(|name| name.strip_prefix('/').unwrap_or(name));
    let names: Vec<&str> =
        if trunc { all.filter(|name| !name.contains('/')).collect() } else { all.collect() };
    names.join(",")
}

/// Tells the image of a list's container, short when it is known by its id only.
pub(crate) fn image(container: &Json, trunc: bool) -> String {
    let (image, id) = (text(container, "Image"), text(container, "ImageID"));
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if !trunc {
        return image.to_owned();
    }
    // An image known by its id only is shown short.
    if !id.is_empty() && (id == image || id.strip_prefix("sha256:") == Some(image)) {
        return short_id(image).to_owned();
    }
    match image.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => image.to_owned(),
    }
}

fn mounts(container: &Json) -> Vec<&str> {
    let all = container["Mounts"].as_array().into_iter().flatten();
    all.map(|mount| match text(mount, "Name") {
        "" => text(mount, "Source"),
        name => name,
    })
    .collect()
}

fn size(container: &Json) -> String {
    let number = |name: &str| container[name].as_i64().unwrap_or_default();
    let (own, all) = (number("SizeRw"), number("SizeRootFs"));
    let own = human_size_short(own);
    if all > 0 { format!("{own} (virtual {})", human_size_short(all)) } else { own }
}

/// One published or exposed port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port<'a> {
    ip: &'a str,
    private: u64,
    public: u64,
    protocol: &'a str,
}

/// Writes ports, neighbours joined into ranges: `0.0.0.0:80-81->80-81/tcp, 443/tcp`.
pub(crate) fn ports(list: &Json) -> String {
    let mut ports: Vec<Port<'_>> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| Port {
            ip: text(port, "IP"),
            private: port["PrivatePort"].as_u64().unwrap_or_default(),
            public: port["PublicPort"].as_u64().unwrap_or_default(),
            protocol: text(port, "Type"),
        })
        .collect();
    ports.sort_by_key(|p| (p.private, p.ip, p.public, p.protocol));
    let (mut ranges, mut singles) = (Vec::<(Port<'_>, u64)>::new(), Vec::new());
    for port in ports {
        if !port.ip.is_empty() && port.public != port.private {
            singles.push(format!(
                "{}->{}/{}",
                address(port.ip, port.public),
                port.private,
                port.protocol
            ));
            continue;
        }
        let joins = |(first, length): &&mut (Port<'_>, u64)| {
            first.ip == port.ip
                && first.protocol == port.protocol
                && first.private + *length == port.private
        };
        match ranges.iter_mut().find(joins) {
            Some((_, length)) => *length += 1,
            None => ranges.push((port, 1)),
        }
    }
    let mut parts: Vec<String> =
        ranges.into_iter().map(|(port, length)| range(port, length)).collect();
    parts.append(&mut singles);
    parts.join(", ")
}

fn address(ip: &str, port: u64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn range(first: Port<'_>, length: u64) -> String {
    let group = if length == 1 {
        first.private.to_string()
    } else {
        format!("{}-{}", first.private, first.private + length - 1)
    };
    if first.ip.is_empty() {
        return format!("{group}/{}", first.protocol);
    }
    let ip = if first.ip.contains(':') { format!("[{}]", first.ip) } else { first.ip.to_owned() };
    format!("{ip}:{group}->{group}/{}", first.protocol)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(ip: &str, private: u16, public: u16, protocol: &str) -> Json {
        json!({"IP": ip, "PrivatePort": private, "PublicPort": public, "Type": protocol})
    }

    #[test]
    fn ports_join_into_ranges() {
        let cases = [
            (
                json!([port("0.0.0.0", 80, 80, "tcp"), port("::", 80, 80, "tcp")]),
                "0.0.0.0:80->80/tcp, [::]:80->80/tcp",
            ),
            (json!([port("0.0.0.0", 80, 8080, "tcp")]), "0.0.0.0:8080->80/tcp"),
            (json!([port("", 443, 0, "tcp"), port("", 444, 0, "tcp")]), "443-444/tcp"),
            (
                json!([port("1.2.3.4", 81, 81, "udp"), port("1.2.3.4", 80, 80, "udp")]),
                "1.2.3.4:80-81->80-81/udp",
            ),
            (Json::Null, ""),
        ];
        for (list, expected) in cases {
            assert_eq!(ports(&list), expected);
        }
    }

    #[test]
    fn the_table_has_dockers_columns() {
        let container = json!({
            "Id": "0123456789abcdef0123456789abcdef", "Names": ["/web", "/other/alias"], "Image": "debian:bookworm",
            "ImageID": "sha256:1", "Command": "/bin/sh -c 'while true; do sleep 1; done'", "Created": 1000,
            "State": "running", "Status": "Up 5 minutes", "Labels": {"a": "b"},
            "Ports": [port("0.0.0.0", 80, 80, "tcp")],
            "NetworkSettings": {"Networks": {"bridge": {}}}, "Mounts": [],
        });
        let text =
            render(TABLE, &COLUMNS, vec![list_row(&container, 1300, true)]).expect("renders");
        expect_test::expect![[r#"
            CONTAINER ID   IMAGE             COMMAND                  CREATED         STATUS         PORTS                NAMES
            0123456789ab   debian:bookworm   "/bin/sh -c 'while t…"   5 minutes ago   Up 5 minutes   0.0.0.0:80->80/tcp   web
        "#]]
        .assert_eq(&text);
        let row = || vec![list_row(&container, 1300, false)];
        assert_eq!(
            render("{{.Names}} {{.Label \"a\"}} {{.Networks}}", &COLUMNS, row()).expect("renders"),
            "web,other/alias b bridge\n"
        );
    }
}
