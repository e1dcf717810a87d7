//! Networks of the swarm, made and removed from this host.

use std::net::IpAddr;

use linux::netlink::Family;

use super::fabric::OverlayRequest;
use super::options;
use super::record::record_of;
use crate::bridge;
use crate::cidr::Cidr;
use crate::create::{IpamRequest, NetworkRequest, check_driver_of_ipam, check_name, ipam_config};
use crate::error::{Error, Result};
use crate::network::{Inner, lock};
use crate::record::NetworkRecord;

impl Inner {
    /// Has the swarm make a network. Waits for it: no lock may be held.
    pub(crate) fn create_overlay(&self, request: &NetworkRequest) -> Result<NetworkRecord> {
        let mut wanted = draft(request)?;
        let Some((fabric, _)) = self.fabric() else { return Err(Error::NotManager) };
        if lock(&self.state).networks.values().any(|other| other.name == wanted.name) {
            return Err(Error::NetworkExists(wanted.name));
        }
        let routed = bridge::routed_networks(&mut lock(&self.kernel).route, Family::V4, None)?;
        wanted.avoid = routed;
        {
            let state = lock(&self.state);
            let others = state.networks.values().flat_map(|other| &other.ipam);
            wanted.avoid.extend(others.map(|ipam| ipam.subnet));
        }
        wanted.avoid.retain(|range| range.is_ipv4());
        let network = fabric.create(&wanted).map_err(Error::Swarm)?;
        Ok(record_of(&network))
    }

    /// Has the swarm remove a network. Waits for it: no lock may be held.
    pub(crate) fn remove_overlay(&self, record: &NetworkRecord) -> Result<()> {
        lock(&self.state).check_unused(record)?;
        let Some((fabric, _)) = self.fabric() else { return Err(Error::NotManager) };
        fabric.remove(&record.id).map_err(Error::Swarm)
    }
}

/// What can be said without looking at anything else.
fn draft(request: &NetworkRequest) -> Result<OverlayRequest> {
    check_name(&request.name)?;
    check_driver_of_ipam(request)?;
    let options = options::parse(&request.options)?;
    if request.enable_ipv6 == Some(true) || request.ipam.iter().any(is_ipv6) {
        return Err(Error::NotImplemented("IPv6 in an overlay network"));
    }
    if request.enable_ipv4 == Some(false) {
        return Err(Error::Invalid("IPv4 must be enabled in an overlay network".to_owned()));
    }
    let [asked] = request.ipam.as_slice() else {
        if request.ipam.is_empty() {
            return Ok(without_subnet(request));
        }
        return Err(Error::Invalid("an overlay network has one subnet".to_owned()));
    };
    let mut wanted = without_subnet(request);
    let Some(subnet) = asked.subnet else {
        if *asked != IpamRequest::default() {
            return Err(Error::Invalid(
                "every ip-range or gateway must have a corresponding subnet".to_owned(),
            ));
        }
        return Ok(wanted);
    };
    if subnet != subnet.network() {
        return Err(Error::HostBits { given: subnet, wanted: subnet.network() });
    }
    let ipam = ipam_config(subnet, asked, &options)?;
    wanted.subnet = Some(subnet);
    wanted.gateway = match ipam.gateway {
        Some(IpAddr::V4(gateway)) => Some(gateway),
        _ => None,
    };
    wanted.ip_range = ipam.ip_range;
    wanted.aux_addresses = ipam.aux_addresses;
    Ok(wanted)
}

fn without_subnet(request: &NetworkRequest) -> OverlayRequest {
    OverlayRequest {
        name: request.name.clone(),
        attachable: request.attachable,
        internal: request.internal,
        labels: request.labels.clone(),
        options: request.options.clone(),
        ..OverlayRequest::default()
    }
}

fn is_ipv6(ipam: &IpamRequest) -> bool {
    let is_v4 = |range: Option<Cidr>| range.is_none_or(Cidr::is_ipv4);
    !is_v4(ipam.subnet) || !is_v4(ipam.ip_range) || ipam.gateway.is_some_and(|it| it.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_overlay_cannot_be_is_named() {
        let request = |change: &dyn Fn(&mut NetworkRequest)| {
            let mut request = NetworkRequest { name: "ov".to_owned(), ..Default::default() };
            change(&mut request);
            draft(&request)
        };
        let pool = |subnet: &str| IpamRequest {
            subnet: Some(subnet.parse().unwrap()),
            ..IpamRequest::default()
        };
        let good = request(&|it| it.ipam = vec![pool("10.9.0.0/24")]).unwrap();
        assert_eq!(good.subnet.unwrap().to_string(), "10.9.0.0/24");
        // Which address the gateway has is the swarm's to say.
        assert_eq!(good.gateway, None);
        for (expected, refused) in [
            ("IPv6", request(&|it| it.enable_ipv6 = Some(true))),
            ("IPv6", request(&|it| it.ipam = vec![pool("fd00::/64")])),
            ("IPv4 must", request(&|it| it.enable_ipv4 = Some(false))),
            ("one subnet", request(&|it| it.ipam = vec![pool("10.9.0.0/24"), pool("10.8.0.0/24")])),
            ("it should be 10.9.0.0/24", request(&|it| it.ipam = vec![pool("10.9.0.1/24")])),
            ("no room", request(&|it| it.ipam = vec![pool("10.9.0.0/31")])),
            ("encrypted", request(&|it| drop(it.options.insert("encrypted".into(), "".into())))),
            ("IPAM driver", request(&|it| it.ipam_driver = "x".to_owned())),
            ("letters", request(&|it| it.name = "a/b".to_owned())),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
