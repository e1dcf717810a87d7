//! Where a master may be: the addresses given, those that redirects name, and who is elected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use election::{Address, AddressError};
use hyper::header::HeaderValue;

use crate::error::{Error, Result};

const DEFAULT_PORT: u16 = 5050;

/// The masters to try, in turn. A redirect is followed first and remembered only while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Masters {
    given: Vec<String>,
    next: usize,
    leader: Option<String>,
    /// Where to ask who leads, which is the one that is given then.
    election: Option<Address>,
    authorization: Option<HeaderValue>,
}

/// Whom to speak to, and what to prove there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port`
    pub(crate) address: String,
    /// HTTP Basic; it is not printed.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Masters {
    /// Parses `[principal:secret@]host[:port][,host[:port]…]`; a leading `http://` is allowed. The
    /// secret is for all of them, and for the one to which they redirect. Or
    /// `zk://[user:password@]host[:port][,host[:port]…]/path`, where they stand for election.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if Address::is_meant(text) {
            return Self::elected(text);
        }
        let (credential, addresses) = match text.rsplit_once('@') {
            Some((credential, addresses)) => (Some(credential), addresses),
            None => (None, text),
        };
        // Whatever is wrong, the secret is not told.
        let refuse = |reason| Error::Address { address: addresses.to_owned(), reason };
        let authorization = credential.map(basic).transpose().map_err(refuse)?;
        let given: Vec<String> = addresses
            .split(',')
            .map(str::trim)
            .map(|part| authority(part).map_err(refuse))
            .collect::<Result<_>>()?;
        Ok(Self { given, next: 0, leader: None, election: None, authorization })
    }

    fn elected(text: &str) -> Result<Self> {
        let address: Address = text.parse().map_err(|error: AddressError| Error::Address {
            // Whatever is wrong, the password is not told.
            address: text.rsplit('@').next().unwrap_or_default().to_owned(),
            reason: error.reason(),
        })?;
        Ok(Self {
            given: vec![address.to_string()],
            next: 0,
            leader: None,
            election: Some(address),
            authorization: None,
        })
    }

    /// Finds out who leads, if that is not known and there is an election.
    pub(crate) async fn find(&mut self) -> Result<()> {
        let Some(address) = self.election.as_ref().filter(|_| self.leader.is_none()) else {
            return Ok(());
        };
        let info = election::leader(address, election::SESSION_TIMEOUT).await;
        let info = info.map_err(|error| Error::Election(Box::new(error)))?;
        let ip = std::net::Ipv4Addr::from(info.ip.to_le_bytes());
        self.leader = Some(format!("{ip}:{}", info.port));
        Ok(())
    }

    /// The one to try now, with what to prove there.
    pub(crate) fn target(&self) -> Target {
        Target { address: self.current().to_owned(), authorization: self.authorization.clone() }
    }

    /// How many there are to try.
    pub(crate) fn count(&self) -> usize {
        // One that was elected before may lead no more.
        self.given.len() + usize::from(self.election.is_some() && self.leader.is_some())
    }

    /// The one to try now.
    pub(crate) fn current(&self) -> &str {
        self.leader.as_deref().unwrap_or(&self.given[self.next])
    }

    /// The current one failed: forgets a redirect, else moves on.
    pub(crate) fn failed(&mut self) {
        if self.leader.take().is_none() {
            self.next = (self.next + 1) % self.given.len();
        }
    }

    /// The current one names another in a `Location` header: absolute, or without its scheme, as Mesos writes it.
    pub(crate) fn redirected(&mut self, location: &str) -> Result<()> {
        let (_, rest) = location.split_once("//").unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        let leader = authority(host).map_err(|_| Error::Redirect {
            address: self.current().to_owned(),
            location: location.to_owned(),
        })?;
        self.leader = Some(leader);
        Ok(())
    }
}

/// What proves `principal:secret`, RFC 7617.
fn basic(credential: &str) -> Result<HeaderValue, &'static str> {
    if credential.starts_with("https://") {
        return Err("TLS is not spoken; give http:// or host:port");
    }
    let credential = credential.strip_prefix("http://").unwrap_or(credential);
    if !credential.contains(':') {
        return Err("before the @ of a master there are a principal and its secret: \
                    principal:secret@host:port");
    }
    let encoded = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credential)));
    let mut value = encoded.map_err(|_| "its credential cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

/// `host:port`, with the default port added.
fn authority(text: &str) -> Result<String, &'static str> {
    if text.starts_with("https://") {
        return Err("TLS is not spoken; give http:// or host:port");
    }
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if text.is_empty() {
        return Err("it is empty; give host:port");
    }
    let bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    if bare_v6 {
        return Ok(format!("[{text}]:{DEFAULT_PORT}"));
    }
    if text.ends_with(']') || !text.contains(':') {
        return checked(text).map(|host| format!("{host}:{DEFAULT_PORT}"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    match port.parse::<u16>() {
        Ok(port) if port > 0 => checked(host).map(|host| format!("{host}:{port}")),
        _ => Err("its port is no number from 1 to 65535"),
    }
}

fn checked(host: &str) -> Result<&str, &'static str> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fine = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    if fine { Ok(host) } else { Err("it is no host name or address; give host:port") }
}

#[cfg(test)]
mod tests;
