//! Who has a port of the host: found through the kernel's socket tables and /proc/*/fd.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::PortOwner;
use crate::port::Protocol;

/// Finds the process behind a socket that keeps `ip:port` from being bound.
pub(crate) fn find(protocol: Protocol, ip: IpAddr, port: u16) -> PortOwner {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        Protocol::Sctp => &[],
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok())
        .flat_map(|text| inodes_at(&text, protocol, ip, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    process_with(&inodes).unwrap_or(PortOwner::Unknown)
}

/// Inodes of the sockets in a table of /proc/net that are bound to the port at an address that
/// overlaps `ip`.
fn inodes_at(table: &str, protocol: Protocol, ip: IpAddr, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| -> Option<u64> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, local_port) = fields.get(1)?.split_once(':')?;
        if u16::from_str_radix(local_port, 16).ok()? != port
            || (protocol == Protocol::Tcp && *fields.get(3)? != LISTEN)
        {
            return None;
        }
        let found = address_of(address)?;
        let overlaps = match (found, ip) {
            // One that takes both families.
            (IpAddr::V6(found), IpAddr::V4(_)) => found.is_unspecified(),
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
            _ => found == ip || found.is_unspecified() || ip.is_unspecified(),
        };
        if overlaps { fields.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// Addresses are printed as 32-bit words in the host's byte order.
pub(crate) fn address_of(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..hex.len() / 8)
        .map(|at| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    match words?.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        words => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
    }
}

fn process_with(sockets: &[String]) -> Option<PortOwner> {
    if sockets.is_empty() {
        return None;
    }
    let pids = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let has =
            descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).any(|target| {
                target.to_str().is_some_and(|target| sockets.iter().any(|s| s == target))
            });
        if has {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(PortOwner::Process {
                name: name.trim_end().escape_debug().to_string(),
                pid,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_tables_are_read_as_the_kernel_prints_them() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
                   1: 0100007F:0050 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert_eq!(inodes_at(tcp, Protocol::Tcp, loopback, 80), [4711]);
        assert_eq!(inodes_at(tcp, Protocol::Tcp, any, 80), [4711]);
        assert_eq!(inodes_at(tcp, Protocol::Tcp, other, 80), [] as [u64; 0]);
        assert_eq!(inodes_at(tcp, Protocol::Tcp, loopback, 81), [] as [u64; 0]);
        let six = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        assert_eq!(inodes_at(tcp, Protocol::Tcp, six, 80), [] as [u64; 0]);
    }

    #[test]
    fn a_listener_of_this_process_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let PortOwner::Process { pid, .. } =
            find(Protocol::Tcp, Ipv4Addr::UNSPECIFIED.into(), port)
        else {
            panic!("owner not found")
        };
        assert_eq!(pid, std::process::id());
        let listener = std::net::TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(matches!(
            find(Protocol::Tcp, Ipv4Addr::LOCALHOST.into(), port),
            PortOwner::Process { .. }
        ));
    }
}
