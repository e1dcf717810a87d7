//! Finished steps out as an archive and back in: for another host, or after a prune.
//!
//! ```text
//! layers/<digest>.tar    layers
//! steps/<key>.json       what is known of a step, one file each, so that directories can be merged
//! ```
//! A layer is what its name says or is refused; that a key means that layer is the archive's word.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use engine::archive::ByteStream;
use engine::archive::stream::{StreamReader, on_own_thread, written_by};
use images::archive::{Entry, EntryKind, write};
use images::{Digest, StepRecord, Store, UnpackedLayer};

use crate::tree::{FileTree, joined};
use crate::{Builder, Error, Result};

/// More than any record has.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// Steps whose layers are held.
pub(crate) type Steps = Vec<(String, StepRecord, Option<Arc<UnpackedLayer>>)>;

impl Builder {
    /// Gives steps as an archive. Those that have gone meanwhile are left out, and so are layers that
    /// the other side has.
    ///
    /// # Errors
    /// For what is no key, and when the store cannot be read.
    pub async fn export_cache(&self, keys: Vec<String>, known: Vec<Digest>) -> Result<ByteStream> {
        let images = self.inner.engine.images().clone();
        crate::blocking(move || {
            let steps = steps(&images, keys)?;
            Ok(written_by(move |writer| {
                export(&images, &steps, known, writer).map_err(io::Error::other)
            }))
        })
        .await
    }

    /// Takes steps from an archive; those that are here already stay as they are.
    ///
    /// # Errors
    /// For an archive that is no cache, and layers that are not what they should be.
    pub async fn import_cache(&self, archive: ByteStream) -> Result<()> {
        let directory = self.inner.inputs.directory()?;
        let images = self.inner.engine.images().clone();
        let reader = StreamReader::new(archive);
        let path = directory.path().to_owned();
        on_own_thread(move || engine::archive::unpack_into(reader, &path)).await?;
        crate::blocking(move || import(&images, directory.path())).await
    }
}

/// Looks steps up; those that have gone meanwhile are left out.
pub(crate) fn steps(images: &Store, keys: Vec<String>) -> Result<Steps> {
    let mut found = Vec::new();
    for key in keys {
        if !is_key(&key) {
            let shown: String = key.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(Error::Invalid(format!("{shown:?} is no key of a step")));
        }
        let Some(record) = images.step(&key)? else { continue };
        let layer = record.layer.as_ref().map(|digest| images.existing_layer(digest));
        let layer = layer.transpose()?.flatten().map(Arc::new);
        if layer.is_some() == record.layer.is_some() {
            found.push((key, record, layer));
        }
    }
    Ok(found)
}

/// Tells whether a text can be the key of a step.
pub(crate) fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn export(
    images: &Store,
    steps: &Steps,
    known: Vec<Digest>,
    writer: &mut impl Write,
) -> Result<()> {
    let mut known: BTreeSet<Digest> = known.into_iter().collect();
    for (key, record, layer) in steps {
        if let Some(layer) = layer.as_ref().filter(|layer| known.insert(layer.diff_id())) {
            let (size, bytes) = images.read_layer(layer)?;
            file(writer, &format!("layers/{}.tar", layer.diff_id().hex()), size, bytes)?;
        }
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Error::Invalid(format!("step {key}: {error}")))?;
        file(writer, &format!("steps/{key}.json"), bytes.len() as u64, bytes.as_slice())?;
    }
    writer.write_all(&write::END).map_err(Error::io("write", "the cache"))
}

fn file(writer: &mut impl Write, name: &str, size: u64, content: impl Read) -> Result<()> {
    let entry =
        Entry { mode: 0o644, size, payload: size, ..Entry::new(name.as_bytes(), EntryKind::File) };
    let written = writer.write_all(&write::header(&entry)).and_then(|()| {
        // No more than the header says.
        match io::copy(&mut content.take(size), writer)? {
            copied if copied == size => writer.write_all(write::padding(size)),
            copied => Err(io::Error::other(format!("{copied} bytes where {size} should be"))),
        }
    });
    written.map_err(Error::io("write", name))
}

fn import(images: &Store, directory: &Path) -> Result<()> {
    let tree = FileTree::open(directory)?;
    let nodes = match tree.list(b"steps") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Invalid("this is no build cache: it has no steps".to_owned()));
        }
        nodes => nodes.map_err(Error::io("list", "steps"))?,
    };
    let mut fresh = Vec::new();
    let mut held = Vec::new();
    for node in nodes {
        let name = String::from_utf8_lossy(&node.path).into_owned();
        let key = name.strip_prefix("steps/").and_then(|name| name.strip_suffix(".json"));
        let Some(key) = key.filter(|key| is_key(key)) else { continue };
        if images.step(key)?.is_some() {
            continue;
        }
        let bytes = tree.read(&node.path, MAX_RECORD_BYTES).map_err(Error::io("read", &name))?;
        let record: StepRecord = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Invalid(format!("build cache: {name}: {error}")))?;
        if let Some(digest) = &record.layer {
            held.push(match images.existing_layer(digest)? {
                Some(layer) => layer,
                None => layer(images, &tree, digest)?,
            });
        }
        fresh.push((key.to_owned(), record));
    }
    images.put_steps(&fresh)?;
    tracing::debug!(steps = fresh.len(), layers = held.len(), "build cache imported");
    Ok(())
}

fn layer(images: &Store, tree: &FileTree, digest: &Digest) -> Result<UnpackedLayer> {
    let name = format!("layers/{}.tar", digest.hex());
    let path = joined(b"layers", format!("{}.tar", digest.hex()).as_bytes());
    let file = tree.open_file(&path).map_err(Error::io("open", &name))?;
    let layer = images.layer_from_archive(|| file)?;
    match layer.diff_id() == *digest {
        true => Ok(images.keep_layer(layer)?),
        false => Err(Error::Invalid(format!(
            "build cache: {name}: the digest of its content is {}",
            layer.diff_id()
        ))),
    }
}
