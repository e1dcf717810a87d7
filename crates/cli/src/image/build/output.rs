//! `--output`: what becomes of the result besides, or instead of, an image in the daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use docker_api::{Client, Request, encode_path};
use serde_json::{Value as Json, json};

use crate::cli::Cli;
use crate::container::unpack::{self, Options};
use crate::failure::Failure;
use crate::image::auth;
use crate::image::import::{body_to, check_output};
use crate::image::progress::{Progress, To};
use crate::pipe;

/// Where results go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    targets: Vec<Target>,
    image: bool,
    /// Names of the image: those of `--tag`, and those that outputs give.
    tags: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The files, in a directory.
    Local(PathBuf),
    /// The files, in an archive; `None` is stdout.
    Tar(Option<String>),
    /// The image, in an archive that `load` takes; it is an OCI layout as well.
    Image(Option<String>),
    /// To the registry.
    Push,
}

impl Output {
    pub(super) fn parse_all(texts: &[String], tags: &[String]) -> Result<Self, Failure> {
        let image = texts.is_empty();
        let mut output = Self { targets: Vec::new(), image, tags: tags.to_vec() };
        for text in texts {
            output.parse(text)?;
        }
        if output.targets.contains(&Target::Push) && output.tags.is_empty() {
            return Err("tag is needed when pushing to registry".into());
        }
        Ok(output)
    }

    fn parse(&mut self, text: &str) -> Result<(), Failure> {
        let (mut kind, mut dest, mut push) = (String::new(), None, false);
        if !text.contains('=') {
            match text {
                "-" => (kind, dest) = ("tar".to_owned(), Some("-".to_owned())),
                path => (kind, dest) = ("local".to_owned(), Some(path.to_owned())),
            }
        } else {
            for field in fields(text) {
                match field.split_once('=') {
                    Some(("type", value)) => value.clone_into(&mut kind),
                    Some(("dest", value)) => dest = Some(value.to_owned()),
                    Some(("push", value)) => push = value == "true",
                    Some(("name", names)) => {
                        let names =
                            names.split(',').filter(|name| !self.tags.iter().any(|t| t == name));
                        let names: Vec<String> = names.map(str::to_owned).collect();
                        self.tags.extend(names);
                    }
                    // So it is in any case.
                    Some(("tar" | "rewrite-timestamp", "true")) => {}
                    _ => {
                        return Err(format!(
                            "invalid field '{field}' in --output {text}: it knows type, dest, name, push, \
                             rewrite-timestamp=true"
                        )
                        .into());
                    }
                }
            }
        }
        let file = dest.clone().filter(|dest| dest != "-");
        match kind.as_str() {
            "local" => {
                let dest = dest.ok_or("--output type=local needs dest=DIRECTORY")?;
                self.targets.push(Target::Local(dest.into()));
            }
            "tar" => {
                check_output(file.as_deref())?;
                self.targets.push(Target::Tar(file));
            }
            "docker" if dest.is_none() => self.image = true,
            "oci" | "docker" => {
                check_output(file.as_deref())?;
                self.targets.push(Target::Image(file));
            }
            "image" | "registry" => {
                self.image = true;
                if push || kind == "registry" {
                    self.targets.push(Target::Push);
                }
            }
            "cacheonly" => {}
            other => {
                return Err(format!(
                    "--output: type {other:?} is unknown: use local, tar, oci, docker, image or registry"
                )
                .into());
            }
        }
        Ok(())
    }

    /// The image's names.
    pub(super) fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Whether the image is to have its names in the daemon.
    pub(super) fn wants_image(&self) -> bool {
        self.image
    }

    /// Writes everything; an image that was made for this alone goes.
    pub(super) async fn write(&self, cli: &Cli, id: &str) -> Result<(), Failure> {
        let tags = &self.tags;
        let client = cli.client().await?;
        let mut result = Ok(());
        for target in &self.targets {
            result = match target {
                Target::Local(directory) => local(client, id, directory).await,
                Target::Tar(path) => files(client, id, path.as_deref()).await,
                Target::Image(path) => image(client, id, tags, path.as_deref()).await,
                Target::Push => push(cli, tags).await,
            };
            if result.is_err() {
                break;
            }
        }
        if !self.image {
            let request = Request::delete(format!("/images/{}", encode_path(id)));
            // One that another name keeps stays, and was there before.
            let _ = client.call(request).await;
        }
        result
    }
}

/// Splits at commas that are not within quotes, as in `type=image,"name=a,b"`.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is one from the start").push(c),
        }
    }
    fields
}

/// Makes a container to take the files from; it is never started.
async fn container(client: &Arc<Client>, id: &str) -> Result<String, Failure> {
    let body = json!({"Image": id, "Cmd": ["/"], "Entrypoint": [], "Volumes": {}});
    let mut response = client.call(Request::post("/containers/create").json(&body)).await?;
    let created: Option<Json> = response.next_json().await?;
    let id = created.as_ref().and_then(|created| created["Id"].as_str());
    id.map(str::to_owned).ok_or_else(|| "the daemon did not name its container".into())
}

async fn export(client: &Arc<Client>, container: &str) -> Result<docker_api::Response, Failure> {
    Ok(client.call(Request::get(format!("/containers/{container}/export"))).await?)
}

async fn remove(client: &Arc<Client>, container: &str) {
    let request =
        Request::delete(format!("/containers/{container}")).query("force", "1").query("v", "1");
    // What could be done with the result is done; the daemon's log has the rest.
    let _ = client.call(request).await;
}

async fn files(client: &Arc<Client>, id: &str, path: Option<&str>) -> Result<(), Failure> {
    let container = container(client, id).await?;
    let written = match export(client, &container).await {
        Ok(response) => body_to(response, path).await,
        Err(error) => Err(error),
    };
    remove(client, &container).await;
    written
}

async fn local(client: &Arc<Client>, id: &str, directory: &Path) -> Result<(), Failure> {
    let container = container(client, id).await?;
    let written = match export(client, &container).await {
        Ok(response) => {
            let target = directory.to_owned();
            let unpacked = pipe::read_on_thread(response, move |reader| {
                std::fs::create_dir_all(&target)?;
                let owners = rustix::process::geteuid().is_root();
                unpack::unpack(reader, &Options { directory: target, rename: None, owners })
            });
            unpacked
                .await
                .map(drop)
                .map_err(|error| format!("write {}: {error}", directory.display()).into())
        }
        Err(error) => Err(error),
    };
    remove(client, &container).await;
    written
}

pub(super) async fn push(cli: &Cli, tags: &[String]) -> Result<(), Failure> {
    for text in tags {
        let (name, tag) = crate::image::split_reference(text)?;
        let request = Request::post(format!("/images/{}/push", encode_path(&name)))
            .query("tag", tag)
            .header("X-Registry-Auth", auth::header_for(cli.config(), text));
        let response = cli.client().await?.call(request).await?;
        Progress::new(To::Stderr).follow(response, |_| {}).await?;
    }
    Ok(())
}

async fn image(
    client: &Arc<Client>,
    id: &str,
    tags: &[String],
    path: Option<&str>,
) -> Result<(), Failure> {
    for tag in tags {
        let (name, tag) = crate::image::split_reference(tag)?;
        let request = Request::post(format!("/images/{}/tag", encode_path(id)));
        client.call(request.query("repo", name).query("tag", tag)).await?.bytes().await?;
    }
    let mut request = Request::get("/images/get");
    let own = [id.to_owned()];
    for name in if tags.is_empty() { &own[..] } else { tags } {
        request = request.query("names", name);
    }
    body_to(client.call(request).await?, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_have_short_and_long_forms() {
        let parsed = |text: &str| Output::parse_all(&[text.to_owned()], &[]).map(|o| o.targets);
        assert_eq!(parsed("out").expect("parses"), [Target::Local("out".into())]);
        assert_eq!(parsed("-").expect("parses"), [Target::Tar(None)]);
        assert_eq!(parsed("type=oci,dest=-").expect("parses"), [Target::Image(None)]);
        assert_eq!(parsed("type=docker").expect("parses"), []);
        assert!(parsed("type=local").is_err());
        assert!(parsed("type=what,dest=x").is_err());
        assert!(parsed("type=registry").is_err());
        assert!(Output::parse_all(&[], &[]).expect("parses").wants_image());
        let named = "type=image,\"name=a:1,b\",push=true".to_owned();
        let named = Output::parse_all(&[named], &["b".to_owned()]).expect("parses");
        assert_eq!(
            (named.tags(), &named.targets[..]),
            (&["b".to_owned(), "a:1".to_owned()][..], &[Target::Push][..])
        );
    }
}
