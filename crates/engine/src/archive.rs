//! Files of a container as tar streams: copying in and out, export, and what changed.

pub(crate) mod stream;

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use crate::{Engine, Result};

/// Bytes on their way; the end of the stream is the end of the content, an error cuts it off.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// What is at a path in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The last component of the path, `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `st_mode` as the kernel gives it.
    pub mode: u32,
    /// Last change of the content.
    pub modified_at: Timestamp,
    /// For a symlink: where it leads, as an absolute path in the container.
    pub link_target: String,
}

/// How to copy into a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Refuse to replace a directory by something else, or the reverse.
    pub no_overwrite_dir_non_dir: bool,
    /// Give everything to the container's user instead of the archive's owners.
    pub copy_uid_gid: bool,
}

/// A path that differs from the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: images::ChangeKind,
    /// Absolute in the container.
    pub path: PathBuf,
}

impl Engine {
    /// Looks at a path in a container, running or not.
    ///
    /// # Errors
    /// NotFound for the container or the path.
    pub async fn container_archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let _ = (name, path);
        crate::pending()
    }

    /// Reads a path in a container as a tar archive whose only top-level entry is the path's last
    /// component.
    ///
    /// # Errors
    /// NotFound for the container or the path.
    pub async fn container_archive_get(
        &self,
        name: &str,
        path: &str,
    ) -> Result<(PathStat, ByteStream)> {
        let _ = (name, path);
        crate::pending()
    }

    /// Unpacks a tar archive, compressed or not, into a directory of a container.
    ///
    /// # Errors
    /// NotFound for container or directory, InvalidParameter for a bad archive, Forbidden where
    /// the place is read-only.
    pub async fn container_archive_put(
        &self,
        name: &str,
        path: &str,
        options: PutOptions,
        archive: ByteStream,
    ) -> Result<()> {
        let _ = (name, path, options, archive);
        crate::pending()
    }

    /// Gives a container's whole file tree as a tar archive, without volumes.
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_export(&self, name: &str) -> Result<ByteStream> {
        let _ = name;
        crate::pending()
    }

    /// Lists what differs from the image, by path.
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_changes(&self, name: &str) -> Result<Vec<Change>> {
        let _ = name;
        crate::pending()
    }
}
