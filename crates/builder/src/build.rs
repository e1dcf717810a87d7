//! One build from its request to its image: context, Dockerfile, plan, stages side by side, image.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use images::{Digest, ImageConfig, ImageId, NewImage, StepRecord, UnpackedLayer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Opener, ignored, remove_ignored};
use crate::diagnostic::Diagnostic;
use crate::error::SourceFile;
use crate::lint::{self, Facts, Settings};
use crate::outline;
use crate::plan::{self, Inputs, Names, Plan, Planned};
use crate::request::{Call, Event, Events, NamedContext, Options, Request};
use crate::scratch::Scratch;
use crate::sources::{Finished, Sources};
use crate::state::{self, State};
use crate::syntax::{self, Dockerfile, Instruction};
use crate::tree::Found;
use crate::{Builder, Error, Result, cache_image, fetch, transfer};

/// More than any Dockerfile has.
pub(crate) const MAX_DOCKERFILE_BYTES: u64 = 16 << 20;

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

/// The ARG that stands in for `# check=`.
const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

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
    /// What their names mean.
    pub(crate) names: Names,
    /// Images that may have steps.
    pub(crate) sources: Sources,
    /// Stages of which nothing is looked up.
    fresh: BTreeSet<usize>,
    /// The time of everything new, in seconds since the epoch.
    pub(crate) epoch: Option<i64>,
    /// Results of stages; `None` until they are there.
    results: Vec<watch::Sender<Option<Arc<State>>>>,
    /// Stages that triggers of base images need; who reads it starts those that do not run yet.
    wanted: watch::Sender<BTreeSet<usize>>,
    /// Steps to record at the end. Held for a push.
    finished: Mutex<Vec<FinishedStep>>,
    next_step: AtomicUsize,
}

/// A step's key, its record, and its layer: that stays until the step is recorded, also when its stage
/// fails meanwhile.
type FinishedStep = (String, StepRecord, Option<Arc<UnpackedLayer>>);

/// Builds; `None` when the Dockerfile was only looked at.
pub(crate) async fn run(
    builder: &Builder,
    request: Request,
    events: Events,
    cancel: CancellationToken,
) -> Result<Option<ImageId>> {
    let build = Arc::new(prepare(builder, request, events, cancel).await?);
    match build.request.call {
        Call::Build => advise(&build).await?,
        Call::Check => {
            advise(&build).await?;
            return Ok(None);
        }
        Call::Outline | Call::Targets => {
            let asked = Arc::clone(&build);
            let answer = crate::blocking(move || asked.answer()).await?;
            build.tell(Event::Answer(answer)).await;
            return Ok(None);
        }
    }
    let planned = build.plan.stages.iter().map(|planned| planned.index).collect();
    build.tell(Event::Planned { stages: planned }).await;
    let built = stages(&build).await;
    // Also of a build that failed: the next one goes on where it ended.
    let recorded = build.record_steps(built.as_deref().ok()).await;
    let state = built?;
    recorded?;
    image(&build, &state).await.map(Some)
}

/// Tells what is probably not meant; an error where that is asked for.
async fn advise(build: &Arc<Build>) -> Result<()> {
    let asked = build.request.build_args.get(CHECK_ARG).and_then(Option::as_deref);
    let text = asked.or(build.file.directives.check.as_deref()).unwrap_or_default();
    let settings = Settings::parse(text).map_err(Error::Invalid)?;
    let findings = {
        let (build, settings) = (Arc::clone(build), settings.clone());
        crate::blocking(move || Ok(findings(&build, &settings))).await?
    };
    for finding in &findings {
        let rule = finding.rule.unwrap_or("Advice").to_owned();
        let text = finding.render(&build.source.name, &build.source.text);
        build.tell(Event::Lint { rule, text }).await;
    }
    let check_only = build.request.call == Call::Check;
    match findings.len() {
        0 if check_only => {
            let text = "Check complete, no warnings found.".to_owned();
            build.tell(Event::Warning(text)).await;
            Ok(())
        }
        0 => Ok(()),
        count if check_only || settings.is_error => {
            let have = if count == 1 { "warning has" } else { "warnings have" };
            Err(Error::Invalid(format!("Check complete, {count} {have} been found!")))
        }
        _ => Ok(()),
    }
}

fn findings(build: &Build, settings: &Settings) -> Vec<Diagnostic> {
    let images = build.builder.inner.engine.images();
    let image = |name: &str| {
        let image = build.names.get(name).cloned().flatten();
        let id = images.resolve(image.as_deref().unwrap_or(name)).ok()?;
        let config = images.inspect(&id).ok()?.config;
        let platform = config.platform();
        let env = config.config.env.unwrap_or_default();
        let names = env.iter().filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
        Some(lint::Image { environment: names.collect(), platform })
    };
    let host = images::host_platform();
    let asked = build.request.platform.as_deref().filter(|text| !text.is_empty());
    let ignored = ignored(&build.context, &build.request.dockerfile).unwrap_or_default();
    let facts = Facts {
        global_args: &build.plan.global_args,
        ignored: &ignored,
        platform: asked.unwrap_or(&host),
        image: &image,
    };
    lint::check(&build.file, settings, &facts)
}

async fn prepare(
    builder: &Builder,
    request: Request,
    events: Events,
    cancel: CancellationToken,
) -> Result<Build> {
    let scratch = Scratch::create(&builder.inner.engine)?;
    let Request { context, contexts, options: mut request } = request;
    let opener =
        Opener { builder, scratch: &scratch, keys: fetch::Keys::of(&request), cancel: &cancel };
    let context = opener.open(context).await?;
    if context.is_dockerfile {
        "Dockerfile".clone_into(&mut request.dockerfile);
    }
    let source = dockerfile(&context, &request.dockerfile)?;
    let file = syntax::parse(&source.text).map_err(|found| source.mistake(&found))?;
    let names: Names = contexts
        .iter()
        .map(|(name, context)| match context {
            NamedContext::Image(reference) => (name.clone(), Some(reference.to_string())),
            NamedContext::Input(_) | NamedContext::Remote(_) => (name.clone(), None),
        })
        .collect();
    let platform = platform_args(request.platform.as_deref());
    let inputs = Inputs {
        build_args: request.build_args.clone(),
        target: request.target.as_deref(),
        predefined: platform,
        contexts: names.clone(),
    };
    let plan = plan::plan(&file, &inputs).map_err(|found| source.mistake(&found))?;
    let epoch = epoch(&request)?;
    let results = file.stages.iter().map(|_| watch::Sender::new(None)).collect();
    let opener =
        Opener { builder, scratch: &scratch, keys: fetch::Keys::of(&request), cancel: &cancel };
    let contexts = opener.open_named(contexts).await?;
    let (sources, missing) = Sources::open(&builder.inner.engine, &request.cache_from).await?;
    for name in missing {
        let text =
            format!("[Warning] cache-from {name}: no such image here, nothing is taken from it");
        // Nobody listens: the build is about to be cancelled.
        let _ = events.send(Event::Warning(text)).await;
    }
    let (fresh, unknown) = plan::fresh(&file, &plan, &request.no_cache_filter);
    for name in unknown {
        let text = format!("[Warning] no-cache-filter {name}: the Dockerfile has no such stage");
        // As above.
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
        names,
        sources,
        fresh,
        epoch,
        results,
        wanted: watch::Sender::default(),
        finished: Mutex::default(),
        next_step: AtomicUsize::new(0),
    })
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
    let mut started = BTreeSet::new();
    let mut wanted = build.wanted.subscribe();
    let mut first_error = None;
    let mut next = Ok(build.plan.stages.clone());
    loop {
        let ended = match next {
            Ok(stages) => {
                for planned in stages {
                    started.insert(planned.index);
                    tasks.spawn(stage(Arc::clone(build), planned));
                }
                next = Ok(Vec::new());
                tokio::select! {
                    ended = tasks.join_next() => ended,
                    _ = wanted.changed() => {
                        next = build.more(&wanted.borrow_and_update(), &started);
                        continue;
                    }
                }
            }
            Err(error) => {
                next = Ok(Vec::new());
                Some(Ok(Err(error)))
            }
        };
        let error = match ended {
            None => break,
            Some(Ok(Ok(()))) => continue,
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => Error::Unavailable(format!("a stage was cut off: {error}")),
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
    let state = crate::stage::build(&build, &planned).await?;
    build.tell(Event::StageEnded { stage: planned.index }).await;
    // Nobody may need it any more.
    build.results[planned.index].send_replace(Some(Arc::new(state)));
    Ok(())
}

impl Build {
    /// Lists what the Dockerfile offers.
    fn answer(&self) -> Result<serde_json::Value> {
        if self.request.call == Call::Targets {
            return Ok(outline::targets(&self.file, &self.source));
        }
        let images = self.builder.inner.engine.images();
        // Variables of one that is not here are not known; no list is worth a pull.
        let image = |name: &str| {
            let id = images.resolve(name).ok()?;
            Some(State::image(&id, images.inspect(&id).ok()?.config, Vec::new()))
        };
        outline::outline(&outline::Facts {
            file: &self.file,
            source: &self.source,
            plan: &self.plan,
            build_args: &self.request.build_args,
            image: &image,
        })
    }

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

    /// Has the stages built that an instruction takes files from, which the plan does not know.
    pub(crate) fn want_stages_of(&self, instruction: &Instruction, stage: usize) -> Result<()> {
        let found = plan::stages_of(&self.file, &self.names, instruction, stage);
        let found = found.map_err(Error::Invalid)?;
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.len();
            wanted.extend(found);
            wanted.len() > before
        });
        Ok(())
    }

    /// Plans stages that are wanted and were not started.
    fn more(&self, wanted: &BTreeSet<usize>, started: &BTreeSet<usize>) -> Result<Vec<Planned>> {
        let inputs = Inputs { contexts: self.names.clone(), ..Inputs::default() };
        let mut known = started.clone();
        let mut stages = Vec::new();
        for index in wanted {
            let more = self.plan.more(&self.file, &inputs, *index, &known);
            let more = more.map_err(|found| self.source.mistake(&found))?;
            known.extend(more.iter().map(|planned| planned.index));
            stages.extend(more);
        }
        Ok(stages)
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

    /// Tells whether a stage's steps are all to be done.
    pub(crate) fn is_fresh(&self, planned: &Planned) -> bool {
        self.request.no_cache
            || self.fresh.contains(&planned.index)
            || !self.fresh.is_disjoint(&planned.needs)
    }

    /// Looks a step up in the cache.
    pub(crate) async fn lookup(&self, key: &str) -> Result<Option<StepRecord>> {
        let (images, key) = (self.builder.inner.engine.images().clone(), key.to_owned());
        // A look into memory, hardly ever onto the disk.
        Ok(tokio::task::block_in_place(|| images.step(&key))?)
    }

    /// Looks a step up in the images that were named for it. Not with a time of its own, to which these
    /// were not made.
    pub(crate) fn finished(&self, state: &State, created_by: &str) -> Option<Finished> {
        self.epoch.is_none().then(|| self.sources.find(state, created_by)).flatten()
    }

    pub(crate) fn finish_step(
        &self,
        key: String,
        record: StepRecord,
        layer: Option<Arc<UnpackedLayer>>,
    ) {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).push((key, record, layer));
    }

    async fn record_steps(&self, result: Option<&State>) -> Result<()> {
        let finished =
            std::mem::take(&mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner));
        let keys = finished.iter().map(|(key, ..)| key.clone()).collect();
        let images = self.builder.inner.engine.images().clone();
        crate::blocking(move || {
            let (steps, _layers): (Vec<_>, Vec<_>) =
                finished.into_iter().map(|(key, record, layer)| ((key, record), layer)).unzip();
            Ok(images.put_steps(&steps)?)
        })
        .await?;
        let result = result.map(|state| state.steps.clone()).unwrap_or_default();
        self.tell(Event::Steps { all: keys, result }).await;
        Ok(())
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
        None => register(build, config, state).await?,
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

async fn register(build: &Build, config: ImageConfig, state: &State) -> Result<ImageId> {
    let images = build.builder.inner.engine.images().clone();
    let layers: Vec<Digest> = state.diff_ids();
    let told = build.request.inline_cache.then(|| state.steps.clone());
    crate::blocking(move || {
        let config = match told {
            None => config.to_bytes()?,
            Some(keys) => {
                let steps = transfer::steps(&images, keys)?;
                let steps = steps.iter().map(|(key, record, _)| (key, record));
                cache_image::with_steps(&config, steps)?
            }
        };
        let layers = layers.iter().map(|diff_id| {
            images.existing_layer(diff_id)?.ok_or(images::Error::NoSuchContent(*diff_id))
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let image =
            NewImage { config, layers, manifest: None, references: Vec::new(), parent: None };
        Ok(images.register_image(image)?)
    })
    .await
}

async fn warn_unused_args(build: &Build) {
    let mut declared: BTreeSet<&str> = BTreeSet::from(PROXY_ARGS);
    declared.extend(["SOURCE_DATE_EPOCH", CHECK_ARG]);
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
