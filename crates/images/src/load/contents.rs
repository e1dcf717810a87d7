//! The files of an archive of images, each judged by its first bytes.

use std::collections::HashMap;
use std::io::{self, BufReader, Cursor, Read};

use crate::archive::EntryKind;
use crate::archive::read::{ArchiveReader, NoRecorder};
use crate::compression::{self, Compression};
use crate::layer::tree::LayerPath;
use crate::store::layers::{Keep, UnpackedLayer};
use crate::store::{Pin, Store};
use crate::{BlobDescriptor, Digest, Error, ErrorKind, LayerState, Progress, Result};

/// The largest JSON file; a config may have this size.
const MAX_JSON: u64 = crate::MAX_CONFIG_BYTES as u64;
/// All JSON files together.
const MAX_JSON_TOTAL: u64 = 64 << 20;
const MAX_FILES: usize = 100_000;
const MAX_LINKS: usize = 8;
/// Progress is told this often.
const PROGRESS_STEP: u64 = 1 << 20;

type Archive<'a> = ArchiveReader<BufReader<Box<dyn Read + Send + 'a>>, NoRecorder>;

/// What the archive holds, by cleaned path.
#[derive(Default)]
pub(super) struct Contents {
    files: HashMap<String, Content>,
    json_total: u64,
}

enum Content {
    Json(Vec<u8>),
    /// A layer, unpacked on the way.
    Layer(Box<UnpackedLayer>),
    /// A compressed layer, now in the content store.
    Blob(BlobDescriptor, #[allow(dead_code, reason = "held for its drop")] Pin),
    /// A link to another file of the archive.
    Link(String),
    /// Nothing usable; an error only if an image needs it.
    Failed(Error),
    /// An image took it.
    Taken,
}

/// What stands where a layer is expected.
pub(super) enum Found {
    Layer(UnpackedLayer),
    Blob(BlobDescriptor),
    Nothing,
}

impl Contents {
    pub(super) fn read(
        store: &Store,
        archive: Box<dyn Read + Send + '_>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self> {
        let mut contents = Self::default();
        let mut archive =
            ArchiveReader::new(BufReader::with_capacity(256 << 10, archive), NoRecorder);
        while let Some(entry) = archive.next_entry()? {
            let path = LayerPath::clean(&entry.name)?;
            let Ok(name) = String::from_utf8(path.bytes().to_vec()) else { continue };
            if contents.files.len() >= MAX_FILES {
                return Err(Error::InvalidArchive(format!("more than {MAX_FILES} files")));
            }
            let content = match entry.kind {
                EntryKind::File if entry.sparse.is_some() => {
                    return Err(Error::entry(&entry.name, "a sparse file in an archive of images"));
                }
                EntryKind::File => {
                    contents.file(store, &name, entry.size, &mut archive, progress)?
                }
                EntryKind::HardLink => link(b"", &entry.link)?,
                EntryKind::Symlink => link(path.split().0, &entry.link)?,
                EntryKind::Directory => continue,
                _ => {
                    return Err(Error::entry(
                        &entry.name,
                        "a special file in an archive of images",
                    ));
                }
            };
            contents.files.insert(name, content);
        }
        Ok(contents)
    }

    fn file(
        &mut self,
        store: &Store,
        name: &str,
        size: u64,
        archive: &mut Archive<'_>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Content> {
        let digest = name.strip_prefix("blobs/sha256/").and_then(|hex| Digest::from_hex(hex).ok());
        if let Some(digest) = digest
            && let Some(layer) = store.existing_layer(&digest)?
        {
            return Ok(Content::Layer(Box::new(layer)));
        }
        let mut file = FileReader { archive, failed: None, read: 0, size, told: 0, progress: None };
        let mut head = Vec::new();
        let outcome = file.by_ref().take(512).read_to_end(&mut head);
        file.check_archive()?;
        outcome.map_err(Error::ReadInput)?;
        let is_tar = head.get(257..262) == Some(b"ustar".as_slice());
        if !is_tar && matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return self.read_json(name, digest, head, size, file);
        }
        let compression = compression::detect(&head);
        if !is_tar && head.len() < 512 && compression == Compression::None {
            return Ok(Content::Failed(Error::InvalidArchive(format!("{name} is no layer"))));
        }
        file.progress = Some((digest.map_or_else(|| short(name), |d| d.short()), progress));
        let content = match (compression, digest) {
            // Of the others nobody makes blobs: what is called by its own digest is refused there.
            (Compression::None | Compression::Bzip2 | Compression::Xz, _) | (_, None) => {
                let layer = store.unpack_stream(Cursor::new(head).chain(&mut file), Keep::Recipe);
                layer.and_then(|layer| {
                    match digest.filter(|expected| *expected != layer.diff_id()) {
                        // Compressed under a name that is no digest: the config decides.
                        Some(expected) => Err(mismatch(name, expected, layer.diff_id())),
                        None => Ok(Content::Layer(Box::new(layer))),
                    }
                })
            }
            (compression, Some(digest)) => {
                let pin = store.pin(digest);
                let taken = store.ingest_all(&digest, size, Cursor::new(head).chain(&mut file));
                let kind = if compression == Compression::Zstd { "zstd" } else { "gzip" };
                let media_type = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
                taken.map(|()| Content::Blob(BlobDescriptor { digest, size, media_type }, pin))
            }
        };
        file.check_archive()?;
        match content {
            Err(error) if error.kind() == ErrorKind::InvalidParameter => Ok(Content::Failed(error)),
            content => content,
        }
    }

    fn read_json(
        &mut self,
        name: &str,
        digest: Option<Digest>,
        head: Vec<u8>,
        size: u64,
        mut file: FileReader<'_, '_>,
    ) -> Result<Content> {
        self.json_total += size;
        if size > MAX_JSON || self.json_total > MAX_JSON_TOTAL {
            return Err(Error::entry(
                name.as_bytes(),
                format!("{size} bytes of JSON are too many"),
            ));
        }
        let mut bytes = head;
        let outcome = file.read_to_end(&mut bytes);
        file.check_archive()?;
        outcome.map_err(Error::ReadInput)?;
        match digest.filter(|expected| *expected != Digest::of(&bytes)) {
            Some(expected) => Ok(Content::Failed(mismatch(name, expected, Digest::of(&bytes)))),
            None => Ok(Content::Json(bytes)),
        }
    }

    fn follow<'a>(&'a self, path: &'a str) -> Option<&'a str> {
        let mut path = path;
        for _ in 0..MAX_LINKS {
            match self.files.get_key_value(path)? {
                (_, Content::Link(target)) => path = target,
                (found, _) => return Some(found),
            }
        }
        None
    }

    /// Returns a JSON file, if there is one by that name.
    pub(super) fn find_json(&self, path: &str) -> Result<Option<&[u8]>> {
        match self.follow(path).and_then(|path| self.files.get(path)) {
            Some(Content::Json(bytes)) => Ok(Some(bytes)),
            Some(Content::Failed(error @ Error::DigestMismatch { .. })) => {
                Err(Error::InvalidArchive(error.to_string()))
            }
            _ => Ok(None),
        }
    }

    /// Returns a JSON file.
    pub(super) fn json(&self, path: &str) -> Result<&[u8]> {
        let found = self.find_json(path)?;
        found.ok_or_else(|| Error::InvalidArchive(format!("{path:?} is missing or no JSON")))
    }

    /// Takes a layer out.
    pub(super) fn take_layer(&mut self, path: &str) -> Result<Found> {
        let Some(path) = self.follow(path).map(str::to_owned) else { return Ok(Found::Nothing) };
        let Some(content) = self.files.get_mut(&path) else { return Ok(Found::Nothing) };
        match std::mem::replace(content, Content::Taken) {
            Content::Layer(layer) => Ok(Found::Layer(*layer)),
            Content::Blob(blob, pin) => {
                *content = Content::Blob(blob.clone(), pin);
                Ok(Found::Blob(blob))
            }
            Content::Failed(error) => Err(error),
            Content::Json(_) => Err(Error::InvalidArchive(format!("{path} is no layer"))),
            Content::Link(_) | Content::Taken => Ok(Found::Nothing),
        }
    }
}

fn mismatch(name: &str, expected: Digest, actual: Digest) -> Error {
    Error::DigestMismatch { object: name.to_owned(), expected, actual }
}

/// Names a file of the old layout, `<64 hex>/layer.tar`, in progress lines.
fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(12).collect()
}

fn link(dir: &[u8], target: &[u8]) -> Result<Content> {
    let target =
        if target.starts_with(b"/") { target.to_vec() } else { [dir, b"/", target].concat() };
    let target = LayerPath::clean(&target)?;
    Ok(Content::Link(String::from_utf8_lossy(target.bytes()).into_owned()))
}

/// One file of the archive as a reader; remembers when the archive itself failed.
struct FileReader<'a, 'b> {
    archive: &'a mut Archive<'b>,
    failed: Option<Error>,
    read: u64,
    size: u64,
    told: u64,
    progress: Option<(String, &'a (dyn Fn(Progress) + Sync))>,
}

impl FileReader<'_, '_> {
    /// Tells when not the file but the archive around it is at fault.
    fn check_archive(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl Read for FileReader<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = match self.archive.content() {
            Ok(piece) => piece,
            Err(error) => {
                let shown = io::Error::other(error.to_string());
                self.failed = Some(error);
                return Err(shown);
            }
        };
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.archive.consume(length);
        self.read += length as u64;
        if let Some((id, progress)) = &self.progress
            && (self.read - self.told >= PROGRESS_STEP || self.read == self.size)
            && self.told < self.size
        {
            self.told = self.read;
            let state = LayerState::Loading { current: self.read, total: Some(self.size) };
            progress(Progress::Layer { id: id.clone(), state });
        }
        Ok(length)
    }
}
