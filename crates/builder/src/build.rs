//! One build from its request to its image: context, Dockerfile, plan, stages side by side, image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use engine::archive::stream::{StreamReader, on_own_thread};
use images::{Digest, ImageConfig, ImageId, NewImage, StepRecord};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::SourceFile;
use crate::plan::{self, Inputs, Plan, Planned};
use crate::request::{ContextSource, Event, Events, NamedContext, Options, Request};
use crate::scratch::Scratch;
use crate::sources::{Finished, Sources};
use crate::state::{self, State};
use crate::syntax::{self, Dockerfile};
use crate::tree::{FileTree, Found};
use crate::{Builder, Error, Result};

/// More than any Dockerfile has.
const MAX_DOCKERFILE_BYTES: u64 = 16 << 20;

/// ARGs that need no declaration and leave the cache alone.
pub(crate) const PROXY_ARGS: [&str; 12] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
];

/// What the stages of one build share.
pub(crate) struct Build {
    pub(crate) builder: Builder,
    pub(crate) request: Options,
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
    pub(crate) scratch: Scratch,
    pub(crate) context: Context,
    pub(crate) source: SourceFile,
    pub(crate) file: Dockerfile,
    pub(crate) plan: Plan,
    /// Further contexts, opened.
    pub(crate) contexts: BTreeMap<String, Context>,
    /// Images that may have steps.
    pub(crate) sources: Sources,
    /// The time of everything new, in seconds since the epoch.
    pub(crate) epoch: Option<i64>,
    /// Results of stages; `None` until they are there.
    results: Vec<watch::Sender<Option<Arc<State>>>>,
    /// Steps to record at the end. Held for a push.
    finished: Mutex<Vec<(String, StepRecord)>>,
    next_step: AtomicUsize,
}

/// A tree of files with its directory on the host.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) tree: Arc<FileTree>,
    pub(crate) directory: PathBuf,
}

/// Builds.
pub(crate) async fn run(
    builder: &Builder,
    request: Request,
    events: Events,
    cancel: CancellationToken,
) -> Result<Option<ImageId>> {
    let build = Arc::new(prepare(builder, request, events, cancel).await?);
    let built = stages(&build).await;
    // Also of a build that failed: the next one goes on where it ended.
    build.record_steps().await?;
    let state = built?;
    image(&build, &state).await.map(Some)
}

async fn prepare(
    builder: &Builder,
    request: Request,
    events: Events,
    cancel: CancellationToken,
) -> Result<Build> {
    let scratch = Scratch::create(&builder.inner.engine)?;
    let Request { context, contexts, options: request } = request;
    let context = open_context(builder, &scratch, context, &cancel).await?;
    let source = dockerfile(&context, &request.dockerfile)?;
    let file = syntax::parse(&source.text).map_err(|found| source.mistake(&found))?;
    let names: BTreeSet<String> = contexts.keys().cloned().collect();
    let platform = platform_args(request.platform.as_deref());
    let inputs = Inputs {
        build_args: request.build_args.clone(),
        target: request.target.as_deref(),
        predefined: platform,
        contexts: names,
    };
    let plan = plan::plan(&file, &inputs).map_err(|found| source.mistake(&found))?;
    let epoch = epoch(&request)?;
    let results = file.stages.iter().map(|_| watch::Sender::new(None)).collect();
    let contexts = open_contexts(builder, &scratch, contexts, &cancel).await?;
    let (sources, missing) = Sources::open(&builder.inner.engine, &request.cache_from).await?;
    for name in missing {
        let text =
            format!("[Warning] cache-from {name}: no such image here, nothing is taken from it");
        // Nobody listens: the build is about to be cancelled.
        let _ = events.send(Event::Warning(text)).await;
    }
    Ok(Build {
        builder: builder.clone(),
        request,
        events,
        cancel,
        scratch,
        context,
        source,
        file,
        plan,
        contexts,
        sources,
        epoch,
        results,
        finished: Mutex::default(),
        next_step: AtomicUsize::new(0),
    })
}

async fn open_contexts(
    builder: &Builder,
    scratch: &Scratch,
    named: BTreeMap<String, NamedContext>,
    cancel: &CancellationToken,
) -> Result<BTreeMap<String, Context>> {
    let mut opened = BTreeMap::new();
    for (name, context) in named {
        let source = match context {
            NamedContext::Archive(stream) => ContextSource::Archive(stream),
            NamedContext::Remote(url) => ContextSource::Remote(url),
            NamedContext::Image(reference) => {
                return Err(Error::Invalid(format!("context {name}: {reference} is an image")));
            }
        };
        opened.insert(name, open_context(builder, scratch, source, cancel).await?);
    }
    Ok(opened)
}

async fn open_context(
    builder: &Builder,
    scratch: &Scratch,
    source: ContextSource,
    cancel: &CancellationToken,
) -> Result<Context> {
    let _ = builder;
    let directory = scratch.directory("context")?;
    match source {
        ContextSource::Archive(stream) => {
            let (reader, target) = (StreamReader::new(stream), directory.clone());
            let unpacked = on_own_thread(move || engine::archive::unpack_into(reader, &target));
            tokio::select! {
                unpacked = unpacked => unpacked?,
                () = cancel.cancelled() => return Err(Error::Cancelled),
            }
        }
        ContextSource::Remote(url) => {
            return Err(Error::Invalid(format!("remote context {url:?} cannot be fetched")));
        }
    }
    Context::open(directory)
}

impl Context {
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        Ok(Self { tree: Arc::new(FileTree::open(&directory)?), directory })
    }
}

fn dockerfile(context: &Context, path: &str) -> Result<SourceFile> {
    let missing = || {
        Error::Invalid(format!(
            "Cannot locate specified Dockerfile: {path}: it is not in the build context"
        ))
    };
    let Ok(Found::Node(node)) = context.tree.find(path.as_bytes()) else { return Err(missing()) };
    let bytes = context.tree.read(&node.path, MAX_DOCKERFILE_BYTES);
    let bytes = bytes.map_err(Error::io("read", path))?;
    remove_ignored(context, path);
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::Invalid(format!("the Dockerfile {path} is not UTF-8 text")))?;
    Ok(SourceFile { name: path.to_owned(), text })
}

/// Clients send the Dockerfile and the `.dockerignore` although these leave them out.
fn remove_ignored(context: &Context, dockerfile: &str) {
    let own = format!("{dockerfile}.dockerignore");
    let ignored = [own.as_str(), ".dockerignore"].into_iter().find_map(|name| {
        let bytes = context.tree.read(name.as_bytes(), MAX_DOCKERFILE_BYTES).ok()?;
        dockerignore::Patterns::parse(&String::from_utf8_lossy(&bytes)).ok()
    });
    let Some(patterns) = ignored else { return };
    for name in [dockerfile, ".dockerignore", own.as_str()] {
        let clean = crate::tree::cleaned(name);
        if patterns.excludes(&clean) {
            // One that is not there, or a link: nothing to take away.
            let _ = std::fs::remove_file(context.directory.join(Path::new(&clean)));
        }
    }
}

/// `TARGETPLATFORM` and the like.
fn platform_args(asked: Option<&str>) -> BTreeMap<String, String> {
    let host = images::host_platform();
    let asked = asked.filter(|text| !text.is_empty()).unwrap_or(&host).to_owned();
    let mut args = BTreeMap::new();
    for (prefix, platform) in [("BUILD", host.as_str()), ("TARGET", asked.as_str())] {
        let mut parts = platform.splitn(3, '/');
        args.insert(format!("{prefix}PLATFORM"), platform.to_owned());
        args.insert(format!("{prefix}OS"), parts.next().unwrap_or_default().to_owned());
        args.insert(format!("{prefix}ARCH"), parts.next().unwrap_or_default().to_owned());
        args.insert(format!("{prefix}VARIANT"), parts.next().unwrap_or_default().to_owned());
    }
    args
}

fn epoch(request: &Options) -> Result<Option<i64>> {
    let given = request.build_args.get("SOURCE_DATE_EPOCH").cloned().flatten();
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.parse::<i64>().ok().filter(|seconds| (0..1 << 40).contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        Error::Invalid(format!("SOURCE_DATE_EPOCH={text} is no number of seconds since 1970"))
    })
}

/// Builds the stages, each as soon as those it needs are there.
async fn stages(build: &Arc<Build>) -> Result<Arc<State>> {
    let mut tasks = JoinSet::new();
    for planned in &build.plan.stages {
        tasks.spawn(stage(Arc::clone(build), planned.clone()));
    }
    let mut first_error = None;
    while let Some(ended) = tasks.join_next().await {
        let error = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(error) => Error::Unavailable(format!("a stage was cut off: {error}")),
        };
        // The others end with a cancellation, which says nothing.
        let says_more = !matches!(error, Error::Cancelled);
        if first_error.is_none() || (says_more && matches!(first_error, Some(Error::Cancelled))) {
            first_error = Some(error);
        }
        build.cancel.cancel();
    }
    match first_error {
        Some(error) => Err(error),
        None => build.result(build.plan.target).await,
    }
}

async fn stage(build: Arc<Build>, planned: Planned) -> Result<()> {
    for index in &planned.needs {
        build.result(*index).await?;
    }
    let state = crate::stage::build(&build, &planned).await?;
    build.tell(Event::StageEnded { stage: planned.index }).await;
    // Nobody may need it any more.
    build.results[planned.index].send_replace(Some(Arc::new(state)));
    Ok(())
}

impl Build {
    /// Waits for a stage.
    pub(crate) async fn result(&self, index: usize) -> Result<Arc<State>> {
        let mut receiver = self.results[index].subscribe();
        tokio::select! {
            found = receiver.wait_for(Option::is_some) => {
                found.ok().and_then(|state| state.clone()).ok_or(Error::Cancelled)
            }
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
    }

    /// Tells something.
    pub(crate) async fn tell(&self, event: Event) {
        // Nobody listens: the build is about to be cancelled.
        let _ = self.events.send(event).await;
    }

    pub(crate) fn new_step(&self) -> usize {
        self.next_step.fetch_add(1, Ordering::Relaxed)
    }

    /// The time of new things.
    pub(crate) fn time(&self) -> i64 {
        self.epoch.unwrap_or_else(state::now)
    }

    /// Looks a step up in the cache.
    pub(crate) async fn lookup(&self, key: &str) -> Result<Option<StepRecord>> {
        if self.request.no_cache {
            return Ok(None);
        }
        let (images, key) = (self.builder.inner.engine.images().clone(), key.to_owned());
        // A look into memory, hardly ever onto the disk.
        Ok(tokio::task::block_in_place(|| images.step(&key))?)
    }

    /// Looks a step up in the images that were named for it. Not with a time of its own, to which these
    /// were not made.
    pub(crate) fn finished(&self, state: &State, created_by: &str) -> Option<Finished> {
        let wanted = !self.request.no_cache && self.epoch.is_none();
        wanted.then(|| self.sources.find(state, created_by)).flatten()
    }

    pub(crate) fn finish_step(&self, key: String, record: StepRecord) {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).push((key, record));
    }

    async fn record_steps(&self) -> Result<()> {
        let finished =
            std::mem::take(&mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner));
        let images = self.builder.inner.engine.images().clone();
        crate::blocking(move || Ok(images.put_steps(&finished)?)).await
    }
}

/// Makes the image of the last state and gives it its names.
async fn image(build: &Arc<Build>, state: &State) -> Result<ImageId> {
    let mut config = state.config.clone();
    if !build.request.labels.is_empty() {
        let labels = config.config.labels.get_or_insert_default();
        labels.extend(build.request.labels.clone());
    }
    let id = match state.image.filter(|_| build.request.labels.is_empty()) {
        // FROM and nothing else.
        Some(id) => id,
        None => register(build, config, state.diff_ids()).await?,
    };
    warn_unused_args(build).await;
    build.tell(Event::Built { image: id.to_string() }).await;
    for tag in &build.request.tags {
        let engine = &build.builder.inner.engine;
        engine.image_tag(&id.to_string(), tag.clone()).await?;
        build.tell(Event::Tagged { name: tag.to_string() }).await;
    }
    Ok(id)
}

async fn register(build: &Build, config: ImageConfig, layers: Vec<Digest>) -> Result<ImageId> {
    let images = build.builder.inner.engine.images().clone();
    crate::blocking(move || {
        let layers = layers.iter().map(|diff_id| {
            images.existing_layer(diff_id)?.ok_or(images::Error::NoSuchContent(*diff_id))
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let image = NewImage {
            config: config.to_bytes()?,
            layers,
            manifest: None,
            references: Vec::new(),
            parent: None,
        };
        Ok(images.register_image(image)?)
    })
    .await
}

async fn warn_unused_args(build: &Build) {
    let mut declared: BTreeSet<&str> = BTreeSet::from(PROXY_ARGS);
    declared.insert("SOURCE_DATE_EPOCH");
    let stages = build.file.stages.iter().flat_map(|stage| &stage.instructions);
    for instruction in build.file.global_args.iter().chain(stages) {
        if let syntax::Kind::Arg(args) = &instruction.kind {
            declared.extend(args.iter().map(|(name, _)| name.as_str()));
        }
    }
    let given = build.request.build_args.keys().map(String::as_str);
    let unused: Vec<&str> = given.filter(|name| !declared.contains(name)).collect();
    if !unused.is_empty() {
        let text =
            format!("[Warning] One or more build-args [{}] were not consumed", unused.join(" "));
        build.tell(Event::Warning(text)).await;
    }
}
