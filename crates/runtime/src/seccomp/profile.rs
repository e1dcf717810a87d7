//! A profile as Docker's users write it, and what is left of it for one container.

use oci_spec::runtime::{Capability, LinuxSeccomp};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

use super::Error;

/// A profile in the format of `docker run --security-opt seccomp=FILE`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub(super) default_action: String,
    #[serde(default)]
    pub(super) default_errno_ret: Option<u32>,
    #[serde(default)]
    pub(super) architectures: Option<Vec<String>>,
    #[serde(default)]
    pub(super) arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    pub(super) flags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) listener_path: Option<String>,
    #[serde(default)]
    pub(super) listener_metadata: Option<String>,
    #[serde(default)]
    pub(super) syscalls: Option<Vec<Rule>>,
}

/// An architecture with the ones whose programs its kernel also runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArchMap {
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) names: Option<Vec<String>>,
    pub(super) action: String,
    #[serde(default)]
    pub(super) errno_ret: Option<u32>,
    #[serde(default)]
    pub(super) args: Option<Vec<Argument>>,
    #[serde(default)]
    pub(super) includes: Option<Condition>,
    #[serde(default)]
    pub(super) excludes: Option<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Argument {
    pub(super) index: u32,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(default)]
    pub(super) caps: Option<Vec<String>>,
    #[serde(default)]
    pub(super) arches: Option<Vec<String>>,
    #[serde(default)]
    pub(super) min_kernel: Option<String>,
}

/// What conditions are decided against.
struct Facts<'a> {
    capabilities: &'a HashSet<Capability>,
    arch: &'static str,
    kernel: (u32, u32),
}

impl Profile {
    /// Reads a user's profile.
    ///
    /// # Errors
    /// Text that is no profile, or one that says a thing in two ways.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let profile: Self = serde_json::from_str(text).map_err(Error::Decode)?;
        let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if some(&profile.architectures) && profile.arch_map.as_ref().is_some_and(|m| !m.is_empty())
        {
            return Err(Error::Architectures);
        }
        for rule in profile.syscalls.iter().flatten() {
            if rule.name.as_deref().is_some_and(|name| !name.is_empty()) && some(&rule.names) {
                return Err(Error::Names);
            }
        }
        Ok(profile)
    }

    /// Decides the conditions for a process with the bounding set `capabilities` on this machine.
    ///
    /// # Errors
    /// Words that OCI does not know, and versions that are none.
    pub fn resolve(&self, capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp, Error> {
        let facts = Facts { capabilities, arch: go_arch(), kernel: kernel() };
        let mut syscalls = Vec::new();
        for rule in self.syscalls.iter().flatten() {
            if !rule.applies(&facts)? {
                continue;
            }
            let single = rule.name.iter().filter(|name| !name.is_empty());
            let names: Vec<&String> = single.chain(rule.names.iter().flatten()).collect();
            let mut entry = serde_json::json!({"names": names, "action": rule.action});
            if let Some(errno) = rule.errno_ret {
                entry["errnoRet"] = errno.into();
            }
            if let Some(args) = rule.args.as_ref().filter(|args| !args.is_empty()) {
                entry["args"] = serde_json::to_value(args).map_err(Error::Decode)?;
            }
            syscalls.push(entry);
        }
        let mut whole = serde_json::json!({
            "defaultAction": self.default_action,
            "architectures": self.resolve_architectures(),
            "syscalls": syscalls,
        });
        if let Some(errno) = self.default_errno_ret {
            whole["defaultErrnoRet"] = errno.into();
        }
        if let Some(flags) = self.flags.as_ref().filter(|flags| !flags.is_empty()) {
            whole["flags"] = serde_json::to_value(flags).map_err(Error::Decode)?;
        }
        if let Some(path) = &self.listener_path {
            whole["listenerPath"] = path.as_str().into();
        }
        if let Some(metadata) = &self.listener_metadata {
            whole["listenerMetadata"] = metadata.as_str().into();
        }
        serde_json::from_value(whole).map_err(Error::Decode)
    }

    fn resolve_architectures(&self) -> Vec<String> {
        let Some(map) = self.arch_map.as_ref().filter(|map| !map.is_empty()) else {
            return self.architectures.clone().unwrap_or_default();
        };
        let native = scmp_arch();
        let Some(entry) = map.iter().find(|entry| entry.architecture == native) else {
            return Vec::new();
        };
        let sub = entry.sub_architectures.iter().flatten();
        std::iter::once(&entry.architecture).chain(sub).cloned().collect()
    }
}

impl Rule {
    fn applies(&self, facts: &Facts<'_>) -> Result<bool, Error> {
        if let Some(excludes) = &self.excludes {
            let has = excludes.caps.iter().flatten().any(|name| facts.has(name));
            let arch = excludes.arches.iter().flatten().any(|arch| arch == facts.arch);
            let kernel = match &excludes.min_kernel {
                Some(version) => facts.kernel >= parse_kernel(version)?,
                None => false,
            };
            if has || arch || kernel {
                return Ok(false);
            }
        }
        let Some(includes) = &self.includes else { return Ok(true) };
        let caps = includes.caps.iter().flatten().all(|name| facts.has(name));
        let arch = includes
            .arches
            .as_ref()
            .is_none_or(|arches| arches.is_empty() || arches.iter().any(|arch| arch == facts.arch));
        let kernel = match &includes.min_kernel {
            Some(version) => facts.kernel >= parse_kernel(version)?,
            None => true,
        };
        Ok(caps && arch && kernel)
    }
}

impl Facts<'_> {
    fn has(&self, name: &str) -> bool {
        self.capabilities.iter().any(|capability| {
            let own = capability.to_string();
            own.trim_start_matches("CAP_") == name.trim_start_matches("CAP_")
        })
    }
}

fn parse_kernel(text: &str) -> Result<(u32, u32), Error> {
    let parse = || {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    parse().ok_or_else(|| Error::MinKernel(text.to_owned()))
}

fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// This machine's architecture in Go's words, which profiles use in conditions.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// This machine's architecture in libseccomp's words.
fn scmp_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "SCMP_ARCH_X86_64",
        "aarch64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        "s390x" => "SCMP_ARCH_S390X",
        _ => "SCMP_ARCH_NATIVE",
    }
}
