//! `--default_container_dns`: the name servers of containers that name none of their own.

use std::collections::BTreeSet;

use mesos_api::json::{self, Value};

use super::unified::OF_CONTAINER;

/// Parameters of a container that say what the flag would.
const OWN: [&str; 4] = ["dns", "dns-search", "dns-opt", "dns-option"];

/// What the flag says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DefaultDns(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    network: Network,
    /// Options of `docker run` and their values.
    options: Vec<(&'static str, String)>,
}

/// The networks that an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    Bridge,
    /// That one, or any that a user made.
    User(Option<String>),
}

impl DefaultDns {
    /// Reads the flag's JSON.
    ///
    /// # Errors
    /// For JSON that is another, and for what no container of this agent could have.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value = json::parse(text.as_bytes()).map_err(|e| format!("it is no JSON: {e}"))?;
        let list = |name: &str| match value.get(name) {
            Some(Value::Array(list)) => Ok(&**list),
            None => Ok(&[][..]),
            Some(_) => Err(format!("'{name}' is no list")),
        };
        if !list("mesos")?.is_empty() {
            return Err("its list 'mesos' is about CNI networks, and there are none".to_owned());
        }
        let all: Vec<Entry> = list("docker")?.iter().map(entry).collect::<Result<_, _>>()?;
        let networks: BTreeSet<&Network> = all.iter().map(|entry| &entry.network).collect();
        if networks.len() < all.len() {
            return Err("one network is there twice".to_owned());
        }
        Ok(Self(all))
    }

    /// What a container on `network` is given (the value of `--net`), unless its parameters say it.
    pub(crate) fn options(
        &self,
        network: &str,
        parameters: &[(&str, &str)],
    ) -> &[(&'static str, String)] {
        if parameters.iter().any(|(key, _)| OWN.contains(key)) {
            return &[];
        }
        let of = |wanted: &Network| self.0.iter().find(|entry| entry.network == *wanted);
        let found = match network {
            "host" | "none" => None,
            // It has the name servers of the container that it shares the network of.
            name if name.starts_with(OF_CONTAINER) => None,
            "bridge" => of(&Network::Bridge),
            name => of(&Network::User(Some(name.to_owned()))).or_else(|| of(&Network::User(None))),
        };
        found.map(|entry| entry.options.as_slice()).unwrap_or_default()
    }
}

fn entry(value: &Value) -> Result<Entry, String> {
    let text = |name: &str| match value.get(name) {
        Some(Value::String(text)) => Some(text.to_string()),
        _ => None,
    };
    let network = match text("network_mode").as_deref() {
        Some("BRIDGE") => Network::Bridge,
        Some("USER") => Network::User(text("network_name")),
        other => {
            let other = other.unwrap_or("nothing");
            return Err(format!("'network_mode' is BRIDGE or USER, not {other}"));
        }
    };
    let dns = value.get("dns").ok_or("an entry has no 'dns'")?;
    let mut options = Vec::new();
    for (field, option) in
        [("nameservers", "--dns"), ("search", "--dns-search"), ("options", "--dns-opt")]
    {
        let list = match dns.get(field) {
            Some(Value::Array(list)) => list,
            None => continue,
            Some(_) => return Err(format!("'{field}' is no list")),
        };
        for one in list.iter() {
            let Value::String(text) = one else { return Err(format!("'{field}' has no texts")) };
            options.push((option, text.to_string()));
        }
    }
    Ok(Entry { network, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_entry_counts_and_a_containers_own_more() {
        let dns = DefaultDns::parse(
            r#"{"docker": [
                {"network_mode": "BRIDGE", "dns": {"nameservers": ["10.0.0.1", "10.0.0.2"]}},
                {"network_mode": "USER", "dns": {"search": ["any"]}},
                {"network_mode": "USER", "network_name": "n", "dns": {"options": ["ndots:2"]}}
            ]}"#,
        )
        .expect("good JSON");
        let given = |network: &str, parameters: &[(&str, &str)]| {
            let options = dns.options(network, parameters).iter();
            options.map(|(option, value)| format!("{option} {value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(given("bridge", &[("ulimit", "x")]), "--dns 10.0.0.1 --dns 10.0.0.2");
        assert_eq!(given("n", &[]), "--dns-opt ndots:2");
        assert_eq!(given("other", &[]), "--dns-search any");
        assert_eq!(given("host", &[]), "");
        assert_eq!(given("bridge", &[("dns-opt", "x")]), "");
    }

    #[test]
    fn what_no_container_could_have_is_refused() {
        for (bad, text) in [
            ("[", "it is no JSON: "),
            (r#"{"mesos": [{}]}"#, "about CNI networks"),
            (r#"{"docker": [{"network_mode": "HOST", "dns": {}}]}"#, "BRIDGE or USER, not HOST"),
            (r#"{"docker": [{"network_mode": "BRIDGE"}]}"#, "has no 'dns'"),
            (
                r#"{"docker": [{"network_mode": "BRIDGE", "dns": {}},
                               {"network_mode": "BRIDGE", "dns": {}}]}"#,
                "twice",
            ),
        ] {
            let told = DefaultDns::parse(bad).expect_err("bad");
            assert!(told.contains(text), "{told}");
        }
    }
}
