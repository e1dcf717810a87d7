//! Notifications of what others delete: interfaces, and objects of one nftables table.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkAttribute;

use super::socket::{Reply, Socket};

const RTNLGRP_LINK: u32 = 1;
const NFNLGRP_NFTABLES: u32 = 7;
/// Deletions of tables, chains, rules, sets and elements: the subsystem in the upper byte.
const NFT_DELETIONS: [u16; 5] = [0x0a02, 0x0a05, 0x0a08, 0x0a0b, 0x0a0e];

/// Something is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An interface of this name was deleted, or left its bridge.
    Link(String),
    /// Something in the watched table was deleted.
    Table,
    /// The kernel had more to tell than it could keep; anything may be gone.
    Overrun,
}

/// Receives them for the namespace it was opened in.
#[derive(Debug)]
pub struct Events {
    links: Socket,
    tables: Socket,
    table: Vec<u8>,
    /// Whose deletions are no news.
    own_port: u32,
}

impl Events {
    /// Watches interfaces, and the nftables table for changes of others than the socket with number
    /// `own_port`.
    ///
    /// # Errors
    /// If the kernel refuses a socket or a subscription.
    pub fn open(table: &str, own_port: u32) -> io::Result<Self> {
        let mut links = Socket::open(netlink_sys::protocols::NETLINK_ROUTE)?;
        links.join(RTNLGRP_LINK)?;
        links.set_nonblocking()?;
        let mut tables = Socket::open(netlink_sys::protocols::NETLINK_NETFILTER)?;
        tables.join(NFNLGRP_NFTABLES)?;
        tables.set_nonblocking()?;
        Ok(Self { links, tables, table: [table.as_bytes(), &[0]].concat(), own_port })
    }

    /// What to poll for readability.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.links.as_fd(), self.tables.as_fd()]
    }

    /// Takes everything that has come so far.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn take(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        // Whoever did it: only the caller knows which names should be there.
        drain(&mut self.links, &mut events, |_, bytes| link_event(bytes))?;
        let (table, own_port) = (&self.table, self.own_port);
        drain(&mut self.tables, &mut events, |port, bytes| {
            let kind =
                bytes.get(4..6).and_then(|kind| Some(u16::from_ne_bytes(kind.try_into().ok()?)));
            let deleted = kind.is_some_and(|kind| NFT_DELETIONS.contains(&kind));
            let ours = bytes.windows(table.len()).any(|window| window == table);
            (deleted && ours && port != own_port).then_some(Event::Table)
        })?;
        Ok(events)
    }
}

fn drain(
    socket: &mut Socket,
    events: &mut Vec<Event>,
    mut event_of: impl FnMut(u32, &[u8]) -> Option<Event>,
) -> io::Result<()> {
    loop {
        let received = socket.receive(|header, reply| {
            if let Reply::Object(bytes) = reply {
                events.extend(event_of(header.port_number, bytes));
            }
        });
        match received {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                events.push(Event::Overrun);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Leaving a bridge is told as a deletion in the bridge's own family.
fn link_event(bytes: &[u8]) -> Option<Event> {
    let message: NetlinkMessage<RouteNetlinkMessage> = NetlinkMessage::deserialize(bytes).ok()?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) = message.payload else {
        return None;
    };
    link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(Event::Link(name)),
        _ => None,
    })
}
