//! Files of a container as tar streams: copying in and out, export, and what changed.

mod operations;
mod pack;
mod path;
pub mod stream;
#[cfg(test)]
mod tests;
mod unpack;
mod view;

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

pub use unpack::Unpacked;

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

/// Unpacks an archive, plain or compressed, into a directory of the host's that nobody else writes
/// to. Blocks.
///
/// # Errors
/// InvalidParameter for a bad archive, Io.
pub fn unpack_into(input: impl io::Read, directory: &std::path::Path) -> crate::Result<Unpacked> {
    let root = linux::fs::Root::open(directory).map_err(crate::Error::io("open", directory))?;
    let options = unpack::UnpackOptions { learn: true, ..unpack::UnpackOptions::default() };
    unpack::unpack(input, &root, std::path::Path::new("/"), options)
}
