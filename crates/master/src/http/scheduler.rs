//! The scheduler API: `POST /api/v1/scheduler`.

use std::sync::Arc;

use cluster::master::{Input, Reply, Scheduler};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use mesos_api::v1::scheduler::{Call, call};

use super::media::{JSON, Media, PROTOBUF};
use super::reply::{self, Body, Response, bad_request, error};
use super::stream::EventStream;
use super::{Server, Whole};

const STREAM_ID: &str = "mesos-stream-id";

/// Answers a call.
pub(super) async fn answer(server: &Server, request: Whole) -> Response {
    let call = match read(&request) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let stream = request.header(STREAM_ID);
    // Who is not answered with a body need not say what it may be.
    let answered = matches!(call.r#type(), call::Type::Subscribe | call::Type::ReconcileOperations);
    let media = match Media::accepted(request.header("accept")) {
        Some(media) => media,
        None if answered => return not_acceptable(),
        None => Media::Json,
    };
    if call.r#type() == call::Type::Subscribe {
        if stream.is_some() {
            return bad_request("Subscribe calls should not include the 'Mesos-Stream-Id' header");
        }
        return subscribe(server, media, request.principal, Box::new(call)).await;
    }
    let from = stream.map(|stream| Scheduler::Stream(stream.into()));
    let certain = stream.is_some_and(|stream| is_certain(server, stream, &call));
    let call = Box::new(call);
    let principal = request.principal;
    if certain {
        let input = Input::Call { request: None, from, principal, call };
        return reply::from_core(server.handle.tell(input).await.map(|()| Reply::Accepted));
    }
    reply::from_core(
        server
            .handle
            .ask(|request| Input::Call { request: Some(request), from, principal, call })
            .await,
    )
}

/// Whether the answer is known before the driver has seen the call. A scheduler then does not wait
/// for the driver's turn with each of the many calls it makes one after the other.
pub(super) fn is_certain(server: &Server, stream: &str, call: &Call) -> bool {
    let framework = call.framework_id.as_ref().map_or("", |id| &*id.value);
    cluster::master::is_accepted_anyway(call) && server.handle.speaks_for(stream, framework)
}

fn read(request: &Whole) -> Result<Call, Box<Response>> {
    let media = content(request)?;
    media.read(&request.body).map_err(|error| Box::new(bad_request(error.to_string())))
}

/// The form of a request's body.
pub(super) fn content(request: &Whole) -> Result<Media, Box<Response>> {
    let Some(content_type) = request.header("content-type") else {
        return Err(Box::new(bad_request("Expecting 'Content-Type' to be present")));
    };
    Media::of(content_type).ok_or_else(|| {
        let text = format!("Expecting 'Content-Type' of {JSON} or {PROTOBUF}");
        Box::new(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
    })
}

fn not_acceptable() -> Response {
    let text = format!("Expecting 'Accept' to allow '{PROTOBUF}' or '{JSON}'");
    error(StatusCode::NOT_ACCEPTABLE, text)
}

async fn subscribe(
    server: &Server,
    media: Media,
    principal: Option<Arc<str>>,
    call: Box<Call>,
) -> Response {
    let id: Arc<str> = crate::uuid::random().into();
    let header = match HeaderValue::from_str(&id) {
        Ok(header) => header,
        Err(cause) => return error(StatusCode::INTERNAL_SERVER_ERROR, cause.to_string()),
    };
    match server.handle.subscribe(Arc::clone(&id), principal, call).await {
        Ok((Reply::Streaming, events)) => {
            let heartbeat = server.facts.heartbeat_interval;
            let events = EventStream::new(id, events, media, heartbeat, server.handle.clone());
            let headers = vec![(HeaderName::from_static(STREAM_ID), header)];
            reply::stream(media.name(), headers, Body::Events(Box::new(events)))
        }
        Ok((other, _)) => reply::from_core(Ok(other)),
        Err(gone) => reply::ending(gone),
    }
}
