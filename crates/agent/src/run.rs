//! `teu agent`: from the command line to a running agent.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use cluster::agent::{Agent, Output, Record, Recovered};
use cluster::resources::Resources;
use endpoints::timer::Timer;
use endpoints::version::PROTOCOL_VERSION;
use flags::{Parsed, Values};
use logging::Verbosity;
use mesos_api::libprocess::Upid;
use mesos_api::v1::AgentInfo;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::Level;

use crate::authenticatee::Authenticatee;
use crate::checkpoint::{Store, Unreadable};
use crate::config::{Config, Reconfiguration, Recover};
use crate::containers::{Containerizers, Containers, Live};
use crate::docker::{Docker, Engine};
use crate::driver::{self, Clock, Driver, Recovery, Request};
use crate::fetch::Fetcher;
use crate::journal::Journal;
use crate::layout::Layout;
use crate::nested::Nested;
use crate::process::{Processes, enter, launcher};
use crate::server::{self, Server};
use crate::volumes::Volumes;
use crate::{gc, identity, link, options};

/// Runs one command line; the first argument is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_default().to_string_lossy().into_owned();
    let mut args = args.peekable();
    if args.peek().is_some_and(|word| word == launcher::WORD) {
        let directory = args.nth(1).unwrap_or_default();
        return launcher::main(std::path::Path::new(&directory));
    }
    if args.peek().is_some_and(|word| word == enter::WORD) {
        let path = args.nth(1).unwrap_or_default();
        return enter::main(std::path::Path::new(&path));
    }
    let words = args.map(|arg| arg.to_string_lossy().into_owned());
    let values = match flags::parse(options::TABLE, words, std::env::vars()) {
        Ok(Parsed::Help) => {
            print!("{}", flags::help(&name, options::TABLE));
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Version) => {
            println!("teu {} (Mesos API {})", env!("CARGO_PKG_VERSION"), PROTOCOL_VERSION);
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Run(values)) => values,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match start(values) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn level(values: &Values) -> Result<Level> {
    Ok(match values.text("logging_level").to_ascii_uppercase().as_str() {
        _ if values.on("quiet") => Level::ERROR,
        "DEBUG" => Level::DEBUG,
        "INFO" => Level::INFO,
        "WARNING" => Level::WARN,
        "ERROR" => Level::ERROR,
        other => bail!("flag '--logging_level': '{other}' is none of DEBUG, INFO, WARNING, ERROR"),
    })
}

fn start(values: Values) -> Result<()> {
    let verbosity = logging::start(level(&values)?);
    let config = Config::new(values)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads")?;
    runtime.block_on(run(config, verbosity))
}

async fn run(config: Config, verbosity: Verbosity) -> Result<()> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let _alone = alone(&config.work_dir)?;
    let begun = Instant::now();
    let layout = Layout::new(&config.work_dir);
    let mut store = Store::new(layout.clone());
    let recovered = recover(&config, &mut store, &layout)?;
    let clock = Clock::new();
    let (to_driver, requests) = mpsc::channel(driver::QUEUE);
    let (to_master, messages) = mpsc::channel(link::QUEUE);
    let fetcher = Arc::new(Fetcher::new(&config.fetch)?);
    let docker = Docker {
        engine: Engine::new(config.docker.host.clone()),
        program: config.docker.program.clone(),
        credentials: config.docker.credentials.clone(),
        remove_delay: config.docker.remove_delay,
        stop_timeout: config.docker.stop_timeout,
        owner: config.work_dir.display().to_string(),
        cfs: config.cfs,
        dns: config.docker.dns.clone(),
        defaults: config.environment.clone(),
        fetcher: Arc::clone(&fetcher),
        pulls: Timer::default(),
        host_memory: crate::resources::host_memory().map_err(anyhow::Error::msg)?,
    };
    if let Err(error) = docker.engine.ping().await {
        tracing::warn!(engine = %docker.engine.address(), %error, "the Docker engine does not answer yet");
    }
    let docker = Arc::new(docker);
    let processes = Arc::new(Processes {
        directory: layout.processes(),
        owner: config.work_dir.display().to_string(),
        hierarchies: runtime::cgroup::Hierarchies::detect()?,
        cfs: config.cfs,
        limit_swap: config.limit_swap,
        switch_user: config.switch_user,
        defaults: config.environment.clone(),
        fetcher: Arc::clone(&fetcher),
    });
    let containerizers = Arc::new(Containerizers {
        order: config.containerizers.clone(),
        docker: Arc::clone(&docker),
        processes: Arc::clone(&processes),
    });
    let live = Live::default();
    let nested =
        Nested::new(Arc::clone(&containerizers), live.clone(), &layout, config.switch_user);
    let nested = Arc::new(nested);
    let containers = Containers::new(containerizers, live, to_driver.clone(), Arc::clone(&nested));
    let cleanup = config.recover == Recover::Cleanup;
    let recovered = if cleanup { Recovered::default() } else { recovered };
    if cleanup {
        docker.remove_orphans(&Live::default()).await;
        processes.remove_orphans(Live::default()).await;
        store.forget()?;
        nested.forget_all();
        return Ok(());
    }
    let own: Upid = config.pid().parse().context("the agent's address has to be IPv4")?;
    let (agent, first) = Agent::recover(core_config(&config), clock.now(), recovered);
    let collected = Arc::new(gc::Collected::default());
    let serving = Server {
        driver: to_driver.clone(),
        heartbeat: config.heartbeat,
        verbosity,
        authentication: Arc::new(config.authentication.clone()),
        firewall: Arc::new(config.firewall.clone()),
        fetcher,
        collected: Arc::clone(&collected),
        nested: Arc::clone(&nested),
    };
    tracing::info!(address = %config.address, work_dir = %config.work_dir.display(), "agent started");
    let sandboxes = layout.sandboxes();
    let records = first.iter().filter_map(|output| match output {
        Output::Persist(record) => Some(record.as_ref()),
        _ => None,
    });
    let store_errors = store.left_out();
    store.write(records).context("cannot carry on with what an earlier agent has left")?;
    let driver = Driver {
        agent,
        journal: Journal::start(store).context("cannot start the thread that writes")?,
        volumes: Volumes::new(layout.clone()),
        layout,
        clock,
        containers,
        master: to_master,
        authenticatee: config.credential.clone().map(Authenticatee::new),
        unheard: 0,
        requests,
        to_self: to_driver.clone(),
        executors: HashMap::new(),
        recovery: Recovery { errors: store_errors, took: begun.elapsed() },
        config: config.clone(),
    };
    let mut leave = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let driving = driver.run(first);
    let linking = link::keep(config.master.clone(), own, to_driver.clone(), messages);
    let serving = server::serve(listener, serving);
    let collecting = gc::keep(sandboxes, config.collection, to_driver.clone(), collected);
    tokio::pin!(driving, linking, serving, collecting);
    loop {
        tokio::select! {
            ended = &mut driving => return ended,
            () = &mut linking => return Ok(()),
            () = &mut serving => return Ok(()),
            () = &mut collecting => return Ok(()),
            _ = leave.recv() => {
                let _ = to_driver.send(Request::Leave).await; // else it is ending already
            }
            _ = terminate.recv() => return stopped("SIGTERM"),
            _ = interrupt.recv() => return stopped("SIGINT"),
        }
    }
}

/// Makes sure that nobody else writes there, for as long as the descriptor is open.
fn alone(work_dir: &Path) -> Result<File> {
    let what = || format!("cannot use the work_dir {}", work_dir.display());
    let directory = File::open(work_dir).with_context(what)?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(Errno::WOULDBLOCK) => bail!(
            "another agent works in {}: stop it first, or give this one a --work_dir of its own",
            work_dir.display()
        ),
        Err(error) => Err(error).with_context(what),
    }
}

/// The agent goes, what runs stays: the next agent carries on with it.
fn stopped(signal: &str) -> Result<()> {
    tracing::info!(signal, "agent ends; containers go on");
    Ok(())
}

fn core_config(config: &Config) -> cluster::agent::Config {
    cluster::agent::Config {
        info: config.info.clone(),
        pid: config.pid(),
        ip: config.address.ip().to_string(),
        version: PROTOCOL_VERSION.to_owned(),
        seed: rand::random(),
        registration_backoff: config.times.registration_backoff,
        authentication: config.credential.as_ref().map(|_| config.times.authentication),
        executor_registration_timeout: config.times.executor_registration,
        executor_reregistration_timeout: config.times.executor_reregistration,
        executor_shutdown_grace: config.times.executor_shutdown_grace,
        max_completed_executors: config.max_completed_executors,
    }
}

/// Reads what an earlier agent has left, and decides whether this one may be the same.
fn recover(config: &Config, store: &mut Store, layout: &Layout) -> Result<Recovered> {
    store.purge().context("cannot recover")?;
    let unreadable = if config.strict { Unreadable::Refuse } else { Unreadable::LeaveOut };
    let mut recovered = store
        .read(unreadable)
        .context("cannot recover; with --no-strict the agent starts without what cannot be read")?;
    let boot_id = identity::boot_id().context("cannot read the host's boot id")?;
    let rebooted = identity::has_rebooted(&layout.boot_id(), &boot_id);
    if let Some(known) = recovered.info.clone() {
        match unlike(&known, &config.info, config.reconfiguration) {
            None => {
                if rebooted {
                    tracing::info!("the host has been started anew; containers have ended with it");
                    recovered.rebooted = true;
                }
                let info = AgentInfo { id: known.id.clone(), ..config.info.clone() };
                if info != known {
                    store.write([&Record::Agent(info)])?;
                }
            }
            Some(what) if rebooted => {
                tracing::warn!(
                    what,
                    "changed since the host was started: this agent gets a new id"
                );
                store.forget()?;
                recovered = Recovered::default();
            }
            Some(what) => bail!(
                "the agent in {} had another configuration: {what}. Start it with the old one, or \
                 with --reconfiguration_policy=additive if there is only more of everything, or \
                 remove {} to make it a new agent, which ends its tasks",
                config.work_dir.display(),
                layout.latest().display()
            ),
        }
    }
    store.write_boot_id(&boot_id)?;
    Ok(recovered)
}

/// Says what of a configuration is too different, if anything.
fn unlike(known: &AgentInfo, now: &AgentInfo, policy: Reconfiguration) -> Option<String> {
    if known.hostname != now.hostname {
        return Some(format!("hostname {} became {}", known.hostname, now.hostname));
    }
    if known.port != now.port {
        return Some(format!("port {} became {}", known.port(), now.port()));
    }
    let (before, after) = (known.domain.as_ref(), now.domain.as_ref());
    let domain_may_differ = policy == Reconfiguration::Additive && before.is_none();
    if before != after && !domain_may_differ {
        return Some("the fault domain differs".to_owned());
    }
    let read = |info: &AgentInfo| Resources::from_wire(&info.resources);
    let (Ok(before), Ok(after)) = (read(known), read(now)) else {
        return Some("resources that cannot be read".to_owned());
    };
    let more = after.contains(&before);
    let same = more && before.contains(&after);
    let kept = known.attributes.iter().all(|a| now.attributes.contains(a));
    let same_attributes = kept && now.attributes.len() == known.attributes.len();
    match policy {
        Reconfiguration::Equal if !same => Some(format!("resources {before} became {after}")),
        Reconfiguration::Additive if !more => {
            Some(format!("resources {before} became {after}, which is not more"))
        }
        Reconfiguration::Equal if !same_attributes => Some("attributes differ".to_owned()),
        Reconfiguration::Additive if !kept => Some("attributes are missing".to_owned()),
        _ => None,
    }
}
