//! `pull` and `push`.

use docker_api::{Request, encode_path};

use super::progress::{Progress, To};
use super::{auth, registry_of, split_tag};
use crate::cli::Cli;
use crate::failure::Failure;
use crate::grammar::{Call, Outcome};

/// How to pull.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub(crate) platform: Option<&'a str>,
    pub(crate) all_tags: bool,
    pub(crate) quiet: bool,
    pub(crate) to_stderr: bool,
}

/// `pull [OPTIONS] NAME[:TAG|@DIGEST]`
pub(crate) async fn command(call: Call<'_>) -> Outcome {
    let (flags, name) = (&call.flags, call.args[0].as_str());
    let all_tags = flags.on("all-tags");
    if all_tags && (split_tag(name).1.is_some() || name.contains('@')) {
        return Err("tag can't be used with --all-tags/-a".into());
    }
    let bare = split_tag(name).1.is_none() && !name.contains('@');
    if bare && !all_tags && !flags.on("quiet") {
        println!("Using default tag: latest");
    }
    let options = Options {
        platform: flags.get("platform"),
        all_tags,
        quiet: flags.on("quiet"),
        to_stderr: false,
    };
    pull(call.cli, name, &options).await?;
    println!("{}", canonical(name, all_tags));
    Ok(0)
}

/// Pulls an image and shows the progress.
pub(crate) async fn pull(cli: &Cli, reference: &str, options: &Options<'_>) -> Result<(), Failure> {
    let (name, tag) = match reference.split_once('@') {
        // A digest takes the place of the tag, whatever tag stands in front of it.
        Some((name, digest)) => (split_tag(name).0, digest),
        None => match split_tag(reference) {
            (name, Some(tag)) => (name, tag),
            (name, None) => (name, if options.all_tags { "" } else { "latest" }),
        },
    };
    let client = cli.client().await?;
    let request = Request::post("/images/create")
        .query("fromImage", name)
        .query_some("tag", Some(tag).filter(|tag| !tag.is_empty()))
        .query_some("platform", options.platform.filter(|p| !p.is_empty()))
        .header("X-Registry-Auth", auth::header_for(cli.config(), reference));
    let response = client.call(request).await?;
    let to = match (options.quiet, options.to_stderr) {
        (true, _) => To::Nowhere,
        (false, true) => To::Stderr,
        (false, false) => To::Stdout,
    };
    Progress::new(to).follow(response, |_| {}).await
}

/// `push [OPTIONS] NAME[:TAG]`
pub(crate) async fn push(call: Call<'_>) -> Outcome {
    let (flags, reference) = (&call.flags, call.args[0].as_str());
    let all_tags = flags.on("all-tags");
    let (name, tag) = split_tag(reference);
    if all_tags && tag.is_some() {
        return Err("tag can't be used with --all-tags/-a".into());
    }
    let tag = match (tag, all_tags) {
        (Some(tag), _) => tag,
        (None, true) => "",
        (None, false) => {
            if !flags.on("quiet") {
                println!("Using default tag: latest");
            }
            "latest"
        }
    };
    let client = call.cli.client().await?;
    let header = match auth::header_for(call.cli.config(), reference) {
        // The daemon wants the header even from those who have no credentials.
        empty if empty.is_empty() => auth::encode(&serde_json::json!({})),
        header => header,
    };
    let request = Request::post(format!("/images/{}/push", encode_path(name)))
        .query("tag", tag)
        .query_some("platform", flags.get("platform").filter(|p| !p.is_empty()))
        .header("X-Registry-Auth", header);
    let response = client.call(request).await?;
    let to = if flags.on("quiet") { To::Nowhere } else { To::Stdout };
    Progress::new(to).follow(response, |_| {}).await?;
    if flags.on("quiet") {
        println!("{}", canonical(reference, all_tags));
    }
    Ok(0)
}

/// Writes a name in full: `docker.io/library/debian:latest`.
pub(crate) fn canonical(reference: &str, all_tags: bool) -> String {
    let registry = registry_of(reference);
    let path = match reference.split_once('/') {
        Some((first, rest)) if first == registry => rest,
        _ => reference,
    };
    let official = registry == super::DEFAULT_REGISTRY && !path.contains('/');
    let library = if official { "library/" } else { "" };
    let tag =
        if all_tags || split_tag(path).1.is_some() || path.contains('@') { "" } else { ":latest" };
    format!("{registry}/{library}{path}{tag}")
}

/// Writes a name as it was given, with its tag.
pub(crate) fn familiar_with_tag(reference: &str) -> String {
    if split_tag(reference).1.is_some() || reference.contains('@') {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_full() {
        let cases = [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:bookworm", "docker.io/library/debian:bookworm"),
            ("me/app:1", "docker.io/me/app:1"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("docker.io/library/debian", "docker.io/library/debian:latest"),
        ];
        for (name, expected) in cases {
            assert_eq!(canonical(name, false), expected);
        }
    }
}
