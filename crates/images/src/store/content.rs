//! Blobs: bytes under the name of their digest, visible only when verified.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Store;
use crate::{Digest, Error, Hasher, Result};

impl Store {
    /// Tells whether a verified blob is stored.
    pub fn blob_exists(&self, digest: &Digest) -> bool {
        self.paths().blob(digest).exists()
    }

    /// Opens a stored blob.
    ///
    /// # Errors
    /// `NoSuchContent`, `Io`.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.paths().blob(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoSuchContent(*digest),
            _ => Error::io("open", path, source),
        })
    }

    /// Starts or resumes taking in a blob of which digest and size are known.
    ///
    /// # Errors
    /// `IngestBusy` when another thread takes in the same blob now, `DiskFull`, `Io`.
    pub fn ingest(&self, digest: &Digest, size: u64) -> Result<Ingest> {
        if !self.state().ingests.insert(*digest) {
            return Err(Error::IngestBusy(*digest));
        }
        let slot = Slot { store: self.clone(), digest: *digest };
        let path = self.paths().ingest.join(digest.hex());
        let fail = |source| Error::io("open", &path, source);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(fail)?;
        let mut ingest = Ingest { file, hasher: Hasher::default(), offset: 0, size, path, slot };
        ingest.resume()?;
        Ok(ingest)
    }

    #[allow(dead_code, reason = "load follows")]
    /// Takes in a whole stream as a blob.
    pub(crate) fn ingest_all(
        &self,
        digest: &Digest,
        size: u64,
        mut input: impl Read,
    ) -> Result<()> {
        if self.blob_exists(digest) {
            return Ok(());
        }
        let mut ingest = self.ingest(digest, size)?;
        ingest.restart()?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return ingest.commit(),
                Ok(length) => ingest.append(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::ReadInput(error)),
            }
        }
    }
}

/// A blob on its way into the store. Dropping it keeps the bytes, so that a later one resumes.
#[derive(Debug)]
pub struct Ingest {
    file: File,
    hasher: Hasher,
    offset: u64,
    size: u64,
    path: PathBuf,
    slot: Slot,
}

/// The right to be the only one who takes in a blob.
#[derive(Debug)]
struct Slot {
    store: Store,
    digest: Digest,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.store.state().ingests.remove(&self.digest);
    }
}

impl Ingest {
    /// Returns how many bytes are there already: the offset to resume at.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `SizeMismatch` for more bytes than promised, `DiskFull`, `Io`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.offset + bytes.len() as u64;
        if end > self.size {
            return Err(self.wrong_size(end));
        }
        self.file
            .write_all_at(bytes, self.offset)
            .map_err(|source| Error::io("write", &self.path, source))?;
        self.hasher.update(bytes);
        self.offset = end;
        Ok(())
    }

    /// Forgets all bytes, for a server that cannot resume.
    ///
    /// # Errors
    /// `Io`.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|source| Error::io("truncate", &self.path, source))?;
        (self.offset, self.hasher) = (0, Hasher::default());
        Ok(())
    }

    /// Verifies size and digest and makes the blob visible. Bytes that are wrong are deleted; too few
    /// are kept for a resume.
    ///
    /// # Errors
    /// `SizeMismatch`, `DigestMismatch`, `Io`.
    pub fn commit(self) -> Result<()> {
        if self.offset != self.size {
            return Err(self.wrong_size(self.offset));
        }
        let expected = self.slot.digest;
        let actual = self.hasher.clone().finish();
        if actual != expected {
            self.discard()?;
            return Err(Error::DigestMismatch { object: "blob".to_owned(), expected, actual });
        }
        let blob = self.slot.store.paths().blob(&expected);
        self.file.sync_data().map_err(|source| Error::io("sync", &self.path, source))?;
        std::fs::rename(&self.path, &blob)
            .map_err(|source| Error::io("rename", &self.path, source))?;
        sync_dir(&self.slot.store.paths().blobs)
    }

    /// Gives up and deletes the bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn discard(&self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|source| Error::io("remove", &self.path, source))
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::SizeMismatch { digest: self.slot.digest, expected: self.size, actual }
    }

    /// Hashes what an earlier attempt left.
    fn resume(&mut self) -> Result<()> {
        let fail = |path: &Path, source| Error::io("read", path, source);
        let length = self.file.metadata().map_err(|source| fail(&self.path, source))?.len();
        if length > self.size {
            return self.restart();
        }
        self.file.seek(SeekFrom::Start(0)).map_err(|source| fail(&self.path, source))?;
        let mut reader = BufReader::with_capacity(256 << 10, &self.file);
        loop {
            let piece =
                io::BufRead::fill_buf(&mut reader).map_err(|source| fail(&self.path, source))?;
            if piece.is_empty() {
                return Ok(());
            }
            self.hasher.update(piece);
            let length = piece.len();
            self.offset += length as u64;
            io::BufRead::consume(&mut reader, length);
        }
    }
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| Error::io("sync", path, source))
}
