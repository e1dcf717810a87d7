//! A blocking client of the shim's socket, for recovery and tests.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::protocol::{Failure, MAX_REQUEST_BYTES, Reply, Request};

/// Why a request brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or the connection broke.
    #[error("talk to the shim")]
    Io(#[from] io::Error),
    /// The answer made no sense.
    #[error("understand the shim's reply")]
    Reply(#[from] serde_json::Error),
    /// The shim refused.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// Sends `request` to the shim listening at `socket` and waits for its reply.
///
/// Also gives the connection, which carries frames after a stream operation.
///
/// # Errors
/// See [`ClientError`].
pub fn request<T: DeserializeOwned>(
    socket: impl AsRef<Path>,
    request: &Request,
) -> Result<(T, BufReader<UnixStream>), ClientError> {
    let mut connection = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    if line.len() > MAX_REQUEST_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
    }
    connection.write_all(&line)?;
    let mut connection = BufReader::new(connection);
    let mut reply = String::new();
    if connection.read_line(&mut reply)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let reply: Reply<T> = serde_json::from_str(&reply)?;
    Ok((reply.into_result()?, connection))
}
