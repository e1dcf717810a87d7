//! Connection tracking: looking for flows, and forgetting them.
//!
//! A translation is chosen when a flow begins and kept as long as it lasts. UDP flows have no end,
//! only silence; one that began before its port was published, or whose container is gone, goes
//! the old way for as long as somebody keeps sending.

use std::io;
use std::net::IpAddr;

use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::Family;
use super::socket::Socket;

/// A flow: where its first packet was going, and who answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub protocol: u8,
    pub destination: (IpAddr, u16),
    /// Differs from `destination` where the flow is translated.
    pub answered_by: (IpAddr, u16),
}

/// A handle on the flows of the namespace it was opened in.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses the socket.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(netlink_sys::protocols::NETLINK_NETFILTER)? })
    }

    /// Forgets every flow that `matches`; its next packet begins a new one. Answers how many.
    ///
    /// # Errors
    /// If the kernel cannot be asked, for instance without its conntrack netlink module.
    pub fn forget(&mut self, matches: impl Fn(Flow) -> bool) -> io::Result<usize> {
        let mut forgotten = 0;
        for family in Family::BOTH {
            forgotten += self.forget_of(family, &matches)?;
        }
        Ok(forgotten)
    }

    fn forget_of(&mut self, family: Family, matches: &impl Fn(Flow) -> bool) -> io::Result<usize> {
        let flows = self.socket.dump(message(family, ConntrackMessage::Get(vec![])))?;
        let mut forgotten = 0;
        for flow in flows {
            let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = flow.inner
            else {
                continue;
            };
            let Some((flow, original)) = flow_of(attributes) else { continue };
            if !matches(flow) {
                continue;
            }
            let delete = ConntrackMessage::Delete(vec![ConntrackAttribute::CtaTupleOrig(original)]);
            match self.socket.execute([(message(family, delete), 0)]) {
                // It ended by itself.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                deleted => deleted?,
            }
            forgotten += 1;
        }
        Ok(forgotten)
    }
}

fn flow_of(attributes: Vec<ConntrackAttribute>) -> Option<(Flow, Vec<Tuple>)> {
    let (mut original, mut reply) = (None, None);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = Some(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = Some(tuple),
            _ => {}
        }
    }
    let (original, reply) = (original?, reply?);
    let there = Ends::of(&original);
    let back = Ends::of(&reply);
    let flow = Flow {
        protocol: there.protocol?,
        destination: (there.destination?, there.destination_port?),
        answered_by: (back.source?, back.source_port?),
    };
    Some((flow, original))
}

#[derive(Default)]
struct Ends {
    protocol: Option<u8>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl Ends {
    fn of(tuple: &[Tuple]) -> Self {
        let mut ends = Self::default();
        for part in tuple {
            match part {
                Tuple::Ip(addresses) => addresses.iter().for_each(|address| match address {
                    IPTuple::SourceAddress(ip) => ends.source = Some(*ip),
                    IPTuple::DestinationAddress(ip) => ends.destination = Some(*ip),
                    _ => {}
                }),
                Tuple::Proto(ports) => ports.iter().for_each(|port| match port {
                    ProtoTuple::Protocol(protocol) => ends.protocol = Some((*protocol).into()),
                    ProtoTuple::SourcePort(port) => ends.source_port = Some(*port),
                    ProtoTuple::DestinationPort(port) => ends.destination_port = Some(*port),
                    _ => {}
                }),
                _ => {}
            }
        }
        ends
    }
}

fn message(family: Family, message: ConntrackMessage) -> NetfilterMessage {
    let family = match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    };
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}
