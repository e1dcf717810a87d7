//! A node in words, as `node inspect --pretty` shows it.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::capitalized;
use crate::units::binary_size;

/// Writes a node's description.
pub(super) fn describe(node: &Json) -> String {
    let mut out = Lines(String::new());
    let (spec, about, status) = (&node["Spec"], &node["Description"], &node["Status"]);
    out.add("ID", 3, text(&node["ID"]));
    if !text(&spec["Name"]).is_empty() {
        out.add("Name", 3, text(&spec["Name"]));
    }
    out.pairs("Labels", " - ", "=", &spec["Labels"]);
    out.add("Hostname", 0, &format!("              \t{}", text(&about["Hostname"])));
    out.add("Joined at", 0, &format!("             \t{}", joined(text(&node["CreatedAt"]))));
    out.line("Status:");
    out.add(" State", 3, &capitalized(text(&status["State"])));
    if !text(&status["Message"]).is_empty() {
        out.add(" Message", 2, text(&status["Message"]));
    }
    let availability = capitalized(text(&spec["Availability"]));
    out.add(" Availability", 0, &format!("         \t{availability}"));
    if !text(&status["Addr"]).is_empty() {
        out.add(" Address", 2, text(&status["Addr"]));
    }
    let manager = &node["ManagerStatus"];
    if manager.is_object() {
        out.line("Manager Status:");
        out.add(" Address", 2, text(&manager["Addr"]));
        out.add(" Raft Status", 2, &capitalized(text(&manager["Reachability"])));
        out.add(" Leader", 2, if manager["Leader"] == true { "Yes" } else { "No" });
    }
    out.line("Platform:");
    out.add(" Operating System", 1, text(&about["Platform"]["OS"]));
    out.add(" Architecture", 2, text(&about["Platform"]["Architecture"]));
    let resources = &about["Resources"];
    out.line("Resources:");
    let cpus = resources["NanoCPUs"].as_i64().unwrap_or(0) / 1_000_000_000;
    out.add(" CPUs", 3, &cpus.to_string());
    out.add(" Memory", 3, &binary_size(resources["MemoryBytes"].as_i64().unwrap_or(0)));
    plugins(&mut out, &about["Engine"]["Plugins"]);
    out.add("Engine Version", 2, text(&about["Engine"]["EngineVersion"]));
    out.pairs("Engine Labels", " - ", " = ", &about["Engine"]["Labels"]);
    let tls = &about["TLSInfo"];
    if tls.is_object() {
        out.line("TLS Info:");
        out.line(" TrustRoot:");
        out.line(text(&tls["TrustRoot"]));
        out.add(" Issuer Subject", 1, text(&tls["CertIssuerSubject"]));
        out.add(" Issuer Public Key", 1, text(&tls["CertIssuerPublicKey"]));
    }
    out.0
}

fn plugins(out: &mut Lines, plugins: &Json) {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in plugins.as_array().into_iter().flatten() {
        kinds.entry(text(&plugin["Type"])).or_default().push(text(&plugin["Name"]));
    }
    if kinds.is_empty() {
        return;
    }
    out.line("Plugins:");
    for (kind, names) in kinds {
        out.add(&format!(" {kind}"), 2, &names.join(", "));
    }
}

/// `2016-06-20 08:32:37.5 +0000 utc`
fn joined(time: &str) -> String {
    let time = time.trim_end_matches('Z').replacen('T', " ", 1);
    format!("{time} +0000 utc")
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn add(&mut self, name: &str, tabs: usize, value: &str) {
        self.line(&format!("{name}:{}{value}", "\t".repeat(tabs)));
    }

    fn pairs(&mut self, title: &str, bullet: &str, between: &str, pairs: &Json) {
        let Some(pairs) = pairs.as_object().filter(|pairs| !pairs.is_empty()) else { return };
        self.line(&format!("{title}:"));
        for (key, value) in pairs {
            self.line(&format!("{bullet}{key}{between}{}", text(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_node_is_described_in_words() {
        let node = json!({
            "ID": "abc",
            "CreatedAt": "2016-06-20T08:32:37.5Z",
            "Spec": {"Labels": {"a": "b"}, "Availability": "drain"},
            "Description": {
                "Hostname": "host",
                "Platform": {"Architecture": "x86_64", "OS": "linux"},
                "Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 1 << 30},
                "Engine": {"EngineVersion": "1.2", "Plugins": [{"Type": "Log", "Name": "local"}]},
            },
            "Status": {"State": "ready", "Addr": "192.0.2.1"},
            "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "192.0.2.1:2377"},
        });
        let text = super::describe(&node);
        for line in [
            "ID:\t\t\tabc",
            " - a=b",
            "Hostname:              \thost",
            "Joined at:             \t2016-06-20 08:32:37.5 +0000 utc",
            " State:\t\t\tReady",
            " Availability:         \tDrain",
            " Leader:\t\tYes",
            " Memory:\t\t\t1GiB",
            " Log:\t\tlocal",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
        }
        assert!(super::describe(&json!(null)).starts_with("ID:"));
    }
}
