//! Where the shim sends output for the log: the log itself, or a helper process behind a bounded
//! buffer. With `mode=non-blocking` a slow disk never holds up the container. A log service always
//! has a helper, which may wait for it; if nothing is to be lost, the container waits as well, but
//! never the shim's loop.
//!
//! The buffer is the kernel's: a socket pair that keeps messages apart and takes one whole or not
//! at all. The helper is this program with `--log BUNDLE`; it reads messages from its standard
//! input until the shim closes the other end.
//!
//! ```text
//! message: source (1 byte)  broken (1 byte)  time (8 bytes, big endian)  text (none: end of stream)
//! ```
//! What does not fit is dropped, up to the end of the line it is part of; or, if nothing is to be
//! lost, kept here while the container's output is not read.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use linux::process::{self, CloneArgs, Pidfd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair, sockopt,
};

use super::log::{Log, Source};
use super::protocol::{LogConfig, SHIM_FILE, ShimConfig};

/// What waits in the kernel for a service that is to get every line.
const LOSSLESS_BYTES: u64 = 256 << 10;
/// How long a service may take for the last lines of a container that has ended.
const SERVICE_PATIENCE: Duration = Duration::from_secs(10);

const HEADER_BYTES: usize = 10;
/// What one message carries at most.
const TEXT_BYTES: usize = 16 << 10;

/// Takes output for the log.
#[derive(Debug)]
pub(super) enum Sink {
    /// Written at once.
    Direct(Box<Log>),
    /// Given to the helper.
    Buffered(Buffered),
}

/// The shim's end of the buffer.
#[derive(Debug)]
pub(super) struct Buffered {
    socket: OwnedFd,
    helper: Pidfd,
    /// Messages that must not be dropped and did not fit; `None` when dropping is fine.
    kept: Option<VecDeque<Vec<u8>>>,
    /// Whether a service takes the lines, which may never answer.
    remote: bool,
    stdout: Gap,
    stderr: Gap,
}

/// Whether the last text of a stream was dropped.
#[derive(Debug, Default)]
struct Gap {
    /// Text is dropped until a line ends.
    open: bool,
    /// The helper does not know yet.
    untold: bool,
}

impl Sink {
    /// Opens the log, or gives `None` if there is to be none.
    pub(super) fn open(config: &LogConfig, bundle: &Path) -> io::Result<Option<Self>> {
        // The file is made here in either case, so that what is wrong with it fails the start.
        let Some(log) = Log::open(config)? else { return Ok(None) };
        let remote = config.remote.is_some();
        Ok(Some(match config.buffer_bytes {
            None if !remote => Self::Direct(Box::new(log)),
            None => Self::Buffered(Buffered::start(LOSSLESS_BYTES, bundle)?.lossless()),
            Some(bytes) => Self::Buffered(Buffered { remote, ..Buffered::start(bytes, bundle)? }),
        }))
    }

    /// Takes output that came at `now_ns`.
    pub(super) fn write(&mut self, source: Source, bytes: &[u8], now_ns: i64) -> io::Result<()> {
        match self {
            Self::Direct(log) => log.write(source, bytes, now_ns),
            Self::Buffered(buffered) => buffered.write(source, bytes, now_ns),
        }
    }

    /// Takes the end of a stream.
    pub(super) fn end(&mut self, source: Source, now_ns: i64) -> io::Result<()> {
        match self {
            Self::Direct(log) => log.end(source, now_ns),
            // Should it not fit: the helper ends both when the shim is done.
            Self::Buffered(buffered) => buffered.send(source, false, now_ns, &[]),
        }
    }

    /// The socket to wait for when output is kept back: until it takes more, the container's must
    /// not be read.
    pub(super) fn behind(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Buffered(buffered) if buffered.kept.as_ref().is_some_and(|k| !k.is_empty()) => {
                Some(buffered.socket.as_fd())
            }
            _ => None,
        }
    }

    /// Sends what was kept back, as far as it fits.
    pub(super) fn catch_up(&mut self) {
        if let Self::Buffered(buffered) = self {
            buffered.catch_up();
        }
    }

    /// Waits until everything taken is in the file, and for a service as long as is reasonable.
    pub(super) fn finish(self) {
        let Self::Buffered(mut buffered) = self else { return };
        let deadline = buffered.remote.then(|| Instant::now() + SERVICE_PATIENCE);
        while buffered.kept.as_ref().is_some_and(|kept| !kept.is_empty()) {
            if !wait_for(buffered.socket.as_fd(), PollFlags::OUT, deadline) {
                break;
            }
            buffered.catch_up();
        }
        let Buffered { socket, helper, .. } = buffered;
        drop(socket);
        if !wait_for(helper.as_fd(), PollFlags::IN, deadline) {
            eprintln!("the log service does not take the last lines: they are lost");
            // It may end at this very moment, which is as well.
            let _ = helper.kill();
        }
    }
}

/// Waits until `fd` is ready; false when the time is up.
fn wait_for(fd: BorrowedFd<'_>, flags: PollFlags, deadline: Option<Instant>) -> bool {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

impl Buffered {
    fn start(bytes: u64, bundle: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).clamp(1 << 12, 1 << 29);
        // The forced one goes beyond the system's limit, for which it takes a right.
        sockopt::set_socket_send_buffer_size_force(&ours, bytes)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&ours, bytes))?;
        let bundle = CString::new(bundle.as_os_str().as_bytes())?;
        let arguments = [c"teu-shim".to_owned(), c"--log".to_owned(), bundle];
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let (_, helper) = process::clone_process(&CloneArgs::default(), || {
            let ready =
                rustix::stdio::dup2_stdin(&theirs).and_then(|()| rustix::stdio::dup2_stdout(&null));
            if ready.is_ok() {
                let _ = process::execute(c"/proc/self/exe", &arguments, &[]);
            }
            1
        })?;
        let (stdout, stderr) = (Gap::default(), Gap::default());
        Ok(Self { socket: ours, helper, kept: None, remote: false, stdout, stderr })
    }

    /// The same for a service that is to get every line.
    fn lossless(mut self) -> Self {
        self.kept = Some(VecDeque::new());
        self.remote = true;
        self
    }

    fn catch_up(&mut self) {
        while let Some(message) = self.kept.as_mut().and_then(VecDeque::pop_front) {
            match self.push(&message) {
                Ok(()) => {}
                Err(Errno::AGAIN) => {
                    if let Some(kept) = &mut self.kept {
                        kept.push_front(message);
                    }
                    return;
                }
                // The helper is gone, and with it whoever could take the rest.
                Err(_) => {
                    if let Some(kept) = &mut self.kept {
                        kept.clear();
                    }
                }
            }
        }
    }

    fn write(&mut self, source: Source, bytes: &[u8], now_ns: i64) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.gap(source).open {
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
                self.gap(source).open = false;
                rest = &rest[end + 1..];
                continue;
            }
            let window = &rest[..rest.len().min(TEXT_BYTES)];
            // Whole lines, so that what is dropped is whole lines as well.
            let length = match window.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None => window.len(),
            };
            let broken = self.gap(source).untold;
            match self.send(source, broken, now_ns, &rest[..length]) {
                Ok(()) => self.gap(source).untold = false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let ends_line = rest[length - 1] == b'\n';
                    *self.gap(source) = Gap { open: !ends_line, untold: true };
                }
                Err(error) => return Err(error),
            }
            rest = &rest[length..];
        }
        Ok(())
    }

    fn gap(&mut self, source: Source) -> &mut Gap {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }

    fn send(&mut self, source: Source, broken: bool, now_ns: i64, text: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER_BYTES + text.len());
        message.push(u8::from(source == Source::Stderr));
        message.push(u8::from(broken));
        message.extend_from_slice(&now_ns.to_be_bytes());
        message.extend_from_slice(text);
        if let Some(kept) = &mut self.kept {
            kept.push_back(message);
            self.catch_up();
            return Ok(());
        }
        Ok(self.push(&message)?)
    }

    fn push(&self, message: &[u8]) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::send(self.socket.as_fd(), message, flags).map(drop)
    }
}

/// Writes the log of the container in `bundle` from messages on standard input; gives the exit
/// code.
pub fn write_log(bundle: &Path) -> u8 {
    // Its own session: signals meant for the shim's group are not for it.
    let _ = rustix::process::setsid();
    let log = std::fs::read(bundle.join(SHIM_FILE)).and_then(|bytes| {
        let config: ShimConfig = serde_json::from_slice(&bytes)?;
        Log::open(&config.log)
    });
    match log {
        Ok(Some(mut log)) => {
            receive(&mut log);
            0
        }
        Ok(None) => 0,
        Err(error) => {
            eprintln!("open the log of {}: {error}", bundle.display());
            1
        }
    }
}

fn receive(log: &mut Log) {
    let mut buffer = vec![0_u8; HEADER_BYTES + TEXT_BYTES];
    loop {
        let flags = RecvFlags::empty();
        let length = match rustix::net::recv(rustix::stdio::stdin(), &mut buffer[..], flags) {
            Ok((length, _)) => length,
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        let Some((header, text)) = buffer[..length].split_at_checked(HEADER_BYTES) else {
            // The shim is done, or gone.
            for source in [Source::Stdout, Source::Stderr] {
                let _ = log.end(source, super::server::now_ns());
            }
            return;
        };
        let source = if header[0] == 0 { Source::Stdout } else { Source::Stderr };
        let mut time = [0_u8; 8];
        time.copy_from_slice(&header[2..]);
        let time = i64::from_be_bytes(time);
        // A log that cannot be written (disk full) does not end the container.
        if header[1] == 1 || text.is_empty() {
            let _ = log.end(source, time);
        }
        if !text.is_empty() {
            let _ = log.write(source, text, time);
        }
        // Compressors of rotated files.
        while process::reap_any().is_some() {}
    }
}
