//! Who a framework's user is on this host, and whether the host has been started anew.

use std::io;
use std::path::Path;

/// A user of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Finds a user by name or number.
pub(crate) fn user(name: &str) -> Result<User, String> {
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
    parse(&passwd, name).ok_or_else(|| format!("there is no user '{name}' on this host"))
}

fn parse(passwd: &str, wanted: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        (name == wanted || uid == wanted)
            .then(|| Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))?
    })
}

/// The kernel's name for the time since the host was started.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Compares the boot id with the one on disk.
pub(crate) fn has_rebooted(recorded: &Path, current: &str) -> bool {
    std::fs::read_to_string(recorded).is_ok_and(|text| text.trim() != current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nweb:x:33:34::/:/bin/sh\n";
        assert_eq!(parse(passwd, "web"), Some(User { uid: 33, gid: 34 }));
        assert_eq!(parse(passwd, "33"), Some(User { uid: 33, gid: 34 }));
        assert_eq!(parse(passwd, "nobody"), None);
    }
}
