//! The table: option, effect, a container that has it, and what must be seen.

use anyhow::Result;

use crate::World;

/// One option.
pub(super) struct Row {
    pub(super) option: &'static str,
    /// What it does, for the page.
    pub(super) effect: &'static str,
    /// What its [`Check::Does`] looks at, for the page.
    pub(super) seen: &'static str,
    /// The container's options; none: the row has no container of its own.
    pub(super) args: &'static [&'static str],
    pub(super) checks: &'static [Check],
}

pub(super) enum Check {
    /// What the script prints, trimmed, is one of these.
    Says(&'static str, &'static [&'static str]),
    /// What a template of inspect prints.
    Shows(&'static str, &'static str),
    /// These options of `run` make it fail with this message, or another after ` | `.
    Refuses(&'static [&'static str], &'static str),
    Does(fn(&World) -> Result<()>),
}

impl Row {
    /// Says what its [`Check::Does`] looks at.
    const fn seen(mut self, seen: &'static str) -> Self {
        self.seen = seen;
        self
    }

    pub(super) fn script(&self) -> &'static str {
        let script = self.checks.iter().find_map(|check| match check {
            Check::Says(script, _) => Some(*script),
            _ => None,
        });
        script.unwrap_or("true")
    }

    pub(super) fn says(&self) -> Option<&'static [&'static str]> {
        self.checks.iter().find_map(|check| match check {
            Check::Says(_, wanted) => Some(*wanted),
            _ => None,
        })
    }
}

/// A profile that forbids one system call.
pub(super) const PROFILE: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;

/// A device as a vendor describes it.
pub(super) const DEVICES: &str = r#"{"cdiVersion": "0.6.0", "kind": "example.com/sail",
  "devices": [{"name": "main", "containerEdits": {"env": ["SAIL=main"],
    "deviceNodes": [{"path": "/dev/sail", "hostPath": "/dev/full", "permissions": "r"}],
    "mounts": [{"hostPath": "/etc/hosts", "containerPath": "/etc/sail"}]}}]}"#;

/// Reads a limit where v1 has it, else where v2 has it.
macro_rules! limit {
    ($old:literal, $new:literal) => {
        concat!("cat /sys/fs/cgroup/", $old, " 2>/dev/null || cat /sys/fs/cgroup/", $new)
    };
}

/// The same of a file that not every kernel has.
macro_rules! limit_if_any {
    ($old:literal, $new:literal) => {
        concat!(
            "cat /sys/fs/cgroup/",
            $old,
            " 2>/dev/null || cat /sys/fs/cgroup/",
            $new,
            " 2>/dev/null || echo none"
        )
    };
}

const fn row(
    option: &'static str,
    effect: &'static str,
    args: &'static [&'static str],
    checks: &'static [Check],
) -> Row {
    Row { option, effect, seen: "", args, checks }
}

const fn act(
    option: &'static str,
    effect: &'static str,
    seen: &'static str,
    checks: &'static [Check],
) -> Row {
    Row { option, effect, seen, args: &[], checks }
}

// After the macros, which they use.
mod a_to_k;
mod l_to_z;

/// All rows, in the order of the options.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    a_to_k::ROWS.iter().chain(l_to_z::ROWS)
}
