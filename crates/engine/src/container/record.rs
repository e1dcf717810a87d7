//! The record of a container: what the state database holds about it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::{ContainerConfig, ContainerPort};
use super::host_config::{HostConfig, MountType};
use super::links::Link;
use super::state::ContainerState;
use super::userns::IdMap;
use crate::error::Error;

/// A container's identity: 64 lower-case hexadecimal digits, safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// Draws a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(crate::ids::random_hex().into())
    }

    /// The 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ContainerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(digit) {
            return Err(Error::InvalidParameter(format!("invalid container id: {text}")));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0.as_ref().to_owned()
    }
}

/// All that is durably known about a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Version of this layout.
    pub version: u32,
    /// Its identity.
    pub id: ContainerId,
    /// Its name, without a leading slash.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The image's id (`sha256:…`); empty for a container without one.
    pub image_id: String,
    /// The portable half of the configuration, merged with the image's.
    pub config: Arc<ContainerConfig>,
    /// The host's half.
    pub host_config: Arc<HostConfig>,
    /// What is mounted into it, volumes resolved.
    pub mounts: Arc<Vec<MountPoint>>,
    /// Its endpoints by network name.
    pub networks: BTreeMap<String, EndpointSettings>,
    /// Its legacy links on the default network.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Its ids on the host; `None`: the host's own.
    #[serde(default)]
    pub id_map: Option<IdMap>,
    /// What it is doing.
    pub state: ContainerState,
    /// What was begun and has to be completed or undone if the daemon dies.
    #[serde(default)]
    pub intent: Option<Intent>,
}

impl ContainerRecord {
    /// The layout this code writes.
    pub const VERSION: u32 = 1;

    /// Program and arguments of process 1: entrypoint, then command.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let entrypoint = self.config.entrypoint.iter().flatten();
        entrypoint
            .skip_while(|word| word.is_empty())
            .chain(self.config.cmd.iter().flatten())
            .cloned()
            .collect()
    }
}

/// An operation that was begun. Written before its first effect, cleared with its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// Create: undone.
    Create,
    /// Start: completed if the shim lives, else undone.
    Start,
    /// Stop, then start: completed.
    Restart,
    /// Removal: completed.
    Remove,
}

/// Something mounted into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// What it brings in.
    pub kind: MountType,
    /// The volume's name; empty for the other types.
    pub name: String,
    /// The host path; empty for tmpfs.
    pub source: PathBuf,
    /// Where it appears.
    pub destination: String,
    /// The volume's driver; empty for the other types.
    pub driver: String,
    /// The options as the user gave them.
    pub mode: String,
    /// Whether it can be written.
    pub writable: bool,
    /// How mounts spread; empty is the type's default.
    pub propagation: String,
    /// Path inside the volume.
    pub subpath: String,
    /// Whether the volume was made for this container alone, and leaves with it.
    pub anonymous: bool,
    /// Whether an empty volume is not to be filled from the image.
    pub no_copy: bool,
    /// Whether a missing source directory is made at start, as `-v` does and `--mount` does not.
    pub create_source: bool,
    /// Leave out mounts below the source.
    pub non_recursive: bool,
    /// Read-only does not reach mounts below the source.
    pub read_only_non_recursive: bool,
    /// Fail when read-only cannot reach mounts below the source.
    pub read_only_force_recursive: bool,
    /// Options of a tmpfs.
    pub tmpfs_options: Vec<String>,
}

/// A container's side of a network: what was asked for, and what it has while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSettings {
    /// Asked for: IPv4 address.
    pub ipv4_address: Option<IpAddr>,
    /// Asked for: IPv6 address.
    pub ipv6_address: Option<IpAddr>,
    /// Asked for: further link-local addresses.
    pub link_local_ips: Vec<IpAddr>,
    /// Asked for: link address.
    pub mac_address: Option<String>,
    /// Asked for: names on this network.
    pub aliases: Vec<String>,
    /// Asked for: links on this network, `container:alias`.
    pub links: Vec<String>,
    /// Asked for: options of the network's driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Asked for: which network gives the default route.
    pub gw_priority: i64,
    /// Has: the network's id.
    pub network_id: String,
    /// Has: the rest, only while the container runs.
    pub live: Option<LiveEndpoint>,
}

/// What an endpoint has while its container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveEndpoint {
    /// 64 hexadecimal digits.
    pub endpoint_id: String,
    /// The address.
    pub ip_address: Option<IpAddr>,
    /// Bits of the subnet.
    pub ip_prefix_len: u8,
    /// The way out of the network, if it has one.
    pub gateway: Option<IpAddr>,
    /// The IPv6 address.
    #[serde(default)]
    pub ip6_address: Option<IpAddr>,
    /// Bits of its subnet.
    #[serde(default)]
    pub ip6_prefix_len: u8,
    /// The way out in IPv6.
    #[serde(default)]
    pub gateway6: Option<IpAddr>,
    /// The link address, `02:42:…`.
    pub mac_address: String,
    /// Published ports, with the host ports that were chosen.
    pub ports: Vec<PublishedPort>,
}

/// A published port as it is open on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The container's side.
    pub container_port: ContainerPort,
    /// The host's address.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}
