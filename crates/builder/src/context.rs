//! The contexts of a build: how they get into directories of its own, and what is left out of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockerignore::Patterns;
use engine::archive::stream::{StreamReader, on_own_thread};
use tokio_util::sync::CancellationToken;

use crate::build::MAX_DOCKERFILE_BYTES;
use crate::request::{ContextSource, NamedContext};
use crate::scratch::Scratch;
use crate::tree::FileTree;
use crate::{Builder, Error, Result, fetch, held};

/// A tree of files with its directory on the host.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) tree: Arc<FileTree>,
    pub(crate) directory: PathBuf,
    /// Whether the daemon got it from elsewhere, so that nothing has been left out yet.
    pub(crate) is_fetched: bool,
    /// Whether it is a Dockerfile and nothing else.
    pub(crate) is_dockerfile: bool,
}

impl Context {
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        let tree = Arc::new(FileTree::open(&directory)?);
        Ok(Self { tree, directory, is_fetched: false, is_dockerfile: false })
    }
}

/// Brings contexts into directories of the build's.
pub(crate) struct Opener<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) scratch: &'a Scratch,
    pub(crate) keys: fetch::Keys<'a>,
    pub(crate) cancel: &'a CancellationToken,
}

impl Opener<'_> {
    /// Opens further contexts; images among them need no directory.
    pub(crate) async fn open_named(
        &self,
        named: BTreeMap<String, NamedContext>,
    ) -> Result<BTreeMap<String, Context>> {
        let mut opened = BTreeMap::new();
        for (name, context) in named {
            let context = match context {
                NamedContext::Image(_) => continue,
                NamedContext::Input(id) => {
                    let directory = self.scratch.directory("named")?;
                    self.builder.inner.inputs.take_files(&id, &directory)?;
                    Context::open(directory)?
                }
                NamedContext::Remote(url) => {
                    let context = self.open(ContextSource::Remote(url)).await?;
                    remove_ignored(&context, "Dockerfile");
                    context
                }
            };
            opened.insert(name, context);
        }
        Ok(opened)
    }

    /// Unpacks or fetches one.
    pub(crate) async fn open(&self, source: ContextSource) -> Result<Context> {
        let directory = self.scratch.directory("context")?;
        match source {
            ContextSource::Archive(stream) => {
                let (reader, target) = (StreamReader::new(stream), directory.clone());
                let place = directory.with_extension("tar");
                // What is wrong is of the builder's kinds, not the engine's.
                let received = on_own_thread(move || Ok(held::receive(reader, &target, &place)));
                let received = tokio::select! {
                    received = received => received??,
                    () = self.cancel.cancelled() => return Err(Error::Cancelled),
                };
                let tree = Arc::new(FileTree::received(&directory, received)?);
                Ok(Context { tree, directory, is_fetched: false, is_dockerfile: false })
            }
            ContextSource::Remote(url) => {
                let fetched = fetch::context(self, &url, &directory).await?;
                let context = Context::open(fetched.directory)?;
                Ok(Context { is_fetched: true, is_dockerfile: fetched.is_dockerfile, ..context })
            }
        }
    }
}

/// What a context leaves out.
pub(crate) fn ignored(context: &Context, dockerfile: &str) -> Option<Patterns> {
    let own = format!("{dockerfile}.dockerignore");
    [own.as_str(), ".dockerignore"].into_iter().find_map(|name| {
        let bytes = context.tree.read(name.as_bytes(), MAX_DOCKERFILE_BYTES).ok()?;
        Patterns::parse(&String::from_utf8_lossy(&bytes)).ok()
    })
}

/// Clients send the Dockerfile and the `.dockerignore` although these leave them out; of what was
/// fetched from elsewhere nothing has been left out yet.
pub(crate) fn remove_ignored(context: &Context, dockerfile: &str) {
    let own = format!("{dockerfile}.dockerignore");
    let Some(patterns) = ignored(context, dockerfile) else { return };
    for name in [dockerfile, ".dockerignore", own.as_str()] {
        let clean = crate::tree::cleaned(name);
        if patterns.excludes(&clean) {
            // One that is not there, or behind a link: nothing to take away.
            let _ = context.tree.remove(clean.as_bytes());
        }
    }
    if context.is_fetched {
        remove_all_ignored(context, &patterns);
    }
}

fn remove_all_ignored(context: &Context, patterns: &Patterns) {
    let mut pending = vec![Vec::new()];
    while let Some(dir) = pending.pop() {
        for node in context.tree.list(&dir).unwrap_or_default() {
            let name = String::from_utf8_lossy(&node.path).into_owned();
            let excluded = patterns.excludes(&name);
            let path = context.directory.join(Path::new(&name));
            let removed = match (excluded, node.is_dir()) {
                (true, true) if !patterns.may_contain(&name) => std::fs::remove_dir_all(&path),
                (true, false) => std::fs::remove_file(&path),
                (_, true) => {
                    pending.push(node.path);
                    Ok(())
                }
                (false, false) => Ok(()),
            };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "ignored file stays in the context");
            }
        }
    }
}
