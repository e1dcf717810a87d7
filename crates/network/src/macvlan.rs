//! macvlan networks: each container gets a link address of its own on a wire of the host.
//!
//! ```text
//! parent given       eth0       the wire itself, which must be there
//!                    eth0.10    VLAN 10 on it, made where it is missing and removed with the network
//! none given         dm-<id>    a wire that ends at its other end here, dp-<id>: nobody but the
//!                               network's own containers is on it
//! ```
//! What we made carries the alias `teu-parent:<data-root>`. The host itself does not reach these
//! containers by that wire, nor they the host: that is how macvlan works. Ports are not published,
//! because nothing is translated.

use std::collections::BTreeMap;
use std::io;

use linux::netlink::{Link, MacvlanMode, Request, Route};
use rustix::io::Errno;

use crate::bridge;
use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::options::{BridgeOptions, check_interface};
use crate::record::{Driver, NetworkRecord};
use crate::state::State;

const PARENT: &str = "parent";
const MODE: &str = "macvlan_mode";

/// The options of a macvlan network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MacvlanOptions {
    pub(crate) parent: Option<String>,
    pub(crate) mode: MacvlanMode,
    /// What it has in common with a bridge: MTU, names of interfaces.
    pub(crate) common: BridgeOptions,
}

impl MacvlanOptions {
    /// Reads the options.
    ///
    /// # Errors
    /// If one is unknown or has a value that it cannot have.
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut rest = options.clone();
        let parent = rest.remove(PARENT).filter(|parent| !parent.is_empty());
        if let Some(parent) = &parent {
            check_interface(PARENT, parent)?;
        }
        let mode = match rest.remove(MODE).as_deref() {
            None | Some("" | "bridge") => MacvlanMode::Bridge,
            Some("private") => MacvlanMode::Private,
            Some("vepa") => MacvlanMode::Vepa,
            Some("passthru") => MacvlanMode::Passthru,
            Some(other) => {
                return Err(Error::Invalid(format!(
                    "requested macvlan mode '{}' is not valid: bridge, private, vepa and passthru \
                     are",
                    other.escape_default()
                )));
            }
        };
        if let Some(unknown) = rest.keys().find(|name| name.contains(".bridge.")) {
            return Err(Error::Invalid(format!(
                "invalid option \"{}\" for a macvlan network, which has no bridge",
                unknown.escape_default()
            )));
        }
        Ok(Self { parent, mode, common: BridgeOptions::parse(&rest)? })
    }
}

/// Name of the interface that the network's containers hang on.
pub(crate) fn parent_of(record: &NetworkRecord) -> String {
    let given = record.options.get(PARENT).filter(|parent| !parent.is_empty());
    given.cloned().unwrap_or_else(|| format!("dm-{}", &record.id[..12.min(record.id.len())]))
}

/// Refuses a wire that another network has: their containers would be neighbours without knowing.
pub(crate) fn check_parent(state: &State, record: &NetworkRecord) -> Result<()> {
    let parent = parent_of(record);
    let mut others = state.networks.values().filter(|other| other.driver == Driver::Macvlan);
    match others.find(|other| parent_of(other) == parent) {
        Some(other) => Err(Error::ParentTaken { network: other.name.clone(), parent }),
        None => Ok(()),
    }
}

/// Makes the parent where that is ours to do, and brings it up.
pub(crate) fn ensure_parent(
    route: &mut Route,
    config: &Config,
    record: &NetworkRecord,
) -> Result<()> {
    let name = parent_of(record);
    let action = || format!("look for interface {name}");
    let link = match route.link(&name).context(action)? {
        Some(link) => link,
        None => make(route, config, record, &name)?,
    };
    if link.is_up || !is_ours(&link, config) {
        return Ok(());
    }
    route.execute([Request::raise(link.index)]).context(|| format!("raise interface {name}"))
}

fn make(route: &mut Route, config: &Config, record: &NetworkRecord, name: &str) -> Result<Link> {
    let action = || format!("create interface {name}");
    if record.options.get(PARENT).is_none_or(String::is_empty) {
        // Not a bridge without ports, which has no carrier, nor a dummy, which kernels may lack.
        let other_end = name.replacen("dm-", "dp-", 1);
        let wire = Request::create_wire(name, &other_end, config.mtu);
        route.execute([wire]).context(action)?;
        if let Some(end) = route.link(&other_end).context(action)? {
            route.execute([Request::raise(end.index)]).context(action)?;
        }
    } else {
        let (wire, vlan) = sub_interface(name)?;
        let wire_link = route.link(wire).context(action)?.ok_or_else(|| {
            Error::Invalid(format!(
                "parent interface {name}: there is no interface {wire} on this host"
            ))
        })?;
        route
            .execute([Request::create_vlan(name, wire_link.index, vlan)])
            .map_err(|error| lacks(error, action(), "VLANs", "CONFIG_VLAN_8021Q, module 8021q"))?;
    }
    let link = route.link(name).context(action)?.ok_or_else(|| Error::Kernel {
        action: action(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    route.execute([Request::set_alias(link.index, &alias(config))]).context(action)?;
    Ok(Link { alias: Some(alias(config)), ..link })
}

/// Takes `eth0.10` apart.
fn sub_interface(name: &str) -> Result<(&str, u16)> {
    let parts = name.rsplit_once('.').filter(|(wire, _)| !wire.is_empty());
    let vlan = |text: &str| text.parse().ok().filter(|id| (1..4095).contains(id));
    parts.and_then(|(wire, id)| Some((wire, vlan(id)?))).ok_or_else(|| {
        Error::Invalid(format!(
            "parent interface {name} does not exist, and cannot be made: invalid subinterface vlan \
             name {name}, example formatting is eth0.10"
        ))
    })
}

/// Removes a parent of ours; another's stays.
pub(crate) fn remove_parent(
    route: &mut Route,
    config: &Config,
    record: &NetworkRecord,
) -> Result<()> {
    let name = parent_of(record);
    let action = || format!("delete interface {name}");
    match route.link(&name).context(action)? {
        Some(link) if is_ours(&link, config) => {
            crate::reaper::gone(route.execute([Request::delete_link(&name)])).context(action)
        }
        _ => Ok(()),
    }
}

/// Whether a daemon with this data-root made the interface to be a parent.
pub(crate) fn is_ours(link: &Link, config: &Config) -> bool {
    link.alias.as_deref() == Some(alias(config).as_str())
}

fn alias(config: &Config) -> String {
    let bridge = bridge::alias(config);
    format!("teu-parent:{}", bridge.strip_prefix("teu:").unwrap_or(&bridge))
}

/// Says so where the kernel has no such kind of interface.
pub(crate) fn lacks(error: io::Error, action: String, what: &str, option: &str) -> Error {
    let is_lacking = [Errno::OPNOTSUPP, Errno::NODEV, Errno::NOTSUP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    if !is_lacking {
        return Error::Kernel { action, source: error };
    }
    Error::Invalid(format!(
        "cannot {action}: this kernel has no {what} ({option}); load the module, or use a kernel \
         that has it"
    ))
}

/// Why there are no ipvlan networks.
pub(crate) fn no_ipvlan() -> Error {
    let has_driver = std::fs::exists("/sys/module/ipvlan").unwrap_or(false);
    let kernel = if has_driver { "" } else { ", and this kernel has none (CONFIG_IPVLAN)" };
    Error::Invalid(format!(
        "driver \"ipvlan\" is not supported{kernel}: use macvlan, with a link address for each \
         container, or a bridge network"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_are_those_of_a_wire() {
        let parsed = MacvlanOptions::parse(&options(&[
            ("parent", "eth0.10"),
            ("macvlan_mode", "vepa"),
            ("com.docker.network.driver.mtu", "1400"),
        ]))
        .unwrap();
        assert_eq!((parsed.parent.as_deref(), parsed.mode), (Some("eth0.10"), MacvlanMode::Vepa));
        assert_eq!(parsed.common.mtu, Some(1400));
        for (name, value) in [
            ("macvlan_mode", "l2"),
            ("parent", "a/b"),
            ("com.docker.network.bridge.enable_icc", "true"),
            ("colour", "red"),
        ] {
            let error = MacvlanOptions::parse(&options(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(name) || error.contains(value), "{error}");
        }
    }

    #[test]
    fn sub_interfaces_are_a_wire_and_a_number() {
        assert_eq!(sub_interface("eth0.10").unwrap(), ("eth0", 10));
        assert_eq!(sub_interface("bond0.5.4094").unwrap(), ("bond0.5", 4094));
        for name in ["eth0", "eth0.", ".10", "eth0.0", "eth0.4095", "eth0.x", "eth0.-1"] {
            let error = sub_interface(name).unwrap_err().to_string();
            assert!(error.contains("example formatting is eth0.10"), "{error}");
        }
    }
}
