//! COPY and ADD.

use std::sync::Arc;

use dockerignore::Patterns;
use images::{StepRecord, UnpackedLayer};

use super::{Step, Work, Worker};
use crate::expand;
use crate::fetch::{self, Download, GitSource};
use crate::layer::{Dress, LayerArchive, ModeChange};
use crate::mounts::Origin;
use crate::owner;
use crate::plan::Base;
use crate::select::{self, Options, Selection};
use crate::state::{State, key};
use crate::syntax::{Copy, Source, Spanned};
use crate::tree::{FileTree, cleaned};
use crate::{Error, Result};

/// What is left to do of a copy.
pub(super) struct CopyWork {
    selections: Vec<Selection>,
    /// Files of heredocs: name and content.
    inline: Vec<(String, String)>,
    destination: String,
    chown: Option<String>,
    mode: Option<ModeChange>,
    link: bool,
}

impl Worker<'_> {
    pub(super) async fn prepare_copy(&self, id: usize, state: &State, copy: &Copy) -> Result<Step> {
        let name = if copy.is_add { "ADD" } else { "COPY" };
        let optional = |text: &Option<Spanned>| -> Result<Option<String>> {
            text.as_ref().map(|text| self.word(state, &text.text)).transpose()
        };
        let (chown, chmod) = (optional(&copy.chown)?, optional(&copy.chmod)?);
        let mode = chmod.as_deref().map(parse_mode).transpose()?;
        let destination = self.destination(state, &copy.destination)?;
        let exclude = copy.exclude.iter().map(|pattern| self.word(state, &pattern.text));
        let exclude = exclude.collect::<Result<Vec<_>>>()?;
        let mut paths = Vec::new();
        let mut inline = Vec::new();
        for source in &copy.sources {
            match source {
                Source::Path(path) => {
                    paths.push(Spanned { text: self.word(state, &path.text)?, span: path.span });
                }
                Source::Inline(heredoc) => {
                    let content = match heredoc.expand {
                        false => heredoc.content.clone(),
                        true => {
                            expand::text(&heredoc.content, self.escape(), &|n| state.variable(n))
                                .map_err(Error::Invalid)?
                        }
                    };
                    inline.push((heredoc.name.clone(), content));
                }
            }
        }
        let from = copy.from.as_ref();
        let base = match from {
            Some(from) => {
                let name = self.word(state, &from.text)?;
                self.base_of(Some(&name), from)?
            }
            None => None,
        };
        // Links do not depend on what is below.
        let parent = if copy.link { "link" } else { &state.key };
        let mut parts = vec![
            parent.to_owned(),
            name.to_owned(),
            destination.clone(),
            format!("{chown:?} {chmod:?} {} {exclude:?} {inline:?}", copy.parents),
            format!("unpack={:?} git={}", copy.unpack, copy.keep_git_dir),
            self.epoch_text(),
        ];
        parts.extend(paths.iter().map(|path| path.text.clone()));
        let texts: Vec<&str> = paths.iter().map(|path| path.text.as_str()).collect();
        let shown_from = from.map(|from| format!("--from={} ", from.text)).unwrap_or_default();
        let created_by = format!("{name} {shown_from}{} {destination}", texts.join(" "));
        let work = |selections| {
            Work::Copy(CopyWork {
                selections,
                inline: inline.clone(),
                destination: destination.clone(),
                chown: chown.clone(),
                mode: mode.clone(),
                link: copy.link,
            })
        };
        let (remote, local): (Vec<Spanned>, Vec<Spanned>) =
            paths.into_iter().partition(|path| copy.is_add && fetch::is_remote(&path.text));
        let checksum = optional(&copy.checksum)?;
        let checksum = checksum.filter(|text| !text.is_empty());
        if checksum.is_some() && (remote.len() != 1 || copy.sources.len() != 1) {
            return Err(Error::Invalid(
                "checksum can only be used with one source, which is a URL or a Git repository"
                    .to_owned(),
            ));
        }
        // What is the same as before, by its key, has the same files: nobody needs to read them.
        let same = match &base {
            Some(Base::Stage(index)) => Some(self.build.result(*index).await?.key.clone()),
            _ => checksum.clone().filter(|_| !copy.keep_git_dir),
        };
        let quick = same.map(|same| {
            let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            parts.extend(["same", &same]);
            key(&parts)
        });
        if let Some(quick) = &quick
            && !self.is_fresh
            && let Some(record) = self.build.lookup(quick).await?
            && let Some(content) = record.note.as_str().map(str::to_owned)
            && self.build.lookup(&content).await?.is_some()
        {
            self.build.finish_step(
                quick.clone(),
                StepRecord { last_used_at: crate::state::now(), uses: record.uses + 1, ..record },
                None,
            );
            // The work is not done: the step is in the cache.
            let (quick, work) = (Some(quick.clone()), work(Vec::new()));
            return Ok(Step { key: content, quick, created_by, work });
        }
        let mut selections = Vec::new();
        if !local.is_empty() {
            let origin = self.origin(base).await?;
            selections =
                self.selections(copy, &local, exclude.clone(), origin, from.is_some()).await?;
        }
        for path in &remote {
            let found = self.fetched(id, path, copy, checksum.as_deref(), &destination, &exclude);
            selections.push(found.await.map_err(|error| self.build.source.at(path.span, error))?);
        }
        let for_digest = selections.clone();
        let digest = crate::blocking(move || select::digest(&for_digest)).await?;
        parts.push(digest.hex());
        let content = key(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(quick) = quick.clone() {
            let mut record = crate::state::record(&state.key, &created_by, self.build.time(), None);
            record.note = serde_json::Value::String(content.clone());
            self.build.finish_step(quick, record, None);
        }
        Ok(Step { key: content, quick, created_by, work: work(selections) })
    }

    fn destination(&self, state: &State, text: &str) -> Result<String> {
        let text = self.word(state, text)?;
        let dir = state.config.config.working_dir.as_str();
        let full = if text.starts_with('/') { text.clone() } else { format!("{dir}/{text}") };
        let is_dir = text.ends_with('/') || text == "." || text == ".." || text.ends_with("/.");
        let clean = cleaned(&full);
        Ok(if is_dir && !clean.is_empty() { format!("/{clean}/") } else { format!("/{clean}") })
    }

    async fn selections(
        &self,
        copy: &Copy,
        paths: &[Spanned],
        exclude: Vec<String>,
        origin: Origin,
        keep_owner: bool,
    ) -> Result<Vec<Selection>> {
        let (parents, is_add) = (copy.parents, copy.is_add);
        let has_inline = copy.sources.iter().any(|source| matches!(source, Source::Inline(_)));
        let paths: Vec<Spanned> = paths.to_vec();
        let build = Arc::clone(self.build);
        let unpack = copy.unpack.unwrap_or(true);
        crate::blocking(move || {
            let exclude = Patterns::from_patterns(&exclude)
                .map_err(|error| Error::Invalid(error.to_string()))?;
            let options = Options { parents, exclude: &exclude, keep_owner };
            let mut found = Vec::new();
            for path in &paths {
                let selected = select::select(&origin.tree, &path.text, options)
                    .map_err(|error| build.source.at(path.span, error))?;
                for selection in selected {
                    match is_add && unpack && !selection.is_directory {
                        true => found.push(unpacked(&build, selection)?),
                        false => found.push(selection),
                    }
                }
            }
            match paths.last().filter(|_| found.is_empty() && !has_inline) {
                Some(path) => Err(build.source.at(path.span, select::nothing_found(&path.text))),
                None => Ok(found),
            }
        })
        .await
    }

    /// Fetches what a URL or a repository stands for.
    async fn fetched(
        &self,
        id: usize,
        path: &Spanned,
        copy: &Copy,
        checksum: Option<&str>,
        destination: &str,
        exclude: &[String],
    ) -> Result<Selection> {
        let directory = self.build.scratch.directory("fetched")?;
        let cancel = &self.build.cancel;
        let mut source = "/".to_owned();
        if let Some(git) = GitSource::parse(&path.text) {
            let keys = fetch::Keys::of(&self.build.request);
            let commit = git.check_out(&directory, copy.keep_git_dir, &keys, cancel).await?;
            if let Some(wanted) = checksum.filter(|wanted| !commit.starts_with(wanted)) {
                return Err(Error::Invalid(format!(
                    "expected checksum to match {wanted}, got {commit}"
                )));
            }
            source.push_str(&git.subdirectory);
        } else {
            let name = match (fetch::file_name(&path.text), destination.ends_with('/')) {
                (Some(name), _) => name,
                (None, false) => "download".to_owned(),
                (None, true) => {
                    return Err(Error::Invalid(format!(
                        "cannot determine filename for source {:?} and dest {destination:?}: name \
                         the file in the destination",
                        path.text
                    )));
                }
            };
            let downloading = Download {
                registry: &self.build.builder.inner.registry,
                url: &path.text,
                path: &directory.join(&name),
                wanted: checksum,
            };
            downloading.run(&self.build.events, id, cancel).await?;
            source.push_str(&name);
        }
        let (is_unpacked, exclude) = (copy.unpack == Some(true), exclude.to_vec());
        let build = Arc::clone(self.build);
        crate::blocking(move || {
            let exclude = Patterns::from_patterns(&exclude)
                .map_err(|error| Error::Invalid(error.to_string()))?;
            let options = Options { parents: false, exclude: &exclude, keep_owner: false };
            let tree = Arc::new(FileTree::open(&directory)?);
            let selection = select::exactly(&tree, &source, options)?;
            match is_unpacked && !selection.is_directory {
                true => unpacked(&build, selection),
                false => Ok(selection),
            }
        })
        .await
    }

    pub(super) async fn copy(
        &self,
        state: &State,
        work: CopyWork,
        now: i64,
    ) -> Result<Option<UnpackedLayer>> {
        let tree = self.tree(state).await?;
        let images = self.build.builder.inner.engine.images().clone();
        let newest = self.build.epoch;
        crate::blocking(move || {
            let owner = work.chown.as_deref().map(|text| owner::parse(text, Some(&tree)));
            let dress = Dress { owner: owner.transpose()?, mode: work.mode, newest, now };
            let base = Some(tree).filter(|_| !work.link);
            let mut archive = LayerArchive::new(base, dress);
            archive.copy(&work.selections, &work.destination)?;
            let several = work.inline.len() + work.selections.len() > 1;
            for (name, content) in &work.inline {
                let path = match work.destination.ends_with('/') || several {
                    true => format!("{}/{name}", work.destination),
                    false => work.destination.clone(),
                };
                archive.inline(&path, content.as_bytes())?;
            }
            if archive.is_empty() {
                return Ok(None);
            }
            let (reader, gifts) = archive.into_parts();
            let layer = images.layer_of_files(|| reader, &|path| gifts.open(path))?;
            Ok(Some(images.keep_layer(layer)?))
        })
        .await
    }
}

fn parse_mode(text: &str) -> Result<ModeChange> {
    ModeChange::parse(text).ok_or_else(|| {
        Error::Invalid(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777, \
             or like u=rwx,go=rx"
        ))
    })
}

/// A local archive that ADD is given is unpacked, whatever its name is.
fn unpacked(build: &Arc<crate::build::Build>, selection: Selection) -> Result<Selection> {
    let Some(item) = selection.items.first() else { return Ok(selection) };
    if item.node.kind() != rustix::fs::FileType::RegularFile {
        return Ok(selection);
    }
    let shown = crate::tree::shown(&item.node.path);
    let file = selection.tree.open_file(&item.node.path);
    let mut file = file.map_err(Error::io("open", shown.display()))?;
    if !crate::archive::is_archive(&mut file) {
        return Ok(selection);
    }
    let directory = build.scratch.directory("archive")?;
    crate::archive::unpack(file, &directory)?;
    let tree = Arc::new(FileTree::open(&directory)?);
    let none = Patterns::default();
    let options = Options { parents: false, exclude: &none, keep_owner: true };
    let mut selections = select::select(&tree, "/", options)?;
    selections.pop().ok_or(Error::Cancelled)
}
