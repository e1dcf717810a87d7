//! Credentials for registries: from config.json or its helpers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value as Json, json};

use super::{DEFAULT_REGISTRY, registry_of};
use crate::config::{Config, StoredAuth};

/// The key under which config.json keeps the default registry's credentials.
pub(crate) const DEFAULT_SERVER: &str = "https://index.docker.io/v1/";

/// Writes the header that authorizes an operation on `reference`; empty without credentials.
pub(crate) fn header_for(config: &Config, reference: &str) -> String {
    match lookup(config, server_key(registry_of(reference))) {
        Some(auth) => URL_SAFE.encode(auth.to_string()),
        None => String::new(),
    }
}

/// Writes the header for a set of credentials.
pub(crate) fn encode(auth: &Json) -> String {
    URL_SAFE.encode(auth.to_string())
}

/// Names a registry as config.json does.
pub(crate) fn server_key(registry: &str) -> &str {
    match registry {
        DEFAULT_REGISTRY | "index.docker.io" | "registry-1.docker.io" => DEFAULT_SERVER,
        other => other,
    }
}

/// Finds the credentials of a server, in the form of the API's AuthConfig.
pub(crate) fn lookup(config: &Config, server: &str) -> Option<Json> {
    let helper =
        config.cred_helpers.get(host_of(server)).or_else(|| config.cred_helpers.get(server));
    let helper =
        helper.map(String::as_str).or(Some(config.creds_store.as_str())).filter(|h| !h.is_empty());
    if let Some(helper) = helper
        && let Ok(found) = ask_helper(helper, server)
    {
        return Some(found);
    }
    let stored = config.auths.get(server).or_else(|| {
        config.auths.iter().find(|(key, _)| host_of(key) == host_of(server)).map(|(_, auth)| auth)
    })?;
    from_stored(stored, server)
}

fn from_stored(stored: &StoredAuth, server: &str) -> Option<Json> {
    let (mut username, mut password) = (stored.username.clone(), stored.password.clone());
    if !stored.auth.is_empty() {
        let decoded = STANDARD.decode(stored.auth.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, secret) = text.split_once(':')?;
        (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
    }
    if username.is_empty() && stored.identitytoken.is_empty() && stored.registrytoken.is_empty() {
        return None;
    }
    Some(auth_config(server, &username, &password, &stored.identitytoken, &stored.registrytoken))
}

fn auth_config(
    server: &str,
    username: &str,
    password: &str,
    identity: &str,
    registry: &str,
) -> Json {
    let mut auth = json!({"serveraddress": server});
    let fields = [
        ("username", username),
        ("password", password),
        ("identitytoken", identity),
        ("registrytoken", registry),
    ];
    for (name, value) in fields {
        if !value.is_empty() {
            auth[name] = Json::from(value);
        }
    }
    auth
}

/// Takes scheme and path off a server's key.
fn host_of(server: &str) -> &str {
    let bare = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    bare.split('/').next().unwrap_or(bare)
}

fn ask_helper(helper: &str, server: &str) -> Result<Json, String> {
    let answer: Json =
        serde_json::from_str(&call_helper(helper, "get", server)?).map_err(|e| e.to_string())?;
    let field = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let (username, secret) = (field("Username"), field("Secret"));
    if username == "<token>" {
        return Ok(auth_config(server, "", "", &secret, ""));
    }
    Ok(auth_config(server, &username, &secret, "", ""))
}

/// Runs `docker-credential-HELPER ACTION` with `input`.
pub(crate) fn call_helper(helper: &str, action: &str, input: &str) -> Result<String, String> {
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("error getting credentials - {program}: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|e| format!("{program}: {e}"))?;
    }
    let output = child.wait_with_output().map_err(|e| format!("{program}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("error getting credentials - {program}: {}", text.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_credentials_are_found_by_host() {
        let config: Config = serde_json::from_value(json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": STANDARD.encode("me:secret:with:colons")},
                "https://reg.example.com/v2/": {"auth": STANDARD.encode("you:pw")},
                "empty.example.com": {},
            }
        }))
        .expect("a config");
        let found = lookup(&config, server_key(registry_of("debian"))).expect("stored");
        assert_eq!(
            (&found["username"], &found["password"]),
            (&json!("me"), &json!("secret:with:colons"))
        );
        let found =
            lookup(&config, server_key(registry_of("reg.example.com/a/b:1"))).expect("stored");
        assert_eq!(found["username"], json!("you"));
        assert_eq!(lookup(&config, "empty.example.com"), None);
        assert_eq!(header_for(&config, "localhost:5000/x"), "");
    }
}
