//! This host's part in a swarm, on disk.
//!
//! ```text
//! <data-root>/swarm/                       0700
//!     state.json                           what this host is; without it, it is in no swarm
//!     networks.json                        what a worker knew last; a cache
//!     manager.redb                         the books of a manager
//!     certificates/swarm-root-ca.crt
//!     certificates/swarm-root-ca.key       managers only
//!     certificates/swarm-node.crt
//!     certificates/swarm-node.key
//! ```
//! `state.json` is written last where something begins and goes first where it ends, so that whatever
//! else a killed daemon has left counts for nothing.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::model::{Availability, View};

const STATE: &str = "state.json";
const NETWORKS: &str = "networks.json";
const CERTIFICATES: &str = "certificates";
const VERSION: u32 = 1;

/// The files of certificates and keys, by Docker's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum File {
    RootCertificate,
    RootKey,
    NodeCertificate,
    NodeKey,
}

impl File {
    fn name(self) -> &'static str {
        match self {
            Self::RootCertificate => "swarm-root-ca.crt",
            Self::RootKey => "swarm-root-ca.key",
            Self::NodeCertificate => "swarm-node.crt",
            Self::NodeKey => "swarm-node.key",
        }
    }
}

/// What this host is to a swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) part: Part,
    /// Where the control port of a manager is bound.
    pub(crate) listen: SocketAddr,
    /// The address that other nodes reach this one by; `None`: that of the connection to the manager.
    pub(crate) advertise: Option<IpAddr>,
    /// The address for VXLAN packets; `None`: as `advertise`.
    pub(crate) data_path: Option<IpAddr>,
}

/// The kinds of parts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Joining {
        token: String,
        remotes: Vec<String>,
        availability: Availability,
    },
    Worker {
        node_id: String,
        managers: Vec<(String, String)>,
        /// The own address on the last connection to a manager.
        address: Option<IpAddr>,
        data_path_port: u16,
    },
    Manager {
        node_id: String,
        control_address: String,
    },
}

/// Tells no token.
impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Joining { .. } => "Joining",
            Self::Worker { .. } => "Worker",
            Self::Manager { .. } => "Manager",
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
    #[serde(flatten)]
    record: Record,
}

/// The directory of the swarm's state.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    dir: PathBuf,
}

impl Disk {
    pub(crate) fn new(data_root: &Path) -> Self {
        Self { dir: data_root.join("swarm") }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory, empty but for the files that are kept.
    pub(crate) fn begin(&self) -> Result<()> {
        self.clear()?;
        let certificates = self.dir.join(CERTIFICATES);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&certificates)
            .map_err(|error| failed("create", &certificates, &error))?;
        // What is written into it is only as durable as its own name.
        self.dir.parent().map_or(Ok(()), sync)
    }

    /// Takes all away. After a crash within, this host is in no swarm.
    pub(crate) fn clear(&self) -> Result<()> {
        let state = self.dir.join(STATE);
        match fs::remove_file(&state) {
            Ok(()) => sync(&self.dir)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &state, &error)),
        }
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &self.dir, &error))
            }
            _ => Ok(()),
        }
    }

    /// What this host is; `None`: in no swarm.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        let path = self.dir.join(STATE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path, &error)),
        };
        let versioned: Versioned = serde_json::from_slice(&text)
            .map_err(|error| Error::internal(format!("read {}", path.display()), &error))?;
        if versioned.version != VERSION {
            let text = format!(
                "read {}: it has format {}, and this version knows {VERSION}",
                path.display(),
                versioned.version
            );
            return Err(Error::new(Code::Internal, text));
        }
        Ok(Some(versioned.record))
    }

    /// Makes it durable what this host is.
    pub(crate) fn keep_record(&self, record: &Record) -> Result<()> {
        let versioned = Versioned { version: VERSION, record: record.clone() };
        let json = serde_json::to_vec_pretty(&versioned).expect("a record is JSON");
        replace(&self.dir.join(STATE), &json, true)
    }

    pub(crate) fn read(&self, file: File) -> Result<String> {
        let path = self.path(file);
        fs::read_to_string(&path).map_err(|error| failed("read", &path, &error))
    }

    pub(crate) fn write(&self, file: File, text: &str) -> Result<()> {
        replace(&self.path(file), text.as_bytes(), true)
    }

    /// What a worker knew last of the swarm's networks; nothing where that cannot be read.
    pub(crate) fn known_networks(&self) -> View {
        let read = fs::read(self.dir.join(NETWORKS));
        read.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Keeps what a worker knows. A cache: the manager tells all of it again.
    pub(crate) fn keep_networks(&self, view: &View) -> Result<()> {
        let json = serde_json::to_vec(view).expect("a view is JSON");
        replace(&self.dir.join(NETWORKS), &json, false)
    }

    fn path(&self, file: File) -> PathBuf {
        self.dir.join(CERTIFICATES).join(file.name())
    }
}

/// Writes a file that is either the old or the new one, for the owner only.
fn replace(path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    write().map_err(|error| failed("write", path, &error))?;
    match path.parent() {
        Some(dir) if durable => sync(dir),
        _ => Ok(()),
    }
}

fn sync(dir: &Path) -> Result<()> {
    let synced = fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| failed("sync", dir, &error))
}

fn failed(action: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::internal(format!("{action} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_its_state_a_host_is_in_no_swarm() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        assert_eq!(disk.record().unwrap(), None);
        disk.clear().unwrap();
        disk.begin().unwrap();
        disk.write(File::NodeKey, "secret").unwrap();
        assert_eq!(disk.record().unwrap(), None);
        let part = Part::Joining {
            token: "t".to_owned(),
            remotes: Vec::new(),
            availability: Availability::Active,
        };
        let listen = "0.0.0.0:2377".parse().unwrap();
        let record = Record { part, listen, advertise: None, data_path: None };
        disk.keep_record(&record).unwrap();
        assert_eq!(disk.record().unwrap(), Some(record));
        assert_eq!(disk.read(File::NodeKey).unwrap(), "secret");
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(fs::metadata(disk.dir()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(disk.path(File::NodeKey)).unwrap().mode() & 0o777, 0o600);
        fs::write(disk.dir().join(STATE), "{}").unwrap();
        assert!(disk.record().is_err());
        disk.clear().unwrap();
        assert!(!disk.dir().exists());
    }
}
