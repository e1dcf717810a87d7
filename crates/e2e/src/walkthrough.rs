//! The reference walkthrough, typed by a program: an nginx image made by hand, then served.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::Client;
use crate::host::bin_dir;
use crate::wait::eventually;

/// Bash's prompt in a fresh container, as root.
const PROMPT: &str = "# ";
/// Downloading and unpacking packages inside the container.
const INSTALL: Duration = Duration::from_secs(300);
const TYPING: Duration = Duration::from_secs(30);

/// One pass through the walkthrough against one daemon.
#[derive(Debug)]
pub struct Walkthrough {
    client: Client,
    port: u16,
}

impl Walkthrough {
    /// Chooses the port: 80, or a free one (and says so) where 80 is taken.
    pub fn new(client: Client) -> Result<Self> {
        let port = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)) {
            Ok(_) => 80,
            Err(error) => {
                let port = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port();
                eprintln!("port 80 cannot be used ({error}); the walkthrough uses {port}");
                port
            }
        };
        Ok(Self { client, port })
    }

    /// The port the page answers on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Installs and configures nginx in a container at a terminal, then commits it.
    pub fn make_image(&self) -> Result<()> {
        let mut pty = self.client.terminal(&[
            "run",
            "-it",
            "--name",
            "mydocker",
            "debian:bookworm",
            "/bin/bash",
        ])?;
        pty.expect(PROMPT, TYPING)?;
        for (line, within) in self.typed() {
            // The answer is asked for in a form that the echoed command line does not contain.
            pty.send_line(&format!("{line} && echo do''ne || echo fai''led"))?;
            let shown = pty.expect("done\r", within).with_context(|| format!("typed {line:?}"))?;
            ensure!(!shown.contains("failed\r"), "{line:?} failed: {shown}");
            pty.expect(PROMPT, TYPING)?;
        }
        pty.send_line("exit")?;
        let (status, shown) = pty.finish(TYPING)?;
        ensure!(status.success(), "the container's shell ended with {status}: {shown}");
        let id = self.client.run(&["commit", "mydocker", "mydocker:v4"])?;
        ensure!(id.starts_with("sha256:"), "commit printed {id:?}");
        Ok(())
    }

    /// Serves the page on the host's own network from a terminal; returns it.
    pub fn host_page(&self) -> Result<String> {
        let mut pty = self.client.terminal(&[
            "run",
            "-it",
            "--net=host",
            "mydocker:v4",
            "/bin/bash",
            "/run.sh",
        ])?;
        let page = self.fetch();
        pty.send("\x03")?;
        let (status, shown) = pty.finish(TYPING)?;
        ensure!(status.code() == Some(130), "Ctrl-C ended the container with {status}: {shown}");
        page
    }

    /// Serves the page from the default bridge in the background; returns it.
    pub fn bridge_page(&self) -> Result<String> {
        let publish = format!("{0}:{0}", self.port);
        self.client.run(&["rm", "mydocker"])?;
        self.client.run(&[
            "run",
            "-it",
            "--net=bridge",
            "--name",
            "mydocker",
            "-d",
            "-p",
            &publish,
            "mydocker:v4",
            "/bin/bash",
            "/run.sh",
        ])?;
        self.fetch()
    }

    /// Moves the container to a network of its own; returns the page before, by the published port,
    /// and by the gateway's address.
    pub fn network_pages(&self) -> Result<Vec<String>> {
        let mut pages = vec![self.fetch()?];
        self.client.run(&["network", "disconnect", "bridge", "mydocker"])?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        ensure!(crate::http::get(address).is_err(), "the page answers without a network");
        let links = self.client.run(&["exec", "mydocker", "cat", "/proc/net/dev"])?;
        let interfaces = links.lines().filter(|line| line.contains(':'));
        ensure!(interfaces.clone().count() == 1 && links.contains("lo:"), "{links}");
        let id = self.client.run(&["network", "create", "mynet"])?;
        ensure!(id.trim().len() == 64, "network create printed {id:?}");
        self.client.run(&["network", "connect", "mynet", "mydocker"])?;
        pages.push(self.fetch()?);
        let shown = self.client.run(&["network", "inspect", "mynet"])?;
        let shown: Vec<serde_json::Value> = serde_json::from_str(&shown)?;
        let [network] = shown.as_slice() else { anyhow::bail!("not one network: {shown:?}") };
        for key in [
            "Name",
            "Id",
            "Scope",
            "Driver",
            "EnableIPv6",
            "IPAM",
            "Internal",
            "Containers",
            "Options",
            "Labels",
        ] {
            ensure!(network.get(key).is_some(), "{key} is not in {network}");
        }
        let gateway = network["IPAM"]["Config"][0]["Gateway"].as_str().context("a gateway")?;
        let address = SocketAddr::from((gateway.parse::<Ipv4Addr>()?, self.port));
        pages.push(eventually("the page answers by the gateway", || crate::http::get(address))?);
        Ok(pages)
    }

    /// Removes every container and network the walkthrough made.
    pub fn clean_up(&self) -> Result<()> {
        for id in
            self.client.run(&["ps", "-aq", "--filter", "ancestor=mydocker:v4"])?.split_whitespace()
        {
            self.client.run(&["rm", "-f", id])?;
        }
        self.client.run(&["rm", "-f", "mydocker"])?;
        self.client.run(&["network", "rm", "-f", "mynet"]).map(drop)
    }

    fn typed(&self) -> Vec<(String, Duration)> {
        let server = format!(
            "server {{ listen {}; location / {{ root /home; index index.html; }} }}",
            self.port
        );
        let lines = [
            ("apt-get update".to_owned(), INSTALL),
            ("apt-get install -y nginx vim".to_owned(), INSTALL),
            ("nginx -t".to_owned(), TYPING),
            ("sed -i '/sites-enabled/d' /etc/nginx/nginx.conf".to_owned(), TYPING),
            (
                format!("sed -i 's#include /etc/nginx/conf.d/.*#{server}#' /etc/nginx/nginx.conf"),
                TYPING,
            ),
            (
                "echo '<h1>served by nginx in a container that Teu made</h1>' > /home/index.html"
                    .to_owned(),
                TYPING,
            ),
            ("echo nginx > /run.sh".to_owned(), TYPING),
            ("echo tail -f /var/log/nginx/access.log >> /run.sh".to_owned(), TYPING),
            ("nginx -t".to_owned(), TYPING),
        ];
        lines.into()
    }

    /// Fetches the page that somebody else started to serve.
    pub fn page(&self) -> Result<String> {
        self.fetch()
    }

    fn fetch(&self) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        eventually("the page answers", || crate::http::get(address))
    }
}

/// Makes `debian:bookworm` available: from the cache of an earlier run, else bootstrapped.
pub fn base_image(teu: &Client) -> Result<()> {
    let cache = cache_path();
    if cache.is_file() {
        teu.run(&["load", "-i", &cache.to_string_lossy()])?;
        return Ok(());
    }
    teu.run(&["bootstrap", "debian:bookworm"])?;
    let partial = cache.with_extension(format!("{}", std::process::id()));
    teu.run(&["save", "-o", &partial.to_string_lossy(), "debian:bookworm"])?;
    std::fs::rename(partial, cache)?;
    Ok(())
}

fn cache_path() -> PathBuf {
    bin_dir().join("debian-bookworm.tar")
}
