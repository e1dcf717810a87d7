//! Which host ports are taken, by whom, and the sockets that keep them taken.
//!
//! A published port is a rule, which would silently shadow any process that binds the port later.
//! So the port is also bound here, where the descriptors allow: others then get EADDRINUSE, and a
//! process that already has it is found out. No packet ever reaches these sockets.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustix::process::{Resource, getrlimit};

use crate::error::{Error, PortOwner, Result};
use crate::owner;
use crate::port::{PortBinding, PortRequest, Protocol};

/// Used where the kernel does not say: its own default.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_port: HashMap<(Protocol, u16), Vec<Claim>>,
    /// Where the next search for an ephemeral port starts: a port just freed rests a while.
    next_ephemeral: u16,
    held: u64,
}

#[derive(Debug)]
struct Claim {
    host_ip: Ipv4Addr,
    container_id: String,
    endpoint_id: String,
    socket: Option<OwnedFd>,
}

/// For whom a port is claimed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimant<'a> {
    pub(crate) container_id: &'a str,
    pub(crate) endpoint_id: &'a str,
}

/// Why a port was not granted. The owner's name is looked up by who has no lock to hold.
#[derive(Debug)]
pub(crate) enum Refusal {
    Container { binding: PortBinding, container_id: String },
    Process { binding: PortBinding },
    Other(Error),
}

impl Refusal {
    /// Completes the refusal with the name of who has the port.
    pub(crate) fn into_error(self, container_name: impl FnOnce(&str) -> String) -> Error {
        let allocated = |binding: PortBinding, owner| Error::PortAllocated {
            host_ip: binding.host_ip,
            port: binding.host_port,
            protocol: binding.protocol,
            owner,
        };
        match self {
            Self::Container { binding, container_id } => {
                allocated(binding, PortOwner::Container(container_name(&container_id)))
            }
            Self::Process { binding } => {
                let IpAddr::V4(ip) = binding.host_ip else {
                    return allocated(binding, PortOwner::Unknown);
                };
                allocated(binding, owner::find(binding.protocol, ip, binding.host_port))
            }
            Self::Other(error) => error,
        }
    }
}

impl Claims {
    /// Claims a host port for every request, or none at all.
    pub(crate) fn claim_all(
        &mut self,
        claimant: Claimant<'_>,
        requests: &[PortRequest],
        default_ip: Ipv4Addr,
    ) -> Result<Vec<PortBinding>, Refusal> {
        let mut bindings = Vec::with_capacity(requests.len());
        for request in requests {
            match self.claim(claimant, request, default_ip) {
                Ok(binding) => bindings.push(binding),
                Err(refusal) => {
                    self.release(claimant.endpoint_id, &bindings);
                    return Err(refusal);
                }
            }
        }
        Ok(bindings)
    }

    /// Takes up the ports of an endpoint that an earlier process published; one that somebody has
    /// bound meanwhile is published all the same.
    pub(crate) fn restore(&mut self, claimant: Claimant<'_>, bindings: &[PortBinding]) {
        for binding in bindings {
            let IpAddr::V4(host_ip) = binding.host_ip else { continue };
            let socket = self.bind(binding.protocol, host_ip, binding.host_port);
            if let Err(error) = &socket {
                tracing::warn!(
                    port = binding.host_port,
                    %error,
                    container_id = claimant.container_id,
                    "published port is bound by another process"
                );
            }
            self.insert(claimant, binding, host_ip, socket.ok().flatten());
        }
    }

    pub(crate) fn release(&mut self, endpoint_id: &str, bindings: &[PortBinding]) {
        for binding in bindings {
            let key = (binding.protocol, binding.host_port);
            let Some(claims) = self.by_port.get_mut(&key) else { continue };
            claims.retain(|claim| {
                let stays = claim.endpoint_id != endpoint_id
                    || IpAddr::V4(claim.host_ip) != binding.host_ip;
                self.held -= u64::from(!stays && claim.socket.is_some());
                stays
            });
            if claims.is_empty() {
                self.by_port.remove(&key);
            }
        }
    }

    fn claim(
        &mut self,
        claimant: Claimant<'_>,
        request: &PortRequest,
        default_ip: Ipv4Addr,
    ) -> Result<PortBinding, Refusal> {
        let host_ip = match request.host_ip {
            None => default_ip,
            Some(IpAddr::V4(ip)) => ip,
            Some(IpAddr::V6(_)) => {
                return Err(Refusal::Other(Error::Unsupported(
                    "publishing a port on an IPv6 address",
                )));
            }
        };
        let ephemeral = request.host_ports.is_none();
        let range = request.host_ports.clone().unwrap_or_else(ephemeral_range);
        let (first, last) = (*range.start(), *range.end());
        let start = if ephemeral { self.next_ephemeral.clamp(first, last) } else { first };
        let mut refused = None;
        for host_port in (start..=last).chain(first..start) {
            let binding = PortBinding {
                container_port: request.container_port,
                protocol: request.protocol,
                host_ip: host_ip.into(),
                host_port,
            };
            match self.try_claim(claimant, &binding, host_ip) {
                Ok(()) => {
                    if ephemeral {
                        self.next_ephemeral = host_port.checked_add(1).unwrap_or(first);
                    }
                    return Ok(binding);
                }
                // Another port of the range would fare no better.
                Err(Refusal::Other(error)) => return Err(Refusal::Other(error)),
                Err(refusal) => refused = Some(refusal),
            }
        }
        let exhausted = Error::PortsExhausted { host_ip: host_ip.into(), first, last };
        Err(refused.filter(|_| first == last).unwrap_or(Refusal::Other(exhausted)))
    }

    fn try_claim(
        &mut self,
        claimant: Claimant<'_>,
        binding: &PortBinding,
        host_ip: Ipv4Addr,
    ) -> Result<(), Refusal> {
        let key = (binding.protocol, binding.host_port);
        let taken = self.by_port.get(&key).into_iter().flatten().find(|claim| {
            claim.host_ip == host_ip || claim.host_ip.is_unspecified() || host_ip.is_unspecified()
        });
        if let Some(claim) = taken {
            let container_id = claim.container_id.clone();
            return Err(Refusal::Container { binding: *binding, container_id });
        }
        let socket = self.bind(binding.protocol, host_ip, binding.host_port).map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                return Refusal::Process { binding: *binding };
            }
            Refusal::Other(Error::PortUnusable {
                host_ip: binding.host_ip,
                port: binding.host_port,
                protocol: binding.protocol,
                source,
            })
        })?;
        self.insert(claimant, binding, host_ip, socket);
        Ok(())
    }

    fn insert(
        &mut self,
        claimant: Claimant<'_>,
        binding: &PortBinding,
        host_ip: Ipv4Addr,
        socket: Option<OwnedFd>,
    ) {
        self.held += u64::from(socket.is_some());
        self.by_port.entry((binding.protocol, binding.host_port)).or_default().push(Claim {
            host_ip,
            container_id: claimant.container_id.to_owned(),
            endpoint_id: claimant.endpoint_id.to_owned(),
            socket,
        });
    }

    /// Binds the port: `None` when it is free but no socket is kept for it.
    fn bind(&self, protocol: Protocol, ip: Ipv4Addr, port: u16) -> io::Result<Option<OwnedFd>> {
        let (kind, number) = match protocol {
            Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
            Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
            Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
        };
        let flags = SocketFlags::CLOEXEC;
        let socket = match rustix::net::socket_with(AddressFamily::INET, kind, flags, Some(number))
        {
            Ok(socket) => socket,
            // Without SCTP in the kernel nobody can have the port; without a free descriptor
            // nothing can be found out, and publishing needs none.
            Err(rustix::io::Errno::PROTONOSUPPORT | rustix::io::Errno::MFILE) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if protocol == Protocol::Tcp {
            // Connections of an earlier owner that linger in TIME_WAIT are no owner.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        rustix::net::bind(&socket, &SocketAddrV4::new(ip, port))?;
        if protocol != Protocol::Udp {
            // Only a listening socket keeps out those who also set SO_REUSEADDR.
            rustix::net::listen(&socket, 1)?;
        }
        // A quarter of the descriptors at most; the others are for containers.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4;
        Ok((self.held < limit).then_some(socket))
    }
}

fn ephemeral_range() -> RangeInclusive<u16> {
    let read = || {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut words = text.split_whitespace();
        let first: u16 = words.next()?.parse().ok()?;
        let last: u16 = words.next()?.parse().ok()?;
        (0 < first && first <= last).then_some(first..=last)
    };
    read().unwrap_or(EPHEMERAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Claimant<'_> = Claimant { container_id: "a", endpoint_id: "1" };
    const B: Claimant<'_> = Claimant { container_id: "b", endpoint_id: "2" };

    fn request(ip: [u8; 4], host_ports: RangeInclusive<u16>) -> PortRequest {
        PortRequest {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: Some(Ipv4Addr::from(ip).into()),
            host_ports: Some(host_ports),
        }
    }

    /// A port that was free a moment ago on all addresses of this host.
    fn free_port() -> u16 {
        std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn claims_collide_where_addresses_overlap() {
        let port = free_port();
        let mut claims = Claims::default();
        let mut try_claim = |claimant, ip| {
            claims.claim_all(claimant, &[request(ip, port..=port)], Ipv4Addr::UNSPECIFIED).is_ok()
        };
        assert!(try_claim(A, [127, 0, 0, 1]));
        assert!(!try_claim(B, [127, 0, 0, 1]));
        assert!(!try_claim(B, [0, 0, 0, 0]));
        assert!(try_claim(B, [127, 0, 0, 2]));
    }

    #[test]
    fn a_refused_list_leaves_no_claim_and_a_release_only_its_own() {
        let (port, other) = (free_port(), free_port());
        let mut claims = Claims::default();
        let localhost = [127, 0, 0, 1];
        let held =
            claims.claim_all(A, &[request(localhost, port..=port)], Ipv4Addr::UNSPECIFIED).unwrap();
        let both = [request(localhost, other..=other), request(localhost, port..=port)];
        let refusal = claims.claim_all(B, &both, Ipv4Addr::UNSPECIFIED).unwrap_err();
        let error = refusal.into_error(|id| format!("name of {id}"));
        assert!(error.to_string().ends_with("(by container name of a)"), "{error}");
        assert_eq!((claims.by_port.len(), claims.held), (1, 1));
        claims.release(B.endpoint_id, &held);
        assert_eq!(claims.by_port.len(), 1);
        claims.release(A.endpoint_id, &held);
        assert_eq!((claims.by_port.len(), claims.held), (0, 0));
        assert!(claims.claim_all(B, &both, Ipv4Addr::UNSPECIFIED).is_ok());
    }

    #[test]
    fn addresses_that_cannot_be_bound_are_no_search() {
        let mut claims = Claims::default();
        let mut six = request([0; 4], 1..=65535);
        six.host_ip = Some("::1".parse().unwrap());
        for request in [six, request([203, 0, 113, 1], 1..=65535)] {
            let refusal = claims.claim_all(A, &[request], Ipv4Addr::UNSPECIFIED).unwrap_err();
            assert!(matches!(refusal, Refusal::Other(_)), "{refusal:?}");
        }
    }
}
