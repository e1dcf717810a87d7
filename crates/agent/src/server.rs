//! The agent's port: messages of the master, the executor API, and the endpoints.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::agent::{Caller, Input};
use cluster::wire::{FromAuthenticator, ToAgent};
use endpoints::authentication::{Authentication, Realm, Who, now_secs};
use endpoints::firewall::Firewall;
use endpoints::heads;
use futures_util::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use logging::Verbosity;
use mesos_api::json::{self, Json};
use mesos_api::v1::executor;
use mesos_api::{libprocess, recordio};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::authenticatee;
use crate::driver::Request;
use crate::fetch::Fetcher;
use crate::gc::Collected;
use crate::nested::Nested;

/// No body of a call or a message may be longer.
const MAX_BODY: usize = 64 << 20;
/// How long a peer may take for the headers of a request, once they begin.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Answer = Response<Body>;

/// What every connection needs.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) driver: mpsc::Sender<Request>,
    pub(crate) heartbeat: Duration,
    pub(crate) verbosity: Verbosity,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) firewall: Arc<Firewall>,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) collected: Arc<Collected>,
    pub(crate) nested: Arc<Nested>,
}

/// Takes connections for as long as the process lives.
pub(crate) async fn serve(listener: TcpListener, server: Server) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Ends with its connection, or with the process.
                tokio::spawn(connection(stream, server.clone()));
            }
            Err(error) => {
                // Out of descriptors: connections that end give some back.
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, server: Server) {
    let _ = stream.set_nodelay(true); // only latency is lost without it
    if let Err(error) = heads::probe_silent_peer(&stream) {
        tracing::debug!(%error, "connection is gone already");
        return;
    }
    let (stream, timer) = heads::noted(stream);
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(&server, request).await) }
    });
    let served = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(server: &Server, request: HttpRequest<Incoming>) -> Answer {
    let path = request.uri().path().replace("%28", "(").replace("%29", ")");
    let message_to = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    if let Some((process, name)) = message_to
        && authenticatee::is_name(process)
    {
        return authentication(server, process, name, request).await;
    }
    let local =
        path.strip_prefix("/slave(1)").filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let local = local.unwrap_or(&path).to_owned();
    if let Some(name) = local.strip_prefix("/mesos.internal.") {
        let name = format!("mesos.internal.{name}");
        return message(server, &name, request).await;
    }
    // The longest prefix that is an endpoint answers: what follows it is not looked at.
    if local == "/api/v1/executor" || local.starts_with("/api/v1/executor/") {
        if let Some(refusal) = server.firewall.forbids(Some("slave(1)"), "api/v1/executor") {
            return text(StatusCode::FORBIDDEN, &refusal);
        }
        return executor_api(server, request).await;
    }
    crate::endpoints::answer(server, &local, request).await
}

/// A libprocess message: accepted as soon as it is understood.
async fn message(server: &Server, name: &str, request: HttpRequest<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let body = match body(request).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    match ToAgent::decode(name, &body) {
        Ok(message) => {
            match &message {
                ToAgent::Registered(_) | ToAgent::Reregistered(_) => {
                    tracing::info!(message = name, "registered");
                }
                ToAgent::RunTask(run) => {
                    tracing::info!(task_id = %run.task.task_id, "task to run");
                }
                ToAgent::KillTask(kill) => {
                    tracing::info!(task_id = %kill.task_id, "task to kill");
                }
                _ => tracing::debug!(message = name, "from the master"),
            }
            let input = Input::FromMaster(Box::new(message));
            if server.driver.send(Request::Input(input)).await.is_err() {
                return text(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
            }
        }
        // A newer master may say things that this agent does not know; libprocess drops them too.
        Err(error) => tracing::warn!(message = name, %error, "a message is not understood"),
    }
    text(StatusCode::ACCEPTED, "")
}

/// A step of the master that this agent proves itself to.
async fn authentication(
    server: &Server,
    to: &str,
    name: &str,
    request: HttpRequest<Incoming>,
) -> Answer {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(from) = libprocess::sender_of(header) else {
        return text(StatusCode::BAD_REQUEST, "Failed to determine sender from request headers");
    };
    let body = match body(request).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    match FromAuthenticator::decode(name, &body) {
        Ok(message) => {
            let request = Request::Authentication { to: to.to_owned(), from: from.id, message };
            if server.driver.send(request).await.is_err() {
                return text(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
            }
        }
        Err(error) => tracing::warn!(message = name, %error, "a message is not understood"),
    }
    text(StatusCode::ACCEPTED, "")
}

/// Reads the body of a request.
pub(crate) async fn body(request: HttpRequest<Incoming>) -> Result<Bytes, Answer> {
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(text(StatusCode::BAD_REQUEST, &format!("cannot read the body: {error}"))),
    }
}

/// How messages are written in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Protobuf,
}

impl Form {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    pub(crate) fn encode<M: Message + Json>(self, message: &M) -> Vec<u8> {
        match self {
            Self::Json => json::to_vec(message),
            Self::Protobuf => message.encode_to_vec(),
        }
    }
}

/// The media type of a body that is records.
pub(crate) const RECORDIO: &str = "application/recordio";

/// Whether a media type that may be used stands in a list of those that a client takes.
fn takes(accepted: &str, wanted: &str) -> bool {
    accepted
        .split(',')
        .map(|one| one.split(';').next().unwrap_or_default().trim())
        .any(|one| one == wanted || one == "*/*" || one == "application/*")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The form of the messages in an answer of many records, and whether the client has asked for
/// records by name.
pub(crate) fn message_form(headers: &HeaderMap) -> Result<(Form, bool), Answer> {
    let accepted = header(headers, "accept").unwrap_or("*/*");
    let refuse = |name: &str| {
        let why = format!(
            "Expecting '{name}' to allow application/json or application/x-protobuf or {RECORDIO}"
        );
        Err(text(StatusCode::NOT_ACCEPTABLE, &why))
    };
    if takes(accepted, "application/json") {
        return Ok((Form::Json, false));
    }
    if takes(accepted, "application/x-protobuf") {
        return Ok((Form::Protobuf, false));
    }
    if !takes(accepted, RECORDIO) {
        return refuse("Accept");
    }
    let accepted = header(headers, "message-accept").unwrap_or("*/*");
    if takes(accepted, "application/json") {
        return Ok((Form::Json, true));
    }
    if takes(accepted, "application/x-protobuf") {
        return Ok((Form::Protobuf, true));
    }
    refuse("Message-Accept")
}

/// The form of the messages in a request that is records; `None` for any other request.
pub(crate) fn record_form(headers: &HeaderMap) -> Result<Option<Form>, Answer> {
    let media = |name| {
        let value = header(headers, name)?;
        Some(value.split(';').next().unwrap_or_default().trim())
    };
    if media("content-type") != Some(RECORDIO) {
        return Ok(None);
    }
    match media("message-content-type") {
        Some("application/json") => Ok(Some(Form::Json)),
        Some("application/x-protobuf") => Ok(Some(Form::Protobuf)),
        Some(_) => Err(text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Expecting 'Message-Content-Type' of application/json or application/x-protobuf",
        )),
        None => Err(text(
            StatusCode::BAD_REQUEST,
            "Expecting 'Message-Content-Type' to be set for streaming requests",
        )),
    }
}

/// Tells the form of an answer; refuses in Mesos' words, which name the forms as given.
pub(crate) fn accepted_form(headers: &HeaderMap, forms: &str) -> Result<Form, Answer> {
    let accepted = header(headers, "accept").unwrap_or("*/*");
    if takes(accepted, "application/json") {
        Ok(Form::Json)
    } else if takes(accepted, "application/x-protobuf") {
        Ok(Form::Protobuf)
    } else {
        let why = format!("Expecting 'Accept' to allow {forms}");
        Err(text(StatusCode::NOT_ACCEPTABLE, &why))
    }
}

/// Tells the form of a call; refuses in Mesos' words, which name the forms as given.
pub(crate) fn content_form(request: &HttpRequest<Incoming>, forms: &str) -> Result<Form, Answer> {
    let method = request.method();
    if method != Method::POST {
        let why = format!(
            "405 Method Not Allowed. Expecting one of {{ 'POST' }}, but received '{method}'."
        );
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &why);
        answer
            .headers_mut()
            .insert(hyper::header::ALLOW, hyper::header::HeaderValue::from_static("POST"));
        return Err(answer);
    }
    let Some(kind) = header(request.headers(), "content-type") else {
        return Err(text(StatusCode::BAD_REQUEST, "Expecting 'Content-Type' to be present"));
    };
    Ok(match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => Form::Json,
        "application/x-protobuf" => Form::Protobuf,
        _ => {
            let why = format!("Expecting 'Content-Type' of {forms}");
            return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why));
        }
    })
}

/// Reads a call.
pub(crate) fn decode<M: Message + Json>(form: Form, body: &[u8], name: &str) -> Result<M, Answer> {
    let refuse = |why: String| Err(text(StatusCode::BAD_REQUEST, &why));
    match form {
        Form::Json => match json::from_slice(body) {
            Ok(call) => Ok(call),
            Err(error @ json::JsonError::Syntax(_)) => refuse(error.to_string()),
            Err(error) => refuse(format!("Failed to convert JSON into {name} protobuf: {error}")),
        },
        Form::Protobuf => mesos_api::decode(body)
            .or_else(|error| refuse(format!("Failed to parse body into {name} protobuf: {error}"))),
    }
}

async fn executor_api(server: &Server, request: HttpRequest<Incoming>) -> Answer {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = match server.authentication.admit(Some(Realm::Executor), header, now_secs()) {
        Ok(who) => who.map(caller),
        Err(denied) => return crate::endpoints::unauthorized(&denied),
    };
    let kind = match content_form(&request, "application/json or application/x-protobuf") {
        Ok(kind) => kind,
        Err(answer) => return answer,
    };
    let accept = accepted_form(request.headers(), "'application/x-protobuf' or 'application/json'");
    let body = match body(request).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let call: executor::Call = match decode(kind, &body, "Executor::Call") {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    let accept = match (call.r#type(), accept) {
        // The ids in it may be anything: libmesos sends it with some that nobody has.
        (executor::call::Type::Heartbeat, _) => return text(StatusCode::ACCEPTED, ""),
        (executor::call::Type::Subscribe, Err(answer)) => return answer,
        // No other answer has a form.
        (_, accept) => accept.unwrap_or(Form::Json),
    };
    let (reply, answered) = oneshot::channel();
    let asked = server.driver.send(Request::Call { call: Box::new(call), caller, reply }).await;
    let (Ok(()), Ok(answered)) = (asked, answered.await) else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
    };
    match answered {
        Ok(None) => text(StatusCode::ACCEPTED, ""),
        Ok(Some(events)) => subscription(events, accept, server.heartbeat),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            text(status, &refusal.text)
        }
    }
}

/// Who calls, as the core is told it.
fn caller(who: Who) -> Caller {
    let name = who.to_string();
    match who {
        Who::Principal(_) => Caller { name, claims: BTreeMap::new() },
        Who::Claims(claims) => Caller { name, claims },
    }
}

fn subscription(
    events: mpsc::Receiver<executor::Event>,
    form: Form,
    heartbeat: Duration,
) -> Answer {
    let beats = tokio::time::interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
    let stream =
        futures_util::stream::unfold((events, beats), move |(mut events, mut beats)| async move {
            let event = tokio::select! {
                event = events.recv() => event?,
                _ = beats.tick() => {
                    let mut event = executor::Event::default();
                    event.set_type(executor::event::Type::Heartbeat);
                    event
                }
            };
            let record = recordio::encode(&form.encode(&event));
            Some((Ok::<_, Infallible>(Frame::data(record)), (events, beats)))
        });
    let body = UnsyncBoxBody::new(StreamBody::new(stream.boxed()));
    let mut answer = Response::new(body);
    let media = hyper::header::HeaderValue::from_static(form.media_type());
    answer.headers_mut().insert(CONTENT_TYPE, media);
    answer
}

/// An answer of plain text.
pub(crate) fn text(status: StatusCode, text: &str) -> Answer {
    whole(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

/// An answer in one piece.
pub(crate) fn whole(status: StatusCode, media_type: &'static str, bytes: Vec<u8>) -> Answer {
    let empty = bytes.is_empty();
    let mut answer = Response::new(UnsyncBoxBody::new(Full::new(Bytes::from(bytes))));
    *answer.status_mut() = status;
    if !empty {
        let value = hyper::header::HeaderValue::from_static(media_type);
        answer.headers_mut().insert(CONTENT_TYPE, value);
    }
    answer
}
