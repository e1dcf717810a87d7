//! What the host is and what its kernel can do.

use std::fs;
use std::path::Path;

use super::{Info, LimitSupport};

/// Fills in what belongs to the host.
pub(super) fn describe(info: &mut Info) {
    let uname = rustix::system::uname();
    info.kernel_version = uname.release().to_string_lossy().into_owned();
    info.architecture = uname.machine().to_string_lossy().into_owned();
    let release = ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    info.operating_system =
        os_release(&release, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned());
    info.os_version = os_release(&release, "VERSION_ID").unwrap_or_default();
    info.memory_bytes = super::memory_total().unwrap_or(0);
    info.descriptors = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    info.limits = limits();
    info.warnings = warnings(info.limits);
}

/// The name of the file system that a directory is on.
pub(super) fn file_system(path: &Path) -> String {
    let magic = rustix::fs::statfs(path).map_or(0, |stat| stat.f_type);
    match magic {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        _ => "<unknown>",
    }
    .to_owned()
}

/// Reads a value of os-release(5).
fn os_release(text: &str, key: &str) -> Option<String> {
    let assignments = text.lines().filter_map(|line| line.split_once('='));
    let value = assignments.filter(|(name, _)| *name == key).map(|(_, value)| value).next()?;
    let value = value.trim().trim_matches(['"', '\'']);
    Some(value.chars().filter(|c| !c.is_control()).collect())
}

fn limits() -> LimitSupport {
    let ipv4_forwarding = read("/proc/sys/net/ipv4/ip_forward").trim() == "1";
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers");
    if let Ok(controllers) = fs::read_to_string(unified) {
        let has = |name: &str| controllers.split_whitespace().any(|other| other == name);
        return LimitSupport {
            memory: has("memory"),
            swap: has("memory") && Path::new("/proc/swaps").exists(),
            oom_kill_disable: false,
            cpu_cfs: has("cpu"),
            cpu_shares: has("cpu"),
            cpuset: has("cpuset"),
            pids: has("pids"),
            ipv4_forwarding,
        };
    }
    // Of /proc/cgroups: name, hierarchy, number, enabled.
    let cgroups = read("/proc/cgroups");
    let has = |name: &str| {
        cgroups.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.first() == Some(&name) && fields.last() == Some(&"1") && fields[1] != "0"
        })
    };
    let file = |controller: &str, file: &str| {
        has(controller) && Path::new("/sys/fs/cgroup").join(controller).join(file).exists()
    };
    LimitSupport {
        memory: has("memory"),
        swap: file("memory", "memory.memsw.limit_in_bytes"),
        oom_kill_disable: file("memory", "memory.oom_control"),
        cpu_cfs: file("cpu", "cpu.cfs_quota_us"),
        cpu_shares: file("cpu", "cpu.shares"),
        cpuset: has("cpuset"),
        pids: has("pids"),
        ipv4_forwarding,
    }
}

fn warnings(limits: LimitSupport) -> Vec<String> {
    [
        (limits.memory, "WARNING: No memory limit support"),
        (limits.swap || !limits.memory, "WARNING: No swap limit support"),
        (limits.cpu_cfs, "WARNING: No cpu cfs quota support"),
        (limits.cpu_shares, "WARNING: No cpu shares support"),
        (limits.cpuset, "WARNING: No cpuset support"),
        (limits.pids, "WARNING: No pids limit support"),
        (limits.ipv4_forwarding, "WARNING: IPv4 forwarding is disabled"),
    ]
    .into_iter()
    .filter(|(supported, _)| !supported)
    .map(|(_, warning)| warning.to_owned())
    .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_described() {
        let mut info = Info::default();
        describe(&mut info);
        assert!(!info.kernel_version.is_empty() && !info.operating_system.is_empty());
        assert!(info.memory_bytes > 0 && info.descriptors > 0);
    }

    #[test]
    fn os_release_is_unquoted() {
        let text = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID='12'\n";
        assert_eq!(os_release(text, "PRETTY_NAME").unwrap(), "Debian GNU/Linux 12");
        assert_eq!(os_release(text, "VERSION_ID").unwrap(), "12");
        assert_eq!(os_release(text, "NOTHING"), None);
    }
}
