//! New processes by clone3(2), and what a process does before it becomes another program.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Pidfd;

/// Namespaces to create, as `CLONE_NEW*` bits.
pub mod flags {
    /// Mount namespace.
    pub const NEWNS: u64 = 0x0002_0000;
    /// Cgroup namespace.
    pub const NEWCGROUP: u64 = 0x0200_0000;
    /// UTS namespace.
    pub const NEWUTS: u64 = 0x0400_0000;
    /// IPC namespace.
    pub const NEWIPC: u64 = 0x0800_0000;
    /// User namespace.
    pub const NEWUSER: u64 = 0x1000_0000;
    /// Pid namespace.
    pub const NEWPID: u64 = 0x2000_0000;
    /// Network namespace.
    pub const NEWNET: u64 = 0x4000_0000;
    /// Time namespace (unshare and setns only).
    pub const NEWTIME: u64 = 0x80;
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How to make a child.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneArgs<'fd> {
    /// `CLONE_NEW*` bits of [`flags`].
    pub namespaces: u64,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// Makes a child that runs `child` in a copy of this process and exits with its result.
///
/// The caller must be single-threaded, as `teu-shim` is: locks that other threads hold at this
/// moment would stay locked in the child for ever.
///
/// # Errors
/// As clone3(2).
pub fn clone_process(
    args: &CloneArgs<'_>,
    child: impl FnOnce() -> i32,
) -> io::Result<(u32, Pidfd)> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is a plain C struct for which all zeroes is a valid value.
    let mut raw: libc::clone_args = unsafe { std::mem::zeroed() };
    raw.flags = args.namespaces | CLONE_PIDFD;
    raw.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    raw.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(cgroup) = args.cgroup {
        raw.flags |= CLONE_INTO_CGROUP;
        raw.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM and a stack this is fork: the child returns here on a copy of this
    // stack and memory. `raw` and `pidfd` outlive the call.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut raw), size_of::<libc::clone_args>())
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic must not unwind into the copy of the parent's frames.
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: _exit has no conditions; it skips the parent's exit handlers on purpose.
            unsafe { libc::_exit(code.unwrap_or(255)) }
        }
        pid => {
            // SAFETY: on success the kernel stored a new descriptor in `pidfd`; nobody else has it.
            let pidfd = Pidfd::from_fd(unsafe { OwnedFd::from_raw_fd(pidfd) });
            let pid = u32::try_from(pid).map_err(|_| io::ErrorKind::InvalidData)?;
            Ok((pid, pidfd))
        }
    }
}

/// Makes a child that does nothing after `first` until it is killed; it only keeps namespaces
/// alive.
///
/// The caller may have threads: neither the child nor `first` may take a lock or allocate.
///
/// # Errors
/// As clone3(2).
pub(crate) fn hold_still(args: &CloneArgs<'_>, first: impl FnOnce()) -> io::Result<(u32, Pidfd)> {
    // SAFETY: both sets are initialised before use and outlive the calls. A handler of the
    // caller's must not run in the child, where it would act on descriptors that are shared.
    let before = unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    };
    let made = clone_process(args, || {
        // SAFETY: integers only; a child of a daemon that dies is of no use.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
        first();
        loop {
            // SAFETY: no arguments. Every signal is blocked but SIGKILL.
            unsafe { libc::pause() };
        }
    });
    // SAFETY: the set was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    made
}

/// Replaces this process by the program at `path`. Returns only the reason why not.
///
/// Every descriptor above 2 is closed, whatever its flags were.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    if let Err(error) = close_on_exec_from(3) {
        return error;
    }
    let arguments = null_terminated(arguments);
    let environment = null_terminated(environment);
    // SAFETY: both arrays end with a null pointer and their strings live until the call is over.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn null_terminated(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// As close_range(2).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: marks descriptors, closes none and takes no pointers.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every signal its default action and unblocks all.
pub fn reset_signals() {
    // The kernel's struct for SIG_DFL without flags and mask. libc's own function refuses the two
    // signals that glibc keeps for itself, which a parent may have ignored nevertheless.
    let default = [0_u64; 4];
    for signal in 1..=64_i32 {
        // SAFETY: the struct is initialised, of the kernel's size, and installs no handler; signals
        // that cannot be changed give an error only.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8,
            );
        }
    }
    // SAFETY: the set is initialised by sigemptyset before use and outlives both calls.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Keeps other processes of the same user from reading or tracing this one (until execve).
///
/// # Errors
/// As prctl(2) with `PR_SET_DUMPABLE`.
pub fn set_undumpable() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Makes orphans below this process its children.
///
/// # Errors
/// As prctl(2) with `PR_SET_CHILD_SUBREAPER`.
pub fn set_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Gives up every way to gain privileges by execve, for good.
///
/// # Errors
/// As prctl(2) with `PR_SET_NO_NEW_PRIVS`.
pub fn set_no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

pub(crate) fn prctl(option: i32, argument: u64) -> io::Result<()> {
    // SAFETY: the options used in this crate take integers only.
    let result = unsafe { libc::prctl(option, argument, 0_u64, 0_u64, 0_u64) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Duplicates `fd` to the number `target`, not close-on-exec.
///
/// # Errors
/// As dup2(2).
pub fn duplicate_to(fd: BorrowedFd<'_>, target: i32) -> io::Result<()> {
    // SAFETY: replaces the standard descriptor `target` of a process that is about to execve;
    // no owner of that number exists in it.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), target) };
    if result == target { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reaps any ended child; `None` when none has ended (or there is none).
pub fn reap_any() -> Option<(u32, super::Exit)> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let exit = if libc::WIFSIGNALED(status) {
        super::Exit::Signal(libc::WTERMSIG(status))
    } else {
        super::Exit::Code(libc::WEXITSTATUS(status))
    };
    Some((pid, exit))
}

/// Turns the seccomp filter `program` (an array of `struct sock_filter`) on for this process.
///
/// # Errors
/// `EINVAL` for bytes that are no filter, `EACCES` without privilege and no_new_privs.
pub fn load_seccomp_filter(program: &[u8], flags: u32) -> io::Result<()> {
    if program.is_empty() || !program.len().is_multiple_of(size_of::<libc::sock_filter>()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let filters: Vec<libc::sock_filter> = program
        .chunks_exact(size_of::<libc::sock_filter>())
        .map(|chunk| libc::sock_filter {
            code: u16::from_ne_bytes([chunk[0], chunk[1]]),
            jt: chunk[2],
            jf: chunk[3],
            k: u32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(filters.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filters.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `len` initialised filters; the kernel copies and verifies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&program),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Blocks `signals` and gives a descriptor that becomes readable when one is pending.
///
/// # Errors
/// As sigprocmask(2) and signalfd(2).
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use and outlives the calls; the new
    // descriptor belongs to nobody else.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}
