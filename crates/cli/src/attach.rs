//! Moves bytes between this process' streams and a container's.

use bytes::Bytes;
use docker_api::Hijacked;
use docker_api::stream::{Decoder, Kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, Stderr, Stdout, WriteHalf};

use crate::failure::Failure;
use crate::terminal::DetachKeys;

/// What `attach` and `exec` say, as Docker does, when the user typed the detach keys.
pub(crate) const DETACHED: &str = "read escape sequence";

const CHUNK: usize = 32 * 1024;

/// How a stream came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The container closed its output.
    Output,
    /// The user typed the detach keys.
    Detached,
}

/// Which of this process' streams take part.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    /// Whether output is awaited; without it the stream ends with the input.
    pub(crate) output: bool,
    /// The keys that end a terminal's session, empty for none.
    pub(crate) detach_keys: Vec<u8>,
}

/// Pumps until the output ends or the user detaches.
pub(crate) async fn pump(hijacked: Hijacked, streams: Streams) -> Result<Ended, Failure> {
    let (reader, writer) = tokio::io::split(hijacked.io);
    let output = copy_output(reader, streams.tty);
    tokio::pin!(output);
    if !streams.stdin {
        // Held open: some servers take the client's half-close for its end.
        let _writer = writer;
        output.await?;
        return Ok(Ended::Output);
    }
    let keys = (streams.tty && !streams.detach_keys.is_empty())
        .then(|| DetachKeys::new(streams.detach_keys));
    let input = copy_input(writer, keys);
    tokio::pin!(input);
    tokio::select! {
        result = &mut output => {
            result?;
            Ok(Ended::Output)
        }
        ended = &mut input => match ended {
            Input::Detached => Ok(Ended::Detached),
            Input::Closed(_writer) if streams.output => {
                output.await?;
                Ok(Ended::Output)
            }
            Input::Closed(_) => Ok(Ended::Output),
        },
    }
}

type Io = Box<dyn docker_api::client::DuplexStream>;

enum Input {
    Detached,
    /// The input ended and the writing half was shut down; the half is kept for its owner.
    Closed(WriteHalf<Io>),
}

async fn copy_input(mut writer: WriteHalf<Io>, mut keys: Option<DetachKeys>) -> Input {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
        let sent = match &mut keys {
            None => writer.write_all(&buffer[..count]).await,
            Some(keys) => match keys.filter(&buffer[..count]) {
                Some(passed) => writer.write_all(&passed).await,
                None => return Input::Detached,
            },
        };
        if sent.is_err() || writer.flush().await.is_err() {
            break; // the container does not read any more; its output tells the rest
        }
    }
    let _ = writer.shutdown().await; // the same
    Input::Closed(writer)
}

async fn copy_output(mut reader: ReadHalf<Io>, tty: bool) -> Result<(), Failure> {
    let mut output = Output::new(tty);
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(count) => output.write(&buffer[..count]).await?,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes raw or multiplexed output to stdout and stderr.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Stdout,
    stderr: Stderr,
    decoder: Option<Decoder>,
}

impl Output {
    pub(crate) fn new(tty: bool) -> Self {
        let decoder = (!tty).then(Decoder::default);
        Self { stdout: tokio::io::stdout(), stderr: tokio::io::stderr(), decoder }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(decoder) = &mut self.decoder else {
            self.stdout.write_all(bytes).await?;
            return Ok(self.stdout.flush().await?);
        };
        decoder.push(bytes);
        loop {
            let piece = decoder.next_piece().map_err(|e| Failure::new(e.to_string()))?;
            let Some((kind, piece)) = piece else { return Ok(()) };
            match kind {
                Kind::Stdin | Kind::Stdout => {
                    self.stdout.write_all(&piece).await?;
                    self.stdout.flush().await?;
                }
                Kind::Stderr => {
                    self.stderr.write_all(&piece).await?;
                    self.stderr.flush().await?;
                }
                Kind::System => return Err(system_error(&piece)),
            }
        }
    }
}

fn system_error(piece: &Bytes) -> Failure {
    let text = String::from_utf8_lossy(piece);
    Failure::new(format!("error from daemon in stream: {}", text.trim_end()))
}
