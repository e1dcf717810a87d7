//! What a user sees: real binaries, real kernel, `teu` and the stock docker CLI.

/// Runs each test once with `teu` and once with the stock `docker` command line.
macro_rules! both_clients {
    ($($test:ident),* $(,)?) => {
        mod teu {
            $(#[test] fn $test() -> anyhow::Result<()> { super::with(e2e::Program::Teu, super::$test) })*
        }
        mod docker {
            $(#[test] fn $test() -> anyhow::Result<()> { super::with(e2e::Program::Docker, super::$test) })*
        }
    };
}

mod api;
mod bad_input;
mod build;
mod cluster;
mod command_options;
mod compose;
mod containers;
mod dockerfile;
mod doctor;
mod files;
mod firewalls;
mod images;
mod layer_quotas;
mod leftovers;
mod lifecycle;
mod links;
mod names;
mod network;
mod network_options;
mod networks;
mod options;
mod recovery;
mod registries;
mod security;
mod streams;
mod swarm;
mod tls;
mod user_namespaces;
mod walkthrough;
mod websockets;

use anyhow::Result;
use e2e::{Client, Host, Program, is_root};

/// One test's world: a daemon with a busybox image, and the client under test.
struct World {
    host: Host,
    client: Client,
}

impl World {
    fn new(program: Program) -> Result<Self> {
        let host = Host::start()?;
        host.load_busybox()?;
        let client = host.client(program);
        Ok(Self { host, client })
    }
}

fn with(program: Program, test: fn(&World) -> Result<()>) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let world = World::new(program)?;
    let tested = test(&world);
    if let Err(error) = &tested {
        // Told before the clean-up, which fails the test by itself where something is left.
        eprintln!("{error:?}");
    }
    tested
}
