//! The resolved configuration: every default applied, every text parsed, nothing optional that has
//! a default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use builder::{GcPolicy, GcRule};

use crate::settings::{AddressPool, GcSetting, RuntimeSetting, Settings, Size, Ulimit};

const MAX_BRIDGE_NAME: usize = 15;

/// How this daemon runs.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    pub pidfile: PathBuf,
    pub hosts: Vec<Host>,
    /// Group of the Unix socket; `None` means `docker` if there is such a group.
    pub group: Option<String>,
    pub tls: Option<Tls>,
    pub bridge: String,
    /// When cached steps of builds go.
    pub build_gc: builder::GcPolicy,
    /// Address of the bridge in CIDR form; `None` picks one from the pools.
    pub bip: Option<String>,
    pub mtu: u32,
    pub default_address_pools: Vec<AddressPool>,
    pub dns: Vec<String>,
    pub cdi_spec_dirs: Vec<PathBuf>,
    pub dns_opts: Vec<String>,
    pub dns_search: Vec<String>,
    pub icc: bool,
    pub init: bool,
    pub insecure_registries: Vec<String>,
    pub registry_mirrors: Vec<String>,
    pub max_concurrent_downloads: u32,
    pub max_concurrent_uploads: u32,
    pub max_download_attempts: u32,
    pub default_runtime: String,
    pub runtimes: BTreeMap<String, RuntimeSetting>,
    pub default_shm_size_bytes: u64,
    pub default_ulimits: Vec<Ulimit>,
    pub cgroup_parent: Option<String>,
    pub log_driver: String,
    pub log_opts: BTreeMap<String, String>,
    /// Host address of ports published without one.
    pub ip: Option<std::net::Ipv4Addr>,
    /// Address of ports published without one, in every network.
    pub publish_default_address: Option<std::net::IpAddr>,
    pub ip_forward: bool,
    pub ip_masq: bool,
    pub labels: Vec<String>,
    pub log_level: LogLevel,
    pub shutdown_timeout_secs: u64,
    /// Whose subordinate ids containers have; `None`: they have the host's ids.
    pub userns_remap: Option<String>,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// Sockets handed over by the service manager.
    Fd,
}

/// Certificates for TCP listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// CA that clients' certificates must be signed by; `None` accepts any client.
    pub client_ca: Option<PathBuf>,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What is written to the daemon's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// A setting whose value cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("invalid host {host:?}: {reason}")]
    Host { host: String, reason: &'static str },
    #[error("invalid logging level: {0}")]
    LogLevel(String),
    #[error("invalid bridge name {0:?}: up to 15 characters, no '/' or blanks")]
    Bridge(String),
    #[error("the storage driver {0:?} is not supported: the only one is overlay2")]
    StorageDriver(String),
    #[error("invalid size {0:?}")]
    Size(String),
    #[error("invalid {key}: {value} is not an IP address")]
    Address { key: &'static str, value: String },
    #[error("invalid bip {0:?}: it should be an IPv4 address with a prefix length")]
    Bip(String),
    #[error("bad attribute format: {0}")]
    Label(String),
    #[error("live-restore cannot be turned off: containers always outlive the daemon")]
    LiveRestore,
    #[error("{0} must be greater than 0")]
    Zero(&'static str),
    #[error("specified default runtime '{0}' does not exist")]
    DefaultRuntime(String),
    #[error("runtime '{0}' needs a path")]
    RuntimePath(String),
    #[error("TLS needs both tlscert and tlskey")]
    TlsFiles,
    #[error("tlsverify needs tlscacert")]
    TlsCa,
    #[error("{key} must be an absolute path, not {path:?}")]
    Relative { key: &'static str, path: PathBuf },
    #[error(
        "invalid filter {0:?} of builder.gc: want unused-for=TIME with a time such as 48h, or type=KIND"
    )]
    GcFilter(String),
    #[error("unknown log driver: {0}")]
    LogDriver(String),
}

impl Config {
    /// Applies defaults and checks what can be checked without touching the machine.
    pub fn resolve(settings: Settings) -> Result<Self, ConfigError> {
        if settings.live_restore == Some(false) {
            return Err(ConfigError::LiveRestore);
        }
        if let Some(driver) = &settings.storage_driver
            && driver != "overlay2"
        {
            return Err(ConfigError::StorageDriver(driver.clone()));
        }
        let data_root = absolute("data-root", settings.data_root.clone(), "/var/lib/teu".as_ref())?;
        let exec_root = absolute("exec-root", settings.exec_root.clone(), "/run/teu".as_ref())?;
        let default_socket = exec_root.join("teu.sock");
        let hosts = match &settings.hosts {
            None => vec![Host::Unix(default_socket)],
            Some(hosts) => hosts
                .iter()
                .map(|host| parse_host(host, &default_socket))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            pidfile: settings.pidfile.clone().unwrap_or_else(|| exec_root.join("teu.pid")),
            data_root,
            exec_root,
            hosts,
            tls: tls(&settings)?,
            bridge: bridge(settings.bridge)?,
            build_gc: build_gc(settings.builder.and_then(|builder| builder.gc))?,
            bip: bip(settings.bip)?,
            mtu: settings.mtu.filter(|mtu| *mtu > 0).unwrap_or(1500),
            default_address_pools: settings.default_address_pools.unwrap_or_default(),
            dns: addresses("dns", settings.dns)?,
            cdi_spec_dirs: settings
                .cdi_spec_dirs
                .unwrap_or_else(|| vec!["/etc/cdi".into(), "/var/run/cdi".into()]),
            dns_opts: settings.dns_opts.unwrap_or_default(),
            dns_search: settings.dns_search.unwrap_or_default(),
            icc: settings.icc.unwrap_or(true),
            init: settings.init.unwrap_or(false),
            insecure_registries: settings.insecure_registries.unwrap_or_default(),
            registry_mirrors: settings.registry_mirrors.unwrap_or_default(),
            max_concurrent_downloads: at_least_one(
                "max-concurrent-downloads",
                settings.max_concurrent_downloads,
                3,
            )?,
            max_concurrent_uploads: at_least_one(
                "max-concurrent-uploads",
                settings.max_concurrent_uploads,
                5,
            )?,
            max_download_attempts: at_least_one(
                "max-download-attempts",
                settings.max_download_attempts,
                5,
            )?,
            default_runtime: default_runtime(settings.default_runtime, &settings.runtimes)?,
            runtimes: runtimes(settings.runtimes)?,
            default_shm_size_bytes: size(settings.default_shm_size, 64 << 20)?,
            default_ulimits: settings.default_ulimits.unwrap_or_default().into_values().collect(),
            cgroup_parent: settings.cgroup_parent.filter(|parent| !parent.is_empty()),
            log_driver: log_driver(settings.log_driver)?,
            log_opts: settings.log_opts.unwrap_or_default(),
            ip: host_ip(settings.ip)?,
            publish_default_address: publish_address(settings.publish_default_address)?,
            ip_forward: settings.ip_forward.unwrap_or(true),
            ip_masq: settings.ip_masq.unwrap_or(true),
            labels: labels(settings.labels)?,
            log_level: log_level(settings.log_level, settings.debug)?,
            shutdown_timeout_secs: settings.shutdown_timeout.unwrap_or(15),
            userns_remap: settings.userns_remap.filter(|user| !user.is_empty()),
            group: settings.group.filter(|group| !group.is_empty()),
        })
    }
}

fn absolute(
    key: &'static str,
    path: Option<PathBuf>,
    default: &std::path::Path,
) -> Result<PathBuf, ConfigError> {
    let path = path.unwrap_or_else(|| default.to_owned());
    if path.is_absolute() { Ok(path) } else { Err(ConfigError::Relative { key, path }) }
}

fn parse_host(host: &str, default_socket: &std::path::Path) -> Result<Host, ConfigError> {
    let invalid = |reason| ConfigError::Host { host: host.to_owned(), reason };
    match host.split_once("://") {
        Some(("unix", "")) => Ok(Host::Unix(default_socket.to_owned())),
        Some(("unix", path)) if path.starts_with('/') => Ok(Host::Unix(path.into())),
        Some(("unix", _)) => Err(invalid("the path of a unix socket must be absolute")),
        Some(("fd", _)) => Ok(Host::Fd),
        Some(("tcp", address)) => {
            tcp_address(address).ok_or_else(|| invalid("bad address or port"))
        }
        Some(_) => Err(invalid("the scheme should be unix, tcp or fd")),
        None if host.starts_with('/') => Ok(Host::Unix(host.into())),
        None => tcp_address(host).ok_or_else(|| invalid("bad address or port")),
    }
}

fn tcp_address(address: &str) -> Option<Host> {
    let address = address.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') || host == "[::]" => (host, port),
        _ => (address, "2375"),
    };
    let port: u16 = port.parse().ok()?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Some(Host::Tcp(format!("{host}:{port}")))
}

fn tls(settings: &Settings) -> Result<Option<Tls>, ConfigError> {
    let verify = settings.tlsverify.unwrap_or(false);
    if !verify && !settings.tls.unwrap_or(false) {
        return Ok(None);
    }
    let (Some(cert), Some(key)) = (settings.tlscert.clone(), settings.tlskey.clone()) else {
        return Err(ConfigError::TlsFiles);
    };
    let client_ca = match (verify, settings.tlscacert.clone()) {
        (true, None) => return Err(ConfigError::TlsCa),
        (true, ca) => ca,
        (false, _) => None,
    };
    Ok(Some(Tls { client_ca, cert, key }))
}

fn bridge(name: Option<String>) -> Result<String, ConfigError> {
    let name = name.unwrap_or_else(|| "teu0".to_owned());
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > MAX_BRIDGE_NAME || name.contains(bad) || name == "." {
        return Err(ConfigError::Bridge(name));
    }
    Ok(name)
}

fn bip(bip: Option<String>) -> Result<Option<String>, ConfigError> {
    let Some(bip) = bip.filter(|bip| !bip.is_empty()) else { return Ok(None) };
    let valid = bip.split_once('/').is_some_and(|(address, prefix)| {
        address.parse::<std::net::Ipv4Addr>().is_ok()
            && prefix.parse::<u8>().is_ok_and(|prefix| (1..=30).contains(&prefix))
    });
    if valid { Ok(Some(bip)) } else { Err(ConfigError::Bip(bip)) }
}

fn addresses(key: &'static str, values: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let values = values.unwrap_or_default();
    match values.iter().find(|value| value.parse::<std::net::IpAddr>().is_err()) {
        Some(value) => Err(ConfigError::Address { key, value: value.clone() }),
        None => Ok(values),
    }
}

fn host_ip(ip: Option<String>) -> Result<Option<std::net::Ipv4Addr>, ConfigError> {
    let Some(value) = ip.filter(|ip| !ip.is_empty()) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| ConfigError::Address { key: "ip", value })
}

fn publish_address(ip: Option<String>) -> Result<Option<std::net::IpAddr>, ConfigError> {
    let Some(value) = ip.filter(|ip| !ip.is_empty()) else { return Ok(None) };
    let key = "publish-default-address";
    value.parse().map(Some).map_err(|_| ConfigError::Address { key, value })
}

fn at_least_one(key: &'static str, value: Option<u32>, default: u32) -> Result<u32, ConfigError> {
    match value {
        Some(0) => Err(ConfigError::Zero(key)),
        value => Ok(value.unwrap_or(default)),
    }
}

fn runtimes(
    runtimes: Option<BTreeMap<String, RuntimeSetting>>,
) -> Result<BTreeMap<String, RuntimeSetting>, ConfigError> {
    let runtimes = runtimes.unwrap_or_default();
    match runtimes.iter().find(|(_, runtime)| runtime.path.as_deref().unwrap_or("").is_empty()) {
        Some((name, _)) => Err(ConfigError::RuntimePath(name.clone())),
        None => Ok(runtimes),
    }
}

fn default_runtime(
    name: Option<String>,
    runtimes: &Option<BTreeMap<String, RuntimeSetting>>,
) -> Result<String, ConfigError> {
    let name = name.unwrap_or_else(|| "teu".to_owned());
    let built_in = ["teu", "runc", "io.containerd.runc.v2"].contains(&name.as_str());
    let registered = runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key(&name));
    if built_in || registered { Ok(name) } else { Err(ConfigError::DefaultRuntime(name)) }
}

fn size(size: Option<Size>, default: u64) -> Result<u64, ConfigError> {
    match size {
        None => Ok(default),
        Some(Size::Bytes(bytes)) => Ok(bytes),
        Some(Size::Text(text)) => parse_size(&text).ok_or(ConfigError::Size(text)),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 10),
        (at, 'm') => (&text[..at], 20),
        (at, 'g') => (&text[..at], 30),
        (at, 't') => (&text[..at], 40),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn build_gc(setting: Option<GcSetting>) -> Result<GcPolicy, ConfigError> {
    let Some(setting) = setting else { return Ok(GcPolicy::default()) };
    if setting.enabled == Some(false) {
        return Ok(GcPolicy { rules: Vec::new() });
    }
    let default = GcPolicy::default();
    let Some(policy) = setting.policy else {
        return match setting.default_keep_storage {
            None => Ok(default),
            Some(keep) => {
                let by_size =
                    GcRule { keep_bytes: Some(size(Some(keep), 0)?), ..GcRule::default() };
                let by_age = default.rules.into_iter().filter(|rule| rule.keep_bytes.is_none());
                Ok(GcPolicy { rules: by_age.chain([by_size]).collect() })
            }
        };
    };
    let keep_default = setting.default_keep_storage;
    let rules = policy.into_iter().map(|rule| {
        let keep = rule.keep_storage.or_else(|| keep_default.clone());
        let mut own = GcRule {
            keep_bytes: keep.map(|keep| size(Some(keep), 0)).transpose()?,
            shared: rule.all,
            ..GcRule::default()
        };
        for filter in rule.filter {
            match filter.split_once('=') {
                Some(("unused-for" | "until", time)) => {
                    let unused = crate::convert::time::go_duration(time);
                    let unused = unused.ok_or_else(|| ConfigError::GcFilter(filter.clone()))?;
                    own.unused_secs = Some(unused.as_secs());
                }
                Some(("type", kind)) if !kind.is_empty() => own.kinds.push(kind.to_owned()),
                _ => return Err(ConfigError::GcFilter(filter)),
            }
        }
        Ok(own)
    });
    Ok(GcPolicy { rules: rules.collect::<Result<_, _>>()? })
}

fn log_driver(driver: Option<String>) -> Result<String, ConfigError> {
    let driver = driver.unwrap_or_else(|| "json-file".to_owned());
    if engine::container::LOG_DRIVERS.contains(&driver.as_str()) {
        Ok(driver)
    } else {
        Err(ConfigError::LogDriver(driver))
    }
}

fn labels(labels: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let labels = labels.unwrap_or_default();
    match labels.iter().find(|label| !label.contains('=')) {
        Some(label) => Err(ConfigError::Label(label.clone())),
        None => Ok(labels),
    }
}

fn log_level(level: Option<String>, debug: Option<bool>) -> Result<LogLevel, ConfigError> {
    if debug == Some(true) {
        return Ok(LogLevel::Debug);
    }
    match level.as_deref().unwrap_or("info") {
        "trace" | "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" | "fatal" | "panic" => Ok(LogLevel::Error),
        other => Err(ConfigError::LogLevel(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(json: serde_json::Value) -> Result<Config, ConfigError> {
        Config::resolve(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn defaults_stand_without_any_setting() {
        let config = resolve(serde_json::json!({})).unwrap();
        assert_eq!(config.hosts, [Host::Unix("/run/teu/teu.sock".into())]);
        assert_eq!(config.bridge, "teu0");
        assert_eq!(config.default_shm_size_bytes, 64 << 20);
        assert_eq!(config.log_driver, "json-file");
        assert!(config.icc && config.ip_forward && config.ip_masq && !config.init);
    }

    #[test]
    fn hosts_take_dockerds_forms() {
        let socket = std::path::Path::new("/run/x.sock");
        for (text, host) in [
            ("unix://", Host::Unix("/run/x.sock".into())),
            ("unix:///a/b", Host::Unix("/a/b".into())),
            ("fd://", Host::Fd),
            ("tcp://0.0.0.0:2376", Host::Tcp("0.0.0.0:2376".into())),
            ("tcp://:2375", Host::Tcp("127.0.0.1:2375".into())),
            ("tcp://[::1]:1", Host::Tcp("[::1]:1".into())),
        ] {
            assert_eq!(parse_host(text, socket).unwrap(), host, "{text}");
        }
        for text in ["npipe:////./x", "unix://relative", "tcp://host:port", "ssh://h"] {
            assert!(parse_host(text, socket).is_err(), "{text}");
        }
    }

    #[test]
    fn cached_steps_go_by_rules() {
        use serde_json::json;
        let rules = |gc| resolve(json!({"builder": {"gc": gc}})).unwrap().build_gc.rules;
        assert!(rules(json!({"enabled": false})).is_empty());
        assert_eq!(rules(json!({"enabled": true})), GcPolicy::default().rules);
        let by_size = &rules(json!({"defaultKeepStorage": "1GB"}))[1];
        assert_eq!(by_size.keep_bytes, Some(1 << 30));
        let filter = json!(["unused-for=48h", "type=exec.cachemount"]);
        let own = rules(json!({"policy": [{"keepStorage": 5, "filter": filter}, {"all": true}]}));
        let first = GcRule {
            keep_bytes: Some(5),
            unused_secs: Some(48 * 3600),
            kinds: vec!["exec.cachemount".to_owned()],
            shared: false,
        };
        assert_eq!(own, [first, GcRule { keep_bytes: None, shared: true, ..GcRule::default() }]);
    }

    #[test]
    fn useless_values_are_named() {
        use serde_json::json;
        for settings in [
            json!({"live-restore": false}),
            json!({"bridge": "a-name-that-is-too-long"}),
            json!({"storage-driver": "btrfs"}),
            json!({"log-level": "loud"}),
            json!({"tls": true}),
            json!({"dns": ["example.org"]}),
            json!({"bip": "10.0.0.1"}),
            json!({"ip": "localhost"}),
            json!({"publish-default-address": "localhost"}),
            json!({"labels": ["x"]}),
            json!({"default-runtime": "nope"}),
            json!({"default-shm-size": "64q"}),
            json!({"builder": {"gc": {"defaultKeepStorage": "much"}}}),
            json!({"builder": {"gc": {"policy": [{"filter": ["unused-for=long"]}]}}}),
        ] {
            assert!(resolve(settings.clone()).is_err(), "{settings}");
        }
        let config = resolve(json!({"default-shm-size": "128m"})).unwrap();
        assert_eq!(config.default_shm_size_bytes, 128 << 20);
    }
}
