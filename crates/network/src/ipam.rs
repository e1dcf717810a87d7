//! Which addresses a network gets, and which a container gets in it. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::config::AddressPool;
use crate::record::{Cidr, IpamConfig};

/// Docker's local pools: 172.17 to 172.31 as /16, then 192.168 as /20.
const DEFAULT_POOLS: [([u8; 4], u8, u8); 7] = [
    ([172, 17, 0, 0], 16, 16),
    ([172, 18, 0, 0], 16, 16),
    ([172, 19, 0, 0], 16, 16),
    ([172, 20, 0, 0], 14, 16),
    ([172, 24, 0, 0], 14, 16),
    ([172, 28, 0, 0], 14, 16),
    ([192, 168, 0, 0], 16, 20),
];

/// Answers the first network of `pools` (empty: the default ones) that overlaps nothing in `taken`.
pub(crate) fn first_free_network(pools: &[AddressPool], taken: &[Cidr]) -> Option<Cidr> {
    let defaults: Vec<AddressPool>;
    let pools = if pools.is_empty() {
        defaults = default_pools();
        &defaults
    } else {
        pools
    };
    pools
        .iter()
        .flat_map(|pool| networks_of(*pool))
        .find(|network| !taken.iter().any(|other| other.overlaps(*network)))
}

fn default_pools() -> Vec<AddressPool> {
    let pool = |(base, prefix, size): ([u8; 4], u8, u8)| {
        Some(AddressPool { base: Cidr::new(base.into(), prefix)?, size })
    };
    DEFAULT_POOLS.into_iter().filter_map(pool).collect()
}

fn networks_of(pool: AddressPool) -> impl Iterator<Item = Cidr> {
    let base = pool.base.network();
    let bits = u32::from(pool.size.min(32).saturating_sub(base.prefix()));
    let step = 1_u64 << (32 - u32::from(pool.size.min(32)));
    (0..1_u64 << bits).filter_map(move |at| {
        let address = u64::from(base.address().to_bits()) + at * step;
        Cidr::new(Ipv4Addr::from_bits(u32::try_from(address).ok()?), pool.size)
    })
}

/// Whether a container may have this address in the network.
pub(crate) fn is_assignable(ipam: &IpamConfig, ip: Ipv4Addr) -> bool {
    ipam.subnet.contains(ip)
        && ip != ipam.subnet.network().address()
        && ip != ipam.subnet.broadcast()
        && ip != ipam.gateway
        && !ipam.aux_addresses.values().any(|aux| *aux == ip)
}

/// Answers the lowest address that nobody in `used` has.
pub(crate) fn lowest_free(ipam: &IpamConfig, used: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let range = ipam.ip_range.unwrap_or(ipam.subnet);
    (range.network().address().to_bits()..=range.broadcast().to_bits())
        .map(Ipv4Addr::from_bits)
        .find(|ip| is_assignable(ipam, *ip) && !used.contains(ip))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn pools_are_walked_in_dockers_order() {
        let first = |taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|text| cidr(text)).collect();
            first_free_network(&[], &taken).map(|network| network.to_string())
        };
        assert_eq!(first(&[]).as_deref(), Some("172.17.0.0/16"));
        assert_eq!(first(&["172.17.5.0/24"]).as_deref(), Some("172.18.0.0/16"));
        assert_eq!(first(&["172.16.0.0/12"]).as_deref(), Some("192.168.0.0/20"));
        assert_eq!(first(&["172.16.0.0/12", "192.168.1.0/24"]).as_deref(), Some("192.168.16.0/20"));
        assert_eq!(first(&["172.16.0.0/12", "192.168.0.0/16"]), None);
    }

    #[test]
    fn a_given_pool_is_cut_into_its_size() {
        let pool = AddressPool { base: cidr("10.9.0.0/22"), size: 24 };
        let all: Vec<_> = networks_of(pool).map(|network| network.to_string()).collect();
        assert_eq!(all, ["10.9.0.0/24", "10.9.1.0/24", "10.9.2.0/24", "10.9.3.0/24"]);
    }

    fn ipam(subnet: &str, gateway: &str) -> IpamConfig {
        IpamConfig {
            subnet: cidr(subnet),
            gateway: gateway.parse().unwrap(),
            ip_range: None,
            aux_addresses: BTreeMap::new(),
        }
    }

    #[test]
    fn the_smallest_networks_run_out() {
        let ipam = ipam("10.0.0.0/30", "10.0.0.1");
        let mut used = BTreeSet::new();
        let ip = lowest_free(&ipam, &used).unwrap();
        assert_eq!(ip, Ipv4Addr::new(10, 0, 0, 2));
        used.insert(ip);
        assert_eq!(lowest_free(&ipam, &used), None);
    }

    proptest! {
        #[test]
        fn the_lowest_free_address_is_free_and_none_below_it(hosts in prop::collection::btree_set(0_u8..=255, 0..256)) {
            let ipam = ipam("10.1.2.0/24", "10.1.2.1");
            let used: BTreeSet<_> = hosts.iter().map(|host| Ipv4Addr::new(10, 1, 2, *host)).collect();
            let naive = (2..=254).find(|host| !hosts.contains(host)).map(|host| Ipv4Addr::new(10, 1, 2, host));
            prop_assert_eq!(lowest_free(&ipam, &used), naive);
        }
    }
}
