//! The master's life: command line, registry, socket, driver, signals, end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use ::flags::Parsed;
use cluster::master::Master;
use cluster::registry::Registry;
use logging::Verbosity;
use mesos_api::libprocess::Upid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::authenticator::Authenticator;
use crate::clock::Clock;
use crate::driver::{Driver, Streams};
use crate::facts::Facts;
use crate::flags::TABLE;
use crate::handle::{Handle, queues};
use crate::http::Server;
use crate::http::gate::Gate;
use crate::limits::Limits;
use crate::links::Links;
use crate::listen;
use crate::options::Options;
use crate::standby::{self, Standby};
use crate::store::{Store, StoreError};
use crate::subscribers::Subscribers;
use crate::timings::Timings;
use crate::whitelist::Whitelist;

/// Why a master ended although nobody told it to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The port cannot be had.
    #[error("listen on {address}; is another master running?")]
    Listen {
        /// `--ip` and `--port`
        address: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
    /// The registry cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread or a signal handler cannot be had.
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// ZooKeeper does not let this master lead, or not any more.
    #[error("stand for election")]
    Election(#[source] election::Error),
    /// The driver's thread is gone.
    #[error("the driver ended unexpectedly")]
    Driver,
}

/// Runs a master with a command line (without the program's name) until it is told to stop.
pub fn main(usage: &str, args: impl IntoIterator<Item = String>) -> ExitCode {
    let started = Clock::new();
    let values = match ::flags::parse(TABLE, args, std::env::vars()) {
        Ok(Parsed::Run(values)) => values,
        Ok(Parsed::Help) => {
            println!("{}", ::flags::help(usage, TABLE));
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Version) => {
            println!(
                "teu {} (Mesos {})",
                env!("CARGO_PKG_VERSION"),
                endpoints::version::PROTOCOL_VERSION
            );
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{usage}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let options = match Options::resolve(&values, crate::uuid::random(), rand::random()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{usage}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let verbosity = logging::start(options.level);
    match start(options, started, verbosity) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "master failed");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn start(options: Options, clock: Clock, verbosity: Verbosity) -> Result<(), RunError> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("teu-master")
        .build()
        .map_err(|error| RunError::System("start the async runtime", error))?;
    let stop = CancellationToken::new();
    runtime.block_on(async {
        watch_signals(stop.clone())?;
        serve(options, clock, verbosity, stop, |_| {}).await
    })
}

/// Runs a master until `stop`. `ready` is told the address once it listens. For programs that are
/// more than a master; the log is theirs.
///
/// # Errors
/// If the port or the registry cannot be had, or the registry cannot be written.
pub async fn run(
    options: Options,
    stop: CancellationToken,
    ready: impl FnOnce(SocketAddrV4),
) -> Result<(), RunError> {
    let verbosity = logging::start(options.level);
    serve(options, Clock::new(), verbosity, stop, ready).await
}

async fn serve(
    mut options: Options,
    clock: Clock,
    verbosity: Verbosity,
    stop: CancellationToken,
    ready: impl FnOnce(SocketAddrV4),
) -> Result<(), RunError> {
    let address = options.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    if let Ok(bound) = listener.local_addr() {
        options.settle_port(bound.port());
    }
    let timings = Arc::new(Timings::default());
    let started = clock.now();
    let mut candidacy = match &options.zk {
        None => None,
        Some(zk) => {
            let standby = Standby {
                info: options.core.info.clone(),
                flags: options.flags.clone(),
                started: Instant::now(),
                gate: Gate::of(&options),
            };
            match standby::until_leading(zk, standby, &listener, &stop).await? {
                None => return Ok(()),
                leading => leading,
            }
        }
    };
    let reading = Instant::now();
    let (store, registry) = match (&options.work_dir, &candidacy) {
        (None, _) => (None, Registry::default()),
        (Some(dir), None) => {
            let (store, registry) = Store::open(dir)?;
            (Some(Arc::new(store)), registry)
        }
        (Some(dir), Some(candidacy)) => match standby::take_over(dir, candidacy, &stop).await? {
            None => return Ok(()),
            Some((store, registry)) => (Some(Arc::new(store)), registry),
        },
    };
    timings.fetch.note(reading.elapsed());
    let facts =
        Facts::new(&options, clock, started, verbosity, Arc::clone(&timings), store.clone());
    let facts = Arc::new(facts);
    tracing::info!(
        pid = facts.pid(),
        id = facts.info.id,
        agents = registry.agents.len(),
        frameworks = registry.frameworks.len(),
        "master is leading"
    );
    let (handle, queues) = queues();
    let from = Upid::new("master", advertised(&facts));
    let driver = Driver {
        core: Master::new(options.core.clone(), registry, clock.now()),
        store,
        authenticator: Authenticator::new(options.rules.clone(), facts.hostname()),
        limits: Limits::new(options.limits.clone(), clock.now()),
        links: Links::new(from, handle.clone(), tokio::runtime::Handle::current()),
        subscribers: Subscribers::new(options.max_subscribers, Arc::clone(&timings)),
        clock,
        queues,
        streams: Streams::default(),
        refusals: Vec::new(),
        due_since: None,
        timings,
    };
    let ended = drive(driver, stop.clone())?;
    ready(options.listen);
    let watching = watch(options.whitelist.take(), handle.clone());
    let lost = async {
        match &mut candidacy {
            Some(candidacy) => candidacy.lost().await,
            None => std::future::pending().await,
        }
    };
    let serving = listen::serve(listener, Arc::new(Server::new(handle, facts)), stop.clone());
    let outcome = tokio::select! {
        () = serving => Ok(()),
        never = watching => match never {},
        error = lost => Err(RunError::Election(error)),
    };
    // What decides ends before the next master may lead.
    stop.cancel();
    let driven = ended.await.map_err(|_| RunError::Driver);
    drop(candidacy);
    outcome.and(driven?)
}

/// Watches over the whitelist, if there is one, for as long as the master lives.
async fn watch(whitelist: Option<Whitelist>, handle: Handle) -> Infallible {
    if let Some(whitelist) = whitelist {
        whitelist.watch(handle).await;
    }
    std::future::pending().await
}

/// Where others reach this master.
fn advertised(facts: &Facts) -> SocketAddrV4 {
    let ip = facts.info.ip.to_le_bytes().into();
    SocketAddrV4::new(ip, u16::try_from(facts.info.port).unwrap_or_default())
}

/// Gives the driver a thread of its own: what it does takes turns with nothing else. Its end,
/// whatever the reason, stops the master.
fn drive(
    driver: Driver,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<Result<(), RunError>>, RunError> {
    let (done, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| RunError::System("start the driver's runtime", error))?;
    std::thread::Builder::new()
        .name("teu-driver".to_owned())
        .spawn(move || {
            let guard = stop.clone().drop_guard();
            let result = runtime.block_on(async {
                tokio::select! {
                    result = driver.run() => result,
                    () = stop.cancelled() => Ok(()),
                }
            });
            drop(guard);
            // Nobody waits if the master failed elsewhere.
            let _ = done.send(result.map_err(RunError::from));
        })
        .map_err(|error| RunError::System("start the driver's thread", error))?;
    Ok(ended)
}

/// Each agent takes two descriptors, and the usual limit is 1024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn watch_signals(stop: CancellationToken) -> Result<(), RunError> {
    let listen = |kind| signal(kind).map_err(|error| RunError::System("watch signals", error));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
        stop.cancel();
    });
    Ok(())
}
