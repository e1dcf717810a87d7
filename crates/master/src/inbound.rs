//! Messages that other processes send: from agents, and from the drivers of old frameworks.

use std::sync::Arc;

use bytes::BytesMut;
use cluster::master::{Input, Scheduler};
use cluster::wire::{FromAgent, FromAuthenticatee};
use mesos_api::internal::SchedulerCall;
use mesos_api::libprocess::{ACCEPTED, Decoder, Request, Upid};
use mesos_api::v1;
use mesos_api::v1::scheduler::call;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::handle::Handle;
use crate::socket;

/// A message longer than this is refused. An agent that comes back with thousands of tasks sends
/// a few megabytes.
const MESSAGE_MAX: usize = 256 << 20;

/// The only process here.
const PROCESS: &str = "master";

/// Why drivers that do not make calls are not served.
const TOO_OLD: &str = "This master serves scheduler drivers that send mesos.scheduler.Call, as those \
                       of Mesos 1.0 and later do; rebuild the framework against a later libmesos or \
                       use the scheduler HTTP API at /api/v1/scheduler";

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// Why a message is dropped.
#[derive(Debug, Error)]
enum Dropped {
    #[error("there is no process '{0}' here")]
    NoProcess(String),
    #[error(transparent)]
    Wire(#[from] cluster::wire::WireError),
    #[error(
        "the driver does not make calls, as very old drivers do; it is told that it is not served"
    )]
    OldDriver,
    #[error("bad mesos.scheduler.Call message: {0}")]
    Call(mesos_api::WireError),
}

/// Takes the messages of a connection until it ends.
pub(crate) async fn serve(mut stream: TcpStream, first: BytesMut, handle: Handle) {
    let mut decoder = Decoder::new(MESSAGE_MAX);
    *decoder.buffer() = first;
    let mut answers = Vec::new();
    loop {
        let Ok(turn) = handle.turn().await else { return };
        // What came together is handed on together.
        let mut taken = Taken::default();
        let ended = taken.take_all(&mut decoder, &mut answers);
        if taken.inputs.is_empty() {
            drop(turn);
        } else {
            turn.tell_all(taken.inputs);
        }
        for (from, message) in taken.authentications {
            if handle.authenticate(from, message).await.is_err() {
                return;
            }
        }
        for pid in taken.too_old {
            if handle.refuse(pid, TOO_OLD).await.is_err() {
                return;
            }
        }
        if !answers.is_empty() && stream.write_all(&answers).await.is_err() || ended {
            return;
        }
        answers.clear();
        if decoder.buffer().is_empty() {
            // Thousands of agents are silent most of the time: none keeps the space of a burst.
            *decoder.buffer() = BytesMut::new();
            answers = Vec::new();
        }
        match socket::read(&stream, decoder.buffer()).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

/// What messages that came together mean.
#[derive(Debug, Default)]
struct Taken {
    inputs: Vec<Input>,
    /// Nobody registers before the end of an authentication: what came along is older.
    authentications: Vec<(Arc<str>, FromAuthenticatee)>,
    /// Drivers that are to be told that they are not served.
    too_old: Vec<Arc<str>>,
}

impl Taken {
    /// Takes the messages that have come whole. Whether the connection cannot be read on.
    fn take_all(&mut self, decoder: &mut Decoder, answers: &mut Vec<u8>) -> bool {
        // A peer sends from one process mostly: its name is made once.
        let mut sender: Option<(Arc<Upid>, Arc<str>)> = None;
        loop {
            let request = match decoder.next_request() {
                Ok(Some(request)) => request,
                Ok(None) => return false,
                Err(error) => {
                    let peer = sender.as_ref().map(|(_, pid)| &**pid);
                    tracing::warn!(peer, %error, "connection is not understood");
                    return true;
                }
            };
            let pid = match &sender {
                Some((upid, pid)) if Arc::ptr_eq(upid, &request.from) => Arc::clone(pid),
                _ => {
                    let pid = Arc::from(request.from.to_string());
                    sender = Some((Arc::clone(&request.from), Arc::clone(&pid)));
                    pid
                }
            };
            answers.extend_from_slice(self.take(pid, request));
        }
    }

    /// Takes a message; what its sender is answered.
    fn take(&mut self, pid: Arc<str>, request: Request) -> &'static [u8] {
        match meaning(Arc::clone(&pid), request) {
            Ok(Meaning::Input(input)) => self.inputs.push(input),
            Ok(Meaning::Authentication(message)) => self.authentications.push((pid, message)),
            Err(Dropped::NoProcess(_)) => return NOT_FOUND,
            Err(error) => {
                tracing::warn!(%pid, %error, "message dropped");
                if matches!(error, Dropped::OldDriver) {
                    self.too_old.push(pid);
                }
            }
        }
        ACCEPTED
    }
}

enum Meaning {
    Input(Input),
    Authentication(FromAuthenticatee),
}

/// What a message means for the driver.
fn meaning(pid: Arc<str>, request: Request) -> Result<Meaning, Dropped> {
    if request.to != PROCESS {
        return Err(Dropped::NoProcess(request.to));
    }
    if request.name == "mesos.scheduler.Call" {
        let call: SchedulerCall = mesos_api::decode(&request.body).map_err(Dropped::Call)?;
        return Ok(Meaning::Input(Input::Call {
            request: None,
            from: Some(Scheduler::Pid(pid)),
            principal: None,
            call: Box::new(modern(call)),
        }));
    }
    if request.name.starts_with("mesos.internal.Authenticat") {
        let message = FromAuthenticatee::decode(&request.name, &request.body)?;
        return Ok(Meaning::Authentication(message));
    }
    if matches!(
        &*request.name,
        "mesos.internal.RegisterFrameworkMessage" | "mesos.internal.ReregisterFrameworkMessage"
    ) {
        return Err(Dropped::OldDriver);
    }
    let message = Box::new(FromAgent::decode(&request.name, &request.body)?);
    Ok(Meaning::Input(Input::Agent { pid, message }))
}

/// The call of an old driver as one of API v1.
fn modern(call: SchedulerCall) -> v1::scheduler::Call {
    v1::scheduler::Call {
        framework_id: call.framework_id,
        r#type: call.r#type,
        subscribe: call.subscribe.map(|subscribe| call::Subscribe {
            framework_info: subscribe.framework_info,
            suppressed_roles: subscribe.suppressed_roles,
            offer_constraints: subscribe.offer_constraints,
        }),
        accept: call.accept,
        decline: call.decline,
        accept_inverse_offers: call.accept_inverse_offers,
        decline_inverse_offers: call.decline_inverse_offers,
        revive: call.revive,
        kill: call.kill,
        shutdown: call.shutdown,
        acknowledge: call.acknowledge,
        acknowledge_operation_status: call.acknowledge_operation_status,
        reconcile: call.reconcile,
        reconcile_operations: call.reconcile_operations,
        message: call.message,
        request: call.request,
        suppress: call.suppress,
        update_framework: call.update_framework,
    }
}
