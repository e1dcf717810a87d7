//! The daemon's life: configuration, engine, sockets, signals, end.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use engine::Engine;
use images::registry::{ProxyConfig, Registry};
use swarm::Swarm;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::api::{Api, Service};
use crate::config::{Config, LogLevel};
use crate::flags::Flags;
use crate::membership::{DaemonHost, SwarmFabric};
use crate::settings::Settings;
use crate::{convert, listen, notify, serve};

const DEFAULT_CONFIG_FILE: &str = "/etc/teu/daemon.json";

/// How long requests in flight may take to end once the daemon is told to stop. Containers do not
/// depend on it, so a restart need not wait for clients that follow a log.
const MAX_GRACE: Duration = Duration::from_secs(2);

/// Runs the daemon with a command line (the first argument is the program's name) until it is told
/// to stop.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(args) {
        Ok(flags) => flags,
        Err(error) => {
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let validate = flags.validate;
    let config = match configure(flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    if validate {
        eprintln!("configuration OK");
        return ExitCode::SUCCESS;
    }
    start_log(config.log_level);
    // Files that containers' users read come from here, and containers inherit it, as with Docker.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = in_words(&error), "daemon failed");
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without those that it names itself.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| {
        match text.is_empty() {
            true => cause,
            false if text.ends_with(&cause) => text,
            false => format!("{text}: {cause}"),
        }
    })
}

fn configure(flags: Flags) -> anyhow::Result<Config> {
    let (path, required) = match &flags.config_file {
        Some(path) => (path.clone(), true),
        None => (PathBuf::from(DEFAULT_CONFIG_FILE), false),
    };
    let settings = Settings::merge(flags.into_settings(), &path, required)?;
    Ok(Config::resolve(settings)?)
}

fn start_log(level: LogLevel) {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let built = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .try_init();
    // Only a second daemon in one process (a test) finds a subscriber set.
    drop(built);
}

fn start(config: Config) -> anyhow::Result<()> {
    let handed_over = listen::take_handed_over(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("teu-daemon")
        .build()
        .context("start the async runtime")?;
    let stop = CancellationToken::new();
    let ended = runtime.block_on(async {
        watch_signals(stop.clone())?;
        run_on(config, handed_over, stop).await
    });
    // Blocking calls of cut-off requests (reads of a pipe, say) must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(500));
    // Whoever sees the pid file go may start the next daemon: nothing is open here by now.
    ended.map(drop)
}

/// Runs a daemon until `stop`. Containers go on after it returns.
/// Sockets of a service manager (`fd://`) are out of reach here: [`main`] takes them.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    run_on(config, Vec::new(), stop).await.map(drop)
}

/// Gives the pid file back, which is to go when all else is gone.
async fn run_on(
    config: Config,
    handed_over: Vec<OwnedFd>,
    stop: CancellationToken,
) -> anyhow::Result<PidFile> {
    let config = Arc::new(config);
    let shim = shim_path()?;
    // Containers are taken up again with the networks that they were in.
    let swarm = Swarm::open(&config.data_root);
    let mut engine_config = convert::engine_config(&config, shim)?;
    engine_config.fabric = Some(Arc::new(SwarmFabric::new(swarm.clone())));
    let engine = Engine::open(engine_config).await?;
    let pidfile = PidFile::write(&config.pidfile)?;
    let listeners = listen::bind_all(&config, handed_over).await?;
    let registry = convert::registry_config(&config, proxy_from_env())?;
    let registry = Registry::new(engine.images().clone(), registry);
    let policy = config.build_gc.clone();
    let api = Api {
        builder: builder::Builder::open(engine.clone(), registry.clone(), policy).await,
        registry,
        engine: engine.clone(),
        config: config.clone(),
        swarm: swarm.clone(),
        stop: stop.clone(),
    };
    swarm.start(Arc::new(DaemonHost::new(engine.clone(), swarm.clone()).await?)).await;
    notify::notify(&format!("READY=1\nMAINPID={}", std::process::id()));
    tracing::info!(hosts = ?config.hosts, data_root = %config.data_root.display(), "daemon ready");
    let grace = MAX_GRACE.min(Duration::from_secs(config.shutdown_timeout_secs));
    serve::serve(listeners, Service::new(api), stop, grace).await;
    notify::notify("STOPPING=1");
    swarm.shutdown().await;
    engine.shutdown().await;
    tracing::info!("daemon stopped, containers go on");
    Ok(pidfile)
}

fn watch_signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    // A daemon started from a terminal stays when the terminal goes.
    let mut hangup = signal(SignalKind::hangup()).context("handle SIGHUP")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => tracing::info!("hangup ignored: nothing to reload"),
            }
        }
        stop.cancel();
    });
    Ok(())
}

/// Proxies for reaching registries, from the variables that every other program reads as well.
fn proxy_from_env() -> ProxyConfig {
    let read = |names: [&str; 2]| {
        let values = names.into_iter().filter_map(|name| std::env::var(name).ok());
        values.into_iter().find(|value| !value.is_empty())
    };
    ProxyConfig {
        http: read(["HTTP_PROXY", "http_proxy"]),
        https: read(["HTTPS_PROXY", "https_proxy"]),
        no_proxy: read(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
    }
}

/// The shim is installed beside this binary.
fn shim_path() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find the path of this binary")?;
    Ok(own.with_file_name("teu-shim"))
}

/// The pid file, removed at the end if it is still this process's.
#[derive(Debug)]
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("write pid file {}", path.display());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(context)?;
        }
        fs::write(path, format!("{}\n", std::process::id())).with_context(context)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == own) {
            // A stale pid file is harmless: it is overwritten at the next start.
            let _ = fs::remove_file(&self.0);
        }
    }
}
