//! Transactions of nftables objects, and what is read back of them.

use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable as _, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, Nla as _,
};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Hook as HookAttribute, HookNumber, InetHookNumber,
    ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetDescription,
    SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableFlags, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::Expression;
use super::expression::{be32, nested};
use crate::netlink::socket::{Reply, Socket, append};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
/// `NFT_TABLE_F_OWNER`, since Linux 5.12.
const TABLE_OWNER: u32 = 2;
/// 10,000 elements of a map take about 600 KB.
const SEND_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// `NFTA_DATA_VALUE`.
const DATA_VALUE: u16 = 1;
/// An attribute's length has 16 bits; an element takes at most 80 bytes.
const ELEMENTS_PER_MESSAGE: usize = 800;

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Forward,
    Output,
    Postrouting,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    Filter,
    Nat,
}

/// How a chain is called by the kernel. Its policy is always to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseChain {
    pub kind: ChainKind,
    pub hook: Hook,
    pub priority: i32,
}

/// A map from concatenated keys to an address and a port; without data it is a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map<'a> {
    pub name: &'a str,
    /// Data type numbers of the `nft` tool, for its listing: six bits for each part.
    pub key_type: u32,
    pub key_bytes: u32,
    /// Type and bytes; `None`: a set.
    pub data: Option<(u32, u32)>,
    /// Bytes of each part of a key whose elements are ranges, as they are in a packet; empty: they are
    /// single keys. Looking one up takes as long however many there are, too.
    pub parts: &'a [u32],
}

/// An element of a map or set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Its parts are padded to four bytes each.
    pub key: Vec<u8>,
    /// The last key of a range, part by part.
    pub key_end: Option<Vec<u8>>,
    /// Empty in a set.
    pub data: Vec<u8>,
}

/// The first key of an element and, of a range, the last.
pub type Keys = (Vec<u8>, Option<Vec<u8>>);

/// Whether elements come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementChange {
    Add,
    Delete,
}

/// A chain that may be anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// As the `nft` tool calls it: `ip` or `inet`.
    pub family: &'static str,
    pub table: String,
    pub name: String,
}

/// Changes to one table of the `inet` family, to be committed together.
#[derive(Debug, Clone)]
pub struct Batch {
    table: String,
    messages: Vec<(NfTablesMessage, u16)>,
    maps: u32,
}

impl Batch {
    pub fn new(table: &str) -> Self {
        Self { table: table.to_owned(), messages: Vec::new(), maps: 0 }
    }

    /// Adds the table, unless it is there.
    pub fn add_table(&mut self) {
        let attributes = vec![TableAttribute::Name(self.table.clone())];
        self.push(NfTablesMessage::NewTable(TableMessage { attributes }), NLM_F_CREATE);
    }

    /// Adds a table that nobody but the committing [`Nftables`] can change or flush, and that ends
    /// with it.
    pub fn add_own_table(&mut self) {
        let attributes = vec![
            TableAttribute::Name(self.table.clone()),
            TableAttribute::Flags(TableFlags::from_bits_retain(TABLE_OWNER)),
        ];
        self.push(NfTablesMessage::NewTable(TableMessage { attributes }), NLM_F_CREATE);
    }

    /// Deletes the table with all that is in it.
    pub fn delete_table(&mut self) {
        let attributes = vec![TableAttribute::Name(self.table.clone())];
        self.push(NfTablesMessage::DeleteTable(TableMessage { attributes }), 0);
    }

    /// Adds a chain, unless it is there; without a base it is only jumped to.
    pub fn add_chain(&mut self, name: &str, base: Option<BaseChain>) {
        let mut attributes =
            vec![ChainAttribute::Table(self.table.clone()), ChainAttribute::Name(name.to_owned())];
        if let Some(base) = base {
            let hook = match base.hook {
                Hook::Prerouting => InetHookNumber::PreRouting,
                Hook::Forward => InetHookNumber::Forward,
                Hook::Output => InetHookNumber::LocalOut,
                Hook::Postrouting => InetHookNumber::PostRouting,
            };
            attributes.push(ChainAttribute::Hook(vec![
                HookAttribute::Number(HookNumber::Inet(hook)),
                HookAttribute::Priority(base.priority.cast_unsigned()),
            ]));
            let kind = match base.kind {
                ChainKind::Filter => "filter",
                ChainKind::Nat => "nat",
            };
            attributes.push(ChainAttribute::Type(kind.to_owned()));
        }
        self.push(NfTablesMessage::NewChain(ChainMessage { attributes }), NLM_F_CREATE);
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        let attributes =
            vec![RuleAttribute::Table(self.table.clone()), RuleAttribute::Chain(name.to_owned())];
        self.push(NfTablesMessage::DeleteRule(RuleMessage { attributes }), 0);
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, expressions: impl IntoIterator<Item = Expression>) {
        let expressions = expressions.into_iter().map(|expression| expression.0).collect();
        let attributes = vec![
            RuleAttribute::Table(self.table.clone()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
        ];
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        self.push(message, NLM_F_CREATE | NLM_F_APPEND);
    }

    /// Adds a map or a set, unless it is there.
    pub fn add_map(&mut self, map: &Map<'_>) {
        self.maps += 1;
        let mut attributes = vec![
            SetAttribute::Table(self.table.clone()),
            SetAttribute::Name(map.name.to_owned()),
            SetAttribute::KeyType(map.key_type),
            SetAttribute::KeyLen(map.key_bytes),
            SetAttribute::Id(self.maps),
        ];
        let mut flags = SetFlags::empty();
        if let Some((data_type, data_bytes)) = map.data {
            flags |= SetFlags::Map;
            attributes.push(SetAttribute::DataType(data_type));
            attributes.push(SetAttribute::DataLen(data_bytes));
        }
        if !map.parts.is_empty() {
            flags |= SetFlags::Interval | SetFlags::Concat;
            attributes.push(SetAttribute::Description(vec![concatenation(map.parts)]));
        }
        if !flags.is_empty() {
            attributes.push(SetAttribute::Flags(flags));
        }
        self.push(NfTablesMessage::NewSet(SetMessage { attributes }), NLM_F_CREATE);
    }

    /// Removes every element of a map.
    pub fn flush_map(&mut self, name: &str) {
        let attributes =
            vec![SetElementList::Table(self.table.clone()), SetElementList::Set(name.to_owned())];
        self.push(NfTablesMessage::DeleteSetElement(SetElementMessage { attributes }), 0);
    }

    /// Adds or deletes elements. Adding one that is there with other data (EEXIST) or deleting one
    /// that is not (ENOENT) fails the whole batch.
    pub fn change_elements<'a>(
        &mut self,
        change: ElementChange,
        map: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        let elements: Vec<_> = elements.into_iter().map(element).collect();
        for elements in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let attributes = vec![
                SetElementList::Table(self.table.clone()),
                SetElementList::Set(map.to_owned()),
                SetElementList::Elements(elements.to_vec()),
            ];
            let message = SetElementMessage { attributes };
            match change {
                ElementChange::Add => {
                    self.push(NfTablesMessage::NewSetElement(message), NLM_F_CREATE);
                }
                ElementChange::Delete => self.push(NfTablesMessage::DeleteSetElement(message), 0),
            }
        }
    }

    fn push(&mut self, message: NfTablesMessage, flags: u16) {
        self.messages.push((message, flags));
    }
}

/// `NFTA_SET_DESC_CONCAT`: a list of `NFTA_SET_FIELD_LEN`.
fn concatenation(parts: &[u32]) -> SetDescription {
    const CONCAT: u16 = 2;
    let length = |bytes: &u32| nested(1, vec![be32(1, *bytes)]);
    SetDescription::Other(nested(CONCAT, parts.iter().map(length).collect()))
}

fn element(element: &Element) -> ListAttribute<SetElementAttribute> {
    let Element { key, key_end, data } = element;
    let mut parts = vec![SetElementAttribute::Key(DataAttribute::Value(key.clone()))];
    if let Some(end) = key_end {
        parts.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(DATA_VALUE, end.clone())]));
    }
    if !data.is_empty() {
        parts.push(SetElementAttribute::Data(DataAttribute::Value(data.clone())));
    }
    ListAttribute::Element(parts)
}

/// A handle on the nftables of the namespace it was opened in.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
}

impl Nftables {
    /// Opens the calling thread's namespace.
    ///
    /// # Errors
    /// If the kernel refuses the socket.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::open(netlink_sys::protocols::NETLINK_NETFILTER)?;
        // Without CAP_NET_ADMIN in the first namespace the buffer stays small, and so do batches.
        let _ = socket.allow_large_sends(SEND_BUFFER_BYTES);
        Ok(Self { socket })
    }

    /// Commits a batch: all of it, or nothing.
    ///
    /// # Errors
    /// The first refusal.
    pub fn commit(&mut self, batch: &Batch) -> io::Result<()> {
        let Some(last) = batch.messages.len().checked_sub(1) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        let begin = self.socket.next_sequence();
        append(&mut bytes, control(ControlMessage::BatchBegin), NLM_F_REQUEST, begin);
        let mut end = begin;
        for (at, (message, flags)) in batch.messages.iter().enumerate() {
            end = self.socket.next_sequence();
            // One acknowledgement for all: a refusal is always reported.
            let ack = if at == last { NLM_F_ACK } else { 0 };
            append(&mut bytes, inet(message.clone()), flags | NLM_F_REQUEST | ack, end);
        }
        let sequence = self.socket.next_sequence();
        append(&mut bytes, control(ControlMessage::BatchEnd), NLM_F_REQUEST, sequence);
        self.socket.send(&bytes)?;
        let (mut result, mut done) = (Ok(()), false);
        while !done {
            self.socket.receive(|header, reply| {
                let position = header.sequence_number.wrapping_sub(begin);
                if position > end.wrapping_sub(begin) {
                    return; // left over from an earlier batch
                }
                if let Reply::Acknowledged(outcome) = reply {
                    // A refused commit is reported for the first message, and then no other is.
                    done |= header.sequence_number == end || position == 0;
                    if result.is_ok() {
                        result = outcome;
                    }
                }
            })?;
        }
        result
    }

    /// The socket's number, which notifications of its changes carry.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn port(&self) -> io::Result<u32> {
        self.socket.port()
    }

    /// The base chains at the forward hook that drop what no rule of theirs accepts.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn dropping_forward_chains(&mut self) -> io::Result<Vec<ForeignChain>> {
        self.dropping_chains(InetHookNumber::Forward)
    }

    /// The same at the input hook.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn dropping_input_chains(&mut self) -> io::Result<Vec<ForeignChain>> {
        self.dropping_chains(InetHookNumber::LocalIn)
    }

    fn dropping_chains(&mut self, hook: InetHookNumber) -> io::Result<Vec<ForeignChain>> {
        let message = NfTablesMessage::GetChain(ChainMessage { attributes: vec![] });
        let chains = self.socket.dump(unspecified(message))?;
        Ok(chains.iter().filter_map(|chain| dropping_chain(chain, hook)).collect())
    }

    /// Whether any rule in the chain's table speaks of this interface.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn mentions(&mut self, chain: &ForeignChain, interface: &str) -> io::Result<bool> {
        let attributes = vec![RuleAttribute::Table(chain.table.clone())];
        let message = NfTablesMessage::GetRule(RuleMessage { attributes });
        let rules = self.socket.dump(unspecified(message))?;
        let name = [interface.as_bytes(), &[0]].concat();
        Ok(rules.iter().any(|rule| {
            let mut bytes = vec![0; rule.buffer_len()];
            rule.emit(&mut bytes);
            bytes.windows(name.len()).any(|window| window == name)
        }))
    }

    /// Names of the chains of a table, empty when there is no such table.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn chains(&mut self, table: &str) -> io::Result<Vec<String>> {
        let message = NfTablesMessage::GetChain(ChainMessage { attributes: vec![] });
        let chains = self.socket.dump(inet(message))?;
        Ok(chains.iter().filter_map(|message| chain_name(message, table)).collect())
    }

    /// Number of rules in each chain of a table.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn rule_counts(&mut self, table: &str) -> io::Result<Vec<(String, usize)>> {
        let attributes = vec![RuleAttribute::Table(table.to_owned())];
        let rules = self.socket.dump(inet(NfTablesMessage::GetRule(RuleMessage { attributes })))?;
        let mut counts: Vec<(String, usize)> = Vec::new();
        for message in &rules {
            let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = &message.inner
            else {
                continue;
            };
            let (mut ours, mut name) = (false, None);
            for attribute in &rule.attributes {
                match attribute {
                    RuleAttribute::Table(found) => ours = found == table,
                    RuleAttribute::Chain(chain) => name = Some(chain),
                    _ => {}
                }
            }
            let Some(name) = name.filter(|_| ours) else { continue };
            match counts.iter_mut().find(|(chain, _)| chain == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name.clone(), 1)),
            }
        }
        Ok(counts)
    }

    /// First and, of ranges, last keys of a map's elements.
    ///
    /// # Errors
    /// ENOENT without the table or the map.
    pub fn keys(&mut self, table: &str, map: &str) -> io::Result<Vec<Keys>> {
        let attributes =
            vec![SetElementList::Table(table.to_owned()), SetElementList::Set(map.to_owned())];
        let message = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
        let lists = self.socket.dump(inet(message))?;
        Ok(lists.into_iter().flat_map(keys_of).collect())
    }
}

fn dropping_chain(message: &NetfilterMessage, hook: InetHookNumber) -> Option<ForeignChain> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = &message.inner else {
        return None;
    };
    let family = match message.header.family {
        NetfilterProtoFamily::Inet => "inet",
        NetfilterProtoFamily::IPv4 => "ip",
        _ => return None,
    };
    let (mut table, mut name, mut is_there, mut drops) = ("", "", false, false);
    for attribute in &chain.attributes {
        match attribute {
            ChainAttribute::Table(text) => table = text,
            ChainAttribute::Name(text) => name = text,
            ChainAttribute::Policy(policy) => drops = *policy == 0,
            ChainAttribute::Hook(hooks) => {
                is_there = hooks.contains(&HookAttribute::Number(HookNumber::Inet(hook)));
            }
            _ => {}
        }
    }
    (is_there && drops).then(|| ForeignChain {
        family,
        table: table.to_owned(),
        name: name.to_owned(),
    })
}

fn chain_name(message: &NetfilterMessage, table: &str) -> Option<String> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = &message.inner else {
        return None;
    };
    chain.attributes.contains(&ChainAttribute::Table(table.to_owned())).then_some(())?;
    chain.attributes.iter().find_map(|attribute| match attribute {
        ChainAttribute::Name(name) => Some(name.clone()),
        _ => None,
    })
}

fn keys_of(message: NetfilterMessage) -> Vec<Keys> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewSetElement(list)) = message.inner
    else {
        return Vec::new();
    };
    let elements = list.attributes.into_iter().flat_map(|attribute| match attribute {
        SetElementList::Elements(elements) => elements,
        _ => Vec::new(),
    });
    let key = |element| {
        let ListAttribute::Element(parts) = element else { return None };
        let (mut first, mut last) = (None, None);
        for part in parts {
            match part {
                SetElementAttribute::Key(DataAttribute::Value(key)) => first = Some(key),
                SetElementAttribute::KeyEnd(parts) => last = parts.first().map(value_of),
                _ => {}
            }
        }
        Some((first?, last))
    };
    elements.filter_map(key).collect()
}

fn value_of(part: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; part.value_len()];
    part.emit_value(&mut bytes);
    bytes
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    NetfilterMessage::new(header, message)
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn unspecified(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0), message)
}
