//! The user namespace of a container with ids of its own, and those that have to belong to it.
//!
//! They exist before the container's process: its network is connected first.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use linux::process::flags;
use linux::user_namespace::UserNamespace;

use super::record::ContainerRecord;
use super::userns;
use crate::spec::Namespace;
use crate::{Engine, Error, Result};

/// What the kernel has to make with the user namespace, or in it.
const OWNED: u64 = flags::NEWNET | flags::NEWIPC | flags::NEWUTS;

/// Namespaces that are held here. Paths to them hold as long as this does.
#[derive(Debug)]
pub(super) struct OwnedNamespaces {
    user: OwnedFd,
    network: OwnedFd,
    ipc: OwnedFd,
    uts: OwnedFd,
}

impl OwnedNamespaces {
    /// Makes the namespaces that a container with ids of its own needs; `None` for others. The user
    /// namespace of a container that shares another's namespaces is that one's.
    pub(super) fn of(engine: &Engine, record: &ContainerRecord) -> Result<Option<Self>> {
        let Some(map) = &record.id_map else { return Ok(None) };
        let made = match userns::donor(&record.host_config) {
            None => UserNamespace::new(&map.to_linux(), OWNED),
            Some(donor) => {
                let donor = engine.inner.registry.find(donor)?.record();
                if !donor.state.status.has_process() {
                    return Err(Error::Conflict(format!(
                        "cannot join a non running container: {}",
                        donor.id
                    )));
                }
                std::fs::File::open(format!("/proc/{}/ns/user", donor.state.pid))
                    .and_then(|user| UserNamespace::joined(user.as_fd(), OWNED))
            }
        };
        let opened = made.and_then(|made| Self::open(&made));
        let opened = opened.map_err(|error| {
            Error::Internal(format!(
                "cannot make a user namespace for container {}: {error}; how many there may be is \
                 in /proc/sys/user/max_user_namespaces",
                record.id
            ))
        });
        opened.map(Some)
    }

    fn open(made: &UserNamespace) -> io::Result<Self> {
        Ok(Self {
            user: made.open("user")?,
            network: made.open("net")?,
            ipc: made.open("ipc")?,
            uts: made.open("uts")?,
        })
    }

    /// The network namespace, which nobody has used yet.
    pub(super) fn network(&self) -> io::Result<OwnedFd> {
        self.network.try_clone()
    }

    pub(super) fn user(&self) -> Namespace {
        path(&self.user)
    }

    pub(super) fn ipc(&self) -> Namespace {
        path(&self.ipc)
    }

    pub(super) fn uts(&self) -> Namespace {
        path(&self.uts)
    }
}

fn path(namespace: &OwnedFd) -> Namespace {
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    Namespace::Path(path.into())
}
