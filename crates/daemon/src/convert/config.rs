//! The daemon's configuration as the engine takes it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use engine::container::{LogConfig, Ulimit};
use engine::{NetworkConfig, RuntimeEntry};

use crate::config::Config;

const BUILTIN: &str = "teu";
const RUNC: &str = "runc";

/// Builds the engine's configuration. Names Docker's clients use for the standard runtime reach
/// a runtime as well: `runc` is the binary of that name, the shim-style name the built-in one.
pub(crate) fn engine_config(config: &Config, shim: PathBuf) -> anyhow::Result<engine::Config> {
    let mut built = engine::Config::new(config.data_root.clone(), config.exec_root.clone(), shim);
    built.runtimes = BTreeMap::from([
        (BUILTIN.to_owned(), RuntimeEntry::Builtin),
        ("io.containerd.runc.v2".to_owned(), RuntimeEntry::Builtin),
        (RUNC.to_owned(), RuntimeEntry::External { path: RUNC.into(), args: Vec::new() }),
    ]);
    for (name, runtime) in &config.runtimes {
        let path = runtime.path.clone().unwrap_or_else(|| name.clone());
        let args = runtime.runtime_args.clone();
        built.runtimes.insert(name.clone(), RuntimeEntry::External { path: path.into(), args });
    }
    built.default_runtime.clone_from(&config.default_runtime);
    if let Some(parent) = &config.cgroup_parent {
        built.cgroup_parent.clone_from(parent);
    }
    built.network = NetworkConfig {
        bridge: config.bridge.clone(),
        bip: config.bip.clone(),
        default_address_pools: config
            .default_address_pools
            .iter()
            .map(|pool| (pool.base.clone(), pool.size))
            .collect(),
        mtu: Some(config.mtu),
        default_host_ip: config.ip,
        publish_default_address: config.publish_default_address,
        ip_forward: config.ip_forward,
        ip_masquerade: config.ip_masq,
        icc: config.icc,
    };
    built.cdi_spec_dirs.clone_from(&config.cdi_spec_dirs);
    built.init = config.init;
    let remap = config.userns_remap.as_deref();
    built.userns_remap = remap.map(engine::container::remap).transpose()?;
    built.default_log =
        LogConfig { driver: config.log_driver.clone(), options: config.log_opts.clone() };
    built.default_ulimits = config
        .default_ulimits
        .iter()
        .map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
        .collect();
    built.default_shm_size_bytes = config.default_shm_size_bytes;
    built.dns = config.dns.iter().map(|ip| ip.parse::<IpAddr>()).collect::<Result<_, _>>()?;
    built.dns_options.clone_from(&config.dns_opts);
    built.dns_search.clone_from(&config.dns_search);
    built.labels.clone_from(&config.labels);
    Ok(built)
}
