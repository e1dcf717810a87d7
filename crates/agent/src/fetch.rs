//! The URIs of a command: fetched into its sandbox, archives extracted there and nowhere else.

mod archive;
mod cache;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use mesos_api::v1::command_info::Uri;
use tokio::io::AsyncWriteExt as _;

use crate::config;
use crate::identity::User;
use crate::sandbox;
use archive::Archive;
use cache::{Cache, Found, Held, Key, Progress};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a URI is not in the sandbox.
#[derive(Debug, thiserror::Error)]
#[error("Failed to fetch '{uri}': {why}")]
pub(crate) struct FetchError {
    uri: String,
    why: String,
}

/// What fetches for all containers of the agent.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: reqwest::Client,
    cache: Arc<Cache>,
    /// Where relative URIs are.
    home: Option<PathBuf>,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// Figures of a fetcher, by Mesos' names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) cache_size_total_bytes: u64,
    pub(crate) cache_size_used_bytes: u64,
    pub(crate) task_fetches_succeeded: u64,
    pub(crate) task_fetches_failed: u64,
}

impl Fetcher {
    /// One with an empty cache.
    ///
    /// # Errors
    /// When the cache's directory cannot be used.
    pub(crate) fn new(config: &config::Fetch) -> anyhow::Result<Self> {
        let directory = config.cache_dir.clone();
        let cache = Cache::new(directory, config.cache_bytes).with_context(|| {
            format!("cannot make the fetcher's cache {} anew", config.cache_dir.display())
        })?;
        // Fails when another part of the process has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(config.stall_timeout)
            .build()
            .context("cannot prepare for fetching over HTTP")?;
        let (succeeded, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { client, cache, home: config.home.clone(), succeeded, failed })
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            cache_size_total_bytes: self.cache.capacity(),
            cache_size_used_bytes: self.cache.used(),
            task_fetches_succeeded: self.succeeded.load(Ordering::Relaxed),
            task_fetches_failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Fetches all URIs, one after the other.
    ///
    /// # Errors
    /// The first that cannot be fetched or extracted.
    pub(crate) async fn all(
        &self,
        uris: &[Uri],
        sandbox: &Path,
        user: Option<User>,
    ) -> Result<(), FetchError> {
        for uri in uris {
            if let Err(why) = self.one(uri, sandbox, user).await {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return Err(FetchError { uri: uri.value.clone(), why });
            }
        }
        if !uris.is_empty() {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn one(&self, uri: &Uri, sandbox: &Path, user: Option<User>) -> Result<(), String> {
        let name = output_name(uri)?;
        let target = sandbox.join(&name);
        if let Some(directory) = target.parent() {
            fs::create_dir_all(directory)
                .map_err(|e| format!("cannot create its directory: {e}"))?;
        }
        let value = uri.value.trim();
        let executable = uri.executable();
        let kind = Archive::of(&name).filter(|_| uri.extract() && !executable);
        let held = if uri.cache() && self.cache.capacity() > 0 {
            let key = Key { uid: user.map(|user| user.uid), uri: value.to_owned() };
            self.through_cache(key, &target).await?
        } else {
            self.open(value).await?.write(&target).await?;
            None
        };
        // Of what is extracted from the cache the archive stays there, as with Mesos.
        if let Some(held) = held.as_ref().filter(|_| kind.is_none()) {
            Source::File(held.file().to_owned()).write(&target).await?;
        }
        let directory = sandbox.to_owned();
        let work = move || -> Result<(), String> {
            if let Some(kind) = kind {
                if held.is_none() {
                    sandbox::own(&target, user)
                        .map_err(|e| format!("cannot give it to its user: {e}"))?;
                }
                let file = held.as_ref().map_or(target.as_path(), Held::file);
                return kind.extract(file, &target, &directory, user);
            }
            if executable {
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&target, mode)
                    .map_err(|e| format!("cannot make it executable: {e}"))?;
            }
            sandbox::own(&target, user).map_err(|e| format!("cannot give it to its user: {e}"))
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?
    }

    /// Has a URI in the cache, fetched by this call or another; `None` when it was not to be, and
    /// it is at `target` instead.
    async fn through_cache(&self, key: Key, target: &Path) -> Result<Option<Held>, String> {
        loop {
            match self.cache.find(&key) {
                Found::Ready(held) => return Ok(Some(held)),
                Found::Coming(mut progress) => {
                    let settled = progress.wait_for(|now| *now != Progress::Coming).await;
                    if settled.is_ok_and(|now| *now == Progress::Failed) {
                        break;
                    }
                    // Ready, or its task was killed and the next one has to fetch it.
                }
                Found::New(claim) => {
                    let source = match self.open(&key.uri).await {
                        Ok(source) => source,
                        Err(error) => {
                            claim.fail();
                            return Err(error);
                        }
                    };
                    let size = source.size().filter(|size| *size > 0);
                    if !size.is_some_and(|size| claim.reserve(size)) {
                        tracing::warn!(
                            uri = key.uri,
                            size,
                            "not cached: the cache has no room, or its size is not known"
                        );
                        claim.fail();
                        source.write(target).await?;
                        return Ok(None);
                    }
                    match source.write(&claim.file()).await {
                        Ok(written) => return Ok(claim.finish(written)),
                        Err(error) => {
                            tracing::warn!(uri = key.uri, error, "not cached");
                            claim.fail();
                            break;
                        }
                    }
                }
            }
        }
        self.open(&key.uri).await?.write(target).await?;
        Ok(None)
    }

    async fn open(&self, value: &str) -> Result<Source, String> {
        match value.split_once("://") {
            Some(("http" | "https", _)) => {
                let response = self.client.get(value).send().await.map_err(|e| chain(&e))?;
                if !response.status().is_success() {
                    return Err(format!("the server answered {}", response.status()));
                }
                Ok(Source::Response(Box::new(response)))
            }
            Some(("file", path)) => Ok(Source::File(PathBuf::from(path))),
            Some((scheme, _)) => {
                Err(format!("this agent fetches http, https and file, not {scheme}"))
            }
            None if value.starts_with('/') => Ok(Source::File(PathBuf::from(value))),
            None => match &self.home {
                Some(home) => Ok(Source::File(home.join(value))),
                None => Err("a path has to be absolute, unless --frameworks_home says where \
                             relative ones are"
                    .to_owned()),
            },
        }
    }
}

/// Where the content of a URI comes from.
enum Source {
    File(PathBuf),
    Response(Box<reqwest::Response>),
}

impl Source {
    /// In bytes, as far as that can be told beforehand.
    fn size(&self) -> Option<u64> {
        match self {
            Self::File(path) => fs::metadata(path).ok().map(|meta| meta.len()),
            Self::Response(response) => response.content_length(),
        }
    }

    /// Puts it into a file; tells how many bytes there were. Of what fails half-way nothing stays: it
    /// may be what has filled the disk.
    async fn write(self, target: &Path) -> Result<u64, String> {
        let written = self.write_all(target).await;
        if written.is_err() {
            let _ = tokio::fs::remove_file(target).await; // it may never have been made
        }
        written
    }

    async fn write_all(self, target: &Path) -> Result<u64, String> {
        let response = match self {
            Self::File(path) => {
                let copied = tokio::fs::copy(&path, target).await;
                return copied.map_err(|e| format!("cannot copy it: {e}"));
            }
            Self::Response(response) => response,
        };
        let mut file =
            tokio::fs::File::create(target).await.map_err(|e| format!("cannot create it: {e}"))?;
        let mut body = response.bytes_stream();
        let mut size = 0;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| chain(&e))?;
            file.write_all(&piece).await.map_err(|e| format!("cannot write it: {e}"))?;
            size += piece.len() as u64;
        }
        file.flush().await.map_err(|e| format!("cannot write it: {e}"))?;
        Ok(size)
    }
}

/// An error with its causes.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The file's name in the sandbox.
fn output_name(uri: &Uri) -> Result<PathBuf, String> {
    let name = match &uri.output_file {
        Some(name) => name.clone(),
        None => {
            let path = uri.value.split(['?', '#']).next().unwrap_or_default();
            path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
        }
    };
    let path = PathBuf::from(&name);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !inside || name.contains(['\'', '\\', '\0']) {
        return Err(format!("'{name}' is no file name in a sandbox"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
