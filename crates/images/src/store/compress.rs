//! Compressing a layer that has no blob, for a push.
//!
//! gzip, because every registry and engine takes it. Pieces are compressed by several threads, each as a
//! gzip member of its own; a gzip file is defined as a sequence of members.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::{Compression, GzBuilder};

use super::content::sync_dir;
use super::database::BlobRecord;
use super::{Store, delete};
use crate::{BlobDescriptor, Digest, Error, Hasher, Result};

const PIECE: usize = 1 << 20;
const MEDIA_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

type Work = (Vec<u8>, SyncSender<std::io::Result<Vec<u8>>>);

impl Store {
    /// Returns the blob of a layer for a push, compressing the layer if there is none yet. The same
    /// blob is used from then on.
    ///
    /// # Errors
    /// `NoSuchContent`, `DigestMismatch` when the layer's files were changed, `DiskFull`, `Io`.
    pub fn layer_blob(&self, diff_id: &Digest) -> Result<BlobDescriptor> {
        let _pin = self.pin(*diff_id);
        let record = self.layer_record(diff_id)?;
        let blob = match record.blob.filter(|blob| self.blob_exists(&blob.digest)) {
            Some(blob) => blob,
            None => self.compress(diff_id)?,
        };
        Ok(BlobDescriptor { digest: blob.digest, size: blob.size, media_type: blob.media_type })
    }

    fn compress(&self, diff_id: &Digest) -> Result<BlobRecord> {
        let partial = Partial(self.paths().ingest.join(format!(".compress-{}", diff_id.hex())));
        let fail = |source| Error::io("write", &partial.0, source);
        let mut file = File::create(&partial.0).map_err(fail)?;
        let mut hasher = Hasher::default();
        let mut size = 0;
        let archive = self.layer_archive(diff_id)?;
        let actual = gzip(archive, |compressed| {
            hasher.update(compressed);
            size += compressed.len() as u64;
            file.write_all(compressed).map_err(fail)
        })?;
        if actual != *diff_id {
            let object = "layer".to_owned();
            return Err(Error::DigestMismatch { object, expected: *diff_id, actual });
        }
        file.sync_data().map_err(fail)?;
        let digest = hasher.finish();
        let _pin = self.pin(digest);
        let blob = BlobRecord { digest, size, media_type: MEDIA_TYPE.to_owned() };
        let path = self.paths().blob(&digest);
        std::fs::rename(&partial.0, &path).map_err(|source| Error::io("rename", path, source))?;
        sync_dir(&self.paths().blobs)?;
        self.set_layer_blob(diff_id, blob.clone())?;
        Ok(blob)
    }
}

/// A file that goes unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = delete::delete(&self.0); // The next open tries again.
    }
}

/// Compresses a stream and returns the digest of what was read.
fn gzip(mut input: impl Read, mut output: impl FnMut(&[u8]) -> Result<()>) -> Result<Digest> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(8);
    thread::scope(|scope| {
        let mut queues = Vec::new();
        for _ in 0..workers {
            let (queue, work) = sync_channel::<Work>(1);
            scope.spawn(move || compress_pieces(&work));
            queues.push(queue);
        }
        let stopped = || Error::Internal("compression stopped".to_owned());
        let mut hasher = Hasher::default();
        let mut pending: std::collections::VecDeque<Receiver<_>> =
            std::collections::VecDeque::new();
        let mut write = |receiver: Receiver<std::io::Result<Vec<u8>>>| {
            let compressed = receiver.recv().map_err(|_| stopped())?;
            output(&compressed.map_err(|source| Error::Internal(format!("gzip: {source}")))?)
        };
        for queue in (0..workers).cycle() {
            let mut piece = Vec::with_capacity(PIECE);
            let limit = PIECE as u64;
            input.by_ref().take(limit).read_to_end(&mut piece).map_err(Error::ReadInput)?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            let (done, receiver) = sync_channel(1);
            queues[queue].send((piece, done)).map_err(|_| stopped())?;
            pending.push_back(receiver);
            if pending.len() > 2 * workers
                && let Some(receiver) = pending.pop_front()
            {
                write(receiver)?;
            }
        }
        drop(queues);
        pending.into_iter().try_for_each(&mut write)?;
        Ok(hasher.finish())
    })
}

fn compress_pieces(work: &Receiver<Work>) {
    for (piece, done) in work {
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::new(5));
        let compressed = encoder.write_all(&piece).and_then(|()| encoder.finish());
        let _ = done.send(compressed); // The reader has failed.
    }
}
