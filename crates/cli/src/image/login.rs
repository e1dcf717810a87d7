//! `login`, `logout` and `search`.

use std::io::{BufRead as _, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_api::Request;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value as Json, json};

use super::auth;
use crate::config::{Config, StoredAuth};
use crate::failure::Failure;
use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::table::{Columns, Row, choose, ellipsis, render, row};
use crate::terminal;

/// `login [OPTIONS] [SERVER]`
pub(crate) async fn login(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let server = server(call.args.first());
    if flags.given("password") {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if flags.on("password-stdin") {
            return Err(
                "conflicting options: cannot specify both --password and --password-stdin".into()
            );
        }
    }
    let (username, password) = if flags.on("password-stdin") {
        let username = flags.text("username").to_owned();
        if username.is_empty() {
            return Err("the --password-stdin option requires --username to be set".into());
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        (username, text.trim_end_matches(['\n', '\r']).to_owned())
    } else if flags.given("username") && flags.given("password") {
        (flags.text("username").to_owned(), flags.text("password").to_owned())
    } else {
        ask(call.cli.config(), server, flags.text("username"), flags.get("password"))?
    };
    let client = call.cli.client().await?;
    let request = Request::post("/auth")
        .json(&json!({"username": username, "password": password, "serveraddress": server}));
    let answer: Json = client.call(request).await?.json().await?;
    let token = answer["IdentityToken"].as_str().unwrap_or_default();
    store(call.cli.config(), server, &username, &password, token)?;
    match answer["Status"].as_str().unwrap_or_default() {
        "" => println!("Login Succeeded"),
        status => println!("{status}"),
    }
    Ok(0)
}

fn server(argument: Option<&String>) -> &str {
    match argument.map(|text| text.trim_end_matches('/')) {
        None | Some("") => auth::DEFAULT_SERVER,
        Some(text) => {
            let bare = text
                .strip_prefix("https://")
                .or_else(|| text.strip_prefix("http://"))
                .unwrap_or(text);
            auth::server_key(bare)
        }
    }
}

fn ask(
    config: &Config,
    server: &str,
    username: &str,
    password: Option<&str>,
) -> Result<(String, String), Failure> {
    if !terminal::stdin_is_terminal() {
        return Err("Error: Cannot perform an interactive login from a non TTY device".into());
    }
    let known =
        auth::lookup(config, server).and_then(|auth| auth["username"].as_str().map(str::to_owned));
    let username = if username.is_empty() {
        let hint = known.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        let typed = prompt(&format!("Username{hint}: "), true)?;
        if typed.is_empty() { known.unwrap_or_default() } else { typed }
    } else {
        username.to_owned()
    };
    if username.is_empty() {
        return Err("Error: Non-null Username Required".into());
    }
    let password = match password {
        Some(password) => password.to_owned(),
        None => prompt("Password: ", false)?,
    };
    if password.is_empty() {
        Err("Error: Password Required".into())
    } else {
        Ok((username, password))
    }
}

/// Asks on the terminal; what is typed does not show unless `echo`.
fn prompt(question: &str, echo: bool) -> Result<String, Failure> {
    print!("{question}");
    std::io::stdout().flush()?;
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(std::io::Error::from)?;
    if !echo {
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &silent).map_err(std::io::Error::from)?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if !echo {
        tcsetattr(&stdin, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
        println!();
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn helper<'a>(config: &'a Config, server: &str) -> Option<&'a str> {
    let named = config.cred_helpers.get(server).map(String::as_str);
    named.or(Some(config.creds_store.as_str())).filter(|helper| !helper.is_empty())
}

fn store(
    config: &Config,
    server: &str,
    username: &str,
    password: &str,
    token: &str,
) -> Result<(), Failure> {
    let mut changed = config.clone();
    if let Some(helper) = helper(config, server) {
        let (name, secret) =
            if token.is_empty() { (username, password) } else { ("<token>", token) };
        let entry = json!({"ServerURL": server, "Username": name, "Secret": secret});
        auth::call_helper(helper, "store", &entry.to_string())?;
        changed.auths.insert(server.to_owned(), StoredAuth::default());
    } else {
        eprintln!(
            "WARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning.",
            config.path().display()
        );
        let secret = if token.is_empty() { password } else { "" };
        let entry = StoredAuth {
            auth: STANDARD.encode(format!("{username}:{secret}")),
            identitytoken: token.to_owned(),
            ..StoredAuth::default()
        };
        changed.auths.insert(server.to_owned(), entry);
    }
    changed
        .save()
        .map_err(|e| format!("Error saving credentials: {}: {e}", config.path().display()).into())
}

/// `logout [SERVER]`
pub(crate) async fn logout(call: Call<'_>) -> Outcome {
    let server = server(call.args.first());
    let config = call.cli.config();
    println!("Removing login credentials for {server}");
    if let Some(helper) = helper(config, server)
        && let Err(error) = auth::call_helper(helper, "erase", server)
    {
        eprintln!("WARNING: could not erase credentials: {error}");
    }
    let mut changed = config.clone();
    if changed.auths.remove(server).is_some() {
        changed.save().map_err(|e| format!("{}: {e}", config.path().display()))?;
    }
    Ok(0)
}

const COLUMNS: Columns = Columns(&[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
]);

/// `search [OPTIONS] TERM`
pub(crate) async fn search(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let format = choose(
        flags.get("format"),
        "",
        "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    );
    let client = call.cli.client().await?;
    let request = Request::get("/images/search")
        .query("term", &call.args[0])
        .query_some("limit", flags.get("limit"))
        .query_some("filters", filters::encode(flags.all("filter")))
        .header("X-Registry-Auth", auth::header_for(call.cli.config(), &call.args[0]));
    let found: Vec<Json> = client.call(request).await?.json().await?;
    let trunc = !flags.on("no-trunc");
    let rows = found.iter().map(|image| search_row(image, trunc)).collect();
    print!("{}", render(format, &COLUMNS, rows)?);
    Ok(0)
}

fn search_row(image: &Json, trunc: bool) -> Row {
    let text = |name: &str| image[name].as_str().unwrap_or_default();
    let mark = |name: &str| if image[name].as_bool().unwrap_or(false) { "[OK]" } else { "" };
    let description = text("description").replace(['\n', '\r'], " ");
    row! {
        "Name": text("name"),
        "Description": if trunc { ellipsis(&description, 45) } else { description },
        "StarCount": image["star_count"].as_i64().unwrap_or(0).to_string(),
        "IsOfficial": mark("is_official"),
        "IsAutomated": mark("is_automated"),
    }
}
