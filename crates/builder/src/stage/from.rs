//! FROM: on what a stage stands. Images that are not here are fetched.

use std::sync::Arc;

use images::registry::{Platform, PullOptions};
use images::{ImageId, Reference};

use super::Worker;
use crate::diagnostic::closest;
use crate::plan::Base;
use crate::request::Event;
use crate::state::State;
use crate::syntax::{Copy, Instruction, Kind, Source, Spanned};
use crate::{Error, Result};

impl Worker<'_> {
    /// Makes the first state.
    pub(super) async fn from(&self) -> Result<State> {
        let stage = &self.build.file.stages[self.planned.index];
        let id = self.announce(&stage.from.text, self.number).await;
        let state = match &self.planned.base {
            Base::Scratch => State::scratch(),
            Base::Stage(index) => self.build.result(*index).await?.base_of(),
            Base::Context(name) => self.files(name).await?,
            Base::Image(name) => self.image(name, self.planned.platform.as_deref(), id).await?,
        };
        self.done(id, &state).await?;
        Ok(state)
    }

    /// Stands on the files of a context and nothing else: an empty image that they are copied to.
    async fn files(&self, name: &str) -> Result<State> {
        let from = &self.build.file.stages[self.planned.index].from;
        let spanned = |text: &str| Spanned { text: text.to_owned(), span: from.span };
        let copy = Instruction {
            text: format!("COPY --from={name} / /"),
            span: from.span,
            kind: Kind::Copy(Copy {
                sources: vec![Source::Path(spanned("/"))],
                destination: "/".to_owned(),
                from: Some(spanned(name)),
                ..Copy::default()
            }),
        };
        let mut state = State::scratch();
        self.step(&mut state, &copy, self.number).await?;
        Ok(state)
    }

    /// Finds an image here, or fetches it.
    pub(super) async fn image(
        &self,
        name: &str,
        platform: Option<&str>,
        step: usize,
    ) -> Result<State> {
        let request = &self.build.request;
        let platform = platform.or(request.platform.as_deref()).filter(|text| !text.is_empty());
        let found = match request.pull {
            true => None,
            false => self.local(name, platform).await?,
        };
        let id = match found {
            Some(id) => id,
            None => {
                let pulled = self.pull(name, platform, step).await;
                pulled.map_err(|error| self.with_stage_meant(name, error))?
            }
        };
        let images = self.build.builder.inner.engine.images().clone();
        crate::blocking(move || {
            let detail = images.inspect(&id)?;
            let mut layers = Vec::with_capacity(detail.layers.len());
            for diff_id in &detail.layers {
                let layer = images.existing_layer(diff_id)?;
                layers.push(Arc::new(layer.ok_or(images::Error::NoSuchContent(*diff_id))?));
            }
            Ok(State::image(&id, detail.config, layers))
        })
        .await
    }

    /// Names the stage that was perhaps meant, as a name that no stage has is an image's.
    fn with_stage_meant(&self, name: &str, error: Error) -> Error {
        let stages = self.build.file.stages.iter().filter_map(|stage| stage.name.as_ref());
        let stages: Vec<&str> =
            stages.map(|stage| stage.text.as_str()).filter(|stage| *stage != name).collect();
        match closest(name, &stages) {
            Some(stage) if !matches!(error, Error::Cancelled) => {
                Error::StageMeant { stage: stage.to_owned(), source: Box::new(error) }
            }
            _ => error,
        }
    }

    async fn local(&self, name: &str, platform: Option<&str>) -> Result<Option<ImageId>> {
        let images = self.build.builder.inner.engine.images().clone();
        let (name, platform) = (name.to_owned(), platform.map(str::to_owned));
        crate::blocking(move || {
            let id = match images.resolve(&name) {
                Err(images::Error::NoSuchImage(_)) => return Ok(None),
                found => found?,
            };
            let Some(wanted) = platform else { return Ok(Some(id)) };
            let has = images.inspect(&id)?.config.platform();
            // What is not said about a platform does not matter.
            let same = wanted.split('/').zip(has.split('/')).all(|(a, b)| a == b);
            Ok(Some(id).filter(|_| same))
        })
        .await
    }

    async fn pull(&self, name: &str, platform: Option<&str>, step: usize) -> Result<ImageId> {
        let reference = Reference::parse(name)?;
        let platform = platform
            .map(Platform::parse)
            .transpose()
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let options = PullOptions {
            auth: (self.build.request.credentials)(&reference),
            platform,
            all_tags: false,
        };
        let events = self.build.events.clone();
        let report = move |progress| {
            // A client that lags misses counts, no more.
            let _ = events.try_send(Event::Transfer { step, progress });
        };
        let registry = &self.build.builder.inner.registry;
        let pulled = tokio::select! {
            pulled = registry.pull(&reference, &options, &report) => pulled?,
            () = self.build.cancel.cancelled() => return Err(Error::Cancelled),
        };
        let found = pulled.into_iter().next();
        found
            .map(|pulled| pulled.id)
            .ok_or_else(|| Error::NotFound(format!("the registry has no image {reference}")))
    }
}
