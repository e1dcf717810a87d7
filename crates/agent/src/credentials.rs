//! Credentials for pulling images: what a task brought along in its sandbox, else the agent's own.
//!
//! Both come in the formats of the docker command line: `config.json`, or the older `.dockercfg`,
//! which is the former's `auths` alone. Of a task only passwords are taken: a credential helper is
//! a program, and would run as the agent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

/// Where tasks put theirs, by way of a URI.
const BROUGHT: [&str; 2] = [".docker/config.json", ".dockercfg"];

/// What `--docker_config` says.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    None,
    /// The directory of a `config.json`, whose helpers may be asked.
    Directory(PathBuf),
    /// A file of another name; read anew for every pull, since passwords change.
    File(PathBuf),
    Given(Json),
}

impl Credentials {
    /// Takes JSON, or the path of a file or of its directory.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.trim_start().starts_with('{') {
            let json = serde_json::from_str(text).context("it is no JSON")?;
            return Ok(Self::Given(auths(json)?));
        }
        let path = PathBuf::from(text.strip_prefix("file://").unwrap_or(text));
        if !path.is_absolute() {
            bail!("'{text}' is neither JSON nor an absolute path");
        }
        if path.is_dir() {
            return Ok(Self::Directory(path));
        }
        if path.file_name().is_some_and(|name| name == "config.json") {
            return Ok(Self::Directory(path.parent().unwrap_or(Path::new("/")).to_owned()));
        }
        read(&path)?;
        Ok(Self::File(path))
    }

    /// The `X-Registry-Auth` for an image, empty without credentials for its registry.
    pub(crate) fn header(&self, sandbox: &Path, image: &str) -> Result<String> {
        let among = |auths: Json, from: &str| {
            let header = cli::request::registry_auth_among(auths, image);
            header.map_err(|e| anyhow::anyhow!("the credentials in {from} cannot be used: {e}"))
        };
        for name in BROUGHT {
            match read(&sandbox.join(name)) {
                Ok(auths) => return among(auths, name),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        match self {
            Self::None => Ok(String::new()),
            Self::Directory(directory) => Ok(cli::request::registry_auth(directory, image)),
            Self::File(path) => among(read(path)?, &path.display().to_string()),
            Self::Given(auths) => among(auths.clone(), "--docker_config"),
        }
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

fn read(path: &Path) -> Result<Json> {
    let what = || format!("cannot use the credentials in {}", path.display());
    let bytes = fs::read(path).with_context(what)?;
    auths(serde_json::from_slice(&bytes).with_context(what)?).with_context(what)
}

/// The `auths` of either format.
fn auths(json: Json) -> Result<Json> {
    let Json::Object(mut fields) = json else { bail!("it is no JSON object") };
    let helpers = ["credsStore", "credHelpers"];
    if let Some(auths) = fields.remove("auths") {
        return Ok(auths);
    }
    if let Some(helper) = helpers.iter().find(|name| fields.contains_key(**name)) {
        bail!(
            "it has {helper} and no auths: helpers are asked only for the agent's own config.json"
        );
    }
    Ok(Json::Object(fields))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    /// `a:b` for one registry.
    const AUTHS: &str = r#"{"r.example:5000": {"auth": "YTpi"}}"#;

    fn user(header: &str) -> Option<String> {
        let bytes = base64::engine::general_purpose::URL_SAFE.decode(header).ok()?;
        let json: Json = serde_json::from_slice(&bytes).ok()?;
        Some(json["username"].as_str()?.to_owned())
    }

    #[test]
    fn credentials_come_in_every_form_that_mesos_takes() {
        let dir = tempfile::tempdir().expect("a directory");
        let sandbox = dir.path().join("sandbox");
        let new = format!(r#"{{"auths": {AUTHS}}}"#);
        let path = |name: &str| dir.path().join(name).display().to_string();
        for (name, content) in [("config.json", &new), ("old", &AUTHS.to_owned()), ("new", &new)] {
            fs::write(path(name), content).expect("a file");
        }
        let given = [
            new.clone(),
            AUTHS.to_owned(),
            path(""),
            path("config.json"),
            path("old"),
            path("new"),
        ];
        for text in given.into_iter().chain([format!("file://{}", path("old"))]) {
            let credentials = Credentials::parse(&text).expect("credentials");
            let header = |image: &str| credentials.header(&sandbox, image).expect("a header");
            assert_eq!(user(&header("r.example:5000/a:1")).as_deref(), Some("a"), "{text}");
            assert_eq!(header("other.example/a:1"), "", "{text}");
        }
        for bad in ["{", "relative", "/does/not/exist", r#"{"credsStore": "x"}"#] {
            assert!(Credentials::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_task_brings_comes_first_and_runs_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = Credentials::parse(r#"{"r.example:5000": {"auth": "YzpkCg=="}}"#).expect("own");
        let header = || own.header(dir.path(), "r.example:5000/a");
        assert_eq!(user(&header().expect("a header")).as_deref(), Some("c"));
        fs::write(dir.path().join(".dockercfg"), AUTHS).expect("a file");
        assert_eq!(user(&header().expect("a header")).as_deref(), Some("a"));
        fs::create_dir(dir.path().join(".docker")).expect("a directory");
        let helper = r#"{"credsStore": "../../evil"}"#;
        fs::write(dir.path().join(".docker/config.json"), helper).expect("a file");
        let refused = header().expect_err("a helper");
        assert!(format!("{refused:#}").contains("helpers are asked only"), "{refused:#}");
    }
}
