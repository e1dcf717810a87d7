//! From a query to its answer: ours, one that is kept, or another's. No sockets, no clock.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::cache::Cache;
use crate::forward::{Conclusion, Forwarder};
use crate::message::{CLASS_IN, Data, Query, Rcode, Refusal, kind, reversed};
use crate::view::{Upstream, View};

/// How long others may believe an answer of ours: a container that was made anew has another
/// address at once.
const OUR_TTL: u32 = 5;
const TCP_LIMIT: usize = 65535;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    Udp,
    Tcp,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Udp(SocketAddr),
    /// A connection, by its number.
    Tcp(u64),
}

impl Client {
    pub(crate) fn via(self) -> Via {
        match self {
            Self::Udp(_) => Via::Udp,
            Self::Tcp(_) => Via::Tcp,
        }
    }

    pub(crate) fn limit(self, query: &Query) -> usize {
        match self {
            Self::Udp(_) => query.udp_limit(),
            Self::Tcp(_) => TCP_LIMIT,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Reply {
        client: Client,
        bytes: Vec<u8>,
    },
    /// Send this, and tell what comes of it by the attempt's number.
    Ask {
        attempt: u64,
        upstream: Upstream,
        via: Via,
        bytes: Vec<u8>,
    },
    /// Nothing more is expected of the attempt.
    Forget {
        attempt: u64,
    },
}

/// A container's resolver.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) view: View,
    cache: Cache,
    forwarder: Forwarder,
    random: fn() -> u32,
}

impl Core {
    /// `random` must be hard to guess: message ids are made of it.
    pub(crate) fn new(random: fn() -> u32) -> Self {
        Self {
            view: View::default(),
            cache: Cache::default(),
            forwarder: Forwarder::new(random),
            random,
        }
    }

    /// Other upstreams than before: what the old ones said is void.
    pub(crate) fn upstreams_changed(&mut self) {
        self.cache.clear();
    }

    /// Takes a client's packet.
    pub(crate) fn query(
        &mut self,
        now: Instant,
        client: Client,
        packet: &[u8],
        output: &mut Vec<Output>,
    ) {
        let query = match Query::parse(packet) {
            Ok(query) => query,
            Err(Refusal::Silent) => return,
            Err(Refusal::Answer(bytes)) => return output.push(Output::Reply { client, bytes }),
        };
        let limit = client.limit(&query);
        let answer = match self.local(&query) {
            Local::Data(data) => Some(query.answer(Rcode::OK, OUR_TTL, &data, limit)),
            Local::Refuse(rcode) => Some(query.answer(rcode, OUR_TTL, &[], limit)),
            Local::Forward => self.cache.get(now, &query, limit),
        };
        match answer {
            Some(bytes) => output.push(Output::Reply { client, bytes }),
            None => self.forwarder.ask(now, client, query, &self.view.upstreams, output),
        }
    }

    /// Takes what came for an attempt.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        attempt: u64,
        bytes: &[u8],
        output: &mut Vec<Output>,
    ) {
        let conclusion = self.forwarder.answer(now, attempt, bytes, output);
        self.keep(now, conclusion);
    }

    /// An attempt cannot succeed: nobody listens, no route.
    pub(crate) fn failed(&mut self, now: Instant, attempt: u64, output: &mut Vec<Output>) {
        let conclusion = self.forwarder.failed(now, attempt, output);
        self.keep(now, conclusion);
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Instant, output: &mut Vec<Output>) {
        for conclusion in self.forwarder.tick(now, output) {
            self.keep(now, Some(conclusion));
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.forwarder.due()
    }

    fn keep(&mut self, now: Instant, conclusion: Option<Conclusion>) {
        if let Some(Conclusion { query, answer }) = conclusion {
            self.cache.put(now, &query, answer);
        }
    }

    fn local(&self, query: &Query) -> Local {
        let Some(name) = query.name().filter(|_| query.class() == CLASS_IN) else {
            return self.foreign(None);
        };
        if query.kind() == kind::PTR
            && let Some(name) = reversed(&name).and_then(|ip| self.view.name_of(ip))
        {
            return Local::Data(vec![Data::Name(name)]);
        }
        let Some(found) = self.view.find(&name) else {
            let is_address = matches!(query.kind(), kind::A | kind::AAAA);
            return self.foreign(is_address.then_some(&name));
        };
        let ipv4 = found.ipv4.into_iter().map(IpAddr::V4);
        let ipv6 = found.ipv6.into_iter().map(IpAddr::V6);
        // A name that exists has no such record; it does not "not exist".
        let mut addresses: Vec<_> = match query.kind() {
            kind::A => ipv4.collect(),
            kind::AAAA => ipv6.collect(),
            kind::ANY => ipv4.chain(ipv6).collect(),
            _ => Vec::new(),
        };
        self.shuffle(&mut addresses);
        Local::Data(addresses.into_iter().map(Data::Address).collect())
    }

    /// What happens to names that are nobody's in the container's networks; `address_of` is one
    /// whose address is asked for.
    fn foreign(&self, address_of: Option<&str>) -> Local {
        if !self.view.forward || self.view.upstreams.is_empty() {
            return Local::Refuse(Rcode::SERVER_FAILURE);
        }
        let is_single = address_of.is_some_and(|name| !name.contains('.'));
        if is_single && !self.view.forward_single_labels {
            return Local::Refuse(Rcode::NO_SUCH_NAME);
        }
        Local::Forward
    }

    /// Many clients take the first.
    fn shuffle(&self, addresses: &mut [IpAddr]) {
        for last in (1..addresses.len()).rev() {
            let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
            let other = usize::try_from((self.random)() % bound).unwrap_or(0);
            addresses.swap(last, other);
        }
    }
}

/// What we know of a query ourselves.
enum Local {
    Data(Vec<Data>),
    Refuse(Rcode),
    Forward,
}
