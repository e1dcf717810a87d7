//! One stage: FROM, then step after step, each looked up in the cache before it is done.

mod copy;
mod from;

use std::sync::Arc;

use engine::container::{DeviceRequest, HostConfig, NetworkMode, UnnamedImage};
use images::{RunConfig, UnpackedLayer};

use crate::apply::{self, ArgValues};
use crate::build::{Build, PROXY_ARGS};
use crate::context::Context;
use crate::device::{self, Device};
use crate::layer::{Dress, LayerArchive};
use crate::mount::{self, Mount};
use crate::mounts::{Maker, Origin, Prepared};
use crate::plan::{self, Base, Planned};
use crate::request::Event;
use crate::run::{Command, Runner};
use crate::sources::Finished;
use crate::state::{self, State, key};
use crate::syntax::{self, Instruction, Kind, Run, Spanned, Words};
use crate::tree::{FileTree, Found, cleaned};
use crate::{Error, Result};

/// Builds a stage.
///
/// # Errors
/// With the place in the Dockerfile.
pub(crate) async fn build(build: &Arc<Build>, planned: &Planned) -> Result<State> {
    let stage = &build.file.stages[planned.index];
    let is_fresh = build.is_fresh(planned);
    let mut worker = Worker { build, planned, number: planned.first_number, is_fresh };
    let at = |span, error| build.source.at(span, error);
    let mut state = worker.from().await.map_err(|error| at(stage.base.span, error))?;
    let triggers = state.config.config.on_build.take().unwrap_or_default();
    for trigger in triggers {
        let instruction =
            syntax::parse_trigger(&trigger, &build.file.directives).map_err(|found| {
                at(stage.base.span, Error::Invalid(format!("ONBUILD {trigger}: {}", found.message)))
            })?;
        let wanted = build.want_stages_of(&instruction, planned.index);
        wanted.map_err(|error| at(stage.base.span, error))?;
        let done = worker.step(&mut state, &instruction, 0).await;
        done.map_err(|error| at(stage.base.span, error))?;
    }
    for instruction in &stage.instructions {
        worker.number += 1;
        let done = worker.step(&mut state, instruction, worker.number).await;
        done.map_err(|error| at(instruction.span, error))?;
    }
    Ok(state)
}

struct Worker<'a> {
    build: &'a Arc<Build>,
    planned: &'a Planned,
    number: usize,
    /// Whether every step is to be done, also one that the cache has.
    is_fresh: bool,
}

/// What is left of a step when the cache does not have it.
enum Work {
    /// Nothing but the configuration, which is changed already.
    Config,
    Run(Box<RunWork>),
    Copy(copy::CopyWork),
    Directory(String),
}

impl Work {
    /// Whether the line of the history is the same only for the same result.
    fn is_told_by_history(&self) -> bool {
        match self {
            Self::Config | Self::Directory(_) => true,
            Self::Run(run) => {
                run.mounts.is_empty()
                    && run.network.is_none()
                    && !run.insecure
                    && run.devices.is_empty()
            }
            Self::Copy(_) => false,
        }
    }
}

struct RunWork {
    argv: Vec<String>,
    shown: String,
    mounts: Vec<Mount>,
    env: Vec<String>,
    network: Option<String>,
    insecure: bool,
    devices: Vec<Device>,
}

/// A step that is ready to be looked up or done.
struct Step {
    key: String,
    /// By which the key was found, or will be, without looking at files.
    quick: Option<String>,
    created_by: String,
    work: Work,
}

impl Worker<'_> {
    async fn step(
        &self,
        state: &mut State,
        instruction: &Instruction,
        number: usize,
    ) -> Result<()> {
        if self.build.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let needs =
            plan::stages_of(&self.build.file, &self.build.names, instruction, self.planned.index);
        // A mistake shows when the step is prepared.
        for index in needs.unwrap_or_default() {
            self.build.result(index).await?;
        }
        let id = self.announce(&instruction.text, number).await;
        let parent = state.key.clone();
        let step = self.prepare(id, state, instruction).await?;
        state.steps.extend(step.quick.clone());
        let record = match self.is_fresh {
            true => None,
            false => self.build.lookup(&step.key).await?,
        };
        if let Some(record) = record {
            let layer = match &record.layer {
                Some(diff_id) => {
                    self.build.builder.inner.engine.images().existing_layer(diff_id)?
                }
                None => None,
            };
            // One that went just now is made again.
            if layer.is_some() == record.layer.is_some() {
                let layer = layer.map(Arc::new);
                self.build.tell(Event::Cached { step: id }).await;
                state.advance(
                    step.key.clone(),
                    step.created_by,
                    self.build.epoch.unwrap_or(record.created_at),
                    layer.clone(),
                );
                let used = images::StepRecord {
                    last_used_at: state::now(),
                    uses: record.uses + 1,
                    ..record
                };
                self.build.finish_step(step.key, used, layer);
                return self.done(id, state).await;
            }
        }
        let finished = match self.is_fresh {
            true => None,
            false => self.build.finished(state, &step.created_by),
        };
        let (layer, created_at) = match self.take(id, &step.work, finished.as_ref()).await? {
            Some(taken) => taken,
            None => {
                let then = finished.map(|finished| finished.created_at);
                // Directories that COPY makes get the image's time, to be the same as there; and the step
                // gets theirs, to be the same from there.
                let is_copy = matches!(step.work, Work::Copy(_));
                let now = then.filter(|_| is_copy).unwrap_or_else(|| self.build.time());
                let layer = self.work(id, state, step.work, now).await?;
                (layer, if is_copy { now } else { self.build.time() })
            }
        };
        let description = format!("{} {}", self.stage_name(), instruction.text);
        let record = state::record(&parent, &description, created_at, layer.as_ref());
        let layer = layer.map(Arc::new);
        self.build.finish_step(step.key.clone(), record, layer.clone());
        state.advance(step.key, step.created_by, created_at, layer);
        self.done(id, state).await
    }

    /// Takes a step's result from an image that has it, if its history says all about the step.
    async fn take(
        &self,
        id: usize,
        work: &Work,
        finished: Option<&Finished>,
    ) -> Result<Option<(Option<UnpackedLayer>, i64)>> {
        let Some(finished) = finished.filter(|_| work.is_told_by_history()) else {
            return Ok(None);
        };
        let images = self.build.builder.inner.engine.images();
        let layer = finished.layer.as_ref().map(|diff_id| images.existing_layer(diff_id));
        let layer = layer.transpose()?.flatten();
        // One that went just now is made again.
        if layer.is_some() != finished.layer.is_some() {
            return Ok(None);
        }
        self.build.tell(Event::Cached { step: id }).await;
        Ok(Some((layer, finished.created_at)))
    }

    async fn announce(&self, text: &str, number: usize) -> usize {
        let step = self.build.new_step();
        self.build
            .tell(Event::Started {
                step,
                stage: self.planned.index,
                stage_name: self.stage_name(),
                number,
                total: self.build.plan.total.max(number),
                text: text.to_owned(),
            })
            .await;
        step
    }

    async fn done(&self, step: usize, state: &State) -> Result<()> {
        let image = state.image_id()?.to_string();
        self.build.tell(Event::Done { step, image }).await;
        Ok(())
    }

    fn stage_name(&self) -> String {
        let name = self.build.file.stages[self.planned.index].name.as_ref();
        name.map_or_else(|| format!("stage-{}", self.planned.index), |name| name.text.clone())
    }

    fn escape(&self) -> char {
        self.build.file.directives.escape
    }

    fn word(&self, state: &State, text: &str) -> Result<String> {
        apply::word(state, text, self.escape())
    }

    /// Finds out what a step is; the state's configuration changes here, its layers do not.
    async fn prepare(
        &self,
        id: usize,
        state: &mut State,
        instruction: &Instruction,
    ) -> Result<Step> {
        let values = ArgValues {
            given: &self.build.request.build_args,
            global: &self.build.plan.global_args,
        };
        let parent = state.key.clone();
        if let Some(created_by) = apply::apply(state, instruction, self.escape(), &values)? {
            let key = key(&[&parent, "config", &created_by]);
            return Ok(Step { key, quick: None, created_by, work: Work::Config });
        }
        match &instruction.kind {
            Kind::Run(run) => self.prepare_run(state, run).await,
            Kind::Copy(copy) => self.prepare_copy(id, state, copy).await,
            Kind::Workdir(path) => {
                let path = self.word(state, path)?;
                let own = &state.config.config.working_dir;
                let path = match path.starts_with('/') {
                    true => format!("/{}", cleaned(&path)),
                    false => format!("/{}", cleaned(&format!("{own}/{path}"))),
                };
                state.config.config.working_dir.clone_from(&path);
                let created_by = format!("WORKDIR {path}");
                let epoch = self.epoch_text();
                let key = key(&[&parent, "workdir", &path, &epoch]);
                Ok(Step { key, quick: None, created_by, work: Work::Directory(path) })
            }
            _ => Err(Error::Invalid(format!("{} cannot be done here", instruction.text))),
        }
    }

    fn epoch_text(&self) -> String {
        self.build.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()
    }

    async fn prepare_run(&self, state: &State, run: &Run) -> Result<Step> {
        let command = match (&run.command, run.is_script) {
            // A script with an interpreter of its own is written down and run by that.
            (Words::Shell(script), true) if script.starts_with("#!") => {
                let quoted = script.replace('\'', "'\\''");
                let line = format!(
                    "f=$(mktemp) && printf %s '{quoted}' > \"$f\" && chmod 700 \"$f\" && \"$f\"; e=$?; rm -f \"$f\"; exit $e"
                );
                Words::Shell(line)
            }
            (Words::Shell(line), _) => {
                let mut line = line.clone();
                for heredoc in &run.heredocs {
                    line.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
                }
                Words::Shell(line)
            }
            (Words::Exec(words), _) => Words::Exec(words.clone()),
        };
        let argv = apply::command(state, &command);
        let mut mounts = Vec::new();
        let mut parts = vec![state.key.clone(), "run".to_owned(), apply::json(&argv)];
        for (number, text) in run.mounts.iter().enumerate() {
            let value = self.word(state, &text.text)?;
            let mut mount = mount::parse(&value, number).map_err(Error::Invalid)?;
            if !mount.target.starts_with('/') {
                let dir = &state.config.config.working_dir;
                mount.target = format!("/{}", cleaned(&format!("{dir}/{}", mount.target)));
            }
            parts.push(value);
            parts.push(self.mount_key(&mount, text).await?);
            mounts.push(mount);
        }
        let optional = |text: &Option<Spanned>| -> Result<Option<String>> {
            text.as_ref().map(|text| self.word(state, &text.text)).transpose()
        };
        let network = optional(&run.network)?;
        if let Some(network) =
            network.as_deref().filter(|n| !["default", "none", "host"].contains(n))
        {
            return Err(Error::Invalid(format!(
                "unsupported network mode {network:?}: use default, none or host"
            )));
        }
        let insecure = match optional(&run.security)?.as_deref() {
            None | Some("sandbox") => false,
            Some("insecure") if self.build.request.allow_insecure => true,
            Some("insecure") => {
                return Err(Error::Invalid(
                    "security.insecure is not allowed: build with --allow security.insecure"
                        .to_owned(),
                ));
            }
            Some(other) => {
                return Err(Error::Invalid(format!(
                    "unsupported security mode {other:?}: use sandbox or insecure"
                )));
            }
        };
        let mut devices = Vec::new();
        for text in &run.devices {
            let device = device::parse(&self.word(state, &text.text)?).map_err(Error::Invalid)?;
            if !device.is_allowed(&self.build.request.allowed_devices) {
                let name = &device.name;
                return Err(Error::Invalid(format!(
                    "device {name} is requested by the build but not allowed: build with --allow \
                     device={name}"
                )));
            }
            parts.push(format!("device={} {}", device.name, device.required));
            devices.push(device);
        }
        let args = state.visible_args();
        let mut env: Vec<String> = state.config.config.env.clone().unwrap_or_default();
        let mut shown_args = String::new();
        for (name, value) in &args {
            env.push(format!("{name}={value}"));
            shown_args.push_str(&format!("{name}={value} "));
            parts.push(format!("{name}={value}"));
        }
        for (name, value) in &self.build.request.build_args {
            if PROXY_ARGS.contains(&name.as_str()) && !args.contains_key(name) {
                env.extend(value.as_ref().map(|value| format!("{name}={value}")));
            }
        }
        parts.push(format!("network={network:?} insecure={insecure}"));
        parts.push(self.epoch_text());
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let shown = argv.join(" ");
        let created_by = match args.len() {
            0 => format!("RUN {shown}"),
            count => format!("RUN |{count} {shown_args}{shown}"),
        };
        let work = RunWork { argv, shown, mounts, env, network, insecure, devices };
        let work = Work::Run(Box::new(work));
        Ok(Step { key: key(&parts), quick: None, created_by, work })
    }

    /// What of a mount counts for the cache.
    async fn mount_key(&self, mount: &Mount, text: &Spanned) -> Result<String> {
        let mount::Kind::Bind { source, .. } = &mount.kind else { return Ok(String::new()) };
        match self.base_of(mount.from(), text)? {
            // The result of a stage is its key.
            Some(Base::Stage(index)) => Ok(self.build.result(index).await?.key.clone()),
            base => {
                let origin = self.origin(base).await?;
                let source = source.clone();
                crate::blocking(move || {
                    let none = dockerignore::Patterns::default();
                    let options =
                        crate::select::Options { parents: false, exclude: &none, keep_owner: true };
                    let selections = crate::select::select(&origin.tree, &source, options)?;
                    Ok(crate::select::digest(&selections)?.hex())
                })
                .await
            }
        }
    }

    /// What a `from` means; `None` is the context.
    fn base_of(&self, from: Option<&str>, text: &Spanned) -> Result<Option<Base>> {
        let Some(from) = from else { return Ok(None) };
        plan::reference(&self.build.file, &self.build.names, from, self.planned.index)
            .map(Some)
            .map_err(|message| self.build.source.at(text.span, Error::Invalid(message)))
    }

    /// Opens what files are taken from.
    async fn origin(&self, base: Option<Base>) -> Result<Origin> {
        let of_context = |context: &Context| Origin {
            tree: Arc::clone(&context.tree),
            directory: Some(context.directory.clone()),
            layers: Vec::new(),
        };
        let state = match base {
            None => return Ok(of_context(&self.build.context)),
            Some(Base::Context(name)) => {
                let context = self.build.contexts.get(&name).ok_or(Error::Cancelled)?;
                return Ok(of_context(context));
            }
            Some(Base::Stage(index)) => self.build.result(index).await?,
            Some(Base::Scratch) => Arc::new(State::scratch()),
            Some(Base::Image(name)) => {
                Arc::new(self.image(&name, None, self.build.new_step()).await?)
            }
        };
        Ok(Origin { tree: self.tree(&state).await?, directory: None, layers: state.diff_ids() })
    }

    /// Opens the files of a state. The state holds its layers.
    async fn tree(&self, state: &State) -> Result<Arc<FileTree>> {
        let images = self.build.builder.inner.engine.images().clone();
        let (layers, empty) = (state.diff_ids(), self.build.scratch.empty());
        crate::blocking(move || Ok(Arc::new(FileTree::of_layers(&images, &layers, &empty)?))).await
    }

    async fn work(
        &self,
        id: usize,
        state: &State,
        work: Work,
        now: i64,
    ) -> Result<Option<UnpackedLayer>> {
        match work {
            Work::Config => Ok(None),
            Work::Run(work) => self.run(id, state, *work).await,
            Work::Copy(work) => self.copy(state, work, now).await,
            Work::Directory(path) => self.directory(state, path).await,
        }
    }

    async fn run(&self, id: usize, state: &State, work: RunWork) -> Result<Option<UnpackedLayer>> {
        let mut prepared = Prepared::default();
        let maker = Maker {
            scratch: &self.build.scratch,
            caches: &self.build.builder.inner.caches,
            secrets: &self.build.request.secrets,
            ssh: &self.build.request.ssh,
        };
        for mount in &work.mounts {
            let from = mount.from();
            let needs_origin = from.is_some() || matches!(mount.kind, mount::Kind::Bind { .. });
            let origin = match needs_origin {
                true => Some(self.origin(self.base_of(from, &Spanned::default())?).await?),
                false => None,
            };
            maker.add(&mut prepared, mount, origin).await?;
        }
        let mut argv = work.argv;
        if !prepared.prelude.is_empty() {
            // Also for the exec form, and for a SHELL that speaks another language.
            let script = format!("{}\nexec \"$@\"", prepared.prelude.join("\n"));
            argv.splice(0..0, ["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]);
        }
        let mut host_config = self.host_config(work.network.as_deref(), work.insecure)?;
        host_config.resources.device_requests.extend(self.devices(work.devices).await?);
        let config: &RunConfig = &state.config.config;
        let command = Command {
            step: id,
            argv,
            shown: work.shown,
            image: UnnamedImage { layers: state.diff_ids(), config: RunConfig::default() },
            env: work.env,
            user: config.user.clone(),
            working_dir: config.working_dir.clone(),
            host_config,
            keep_container: self.build.request.keep_containers,
            newest: self.build.epoch,
        };
        let runner = Runner {
            engine: &self.build.builder.inner.engine,
            scratch: &self.build.scratch,
            events: &self.build.events,
            cancel: &self.build.cancel,
        };
        runner.run(command, prepared, self.tree(state).await?).await
    }

    /// What brings devices into a container.
    async fn devices(&self, wanted: Vec<Device>) -> Result<Option<DeviceRequest>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let engine = self.build.builder.inner.engine.clone();
        let here = crate::blocking(move || Ok(engine.cdi_devices()?)).await?;
        let mut device_ids: Vec<String> = Vec::new();
        for device in &wanted {
            for id in device.among(&here).map_err(Error::Invalid)? {
                if !device_ids.contains(&id) {
                    device_ids.push(id);
                }
            }
        }
        let request =
            DeviceRequest { driver: "cdi".to_owned(), device_ids, ..DeviceRequest::default() };
        Ok(Some(request).filter(|request| !request.device_ids.is_empty()))
    }

    fn host_config(&self, network: Option<&str>, insecure: bool) -> Result<HostConfig> {
        let request = &self.build.request;
        let network = match network {
            None | Some("default") => request.network.as_str(),
            Some(network) => network,
        };
        let network_mode: NetworkMode =
            network.parse().map_err(|error: engine::Error| Error::Engine(error))?;
        Ok(HostConfig {
            network_mode,
            extra_hosts: request.extra_hosts.clone(),
            shm_size_bytes: request.shm_size_bytes,
            resources: request.resources.clone(),
            privileged: insecure,
            ..HostConfig::default()
        })
    }

    async fn directory(&self, state: &State, path: String) -> Result<Option<UnpackedLayer>> {
        let tree = self.tree(state).await?;
        let images = self.build.builder.inner.engine.images().clone();
        let dress = Dress { now: self.build.time(), newest: self.build.epoch, ..Dress::default() };
        crate::blocking(move || {
            match tree.find(path.as_bytes()).map_err(Error::io("resolve", &path))? {
                Found::Node(node) if node.is_dir() => return Ok(None),
                Found::Node(_) => {
                    return Err(Error::Invalid(format!("WORKDIR {path}: it is not a directory")));
                }
                Found::Missing(_) => {}
            }
            let mut archive = LayerArchive::new(Some(tree), dress);
            archive.directory(path.as_bytes())?;
            let layer = images.layer_from_archive(|| archive.into_reader())?;
            Ok(Some(images.keep_layer(layer)?))
        })
        .await
    }
}
