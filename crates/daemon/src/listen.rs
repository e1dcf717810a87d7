//! The sockets the API is served on: Unix sockets, TCP, and those a service manager hands over.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, Host};
use crate::tls;

/// Mode of the Unix socket: root and the group, nobody else.
const SOCKET_MODE: u32 = 0o660;

/// First descriptor that a service manager hands over (sd_listen_fds(3)).
const FIRST_INHERITED_FD: i32 = 3;

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    /// The file is only held, to be removed with the listener.
    Unix(UnixListener, #[expect(dead_code, reason = "dropped, never read")] Option<SocketFile>),
    Tcp(TcpListener),
    Tls(TcpListener, Box<Acceptor>),
}

/// Terminates TLS for one listener.
#[derive(Clone)]
pub(crate) struct Acceptor(pub(crate) TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// A socket's name in the file system, removed when the listener goes, unless another daemon has
/// taken the name over meanwhile.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Nothing to do about a socket that cannot be removed: it is replaced at next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("listen on {address}")]
    Bind { address: String, source: io::Error },
    #[error("listen on unix://{}: another process answers there", path.display())]
    InUse { path: PathBuf },
    #[error("listen on unix://{}: a file that is not a socket is in the way", path.display())]
    NotASocket { path: PathBuf },
    #[error("group {group} of the socket does not exist")]
    Group { group: String },
    #[error("no socket was handed over (LISTEN_FDS); fd:// works only under a service manager")]
    NoInheritedSocket,
    #[error("take over an inherited socket")]
    Inherited { source: io::Error },
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// Binds all configured sockets. Must run inside a tokio runtime.
/// `handed_over` are the sockets of [`take_handed_over`].
pub(crate) async fn bind_all(
    config: &Config,
    mut handed_over: Vec<OwnedFd>,
) -> Result<Vec<Listener>, ListenError> {
    let acceptor = match &config.tls {
        Some(tls) => Some(Acceptor(tls::acceptor(tls)?)),
        None => None,
    };
    let mut listeners = Vec::new();
    for host in &config.hosts {
        match host {
            Host::Unix(path) => {
                let group = socket_group(config.group.as_deref())?;
                listeners.push(bind_unix(path, group)?);
            }
            Host::Tcp(address) => {
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(|source| ListenError::Bind { address: address.clone(), source })?;
                listeners.push(tcp(listener, acceptor.as_ref()));
            }
            Host::Fd if handed_over.is_empty() => return Err(ListenError::NoInheritedSocket),
            Host::Fd => {
                for fd in handed_over.drain(..) {
                    let adopted = adopt(fd, acceptor.as_ref());
                    listeners.push(adopted.map_err(|source| ListenError::Inherited { source })?);
                }
            }
        }
    }
    Ok(listeners)
}

fn tcp(listener: TcpListener, acceptor: Option<&Acceptor>) -> Listener {
    match acceptor {
        Some(acceptor) => Listener::Tls(listener, Box::new(acceptor.clone())),
        None => {
            tracing::warn!(
                address = ?listener.local_addr().ok(),
                "listening on TCP without TLS: whoever reaches this port owns the machine"
            );
            Listener::Tcp(listener)
        }
    }
}

/// Binds beside the final name, sets owner and mode, then renames: there is no moment at which the
/// socket can be opened by the wrong user, and a stale socket is replaced in one step.
fn bind_unix(path: &Path, group: Option<u32>) -> Result<Listener, ListenError> {
    let bind = |source| ListenError::Bind { address: format!("unix://{}", path.display()), source };
    refuse_living_socket(path)?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(bind)?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(bind(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(bind)?;
    let settle = || {
        fs::set_permissions(&fresh, fs::Permissions::from_mode(SOCKET_MODE))?;
        if group.is_some() {
            std::os::unix::fs::chown(&fresh, None, group)?;
        }
        let inode = fs::symlink_metadata(&fresh)?.ino();
        fs::rename(&fresh, path)?;
        Ok(inode)
    };
    match settle() {
        Ok(inode) => {
            Ok(Listener::Unix(listener, Some(SocketFile { path: path.to_owned(), inode })))
        }
        Err(error) => {
            // The first error is the one to report.
            let _ = fs::remove_file(&fresh);
            Err(bind(error))
        }
    }
}

fn refuse_living_socket(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            Err(ListenError::NotASocket { path: path.to_owned() })
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
            Err(_) => Ok(()),
        },
    }
}

/// Finds the group's id in /etc/group: the given one must exist, `docker` may.
fn socket_group(wanted: Option<&str>) -> Result<Option<u32>, ListenError> {
    let name = wanted.unwrap_or("docker");
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    match (group_id(&groups, name), wanted) {
        (Some(id), _) => Ok(Some(id)),
        (None, None) => Ok(None),
        (None, Some(group)) => Err(ListenError::Group { group: group.to_owned() }),
    }
}

fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// Takes the sockets that a service manager hands over, if the configuration wants them. To be
/// called before anything else opens a descriptor: should the manager have promised a socket that
/// is not there, its number would by then belong to something else.
pub(crate) fn take_handed_over(config: &Config) -> Result<Vec<OwnedFd>, ListenError> {
    if !config.hosts.contains(&Host::Fd) {
        return Ok(Vec::new());
    }
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() && count > 0 => {
            linux::socket::take_inherited(FIRST_INHERITED_FD, count)
                .map_err(|source| ListenError::Inherited { source })
        }
        _ => Err(ListenError::NoInheritedSocket),
    }
}

fn adopt(fd: OwnedFd, acceptor: Option<&Acceptor>) -> io::Result<Listener> {
    use rustix::net::{AddressFamily, sockopt::socket_domain};
    if socket_domain(&fd)? == AddressFamily::UNIX {
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix(UnixListener::from_std(listener)?, None));
    }
    let listener = std::net::TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(tcp(TcpListener::from_std(listener)?, acceptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_group_by_name() {
        let groups = "root:x:0:\ndocker:x:998:alice\n";
        assert_eq!(group_id(groups, "docker"), Some(998));
        assert_eq!(group_id(groups, "dock"), None);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.sock");
        let stale = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(stale);
        let first = bind_unix(&path, None).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, SOCKET_MODE);
        assert!(matches!(bind_unix(&path, None), Err(ListenError::InUse { .. })));
        drop(first);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.sock");
        fs::write(&path, "x").unwrap();
        assert!(matches!(bind_unix(&path, None), Err(ListenError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
}
