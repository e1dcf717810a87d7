//! Which host ports are taken, by whom, and the sockets that keep them taken.
//!
//! A published port is a rule, which would silently shadow any process that binds the port later.
//! So the port is also bound here, where the descriptors allow: others then get EADDRINUSE, and a
//! process that already has it is found out. No packet ever reaches these sockets.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux::netlink::Family;
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
    host_ip: IpAddr,
    container_id: String,
    keeper: Keeper,
}

/// Who keeps others from binding a claimed port.
#[derive(Debug)]
enum Keeper {
    Us(Arc<OwnedFd>),
    /// The container's shim, which has the socket now.
    Shim,
    /// Somebody who had it when the container was taken up: its shim, or anybody.
    Unknown,
    /// Too many ports are kept already, or a process that is none of ours has it.
    Nobody,
}

impl Keeper {
    fn of(socket: Option<OwnedFd>) -> Self {
        socket.map_or(Self::Nobody, |socket| Self::Us(Arc::new(socket)))
    }

    fn socket(&self) -> Option<&Arc<OwnedFd>> {
        match self {
            Self::Us(socket) => Some(socket),
            Self::Shim | Self::Unknown | Self::Nobody => None,
        }
    }
}

/// For whom ports are claimed, and where those go that name no address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimant<'a> {
    pub(crate) container_id: &'a str,
    /// Families of the host that are to be published.
    pub(crate) families: &'a [Family],
    pub(crate) default_ip: IpAddr,
    /// What the container has published already in another family: numbers are the same in both.
    pub(crate) present: &'a [PortBinding],
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
                let owner = owner::find(binding.protocol, binding.host_ip, binding.host_port);
                allocated(binding, owner)
            }
            Self::Other(error) => error,
        }
    }
}

impl Claims {
    /// Claims host ports for every request, or none at all.
    pub(crate) fn claim_all(
        &mut self,
        claimant: Claimant<'_>,
        requests: &[PortRequest],
    ) -> Result<Vec<PortBinding>, Refusal> {
        let mut bindings = Vec::with_capacity(requests.len());
        for request in requests {
            match self.claim(claimant, request) {
                Ok(claimed) => bindings.extend(claimed),
                Err(refusal) => {
                    self.release(claimant.container_id, &bindings);
                    return Err(refusal);
                }
            }
        }
        Ok(bindings)
    }

    /// Takes up the ports of a container that an earlier process published; one that somebody has
    /// bound meanwhile is published all the same.
    pub(crate) fn restore(&mut self, container_id: &str, bindings: &[PortBinding]) {
        for binding in bindings.iter().filter(|binding| binding.host_port != 0) {
            let keeper = match self.bind(binding.protocol, binding.host_ip, binding.host_port) {
                Ok(socket) => Keeper::of(socket),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Keeper::Unknown,
                Err(error) => {
                    tracing::warn!(
                        port = binding.host_port,
                        %error,
                        container_id,
                        "published port cannot be kept bound"
                    );
                    Keeper::Nobody
                }
            };
            self.insert(container_id, binding, keeper);
        }
    }

    /// Whether we or the container's shim keep the port: nobody else has it then.
    pub(crate) fn is_held(&self, container_id: &str, binding: &PortBinding) -> bool {
        let claims = self.by_port.get(&(binding.protocol, binding.host_port));
        claims.into_iter().flatten().any(|claim| {
            claim.container_id == container_id
                && claim.host_ip == binding.host_ip
                && matches!(claim.keeper, Keeper::Us(_) | Keeper::Shim)
        })
    }

    /// The sockets that keep these ports of a container.
    pub(crate) fn sockets(
        &self,
        container_id: &str,
        bindings: &[PortBinding],
    ) -> Vec<Arc<OwnedFd>> {
        let claims = bindings.iter().filter_map(|binding| {
            let claims = self.by_port.get(&(binding.protocol, binding.host_port))?;
            claims.iter().find(|claim| {
                claim.container_id == container_id && claim.host_ip == binding.host_ip
            })
        });
        claims.filter_map(|claim| claim.keeper.socket().cloned()).collect()
    }

    /// Closes the sockets of a container's ports, which somebody else keeps from now on.
    pub(crate) fn hand_over(&mut self, container_id: &str, bindings: &[PortBinding]) {
        for binding in bindings {
            let key = (binding.protocol, binding.host_port);
            for claim in self.by_port.get_mut(&key).into_iter().flatten() {
                if claim.container_id == container_id
                    && claim.host_ip == binding.host_ip
                    && !matches!(claim.keeper, Keeper::Shim)
                {
                    self.held -= u64::from(claim.keeper.socket().is_some());
                    claim.keeper = Keeper::Shim;
                }
            }
        }
    }

    /// Which of these ports somebody else has: who keeps the container's does not keep them.
    pub(crate) fn not_held(
        &mut self,
        container_id: &str,
        bindings: &[PortBinding],
    ) -> Vec<PortBinding> {
        let mut taken = Vec::new();
        for binding in bindings {
            let key = (binding.protocol, binding.host_port);
            for claim in self.by_port.get_mut(&key).into_iter().flatten() {
                if claim.container_id == container_id
                    && claim.host_ip == binding.host_ip
                    && matches!(claim.keeper, Keeper::Unknown)
                {
                    claim.keeper = Keeper::Nobody;
                    taken.push(*binding);
                }
            }
        }
        taken
    }

    pub(crate) fn release(&mut self, container_id: &str, bindings: &[PortBinding]) {
        for binding in bindings {
            let key = (binding.protocol, binding.host_port);
            let Some(claims) = self.by_port.get_mut(&key) else { continue };
            claims.retain(|claim| {
                let stays = claim.container_id != container_id || claim.host_ip != binding.host_ip;
                self.held -= u64::from(!stays && claim.keeper.socket().is_some());
                stays
            });
            if claims.is_empty() {
                self.by_port.remove(&key);
            }
        }
    }

    /// Claims one port on every host address that the request means, the same on all.
    fn claim(
        &mut self,
        claimant: Claimant<'_>,
        request: &PortRequest,
    ) -> Result<Vec<PortBinding>, Refusal> {
        if request.host_ip == Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) {
            return Err(Refusal::Other(Error::Invalid(
                "cannot publish a port on ::1: the kernel takes no answer from a container for it; \
                 publish on 127.0.0.1"
                    .to_owned(),
            )));
        }
        let hosts = hosts_of(request, claimant);
        let Some(first_host) = hosts.first().copied() else { return Ok(Vec::new()) };
        let present = claimant.present.iter().find(|binding| {
            binding.container_port == request.container_port
                && binding.protocol == request.protocol
                && request.host_ports.as_ref().is_none_or(|r| r.contains(&binding.host_port))
        });
        let range = match present {
            Some(binding) => Some(binding.host_port..=binding.host_port),
            None => request.host_ports.clone(),
        };
        let ephemeral = range.is_none();
        let range = range.unwrap_or_else(ephemeral_range);
        let (first, last) = (*range.start(), *range.end());
        let start = if ephemeral { self.next_ephemeral.clamp(first, last) } else { first };
        let mut refused = None;
        for host_port in (start..=last).chain(first..start) {
            match self.try_hosts(claimant.container_id, request, &hosts, host_port) {
                Ok(bindings) => {
                    if ephemeral {
                        self.next_ephemeral = host_port.checked_add(1).unwrap_or(first);
                    }
                    return Ok(bindings);
                }
                // Another port of the range would fare no better.
                Err(Refusal::Other(error)) => return Err(Refusal::Other(error)),
                Err(refusal) => refused = Some(refusal),
            }
        }
        let exhausted = Error::PortsExhausted { host_ip: first_host, first, last };
        Err(refused.filter(|_| first == last).unwrap_or(Refusal::Other(exhausted)))
    }

    fn try_hosts(
        &mut self,
        container_id: &str,
        request: &PortRequest,
        hosts: &[IpAddr],
        host_port: u16,
    ) -> Result<Vec<PortBinding>, Refusal> {
        let mut bindings = Vec::with_capacity(hosts.len());
        for host_ip in hosts {
            let binding = PortBinding {
                container_port: request.container_port,
                protocol: request.protocol,
                host_ip: *host_ip,
                host_port,
            };
            if let Err(refusal) = self.try_claim(container_id, &binding) {
                self.release(container_id, &bindings);
                return Err(refusal);
            }
            bindings.push(binding);
        }
        Ok(bindings)
    }

    fn try_claim(&mut self, container_id: &str, binding: &PortBinding) -> Result<(), Refusal> {
        let key = (binding.protocol, binding.host_port);
        let host_ip = binding.host_ip;
        let taken = self.by_port.get(&key).into_iter().flatten().find(|claim| {
            let any = claim.host_ip.is_unspecified() || host_ip.is_unspecified();
            Family::of(claim.host_ip) == Family::of(host_ip) && (any || claim.host_ip == host_ip)
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
                host_ip,
                port: binding.host_port,
                protocol: binding.protocol,
                source,
            })
        })?;
        self.insert(container_id, binding, Keeper::of(socket));
        Ok(())
    }

    fn insert(&mut self, container_id: &str, binding: &PortBinding, keeper: Keeper) {
        self.held += u64::from(keeper.socket().is_some());
        self.by_port.entry((binding.protocol, binding.host_port)).or_default().push(Claim {
            host_ip: binding.host_ip,
            container_id: container_id.to_owned(),
            keeper,
        });
    }

    /// Binds the port: `None` when it is free but no socket is kept for it.
    fn bind(&self, protocol: Protocol, ip: IpAddr, port: u16) -> io::Result<Option<OwnedFd>> {
        let (kind, number) = match protocol {
            Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
            Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
            Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
        };
        let flags = SocketFlags::CLOEXEC;
        let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = match rustix::net::socket_with(family, kind, flags, Some(number)) {
            Ok(socket) => socket,
            // Without SCTP in the kernel nobody can have the port; without a free descriptor
            // nothing can be found out, and publishing needs none.
            Err(rustix::io::Errno::PROTONOSUPPORT | rustix::io::Errno::MFILE) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if ip.is_ipv6() {
            // The other family is claimed by itself.
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if protocol == Protocol::Tcp && ip.is_ipv4() {
            // Connections of an earlier owner that linger in TIME_WAIT are no owner.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        rustix::net::bind(&socket, &SocketAddr::new(ip, port))?;
        // Of IPv6, connections to ::1 come here. They are refused where nobody listens.
        if protocol != Protocol::Udp && ip.is_ipv4() {
            // Only a listening socket keeps out those who also set SO_REUSEADDR.
            rustix::net::listen(&socket, 1)?;
        }
        // A quarter of the descriptors at most; the others are for containers.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4;
        Ok((self.held < limit).then_some(socket))
    }
}

/// The host addresses that a request means.
fn hosts_of(request: &PortRequest, claimant: Claimant<'_>) -> Vec<IpAddr> {
    let wanted = |ip: &IpAddr| claimant.families.contains(&Family::of(*ip));
    match request.host_ip {
        Some(ip) => Some(ip).filter(wanted).into_iter().collect(),
        None if claimant.default_ip.is_unspecified() => {
            let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
            any.into_iter().filter(wanted).collect()
        }
        None => Some(claimant.default_ip).filter(wanted).into_iter().collect(),
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

    const A: Claimant<'_> = claimant("a", &[Family::V4]);
    const B: Claimant<'_> = claimant("b", &[Family::V4]);

    const fn claimant<'a>(container_id: &'a str, families: &'a [Family]) -> Claimant<'a> {
        let default_ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Claimant { container_id, families, default_ip, present: &[] }
    }

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
        let mut try_claim =
            |claimant, ip| claims.claim_all(claimant, &[request(ip, port..=port)]).is_ok();
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
        let held = claims.claim_all(A, &[request(localhost, port..=port)]).unwrap();
        let both = [request(localhost, other..=other), request(localhost, port..=port)];
        let refusal = claims.claim_all(B, &both).unwrap_err();
        let error = refusal.into_error(|id| format!("name of {id}"));
        assert!(error.to_string().ends_with("(by container name of a)"), "{error}");
        assert_eq!((claims.by_port.len(), claims.held), (1, 1));
        claims.release(B.container_id, &held);
        assert_eq!(claims.by_port.len(), 1);
        claims.release(A.container_id, &held);
        assert_eq!((claims.by_port.len(), claims.held), (0, 0));
        assert!(claims.claim_all(B, &both).is_ok());
    }

    #[test]
    fn addresses_that_cannot_be_bound_are_no_search() {
        let mut claims = Claims::default();
        let refusal = claims.claim_all(A, &[request([203, 0, 113, 1], 1..=65535)]).unwrap_err();
        assert!(matches!(refusal, Refusal::Other(_)), "{refusal:?}");
    }

    #[test]
    fn both_families_get_the_same_number() {
        let mut claims = Claims::default();
        let any = PortRequest { host_ip: None, host_ports: None, ..request([0; 4], 1..=1) };
        let both = Claimant { families: &Family::BOTH, ..A };
        let bindings = claims.claim_all(both, std::slice::from_ref(&any)).unwrap();
        let hosts: Vec<String> = bindings.iter().map(|b| b.host_ip.to_string()).collect();
        assert_eq!(hosts, ["0.0.0.0", "::"]);
        assert_eq!(bindings[0].host_port, bindings[1].host_port);
        // Also when the second family comes later.
        let four = claims.claim_all(B, std::slice::from_ref(&any)).unwrap();
        let later = Claimant { families: &[Family::V6], present: &four, ..B };
        let six = claims.claim_all(later, &[any]).unwrap();
        assert_eq!((six.len(), six[0].host_port), (1, four[0].host_port));
        // An address of a family that the container does not have.
        assert_eq!(claims.claim_all(later, &[request([127, 0, 0, 1], 1..=1)]).unwrap(), []);
    }

    #[test]
    fn whose_a_bound_port_is_the_keeper_says() {
        let somebody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let binding = PortBinding {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::LOCALHOST.into(),
            host_port: somebody.local_addr().unwrap().port(),
        };
        let mut claims = Claims::default();
        claims.restore("a", &[binding]);
        assert!(!claims.is_held("a", &binding), "nobody has said so yet");
        assert_eq!(claims.not_held("b", &[binding]), []);
        claims.hand_over("a", &[binding]);
        assert!(claims.is_held("a", &binding));
        assert_eq!(claims.not_held("a", &[binding]), []);
        claims.restore("b", &[binding]);
        assert_eq!(claims.not_held("b", &[binding]), [binding]);
        assert_eq!((claims.is_held("b", &binding), claims.held), (false, 0));
    }
}
