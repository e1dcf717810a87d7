//! `zk://[user:password@]host[:port][,host[:port]…]/path`

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use thiserror::Error;

const SCHEME: &str = "zk://";
const DEFAULT_PORT: u16 = 2181;

/// Where the masters of one cluster stand for election.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    credential: Option<String>,
    hosts: String,
    path: String,
}

/// What is wrong with the text of an address. The password is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{}", self.reason())]
pub enum AddressError {
    /// Of something else.
    Scheme,
    /// `zk:///path`
    NoHost,
    /// A port that is no number, or a host with characters that no name has.
    Host,
    /// What clients would read as the servers' own tree.
    Path,
    /// A name alone, or a slash in one of them.
    Credential,
}

impl AddressError {
    /// What is wrong, and what to write instead.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Scheme => "it does not begin with zk://",
            Self::NoHost => "it names no server; write zk://host:2181/path",
            Self::Host => "one of its servers is no host:port; write zk://host:2181,host:2181/path",
            Self::Path => "it has no path; write zk://host:2181/path, such as /mesos",
            Self::Credential => {
                "before the @ there are a user and a password, without a slash: \
                 zk://user:password@host:2181/path"
            }
        }
    }
}

impl Address {
    /// Whether a text is meant to be one.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.trim_start().starts_with(SCHEME)
    }

    /// `host:port,host:port`
    #[must_use]
    pub fn hosts(&self) -> &str {
        &self.hosts
    }

    /// `/mesos`
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `user:password`
    pub(crate) fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    pub(crate) fn child(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // It may be the line of a file.
        let rest = text.trim().strip_prefix(SCHEME).ok_or(AddressError::Scheme)?;
        let (servers, path) = rest.split_once('/').ok_or(AddressError::Path)?;
        let (credential, servers) = match servers.rsplit_once('@') {
            Some((credential, servers)) => (Some(credential.to_owned()), servers),
            None => (None, servers),
        };
        if credential.as_ref().is_some_and(|it| !it.contains(':')) {
            return Err(AddressError::Credential);
        }
        if path.contains('@') {
            return Err(AddressError::Credential);
        }
        if path.contains(char::is_control) {
            return Err(AddressError::Path);
        }
        let names: Vec<&str> = path.split('/').collect();
        let names = names.strip_suffix(&[""]).unwrap_or(&names);
        if names.is_empty() || names.iter().any(|name| matches!(*name, "" | "." | "..")) {
            return Err(AddressError::Path);
        }
        let hosts: Result<Vec<String>, AddressError> = servers.split(',').map(server).collect();
        Ok(Self { credential, hosts: hosts?.join(","), path: format!("/{}", names.join("/")) })
    }
}

/// One server, with its port.
fn server(text: &str) -> Result<String, AddressError> {
    let text = text.trim();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            (host, port.parse::<NonZeroU16>().map_err(|_| AddressError::Host)?.get())
        }
        None => (text, DEFAULT_PORT),
    };
    if host.is_empty() {
        return Err(AddressError::NoHost);
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err(AddressError::Host);
    }
    Ok(format!("{host}:{port}"))
}

/// Without the credential: it is printed where everybody reads.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.hosts, self.path)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_mesos_reads_them() {
        for (text, shown, credential) in [
            ("zk://a:2181/mesos", "zk://a:2181/mesos", None),
            ("zk://a,b:2182, 10.0.0.3/x/y/", "zk://a:2181,b:2182,10.0.0.3:2181/x/y", None),
            ("zk://a/mesos\n", "zk://a:2181/mesos", None),
            ("zk://u:p@ss@a/mesos", "zk://a:2181/mesos", Some("u:p@ss")),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.credential(), credential);
            assert!(!format!("{address:?}").contains("p@ss"));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, error) in [
            ("a:2181/mesos", AddressError::Scheme),
            ("zk://a:2181", AddressError::Path),
            ("zk://a:2181/", AddressError::Path),
            ("zk://a:2181/x//y", AddressError::Path),
            ("zk://a:2181/../y", AddressError::Path),
            ("zk:///mesos", AddressError::NoHost),
            ("zk://a,,b/mesos", AddressError::NoHost),
            ("zk://a:b/mesos", AddressError::Host),
            ("zk://a b/mesos", AddressError::Host),
            ("zk://a:0/mesos", AddressError::Host),
            ("zk://a/me\u{1}sos", AddressError::Path),
            ("zk://user:12/ss@a/mesos", AddressError::Credential),
            ("zk://user@a/mesos", AddressError::Credential),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
