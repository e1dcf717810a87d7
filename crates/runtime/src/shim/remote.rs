//! Sends lines to a log service. Runs in the log helper alone, which may wait: the shim's loop goes
//! on, and makes the container wait if its log is to lose nothing.
//!
//! A connection that broke is made anew, at once and then at most every second; what cannot be
//! sent meanwhile is lost, as with Docker, and told on standard error.

mod fluentd;
mod gelf;
mod journald;
mod link;
mod syslog;

use std::io;
use std::time::{Duration, Instant};

use link::Link;

use super::log::Source;
use super::protocol::remote::{Address, Remote};

/// How long a service that cannot be reached is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection to a log service.
#[derive(Debug)]
pub(super) struct Service {
    config: Remote,
    link: Option<Link>,
    /// When the last attempt to connect failed.
    failed_at: Option<Instant>,
}

/// One line, or a piece of a long one.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    source: Source,
    /// Without its line feed.
    text: &'a [u8],
    /// More of the line follows.
    partial: bool,
    time_ns: i64,
}

impl Service {
    /// Connects, so that a service that is not there fails the container's start.
    pub(super) fn connect(config: &Remote) -> io::Result<Self> {
        let mut service = Self { config: config.clone(), link: None, failed_at: None };
        match service.reconnect() {
            Err(_) if matches!(config, Remote::Fluentd(fluentd) if fluentd.lazily) => Ok(service),
            Err(error) => Err(error),
            Ok(()) => Ok(service),
        }
    }

    /// Sends `text`, which ends with a line feed unless more of its line follows.
    pub(super) fn send(&mut self, source: Source, text: &[u8], time_ns: i64) -> io::Result<()> {
        let (text, partial) = match text.strip_suffix(b"\n") {
            Some(text) => (text, false),
            None => (text, true),
        };
        let entry = Entry { source, text, partial, time_ns };
        let messages = match &self.config {
            Remote::Syslog(config) => vec![syslog::message(config, entry)?],
            Remote::Journald(config) => vec![journald::message(config, entry)],
            Remote::Gelf(config) => gelf::messages(config, entry)?,
            Remote::Fluentd(config) => vec![fluentd::message(config, entry)],
        };
        for message in messages {
            self.deliver(&message)?;
        }
        Ok(())
    }

    fn deliver(&mut self, message: &[u8]) -> io::Result<()> {
        if self.link.as_ref().is_some_and(Link::is_closed) {
            self.link = None;
        }
        if let Some(link) = &mut self.link
            && link.send(message).is_ok()
        {
            return Ok(());
        }
        self.link = None;
        if self.failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.reconnect()?;
        let Some(link) = &mut self.link else { return Err(io::ErrorKind::NotConnected.into()) };
        let sent = link.send(message);
        if sent.is_err() {
            self.link = None;
        }
        sent
    }

    fn reconnect(&mut self) -> io::Result<()> {
        let opened = match &self.config {
            Remote::Syslog(config) => match &config.address {
                Some(address) => Link::open(address),
                None => syslog::local(),
            },
            Remote::Journald(_) => journald::open(),
            Remote::Gelf(config) => Link::open(&config.address),
            Remote::Fluentd(config) => Link::open(&config.address),
        };
        match opened {
            Ok(link) => {
                self.link = Some(link);
                self.failed_at = None;
                Ok(())
            }
            Err(error) => {
                let error = io::Error::new(error.kind(), format!("{}: {error}", self.name()));
                // Once, not for every line that is lost.
                if self.failed_at.replace(Instant::now()).is_none() {
                    eprintln!("{error}");
                }
                Err(error)
            }
        }
    }

    /// Names the service in messages.
    fn name(&self) -> String {
        let (kind, address) = match &self.config {
            Remote::Syslog(config) => ("syslog", config.address.as_ref()),
            Remote::Journald(_) => ("journald", None),
            Remote::Gelf(config) => ("gelf", Some(&config.address)),
            Remote::Fluentd(config) => ("fluentd", Some(&config.address)),
        };
        match address {
            None => kind.to_owned(),
            Some(Address::Udp(host)) => format!("{kind} at udp://{host}"),
            Some(Address::Tcp(host)) => format!("{kind} at tcp://{host}"),
            Some(Address::Unix(path)) => format!("{kind} at unix://{}", path.display()),
            Some(Address::Unixgram(path)) => format!("{kind} at unixgram://{}", path.display()),
        }
    }
}

/// Severities of syslog, which journal and Graylog share.
fn severity(source: Source) -> u8 {
    match source {
        Source::Stdout => 6,
        Source::Stderr => 3,
    }
}

#[cfg(test)]
mod tests;
