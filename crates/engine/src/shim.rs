//! The engine's side of the shim protocol: requests, waits, and streams.
//!
//! The socket is reached through a descriptor of its directory, because the path of a bundle may
//! be longer than a socket address can hold.

mod stream;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linux::fs::Root;
use runtime::shim::protocol::{
    Failure, Held, HeldPort, MAX_REQUEST_BYTES, Reply, Request, SOCKET_FILE,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

pub(crate) use stream::{attach_stream, error_stream, exec_stream};

/// How long a shim may take to answer what it can answer at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Why a shim did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    /// There is no shim, or it went away in the middle.
    #[error("the container's shim does not answer: {0}")]
    Gone(#[from] io::Error),
    /// It refused.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl ShimError {
    /// Whether the daemon itself lacked descriptors or memory to ask: that says nothing of the shim.
    pub(crate) fn is_temporary(&self) -> bool {
        use rustix::io::Errno;
        let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::AGAIN];
        let Self::Gone(error) = self else { return false };
        Errno::from_io_error(error).is_some_and(|errno| lacking.contains(&errno))
    }
}

/// The shim of one container, found by its bundle.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    bundle: PathBuf,
}

impl Shim {
    pub(crate) fn new(bundle: &Path) -> Self {
        Self { bundle: bundle.to_owned() }
    }

    /// Makes the socket, ready to be handed to a shim and to be connected to before that.
    pub(crate) fn listen(&self) -> io::Result<UnixListener> {
        self.with_socket_path(|path| {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
            Ok(listener)
        })
    }

    /// Sends a request and leaves the connection to the caller; the reply is still to come.
    pub(crate) async fn send(&self, request: &Request) -> io::Result<UnixStream> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        if line.len() > MAX_REQUEST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "request is too long"));
        }
        let stream = self.with_socket_path(|path| std::os::unix::net::UnixStream::connect(path))?;
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        stream.write_all(&line).await?;
        Ok(stream)
    }

    /// Sends a request and waits for its reply without a deadline.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        request: &Request,
    ) -> Result<(T, BufReader<UnixStream>), ShimError> {
        let mut stream = BufReader::new(self.send(request).await?);
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let reply: Reply<T> = serde_json::from_str(&line).map_err(io::Error::from)?;
        Ok((reply.into_result()?, stream))
    }

    /// Sends a request that can be answered at once.
    pub(crate) async fn request<T: DeserializeOwned>(
        &self,
        request: &Request,
    ) -> Result<T, ShimError> {
        match tokio::time::timeout(ANSWER_DEADLINE, self.call(request)).await {
            Ok(answer) => answer.map(|(reply, _)| reply),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    /// Has the shim keep exactly `ports` bound, some of them by these sockets.
    pub(crate) async fn hold_ports(
        &self,
        ports: Vec<HeldPort>,
        sockets: Vec<Arc<OwnedFd>>,
    ) -> Result<Held, ShimError> {
        let shim = self.clone();
        let held = tokio::task::spawn_blocking(move || shim.send_ports(ports, &sockets)).await;
        held.map_err(io::Error::other)?
    }

    fn send_ports(
        &self,
        ports: Vec<HeldPort>,
        sockets: &[Arc<OwnedFd>],
    ) -> Result<Held, ShimError> {
        let stream = self.with_socket_path(|path| std::os::unix::net::UnixStream::connect(path))?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        for sockets in sockets.chunks(linux::socket::MAX_FDS) {
            let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            linux::socket::send_fds(&stream, b" ", &sockets)?;
        }
        let mut line =
            serde_json::to_vec(&Request::HoldPorts { ports }).map_err(io::Error::from)?;
        line.push(b'\n');
        io::Write::write_all(&mut &stream, &line)?;
        let mut reply = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(&stream), &mut reply)?;
        let reply: Reply<Held> = serde_json::from_str(&reply).map_err(io::Error::from)?;
        Ok(reply.into_result()?)
    }

    fn with_socket_path<T>(&self, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let directory = Root::open(&self.bundle)?.into_fd();
        work(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd())))
    }
}
