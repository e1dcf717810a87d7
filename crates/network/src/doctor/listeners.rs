//! Who waits for connections in a container, as its socket tables say.

use std::net::IpAddr;

use crate::owner::address_of;
use crate::port::Protocol;

/// A socket that takes what is sent to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// Listeners in the network of a process.
pub(super) fn listeners(pid: u32) -> Vec<Listener> {
    let tables = [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ];
    let of_table = |(table, protocol)| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        parse(&text, protocol)
    };
    let mut all: Vec<Listener> = tables.into_iter().flat_map(of_table).collect();
    // Our own resolver's; the container knows nothing of it.
    all.retain(|listener| listener.address != IpAddr::V4(resolver::ADDRESS));
    all
}

fn parse(table: &str, protocol: Protocol) -> Vec<Listener> {
    // A UDP socket without a peer takes from everybody.
    let state = if protocol == Protocol::Tcp { "0A" } else { "07" };
    let listener = |line: &str| {
        let mut fields = line.split_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        (fields.nth(1)? == state).then_some(())?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Listener { protocol, address: address_of(address)?, port })
    };
    table.lines().skip(1).filter_map(listener).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_the_kernel_prints_them() {
        let tcp = "  sl  local_address rem_address   st\n\
                   0: 0100007F:0050 00000000:0000 0A x\n\
                   1: 00000000:1F90 00000000:0000 0A x\n\
                   2: 0100007F:0050 0100007F:8000 01 x\n";
        let found: Vec<_> = parse(tcp, Protocol::Tcp);
        let shown: Vec<_> = found.iter().map(|it| format!("{}:{}", it.address, it.port)).collect();
        assert_eq!(shown, ["127.0.0.1:80", "0.0.0.0:8080"]);
        assert!(parse("", Protocol::Udp).is_empty());
    }
}
