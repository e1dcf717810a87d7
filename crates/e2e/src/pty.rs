//! A person at a terminal: a program on a pseudo-terminal, what it shows, what is typed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::wait::stretched;

#[derive(Debug, Default)]
struct Screen {
    /// Everything the program wrote so far.
    seen: Vec<u8>,
    closed: bool,
}

/// A program on its own terminal, as session leader with that terminal as controlling one.
#[derive(Debug)]
pub struct Pty {
    child: Child,
    keyboard: File,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    /// Everything before this offset was matched by an earlier [`Pty::expect`].
    matched: usize,
}

impl Pty {
    /// Starts `command` on a fresh terminal of 80 columns and 24 rows.
    pub fn spawn(command: &Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        tcsetwinsize(&master, winsize(24, 80))?;
        let slave: OwnedFd = rustix::fs::open(
            path,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        // setsid(1) makes the terminal the controlling one without any code between fork and exec.
        let mut wrapped = Command::new("setsid");
        wrapped.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        let child = wrapped
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave))
            .spawn()
            .with_context(|| format!("start {command:?} on a terminal"))?;
        let keyboard = File::from(master);
        let screen = Arc::new((Mutex::new(Screen::default()), Condvar::new()));
        watch(keyboard.try_clone()?, Arc::clone(&screen));
        Ok(Self { child, keyboard, screen, matched: 0 })
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.keyboard.write_all(text.as_bytes()).context("type on the terminal")
    }

    /// Types `line` and Enter.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.send(&format!("{line}\r"))
    }

    /// Gives the terminal another size, as dragging a window's corner does.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.keyboard, winsize(rows, columns))?)
    }

    /// Waits until `text` appears after everything matched before; returns what came with it.
    pub fn expect(&mut self, text: &str, within: Duration) -> Result<String> {
        let (lock, changed) = &*self.screen;
        let until = Instant::now() + stretched(within);
        let mut screen = lock.lock().expect("the reader does not panic");
        loop {
            let fresh = &screen.seen[self.matched..];
            if let Some(at) = find(fresh, text.as_bytes()) {
                let end = at + text.len();
                let shown = String::from_utf8_lossy(&fresh[..end]).into_owned();
                self.matched += end;
                return Ok(shown);
            }
            let left = until.saturating_duration_since(Instant::now());
            if screen.closed || left.is_zero() {
                let why = if screen.closed { "the program ended" } else { "time is up" };
                bail!("{why} before {text:?} appeared; shown: {}", String::from_utf8_lossy(fresh));
            }
            screen = changed.wait_timeout(screen, left).expect("the reader does not panic").0;
        }
    }

    /// Waits for the program to end; returns its status and everything not matched yet.
    pub fn finish(mut self, within: Duration) -> Result<(ExitStatus, String)> {
        let (lock, changed) = &*self.screen;
        let until = Instant::now() + stretched(within);
        let mut screen = lock.lock().expect("the reader does not panic");
        while !screen.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let shown = String::from_utf8_lossy(&screen.seen[self.matched..]).into_owned();
                drop(screen);
                self.child.kill()?;
                bail!("the program did not end within {within:?}; shown: {shown}");
            }
            screen = changed.wait_timeout(screen, left).expect("the reader does not panic").0;
        }
        let shown = String::from_utf8_lossy(&screen.seen[self.matched..]).into_owned();
        drop(screen);
        Ok((self.child.wait()?, shown))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // A test that failed midway leaves its program behind otherwise; already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn watch(mut terminal: File, screen: Arc<(Mutex<Screen>, Condvar)>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let (lock, changed) = &*screen;
        loop {
            // EIO is how a terminal says that its last program is gone.
            let count = terminal.read(&mut buffer).unwrap_or(0);
            let mut screen = lock.lock().expect("waiters do not panic while holding the lock");
            screen.seen.extend_from_slice(&buffer[..count]);
            screen.closed = count == 0;
            changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
