//! A command in a container of the Docker engine: one of its `exec`s.

use std::sync::Arc;
use std::time::Duration;

use docker_api::stream::{Decoder, Kind};
use mesos_api::v1::CommandInfo;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, watch};

use super::session::{Handle, Launch, Piece, Running, Stream, WAITING, WindowSize};
use crate::docker::{Docker, Session, signal_exec, variables};

const CHUNK: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(200);

/// A container of the docker containerizer.
#[derive(Debug, Clone)]
pub(crate) struct InContainer {
    pub(crate) docker: Arc<Docker>,
    pub(crate) name: String,
}

/// The engine's exec.
#[derive(Debug)]
pub(super) struct Exec {
    docker: Arc<Docker>,
    id: String,
    container_pid: u32,
    /// Set when the engine sends no more output, which is the command's end.
    over: watch::Receiver<bool>,
}

pub(super) async fn start(place: &InContainer, launch: &Launch) -> Result<Running, String> {
    let engine = &place.docker.engine;
    let said = |e: docker_api::Error| e.message();
    let own: Vec<(String, String)> = variables(Some(&launch.command))?.into_iter().collect();
    let (inspect, _) = engine.inspect(&place.name).await.map_err(said)?;
    let terminal = launch.terminal.map(|size| [size.rows, size.columns]);
    let session = Session {
        words: words(&launch.command),
        variables: own,
        user: launch.command.user.clone(),
        terminal,
    };
    let id = engine.exec_session(&place.name, &session).await.map_err(said)?;
    let stream = engine.start_exec(&id, terminal).await.map_err(said)?.io;
    let (mut from, input) = tokio::io::split(stream);
    let (sender, output) = mpsc::channel(WAITING);
    let (tell_over, over) = watch::channel(false);
    // Ends with the connection, or with the session.
    tokio::spawn(async move {
        let mut frames = terminal.is_none().then(Decoder::default);
        let mut buffer = vec![0; CHUNK];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if !pass_on(&mut frames, &buffer[..read], &sender).await {
                break;
            }
        }
        tell_over.send_replace(true);
    });
    let docker = Arc::clone(&place.docker);
    let exec = Exec { docker, id, container_pid: inspect.state.pid, over };
    if let Some(size) = launch.terminal {
        // Engines of long ago take no size before.
        exec.resize(size).await;
    }
    Ok(Running { input: Box::new(input), output, handle: Handle::Exec(exec) })
}

/// As the engine wants them: the name that a program sees as its own is not for choosing.
fn words(command: &CommandInfo) -> Vec<String> {
    let value = command.value().to_owned();
    if command.shell() {
        return vec!["/bin/sh".to_owned(), "-c".to_owned(), value];
    }
    std::iter::once(value).chain(command.arguments.iter().skip(1).cloned()).collect()
}

/// Takes output apart; false when nobody wants it, or it is none.
async fn pass_on(frames: &mut Option<Decoder>, bytes: &[u8], to: &mpsc::Sender<Piece>) -> bool {
    let Some(decoder) = frames else {
        return to.send((Stream::Out, bytes::Bytes::copy_from_slice(bytes))).await.is_ok();
    };
    decoder.push(bytes);
    loop {
        let (kind, piece) = match decoder.next_piece() {
            Ok(Some(next)) => next,
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%error, "the output of a command in a container is no such thing");
                return false;
            }
        };
        let stream = if kind == Kind::Stderr { Stream::Err } else { Stream::Out };
        if to.send((stream, piece)).await.is_err() {
            return false;
        }
    }
}

impl Exec {
    pub(super) async fn signal(&self, signal: i32) {
        signal_exec(&self.docker.engine, &self.id, self.container_pid, signal).await;
    }

    pub(super) async fn resize(&self, size: WindowSize) {
        if let Err(error) = self.docker.engine.resize_exec(&self.id, size.rows, size.columns).await
        {
            tracing::debug!(error = %error.message(), "cannot resize a terminal");
        }
    }

    /// Tells the status as wait(2) would: engines know exit codes only.
    pub(super) async fn wait(&self) -> i32 {
        let mut over = self.over.clone();
        let _ = over.wait_for(|over| *over).await; // without a reader it is over as well
        loop {
            match self.docker.engine.exec_code(&self.id).await {
                Ok(Some(code)) => return (i32::try_from(code).unwrap_or(255) & 0xff) << 8,
                // It has closed its output and goes on; the engine cannot be waited for.
                Ok(None) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(error = %error.message(), "nobody knows how a session ended");
                    return -1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_its_own_name_from_the_engine() {
        let arguments = ["ls", "-l"].map(str::to_owned).to_vec();
        let value = Some("/bin/ls".to_owned());
        let program = CommandInfo { shell: Some(false), value, arguments, ..Default::default() };
        assert_eq!(words(&program), ["/bin/ls", "-l"]);
        let shell = CommandInfo { value: Some("ls -l".to_owned()), ..Default::default() };
        assert_eq!(words(&shell), ["/bin/sh", "-c", "ls -l"]);
    }
}
