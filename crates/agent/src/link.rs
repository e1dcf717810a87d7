//! The connection to the master: messages go out on it in order, its end is the master's loss.

use std::net::SocketAddrV4;
use std::time::Duration;

use cluster::agent::Input;
use cluster::wire::FromAgent;
use endpoints::heads;
use mesos_api::libprocess::{self, Upid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::authenticatee::Step;
use crate::driver::Request;
use crate::whereabouts::Whereabouts;

/// How many messages may wait for the master's socket before the connection counts as broken.
pub(crate) const QUEUE: usize = 4096;
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is sent may go unheard by the master's host.
const UNHEARD_MILLIS: u32 = 30_000;
/// Pause between attempts to reach the master; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// A message to the master.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Agent(Box<FromAgent>),
    Authentication(Step),
    /// Nothing to say; the master is to be looked for anew.
    Redial,
}

impl Outgoing {
    /// Appends it as it is sent by the agent to the master, or by and to other processes that have
    /// their addresses.
    fn encode(&self, out: &mut Vec<u8>, own: &Upid, master: &Upid) {
        match self {
            Self::Agent(message) => {
                libprocess::encode(out, own, master, message.name(), &message.encode());
            }
            Self::Redial => {}
            Self::Authentication(step) => {
                let from = Upid::new(step.from.clone(), own.address);
                let to = Upid::new(step.to.clone(), master.address);
                libprocess::encode(out, &from, &to, step.message.name(), &step.message.encode());
            }
        }
    }
}

/// Keeps a connection to the master, for as long as the driver lives.
pub(crate) async fn keep(
    master: Whereabouts,
    own: Upid,
    driver: mpsc::Sender<Request>,
    mut messages: mpsc::Receiver<Outgoing>,
) {
    let mut pause = PAUSE_FIRST;
    loop {
        match dial(&master).await {
            Ok((stream, address)) => {
                tracing::info!(master = %address, "connected to the master");
                pause = PAUSE_FIRST;
                // What waits is of a connection that is gone: the core asks and sends anew.
                while messages.try_recv().is_ok() {}
                if driver.send(Request::Input(Input::Master(true))).await.is_err() {
                    return;
                }
                let to = Upid::new("master", address);
                match speak(stream, &own, &to, &mut messages).await {
                    Ended::Driver => return,
                    Ended::Connection(error) => {
                        tracing::warn!(master = %address, %error, "lost the master");
                    }
                }
                if driver.send(Request::Input(Input::Master(false))).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if pause == PAUSE_FIRST {
                    tracing::warn!(%master, %error, "cannot reach the master, trying again");
                } else {
                    tracing::debug!(%master, %error, "cannot reach the master");
                }
            }
        }
        if driver.is_closed() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

async fn dial(master: &Whereabouts) -> anyhow::Result<(TcpStream, SocketAddrV4)> {
    let address = master.find().await?;
    let stream = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    // A host that is gone says nothing, and whoever leads instead waits for this agent.
    heads::probe_silent_peer(&stream)?;
    rustix::net::sockopt::set_tcp_user_timeout(&stream, UNHEARD_MILLIS)?;
    Ok((stream, address))
}

enum Ended {
    Driver,
    Connection(std::io::Error),
}

/// Writes messages and drains the answers, which say nothing but that they arrived.
async fn speak(
    stream: TcpStream,
    own: &Upid,
    to: &Upid,
    messages: &mut mpsc::Receiver<Outgoing>,
) -> Ended {
    let (mut reader, mut writer) = stream.into_split();
    let mut answers = vec![0; 4096];
    loop {
        tokio::select! {
            read = reader.read(&mut answers) => match read {
                Ok(0) => {
                    let error = std::io::Error::new(
                        std::io::ErrorKind::UnexpectedEof,
                        "the master closed the connection",
                    );
                    return Ended::Connection(error);
                }
                Ok(_) => {}
                Err(error) => return Ended::Connection(error),
            },
            message = messages.recv() => {
                let Some(message) = message else { return Ended::Driver };
                if matches!(message, Outgoing::Redial) {
                    let error = std::io::Error::other("it does not answer; who leads is asked anew");
                    return Ended::Connection(error);
                }
                let mut bytes = Vec::new();
                message.encode(&mut bytes, own, to);
                if let Err(error) = writer.write_all(&bytes).await {
                    return Ended::Connection(error);
                }
            }
        }
    }
}
