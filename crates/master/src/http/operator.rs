//! The operator API: `POST /api/v1`. Calls that read are answered from a snapshot, the others by
//! the core.

mod state;

use std::sync::Arc;
use std::time::Duration;

use cluster::master::Snapshot;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use mesos_api::json::{self, Writer};
use mesos_api::v1::master::{Call, Event, Response as Answer, call, event, response};
use mesos_api::v1::{DurationInfo, Flag, Metric};

use super::media::{JSON, Media, PROTOBUF, RECORDIO, allows};
use super::reply::{self, Body, Response, bad_request, error};
use super::scheduler::content;
use super::stream::OperatorStream;
use super::{Server, Whole, files, forms};
use crate::facts::Facts;
use crate::handle::Handle;
use crate::{metrics, view};

/// Answers a call.
pub(super) async fn answer(server: &Server, request: Whole) -> Response {
    let media = match content(&request) {
        Ok(media) => media,
        Err(response) => return *response,
    };
    let call: Call = match media.read(&request.body) {
        Ok(call) => call,
        Err(error) => return bad_request(error.to_string()),
    };
    if call.r#type.is_none() {
        return invalid("type");
    }
    let Some(accepted) = Accepted::of(&request) else {
        let text = format!("Expecting 'Accept' to allow '{PROTOBUF}' or '{JSON}'");
        return error(StatusCode::NOT_ACCEPTABLE, text);
    };
    match call.r#type() {
        call::Type::Subscribe => subscribe(server, accepted).await,
        call::Type::SetLoggingLevel => set_logging_level(server, call),
        call::Type::ListFiles => match call.list_files {
            Some(call) => files::list(server, &call, accepted.media).await,
            None => invalid("list_files"),
        },
        call::Type::ReadFile => match call.read_file {
            Some(call) => files::read(server, &call, accepted.media).await,
            None => invalid("read_file"),
        },
        call::Type::GetMetrics if call.get_metrics.is_none() => invalid("get_metrics"),
        call::Type::Unknown => reply::empty(StatusCode::NOT_IMPLEMENTED),
        call::Type::DrainAgent if media == Media::Json && misnames_grace(&request.body) => {
            let text = "'drain_agent.max_grace_period' has 'seconds' and 'nanos', no 'nanoseconds'";
            bad_request(text.to_owned())
        }
        kind if reads(kind) => read(server, kind, accepted.media).await,
        _ => forms::operate(server, request.principal.clone(), call).await,
    }
}

fn invalid(field: &str) -> Response {
    bad_request(format!("Failed to validate master::Call: Expecting '{field}' to be present"))
}

/// Whether the grace of DRAIN_AGENT is written as all other durations are: it would be none at all,
/// and every task would end at once.
fn misnames_grace(body: &[u8]) -> bool {
    let Ok(call) = json::parse(body) else { return false };
    let grace = call.get("drain_agent").and_then(|drain| drain.get("max_grace_period"));
    grace.is_some_and(|grace| grace.get("nanoseconds").is_some())
}

/// What a client takes: for a stream, the form of the messages may be named apart.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    media: Media,
    recordio: bool,
}

impl Accepted {
    fn of(request: &Whole) -> Option<Self> {
        let accept = request.header("accept");
        let recordio =
            accept.is_some_and(|accept| allows(accept, RECORDIO) && !accept.contains('*'));
        let media = match request.header("message-accept") {
            Some(messages) if recordio => Media::accepted(Some(messages)),
            _ if recordio && Media::accepted(accept).is_none() => Some(Media::Json),
            _ => Media::accepted(accept),
        };
        media.map(|media| Self { media, recordio })
    }
}

fn reads(kind: call::Type) -> bool {
    use call::Type;

    matches!(
        kind,
        Type::GetHealth
            | Type::GetFlags
            | Type::GetVersion
            | Type::GetMetrics
            | Type::GetLoggingLevel
            | Type::GetState
            | Type::GetAgents
            | Type::GetFrameworks
            | Type::GetExecutors
            | Type::GetOperations
            | Type::GetTasks
            | Type::GetRoles
            | Type::GetWeights
            | Type::GetMaster
            | Type::GetMaintenanceStatus
            | Type::GetMaintenanceSchedule
            | Type::GetQuota
    )
}

async fn read(server: &Server, kind: call::Type, media: Media) -> Response {
    let snapshot = match server.handle.snapshot().await {
        Ok(snapshot) => snapshot,
        Err(gone) => return reply::ending(gone),
    };
    let facts = Arc::clone(&server.facts);
    let handle = server.handle();
    let written = tokio::task::spawn_blocking(move || {
        if media == Media::Json
            && let Some(text) = state::json(kind, &snapshot)
        {
            return text.into_bytes();
        }
        media.write(&message(kind, &facts, &handle, &snapshot))
    });
    match written.await {
        Ok(bytes) => reply::message(media, bytes),
        Err(cause) => {
            error(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the answer failed: {cause}"))
        }
    }
}

/// The answer to a call that reads.
fn message(kind: call::Type, facts: &Facts, handle: &Handle, snapshot: &Snapshot) -> Answer {
    use response::Type;

    let mut answer = Answer::default();
    let of = match kind {
        call::Type::GetFlags => {
            answer.get_flags = Some(response::GetFlags { flags: flags(facts) });
            Type::GetFlags
        }
        call::Type::GetVersion => {
            let version_info = endpoints::version::version();
            answer.get_version = Some(response::GetVersion { version_info });
            Type::GetVersion
        }
        call::Type::GetMetrics => {
            let metrics = metrics::all(facts, handle, snapshot).into_iter();
            let metrics =
                metrics.map(|(name, value)| Metric { name, value: Some(value) }).collect();
            answer.get_metrics = Some(response::GetMetrics { metrics });
            Type::GetMetrics
        }
        call::Type::GetLoggingLevel => {
            let level = facts.verbosity.level();
            answer.get_logging_level = Some(response::GetLoggingLevel { level });
            Type::GetLoggingLevel
        }
        call::Type::GetState => {
            answer.get_state = Some(state::get_state(snapshot));
            Type::GetState
        }
        call::Type::GetAgents => {
            answer.get_agents = Some(state::get_agents(snapshot));
            Type::GetAgents
        }
        call::Type::GetFrameworks => {
            answer.get_frameworks = Some(state::get_frameworks(snapshot));
            Type::GetFrameworks
        }
        call::Type::GetExecutors => {
            answer.get_executors = Some(state::get_executors(snapshot));
            Type::GetExecutors
        }
        call::Type::GetOperations => {
            let operations = snapshot.operations.clone();
            answer.get_operations = Some(response::GetOperations { operations });
            Type::GetOperations
        }
        call::Type::GetTasks => {
            answer.get_tasks = Some(state::get_tasks(snapshot));
            Type::GetTasks
        }
        call::Type::GetRoles => {
            answer.get_roles = Some(response::GetRoles { roles: view::roles(snapshot) });
            Type::GetRoles
        }
        call::Type::GetWeights => {
            // Mesos leaves the field out where there is nothing to say.
            let weight_infos = view::weights(snapshot);
            answer.get_weights =
                (!weight_infos.is_empty()).then_some(response::GetWeights { weight_infos });
            Type::GetWeights
        }
        call::Type::GetMaster => {
            answer.get_master = Some(response::GetMaster {
                master_info: Some(facts.info.clone()),
                start_time: Some(facts.started.as_secs_f64()),
                elected_time: Some(facts.elected.as_secs_f64()),
            });
            Type::GetMaster
        }
        call::Type::GetMaintenanceStatus => {
            let status = snapshot.maintenance.clone();
            answer.get_maintenance_status = Some(response::GetMaintenanceStatus { status });
            Type::GetMaintenanceStatus
        }
        call::Type::GetMaintenanceSchedule => {
            let schedule = snapshot.schedule.clone();
            answer.get_maintenance_schedule = Some(response::GetMaintenanceSchedule { schedule });
            Type::GetMaintenanceSchedule
        }
        call::Type::GetQuota => {
            let status = view::quota(snapshot);
            answer.get_quota = Some(response::GetQuota { status });
            Type::GetQuota
        }
        _ => {
            answer.get_health = Some(response::GetHealth { healthy: true });
            Type::GetHealth
        }
    };
    answer.set_type(of);
    answer
}

fn flags(facts: &Facts) -> Vec<Flag> {
    let flag = |(name, value): (&&str, &String)| Flag {
        name: (*name).to_owned(),
        value: Some(value.clone()),
    };
    facts.flags.iter().map(flag).collect()
}

fn set_logging_level(server: &Server, call: Call) -> Response {
    match call.set_logging_level {
        None => invalid("set_logging_level"),
        Some(set) => match span(set.duration) {
            Some(duration) => {
                server.facts.verbosity.set(set.level, duration);
                reply::empty(StatusCode::OK)
            }
            None => bad_request("Failed to validate master::Call: the duration is negative"),
        },
    }
}

fn span(duration: DurationInfo) -> Option<Duration> {
    u64::try_from(duration.nanoseconds).ok().map(Duration::from_nanos)
}

async fn subscribe(server: &Server, accepted: Accepted) -> Response {
    let (snapshot, changes) = match server.handle.listen().await {
        Ok(listening) => listening,
        Err(gone) => return reply::ending(gone),
    };
    let heartbeat = server.facts.heartbeat_interval;
    let media = accepted.media;
    let first = tokio::task::spawn_blocking(move || match media {
        Media::Json => state::subscribed(&snapshot, heartbeat).into_bytes(),
        Media::Protobuf => media.write(&subscribed(&snapshot, heartbeat)),
    });
    let first = match first.await {
        Ok(first) => first,
        Err(cause) => return error(StatusCode::INTERNAL_SERVER_ERROR, cause.to_string()),
    };
    let stream = Body::Operator(Box::new(OperatorStream::new(first, changes, media, heartbeat)));
    if accepted.recordio {
        let name = HeaderName::from_static("message-content-type");
        let headers = vec![(name, HeaderValue::from_static(media.name()))];
        return reply::stream(RECORDIO, headers, stream);
    }
    reply::stream(media.name(), Vec::new(), stream)
}

fn subscribed(snapshot: &Snapshot, heartbeat: Duration) -> Event {
    Event {
        r#type: Some(event::Type::Subscribed.into()),
        subscribed: Some(event::Subscribed {
            get_state: Some(state::get_state(snapshot)),
            heartbeat_interval_seconds: Some(heartbeat.as_secs_f64()),
        }),
        ..Event::default()
    }
}

/// Names the type and opens the member that answers a call.
fn answer_of(kind: &str, name: &str, members: impl FnOnce(&mut Writer)) -> String {
    let mut to = Writer::with_capacity(1 << 14);
    to.begin_object();
    to.name("type");
    to.string(kind);
    to.object(name, members);
    to.end_object();
    to.into_string()
}
