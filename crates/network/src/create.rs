//! Networks that users make and remove.
//!
//! ```text
//! create: checks -> addresses -> record (the commit) -> bridge -> rules -> names
//! remove: record gone (the commit) -> bridge -> rules -> names
//! ```
//! A crash after the record was written is completed by opening again, which makes every bridge that
//! a record names; one after it was removed by the next reconciliation, which deletes every bridge of
//! ours that none names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linux::netlink::Family;

use crate::cidr::Cidr;
use crate::error::{Error, Result};
use crate::macvlan::MacvlanOptions;
use crate::network::{Inner, Kernel, Network, lock};
use crate::options::{BridgeOptions, GatewayMode};
use crate::predefined::new_record;
use crate::record::{Driver, IpamConfig, NetworkRecord, is_predefined};
use crate::state::State;
use crate::turn::Turn;
use crate::{bridge, ipam, macvlan};

/// A network to make. "Engine API NetworkCreate".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    pub name: String,
    /// Empty: `bridge`.
    pub driver: String,
    pub internal: bool,
    pub attachable: bool,
    /// `None`: yes.
    pub enable_ipv4: Option<bool>,
    /// `None`: if a subnet of it is given.
    pub enable_ipv6: Option<bool>,
    /// Empty: `default`.
    pub ipam_driver: String,
    /// `None` and none at all come to the same, and are shown as they were said.
    pub ipam_options: Option<BTreeMap<String, String>>,
    pub ipam: Vec<IpamRequest>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// A subnet to be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpamRequest {
    /// `None`: from the pools.
    pub subnet: Option<Cidr>,
    pub ip_range: Option<Cidr>,
    pub gateway: Option<IpAddr>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

impl Network {
    /// Makes a network. Answers with it and what its maker should know.
    ///
    /// # Errors
    /// If the name, a subnet or the bridge is taken, something asked for cannot be, or the kernel
    /// refuses; nothing of it stays then.
    pub fn create(&self, request: &NetworkRequest) -> Result<(NetworkRecord, Vec<String>)> {
        let inner = &self.inner;
        if request.driver == "overlay" {
            return Ok((inner.create_overlay(request)?, Vec::new()));
        }
        let (mut record, options) = draft(request)?;
        let swarm = inner.swarm_networks();
        if swarm.iter().any(|other| other.name == record.name) {
            return Err(Error::NetworkExists(record.name));
        }
        // Held to the end: two networks made at once must not get the same subnet.
        let mut kernel = lock(&inner.kernel);
        let turn = Turn::take()?;
        let warnings = inner.choose_subnets(&mut kernel, &mut record, &options, request)?;
        {
            let mut state = lock(&inner.state);
            check_free(&state, &record)?;
            state.networks.insert(record.id.clone(), record.clone());
        }
        let made = inner.store.put_network(&record).and_then(|()| {
            inner.ensure_bridge(&mut kernel, &record)?;
            drop(turn);
            inner.apply_bridge_rules(&mut kernel)?;
            inner.write_names(&record.id)
        });
        if let Err(error) = made {
            if let Err(undo) = inner.remove_network(&mut kernel, &record) {
                tracing::warn!(network = record.name, error = %undo, "cannot undo a network");
            }
            return Err(error);
        }
        Ok((record, warnings))
    }

    /// Removes a network that nobody is connected to.
    ///
    /// # Errors
    /// If there is no such network, it is predefined or in use.
    pub fn remove(&self, network: &str) -> Result<NetworkRecord> {
        let inner = &self.inner;
        let record = inner.resolve(network)?;
        if record.is_predefined() {
            return Err(Error::Predefined(record.name));
        }
        if record.is_swarm() {
            inner.remove_overlay(&record)?;
            return Ok(record);
        }
        inner.remove_network(&mut lock(&inner.kernel), &record)?;
        Ok(record)
    }
}

/// What can be said without looking at anything else.
fn draft(request: &NetworkRequest) -> Result<(NetworkRecord, BridgeOptions)> {
    let name = &request.name;
    check_name(name)?;
    let driver = match request.driver.as_str() {
        "" | "bridge" => Driver::Bridge,
        "macvlan" => Driver::Macvlan,
        "ipvlan" => return Err(macvlan::no_ipvlan()),
        "host" => return Err(Error::OneInstance("host")),
        "null" => return Err(Error::OneInstance("null")),
        other => return Err(Error::DriverNotFound(other.escape_default().to_string())),
    };
    check_driver_of_ipam(request)?;
    let (options, has_wire) = match driver {
        Driver::Macvlan => {
            let options = MacvlanOptions::parse(&request.options)?;
            (options.common, options.parent.is_some())
        }
        _ => (BridgeOptions::parse(&request.options)?, true),
    };
    let given_ipv6 = request.ipam.iter().any(|ipam| ipam.family() == Some(Family::V6));
    let enable_ipv4 = request.enable_ipv4.unwrap_or(true);
    let enable_ipv6 = request.enable_ipv6.unwrap_or(given_ipv6);
    if !enable_ipv4 && !enable_ipv6 {
        return Err(Error::Invalid("IPv4 or IPv6 must be enabled".to_owned()));
    }
    for family in Family::BOTH {
        if options.mode(family) == GatewayMode::Isolated && !request.internal {
            return Err(Error::Invalid(
                "gateway mode 'isolated' can only be used for an internal network".to_owned(),
            ));
        }
    }
    if options.segment_limit_bytes.is_some() {
        bridge::check_segments()?;
    }
    let mut record = new_record(name, driver);
    if driver == Driver::Bridge {
        let bridge = options.name.clone().unwrap_or_else(|| format!("br-{}", &record.id[..12]));
        record.interface = Some(bridge);
    }
    record.enable_ipv4 = enable_ipv4;
    record.enable_ipv6 = enable_ipv6;
    // Without a wire there is no way out.
    record.internal = request.internal || !has_wire;
    record.attachable = request.attachable;
    record.ipam_options.clone_from(&request.ipam_options);
    record.options.clone_from(&request.options);
    record.labels.clone_from(&request.labels);
    Ok((record, options))
}

/// Refuses what chooses addresses otherwise.
pub(crate) fn check_driver_of_ipam(request: &NetworkRequest) -> Result<()> {
    if !matches!(request.ipam_driver.as_str(), "" | "default") {
        return Err(Error::Invalid(format!(
            "could not find IPAM driver \"{}\": there is \"default\"",
            request.ipam_driver.escape_default()
        )));
    }
    match request.ipam_options.iter().flat_map(BTreeMap::keys).next() {
        None => Ok(()),
        Some(option) => Err(Error::Invalid(format!(
            "invalid option \"{}\": the IPAM driver \"default\" has none",
            option.escape_default()
        ))),
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    if is_predefined(name) {
        return Err(Error::PredefinedName(name.to_owned()));
    }
    let is_name = name.trim() == name && !name.is_empty() && name.len() <= 255;
    if is_name && !name.chars().any(|letter| letter.is_control() || letter == '/') {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "invalid network name \"{}\": it must have 1 to 255 letters, none of them '/' or a control \
         character, and no space at either end",
        name.escape_default()
    )))
}

fn check_free(state: &State, record: &NetworkRecord) -> Result<()> {
    if state.networks.values().any(|other| other.name == record.name) {
        return Err(Error::NetworkExists(record.name.clone()));
    }
    if record.driver == Driver::Macvlan {
        return macvlan::check_parent(state, record);
    }
    let same_bridge = state.networks.values().find(|other| other.interface == record.interface);
    if let Some(other) = same_bridge.filter(|_| record.interface.is_some()) {
        return Err(Error::BridgeTaken {
            network: record.name.clone(),
            bridge: record.interface.clone().unwrap_or_default(),
            other: other.name.clone(),
        });
    }
    Ok(())
}

impl IpamRequest {
    /// Of what it says, if it says anything.
    fn family(&self) -> Option<Family> {
        let subnet = self.subnet.or(self.ip_range).map(Cidr::family);
        subnet.or(self.gateway.map(Family::of))
    }
}

impl Inner {
    /// Fills the record's subnets in. Answers warnings.
    fn choose_subnets(
        &self,
        kernel: &mut Kernel,
        record: &mut NetworkRecord,
        options: &BridgeOptions,
        request: &NetworkRequest,
    ) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for (family, enabled) in
            [(Family::V4, record.enable_ipv4), (Family::V6, record.enable_ipv6)]
        {
            let asked: Vec<&IpamRequest> = request
                .ipam
                .iter()
                .filter(|ipam| ipam.family().unwrap_or(Family::V4) == family)
                .collect();
            if !enabled {
                if asked.iter().any(|ipam| ipam.family().is_some()) {
                    return Err(Error::Invalid(format!(
                        "a subnet of IPv{} is given for a network without it",
                        if family == Family::V4 { 4 } else { 6 }
                    )));
                }
                continue;
            }
            if asked.len() > 1 {
                return Err(Error::Invalid(format!(
                    "{} driver doesn't support multiple subnets of one family",
                    record.driver
                )));
            }
            let asked = asked.first().copied().cloned().unwrap_or_default();
            let routed = bridge::routed_networks(&mut kernel.route, family, None)?;
            let subnet = self.choose_subnet(record, &asked, family, &routed, &mut warnings)?;
            record.ipam.push(ipam_config(subnet, &asked, options)?);
        }
        Ok(warnings)
    }

    fn choose_subnet(
        &self,
        record: &NetworkRecord,
        asked: &IpamRequest,
        family: Family,
        routed: &[Cidr],
        warnings: &mut Vec<String>,
    ) -> Result<Cidr> {
        let state = lock(&self.state);
        let others = state
            .networks
            .values()
            .flat_map(|other| other.ipam.iter().map(|ipam| (ipam.subnet, other.name.as_str())));
        let Some(subnet) = asked.subnet else {
            if asked.ip_range.is_some()
                || asked.gateway.is_some()
                || !asked.aux_addresses.is_empty()
            {
                return Err(Error::Invalid(
                    "every ip-range or gateway must have a corresponding subnet".to_owned(),
                ));
            }
            let mut taken = routed.to_vec();
            taken.extend(others.map(|(subnet, _)| subnet));
            let host = state.networks.values().find(|other| other.driver == Driver::Host);
            let host_id = host.map_or("", |host| host.id.as_str());
            let pools = &self.config.default_address_pools;
            return ipam::first_free_network(pools, family, host_id, &taken)
                .ok_or(Error::PoolsExhausted);
        };
        if subnet != subnet.network() {
            return Err(Error::HostBits { given: subnet, wanted: subnet.network() });
        }
        let mut others = others;
        if let Some((other, network)) = others.find(|(other, _)| other.overlaps(subnet)) {
            return Err(Error::SubnetTaken { subnet, other, network: network.to_owned() });
        }
        // Asked for in so many words, but seldom meant; on a wire it is the host's own network.
        if record.driver == Driver::Bridge
            && let Some(route) = routed.iter().find(|route| route.overlaps(subnet))
        {
            warnings.push(format!(
                "subnet {subnet} of network {} overlaps {route}, into which this host has a route",
                record.name
            ));
        }
        Ok(subnet)
    }

    fn remove_network(&self, kernel: &mut Kernel, record: &NetworkRecord) -> Result<()> {
        {
            let mut state = lock(&self.state);
            state.check_unused(record)?;
            if state.networks.remove(&record.id).is_none() {
                return Err(Error::NetworkNotFound(record.name.clone()));
            }
        }
        if let Err(error) = self.store.remove_network(&record.id) {
            lock(&self.state).networks.insert(record.id.clone(), record.clone());
            return Err(error);
        }
        let deleted = match &record.interface {
            Some(bridge) => bridge::delete(&mut kernel.route, &self.config, bridge),
            None if record.driver == Driver::Macvlan => {
                macvlan::remove_parent(&mut kernel.route, &self.config, record)
            }
            None => Ok(()),
        };
        deleted.and(self.apply_bridge_rules(kernel)).and(self.write_names(&record.id))
    }
}

/// Checks what was asked of a subnet against it.
pub(crate) fn ipam_config(
    subnet: Cidr,
    asked: &IpamRequest,
    options: &BridgeOptions,
) -> Result<IpamConfig> {
    let outside = |what: &str, address: &dyn std::fmt::Display| {
        Error::Invalid(format!("no matching subnet for {what} {address}"))
    };
    let longest = if subnet.is_ipv4() { 30 } else { 126 };
    if subnet.prefix() > longest {
        return Err(Error::Invalid(format!(
            "invalid subnet {subnet}: it has no room for a gateway and a container; use /{longest} \
             or larger"
        )));
    }
    if let Some(range) = asked.ip_range {
        if !subnet.covers(range) {
            return Err(outside("range", &range));
        }
        if range != range.network() {
            return Err(Error::Invalid(format!(
                "invalid ip-range {range}: it should be {}",
                range.network()
            )));
        }
    }
    if let Some((_, address)) = asked.aux_addresses.iter().find(|(_, ip)| !subnet.contains(**ip)) {
        return Err(outside("aux-address", address));
    }
    let taken = |ip: IpAddr| asked.aux_addresses.values().any(|aux| *aux == ip);
    let isolated = options.mode(subnet.family()) == GatewayMode::Isolated;
    let gateway = match asked.gateway {
        Some(ip) if !subnet.contains(ip) => return Err(outside("gateway", &ip)),
        Some(ip) if ip == subnet.address() || (ip.is_ipv4() && ip == subnet.last()) => {
            return Err(Error::Invalid(format!(
                "invalid gateway {ip}: it is the first or the last address of {subnet}"
            )));
        }
        Some(ip) if taken(ip) => return Err(Error::AddressInUse(ip)),
        Some(ip) => Some(ip),
        None if isolated => None,
        None => (1..).map_while(|at| subnet.nth(at)).find(|ip| !taken(*ip)),
    };
    Ok(IpamConfig {
        subnet,
        gateway,
        ip_range: asked.ip_range,
        aux_addresses: asked.aux_addresses.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn config(subnet: &str, asked: &IpamRequest) -> Result<IpamConfig> {
        ipam_config(cidr(subnet), asked, &BridgeOptions::parse(&BTreeMap::new()).unwrap())
    }

    #[test]
    fn names_can_be_typed() {
        for (name, good) in [
            ("mynet", true),
            ("a", true),
            ("0.b-c_d", true),
            ("", false),
            ("test 01", true),
            ("ä", true),
            (" a", false),
            ("a/b", false),
            ("a\n", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        }
        let error = check_name("host").unwrap_err().to_string();
        assert_eq!(error, "operation is not permitted on predefined host network");
    }

    #[test]
    fn what_belongs_to_a_subnet_is_in_it() {
        let asked = IpamRequest::default();
        let gateway = config("10.1.0.0/16", &asked).unwrap().gateway.unwrap();
        assert_eq!(gateway.to_string(), "10.1.0.1");
        let aux = BTreeMap::from([("router".to_owned(), gateway)]);
        let asked = IpamRequest { aux_addresses: aux, ..IpamRequest::default() };
        let gateway = config("10.1.0.0/16", &asked).unwrap().gateway.unwrap();
        assert_eq!(gateway.to_string(), "10.1.0.2");
        let refused = |asked: IpamRequest| config("10.1.0.0/16", &asked).unwrap_err().to_string();
        let range = |text: &str| IpamRequest { ip_range: Some(cidr(text)), ..Default::default() };
        let gateway =
            |text: &str| IpamRequest { gateway: Some(text.parse().unwrap()), ..Default::default() };
        assert_eq!(refused(range("10.2.0.0/24")), "no matching subnet for range 10.2.0.0/24");
        assert_eq!(refused(range("10.0.0.0/8")), "no matching subnet for range 10.0.0.0/8");
        assert_eq!(refused(gateway("10.2.0.1")), "no matching subnet for gateway 10.2.0.1");
        assert!(refused(gateway("10.1.255.255")).contains("the last address"));
        assert!(config("10.1.0.0/31", &IpamRequest::default()).is_err());
    }

    #[test]
    fn drivers_and_options_are_known() {
        let request = |driver: &str| NetworkRequest {
            name: "x".to_owned(),
            driver: driver.to_owned(),
            ..NetworkRequest::default()
        };
        let refused = |request: &NetworkRequest| draft(request).unwrap_err().to_string();
        assert_eq!(refused(&request("host")), "only one instance of \"host\" network is allowed");
        assert_eq!(refused(&request("foo")), "plugin \"foo\" not found");
        let mut isolated = request("bridge");
        let mode = "com.docker.network.bridge.gateway_mode_ipv4".to_owned();
        isolated.options.insert(mode, "isolated".to_owned());
        assert!(refused(&isolated).contains("internal network"));
        isolated.internal = true;
        assert!(draft(&isolated).is_ok());
        let neither =
            NetworkRequest { enable_ipv4: Some(false), enable_ipv6: Some(false), ..request("") };
        assert_eq!(refused(&neither), "IPv4 or IPv6 must be enabled");
    }
}
