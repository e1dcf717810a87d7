//! What `run` would ask the engine for, for programs that start containers through its API.
//!
//! The words of a `docker run` line become the body of ContainerCreate exactly as the command
//! itself makes it, so that a line shown to a person and what a program did are the same thing.

use std::path::Path;

use serde_json::Value as Json;

use crate::config::Config;
use crate::container::body;
use crate::grammar::{self, Parsed};
use crate::image::auth;

/// A container that a `run` line describes.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateRequest {
    /// Value of `--name`.
    pub name: Option<String>,
    /// Value of `--platform`.
    pub platform: Option<String>,
    /// The image, as typed.
    pub image: String,
    /// Whether the output is a terminal's, not multiplexed.
    pub tty: bool,
    /// The body of `POST /containers/create`.
    pub body: Json,
}

/// Reads the words behind `run`.
///
/// # Errors
/// In Docker's words, for flags and values that it refuses itself; also for flags that only make
/// sense at a terminal's command line.
pub fn create_request(words: &[String]) -> Result<CreateRequest, String> {
    let command = crate::commands::find("run").expect("run is a command");
    let parsed = grammar::parse_quietly(command, "run", words)?;
    let Parsed::Go { flags, args } = parsed else {
        return Err("--help does not describe a container".to_owned());
    };
    for flag in ["rm", "cidfile", "interactive", "restart", "detach-keys", "use-api-socket"] {
        if flags.given(flag) && !matches!(flags.text(flag), "" | "false" | "no") {
            return Err(format!("--{flag} cannot be used here: the caller owns the container"));
        }
    }
    let new = body::build(&flags, &args, None)?;
    Ok(CreateRequest {
        name: flags.get("name").map(str::to_owned),
        platform: flags.get("platform").filter(|p| !p.is_empty()).map(str::to_owned),
        image: args[0].clone(),
        tty: new.tty,
        body: new.body,
    })
}

/// Makes the value of the `X-Registry-Auth` header for pulling `reference`, out of the credentials
/// in `<dir>/config.json`; empty without any.
pub fn registry_auth(dir: &Path, reference: &str) -> String {
    auth::header_for(&Config::load(dir), reference)
}

/// The same out of the `auths` of somebody who is not trusted with more: no helper is run for them.
///
/// # Errors
/// When they are not what a config.json has there.
pub fn registry_auth_among(auths: serde_json::Value, reference: &str) -> Result<String, String> {
    let config = serde_json::json!({ "auths": auths });
    let config: Config = serde_json::from_value(config).map_err(|e| e.to_string())?;
    Ok(auth::header_for(&config, reference))
}

#[cfg(test)]
mod tests;
