//! `network create`.

use std::net::IpAddr;

use docker_api::Request;
use serde_json::{Map, Value as Json, json};

use crate::container::env;
use crate::grammar::{Call, Outcome, Values};
use crate::volume::pairs;

/// `network create [OPTIONS] NETWORK`
pub(crate) async fn create(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let mut body = json!({
        "Name": call.args[0],
        "Driver": flags.get("driver").unwrap_or("bridge"),
        "Options": pairs(flags.all("opt")),
        "IPAM": {
            "Driver": flags.get("ipam-driver").unwrap_or("default"),
            "Options": pairs(flags.all("ipam-opt")),
            "Config": pools(flags)?,
        },
        "Internal": flags.on("internal"),
        "Attachable": flags.on("attachable"),
        "Ingress": flags.on("ingress"),
        "Scope": flags.text("scope"),
        "ConfigOnly": flags.on("config-only"),
        "Labels": env::labels(&[], flags.all("label"))?,
    });
    for (flag, name) in [("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")] {
        if flags.given(flag) {
            body[name] = json!(flags.on(flag));
        }
    }
    if let Some(name) = flags.get("config-from") {
        body["ConfigFrom"] = json!({"Network": name});
    }
    let client = call.cli.client().await?;
    let answer: Json =
        client.call(Request::post("/networks/create").json(&body)).await?.json().await?;
    if let Some(warning) = answer["Warning"].as_str().filter(|warning| !warning.is_empty()) {
        eprintln!("WARNING: {warning}");
    }
    println!("{}", answer["Id"].as_str().unwrap_or_default());
    Ok(0)
}

/// A subnet in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subnet {
    address: IpAddr,
    length: u8,
}

impl Subnet {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid CIDR address: {text}");
        let (address, length) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let length: u8 = length.parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if length > longest { Err(invalid()) } else { Ok(Self { address, length }) }
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.length);
                shift == 32 || u32::from(net) >> shift == u32::from(ip) >> shift
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.length);
                shift == 128 || u128::from(net) >> shift == u128::from(ip) >> shift
            }
            _ => false,
        }
    }

    fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

/// Assigns ranges, gateways and auxiliary addresses to their subnets.
fn pools(flags: &Values) -> Result<Vec<Json>, String> {
    let texts = flags.split("subnet");
    let (ranges, gateways) = (flags.split("ip-range"), flags.split("gateway"));
    if texts.len() < ranges.len() || texts.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let subnets = texts.iter().map(|text| Subnet::parse(text)).collect::<Result<Vec<_>, _>>()?;
    for (index, subnet) in subnets.iter().enumerate() {
        if subnets[..index].iter().any(|other| other.overlaps(*subnet)) {
            return Err("multiple overlapping subnet configuration is not supported".to_owned());
        }
    }
    let mut pools: Vec<Json> = texts.iter().map(|text| json!({"Subnet": text})).collect();
    let holder = |address: IpAddr| subnets.iter().position(|subnet| subnet.contains(address));
    let missing = |what: &str, text: &str| format!("no matching subnet for {what} {text}");
    for range in &ranges {
        let index = holder(Subnet::parse(range)?.address).ok_or_else(|| missing("range", range))?;
        if pools[index].get("IPRange").is_some() {
            return Err(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                pools[index]["IPRange"].as_str().unwrap_or_default(),
                texts[index]
            ));
        }
        pools[index]["IPRange"] = json!(range);
    }
    for gateway in &gateways {
        let address: IpAddr = gateway.parse().map_err(|_| missing("gateway", gateway))?;
        let index = holder(address).ok_or_else(|| missing("gateway", gateway))?;
        if pools[index].get("Gateway").is_some() {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                pools[index]["Gateway"].as_str().unwrap_or_default(),
                texts[index]
            ));
        }
        pools[index]["Gateway"] = json!(gateway);
    }
    for auxiliary in flags.all("aux-address") {
        let (name, text) = auxiliary.split_once('=').unwrap_or((auxiliary, ""));
        let address = text.parse().ok().and_then(holder);
        let index = address.ok_or_else(|| missing("aux-address", text))?;
        if pools[index].get("AuxiliaryAddresses").is_none() {
            pools[index]["AuxiliaryAddresses"] = Json::Object(Map::new());
        }
        pools[index]["AuxiliaryAddresses"][name] = json!(text);
    }
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&'static str, &str)]) -> Result<Vec<Json>, String> {
        let mut flags = Values::default();
        for (name, value) in given {
            flags.set(name, *value);
        }
        pools(&flags)
    }

    #[test]
    fn addresses_find_their_subnet() {
        let got = parse(&[
            ("subnet", "10.1.0.0/16"),
            ("subnet", "fd00::/64"),
            ("gateway", "fd00::1"),
            ("ip-range", "10.1.2.0/24"),
            ("aux-address", "a=10.1.0.9"),
        ]);
        assert_eq!(
            got.expect("parses"),
            [
                json!({"Subnet": "10.1.0.0/16", "IPRange": "10.1.2.0/24", "AuxiliaryAddresses": {"a": "10.1.0.9"}}),
                json!({"Subnet": "fd00::/64", "Gateway": "fd00::1"}),
            ]
        );
    }

    #[test]
    fn contradictions_are_named() {
        let cases: [(&[(&'static str, &str)], &str); 4] = [
            (
                &[("gateway", "10.0.0.1")],
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                &[("subnet", "10.0.0.0/8"), ("subnet", "10.1.0.0/16")],
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                &[("subnet", "10.0.0.0/8"), ("gateway", "11.0.0.1")],
                "no matching subnet for gateway 11.0.0.1",
            ),
            (&[("subnet", "x")], "invalid CIDR address: x"),
        ];
        for (given, expected) in cases {
            assert_eq!(parse(given), Err(expected.to_owned()));
        }
    }
}
