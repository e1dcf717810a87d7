//! VXLAN interfaces: an Ethernet in UDP packets, and who is where behind one.
//!
//! Nothing is learned and nothing is asked on the wire: to which host frames for a link address go
//! ([`Forwarding`]) and which link address an IP address has ([`Neighbour`]) is what the kernel was
//! told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::route::{Family, Request, Route};

/// `NUD_PERMANENT | NUD_NOARP`: neither ages nor is it asked for.
const STATIC: u16 = 0x80 | 0x40;
/// Of a link address.
const MAC_BYTES: usize = 6;

/// What makes one VXLAN interface another than the next; none of it can be changed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// The network's number, 24 bits.
    pub vni: u32,
    /// The address of this host that packets leave from.
    pub local: IpAddr,
    /// The UDP port of all hosts.
    pub port: u16,
}

/// Frames for a link address go to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forwarding {
    pub mac: [u8; MAC_BYTES],
    pub vtep: IpAddr,
}

/// An IP address has this link address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    pub address: IpAddr,
    pub mac: [u8; MAC_BYTES],
}

impl Request {
    /// Creates a VXLAN interface, down and in its bridge. It learns nothing, and answers in the stead
    /// of the neighbours that it was told of. Refused with EEXIST when the name is taken, or the
    /// number on this port.
    pub fn create_vxlan(name: &str, vxlan: &Vxlan, master: u32, mtu: u32) -> Self {
        let local = match vxlan.local {
            IpAddr::V4(ip) => InfoVxlan::Local(ip),
            IpAddr::V6(ip) => InfoVxlan::Local6(ip),
        };
        let data = vec![
            InfoVxlan::Id(vxlan.vni),
            local,
            InfoVxlan::Port(vxlan.port),
            InfoVxlan::Learning(false),
            InfoVxlan::Proxy(true),
        ];
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::Controller(master),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(data)),
            ]),
        ];
        Self::create(RouteNetlinkMessage::NewLink(link))
    }

    /// Sends frames for a link address that come to a VXLAN interface to a host, and to no other.
    pub fn set_forwarding(link: u32, forwarding: &Forwarding) -> Self {
        let message = RouteNetlinkMessage::NewNeighbour(forwarding_message(link, forwarding));
        Self { message, flags: NLM_F_CREATE | NLM_F_REPLACE }
    }

    /// Sends them nowhere; ENOENT where there is no such entry.
    pub fn delete_forwarding(link: u32, forwarding: &Forwarding) -> Self {
        let message = RouteNetlinkMessage::DelNeighbour(forwarding_message(link, forwarding));
        Self { message, flags: 0 }
    }

    /// Says for good which link address a neighbour has, in place of what was known.
    pub fn set_neighbour(link: u32, neighbour: &Neighbour) -> Self {
        let message = RouteNetlinkMessage::NewNeighbour(neighbour_message(link, neighbour));
        Self { message, flags: NLM_F_CREATE | NLM_F_REPLACE }
    }

    /// Forgets a neighbour; ENOENT where it is not known.
    pub fn delete_neighbour(link: u32, neighbour: &Neighbour) -> Self {
        let message = RouteNetlinkMessage::DelNeighbour(neighbour_message(link, neighbour));
        Self { message, flags: 0 }
    }
}

impl Route {
    /// What a VXLAN interface was told of where link addresses are.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn forwardings(&mut self, link: u32) -> io::Result<Vec<Forwarding>> {
        let mut found = self.neighbour_messages(AddressFamily::Bridge, link)?;
        // The bridge it is a port of has entries for the same link addresses.
        found.retain(|message| message.header.flags.contains(NeighbourFlags::Own));
        let forwarding =
            |message| Some(Forwarding { mac: mac_of(&message)?, vtep: address_of(&message)? });
        Ok(found.into_iter().filter_map(forwarding).collect())
    }

    /// The neighbours of an interface that are there for good.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn permanent_neighbours(
        &mut self,
        link: u32,
        family: Family,
    ) -> io::Result<Vec<Neighbour>> {
        let mut found = self.neighbour_messages(family.number(), link)?;
        found.retain(|message| message.header.state == NeighbourState::Permanent);
        let neighbour =
            |message| Some(Neighbour { address: address_of(&message)?, mac: mac_of(&message)? });
        Ok(found.into_iter().filter_map(neighbour).collect())
    }

    fn neighbour_messages(
        &mut self,
        family: AddressFamily,
        link: u32,
    ) -> io::Result<Vec<NeighbourMessage>> {
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        let answers = self.socket.dump(RouteNetlinkMessage::GetNeighbour(message))?;
        let of_link = |answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == link => {
                Some(message)
            }
            _ => None,
        };
        Ok(answers.into_iter().filter_map(of_link).collect())
    }
}

/// What an interface is, if it is one.
pub(super) fn vxlan_of(data: &InfoData) -> Option<Vxlan> {
    let InfoData::Vxlan(data) = data else { return None };
    let (mut vni, mut local, mut port) = (None, None, None);
    for attribute in data {
        match attribute {
            InfoVxlan::Id(id) => vni = Some(*id),
            InfoVxlan::Local(ip) => local = Some(IpAddr::V4(*ip)),
            InfoVxlan::Local6(ip) => local = Some(IpAddr::V6(*ip)),
            InfoVxlan::Port(number) => port = Some(*number),
            _ => {}
        }
    }
    // Without an address of its own it takes any.
    let local = local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    Some(Vxlan { vni: vni?, local, port: port? })
}

fn forwarding_message(link: u32, forwarding: &Forwarding) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    message.header.state = NeighbourState::Other(STATIC);
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(forwarding.mac.to_vec()),
        NeighbourAttribute::Destination(forwarding.vtep.into()),
    ];
    message
}

fn neighbour_message(link: u32, neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = Family::of(neighbour.address).number();
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(neighbour.address.into()),
        NeighbourAttribute::LinkLayerAddress(neighbour.mac.to_vec()),
    ];
    message
}

fn mac_of(message: &NeighbourMessage) -> Option<[u8; MAC_BYTES]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

/// In the bridge's family addresses are of either, told by their length.
fn address_of(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(|b| Ipv4Addr::from(b).into());
            let v6 = <[u8; 16]>::try_from(bytes.as_slice()).map(|b| Ipv6Addr::from(b).into());
            v4.or(v6).ok()
        }
        _ => None,
    })
}
