//! Tar archives, read and written with what container layers need and nothing trusted.
//!
//! Own code rather than a general crate because three things are needed at once: hard limits on what
//! a header may make us allocate, GNU and pax sparse files, and to know which bytes of the stream are
//! file content, so that a layer's archive can be rebuilt byte for byte from its directory.

pub(crate) mod header;
pub(crate) mod pax;
pub(crate) mod read;
pub(crate) mod sparse;
pub(crate) mod write;

/// The unit of a tar archive.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// Seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) secs: i64,
    pub(crate) nanos: u32,
}

/// A run of content of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// One entry, all extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as the archive has it.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// Target of a hard or symbolic link.
    pub(crate) link: Vec<u8>,
    /// Major and minor of a device.
    pub(crate) device: (u32, u32),
    /// Size of the file, holes included.
    pub(crate) size: u64,
    /// Bytes of content that follow in the archive.
    pub(crate) payload: u64,
    /// Where the content goes; `None` means that it is the whole file.
    pub(crate) sparse: Option<Vec<Extent>>,
    /// Extended attributes in the archive's order.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Returns an entry without content and attributes.
    pub(crate) fn new(name: impl Into<Vec<u8>>, kind: EntryKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            link: Vec::new(),
            device: (0, 0),
            size: 0,
            payload: 0,
            sparse: None,
            xattrs: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
