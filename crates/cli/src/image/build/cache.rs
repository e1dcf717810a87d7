//! `--cache-from` and `--cache-to`: where finished steps come from and go to besides the daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use docker_api::{Client, Request, encode_path};
use serde_json::json;

use super::context::{Shape, Source};
use super::display::Steps;
use super::output;
use crate::cli::Cli;
use crate::container::unpack::{self, Options};
use crate::failure::Failure;
use crate::image::auth;
use crate::image::progress::{Progress, To};
use crate::pipe;

/// Caches of a build.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Caches {
    /// Images that are in the daemon.
    images: Vec<String>,
    /// Images that are fetched if they are not.
    fetched: Vec<String>,
    read: Vec<PathBuf>,
    written: Vec<(PathBuf, Mode)>,
    pushed: Vec<(String, Mode)>,
    /// The image itself tells of its steps.
    inline: bool,
}

/// Which steps go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Those that made the image.
    Min,
    /// Those of all stages.
    Max,
}

impl Mode {
    fn of(self, steps: &Steps) -> &[String] {
        match self {
            Self::Min => &steps.result,
            Self::Max => &steps.all,
        }
    }
}

/// A location: its kind, and its other fields.
struct Location<'a> {
    text: &'a str,
    kind: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Location<'a> {
    fn parse(flag: &str, text: &'a str) -> Result<Self, String> {
        let mut location = Self { text, kind: "registry", fields: Vec::new() };
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", kind)) => location.kind = kind,
                Some(pair) => location.fields.push(pair),
                None => {
                    return Err(format!(
                        "invalid field '{field}' in --{flag} {text}: want key=value"
                    ));
                }
            }
        }
        Ok(location)
    }

    /// Takes `mode=` out.
    fn mode(&mut self, flag: &str) -> Result<Mode, String> {
        let mut mode = Mode::Min;
        for (_, value) in self.fields.extract_if(.., |(key, _)| *key == "mode") {
            mode = match value {
                "min" => Mode::Min,
                "max" => Mode::Max,
                _ => return Err(format!("--{flag} {}: mode is min or max", self.text)),
            };
        }
        Ok(mode)
    }

    /// Takes the one field that the kind has, and refuses others.
    fn only(&self, flag: &str, name: &str) -> Result<String, String> {
        let mut found = None;
        for (key, value) in &self.fields {
            match *key {
                key if key == name && !value.is_empty() => found = Some((*value).to_owned()),
                _ => {
                    let text = self.text;
                    return Err(format!("--{flag} {text}: {key}={value} is not offered"));
                }
            }
        }
        found.ok_or_else(|| format!("--{flag} {}: {name}= is missing", self.text))
    }
}

impl Caches {
    /// Reads both options.
    pub(super) fn parse(from: &[String], to: &[String]) -> Result<Self, String> {
        let mut caches = Self::default();
        for text in from {
            if !text.contains('=') {
                caches.images.push(text.clone());
                continue;
            }
            let flag = "cache-from";
            let location = Location::parse(flag, text)?;
            match location.kind {
                "registry" => caches.fetched.push(location.only(flag, "ref")?),
                "local" => caches.read.push(location.only(flag, "src")?.into()),
                other => return Err(unknown(flag, text, other)),
            }
        }
        for text in to {
            let flag = "cache-to";
            let mut location = Location::parse(flag, text)?;
            match location.kind {
                // The image has the layers that made it and no others.
                "inline" => match location.fields.first() {
                    None => caches.inline = true,
                    Some((key, _)) => {
                        return Err(format!("--{flag} {text}: {key}= is not offered"));
                    }
                },
                "registry" if text.contains('=') => {
                    let mode = location.mode(flag)?;
                    caches.pushed.push((location.only(flag, "ref")?, mode));
                }
                "local" => {
                    let mode = location.mode(flag)?;
                    caches.written.push((location.only(flag, "dest")?.into(), mode));
                }
                other => return Err(unknown(flag, text, other)),
            }
        }
        Ok(caches)
    }

    /// Whether the image is to tell of its steps.
    pub(super) fn is_inline(&self) -> bool {
        self.inline
    }

    /// Brings in what is elsewhere; returns the images to take steps from, and those of them that were
    /// fetched for that. A source that is not there is told of, and the build goes on.
    pub(super) async fn read(&self, cli: &Cli) -> Result<(Vec<String>, Vec<String>), Failure> {
        let client = cli.client().await?;
        for directory in &self.read {
            if directory.join("steps").is_dir() {
                import(client, directory).await?;
            } else {
                eprintln!("WARNING: --cache-from {}: no build cache is there", directory.display());
            }
        }
        let mut images = self.images.clone();
        let mut fetched = Vec::new();
        for image in &self.fetched {
            let here = Request::get(format!("/images/{}/json", encode_path(image)));
            let was_here = client.call(here).await.is_ok();
            // Also of one that is here the registry may have a later one.
            match pull(cli, client, image).await {
                Ok(()) if was_here => {}
                Ok(()) => fetched.push(image.clone()),
                Err(failure) => {
                    eprintln!("WARNING: --cache-from {image}: {}", failure.text);
                    if !was_here {
                        continue;
                    }
                }
            }
            images.push(image.clone());
        }
        Ok((images, fetched))
    }

    /// Takes the names of images away that were fetched only to take steps from.
    pub(super) async fn forget(cli: &Cli, fetched: &[String]) -> Result<(), Failure> {
        let client = cli.client().await?;
        for image in fetched {
            let request = Request::delete(format!("/images/{}", encode_path(image)));
            // The build may have given the same image a name of its own, or somebody removed it.
            let _ = client.call(request.query("noprune", "1")).await;
        }
        Ok(())
    }

    /// Writes what the build has left.
    pub(super) async fn write(&self, cli: &Cli, steps: &Steps) -> Result<(), Failure> {
        let client = cli.client().await?;
        for (directory, mode) in &self.written {
            export(client, directory, mode.of(steps)).await?;
        }
        for (reference, mode) in &self.pushed {
            let id = cache_image(client, mode.of(steps)).await?;
            let (name, tag) = crate::image::split_reference(reference)?;
            let image = format!("{name}:{tag}");
            let known = Request::get(format!("/images/{}/json", encode_path(&image)));
            let was_there = client.call(known).await.is_ok();
            let request = Request::post(format!("/images/{}/tag", encode_path(&id)));
            client.call(request.query("repo", name).query("tag", tag)).await?.bytes().await?;
            let pushed = output::push(cli, std::slice::from_ref(reference)).await;
            if !was_there {
                let request = Request::delete(format!("/images/{}", encode_path(&image)));
                // It is nothing but the cache, and goes with its name.
                let _ = client.call(request.query("noprune", "1")).await;
            }
            pushed?;
        }
        Ok(())
    }
}

fn unknown(flag: &str, text: &str, kind: &str) -> String {
    format!(
        "--{flag} {text}: a cache of type {kind:?} is not offered: use local, registry{}",
        if flag == "cache-to" { " or inline" } else { ", or an image's name" }
    )
}

async fn cache_image(client: &Arc<Client>, steps: &[String]) -> Result<String, Failure> {
    let request = Request::post("/build/cache/image").json(&json!({"Keys": steps}));
    let mut response = client.call(request).await?;
    let answer: Option<serde_json::Value> = response.next_json().await?;
    let id = answer.as_ref().and_then(|answer| answer["Id"].as_str());
    id.map(str::to_owned).ok_or_else(|| "the daemon did not say what it calls the cache".into())
}

async fn pull(cli: &Cli, client: &Arc<Client>, image: &str) -> Result<(), Failure> {
    let (name, tag) = crate::image::split_reference(image)?;
    let request = Request::post("/images/create")
        .query("fromImage", name)
        .query("tag", tag)
        .header("X-Registry-Auth", auth::header_for(cli.config(), image));
    let response = client.call(request).await?;
    Progress::new(To::Stderr).follow(response, |_| {}).await?;
    Ok(())
}

async fn import(client: &Arc<Client>, directory: &Path) -> Result<(), Failure> {
    let source = Source::directory(&directory.display().to_string())?;
    let request = Request::post("/build/inputs").query("kind", "cache");
    let (request, sending) = source.into_request(request, Shape::default()).await?;
    let answered = client.call(request).await;
    if let Some(sending) = sending {
        sending.finish(answered.is_ok()).await?;
    }
    answered?.bytes().await?;
    Ok(())
}

async fn export(client: &Arc<Client>, directory: &Path, steps: &[String]) -> Result<(), Failure> {
    let known: Vec<String> = std::fs::read_dir(directory.join("layers"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| Some(format!("sha256:{}", name.strip_suffix(".tar")?)))
        .collect();
    let body = json!({"Keys": steps, "Known": known});
    let response = client.call(Request::post("/build/cache").json(&body)).await?;
    let target = directory.to_owned();
    let unpacked = pipe::read_on_thread(response, move |reader| {
        std::fs::create_dir_all(&target)?;
        unpack::unpack(reader, &Options { directory: target, rename: None, owners: false })
    });
    let unpacked = unpacked.await;
    unpacked.map(drop).map_err(|error| format!("write {}: {error}", directory.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_have_kinds() {
        let parsed = |from: &[&str], to: &[&str]| {
            let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
            Caches::parse(&own(from), &own(to))
        };
        let caches = parsed(
            &["a/b:c", "type=registry,ref=r/c", "type=local,src=in"],
            &["type=inline", "type=local,dest=out,mode=max", "type=registry,ref=r/d"],
        );
        let expected = Caches {
            images: vec!["a/b:c".to_owned()],
            fetched: vec!["r/c".to_owned()],
            read: vec!["in".into()],
            written: vec![("out".into(), Mode::Max)],
            pushed: vec![("r/d".to_owned(), Mode::Min)],
            inline: true,
        };
        assert_eq!(caches.expect("parses"), expected);
        for (from, to, part) in [
            ("type=gha", "", "not offered"),
            ("type=local", "", "src= is missing"),
            ("type=local,src=a,what=b", "", "what=b is not offered"),
            ("", "out", "want key=value"),
            ("", "type=local", "dest= is missing"),
            ("", "type=local,dest=x,mode=mid", "mode is min or max"),
            ("", "type=inline,mode=max", "mode= is not offered"),
            ("", "type=s3,bucket=x", "not offered"),
        ] {
            let (from, to): (Vec<&str>, Vec<&str>) = match from {
                "" => (vec![], vec![to]),
                from => (vec![from], vec![]),
            };
            let error = parsed(&from, &to).expect_err("is refused");
            assert!(error.contains(part), "{error}");
        }
    }
}
