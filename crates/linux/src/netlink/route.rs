//! Links, addresses and routes of one network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan, InfoPortData, InfoPortKind,
    InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    MacVlanMode as RawMacvlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::Socket;
use super::vxlan::{Vxlan, vxlan_of};

const RT_TABLE_LOCAL: u8 = 255;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub is_bridge: bool,
    pub is_up: bool,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// Free text of at most 255 bytes, kept by the kernel: `ip link set … alias`.
    pub alias: Option<String>,
    pub mac: Vec<u8>,
    pub mtu: u32,
    /// `None` for every other kind of interface.
    pub vxlan: Option<Vxlan>,
}

/// An address of an interface. One of IPv6 is usable at once: nobody is asked whether he has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub address: IpAddr,
    pub prefix: u8,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn number(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// A route of any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteEntry {
    /// The unspecified address with prefix 0 is a default route.
    pub destination: IpAddr,
    pub prefix: u8,
    pub gateway: Option<IpAddr>,
    pub link: Option<u32>,
    /// Whether it is in the table for addresses of this host, where every interface has some.
    pub is_local: bool,
}

/// A veth pair whose other end is born in another namespace, where it costs no move.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    pub name: &'a str,
    /// Index of the bridge that this end joins.
    pub master: u32,
    pub mtu: u32,
    pub peer_name: &'a str,
    pub peer_mac: [u8; 6],
    pub peer_namespace: BorrowedFd<'a>,
}

/// An interface with a link address of its own on another one's wire, born in a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Macvlan<'a> {
    pub name: &'a str,
    /// Index of the interface whose wire it shares.
    pub parent: u32,
    pub mode: MacvlanMode,
    /// `None`: the kernel's choice, which is the parent's with [`MacvlanMode::Passthru`].
    pub mac: Option<[u8; 6]>,
    pub mtu: Option<u32>,
    pub namespace: BorrowedFd<'a>,
}

/// Who on the same wire is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Everybody.
    Bridge,
    /// Nobody of the same parent.
    Private,
    /// Those of the same parent only by a switch that sends packets back.
    Vepa,
    /// It has the parent for itself.
    Passthru,
}

/// One change, to be executed alone or with others in one system call.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
}

impl Request {
    /// Creates a bridge; refused with EEXIST when the name is taken.
    pub fn create_bridge(name: &str, mac: [u8; 6], mtu: u32) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        Self::create(RouteNetlinkMessage::NewLink(link))
    }

    /// Creates a veth pair, this end down and in its bridge, the other down in its namespace.
    pub fn create_veth(veth: &Veth<'_>) -> Self {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(veth.peer_name.to_owned()),
            LinkAttribute::Address(veth.peer_mac.to_vec()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::NetNsFd(veth.peer_namespace.as_raw_fd()),
        ];
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(veth.name.to_owned()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::Controller(veth.master),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        Self::create(RouteNetlinkMessage::NewLink(link))
    }

    /// Creates a macvlan interface, down.
    pub fn create_macvlan(macvlan: &Macvlan<'_>) -> Self {
        let mode = match macvlan.mode {
            MacvlanMode::Bridge => RawMacvlanMode::Bridge,
            MacvlanMode::Private => RawMacvlanMode::Private,
            MacvlanMode::Vepa => RawMacvlanMode::Vepa,
            MacvlanMode::Passthru => RawMacvlanMode::Passthrough,
        };
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(macvlan.name.to_owned()),
            LinkAttribute::Link(macvlan.parent),
            LinkAttribute::NetNsFd(macvlan.namespace.as_raw_fd()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
            ]),
        ];
        link.attributes.extend(macvlan.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        link.attributes.extend(macvlan.mtu.map(LinkAttribute::Mtu));
        Self::create(RouteNetlinkMessage::NewLink(link))
    }

    /// Creates a wire whose both ends are here, down.
    pub fn create_wire(name: &str, peer_name: &str, mtu: u32) -> Self {
        let end = |name: &str| {
            let mut link = LinkMessage::default();
            link.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu)];
            link
        };
        let mut link = end(name);
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(peer_name)))),
        ]));
        Self::create(RouteNetlinkMessage::NewLink(link))
    }

    /// Creates the interface for a VLAN of another one, down.
    pub fn create_vlan(name: &str, parent: u32, id: u16) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(parent),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
            ]),
        ];
        Self::create(RouteNetlinkMessage::NewLink(link))
    }

    /// Brings a bridge port up, with an alias, and lets it send packets back where they came from:
    /// with bridge-nf-call-iptables a container reaches its own published port that way.
    pub fn raise_port(name: &str, alias: &str) -> Self {
        let mut link = Self::up(LinkMessage::default());
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::IfAlias(alias.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(
                    true,
                )])),
            ]),
        ];
        Self { message: RouteNetlinkMessage::NewLink(link), flags: 0 }
    }

    /// Lets an interface take packets of TCP of up to so many bytes, in both families, that are cut
    /// for the wire later or never. Kernels before 6.3 ignore what they do not know.
    pub fn set_segment_limit(name: &str, bytes: u32) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::GsoMaxSize(bytes),
            LinkAttribute::GroMaxSize(bytes),
            LinkAttribute::GsoIpv4MaxSize(bytes),
            LinkAttribute::GroIpv4MaxSize(bytes),
        ];
        Self { message: RouteNetlinkMessage::NewLink(link), flags: 0 }
    }

    /// Brings an interface up.
    pub fn raise(link: u32) -> Self {
        let mut message = Self::up(LinkMessage::default());
        message.header.index = link;
        Self { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
    }

    /// Lets a bridge send nothing more to a port and forget who was behind it. (A port in state
    /// disabled would not stay so: the next notification about its carrier enables it again.)
    pub fn silence_port(name: &str) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![
                    InfoBridgePort::Learning(false),
                    InfoBridgePort::UnicastFlood(false),
                    InfoBridgePort::BroadcastFlood(false),
                    InfoBridgePort::MulticastFlood(false),
                    InfoBridgePort::Flush,
                ])),
            ]),
        ];
        Self { message: RouteNetlinkMessage::NewLink(link), flags: 0 }
    }

    /// Puts an interface into a group.
    pub fn set_group(name: &str, group: u32) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Group(group)];
        Self { message: RouteNetlinkMessage::SetLink(link), flags: 0 }
    }

    /// Deletes all interfaces of a group, with one wait for all; ENODEV when there are none.
    pub fn delete_group(group: u32) -> Self {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::Group(group));
        Self { message: RouteNetlinkMessage::DelLink(link), flags: 0 }
    }

    pub fn set_alias(link: u32, alias: &str) -> Self {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        Self { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
    }

    /// Makes an interface a port of a bridge.
    pub fn set_master(link: u32, master: u32) -> Self {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.attributes.push(LinkAttribute::Controller(master));
        Self { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
    }

    /// Deletes an interface; ENODEV when there is none of that name.
    pub fn delete_link(name: &str) -> Self {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        Self { message: RouteNetlinkMessage::DelLink(link), flags: 0 }
    }

    pub fn add_address(address: Address) -> Self {
        Self::create(RouteNetlinkMessage::NewAddress(address_message(address)))
    }

    pub fn delete_address(address: Address) -> Self {
        Self { message: RouteNetlinkMessage::DelAddress(address_message(address)), flags: 0 }
    }

    /// Makes the way over `gateway` the default one, in place of any other of its family.
    pub fn set_default_route(link: u32, gateway: IpAddr) -> Self {
        let message = RouteNetlinkMessage::NewRoute(default_route(link, gateway));
        Self { message, flags: NLM_F_CREATE | NLM_F_REPLACE }
    }

    /// Takes the default route over `gateway` away; ESRCH where there is none.
    pub fn delete_default_route(link: u32, gateway: IpAddr) -> Self {
        Self { message: RouteNetlinkMessage::DelRoute(default_route(link, gateway)), flags: 0 }
    }

    /// Lets IP filters see what passes between the ports of a bridge, whatever the host's setting for
    /// all bridges is; without br_netfilter in the kernel it is refused or does nothing.
    pub fn filter_bridge(name: &str) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::NfCallIpTables(true),
                    InfoBridge::NfCallIp6Tables(true),
                ])),
            ]),
        ];
        Self { message: RouteNetlinkMessage::NewLink(link), flags: 0 }
    }

    /// Keeps a bridge port from reaching other isolated ports, or lets it again. The bridge itself
    /// reaches all of them.
    pub fn isolate_port(name: &str, isolated: bool) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(
                    isolated,
                )])),
            ]),
        ];
        Self { message: RouteNetlinkMessage::NewLink(link), flags: 0 }
    }

    pub(super) fn create(message: RouteNetlinkMessage) -> Self {
        Self { message, flags: NLM_F_CREATE | NLM_F_EXCL }
    }

    fn up(mut link: LinkMessage) -> LinkMessage {
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link
    }
}

/// A handle on the links, addresses and routes of the namespace it was opened in.
#[derive(Debug)]
pub struct Route {
    pub(super) socket: Socket,
}

impl Route {
    /// Opens the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses the socket.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(netlink_sys::protocols::NETLINK_ROUTE)? })
    }

    /// Executes changes in order, in one system call. They are no transaction: those after a
    /// refused one are tried as well.
    ///
    /// # Errors
    /// The first refusal.
    pub fn execute(&mut self, requests: impl IntoIterator<Item = Request>) -> io::Result<()> {
        self.socket.execute(requests.into_iter().map(|request| (request.message, request.flags)))
    }

    /// # Errors
    /// If the kernel cannot be asked.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let links = self.socket.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(links.into_iter().filter_map(link_of).collect())
    }

    /// The interface of that name, if there is one.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let link = self.socket.get(RouteNetlinkMessage::GetLink(message))?;
        Ok(link.and_then(link_of))
    }

    /// # Errors
    /// If the kernel cannot be asked.
    pub fn addresses(&mut self, family: Family) -> io::Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.family = family.number();
        let addresses = self.socket.dump(RouteNetlinkMessage::GetAddress(message))?;
        Ok(addresses.into_iter().filter_map(address_of).collect())
    }

    /// # Errors
    /// If the kernel cannot be asked.
    pub fn routes(&mut self, family: Family) -> io::Result<Vec<RouteEntry>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family.number();
        let routes = self.socket.dump(RouteNetlinkMessage::GetRoute(message))?;
        Ok(routes.into_iter().filter_map(route_of).collect())
    }
}

fn default_route(link: u32, gateway: IpAddr) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = Family::of(gateway).number();
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Boot;
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::Unicast;
    let over = match gateway {
        IpAddr::V4(gateway) => RouteAddress::Inet(gateway),
        IpAddr::V6(gateway) => RouteAddress::Inet6(gateway),
    };
    route.attributes = vec![RouteAttribute::Gateway(over), RouteAttribute::Oif(link)];
    route
}

fn address_message(address: Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = Family::of(address.address).number();
    message.header.prefix_len = address.prefix;
    message.header.index = address.link;
    message.attributes =
        vec![AddressAttribute::Address(address.address), AddressAttribute::Local(address.address)];
    match address.address {
        IpAddr::V4(ip) => {
            let host = u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
            let broadcast = Ipv4Addr::from_bits(ip.to_bits() | host);
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        IpAddr::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    message
}

fn link_of(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        is_bridge: false,
        is_up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        alias: None,
        mac: Vec::new(),
        mtu: 0,
        vxlan: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Controller(master) => link.master = Some(master),
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
                link.vxlan = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(data) => vxlan_of(data),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

fn address_of(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut other) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            _ => {}
        }
    }
    // Local is the interface's own; Address is then the other end of a point-to-point link.
    let address = local.or(other)?;
    Some(Address { link: message.header.index, address, prefix: message.header.prefix_len })
}

fn route_of(message: RouteNetlinkMessage) -> Option<RouteEntry> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    let mut route = RouteEntry {
        destination: unspecified,
        prefix: message.header.destination_prefix_length,
        gateway: None,
        link: None,
        is_local: message.header.table == RT_TABLE_LOCAL,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => route.destination = address(to)?,
            RouteAttribute::Gateway(over) => route.gateway = address(over),
            RouteAttribute::Oif(link) => route.link = Some(*link),
            _ => {}
        }
    }
    Some(route)
}
