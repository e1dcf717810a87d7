//! Calls about sessions, commands inside of containers: launch and attach.

use std::convert::Infallible;
use std::sync::Arc;

use cluster::id::ContainerId;
use futures_util::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request as HttpRequest, Response as HttpResponse, StatusCode};
use mesos_api::recordio::{self, Decoder};
use mesos_api::v1;
use mesos_api::v1::agent::process_io::{self, control, data};
use mesos_api::v1::agent::{Call, ProcessIo, call};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};

use super::{bad, id, missing, nested_id, not_found, outer, refused};
use crate::endpoints::look;
use crate::nested::{
    Entry, Input, InputRight, Launch, Lifeline, Piece, Session, Stream, WindowSize,
};
use crate::server::{Answer, Form, RECORDIO, Server, decode, message_form, text};

/// No record of input may be longer.
const LONGEST: usize = 16 << 20;
const MESSAGE_CONTENT_TYPE: HeaderName = HeaderName::from_static("message-content-type");

/// How an answer of many records is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::endpoints) struct Records {
    form: Form,
    /// The client asked for records, and not for a type of message as clients of long ago do.
    named: bool,
}

impl Records {
    /// What a client wants of an answer of many records.
    pub(in crate::endpoints) fn of(headers: &HeaderMap) -> Result<Self, Answer> {
        let (form, named) = message_form(headers)?;
        Ok(Self { form, named })
    }
}

/// `LAUNCH_NESTED_CONTAINER_SESSION`
pub(in crate::endpoints) async fn launch(server: &Server, call: Call, records: Records) -> Answer {
    match try_launch(server, call).await {
        Ok((lifeline, output)) => stream(server, output, records, Some(lifeline)),
        Err(answer) => answer,
    }
}

async fn try_launch(
    server: &Server,
    call: Call,
) -> Result<(Lifeline, mpsc::Receiver<Piece>), Answer> {
    let name = "launch_nested_container_session";
    let launch = call.launch_nested_container_session.ok_or_else(|| missing(name))?;
    let id = nested_id(&launch.container_id, name)?;
    let command = launch.command.ok_or_else(|| missing(&format!("{name}.command")))?;
    if !command.uris.is_empty() {
        return Err(bad("a session fetches nothing: it runs in its task's sandbox"));
    }
    let container = launch.container.unwrap_or_default();
    let terminal = container.tty_info.map(|info| window(info.window_size.as_ref()));
    let asked = v1::ContainerInfo { r#type: 0, tty_info: None, ..container };
    let none = v1::ContainerInfo { r#type: 0, ..v1::ContainerInfo::default() };
    if asked != none {
        return Err(bad(
            "a session runs in its task's container and has nothing of its own but a \
                        terminal (tty_info)",
        ));
    }
    let (parent, place) = outer(server, &id).await?;
    let why = "no process of its own is there to run it beside";
    let inside =
        place.inside.ok_or_else(|| bad(&format!("cannot run a session in {parent}: {why}")))?;
    let launched = server.nested.begin_session(&id, inside, Launch { command, terminal }).await;
    launched.map_err(|why| refused(why, &format!("cannot run a session in {parent}")))
}

fn window(size: Option<&v1::tty_info::WindowSize>) -> WindowSize {
    // As large as nobody says; programs then take what is usual.
    let of = |number: Option<u32>| number.and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    WindowSize { rows: of(size.map(|it| it.rows)), columns: of(size.map(|it| it.columns)) }
}

/// `ATTACH_CONTAINER_OUTPUT`
pub(in crate::endpoints) async fn output(server: &Server, call: Call, records: Records) -> Answer {
    let name = "attach_container_output";
    let Some(attach) = call.attach_container_output else { return missing(name) };
    let id = match id(&attach.container_id, name) {
        Ok(id) => id,
        Err(answer) => return answer,
    };
    match find(server, &id).await {
        Ok(session) => match session.listen() {
            Some(output) => stream(server, output, records, None),
            None => shut_down(),
        },
        Err(answer) => answer,
    }
}

/// What Mesos says, and its command line understands, of tasks that nobody can attach to.
const SWITCHBOARD: (StatusCode, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "I/O switchboard server was disabled for this container");

/// What Mesos says of a session that has ended.
fn shut_down() -> Answer {
    text(StatusCode::INTERNAL_SERVER_ERROR, "I/O switchboard has shutdown")
}

/// A session. Of other containers is told why they are none.
async fn find(server: &Server, id: &ContainerId) -> Result<Arc<Session>, Answer> {
    let (status, why) = SWITCHBOARD;
    match server.nested.find(id) {
        Some(Entry::Session(session)) => return Ok(session),
        Some(Entry::Ended(_)) => return Err(shut_down()),
        Some(Entry::Container(_)) => return Err(text(status, why)),
        None => {}
    }
    let asked = id.clone();
    match look(server, move |view| view.containers.knows(&asked)).await? {
        true => Err(text(status, why)),
        false => Err(not_found(id)),
    }
}

/// Writes output as records, with a heartbeat now and then, until it ends.
fn stream(
    server: &Server,
    output: mpsc::Receiver<Piece>,
    records: Records,
    lifeline: Option<Lifeline>,
) -> Answer {
    let Records { form, named } = records;
    let every = server.heartbeat;
    let beats = interval_at(Instant::now() + every, every);
    // The session is the connection's: it ends with this.
    let state = (output, beats, lifeline);
    let stream =
        futures_util::stream::unfold(state, move |(mut output, mut beats, lifeline)| async move {
            let message = tokio::select! {
                piece = output.recv() => data_of(piece?),
                _ = beats.tick() => heartbeat(every),
            };
            let record = recordio::encode(&form.encode(&message));
            Some((Ok::<_, Infallible>(Frame::data(record)), (output, beats, lifeline)))
        });
    let mut answer = HttpResponse::new(UnsyncBoxBody::new(StreamBody::new(stream.boxed())));
    let media = HeaderValue::from_static(form.media_type());
    let headers = answer.headers_mut();
    if named {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(RECORDIO));
        headers.insert(MESSAGE_CONTENT_TYPE, media);
    } else {
        headers.insert(CONTENT_TYPE, media);
    }
    answer
}

fn data_of((stream, bytes): Piece) -> ProcessIo {
    let mut data = process_io::Data { data: Some(bytes), ..process_io::Data::default() };
    data.set_type(match stream {
        Stream::Out => data::Type::Stdout,
        Stream::Err => data::Type::Stderr,
    });
    let mut message = ProcessIo { data: Some(data), ..ProcessIo::default() };
    message.set_type(process_io::Type::Data);
    message
}

fn heartbeat(every: std::time::Duration) -> ProcessIo {
    let nanoseconds = i64::try_from(every.as_nanos()).unwrap_or(i64::MAX);
    let interval = Some(v1::DurationInfo { nanoseconds });
    let mut control = process_io::Control {
        heartbeat: Some(control::Heartbeat { interval }),
        ..process_io::Control::default()
    };
    control.set_type(control::Type::Heartbeat);
    let mut message = ProcessIo { control: Some(control), ..ProcessIo::default() };
    message.set_type(process_io::Type::Control);
    message
}

/// `ATTACH_CONTAINER_INPUT`, the one call whose request is records.
pub(in crate::endpoints) async fn input(
    server: &Server,
    form: Form,
    request: HttpRequest<Incoming>,
) -> Answer {
    let mut calls = Calls { body: request.into_body(), decoder: Decoder::new(LONGEST), form };
    match attach(server, &mut calls).await {
        Ok(()) => text(StatusCode::OK, ""),
        Err(answer) => answer,
    }
}

/// The calls in the body of a request.
struct Calls {
    body: Incoming,
    decoder: Decoder,
    form: Form,
}

impl Calls {
    /// The next one; `None` at the end. Nothing is lost when this is dropped.
    async fn next(&mut self) -> Result<Option<Call>, Answer> {
        loop {
            let record = self.decoder.next_record().map_err(|error| bad(&error.to_string()))?;
            if let Some(record) = record {
                return decode(self.form, &record, "Call").map(Some);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.decoder.feed(&bytes);
                    }
                }
                Some(Err(error)) => return Err(bad(&format!("cannot read the body: {error}"))),
                None => return Ok(None),
            }
        }
    }

    /// The next one, which has to be one of input.
    async fn next_input(&mut self) -> Result<Option<call::AttachContainerInput>, Answer> {
        let Some(call) = self.next().await? else { return Ok(None) };
        if call.r#type() != call::Type::AttachContainerInput {
            let name = call.r#type().as_str_name();
            let why =
                format!("Streaming 'Content-Type' {RECORDIO} is not supported for {name} call");
            return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why));
        }
        let name = "attach_container_input";
        call.attach_container_input.ok_or_else(|| missing(name)).map(Some)
    }
}

async fn attach(server: &Server, calls: &mut Calls) -> Result<(), Answer> {
    let name = "attach_container_input";
    let first = calls.next_input().await?;
    let first = first.ok_or_else(|| bad("Received EOF while reading request body"))?;
    let (call::attach_container_input::Type::ContainerId, Some(wire)) =
        (first.r#type(), &first.container_id)
    else {
        return Err(bad("Expecting 'attach_container_input.type' to be CONTAINER_ID"));
    };
    let id = id(wire, name)?;
    let session = find(server, &id).await?;
    if session.status().is_some() {
        return Err(shut_down());
    }
    let Some(right) = session.claim_input() else {
        return Err(text(StatusCode::CONFLICT, "Multiple input connections are not allowed"));
    };
    loop {
        let next = tokio::select! {
            next = calls.next_input() => next?,
            () = right.ended() => return Ok(()),
        };
        // The end of a connection is not that of the input: another may go on with it.
        let Some(next) = next else { return Ok(()) };
        let (call::attach_container_input::Type::ProcessIo, Some(message)) =
            (next.r#type(), next.process_io)
        else {
            return Err(bad("Expecting 'attach_container_input.type' to be PROCESS_IO"));
        };
        if !pass_on(&right, message).await? {
            return Ok(());
        }
    }
}

/// Hands one message over; false once the command has ended.
async fn pass_on(right: &InputRight, message: ProcessIo) -> Result<bool, Answer> {
    let bad = |why: &str| Err(bad(why));
    match (message.r#type(), message.data, message.control) {
        (process_io::Type::Data, Some(data), _) => {
            if data.r#type() != data::Type::Stdin {
                return bad("Expecting 'process_io.data.type' to be STDIN");
            }
            let bytes = data.data.unwrap_or_default();
            let input = if bytes.is_empty() { Input::End } else { Input::Data(bytes) };
            Ok(right.send(input).await)
        }
        (process_io::Type::Control, _, Some(control)) => match control.r#type() {
            control::Type::Heartbeat => Ok(true),
            control::Type::TtyInfo => {
                let size = control.tty_info.and_then(|info| info.window_size);
                let Some(size) = size else {
                    return bad("Expecting 'tty_info.window_size' to be present");
                };
                Ok(right.send(Input::Resize(window(Some(&size)))).await)
            }
            control::Type::Unknown => bad("'process_io.control.type' is unknown"),
        },
        (process_io::Type::Data, None, _) => bad("Expecting 'process_io.data' to be present"),
        (process_io::Type::Control, _, None) => bad("Expecting 'process_io.control' to be present"),
        (process_io::Type::Unknown, ..) => bad("'process_io.type' is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_terminals_that_cannot_be_are_none() {
        let of = |rows, columns| window(Some(&v1::tty_info::WindowSize { rows, columns }));
        assert_eq!(of(24, 80), WindowSize { rows: 24, columns: 80 });
        assert_eq!(of(1 << 20, 80), WindowSize { rows: 0, columns: 80 });
        assert_eq!(window(None), WindowSize { rows: 0, columns: 0 });
    }
}
