//! The daemon's command line, named as dockerd's. Raw values only: `settings` merges them with
//! the configuration file, `config` gives them defaults and meaning.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::settings::{AddressPool, RuntimeSetting, Settings, Ulimit};

/// A self-sufficient runtime for containers.
#[derive(Debug, Default, Parser)]
#[command(name = "teu daemon", version, disable_version_flag = true)]
pub struct Flags {
    /// Register an additional OCI compatible runtime (name=path)
    #[arg(long, value_name = "RUNTIME", value_parser = pair)]
    add_runtime: Vec<(String, String)>,
    /// IPv4 address for the default bridge
    #[arg(long, value_name = "CIDR")]
    bip: Option<String>,
    /// Attach containers to a network bridge of this name
    #[arg(short, long)]
    bridge: Option<String>,
    /// Set parent cgroup for all containers
    #[arg(long)]
    cgroup_parent: Option<String>,
    /// Daemon configuration file [default: /etc/teu/daemon.json]
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// CDI specification directories to use
    #[arg(long, value_name = "DIR")]
    cdi_spec_dir: Vec<PathBuf>,
    /// Root directory of persistent state
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Enable debug mode
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    debug: Option<bool>,
    /// Default address pools for node specific local networks (base=CIDR,size=N)
    #[arg(long, value_name = "POOL", value_parser = address_pool)]
    default_address_pool: Vec<AddressPool>,
    /// Default OCI runtime for containers
    #[arg(long)]
    default_runtime: Option<String>,
    /// Default shm size for containers
    #[arg(long, value_name = "BYTES")]
    default_shm_size: Option<String>,
    /// Default ulimits for containers (name=soft[:hard])
    #[arg(long, value_name = "ULIMIT", value_parser = ulimit)]
    default_ulimit: Vec<Ulimit>,
    /// DNS server to use
    #[arg(long)]
    dns: Vec<String>,
    /// DNS options to use
    #[arg(long)]
    dns_opt: Vec<String>,
    /// DNS search domains to use
    #[arg(long)]
    dns_search: Vec<String>,
    /// Root directory for execution state files
    #[arg(long, value_name = "DIR")]
    exec_root: Option<PathBuf>,
    /// Group for the unix socket
    #[arg(short = 'G', long)]
    group: Option<String>,
    /// Daemon socket(s) to listen on (unix://, tcp://, fd://)
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Vec<String>,
    /// Let containers of the default bridge talk to each other
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    icc: Option<bool>,
    /// Run an init in containers to forward signals and reap processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init: Option<bool>,
    /// Talk to these registries without checking TLS, or over HTTP
    #[arg(long, value_name = "REGISTRY")]
    insecure_registry: Vec<String>,
    /// Host IP for port publishing from the default bridge
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// Turn on net.ipv4.ip_forward
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ip_forward: Option<bool>,
    /// Masquerade what leaves the default bridge
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ip_masq: Option<bool>,
    /// Set key=value labels to the daemon
    #[arg(long)]
    label: Vec<String>,
    /// Keep containers running while the daemon is down (always on)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    live_restore: Option<bool>,
    /// Default driver for container logs
    #[arg(long)]
    log_driver: Option<String>,
    /// Set the logging level (debug, info, warn, error, fatal)
    #[arg(short, long)]
    log_level: Option<String>,
    /// Default log driver options for containers (key=value)
    #[arg(long, value_name = "OPT", value_parser = pair)]
    log_opt: Vec<(String, String)>,
    /// Set the max concurrent downloads
    #[arg(long, value_name = "N")]
    max_concurrent_downloads: Option<u32>,
    /// Set the max concurrent uploads
    #[arg(long, value_name = "N")]
    max_concurrent_uploads: Option<u32>,
    /// Set the max download attempts for each pull
    #[arg(long, value_name = "N")]
    max_download_attempts: Option<u32>,
    /// MTU of the default bridge
    #[arg(long)]
    mtu: Option<u32>,
    /// Path to use for daemon PID file
    #[arg(short, long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Host address of ports published without one, in every network; 127.0.0.1 keeps them to
    /// this host
    #[arg(long, value_name = "IP")]
    publish_default_address: Option<String>,
    /// Preferred registry mirror
    #[arg(long, value_name = "URL")]
    registry_mirror: Vec<String>,
    /// Set the shutdown timeout in seconds
    #[arg(long, value_name = "SECONDS")]
    shutdown_timeout: Option<u64>,
    /// Storage driver to use (overlay2)
    #[arg(short, long)]
    storage_driver: Option<String>,
    /// Use TLS; implied by --tlsverify
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls: Option<bool>,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// Path to TLS key file
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// Use TLS and verify the remote
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tlsverify: Option<bool>,
    /// User and group whose subordinate ids are those of containers (default, USER[:GROUP])
    #[arg(long, value_name = "USER")]
    userns_remap: Option<String>,
    /// Validate daemon configuration and exit
    #[arg(long)]
    pub validate: bool,
    /// Print version information and quit
    #[arg(short, long, action = ArgAction::Version)]
    version: Option<bool>,
}

impl Flags {
    /// Gives the flags that were set, keyed as in the configuration file.
    pub fn into_settings(self) -> Settings {
        Settings {
            runtimes: some_map(self.add_runtime.into_iter().map(|(name, path)| {
                (name, RuntimeSetting { path: Some(path), runtime_args: Vec::new() })
            })),
            bip: self.bip,
            bridge: self.bridge,
            // Rules are for the file.
            builder: None,
            cdi_spec_dirs: some_vec(self.cdi_spec_dir),
            cgroup_parent: self.cgroup_parent,
            data_root: self.data_root,
            debug: self.debug,
            default_address_pools: some_vec(self.default_address_pool),
            default_runtime: self.default_runtime,
            default_shm_size: self.default_shm_size.map(Into::into),
            default_ulimits: some_map(
                self.default_ulimit.into_iter().map(|limit| (limit.name.clone(), limit)),
            ),
            dns: some_vec(self.dns),
            dns_opts: some_vec(self.dns_opt),
            dns_search: some_vec(self.dns_search),
            exec_root: self.exec_root,
            group: self.group,
            hosts: some_vec(self.host),
            icc: self.icc,
            init: self.init,
            insecure_registries: some_vec(self.insecure_registry),
            ip: self.ip,
            ip_forward: self.ip_forward,
            ip_masq: self.ip_masq,
            labels: some_vec(self.label),
            live_restore: self.live_restore,
            log_driver: self.log_driver,
            log_level: self.log_level,
            log_opts: some_map(self.log_opt.into_iter()),
            max_concurrent_downloads: self.max_concurrent_downloads,
            max_concurrent_uploads: self.max_concurrent_uploads,
            max_download_attempts: self.max_download_attempts,
            mtu: self.mtu,
            pidfile: self.pidfile,
            publish_default_address: self.publish_default_address,
            registry_mirrors: some_vec(self.registry_mirror),
            shutdown_timeout: self.shutdown_timeout,
            storage_driver: self.storage_driver,
            tls: self.tls,
            tlscacert: self.tlscacert,
            tlscert: self.tlscert,
            tlskey: self.tlskey,
            tlsverify: self.tlsverify,
            userns_remap: self.userns_remap,
        }
    }
}

fn some_vec<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

fn some_map<V>(entries: impl Iterator<Item = (String, V)>) -> Option<BTreeMap<String, V>> {
    let map: BTreeMap<String, V> = entries.collect();
    (!map.is_empty()).then_some(map)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() && !value.is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("invalid value {text:?}: it should be key=value")),
    }
}

fn address_pool(text: &str) -> Result<AddressPool, String> {
    let mut pool = AddressPool { base: String::new(), size: 0 };
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("base", base)) => base.clone_into(&mut pool.base),
            Some(("size", size)) => {
                pool.size = size.parse().map_err(|_| format!("invalid size value: {size}"))?;
            }
            _ => return Err(format!("invalid field {field:?} must be a key=value pair")),
        }
    }
    if pool.base.is_empty() || pool.size == 0 {
        return Err("an address pool needs base=CIDR and size=PREFIX".to_owned());
    }
    Ok(pool)
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let invalid = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let soft: i64 = soft.parse().map_err(|_| invalid())?;
    let hard: i64 = hard.parse().map_err(|_| invalid())?;
    if hard >= 0 && (soft > hard || soft < 0) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}
