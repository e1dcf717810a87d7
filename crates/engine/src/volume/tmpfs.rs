//! Options of a tmpfs: defaults, what may be said, what overrides what.

use crate::container::TmpfsOptions;
use crate::{Error, Result};

const FLAGS: [&str; 22] = [
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "sync",
    "async",
    "private",
    "rprivate",
    "shared",
    "rshared",
];
const KEYS: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

/// Merges the options of `--tmpfs path:options` with the defaults `noexec,nosuid,nodev`.
///
/// # Errors
/// InvalidParameter for an option that tmpfs does not have.
pub fn tmpfs_options(text: &str) -> Result<Vec<String>> {
    let options = text.split(',').filter(|option| !option.is_empty());
    merged(options.map(str::to_owned)).map_err(Error::InvalidParameter)
}

pub(super) fn of_spec(spec: Option<&TmpfsOptions>) -> Result<Vec<String>, String> {
    let Some(spec) = spec else { return merged(std::iter::empty()) };
    if spec.size_bytes < 0 {
        return Err(format!("invalid tmpfs size: {}", spec.size_bytes));
    }
    if spec.mode > 0o7777 {
        return Err(format!("invalid tmpfs mode: {:o}", spec.mode));
    }
    let size = (spec.size_bytes > 0).then(|| format!("size={}", spec.size_bytes));
    let mode = (spec.mode != 0).then(|| format!("mode={:o}", spec.mode));
    let further = spec.options.iter().map(|option| option.join("="));
    merged(size.into_iter().chain(mode).chain(further))
}

fn merged(options: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    let mut merged: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((&option, ""));
        let known = if value.is_empty() { FLAGS.contains(&key) } else { KEYS.contains(&key) };
        if !known {
            return Err(format!("invalid tmpfs option [{option:?}]"));
        }
        merged.retain(|other| {
            let other_key = other.split_once('=').map_or(other.as_str(), |(key, _)| key);
            other_key != key && !opposite(other_key, key)
        });
        merged.push(option);
    }
    Ok(merged)
}

fn opposite(a: &str, b: &str) -> bool {
    matches!((a, b), ("ro", "rw") | ("rw", "ro") | ("sync", "async") | ("async", "sync"))
        || a.strip_prefix("no") == Some(b)
        || b.strip_prefix("no") == Some(a)
}
