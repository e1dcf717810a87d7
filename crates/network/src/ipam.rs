//! Which addresses a network gets, and which a container gets in it. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use linux::netlink::Family;

use crate::cidr::Cidr;
use crate::config::AddressPool;
use crate::record::IpamConfig;

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
/// Networks of one pool that are looked at; those of IPv6 would never end.
const NETWORKS_OF_A_POOL: u128 = 1 << 16;

/// Answers the first network of `pools` (none of this family: the default ones) that overlaps
/// nothing in `taken`.
pub(crate) fn first_free_network(
    pools: &[AddressPool],
    family: Family,
    host_id: &str,
    taken: &[Cidr],
) -> Option<Cidr> {
    let mut pools: Vec<AddressPool> =
        pools.iter().copied().filter(|pool| pool.base.family() == family).collect();
    if pools.is_empty() {
        pools = match family {
            Family::V4 => default_pools(),
            Family::V6 => vec![local_pool(host_id)],
        };
    }
    pools
        .iter()
        .flat_map(|pool| networks_of(*pool))
        .find(|network| !taken.iter().any(|other| other.overlaps(*network)))
}

fn default_pools() -> Vec<AddressPool> {
    let pool = |(base, prefix, size): ([u8; 4], u8, u8)| {
        Some(AddressPool { base: Cidr::new(IpAddr::from(base), prefix)?, size })
    };
    DEFAULT_POOLS.into_iter().filter_map(pool).collect()
}

/// This host's own unique local addresses (RFC 4193): fd, forty bits of its id, /64 each.
fn local_pool(host_id: &str) -> AddressPool {
    let global = host_id.get(..10).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let bits = (0xfd_u128 << 120) | (u128::from(global) << 80);
    let base = Cidr::new(Ipv6Addr::from_bits(bits), 48).expect("48 bits fit into an address");
    AddressPool { base, size: 64 }
}

fn networks_of(pool: AddressPool) -> impl Iterator<Item = Cidr> {
    let width: u8 = if pool.base.is_ipv4() { 32 } else { 128 };
    let size = pool.size.min(width);
    let count = 1_u128
        .checked_shl(u32::from(size.saturating_sub(pool.base.prefix())))
        .map_or(NETWORKS_OF_A_POOL, |count| count.min(NETWORKS_OF_A_POOL));
    let step = 1_u128.checked_shl(u32::from(width - size)).unwrap_or(0);
    (0..count).map_while(move |at| Cidr::new(pool.base.nth(at.checked_mul(step)?)?, size))
}

/// Whether a container may have this address in the network.
pub(crate) fn is_assignable(ipam: &IpamConfig, ip: IpAddr) -> bool {
    ipam.subnet.contains(ip)
        && ip != ipam.subnet.network().address()
        // The highest of IPv6 is an address like others.
        && !(ip.is_ipv4() && ip == ipam.subnet.last())
        && Some(ip) != ipam.gateway
        && !ipam.aux_addresses.values().any(|aux| *aux == ip)
}

/// Answers the lowest address that nobody in `used` has.
pub(crate) fn lowest_free(ipam: &IpamConfig, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let range = ipam.ip_range.unwrap_or(ipam.subnet);
    (0..).map_while(|at| range.nth(at)).find(|ip| is_assignable(ipam, *ip) && !used.contains(ip))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const HOST: &str = "0123456789abcdef";

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn pools_are_walked_in_dockers_order() {
        let first = |taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|text| cidr(text)).collect();
            first_free_network(&[], Family::V4, HOST, &taken).map(|network| network.to_string())
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
        let pool = AddressPool { base: cidr("fd00:9::/62"), size: 64 };
        let all: Vec<_> = networks_of(pool).map(|network| network.to_string()).collect();
        assert_eq!(all, ["fd00:9::/64", "fd00:9:0:1::/64", "fd00:9:0:2::/64", "fd00:9:0:3::/64"]);
    }

    #[test]
    fn ipv6_comes_from_the_hosts_own_local_addresses() {
        let first = |taken: &[Cidr]| first_free_network(&[], Family::V6, HOST, taken);
        let one = first(&[]).unwrap();
        assert_eq!(one.to_string(), "fd01:2345:6789::/64");
        assert_eq!(first(&[one]).unwrap().to_string(), "fd01:2345:6789:1::/64");
    }

    fn ipam(subnet: &str, gateway: &str) -> IpamConfig {
        IpamConfig {
            subnet: cidr(subnet),
            gateway: Some(gateway.parse().unwrap()),
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

    #[test]
    fn ranges_and_auxiliary_addresses_are_kept_to() {
        let mut ipam = ipam("10.0.0.0/16", "10.0.5.0");
        ipam.ip_range = Some(cidr("10.0.5.0/30"));
        ipam.aux_addresses.insert("router".to_owned(), "10.0.5.1".parse().unwrap());
        let mut used = BTreeSet::new();
        let first = lowest_free(&ipam, &used).unwrap();
        assert_eq!(first.to_string(), "10.0.5.2");
        used.insert(first);
        // In the middle of the subnet the highest address of the range is one like others.
        assert_eq!(lowest_free(&ipam, &used).unwrap().to_string(), "10.0.5.3");
        let six = super::tests::ipam("fd00::/64", "fd00::1");
        assert_eq!(lowest_free(&six, &BTreeSet::new()).unwrap().to_string(), "fd00::2");
    }

    proptest! {
        #[test]
        fn the_lowest_free_address_is_free_and_none_below_it(hosts in prop::collection::btree_set(0_u8..=255, 0..256)) {
            let ipam = ipam("10.1.2.0/24", "10.1.2.1");
            let address = |host: u8| IpAddr::V4(Ipv4Addr::new(10, 1, 2, host));
            let used: BTreeSet<_> = hosts.iter().map(|host| address(*host)).collect();
            let naive = (2..=254).find(|host| !hosts.contains(host)).map(address);
            prop_assert_eq!(lowest_free(&ipam, &used), naive);
        }
    }
}
