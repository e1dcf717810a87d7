//! The init that `--init` puts in front of a container's process.
//!
//! It starts the process in a group of its own, forwards every signal to it, reaps whatever is
//! left to pid 1, and ends as the process ended: its exit code, or 128 + n after signal n.
//!
//! It is bound into containers of any kind, so it must not need a library: `build.rs` compiles it
//! statically, with nothing but std, and the engine carries the result.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

/// glibc's `sigset_t`: 1024 bits.
#[repr(C)]
struct SignalSet([u64; 16]);

const EVERY: SignalSet = SignalSet([u64::MAX; 16]);
const SIG_BLOCK: c_int = 0;
const SIG_IGN: usize = 1;
const SIGCHLD: c_int = 17;
const SIGTTIN: c_int = 21;
const SIGTTOU: c_int = 22;
const WNOHANG: c_int = 1;

unsafe extern "C" {
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwaitinfo(set: *const SignalSet, info: *mut c_void) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, number: c_int) -> c_int;
    fn setpgid(pid: c_int, group: c_int) -> c_int;
    fn getpid() -> c_int;
    fn tcsetpgrp(terminal: c_int, group: c_int) -> c_int;
}

fn main() {
    let mut words = std::env::args_os().skip(1).skip_while(|word| word == "--");
    let Some(program) = words.next() else {
        eprintln!("docker-init: no program to run");
        exit(125);
    };
    // SAFETY: the set outlives the call, and null asks for no old set. Blocked signals wait for
    // sigwaitinfo below.
    unsafe { sigprocmask(SIG_BLOCK, &EVERY, std::ptr::null_mut()) };
    let mut command = Command::new(&program);
    command.args(words);
    // SAFETY: the closure makes only async-signal-safe calls.
    unsafe { command.pre_exec(lead_the_terminal) };
    let child = match command.spawn() {
        Ok(child) => child.id().cast_signed(),
        Err(error) => {
            eprintln!("docker-init: exec {}: {error}", program.to_string_lossy());
            exit(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    loop {
        // SAFETY: the set outlives the call, and null asks for no details.
        let number = unsafe { sigwaitinfo(&EVERY, std::ptr::null_mut()) };
        match number {
            SIGCHLD => reap(child),
            1.. => {
                // SAFETY: takes and returns numbers only. The child is reaped nowhere but in
                // `reap`, which does not return then, so the pid is its own.
                unsafe { kill(child, number) };
            }
            // Interrupted by a stop and continue.
            _ => {}
        }
    }
}

/// Reaps everything that has ended; ends this process if the child is among it.
fn reap(child: c_int) {
    let mut status: c_int = 0;
    loop {
        // SAFETY: the status outlives the call.
        let pid = unsafe { waitpid(-1, &mut status, WNOHANG) };
        if pid <= 0 {
            return;
        }
        if pid == child {
            let signal = status & 0x7f;
            exit(if signal == 0 { (status >> 8) & 0xff } else { 128 + signal });
        }
    }
}

/// Makes the process a group of its own and gives that group the terminal, if there is one, so
/// that Ctrl-C reaches it and not this init as well.
fn lead_the_terminal() -> io::Result<()> {
    // SAFETY: all four take and return numbers only. Ignoring the two signals keeps a process that
    // is not in the foreground yet from being stopped for touching the terminal; they are restored
    // before exec. Without a terminal tcsetpgrp fails, which is fine.
    unsafe {
        setpgid(0, 0);
        let old = [signal(SIGTTOU, SIG_IGN), signal(SIGTTIN, SIG_IGN)];
        tcsetpgrp(0, getpid());
        signal(SIGTTOU, old[0]);
        signal(SIGTTIN, old[1]);
    }
    Ok(())
}
