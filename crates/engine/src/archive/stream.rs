//! Between the blocking world of files and the asynchronous one of connections.
//!
//! A few chunks are on their way at most; whichever side is slower makes the other wait, and
//! whichever side goes away ends the other. Transfers have threads of their own, because they last
//! as long as their clients like.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};

use super::ByteStream;
use crate::{Error, Result};

/// Chunks on their way.
const CHUNKS: usize = 8;
/// Small writes are gathered up to this.
const CHUNK_BYTES: usize = 64 << 10;

/// Reads a stream from a thread that may block.
#[derive(Debug)]
pub struct StreamReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl StreamReader {
    /// Begins to take chunks from `stream`; dropping the reader drops the stream.
    pub fn new(mut stream: ByteStream) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        // Ends with the stream or with the reader, which owns the other end.
        tokio::spawn(async move {
            loop {
                let chunk = tokio::select! {
                    chunk = stream.next() => chunk,
                    () = sender.closed() => return,
                };
                let Some(chunk) = chunk else { return };
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Self { chunks, chunk: Bytes::new() }
    }
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let size = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..size]);
        Ok(size)
    }
}

/// Writes a stream from a thread that may block.
#[derive(Debug)]
pub struct StreamWriter {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    gathered: BytesMut,
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = self.gathered.split().freeze();
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Gives what `work` writes as a stream. An error of `work` is the stream's last item.
pub fn written_by(
    work: impl FnOnce(&mut StreamWriter) -> io::Result<()> + Send + 'static,
) -> ByteStream {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let mut writer =
        StreamWriter { chunks: sender, gathered: BytesMut::with_capacity(2 * CHUNK_BYTES) };
    let refused = writer.chunks.clone();
    // Ends when the work is done, or at its next write after the stream was dropped.
    let thread = std::thread::Builder::new().name("stream-out".to_owned()).spawn(move || {
        if let Err(error) = work(&mut writer).and_then(|()| writer.flush()) {
            // Nobody listens any more: nobody needs to know.
            let _ = writer.chunks.blocking_send(Err(error));
        }
    });
    if let Err(error) = thread {
        // There is room: nothing was sent yet.
        let _ = refused.try_send(Err(error));
    }
    drop(refused);
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
    .boxed()
}

/// Runs `work`, which waits for a client, on a thread of its own. However many clients are slow,
/// the threads that everybody shares stay free.
pub async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("stream-in".to_owned())
        .spawn(move || {
            // The asker may have gone; what was done stays done.
            let _ = done.send(work());
        })
        .map_err(|error| Error::Unavailable(format!("no thread for the transfer: {error}")))?;
    result.await.map_err(|_| Error::Internal("transfer was cut off".to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_both_ways() {
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let stream = written_by(move |writer| {
            for piece in sent.chunks(1000) {
                writer.write_all(piece)?;
            }
            Ok(())
        });
        let mut reader = StreamReader::new(stream);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        assert_eq!(read.await.unwrap().unwrap(), expected);
    }

    #[tokio::test]
    async fn errors_arrive_and_leaving_ends_the_other_side() {
        let mut stream = written_by(|_| Err(io::Error::other("broken")));
        assert_eq!(stream.next().await.unwrap().unwrap_err().to_string(), "broken");
        assert!(stream.next().await.is_none());
        let (done, ended) = tokio::sync::oneshot::channel();
        let stream = written_by(move |writer| {
            let result = loop {
                if let Err(error) = writer.write_all(&[0; CHUNK_BYTES]) {
                    break error.kind();
                }
            };
            let _ = done.send(result);
            Ok(())
        });
        drop(stream);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), ended).await;
        assert_eq!(ended.unwrap().unwrap(), io::ErrorKind::BrokenPipe);
    }
}
