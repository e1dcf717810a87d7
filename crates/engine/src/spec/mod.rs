//! From a container's record to its OCI runtime configuration.
//!
//! [`build`] is pure: whatever has to be looked up on the host, in the container's files or in
//! other containers is in [`SpecInput`] already. Sources of truth: runtime-spec 1.2 config.md and
//! config-linux.md, and what Docker's containers are observed to look like.

mod capability;
pub(crate) mod cdi;
mod device;
pub(crate) mod host;
mod mount;
mod process;
mod resource;
mod security;
pub(crate) mod user;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, RootBuilder, Spec, SpecBuilder,
};

use crate::container::{ContainerPaths, ContainerRecord, IdRange, NetworkMode};
use crate::{Error, Result};

pub(crate) use capability::{
    bits as capability_bits, of_container as capabilities, validate as validate_capabilities,
};
pub(crate) use device::validate_rule as validate_device_rule;
pub(crate) use host::HostFacts;
pub(crate) use process::{ExecProcess, ulimit_type};
pub(crate) use resource::limits as resource_limits;
pub(crate) use security::{Seccomp, SecurityOptions, default_paths};

/// What a namespace of the container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// The host's.
    Host,
    /// A new one.
    New,
    /// An existing one.
    Path(PathBuf),
}

/// The namespaces that the container's modes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespaces {
    pub(crate) user: Namespace,
    pub(crate) network: Namespace,
    pub(crate) pid: Namespace,
    pub(crate) ipc: Namespace,
    pub(crate) uts: Namespace,
    pub(crate) cgroup: Namespace,
}

/// Everything [`build`] needs.
#[derive(Debug)]
pub(crate) struct SpecInput<'a> {
    pub(crate) record: &'a ContainerRecord,
    /// Where each of the record's mounts comes from, in their order.
    pub(crate) sources: &'a [PathBuf],
    /// Which of the mounts are volumes whose files are somewhere else.
    pub(crate) foreign: Vec<bool>,
    /// The layers of mounted images, topmost first, by the mount's number.
    pub(crate) image_layers: BTreeMap<usize, Vec<PathBuf>>,
    /// Whether the runtime in the shim makes the container.
    pub(crate) is_builtin: bool,
    /// Whose `hosts`, `hostname` and `resolv.conf` are put into the container.
    pub(crate) paths: &'a ContainerPaths,
    pub(crate) host: &'a HostFacts,
    pub(crate) namespaces: Namespaces,
    pub(crate) user: user::ResolvedUser,
    /// Groups of `group_add`, resolved.
    pub(crate) additional_groups: Vec<u32>,
    /// Relative to each hierarchy's root.
    pub(crate) cgroup: PathBuf,
    /// Variables that links bring, before the user's.
    pub(crate) link_environment: Vec<String>,
    /// Size of `/dev/shm`.
    pub(crate) shm_size_bytes: u64,
    /// Where `/dev/shm` comes from when it is shared: a host directory.
    pub(crate) shared_shm: Option<PathBuf>,
    /// Limits for a container that does not set them.
    pub(crate) default_ulimits: &'a [crate::container::Ulimit],
    /// The reaping process 1, when there is to be one.
    pub(crate) init: Option<PathBuf>,
    /// What devices named by vendors bring in.
    pub(crate) cdi: Vec<cdi::Edits>,
    /// The AppArmor profile, which the kernel has.
    pub(crate) apparmor: Option<String>,
    /// For an external runtime only; the builtin one takes a compiled filter.
    pub(crate) seccomp: Option<Arc<LinuxSeccomp>>,
}

/// Builds the runtime configuration.
///
/// # Errors
/// InvalidParameter for values that no runtime could carry out.
pub(crate) fn build(input: &SpecInput<'_>) -> Result<Spec> {
    let record = input.record;
    let host_config = &record.host_config;
    // Said in any case: the builder's own default is a read-only root.
    let root = RootBuilder::default().path("rootfs").readonly(host_config.readonly_rootfs);
    let mut builder = SpecBuilder::default()
        .version("1.2.0")
        .root(root.build().map_err(invalid)?)
        .process(process::init(input)?)
        .mounts(mount::mounts(input)?)
        .linux(linux(input)?);
    if input.namespaces.uts != Namespace::Host {
        builder = builder.hostname(record.config.hostname.clone());
        if !record.config.domainname.is_empty() {
            builder = builder.domainname(record.config.domainname.clone());
        }
    }
    if !host_config.annotations.is_empty() {
        let annotations = host_config.annotations.clone().into_iter().collect::<HashMap<_, _>>();
        builder = builder.annotations(annotations);
    }
    let mut spec = builder.build().map_err(invalid)?;
    cdi::apply(&mut spec, &input.cdi)?;
    Ok(spec)
}

fn linux(input: &SpecInput<'_>) -> Result<Linux> {
    let host_config = &input.record.host_config;
    let devices = device::devices(host_config)?;
    let mut resources = resource::limits(&host_config.resources)?;
    resources.set_devices(Some(device::rules(host_config, &devices)?));
    let mut builder = LinuxBuilder::default()
        .namespaces(namespaces(&input.namespaces)?)
        .cgroups_path(input.cgroup.clone())
        .resources(resources)
        .devices(devices)
        .masked_paths(security::masked_paths(host_config))
        .readonly_paths(security::readonly_paths(host_config))
        .sysctl(sysctls(input));
    if let Some(propagation) = mount::rootfs_propagation(&input.record.mounts) {
        builder = builder.rootfs_propagation(propagation);
    }
    if let Some(map) = &input.record.id_map {
        builder = builder.uid_mappings(mappings(&map.uids)?).gid_mappings(mappings(&map.gids)?);
    }
    if let Some(seccomp) = &input.seccomp {
        builder = builder.seccomp(LinuxSeccomp::clone(seccomp));
    }
    builder.build().map_err(invalid)
}

fn namespaces(wanted: &Namespaces) -> Result<Vec<LinuxNamespace>> {
    let kinds = [
        (LinuxNamespaceType::User, &wanted.user),
        (LinuxNamespaceType::Mount, &Namespace::New),
        (LinuxNamespaceType::Network, &wanted.network),
        (LinuxNamespaceType::Uts, &wanted.uts),
        (LinuxNamespaceType::Pid, &wanted.pid),
        (LinuxNamespaceType::Ipc, &wanted.ipc),
        (LinuxNamespaceType::Cgroup, &wanted.cgroup),
    ];
    let mut namespaces = Vec::with_capacity(kinds.len());
    for (kind, namespace) in kinds {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        let builder = match namespace {
            Namespace::Host => continue,
            Namespace::New => builder,
            Namespace::Path(path) => builder.path(path.clone()),
        };
        namespaces.push(builder.build().map_err(invalid)?);
    }
    Ok(namespaces)
}

fn mappings(ranges: &[IdRange]) -> Result<Vec<LinuxIdMapping>> {
    let mapping = |range: &IdRange| {
        LinuxIdMappingBuilder::default()
            .container_id(range.container)
            .host_id(range.host)
            .size(range.size)
            .build()
            .map_err(invalid)
    };
    ranges.iter().map(mapping).collect()
}

fn sysctls(input: &SpecInput<'_>) -> HashMap<String, String> {
    let host_config = &input.record.host_config;
    let mut sysctls = HashMap::new();
    let own_network = input.namespaces.network != Namespace::Host
        && !matches!(host_config.network_mode, NetworkMode::Container(_));
    if own_network {
        // An unprivileged process may then listen on port 80 and send pings, as with Docker.
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    sysctls.extend(host_config.sysctls.clone());
    sysctls
}

/// A builder of the specification's types refused, which only a wrong value can cause.
fn invalid(error: oci_spec::OciSpecError) -> Error {
    Error::InvalidParameter(format!("invalid runtime configuration: {error}"))
}
