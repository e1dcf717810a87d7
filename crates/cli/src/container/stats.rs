//! `stats`: a live table of what containers use.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use docker_api::{Client, Request, encode_path};
use serde_json::Value as Json;

use crate::failure::{Failure, describe};
use crate::grammar::{Call, Outcome};
use crate::signals::Background;
use crate::table::{Columns, Row, choose, render, row, short_id};
use crate::units::{binary_size, human_size_short};

const COLUMNS: Columns = Columns(&[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
]);
const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const REDRAW: Duration = Duration::from_millis(500);

/// The latest figures by the name each container was asked for.
///
/// Held for an insertion or a copy.
type Latest = Arc<Mutex<BTreeMap<usize, Entry>>>;

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    sample: Option<Json>,
}

/// `stats [OPTIONS] [CONTAINER...]`
pub(crate) async fn stats(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let client = call.cli.client().await?;
    let format = choose(flags.get("format"), &call.cli.config().stats_format, TABLE).to_owned();
    let trunc = !flags.on("no-trunc");
    let names = if call.args.is_empty() {
        running(client, flags.on("all")).await?
    } else {
        call.args.clone()
    };
    if flags.on("no-stream") {
        return once(client, &names, &format, trunc).await;
    }
    // Whoever is asked for by name must exist.
    for name in &call.args {
        client
            .call(Request::get(format!("/containers/{}/json", encode_path(name))))
            .await?
            .bytes()
            .await?;
    }
    let latest = Latest::default();
    let mut watched = watch(client, &names, &latest);
    let mut ticks = tokio::time::interval(REDRAW);
    let mut known = names;
    loop {
        ticks.tick().await;
        if call.args.is_empty() {
            let now = running(client, flags.on("all")).await?;
            if now != known {
                drop(watched);
                latest.lock().expect("nothing panics while it holds the lock").clear();
                watched = watch(client, &now, &latest);
                known = now;
            }
        }
        let entries: Vec<Entry> = latest
            .lock()
            .expect("nothing panics while it holds the lock")
            .values()
            .cloned()
            .collect();
        if !call.args.is_empty() && watched.iter().all(Background::is_finished) {
            return Ok(0);
        }
        let rows = entries.iter().map(|entry| stats_row(entry, trunc)).collect();
        let text = render(&format, &COLUMNS, rows)?;
        if format.starts_with("table") {
            // Home, then each line cleared to its end, then everything below.
            print!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
        } else {
            print!("\x1b[H\x1b[J{text}");
        }
        std::io::stdout().flush()?;
    }
}

async fn running(client: &Client, all: bool) -> Result<Vec<String>, Failure> {
    let containers: Vec<Json> =
        client.call(Request::get("/containers/json").query_flag("all", all)).await?.json().await?;
    Ok(containers.iter().filter_map(|c| c["Id"].as_str().map(str::to_owned)).collect())
}

async fn once(client: &Client, names: &[String], format: &str, trunc: bool) -> Outcome {
    let samples = futures_util::future::join_all(names.iter().map(|name| async move {
        let request =
            Request::get(format!("/containers/{}/stats", encode_path(name))).query("stream", "0");
        (
            name,
            match client.call(request).await {
                Ok(response) => response.json::<Json>().await,
                Err(error) => Err(error),
            },
        )
    }))
    .await;
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (name, sample) in samples {
        match sample {
            Ok(sample) => {
                rows.push(stats_row(&Entry { name: name.clone(), sample: Some(sample) }, trunc))
            }
            Err(error) => failed.push(describe(&error)),
        }
    }
    print!("{}", render(format, &COLUMNS, rows)?);
    if failed.is_empty() { Ok(0) } else { Err(Failure::new(failed.join("\n"))) }
}

fn watch(client: &Arc<Client>, names: &[String], latest: &Latest) -> Vec<Background> {
    let start = |(index, name): (usize, &String)| {
        let (client, latest, name) = (Arc::clone(client), Arc::clone(latest), name.clone());
        let put = move |sample: Option<Json>, latest: &Latest, name: &str| {
            let entry = Entry { name: name.to_owned(), sample };
            latest.lock().expect("nothing panics while it holds the lock").insert(index, entry);
        };
        put(None, &latest, &name);
        Background::spawn(async move {
            let request = Request::get(format!("/containers/{}/stats", encode_path(&name)))
                .query("stream", "1");
            if let Ok(mut response) = client.call(request).await {
                while let Ok(Some(sample)) = response.next_json::<Json>().await {
                    put(Some(sample), &latest, &name);
                }
            }
            put(None, &latest, &name);
        })
    };
    names.iter().enumerate().map(start).collect()
}

fn stats_row(entry: &Entry, trunc: bool) -> Row {
    let Some(sample) = &entry.sample else {
        let id = if trunc { short_id(&entry.name) } else { &entry.name };
        return row! {
            "Container": entry.name.clone(), "ID": id, "Name": "--", "CPUPerc": "--", "MemUsage": "-- / --",
            "MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--",
        };
    };
    let text = |name: &str| sample[name].as_str().unwrap_or_default();
    let (used, limit) =
        (memory_used(&sample["memory_stats"]), unsigned(&sample["memory_stats"]["limit"]));
    #[expect(clippy::cast_precision_loss, reason = "percentages are rounded anyway")]
    let percent = if limit == 0 { 0.0 } else { used as f64 / limit as f64 * 100.0 };
    row! {
        "Container": entry.name.clone(),
        "ID": if trunc { short_id(text("id")) } else { text("id") },
        "Name": text("name").trim_start_matches('/'),
        "CPUPerc": format!("{:.2}%", cpu_percent(sample)),
        "MemUsage": format!("{} / {}", binary_size(signed(used)), binary_size(signed(limit))),
        "MemPerc": format!("{percent:.2}%"),
        "NetIO": network(&sample["networks"]),
        "BlockIO": block_io(&sample["blkio_stats"]["io_service_bytes_recursive"]),
        "PIDs": unsigned(&sample["pids_stats"]["current"]).to_string(),
    }
}

fn unsigned(value: &Json) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Cache that can be dropped at once does not count: v1 and v2 name it differently.
fn memory_used(memory: &Json) -> u64 {
    let usage = unsigned(&memory["usage"]);
    let stats = &memory["stats"];
    let cache = stats["total_inactive_file"]
        .as_u64()
        .or_else(|| stats["inactive_file"].as_u64())
        .unwrap_or(0);
    if cache < usage { usage - cache } else { usage }
}

#[expect(clippy::cast_precision_loss, reason = "percentages are rounded anyway")]
fn cpu_percent(sample: &Json) -> f64 {
    let (now, before) = (&sample["cpu_stats"], &sample["precpu_stats"]);
    let delta = |name: &dyn Fn(&Json) -> u64| name(now) as f64 - name(before) as f64;
    let used = delta(&|stats| unsigned(&stats["cpu_usage"]["total_usage"]));
    let system = delta(&|stats| unsigned(&stats["system_cpu_usage"]));
    let mut cpus = unsigned(&now["online_cpus"]) as f64;
    if cpus == 0.0 {
        cpus = now["cpu_usage"]["percpu_usage"].as_array().map_or(1.0, |all| all.len() as f64);
    }
    if system > 0.0 && used > 0.0 { used / system * cpus * 100.0 } else { 0.0 }
}

fn network(networks: &Json) -> String {
    let sum = |name: &str| -> u64 {
        networks
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, network)| unsigned(&network[name]))
            .sum()
    };
    format!(
        "{} / {}",
        human_size_short(signed(sum("rx_bytes"))),
        human_size_short(signed(sum("tx_bytes")))
    )
}

fn block_io(entries: &Json) -> String {
    let sum = |operation: &str| -> u64 {
        let all = entries.as_array().into_iter().flatten();
        all.filter(|e| e["op"].as_str().is_some_and(|op| op.eq_ignore_ascii_case(operation)))
            .map(|e| unsigned(&e["value"]))
            .sum()
    };
    format!(
        "{} / {}",
        human_size_short(signed(sum("read"))),
        human_size_short(signed(sum("write")))
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_follow_dockers_rules() {
        let sample = json!({
            "id": "0123456789abcdef", "name": "/web",
            "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
            "memory_stats": {"usage": 3_145_728, "limit": 10_485_760, "stats": {"inactive_file": 1_048_576}},
            "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2500}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 4096}, {"op": "Write", "value": 0}]},
            "pids_stats": {"current": 3},
        });
        let entries = [
            Entry { name: "web".into(), sample: Some(sample) },
            Entry { name: "gone".into(), sample: None },
        ];
        let rows = entries.iter().map(|entry| stats_row(entry, true)).collect();
        expect_test::expect![[r#"
            CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O    PIDS
            0123456789ab   web       40.00%    2MiB / 10MiB        20.00%    1kB / 2.5kB   4.1kB / 0B   3
            gone           --        --        -- / --             --        --            --           --
        "#]]
        .assert_eq(&render(TABLE, &COLUMNS, rows).expect("renders"));
    }
}
