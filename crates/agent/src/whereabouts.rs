//! Where the master is: at an address, or wherever the masters' election puts it.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use election::Address;

const DEFAULT_PORT: u16 = 5050;

/// What `--master` says.
#[derive(Clone, Debug)]
pub(crate) enum Whereabouts {
    /// `host:port`
    At(String),
    /// `zk://…`
    Elected {
        address: Address,
        timeout: Duration,
        /// The host name of the leader that was found last.
        leader: Arc<Mutex<Option<String>>>,
    },
}

impl Whereabouts {
    pub(crate) fn parse(text: &str, timeout: Duration) -> Result<Self> {
        // It may be the line of a file.
        let text = text.trim();
        if Address::is_meant(text) {
            let address = text.parse().context("flag '--master'")?;
            return Ok(Self::Elected { address, timeout, leader: Arc::default() });
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "5050"));
        let fine = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
        if !fine || text.contains("://") {
            // Somebody's password may stand before that.
            let shown = text.rsplit('@').next().unwrap_or_default();
            bail!("flag '--master': '{shown}' is neither host:port nor zk://host:port/path");
        }
        Ok(Self::At(text.to_owned()))
    }

    /// Whether another may lead while the one that was found is still there.
    pub(crate) fn may_move(&self) -> bool {
        matches!(self, Self::Elected { .. })
    }

    /// Looks up where the master is now.
    pub(crate) async fn find(&self) -> Result<SocketAddrV4> {
        let (address, timeout, found) = match self {
            Self::At(master) => {
                let name = master.clone();
                return tokio::task::spawn_blocking(move || resolve(&name)).await?;
            }
            Self::Elected { address, timeout, leader } => (address, *timeout, leader),
        };
        let info = election::leader(address, timeout).await?;
        *found.lock().unwrap_or_else(PoisonError::into_inner) = info.hostname;
        // As ever, the number is in the order of the network's bytes.
        let ip = info.ip.to_le_bytes().into();
        let port = u16::try_from(info.port).context("the leading master's port")?;
        Ok(SocketAddrV4::new(ip, port))
    }

    /// Something in the master's direction, for routes.
    pub(crate) fn towards(&self) -> Result<SocketAddrV4> {
        match self {
            Self::At(master) => resolve(master),
            Self::Elected { address, .. } => {
                resolve(address.hosts().split(',').next().unwrap_or_default())
            }
        }
    }

    /// The host name of the master, if it is known.
    pub(crate) fn hostname(&self) -> Option<String> {
        match self {
            Self::At(master) => {
                let (host, _) = master.rsplit_once(':')?;
                host.rsplit('@').next().map(str::to_owned)
            }
            Self::Elected { leader, .. } => {
                leader.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }
        }
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(master) => f.write_str(master),
            Self::Elected { address, .. } => address.fmt(f),
        }
    }
}

/// Looks a `host:port` up; libprocess addresses are IPv4.
fn resolve(master: &str) -> Result<SocketAddrV4> {
    let master = master.strip_prefix("master@").unwrap_or(master);
    let found = match master.rsplit_once(':') {
        Some(_) => master.to_socket_addrs(),
        None => (master, DEFAULT_PORT).to_socket_addrs(),
    };
    let found = found.with_context(|| format!("cannot look up {master}"))?;
    let v4 = found.filter_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    });
    v4.into_iter().next().with_context(|| format!("{master} has no IPv4 address"))
}
