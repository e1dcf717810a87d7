//! The daemon's configuration as the registry client takes it.

use std::path::PathBuf;

use images::registry::{InsecureRegistries, Mirror, ProxyConfig, RegistryConfig, RegistryError};

use crate::config::Config;

/// Builds the registry client's configuration.
pub(crate) fn registry_config(
    config: &Config,
    proxy: ProxyConfig,
) -> Result<RegistryConfig, RegistryError> {
    let mirrors = config.registry_mirrors.iter().map(|url| Mirror::parse(url));
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(RegistryConfig {
        insecure: InsecureRegistries::parse(&config.insecure_registries)?,
        mirrors: mirrors.collect::<Result<_, _>>()?,
        certs_dirs: vec![PathBuf::from("/etc/teu/certs.d"), PathBuf::from("/etc/docker/certs.d")],
        proxy,
        max_concurrent_downloads: count(config.max_concurrent_downloads),
        max_concurrent_uploads: count(config.max_concurrent_uploads),
        max_attempts: config.max_download_attempts,
        ..RegistryConfig::default()
    })
}
