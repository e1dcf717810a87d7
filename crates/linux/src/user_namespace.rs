//! User namespaces: which ids of the host the ids inside are.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::process::{CloneArgs, Pidfd, flags, hold_still};

/// A run of ids: the `size` ids from `inside` on are those from `outside` on of whoever made the
/// namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

impl IdRange {
    fn to_outside(self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.inside).filter(|offset| *offset < self.size)?;
        self.outside.checked_add(offset)
    }

    fn inverted(self) -> Self {
        Self { inside: self.outside, outside: self.inside, size: self.size }
    }
}

/// The users and groups of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// The user outside that `uid` inside is; `None` if it is nobody.
    pub fn outside_uid(&self, uid: u32) -> Option<u32> {
        self.uids.iter().find_map(|range| range.to_outside(uid))
    }

    /// The group outside that `gid` inside is.
    pub fn outside_gid(&self, gid: u32) -> Option<u32> {
        self.gids.iter().find_map(|range| range.to_outside(gid))
    }

    /// The map that leads the other way: a mount that has it shows ids of outside as those inside.
    #[must_use]
    pub fn inverted(&self) -> Self {
        let inverted = |ranges: &[IdRange]| ranges.iter().map(|range| range.inverted()).collect();
        Self { uids: inverted(&self.uids), gids: inverted(&self.gids) }
    }
}

/// A new user namespace, kept by a process that does nothing and ends with this value. What is to
/// outlast it is opened before.
#[derive(Debug)]
pub struct UserNamespace {
    pid: u32,
    pidfd: Pidfd,
}

impl UserNamespace {
    /// Makes a user namespace with these ids, and further namespaces (`CLONE_NEW*` bits) that it
    /// owns: who is root in it has power over them.
    ///
    /// # Errors
    /// As clone3(2) (`ENOSPC`: no more of them are allowed), and as a write to `uid_map`.
    pub fn new(map: &IdMap, owned: u64) -> io::Result<Self> {
        let args = CloneArgs { namespaces: flags::NEWUSER | owned, cgroup: None };
        let (pid, pidfd) = hold_still(&args, || ())?;
        let made = Self { pid, pidfd };
        made.write("uid_map", &map.uids)?;
        made.write("gid_map", &map.gids)?;
        Ok(made)
    }

    /// Makes namespaces (`CLONE_NEW*` bits) that the user namespace `user` owns, which exists.
    ///
    /// # Errors
    /// As setns(2) and unshare(2).
    pub fn joined(user: BorrowedFd<'_>, owned: u64) -> io::Result<Self> {
        let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let enter = || {
            crate::namespace::join(user, flags::NEWUSER)
                .and_then(|()| crate::namespace::unshare(owned))
        };
        let (pid, pidfd) = hold_still(&CloneArgs::default(), || {
            let errno = enter().err().and_then(|error| error.raw_os_error()).unwrap_or(0);
            // Nobody listens any more if the caller has died.
            let _ = rustix::io::write(&tell, &errno.to_ne_bytes());
        })?;
        let made = Self { pid, pidfd };
        drop(tell);
        let mut errno = [0; 4];
        let length = rustix::io::read(&told, &mut errno)?;
        match (length, i32::from_ne_bytes(errno)) {
            (4, 0) => Ok(made),
            (4, errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Opens a namespace by its name in `/proc/<pid>/ns`: `user`, `net` …
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(std::fs::File::open(format!("/proc/{}/ns/{name}", self.pid))?.into())
    }

    /// The kernel takes the whole map in one write.
    fn write(&self, file: &str, ranges: &[IdRange]) -> io::Result<()> {
        let line = |r: &IdRange| format!("{} {} {}\n", r.inside, r.outside, r.size);
        let lines: String = ranges.iter().map(line).collect();
        std::fs::write(format!("/proc/{}/{file}", self.pid), lines)
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        // It is a child that nobody else waits for, and it cannot have ended.
        let _ = self.pidfd.kill();
        let _ = self.pidfd.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> IdMap {
        let ranges = [(0, 100_000, 1_000), (1_000, 1_000, 1), (1_001, 101_000, 64_535)];
        let ranges: Vec<IdRange> =
            ranges.map(|(inside, outside, size)| IdRange { inside, outside, size }).to_vec();
        IdMap { uids: ranges.clone(), gids: ranges }
    }

    #[test]
    fn ids_go_both_ways() {
        let map = map();
        for (inside, outside) in
            [(0, Some(100_000)), (1_000, Some(1_000)), (1_001, Some(101_000)), (65_536, None)]
        {
            assert_eq!(map.outside_uid(inside), outside, "{inside}");
            if let Some(outside) = outside {
                assert_eq!(map.inverted().outside_gid(outside), Some(inside), "{outside}");
            }
        }
        assert_eq!(map.inverted().outside_uid(0), None);
    }

    #[test]
    fn a_namespace_has_its_map_and_owns_others() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let made = UserNamespace::new(&map(), flags::NEWNET).unwrap();
        let shown = std::fs::read_to_string(format!("/proc/{}/uid_map", made.pid)).unwrap();
        let numbers: Vec<u32> =
            shown.split_ascii_whitespace().map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers, [0, 100_000, 1_000, 1_000, 1_000, 1, 1_001, 101_000, 64_535]);
        let user = std::fs::File::from(made.open("user").unwrap());
        let network = made.open("net").unwrap();
        let owner = rustix::fs::fstat(&user).unwrap().st_ino;
        assert_eq!(crate::namespace::owner(&network).unwrap(), owner);
        drop(made);
        let other = UserNamespace::joined(std::os::fd::AsFd::as_fd(&user), flags::NEWIPC).unwrap();
        assert_eq!(crate::namespace::owner(other.open("ipc").unwrap()).unwrap(), owner);
        // The descriptors keep them.
        crate::namespace::in_namespace(std::os::fd::AsFd::as_fd(&network), || ()).unwrap();
    }
}
