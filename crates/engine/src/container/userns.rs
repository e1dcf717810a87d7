//! Whose ids a container has: the host's, or a range of the host's of its own.
//!
//! ```text
//! --userns=host                                        the host's
//! --userns=auto[:size=N][,uidmapping=C:H:N][,gidmapping=C:H:N]
//!                                                      a range that no other container has
//! --userns=map:uidmapping=C:H:N[,gidmapping=C:H:N]     these
//! ```
//! `C` is the first id in the container, `H` on the host, `N` how many; the words may be repeated.
//! The map is decided when a container is made and is in its record; on disk its files keep the
//! ids that it sees. Ranges to take from are those that `/etc/subuid` and `/etc/subgid` give to
//! the user `teu`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::host_config::HostConfig;
use super::mode::{IpcMode, NetworkMode, PidMode};
use super::record::ContainerId;
use crate::{Engine, Error, Result};

#[cfg(test)]
mod tests;

/// Whose subordinate ids are given to containers.
const OWNER: &str = "teu";
/// As many ids as Linux distributions give to a user.
const DEFAULT_SIZE: u32 = 65_536;
/// What Docker calls the user of `--userns-remap=default`.
const DEFAULT_USER: &str = "dockremap";
/// The kernel takes no longer maps.
const MAX_RANGES: usize = 340;

/// A run of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id in the container.
    pub container: u32,
    /// First id on the host.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The users and groups of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// The same as the kernel's side wants it.
    pub(crate) fn to_linux(&self) -> linux::user_namespace::IdMap {
        let ranges = |ranges: &[IdRange]| {
            let range = |range: &IdRange| linux::user_namespace::IdRange {
                inside: range.container,
                outside: range.host,
                size: range.size,
            };
            ranges.iter().map(range).collect()
        };
        linux::user_namespace::IdMap { uids: ranges(&self.uids), gids: ranges(&self.gids) }
    }

    fn check(&self) -> Result<()> {
        for (ranges, noun) in [(&self.uids, "user"), (&self.gids, "group")] {
            if ranges.len() > MAX_RANGES {
                return invalid(format!("a user namespace has at most {MAX_RANGES} ranges"));
            }
            for (at, range) in ranges.iter().enumerate() {
                let fits = |first: u32| first.checked_add(range.size).is_some();
                if range.size == 0 || !fits(range.container) || !fits(range.host) {
                    return invalid(format!("invalid {noun} range {range} of a user namespace"));
                }
                let crosses = |other: &IdRange| {
                    overlap(range.container, range.size, other.container, other.size)
                        || overlap(range.host, range.size, other.host, other.size)
                };
                if ranges[..at].iter().any(crosses) {
                    return invalid(format!("{noun} range {range} overlaps another one"));
                }
            }
            if !ranges.iter().any(|range| range.container == 0) {
                return invalid(format!("a user namespace needs a {noun} 0"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.size)
    }
}

/// Whose user ids a container's process has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UsernsMode {
    /// The daemon's default: the host's, or what `--userns-remap` says.
    #[default]
    Unset,
    /// The host's.
    Host,
    /// A range of its own.
    Auto {
        /// How many ids; `None`: 65536.
        size: Option<u32>,
        /// What is not taken from the range.
        fixed: IdMap,
    },
    /// As said.
    Map(IdMap),
}

impl FromStr for UsernsMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (word, options) = text.split_once(':').unwrap_or((text, ""));
        match (word, options.is_empty()) {
            ("", true) => return Ok(Self::Unset),
            ("host", true) => return Ok(Self::Host),
            ("auto", _) | ("map", false) => {}
            _ => return invalid(format!("invalid USER mode: {}", text.escape_default())),
        }
        let (mut size, mut map) = (None, IdMap::default());
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("uidmapping", range)) => map.uids.push(parse_range(range)?),
                Some(("gidmapping", range)) => map.gids.push(parse_range(range)?),
                Some(("size", number)) if word == "auto" => {
                    size = Some(number.parse().ok().filter(|size| *size > 0).ok_or_else(|| {
                        invalid_mode(format!("size {}", number.escape_default()))
                    })?);
                }
                _ => return Err(invalid_mode(option.escape_default())),
            }
        }
        if word == "auto" {
            return Ok(Self::Auto { size, fixed: map });
        }
        if map.gids.is_empty() {
            map.gids.clone_from(&map.uids);
        }
        map.check()?;
        Ok(Self::Map(map))
    }
}

impl fmt::Display for UsernsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, size, map) = match self {
            Self::Unset => return Ok(()),
            Self::Host => return f.write_str("host"),
            Self::Auto { size, fixed } => ("auto", *size, fixed),
            Self::Map(map) => ("map", None, map),
        };
        let size = size.map(|size| format!("size={size}"));
        let uids = map.uids.iter().map(|range| format!("uidmapping={range}"));
        let gids = map.gids.iter().map(|range| format!("gidmapping={range}"));
        let options: Vec<String> = size.into_iter().chain(uids).chain(gids).collect();
        f.write_str(word)?;
        if options.is_empty() { Ok(()) } else { write!(f, ":{}", options.join(",")) }
    }
}

impl TryFrom<String> for UsernsMode {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<UsernsMode> for String {
    fn from(mode: UsernsMode) -> Self {
        mode.to_string()
    }
}

fn invalid<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::InvalidParameter(text.into()))
}

fn invalid_mode(what: impl fmt::Display) -> Error {
    Error::InvalidParameter(format!("invalid USER mode: {what}"))
}

fn parse_range(text: &str) -> Result<IdRange> {
    let numbers: Option<Vec<u32>> = text.split(':').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some([container, host, size]) => {
            Ok(IdRange { container: *container, host: *host, size: *size })
        }
        _ => Err(invalid_mode(format!("{} is not C:H:N", text.escape_default()))),
    }
}

fn overlap(first: u32, size: u32, other: u32, other_size: u32) -> bool {
    first < other.saturating_add(other_size) && other < first.saturating_add(size)
}

/// Ranges that containers are given which are not in the registry yet.
pub(crate) type Reservations = Arc<Mutex<BTreeMap<String, IdMap>>>;

/// The ids of a container to be; others keep off them as long as this lives.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) map: Option<IdMap>,
    reservation: Option<(Reservations, ContainerId)>,
}

impl Drop for Decided {
    fn drop(&mut self) {
        if let Some((reservations, id)) = &self.reservation {
            let mut reserved = reservations.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.remove(id.as_str());
        }
    }
}

/// Decides which ids a container will have, and refuses what does not go with others than the
/// host's.
pub(super) fn decide(
    engine: &Engine,
    id: &ContainerId,
    host_config: &HostConfig,
) -> Result<Decided> {
    let given = |map| Ok(Decided { map, reservation: None });
    let mode = &host_config.userns_mode;
    if *mode == UsernsMode::Host {
        return given(None);
    }
    if let Some(joined) = joined(engine, host_config)? {
        check(host_config, joined.is_some())?;
        return match (joined, mode) {
            // There is one namespace that owns the other ones.
            (None, UsernsMode::Auto { .. } | UsernsMode::Map(_)) => invalid(
                "cannot share the namespaces of a container that has the host's user namespace",
            ),
            (joined, _) => given(joined),
        };
    }
    let remapped = &engine.config().userns_remap;
    check(host_config, *mode != UsernsMode::Unset || remapped.is_some())?;
    match mode {
        UsernsMode::Host => given(None),
        UsernsMode::Unset => given(remapped.clone()),
        UsernsMode::Map(map) => given(Some(map.clone())),
        UsernsMode::Auto { size, fixed } => {
            let reservations = Arc::clone(&engine.inner.id_reservations);
            let mut reserved = reservations.lock().unwrap_or_else(PoisonError::into_inner);
            let mut taken: Vec<IdMap> = reserved.values().cloned().collect();
            taken.extend(remapped.clone());
            let containers = engine.inner.registry.all();
            taken.extend(containers.iter().filter_map(|other| other.record().id_map.clone()));
            let own = Owned::read(Path::new("/etc"), OWNER)?;
            let map = allocate(&own, &taken, size.unwrap_or(DEFAULT_SIZE), fixed)?;
            reserved.insert(id.to_string(), map.clone());
            drop(reserved);
            Ok(Decided { map: Some(map), reservation: Some((reservations, id.clone())) })
        }
    }
}

/// The ids of the container whose namespaces are to be shared; the outer `None` if there is none.
#[allow(
    clippy::option_option,
    reason = "a container without a map is not the same as no container"
)]
fn joined(engine: &Engine, host_config: &HostConfig) -> Result<Option<Option<IdMap>>> {
    let Some(other) = donor(host_config) else { return Ok(None) };
    let container = engine.inner.registry.find(other)?;
    Ok(Some(container.record().id_map.clone()))
}

/// The container that a container shares namespaces with, and so the user namespace.
pub(super) fn donor(host_config: &HostConfig) -> Option<&str> {
    match (&host_config.network_mode, &host_config.ipc_mode, &host_config.pid_mode) {
        (NetworkMode::Container(id), _, _)
        | (_, IpcMode::Container(id), _)
        | (_, _, PidMode::Container(id)) => Some(id),
        _ => None,
    }
}

/// Refuses, in Docker's words, what a user namespace takes the sense of.
fn check(host_config: &HostConfig, mapped: bool) -> Result<()> {
    if !mapped {
        return Ok(());
    }
    if host_config.privileged {
        return invalid(
            "privileged mode is incompatible with user namespaces.  You must run the container \
             in the host namespace when running privileged mode",
        );
    }
    if host_config.network_mode == NetworkMode::Host {
        return invalid(
            "cannot share the host's network namespace when user namespaces are enabled",
        );
    }
    if host_config.pid_mode == PidMode::Host {
        return invalid("cannot share the host PID namespace when user namespaces are enabled");
    }
    Ok(())
}

/// Ids of the host that an account may hand out: first and number of each range.
#[derive(Debug, Default, PartialEq, Eq)]
struct Owned {
    account: String,
    uids: Vec<(u32, u32)>,
    gids: Vec<(u32, u32)>,
}

impl Owned {
    fn read(etc: &Path, account: &str) -> Result<Self> {
        let ranges = |file: &str| -> Result<Vec<(u32, u32)>> {
            let path = etc.join(file);
            let text = match std::fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                other => other.map_err(Error::io("read", &path))?,
            };
            let ranges = owned_ranges(&text, account);
            if ranges.is_empty() {
                return invalid(format!(
                    "no ids for user namespaces: {} has no line of {account}; add one such as \
                     {account}:2147483648:1073741824",
                    path.display()
                ));
            }
            Ok(ranges)
        };
        Ok(Self { account: account.to_owned(), uids: ranges("subuid")?, gids: ranges("subgid")? })
    }
}

/// The lines `account:first:number` of subuid(5).
fn owned_ranges(text: &str, account: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let same = fields.next()? == account;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        same.then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// Finds `size` ids in a row, the same for users and groups, that nobody else has.
fn allocate(owned: &Owned, taken: &[IdMap], size: u32, fixed: &IdMap) -> Result<IdMap> {
    let in_use: Vec<&IdRange> =
        taken.iter().flat_map(|map| map.uids.iter().chain(&map.gids)).collect();
    let fits = |first: u32| {
        let within = |ranges: &[(u32, u32)]| {
            ranges.iter().any(|(start, number)| {
                first >= *start
                    && u64::from(first) + u64::from(size) <= u64::from(*start) + u64::from(*number)
            })
        };
        within(&owned.uids)
            && within(&owned.gids)
            && !in_use.iter().any(|range| overlap(first, size, range.host, range.size))
    };
    let starts = owned.uids.iter().chain(&owned.gids).map(|(start, _)| *start);
    let ends = in_use.iter().filter_map(|range| range.host.checked_add(range.size));
    let mut candidates: Vec<u32> = starts.chain(ends).collect();
    candidates.sort_unstable();
    let Some(first) = candidates.into_iter().find(|first| fits(*first)) else {
        return Err(Error::Unavailable(format!(
            "no {size} ids in a row are left for a user namespace: give {} more in /etc/subuid \
             and /etc/subgid, or ask for fewer with --userns=auto:size=N",
            owned.account
        )));
    };
    let map =
        IdMap { uids: around(&fixed.uids, first, size), gids: around(&fixed.gids, first, size) };
    map.check()?;
    Ok(map)
}

/// The fixed ranges, and the ids from `first` on for what is left of 0 to `size`.
fn around(fixed: &[IdRange], first: u32, size: u32) -> Vec<IdRange> {
    let mut fixed = fixed.to_vec();
    fixed.sort_by_key(|range| range.container);
    let mut ranges = Vec::new();
    let mut at = 0;
    for range in fixed {
        if range.container > at && at < size {
            let size = range.container.min(size) - at;
            ranges.push(IdRange { container: at, host: first + at, size });
        }
        at = at.max(range.container.saturating_add(range.size));
        ranges.push(range);
    }
    if at < size {
        ranges.push(IdRange { container: at, host: first + at, size: size - at });
    }
    ranges
}

/// The map of `--userns-remap`: `default`, or `user[:group]` by name or number. The subordinate ids
/// of both, one range after the other, become those of containers.
///
/// # Errors
/// InvalidParameter for an account that does not exist or has no subordinate ids.
pub fn remap(text: &str) -> Result<IdMap> {
    remap_in(Path::new("/etc"), text)
}

fn remap_in(etc: &Path, text: &str) -> Result<IdMap> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let read = |file: &str| std::fs::read_to_string(etc.join(file)).unwrap_or_default();
    let (user, group) = if text == "default" {
        (DEFAULT_USER.to_owned(), DEFAULT_USER.to_owned())
    } else {
        let user = account(&read("passwd"), user)
            .ok_or_else(|| remap_failed(text, &format!("no user {user:?}")))?;
        // Without a group of its own, the name of the user.
        let group = if text.contains(':') {
            account(&read("group"), group)
                .ok_or_else(|| remap_failed(text, &format!("no group {group:?}")))?
        } else {
            user.clone()
        };
        (user, group)
    };
    let ranges = |file: &str, account: &str| {
        let mut next = 0_u32;
        let mut ranges = Vec::new();
        for (host, size) in owned_ranges(&read(file), account) {
            ranges.push(IdRange { container: next, host, size });
            next = next.saturating_add(size);
        }
        if ranges.is_empty() {
            let reason = format!(
                "{} has no line of {account}; add one such as {account}:100000:65536",
                etc.join(file).display()
            );
            return Err(remap_failed(text, &reason));
        }
        Ok(ranges)
    };
    let map = IdMap { uids: ranges("subuid", &user)?, gids: ranges("subgid", &group)? };
    map.check()?;
    Ok(map)
}

fn remap_failed(text: &str, reason: &str) -> Error {
    Error::InvalidParameter(format!(
        "can't create ID mappings for userns-remap {:?}: {reason}",
        text.escape_default().to_string()
    ))
}

/// The name of an account of passwd(5) or group(5), by name or number.
fn account(text: &str, wanted: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (name == wanted || fields.nth(1)? == wanted).then(|| name.to_owned())
    })
}
