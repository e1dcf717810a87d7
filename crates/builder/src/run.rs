//! RUN: a command in a container of the engine's, on layers that no image has yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Engine;
use engine::container::{
    AttachOptions, AttachStream, ContainerConfig, CreateRequest, HealthConfig, HostConfig,
    LogConfig, RemoveOptions, UnnamedImage, WaitCondition,
};
use images::UnpackedLayer;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use crate::mounts::Prepared;
use crate::request::{Event, Events};
use crate::scratch::Scratch;
use crate::tree::FileTree;
use crate::{Error, Result};

/// How many of a command's last bytes are kept for its error.
const TAIL_BYTES: usize = 4096;

/// A command to run.
pub(crate) struct Command {
    pub(crate) step: usize,
    /// The words.
    pub(crate) argv: Vec<String>,
    /// As people read it.
    pub(crate) shown: String,
    /// On what it runs.
    pub(crate) image: UnnamedImage,
    pub(crate) env: Vec<String>,
    pub(crate) user: String,
    pub(crate) working_dir: String,
    pub(crate) host_config: HostConfig,
    pub(crate) keep_container: bool,
    /// No file of the layer becomes newer.
    pub(crate) newest: Option<i64>,
}

/// Who runs it, and what it tells.
pub(crate) struct Runner<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) scratch: &'a Scratch,
    pub(crate) events: &'a Events,
    pub(crate) cancel: &'a CancellationToken,
}

/// The name that the layers have in the container's configuration.
const IMAGE: &str = "build";

impl Runner<'_> {
    /// Runs a command; returns the layer of what it changed.
    ///
    /// # Errors
    /// Command when it ends with another code than 0.
    pub(crate) async fn run(
        &self,
        command: Command,
        mounts: Prepared,
        base: Arc<FileTree>,
    ) -> Result<Option<UnpackedLayer>> {
        let name = self.scratch.container()?;
        let keep = command.keep_container;
        let (step, newest) = (command.step, command.newest);
        let targets = mounts.targets.clone();
        let result = self.run_named(&name, command, &mounts).await;
        let (id, layer) = match result {
            Ok(id) => (id.clone(), self.layer(&id, targets, base, newest).await),
            Err(error) => (String::new(), Err(error)),
        };
        if !keep || matches!(layer, Err(Error::Cancelled)) {
            let removed = remove(self.engine, &name).await;
            match (&layer, removed) {
                (Ok(_), Ok(())) => {
                    self.tell(Event::Removed { step, container: id }).await;
                }
                (_, Err(error)) if error.kind() != engine::ErrorKind::NotFound => {
                    tracing::warn!(name, %error, "container of a build left behind");
                }
                _ => {}
            }
        }
        layer
    }

    async fn tell(&self, event: Event) {
        // Nobody listens: the build is about to be cancelled.
        let _ = self.events.send(event).await;
    }

    async fn run_named(&self, name: &str, command: Command, mounts: &Prepared) -> Result<String> {
        let (step, shown) = (command.step, command.shown.clone());
        let request = request(name, command, mounts);
        let id = self.engine.container_create(request).await?.id.to_string();
        self.tell(Event::Running { step, container: id.clone() }).await;
        let options = AttachOptions { stdout: true, stderr: true, ..AttachOptions::default() };
        let stream = self.engine.container_attach(&id, options).await?;
        let wait = self.engine.container_wait(&id, WaitCondition::NextExit).await?;
        tokio::select! {
            started = self.engine.container_start(&id) => started?,
            () = self.cancel.cancelled() => return Err(Error::Cancelled),
        }
        let ended = async {
            let tail = self.follow(step, stream).await;
            (wait.await, tail)
        };
        let (ended, tail) = tokio::select! {
            ended = ended => ended,
            () = self.cancel.cancelled() => return Err(Error::Cancelled),
        };
        match ended.exit_code {
            0 => Ok(id),
            code => Err(Error::Command { command: shown, code, tail }),
        }
    }

    /// Passes output on; returns the last of it.
    async fn follow(&self, step: usize, mut stream: AttachStream) -> String {
        let mut tail: Vec<u8> = Vec::new();
        let mut pending: [Vec<u8>; 2] = Default::default();
        let mut header = [0; 8];
        while stream.reader.read_exact(&mut header).await.is_ok() {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
            if stream.reader.read_exact(&mut payload).await.is_err() {
                break;
            }
            tail.extend_from_slice(&payload);
            if tail.len() > 4 * TAIL_BYTES {
                tail.drain(..tail.len() - TAIL_BYTES);
            }
            let is_error = header[0] == 2;
            let own = &mut pending[usize::from(is_error)];
            own.extend_from_slice(&payload);
            let text = take_text(own);
            if !text.is_empty() {
                self.tell(Event::Output { step, is_error, text }).await;
            }
        }
        for (index, rest) in pending.into_iter().enumerate().filter(|(_, rest)| !rest.is_empty()) {
            let text = String::from_utf8_lossy(&rest).into_owned();
            self.tell(Event::Output { step, is_error: index == 1, text }).await;
        }
        let start = tail.len().saturating_sub(TAIL_BYTES);
        String::from_utf8_lossy(&tail[start..]).into_owned()
    }

    async fn layer(
        &self,
        id: &str,
        targets: Vec<String>,
        base: Arc<FileTree>,
        newest: Option<i64>,
    ) -> Result<Option<UnpackedLayer>> {
        let (images, id) = (self.engine.images().clone(), id.to_owned());
        crate::blocking(move || {
            let upper = images.rw_layer(&id)?.upper;
            crate::mounts::remove_stubs(&upper, &base, &targets)?;
            match images.commit_layer(&id, newest)? {
                Some(layer) => Ok(Some(images.keep_layer(layer)?)),
                None => Ok(None),
            }
        })
        .await
    }
}

/// Takes whole characters off the front; what may still become one stays.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let end = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(),
    };
    let taken: Vec<u8> = bytes.drain(..end).collect();
    String::from_utf8_lossy(&taken).into_owned()
}

async fn remove(engine: &Engine, name: &str) -> engine::Result<()> {
    engine.container_remove(name, RemoveOptions { force: true, volumes: true, link: false }).await
}

fn request(name: &str, command: Command, mounts: &Prepared) -> CreateRequest {
    let mut env = command.env;
    env.extend(mounts.env.iter().cloned());
    let config = ContainerConfig {
        image: IMAGE.to_owned(),
        cmd: Some(command.argv),
        // Not the image's.
        entrypoint: Some(vec![String::new()]),
        env,
        user: command.user,
        working_dir: command.working_dir,
        attach_stdout: true,
        attach_stderr: true,
        healthcheck: Some(HealthConfig {
            test: vec!["NONE".to_owned()],
            ..HealthConfig::default()
        }),
        ..ContainerConfig::default()
    };
    let mut host_config = command.host_config;
    host_config.log_config = LogConfig { driver: "none".to_owned(), options: BTreeMap::new() };
    host_config.mounts.clone_from(&mounts.mounts);
    let mut unnamed = mounts.unnamed.clone();
    unnamed.insert(IMAGE.to_owned(), command.image);
    CreateRequest {
        name: Some(name.to_owned()),
        config,
        host_config,
        unnamed,
        ..CreateRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::take_text;

    #[test]
    fn characters_are_not_cut() {
        let mut bytes = b"a\xc3".to_vec();
        assert_eq!(take_text(&mut bytes), "a");
        bytes.extend(b"\xa4b\xff");
        assert_eq!(take_text(&mut bytes), "\u{e4}b\u{fffd}");
        assert!(bytes.is_empty());
    }
}
