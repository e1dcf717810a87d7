//! `--security-opt`, masked and read-only paths.

use crate::container::HostConfig;
use crate::{Error, Result};

/// Paths that would tell a container about the host or let it disturb it.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Which system call filter a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seccomp {
    /// The builtin profile.
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's JSON.
    Profile(String),
}

/// What `--security-opt` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecurityOptions {
    pub(crate) seccomp: Seccomp,
    pub(crate) no_new_privileges: bool,
    pub(crate) writable_cgroups: bool,
    pub(crate) apparmor: Option<String>,
}

impl SecurityOptions {
    /// Reads the options; privileged containers run unfiltered unless they name a profile.
    ///
    /// # Errors
    /// InvalidParameter in Docker's words.
    pub(crate) fn parse(host_config: &HostConfig) -> Result<Self> {
        let mut options = Self {
            seccomp: if host_config.privileged { Seccomp::Unconfined } else { Seccomp::Default },
            no_new_privileges: false,
            writable_cgroups: host_config.privileged,
            apparmor: None,
        };
        for text in &host_config.security_opt {
            options.apply(text)?;
        }
        Ok(options)
    }

    fn apply(&mut self, text: &str) -> Result<()> {
        let invalid = || {
            Error::InvalidParameter(format!(
                "invalid --security-opt 1: \"{}\"",
                text.escape_debug()
            ))
        };
        let unknown = || {
            let text = text.escape_debug();
            Error::InvalidParameter(format!("invalid --security-opt 2: \"{text}\""))
        };
        if text == "no-new-privileges" {
            self.no_new_privileges = true;
            return Ok(());
        }
        if text == "writable-cgroups" {
            self.writable_cgroups = true;
            return Ok(());
        }
        if text == "disable" {
            return Ok(());
        }
        // The colon is the older spelling.
        let at = text.find('=').or_else(|| text.find(':')).ok_or_else(invalid)?;
        let (key, value) = (&text[..at], &text[at + 1..]);
        let flag = || match value {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
            "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
            _ => Err(unknown()),
        };
        match key {
            "seccomp" => {
                self.seccomp = match value {
                    "unconfined" => Seccomp::Unconfined,
                    "builtin" => Seccomp::Default,
                    profile => Seccomp::Profile(profile.to_owned()),
                };
            }
            "apparmor" => self.apparmor = Some(value.to_owned()),
            "no-new-privileges" => self.no_new_privileges = flag()?,
            "writable-cgroups" => self.writable_cgroups = flag()?,
            // Who asks is warned; see `warnings`.
            "label" => {}
            _ => {
                return Err(unknown());
            }
        }
        Ok(())
    }
}

/// Gives the paths to hide.
pub(super) fn masked_paths(host_config: &HostConfig) -> Vec<String> {
    choose(host_config.masked_paths.as_ref(), host_config.privileged, || default_paths().0)
}

/// Gives the paths to write-protect.
pub(super) fn readonly_paths(host_config: &HostConfig) -> Vec<String> {
    choose(host_config.readonly_paths.as_ref(), host_config.privileged, || default_paths().1)
}

/// The paths that are hidden and those that are write-protected when nobody says otherwise.
pub(crate) fn default_paths() -> (Vec<String>, Vec<String>) {
    let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    let mut masked = owned(&MASKED);
    masked.extend(thermal_throttle_paths());
    (masked, owned(&READONLY))
}

fn choose(
    asked: Option<&Vec<String>>,
    privileged: bool,
    default: impl FnOnce() -> Vec<String>,
) -> Vec<String> {
    match asked {
        Some(paths) => paths.clone(),
        None if privileged => Vec::new(),
        None => default(),
    }
}

/// Counters there leak what other tenants make the CPU do.
fn thermal_throttle_paths() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .filter_map(|path| path.to_str().map(str::to_owned))
        .collect();
    paths.sort();
    paths
}
