//! What every command shares: the program's name, its settings, the client.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use docker_api::{Client, Host, TlsFiles};

use crate::autostart;
use crate::config::Config;
use crate::context;
use crate::failure::Failure;
use crate::grammar::Values;

/// Where the daemon listens unless told otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/teu/teu.sock";

static PROGRAM: OnceLock<String> = OnceLock::new();

/// Tells the name this program was started by, `teu` or `docker`.
pub(crate) fn program() -> &'static str {
    PROGRAM.get().map_or("teu", String::as_str)
}

/// Fixes the name this program goes by; the first call wins.
pub(crate) fn set_program(name: &str) {
    let _ = PROGRAM.set(name.to_owned());
}

/// Tells the product's name in messages, which scripts of Docker's users look for.
pub(crate) fn product() -> &'static str {
    if program() == "docker" { "Docker" } else { "Teu" }
}

/// One run of the program.
pub(crate) struct Cli {
    /// The global options.
    globals: Values,
    config: OnceCell<Config>,
    client: OnceCell<Arc<Client>>,
}

impl Cli {
    pub(crate) fn new(globals: Values) -> Self {
        Self { globals, config: OnceCell::new(), client: OnceCell::new() }
    }

    /// Reads config.json at the first call; a missing file is an empty one.
    pub(crate) fn config(&self) -> &Config {
        self.config.get_or_init(|| {
            let config = Config::load(&self.config_dir());
            if let Some(problem) = &config.problem {
                eprintln!("WARNING: {problem}");
            }
            config
        })
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        match self.globals.get("config") {
            Some(dir) => PathBuf::from(dir),
            None => Config::default_dir(),
        }
    }

    /// Returns a client of a daemon that answers, starting the daemon if it is ours to start.
    pub(crate) async fn client(&self) -> Result<&Arc<Client>, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.unconnected()?;
        match client.ping().await {
            Ok(_) => {}
            Err(error) if autostart::applies(client.host(), &error) => {
                autostart::start_daemon(&client).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.client.get_or_init(|| Arc::new(client)))
    }

    /// Makes the client that the options, the environment and the context ask for.
    fn unconnected(&self) -> Result<Client, Failure> {
        let (host, tls) = self.endpoint()?;
        let mut client = Client::new(host);
        if let Some(files) = tls {
            client = client.with_tls(&files)?;
        }
        if let Some(version) = env("DOCKER_API_VERSION") {
            client = client.with_version(&version);
        }
        client =
            client.with_header("User-Agent", concat!("Teu-Client/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.config().http_headers {
            client = client.with_header(name, value);
        }
        Ok(client)
    }

    fn endpoint(&self) -> Result<(Host, Option<TlsFiles>), Failure> {
        let hosts = self.globals.all("host");
        if hosts.len() > 1 {
            return Err("Specify only one -H".into());
        }
        if self.globals.given("context") && !hosts.is_empty() {
            return Err("conflicting options: cannot specify both --host and --context".into());
        }
        let tls = self.tls_options();
        let parse = |text: &str| Host::parse(text, tls.is_some());
        if let Some(host) = hosts.first().filter(|h| !h.is_empty()) {
            return Ok((parse(host)?, tls));
        }
        if !self.globals.given("context")
            && let Some(host) = env("DOCKER_HOST")
        {
            return Ok((parse(&host)?, tls));
        }
        if let Some(name) = self.context_name() {
            return context::load(&self.config_dir(), &name);
        }
        Ok((Host::Unix(PathBuf::from(DEFAULT_SOCKET)), None))
    }

    /// Tells the context to use; `None` is the default one.
    pub(crate) fn context_name(&self) -> Option<String> {
        self.globals
            .get("context")
            .map(str::to_owned)
            .or_else(|| env("DOCKER_CONTEXT"))
            .or_else(|| self.config().current_context.clone())
            .filter(|name| !name.is_empty() && name != "default")
    }

    fn tls_options(&self) -> Option<TlsFiles> {
        let verify = match self.globals.get("tlsverify") {
            Some(_) => self.globals.on("tlsverify"),
            None => env("DOCKER_TLS_VERIFY").is_some(),
        };
        if !verify && !self.globals.on("tls") {
            return None;
        }
        let dir = env("DOCKER_CERT_PATH").map_or_else(|| self.config_dir(), PathBuf::from);
        let file = |flag: &str, name: &str| match self.globals.get(flag) {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(dir.join(name)).filter(|path| path.exists()),
        };
        Some(TlsFiles {
            ca: file("tlscacert", "ca.pem"),
            cert: file("tlscert", "cert.pem"),
            key: file("tlskey", "key.pem"),
            verify,
        })
    }
}

/// Reads an environment variable; an empty one counts as unset.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
