//! `--publish` and `--expose`: from specifications to port maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value as Json, json};

/// What a container exposes and publishes, by `port/protocol`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) exposed: BTreeSet<String>,
    /// Pairs of host address and host port, either may be empty.
    pub(crate) bindings: BTreeMap<String, Vec<(String, String)>>,
}

impl Ports {
    /// Reads all `--publish` and `--expose` values.
    pub(crate) fn parse(publish: &[String], expose: &[String]) -> Result<Self, String> {
        let mut ports = Self::default();
        for spec in publish {
            if spec.contains('=') { ports.add_long(spec)? } else { ports.add_short(spec)? }
        }
        for spec in expose {
            ports.add_exposed(spec)?;
        }
        Ok(ports)
    }

    pub(crate) fn exposed_json(&self) -> Json {
        Json::Object(self.exposed.iter().map(|port| (port.clone(), json!({}))).collect())
    }

    pub(crate) fn bindings_json(&self) -> Json {
        let binding = |(ip, port): &(String, String)| json!({"HostIp": ip, "HostPort": port});
        let list =
            |bindings: &Vec<(String, String)>| Json::Array(bindings.iter().map(binding).collect());
        Json::Object(
            self.bindings.iter().map(|(port, bindings)| (port.clone(), list(bindings))).collect(),
        )
    }

    fn expose(&mut self, port: &str) {
        self.exposed.insert(port.to_owned());
    }

    fn publish(&mut self, port: &str, ip: &str, host_port: String) {
        self.expose(port);
        self.bindings.entry(port.to_owned()).or_default().push((ip.to_owned(), host_port));
    }

    /// `[[ip:][host[-host]]:]container[-container][/protocol]`
    fn add_short(&mut self, spec: &str) -> Result<(), String> {
        let (ip, host, container) = split_spec(spec);
        let ip = match ip {
            "" => "",
            ip => {
                let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                if bare.parse::<IpAddr>().is_err() {
                    return Err(format!("invalid IP address: {ip}"));
                }
                bare
            }
        };
        let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
        if container.is_empty() {
            return Err(format!("no port specified: {spec}<empty>"));
        }
        let (first, last) =
            range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
        let host_range = match host {
            "" => None,
            host => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
        };
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(format!("invalid proto: {protocol}"));
        }
        if let Some((host_first, host_last)) = host_range
            && host_last - host_first != last - first
            // A range of the host for one container port means any free one of it.
            && first != last
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        for offset in 0..=(last - first) {
            let host_port = match host_range {
                None => String::new(),
                Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
                Some((from, _)) => (from + offset).to_string(),
            };
            self.publish(&format!("{}/{protocol}", first + offset), ip, host_port);
        }
        Ok(())
    }

    /// `published=…,target=…,protocol=…`
    fn add_long(&mut self, spec: &str) -> Result<(), String> {
        let (mut target, mut published, mut protocol, mut ip) = ("", "", "tcp", "");
        for field in spec.split(',') {
            let (key, value) =
                field.split_once('=').ok_or_else(|| format!("invalid field: {field}"))?;
            match key {
                "target" => target = value,
                "published" => published = value,
                "protocol" => protocol = value,
                "host_ip" => ip = value,
                "mode" => {}
                _ => return Err(format!("invalid field key: {key}")),
            }
        }
        let host = if ip.is_empty() && published.is_empty() {
            String::new()
        } else if ip.is_empty() {
            format!("{published}:")
        } else {
            format!("{ip}:{published}:")
        };
        self.add_short(&format!("{host}{target}/{protocol}"))
    }

    fn add_exposed(&mut self, spec: &str) -> Result<(), String> {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
        let invalid =
            |why: String| format!("invalid range format for --expose: {spec}, error: {why}");
        if ports.is_empty() {
            return Err(invalid("empty string specified for ports".to_owned()));
        }
        let number = |text: &str| {
            text.parse::<u16>().map_err(|_| {
                let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let why = if is_number { "value out of range" } else { "invalid syntax" };
                invalid(format!("strconv.ParseUint: parsing {text:?}: {why}"))
            })
        };
        let (first, last) = match ports.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(ports)?, number(ports)?),
        };
        if last < first {
            return Err(invalid(format!("invalid range specified for port: {ports}")));
        }
        for port in first..=last {
            self.expose(&format!("{port}/{}", protocol.to_ascii_lowercase()));
        }
        Ok(())
    }
}

/// Splits from the right, so that a bare IPv6 address keeps its colons.
fn split_spec(spec: &str) -> (&str, &str, &str) {
    match spec.rsplit_once(':') {
        None => ("", "", spec),
        Some((rest, container)) => match rest.rsplit_once(':') {
            None => ("", rest, container),
            Some((ip, host)) => (ip, host, container),
        },
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => {
            let port = text.parse().ok()?;
            (port, port)
        }
    };
    (first <= last).then_some((first, last))
}

/// Only the shape of the long form is a matter of the flag itself.
pub(crate) fn check(_: &str) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(publish: &str) -> Result<Vec<(String, String, String)>, String> {
        let ports = Ports::parse(&[publish.to_owned()], &[])?;
        let flat = ports.bindings.into_iter();
        Ok(flat
            .flat_map(|(port, all)| all.into_iter().map(move |(ip, host)| (port.clone(), ip, host)))
            .collect())
    }

    #[test]
    fn published_ports_parse() {
        type Row = (&'static str, &'static [(&'static str, &'static str, &'static str)]);
        let cases: [Row; 9] = [
            ("80", &[("80/tcp", "", "")]),
            ("8080:80", &[("80/tcp", "", "8080")]),
            ("127.0.0.1:8080:80/udp", &[("80/udp", "127.0.0.1", "8080")]),
            ("127.0.0.1::80", &[("80/tcp", "127.0.0.1", "")]),
            ("[::1]:8080:80", &[("80/tcp", "::1", "8080")]),
            ("8080-8081:80-81", &[("80/tcp", "", "8080"), ("81/tcp", "", "8081")]),
            ("8080-8090:80", &[("80/tcp", "", "8080-8090")]),
            ("80-81", &[("80/tcp", "", ""), ("81/tcp", "", "")]),
            ("published=8080,target=80,protocol=udp", &[("80/udp", "", "8080")]),
        ];
        for (spec, expected) in cases {
            let got = parse(spec).expect(spec);
            let got: Vec<(&str, &str, &str)> =
                got.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
            assert_eq!(got, expected, "{spec}");
        }
    }

    #[test]
    fn malformed_ports_are_named() {
        let cases = [
            ("x", "invalid containerPort: x"),
            (
                "80-90:80-85",
                "invalid ranges specified for container and host Ports: 80-85 and 80-90",
            ),
            ("80:99999", "invalid containerPort: 99999"),
            ("a:80", "invalid hostPort: a"),
            ("80/foo", "invalid proto: foo"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("published=80,target=x", "invalid containerPort: x"),
        ];
        for (spec, expected) in cases {
            assert_eq!(parse(spec), Err(expected.to_owned()), "{spec}");
        }
        let expose = |spec: &str| Ports::parse(&[], &[spec.to_owned()]).expect_err("refused");
        assert_eq!(expose("a:b"), "invalid port format for --expose: a:b");
        assert_eq!(
            expose("5-3"),
            "invalid range format for --expose: 5-3, error: invalid range specified for port: 5-3"
        );
    }
}
