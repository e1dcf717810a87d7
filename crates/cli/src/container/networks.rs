//! `--network` with its short and long form, and the flags that go to its endpoint.

use serde_json::{Map, Value as Json, json};

use super::checks::is_mac_address;
use crate::grammar::Values;

/// One attachment to a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    aliases: Vec<String>,
    links: Vec<String>,
    link_local: Vec<String>,
    options: Vec<(String, String)>,
    ipv4: String,
    ipv6: String,
    mac: String,
    priority: i64,
}

pub(crate) fn check(value: &str) -> Result<(), String> {
    Attachment::parse(value).map(drop)
}

impl Attachment {
    fn parse(value: &str) -> Result<Self, String> {
        let mut attachment = Self::default();
        if !value.contains('=') {
            value.clone_into(&mut attachment.name);
            return Ok(attachment);
        }
        for field in value.split(',') {
            let (key, value) =
                field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
            let text = value.trim().to_owned();
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => attachment.name = text,
                "alias" => attachment.aliases.push(text),
                "ip" => attachment.ipv4 = text,
                "ip6" => attachment.ipv6 = text,
                "mac-address" if is_mac_address(&text) => attachment.mac = text,
                "mac-address" => return Err(format!("invalid mac address {text}")),
                "link-local-ip" => attachment.link_local.push(text),
                "driver-opt" => {
                    let (name, value) = text.split_once('=').ok_or_else(|| {
                        "invalid key value pair format in driver options".to_owned()
                    })?;
                    attachment.options.push((name.to_owned(), value.to_owned()));
                }
                "gw-priority" => {
                    attachment.priority =
                        text.parse().map_err(|_| format!("invalid gw-priority ({text})"))?;
                }
                key => return Err(format!("invalid field key {key}")),
            }
        }
        Ok(attachment)
    }

    fn is_user_defined(&self) -> bool {
        !matches!(self.name.as_str(), "" | "default" | "bridge" | "host" | "none")
            && !self.is_container()
    }

    fn is_container(&self) -> bool {
        self.name.starts_with("container:")
    }

    /// Writes the endpoint's settings.
    pub(crate) fn endpoint(&self) -> Json {
        let mut endpoint = Map::new();
        let mut ipam = Map::new();
        let set = |map: &mut Map<String, Json>, name: &str, value: Json| {
            if value != json!("") && value != json!([]) && value != json!({}) && value != json!(0) {
                map.insert(name.to_owned(), value);
            }
        };
        set(&mut ipam, "IPv4Address", json!(self.ipv4));
        set(&mut ipam, "IPv6Address", json!(self.ipv6));
        set(&mut ipam, "LinkLocalIPs", json!(self.link_local));
        set(&mut endpoint, "IPAMConfig", Json::Object(ipam));
        set(&mut endpoint, "Aliases", json!(self.aliases));
        set(&mut endpoint, "Links", json!(self.links));
        set(&mut endpoint, "MacAddress", json!(self.mac));
        set(&mut endpoint, "GwPriority", json!(self.priority));
        let options: Map<String, Json> =
            self.options.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        set(&mut endpoint, "DriverOpts", Json::Object(options));
        Json::Object(endpoint)
    }
}

/// Where a container is attached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Networks {
    /// The HostConfig's NetworkMode.
    pub(crate) mode: String,
    pub(crate) attachments: Vec<Attachment>,
}

impl Networks {
    /// Combines all `--network` values with the flags for the first one's endpoint.
    pub(crate) fn parse(flags: &Values) -> Result<Self, String> {
        let names = flags.all("network").iter();
        let mut attachments =
            names.map(|value| Attachment::parse(value)).collect::<Result<Vec<_>, _>>()?;
        let given = !attachments.is_empty();
        if !given {
            attachments.push(Attachment { name: "default".to_owned(), ..Attachment::default() });
        }
        for (index, attachment) in attachments.iter().enumerate() {
            if given && attachment.name.is_empty() {
                return Err("no name set for network".to_owned());
            }
            if attachments[..index].iter().any(|other| other.name == attachment.name) {
                return Err(format!("network {:?} is specified multiple times", attachment.name));
            }
        }
        let user_defined = attachments.iter().filter(|a| a.is_user_defined()).count();
        if user_defined > 0 && user_defined < attachments.len() {
            return Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned());
        }
        if attachments.len() > 1 && user_defined == 0 {
            return Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned());
        }
        apply_flags(&mut attachments[0], flags)?;
        Ok(Self { mode: attachments[0].name.clone(), attachments })
    }

    /// Writes NetworkingConfig.EndpointsConfig.
    pub(crate) fn endpoints(&self) -> Json {
        let endpoints = self.attachments.iter().filter_map(|attachment| {
            let endpoint = attachment.endpoint();
            let empty = endpoint.as_object().is_some_and(Map::is_empty);
            (!empty || attachment.is_user_defined()).then(|| (attachment.name.clone(), endpoint))
        });
        Json::Object(endpoints.collect())
    }
}

fn apply_flags(first: &mut Attachment, flags: &Values) -> Result<(), String> {
    let both = |flag: &str, what: &str| {
        format!("conflicting options: cannot specify both --{flag} and per-network {what}")
    };
    let aliases = flags.all("network-alias").to_vec();
    if !aliases.is_empty() {
        if !first.aliases.is_empty() {
            return Err(both("network-alias", "alias"));
        }
        if !first.is_user_defined() {
            return Err(
                "network-scoped aliases are only supported for user-defined networks".to_owned()
            );
        }
        first.aliases = aliases;
    }
    if !flags.all("link").is_empty() && first.is_user_defined() {
        first.links = flags.all("link").to_vec();
    }
    let fields: [(&str, &str, &mut String); 3] = [
        ("ip", "IPv4 address", &mut first.ipv4),
        ("ip6", "IPv6 address", &mut first.ipv6),
        ("mac-address", "MAC address", &mut first.mac),
    ];
    for (flag, what, field) in fields {
        if let Some(value) = flags.get(flag) {
            if !field.is_empty() {
                return Err(both(flag, what));
            }
            value.clone_into(field);
        }
    }
    if !flags.all("link-local-ip").is_empty() {
        if !first.link_local.is_empty() {
            return Err(both("link-local-ip", "link-local IP addresses"));
        }
        first.link_local = flags.all("link-local-ip").to_vec();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&'static str, &str)]) -> Result<Networks, String> {
        let mut flags = Values::default();
        for (name, value) in given {
            flags.set(name, *value);
        }
        Networks::parse(&flags)
    }

    #[test]
    fn endpoints_carry_the_flags() {
        let networks =
            parse(&[("network", "name=a,alias=x,ip=10.0.0.2"), ("network", "b")]).expect("parses");
        assert_eq!(networks.mode, "a");
        assert_eq!(
            networks.endpoints(),
            json!({"a": {"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}}, "b": {}})
        );
        assert_eq!(parse(&[]).expect("parses").endpoints(), json!({}));
        assert_eq!(parse(&[("network", "host")]).expect("parses").mode, "host");
    }

    #[test]
    fn conflicts_are_named() {
        let cases: [(&[(&'static str, &str)], &str); 4] = [
            (&[("network", "a"), ("network", "a")], "network \"a\" is specified multiple times"),
            (
                &[("network", "a"), ("network", "host")],
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
            (
                &[("network", "name=a,alias=x"), ("network-alias", "y")],
                "conflicting options: cannot specify both --network-alias and per-network alias",
            ),
            (
                &[("network", "host"), ("network-alias", "y")],
                "network-scoped aliases are only supported for user-defined networks",
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(parse(given), Err(expected.to_owned()));
        }
    }
}
