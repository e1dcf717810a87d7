//! How the daemon was told to reach registries: which may be insecure, mirrors, certificates, proxies, limits.
//!
//! Resolved once from flags and daemon.json; nothing here reads the environment.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::RegistryError;

/// Everything that pull, push and login may need to know about the outside.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Registries reached without checking certificates, and over plain HTTP if HTTPS fails. Loopback always is one.
    pub insecure: InsecureRegistries,
    /// Mirrors of Docker Hub, tried in this order before it.
    pub mirrors: Vec<Mirror>,
    /// Directories with one directory per `host[:port]` holding `*.crt`, `*.cert` and `*.key`.
    pub certs_dirs: Vec<PathBuf>,
    pub proxy: ProxyConfig,
    /// Layers downloaded at once by one pull.
    pub max_concurrent_downloads: usize,
    /// Layers uploaded at once by one push.
    pub max_concurrent_uploads: usize,
    /// Tries for one layer before the pull or push fails.
    pub max_attempts: u32,
    pub timeouts: Timeouts,
    /// The program's name in advice such as "may require 'teu login'".
    pub program: String,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            insecure: InsecureRegistries::default(),
            mirrors: Vec::new(),
            certs_dirs: vec![PathBuf::from("/etc/docker/certs.d")],
            proxy: ProxyConfig::default(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_attempts: 5,
            timeouts: Timeouts::default(),
            program: "teu".to_owned(),
        }
    }
}

/// Proxies as in `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. Loopback never goes through a proxy.
#[derive(Clone, Default)]
pub struct ProxyConfig {
    pub http: Option<String>,
    pub https: Option<String>,
    /// Comma-separated hosts, domains and CIDRs.
    pub no_proxy: String,
}

/// A proxy URL may hold a password.
impl std::fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyConfig")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Deadlines of one request.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    /// Longest time without a byte from the registry.
    pub idle: Duration,
    /// Wait before the first retry; doubles with each further one, up to 30 s.
    pub retry: Duration,
    /// The longest `Retry-After` that is honoured; a longer one fails at once.
    pub retry_after: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            retry: Duration::from_secs(1),
            retry_after: Duration::from_secs(60),
        }
    }
}

/// A mirror's base URL, `https://mirror.example/` or `http://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub(crate) url: reqwest::Url,
}

impl Mirror {
    /// Parses a `--registry-mirror` value.
    ///
    /// # Errors
    /// Anything but an http or https URL without user, query and fragment.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let invalid = |why: &str| RegistryError::InvalidConfig {
            message: format!("invalid mirror {text:?}: {why}"),
        };
        let mut url = reqwest::Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("unsupported scheme, use http or https"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("query and fragment are not allowed"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("credentials in the URL are not allowed"));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self { url })
    }
}

/// `--insecure-registry`: hosts with an optional port, and address ranges.
#[derive(Debug, Clone, Default)]
pub struct InsecureRegistries {
    hosts: Vec<String>,
    ranges: Vec<Cidr>,
}

impl InsecureRegistries {
    /// Parses `--insecure-registry` values.
    ///
    /// # Errors
    /// A CIDR out of range, or a text that is no host.
    pub fn parse<T: AsRef<str>>(
        values: impl IntoIterator<Item = T>,
    ) -> Result<Self, RegistryError> {
        let mut parsed = Self::default();
        for value in values {
            let value = value.as_ref();
            let host = value.trim_start_matches("http://").trim_start_matches("https://");
            let host = host.strip_suffix('/').unwrap_or(host);
            if host.contains('/') {
                parsed.ranges.push(Cidr::parse(host).ok_or_else(|| invalid_insecure(value))?);
            } else if !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'@') {
                parsed.hosts.push(host.to_ascii_lowercase());
            } else {
                return Err(invalid_insecure(value));
            }
        }
        Ok(parsed)
    }

    /// Decides for `host[:port]`. Names are looked up only if an address range was configured.
    pub(crate) async fn contains(&self, domain: &str) -> bool {
        let domain = domain.to_ascii_lowercase();
        let host = host_of(&domain);
        if host == "localhost" || self.hosts.contains(&domain) {
            return true;
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.contains_address(address);
        }
        if self.ranges.is_empty() {
            return false;
        }
        let Ok(addresses) = tokio::net::lookup_host((host, 443)).await else { return false };
        addresses.into_iter().any(|address| self.contains_address(address.ip()))
    }

    fn contains_address(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.ranges.iter().any(|range| range.contains(address))
    }
}

fn invalid_insecure(value: &str) -> RegistryError {
    RegistryError::InvalidConfig {
        message: format!(
            "insecure registry {value:?} is not valid: expected host, host:port or CIDR"
        ),
    }
}

/// Strips the port, and the brackets of an IPv6 address.
pub(crate) fn host_of(domain: &str) -> &str {
    if let Some(rest) = domain.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match domain.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        _ => domain,
    }
}

#[derive(Debug, Clone, Copy)]
struct Cidr {
    base: IpAddr,
    prefix: u32,
}

impl Cidr {
    fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = text.split_once('/')?;
        let base: IpAddr = base.parse().ok()?;
        let prefix: u32 = prefix.parse().ok()?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then_some(Self { base, prefix })
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differs = (base.to_bits() ^ address.to_bits()).leading_zeros();
                differs >= self.prefix
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differs = (base.to_bits() ^ address.to_bits()).leading_zeros();
                differs >= self.prefix
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InsecureRegistries, Mirror};

    #[tokio::test]
    async fn loopback_and_listed_registries_are_insecure() {
        let none = InsecureRegistries::default();
        let some = InsecureRegistries::parse(["http://reg.local:5000", "10.1.0.0/16", "fd00::/8"])
            .unwrap();
        for (domain, by_default, listed) in [
            ("localhost", true, true),
            ("localhost:5000", true, true),
            ("127.0.0.1:5000", true, true),
            ("127.9.9.9", true, true),
            ("[::1]:5000", true, true),
            ("Reg.local:5000", false, true),
            ("reg.local:5001", false, false),
            ("10.1.2.3:5000", false, true),
            ("10.2.0.0", false, false),
            ("[fd12::1]:443", false, true),
        ] {
            assert_eq!(none.contains(domain).await, by_default, "{domain}");
            assert_eq!(some.contains(domain).await, listed, "{domain}");
        }
    }

    #[test]
    fn bad_entries_are_refused() {
        for value in ["10.0.0.0/33", "x/y", "", "a b"] {
            assert!(InsecureRegistries::parse([value]).is_err(), "{value:?}");
        }
        for value in ["ftp://x", "x", "https://u:p@x", "https://x/?q", "https://x/#f"] {
            assert!(Mirror::parse(value).is_err(), "{value:?}");
        }
        assert_eq!(Mirror::parse("http://x:5000").unwrap().url.as_str(), "http://x:5000/");
    }
}
