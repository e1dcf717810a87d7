//! Files of containers: what `cp` is told about a path, and what `diff` lists.

use docker_api::models::{ChangeType, FilesystemChange};
use engine::archive::{Change, PathStat};
use images::ChangeKind;
use serde_json::{Value, json};

/// Bits of Go's `os.FileMode`, which is what the header carries instead of `st_mode`.
mod go_mode {
    pub(super) const DIR: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const DEVICE: u32 = 1 << 26;
    pub(super) const NAMED_PIPE: u32 = 1 << 25;
    pub(super) const SOCKET: u32 = 1 << 24;
    pub(super) const SETUID: u32 = 1 << 23;
    pub(super) const SETGID: u32 = 1 << 22;
    pub(super) const CHAR_DEVICE: u32 = 1 << 21;
    pub(super) const STICKY: u32 = 1 << 20;
}

/// The value of `X-Docker-Container-Path-Stat`, before base64.
pub(crate) fn path_stat(stat: &PathStat) -> Value {
    json!({
        "name": stat.name,
        "size": stat.size,
        "mode": mode(stat.mode),
        "mtime": stat.modified_at.to_string(),
        "linkTarget": stat.link_target,
    })
}

fn mode(st_mode: u32) -> u32 {
    let kind = match st_mode & 0o170_000 {
        0o040_000 => go_mode::DIR,
        0o120_000 => go_mode::SYMLINK,
        0o060_000 => go_mode::DEVICE,
        0o020_000 => go_mode::DEVICE | go_mode::CHAR_DEVICE,
        0o010_000 => go_mode::NAMED_PIPE,
        0o140_000 => go_mode::SOCKET,
        _ => 0,
    };
    let special = [(0o4000, go_mode::SETUID), (0o2000, go_mode::SETGID), (0o1000, go_mode::STICKY)];
    let special = special.into_iter().filter(|(bit, _)| st_mode & bit != 0);
    special.fold(kind | (st_mode & 0o777), |mode, (_, go)| mode | go)
}

/// One line of `diff`.
pub(crate) fn change(change: Change) -> FilesystemChange {
    FilesystemChange {
        path: change.path.to_string_lossy().into_owned(),
        kind: match change.kind {
            ChangeKind::Modified => ChangeType::_0,
            ChangeKind::Added => ChangeType::_1,
            ChangeKind::Deleted => ChangeType::_2,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(mode(0o100_644), 0o644);
        assert_eq!(mode(0o041_777), go_mode::DIR | go_mode::STICKY | 0o777);
        assert_eq!(mode(0o104_755), go_mode::SETUID | 0o755);
        assert_eq!(mode(0o120_777), go_mode::SYMLINK | 0o777);
    }
}
