//! Processes: stable handles, identity that survives pid reuse, exit statuses.

mod spawn;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

pub use spawn::{
    CloneArgs, clone_process, close_on_exec_from, duplicate_to, execute, flags,
    load_seccomp_filter, reap_any, reset_signals, set_no_new_privileges, set_subreaper,
    set_undumpable, signal_fd,
};
pub(crate) use spawn::{hold_still, prctl};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// The shell's and Docker's one number: the code, or 128 plus the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A descriptor of one process, which no other process can inherit by pid reuse.
///
/// Readable (poll) once the process has ended.
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
}

impl Pidfd {
    /// Opens the process `pid`.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn open(pid: u32) -> io::Result<Self> {
        let fd = rustix::process::pidfd_open(to_pid(pid)?, PidfdFlags::empty())?;
        Ok(Self { fd })
    }

    /// Takes a descriptor that clone3(2) or pidfd_open(2) gave.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Sends the signal with this number (1 to 64, real-time signals included).
    ///
    /// # Errors
    /// `ESRCH` when the process has ended, `EINVAL` for no signal.
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: no pointers but a null siginfo, which the call allows; the descriptor is open.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Kills the process with SIGKILL.
    ///
    /// # Errors
    /// As [`Self::send_signal`].
    pub fn kill(&self) -> io::Result<()> {
        self.send_signal(Signal::KILL.as_raw())
    }

    /// Reaps the process, a child of the caller, and waits until it ends.
    ///
    /// # Errors
    /// `ECHILD` if it is no child or was reaped already.
    pub fn wait(&self) -> io::Result<Exit> {
        loop {
            match self.wait_with(WaitIdOptions::EXITED) {
                Ok(Some(exit)) => return Ok(exit),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reaps the process if it has ended; `None` if it still runs.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    fn wait_with(&self, options: WaitIdOptions) -> io::Result<Option<Exit>> {
        let status = rustix::process::waitid(WaitId::PidFd(self.fd.as_fd()), options)?;
        Ok(status.map(|status| match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(libc::SIGKILL)),
        }))
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads when `pid` started, in clock ticks since boot (field 22 of /proc/pid/stat).
///
/// Together with the pid this identifies a process for the life of the machine.
///
/// # Errors
/// `NotFound` when the process is gone, `InvalidData` if the line is not as expected.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected /proc/pid/stat"))
}

fn parse_start_ticks(stat: &str) -> Option<u64> {
    // The command name may hold spaces and parentheses; fields count from the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn to_pid(pid: u32) -> io::Result<Pid> {
    let raw = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    Pid::from_raw(raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_ticks_survive_odd_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_start_ticks(stat), Some(4242));
        assert!(start_ticks(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn pidfd_signals_and_reaps() {
        #[allow(clippy::zombie_processes, reason = "reaped through the pidfd below")]
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = Pidfd::open(child.id()).unwrap();
        assert_eq!(pidfd.try_wait().unwrap(), None);
        pidfd.kill().unwrap();
        let exit = pidfd.wait().unwrap();
        assert_eq!(exit, Exit::Signal(9));
        assert_eq!(exit.code(), 137);
        assert!(pidfd.send_signal(15).is_err());
    }
}
