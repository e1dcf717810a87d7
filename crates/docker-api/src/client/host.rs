//! Where a server listens: `unix://PATH`, `tcp://HOST:PORT[/PREFIX]`.

use std::fmt;
use std::path::PathBuf;

use super::{Error, Result};

/// An endpoint of the Engine API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        /// Path in front of every request, empty or `/prefix`.
        prefix: String,
    },
}

impl Host {
    /// Parses what DOCKER_HOST and `--host` take. `tls` picks the default port.
    ///
    /// # Errors
    /// For an unknown scheme or a malformed address.
    pub fn parse(text: &str, tls: bool) -> Result<Self> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::tcp(text, text, tls);
        };
        match scheme {
            "unix" if rest.is_empty() => Err(invalid(text, "the path of the socket is missing")),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" => Self::tcp(text, rest, tls || scheme == "https"),
            "ssh" => Err(invalid(
                text,
                "ssh connections are not supported: forward the socket with ssh -L and use unix://",
            )),
            _ => Err(invalid(text, "expected unix:// or tcp://")),
        }
    }

    fn tcp(text: &str, rest: &str, tls: bool) -> Result<Self> {
        let (address, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let default_port = if tls { 2376 } else { 2375 };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port))
                if !port.ends_with(']') && (!host.contains(':') || host.ends_with(']')) =>
            {
                (
                    host,
                    port.parse()
                        .map_err(|_| invalid(text, "the port is not a number below 65536"))?,
                )
            }
            _ => (address, default_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() { "localhost" } else { host };
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
            prefix: prefix.trim_end_matches('/').to_owned(),
        })
    }

    /// Tells the path in front of every request.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Unix(_) => "",
            Self::Tcp { prefix, .. } => prefix,
        }
    }

    /// Tells the value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { prefix, .. } => write!(f, "tcp://{}{prefix}", self.authority()),
        }
    }
}

fn invalid(text: &str, why: &str) -> Error {
    Error::Host(format!("unable to parse docker host `{text}`: {why}"))
}
