//! Users, groups and capabilities of the calling process.
//!
//! All of it acts on the calling thread: only for single-threaded processes about to execve.

use std::io;

/// Capability names without `CAP_`; the index is the number.
pub const CAPABILITY_NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities; bit n is capability number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// Adds the capability called `name`, with or without `CAP_`; `false` if there is none.
    pub fn insert(&mut self, name: &str) -> bool {
        let name = name.strip_prefix("CAP_").unwrap_or(name);
        match CAPABILITY_NAMES.iter().position(|known| *known == name) {
            Some(number) => {
                self.0 |= 1 << number;
                true
            }
            None => false,
        }
    }

    /// Tells whether it has capability `number`.
    pub fn contains(self, number: u32) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    /// What both have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The five sets of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Upper bound of what execve can give.
    pub bounding: CapabilitySet,
    /// In force.
    pub effective: CapabilitySet,
    /// May be put in force.
    pub permitted: CapabilitySet,
    /// Kept over execve of a file with inheritable capabilities.
    pub inheritable: CapabilitySet,
    /// Kept over execve of any file.
    pub ambient: CapabilitySet,
}

/// Reads the bounding set of this process: capabilities outside it can be given to nobody.
pub fn bounding_set() -> CapabilitySet {
    let mut set = CapabilitySet::default();
    for number in 0..64_u32 {
        // SAFETY: PR_CAPBSET_READ takes an integer; unknown numbers give an error.
        if unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) } == 1 {
            set.0 |= 1 << number;
        }
    }
    set
}

/// Removes from the bounding set what `keep` does not have.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn limit_bounding_set(keep: CapabilitySet) -> io::Result<()> {
    for number in 0..64_u32 {
        if keep.contains(number) {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes an integer.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                // The first number this kernel does not know: there are no more.
                Some(libc::EINVAL) => break,
                _ => return Err(error),
            }
        }
    }
    Ok(())
}

/// As in capget(2), version 3 of it, which goes with two [`Data`].
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

impl Header {
    /// The calling thread.
    const OWN: Self = Self { version: 0x2008_0522, pid: 0 };
}

#[repr(C)]
#[derive(Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets effective, permitted and inheritable, then ambient.
///
/// # Errors
/// As capset(2); an ambient capability that the kernel refuses (not both permitted and
/// inheritable) is left out, as runc does.
pub fn set_capabilities(capabilities: &Capabilities) -> io::Result<()> {
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of the set are wanted")]
    let half = |shift: u32| Data {
        effective: (capabilities.effective.0 >> shift) as u32,
        permitted: (capabilities.permitted.0 >> shift) as u32,
        inheritable: (capabilities.inheritable.0 >> shift) as u32,
    };
    let header = Header::OWN;
    let data = [half(0), half(32)];
    // SAFETY: version 3 of the header goes with two data structs; both outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), data.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    for number in 0..64_u32 {
        if capabilities.ambient.contains(number) {
            // SAFETY: integers only.
            unsafe {
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0);
            }
        }
    }
    Ok(())
}

/// Decides whether permitted capabilities survive the change to another user.
///
/// # Errors
/// As prctl(2) with `PR_SET_KEEPCAPS`.
pub fn keep_capabilities(keep: Keep) -> io::Result<()> {
    crate::process::prctl(libc::PR_SET_KEEPCAPS, u64::from(keep == Keep::Yes))
}

/// See [`keep_capabilities`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// They survive.
    Yes,
    /// The kernel drops them, as usual.
    No,
}

/// Becomes user `uid` and group `gid` (real, effective, saved) with the additional `groups`.
///
/// # Errors
/// As setgroups(2), setresgid(2) and setresuid(2).
pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the slice gives pointer and length; the raw calls change this thread only, and the
    // process has no other.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

/// Lets this thread make files as user `uid` and group `gid` and be taken for them, with no less
/// power than before: the real ids stay, and so do the capabilities.
///
/// # Errors
/// As setresgid(2), setresuid(2) and capset(2).
pub fn set_effective_ids(uid: u32, gid: u32) -> io::Result<()> {
    const SAME: libc::c_long = -1;
    let mut data = [Data::default(), Data::default()];
    // SAFETY: header and data are what version 3 wants and outlive the calls; the raw calls change
    // this thread only.
    unsafe {
        let mut header = Header::OWN;
        check(libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, SAME, gid, SAME))?;
        check(libc::syscall(libc::SYS_setresuid, SAME, uid, SAME))?;
        // Leaving user 0 has taken the effective ones away.
        check(libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()))
    }
}

/// Runs `work` on a new thread that makes files as user `uid` and group `gid` without less power,
/// and waits for it.
///
/// # Errors
/// If the thread cannot be started, and as [`set_effective_ids`]; `work` does not run then.
///
/// # Panics
/// Resumes a panic of `work`.
pub fn with_ids<T, F>(uid: u32, gid: u32, work: F) -> io::Result<T>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("ids".to_owned());
        let thread = builder.spawn_scoped(scope, move || {
            set_effective_ids(uid, gid)?;
            Ok(work())
        })?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
