//! Messages that other processes send: from agents, and from the drivers of old frameworks.

use std::sync::Arc;

use bytes::BytesMut;
use cluster::master::{Input, Scheduler};
use cluster::wire::FromAgent;
use mesos_api::internal::SchedulerCall;
use mesos_api::libprocess::{ACCEPTED, Decoder, Request};
use mesos_api::v1;
use mesos_api::v1::scheduler::call;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::handle::{Gone, Handle};

/// A message longer than this is refused. An agent that comes back with thousands of tasks sends
/// a few megabytes.
const MESSAGE_MAX: usize = 256 << 20;

/// The only process here.
const PROCESS: &str = "master";

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// Why a message is dropped.
#[derive(Debug, Error)]
enum Dropped {
    #[error("there is no process '{0}' here")]
    NoProcess(String),
    #[error(transparent)]
    Wire(#[from] cluster::wire::WireError),
    #[error("bad mesos.scheduler.Call message: {0}")]
    Call(mesos_api::WireError),
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// Takes the messages of a connection until it ends.
pub(crate) async fn serve(mut stream: TcpStream, first: BytesMut, handle: Handle) {
    let mut decoder = Decoder::new(MESSAGE_MAX);
    *decoder.buffer() = first;
    // A peer sends from one process mostly: its name is made once.
    let mut pid: Option<Arc<str>> = None;
    loop {
        let mut answers = Vec::new();
        loop {
            let request = match decoder.next_request() {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(peer = pid.as_deref(), %error, "connection is not understood");
                    return;
                }
            };
            let from = request.from.to_string();
            let pid = pid.take_if(|known| **known == *from).unwrap_or_else(|| from.into());
            let answer = match take(&handle, Arc::clone(&pid), request).await {
                Ok(()) => ACCEPTED,
                Err(Dropped::Gone(_)) => return,
                Err(Dropped::NoProcess(_)) => NOT_FOUND,
                Err(error) => {
                    tracing::warn!(%pid, %error, "message dropped");
                    ACCEPTED
                }
            };
            answers.extend_from_slice(answer);
        }
        if !answers.is_empty() && stream.write_all(&answers).await.is_err() {
            return;
        }
        match stream.read_buf(decoder.buffer()).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn take(handle: &Handle, pid: Arc<str>, request: Request) -> Result<(), Dropped> {
    if request.to != PROCESS {
        return Err(Dropped::NoProcess(request.to));
    }
    let input = if request.name == "mesos.scheduler.Call" {
        let call: SchedulerCall = mesos_api::decode(&request.body).map_err(Dropped::Call)?;
        Input::Call {
            request: None,
            from: Some(Scheduler::Pid(pid)),
            principal: None,
            call: Box::new(modern(call)),
        }
    } else {
        let message = Box::new(FromAgent::decode(&request.name, &request.body)?);
        Input::Agent { pid, message }
    };
    Ok(handle.tell(input).await?)
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
