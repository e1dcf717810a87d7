//! DNS messages (RFC 1035, EDNS of RFC 6891), as far as a forwarder needs them: queries are read
//! whole, answers of our own are written, and answers of others are passed on as the bytes they
//! are, but for id, spelling of the question, and ages.
//!
//! Nothing here trusts a length or an offset: whatever does not add up is `None`.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const HEADER_BYTES: usize = 12;
/// What a client takes over UDP that does not say more.
const PLAIN_UDP_BYTES: u16 = 512;
/// What we offer to take: no fragments on any path.
const OUR_UDP_BYTES: u16 = 1232;
const NAME_BYTES_MAX: usize = 255;

/// Types of records.
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const ANY: u16 = 255;
}

pub(crate) const CLASS_IN: u16 = 1;

/// Response codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rcode(pub(crate) u8);

impl Rcode {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const FORMAT: Self = Self(1);
    pub(crate) const SERVER_FAILURE: Self = Self(2);
    pub(crate) const NO_SUCH_NAME: Self = Self(3);
    pub(crate) const NOT_IMPLEMENTED: Self = Self(4);
}

const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) id: u16,
    flags: u16,
    /// Name, type and class as they came, with the client's spelling.
    question: Vec<u8>,
    edns: Option<Edns>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edns {
    udp_bytes: u16,
    dnssec: bool,
}

/// Why a packet is not a query that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not even an answer can be sent to it.
    Silent,
    /// This is the answer.
    Answer(Vec<u8>),
}

impl Query {
    /// A question of our own.
    pub(crate) fn new(name: &str, kind: u16) -> Self {
        let mut question = encode_name(name);
        question.extend_from_slice(&kind.to_be_bytes());
        question.extend_from_slice(&CLASS_IN.to_be_bytes());
        Self { id: 0, flags: RD, question, edns: None }
    }

    /// Reads a query.
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, Refusal> {
        let (Some(id), Some(flags)) = (u16_at(packet, 0), u16_at(packet, 2)) else {
            return Err(Refusal::Silent);
        };
        // An answer to an answer is how two servers keep each other busy for ever.
        if packet.len() < HEADER_BYTES || flags & QR != 0 {
            return Err(Refusal::Silent);
        }
        let refuse = |rcode| Err(Refusal::Answer(header_only(id, flags, rcode)));
        if flags & OPCODE != 0 {
            return refuse(Rcode::NOT_IMPLEMENTED);
        }
        let Some((question, edns)) = parse_body(packet) else {
            return refuse(Rcode::FORMAT);
        };
        Ok(Self { id, flags, question: question.to_vec(), edns })
    }

    pub(crate) fn kind(&self) -> u16 {
        u16_at(&self.question, self.question.len().saturating_sub(4)).unwrap_or(0)
    }

    pub(crate) fn class(&self) -> u16 {
        u16_at(&self.question, self.question.len().saturating_sub(2)).unwrap_or(0)
    }

    /// The name as dotted lower-case text, without a dot at its end. `None` for one that cannot be
    /// written so, which nothing of ours is called.
    pub(crate) fn name(&self) -> Option<String> {
        let mut text = String::with_capacity(self.question.len());
        let mut rest = self.question.as_slice();
        loop {
            let (&length, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(length))?;
            if label.is_empty() {
                return Some(text);
            }
            if !text.is_empty() {
                text.push('.');
            }
            let label = std::str::from_utf8(label).ok().filter(|label| !label.contains('.'))?;
            text.extend(label.chars().map(|letter| letter.to_ascii_lowercase()));
            rest = after;
        }
    }

    /// What two queries have in common that have the same answer.
    pub(crate) fn key(&self) -> Key {
        let mut question = self.question.clone();
        // Lengths of labels are below 64, thus not letters; type and class stay as they are.
        let name = question.len().saturating_sub(4);
        question[..name].make_ascii_lowercase();
        let edns = self.edns.map_or(0, |edns| 1 + u8::from(edns.dnssec));
        question.push(edns | u8::from(self.flags & CD != 0) << 2);
        Key(question.into())
    }

    /// The query for an upstream: the same question and no more, under another id.
    pub(crate) fn forwarded(&self, id: u16) -> Vec<u8> {
        let mut packet =
            header(id, RD | self.flags & (CD | AD), [1, 0, 0, u16::from(self.edns.is_some())]);
        packet.extend_from_slice(&self.question);
        if let Some(edns) = self.edns {
            push_opt(&mut packet, Edns { udp_bytes: OUR_UDP_BYTES, ..edns });
        }
        packet
    }

    /// How many bytes the client takes over UDP.
    pub(crate) fn udp_limit(&self) -> usize {
        usize::from(self.edns.map_or(PLAIN_UDP_BYTES, |edns| edns.udp_bytes.max(PLAIN_UDP_BYTES)))
    }

    /// An answer of our own, to be at most `limit` bytes.
    pub(crate) fn answer(&self, rcode: Rcode, ttl: u32, data: &[Data], limit: usize) -> Vec<u8> {
        let authority = if data.is_empty() { 0 } else { AA };
        let flags = QR | RA | authority | self.flags & (RD | CD) | u16::from(rcode.0);
        let additional = u16::from(self.edns.is_some());
        let mut packet = header(self.id, flags, [1, 0, 0, additional]);
        packet.extend_from_slice(&self.question);
        let opt_bytes = if self.edns.is_some() { OPT_BYTES } else { 0 };
        let mut count: u16 = 0;
        for data in data {
            let end = packet.len();
            data.push(&mut packet, ttl);
            if packet.len() + opt_bytes > limit || count == u16::MAX {
                packet.truncate(end);
                set_u16(&mut packet, 2, flags | TC);
                break;
            }
            count += 1;
        }
        set_u16(&mut packet, 6, count);
        self.push_our_opt(&mut packet);
        packet
    }

    /// An upstream's answer as this client is to get it, `age` seconds later, in at most `limit`
    /// bytes: longer ones are cut down to the question, and say so.
    pub(crate) fn pass_on(&self, answer: &Answer, age: u32, limit: usize) -> Vec<u8> {
        let upstream = u16_at(&answer.bytes, 2).unwrap_or(0);
        let flags = upstream & !(RD | CD) | self.flags & (RD | CD) | RA;
        if answer.bytes.len() > limit {
            let mut packet = header(self.id, flags | TC, [1, 0, 0, u16::from(self.edns.is_some())]);
            packet.extend_from_slice(&self.question);
            self.push_our_opt(&mut packet);
            return packet;
        }
        let mut packet = answer.bytes.clone();
        set_u16(&mut packet, 0, self.id);
        set_u16(&mut packet, 2, flags);
        // Its own spelling: what differs is the case of letters.
        let question = HEADER_BYTES..HEADER_BYTES + self.question.len();
        if let Some(place) = packet.get_mut(question) {
            place.copy_from_slice(&self.question);
        }
        for &at in &answer.ttls {
            let at = usize::from(at);
            if let Some(place) = packet.get_mut(at..at + 4) {
                let ttl = u32_at(place, 0).unwrap_or(0).saturating_sub(age);
                place.copy_from_slice(&ttl.to_be_bytes());
            }
        }
        packet
    }

    fn push_our_opt(&self, packet: &mut Vec<u8>) {
        if let Some(edns) = self.edns {
            push_opt(packet, Edns { udp_bytes: OUR_UDP_BYTES, ..edns });
        }
    }
}

/// See [`Query::key`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Box<[u8]>);

impl Key {
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// The data of a record of our own; its name is the question's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Address(IpAddr),
    /// A name as dotted text, with labels of at most 63 bytes.
    Name(String),
}

impl Data {
    fn push(&self, packet: &mut Vec<u8>, ttl: u32) {
        let (kind, bytes) = match self {
            Self::Address(IpAddr::V4(ip)) => (kind::A, ip.octets().to_vec()),
            Self::Address(IpAddr::V6(ip)) => (kind::AAAA, ip.octets().to_vec()),
            Self::Name(name) => (kind::PTR, encode_name(name)),
        };
        // A pointer to the name in the question, which is always in the same place.
        packet.extend_from_slice(&[0xc0, 12]);
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&CLASS_IN.to_be_bytes());
        packet.extend_from_slice(&ttl.to_be_bytes());
        let length = u16::try_from(bytes.len()).unwrap_or(0);
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&bytes[..usize::from(length)]);
    }
}

/// An upstream's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// Where the times to live are.
    ttls: Vec<u16>,
    pub(crate) rcode: Rcode,
    pub(crate) truncated: bool,
    /// How many seconds it may be kept.
    pub(crate) ttl: u32,
}

impl Answer {
    /// Reads what came for the query that was forwarded under `id`; `None` if it is no answer to
    /// it, or makes no sense.
    pub(crate) fn parse(bytes: &[u8], query: &Query, id: u16) -> Option<Self> {
        let flags = u16_at(bytes, 2)?;
        let question = bytes.get(HEADER_BYTES..HEADER_BYTES + query.question.len())?;
        let is_ours = u16_at(bytes, 0)? == id
            && flags & QR != 0
            && flags & OPCODE == 0
            && u16_at(bytes, 4)? == 1
            && is_same_question(question, &query.question);
        if !is_ours {
            return None;
        }
        let rcode = Rcode(u8::try_from(flags & 0xf).unwrap_or(0));
        let truncated = flags & TC != 0;
        let mut at = HEADER_BYTES + query.question.len();
        let (mut ttls, mut least, mut negative) = (Vec::new(), u32::MAX, None);
        for section in [6, 8, 10] {
            for _ in 0..u16_at(bytes, section)? {
                let Some(record) = Record::at(bytes, at) else {
                    // Some cut the last record in two.
                    if truncated {
                        break;
                    }
                    return None;
                };
                at = record.end;
                if record.kind == kind::OPT {
                    continue;
                }
                ttls.push(u16::try_from(record.ttl_at).ok()?);
                least = least.min(record.ttl);
                if record.kind == kind::SOA && section == 8 {
                    let minimum = u32_at(bytes, record.end.checked_sub(4)?)?;
                    negative = Some(record.ttl.min(minimum));
                }
            }
        }
        let has_answers = u16_at(bytes, 6)? > 0 && rcode == Rcode::OK;
        // Without a record that says for how long, nothing is nothing for now.
        let ttl = if has_answers { least } else { negative.map_or(0, |ttl| ttl.min(least)) };
        Some(Self { bytes: bytes.to_vec(), ttls, rcode, truncated, ttl })
    }

    /// Whether it answers with a record, or with the news that there is none.
    pub(crate) fn has_data(&self) -> bool {
        u16_at(&self.bytes, 6).unwrap_or(0) > 0 || self.truncated
    }

    /// What it takes to keep it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + 2 * self.ttls.len()
    }
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub(crate) fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut parts = digits.split('.');
        for octet in octets.iter_mut().rev() {
            let part = parts.next()?;
            let plain = part.bytes().all(|digit| digit.is_ascii_digit())
                && (part.len() == 1 || !part.starts_with('0'));
            *octet = part.parse().ok().filter(|_| plain)?;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let mut bits: u128 = 0;
    let mut count = 0;
    for nibble in name.strip_suffix(".ip6.arpa")?.rsplit('.') {
        let &[digit] = nibble.as_bytes() else { return None };
        bits = bits << 4 | u128::from(char::from(digit).to_digit(16)?);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

fn parse_body(packet: &[u8]) -> Option<(&[u8], Option<Edns>)> {
    if u16_at(packet, 4)? != 1 {
        return None;
    }
    let end = plain_name_end(packet, HEADER_BYTES)? + 4;
    let question = packet.get(HEADER_BYTES..end)?;
    let mut at = end;
    let mut edns = None;
    for section in [6, 8, 10] {
        for _ in 0..u16_at(packet, section)? {
            let record = Record::at(packet, at)?;
            at = record.end;
            if record.kind == kind::OPT && section == 10 {
                // A second one is an error.
                if edns.is_some() {
                    return None;
                }
                edns = Some(Edns { udp_bytes: record.class, dnssec: record.ttl & 0x8000 != 0 });
            }
        }
    }
    Some((question, edns))
}

/// One record of an answer.
struct Record {
    kind: u16,
    class: u16,
    ttl: u32,
    ttl_at: usize,
    end: usize,
}

impl Record {
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let at = name_end(bytes, at)?;
        let length = usize::from(u16_at(bytes, at + 8)?);
        let end = at + 10 + length;
        (end <= bytes.len()).then_some(())?;
        Some(Self {
            kind: u16_at(bytes, at)?,
            class: u16_at(bytes, at + 2)?,
            ttl: u32_at(bytes, at + 4)?,
            ttl_at: at + 4,
            end,
        })
    }
}

/// Where the name at `at` ends, which may end in a pointer.
fn name_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => {
                bytes.get(at + 1)?;
                return Some(at + 2);
            }
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
        if at - start >= NAME_BYTES_MAX {
            return None;
        }
    }
}

/// The same for a question's name: nothing comes before it that it could point to.
fn plain_name_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = name_end(bytes, at)?;
    (bytes.get(end - 1) == Some(&0) && is_plain(bytes, at, end)).then_some(end)
}

fn is_plain(bytes: &[u8], mut at: usize, end: usize) -> bool {
    while let Some(&length) = bytes.get(at) {
        if length & 0xc0 != 0 {
            return false;
        }
        at += 1 + usize::from(length);
        if length == 0 {
            return at == end;
        }
    }
    false
}

/// Spelling apart: some upstreams write names in lower case, some clients vary it on purpose.
fn is_same_question(one: &[u8], other: &[u8]) -> bool {
    let name = other.len().saturating_sub(4);
    one.len() == other.len()
        && one[..name].eq_ignore_ascii_case(&other[..name])
        && one[name..] == other[name..]
}

fn encode_name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    for label in text.split('.').filter(|label| !label.is_empty()) {
        let length = label.len().min(63);
        if bytes.len() + 1 + length + 1 > NAME_BYTES_MAX {
            break;
        }
        bytes.push(u8::try_from(length).unwrap_or(63));
        bytes.extend_from_slice(&label.as_bytes()[..length]);
    }
    bytes.push(0);
    bytes
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let words = [id, flags, counts[0], counts[1], counts[2], counts[3]];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The answer to what has no question that could be repeated.
fn header_only(id: u16, flags: u16, rcode: Rcode) -> Vec<u8> {
    header(id, QR | RA | flags & (OPCODE | RD | CD) | u16::from(rcode.0), [0; 4])
}

const OPT_BYTES: usize = 11;

fn push_opt(packet: &mut Vec<u8>, edns: Edns) {
    packet.push(0);
    packet.extend_from_slice(&kind::OPT.to_be_bytes());
    packet.extend_from_slice(&edns.udp_bytes.to_be_bytes());
    let flags: u32 = if edns.dnssec { 0x8000 } else { 0 };
    packet.extend_from_slice(&flags.to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

fn set_u16(packet: &mut [u8], at: usize, value: u16) {
    if let Some(place) = packet.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
