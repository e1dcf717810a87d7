//! The older endpoints that are read. Their JSON is not that of any message: numbers are doubles,
//! resources are sums by name, and tools of many years rely on the keys.

mod agents;
mod frameworks;
mod resources;
mod roles;
mod summary;
mod tasks;

use std::sync::Arc;

use cluster::master::Snapshot;
use endpoints::version::version;
use endpoints::{prometheus, system};
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use mesos_api::json::{self, Json, Writer};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::forms::Fields;
use super::reply::{self, Response, bad_request, method_not_allowed};
use super::route::{self, Get};
use super::{Server, Whole, files};
use crate::facts::Facts;
use crate::{metrics, view};

/// `/state` of a large cluster is tens of megabytes, which leave in pieces of this size.
const STATE_PIECE: usize = 256 * 1024;

/// Answers a request that only reads.
pub(super) async fn answer(server: &Server, get: Get, request: Whole) -> Response {
    if !matches!(request.head.method, Method::GET | Method::HEAD) {
        // Mesos' own endpoints of this kind take any method, and clients POST to some.
        if request.head.method != Method::POST {
            return method_not_allowed(&["GET", "POST"], &request.head.method);
        }
    }
    let query = Fields::parse(request.query());
    if get == Get::MetricsSnapshot
        && let Err(text) = system::check_timeout(query.get("timeout"))
    {
        return bad_request(text);
    }
    match get {
        Get::Health => reply::empty(StatusCode::OK),
        Get::Version => reply::json(json::to_string(&version())),
        Get::Flags => reply::jsonp(flags(server), query.get("jsonp")),
        Get::Redirect => redirect(server),
        Get::SystemStats => reply::jsonp(system::stats(), query.get("jsonp")),
        Get::LoggingToggle => toggle(server, &query),
        Get::FilesBrowse | Get::FilesRead | Get::FilesDownload | Get::FilesDebug => {
            files::answer(server, get, &request).await
        }
        Get::Help => help(),
        Get::Explain => super::explain::answer(server, &query).await,
        Get::State
        | Get::StateSummary
        | Get::Agents
        | Get::Frameworks
        | Get::Tasks
        | Get::Roles
        | Get::MaintenanceStatus
        | Get::MetricsSnapshot
        | Get::Prometheus => from_snapshot(server, get, query).await,
    }
}

/// `/logging/toggle`
fn toggle(server: &Server, query: &Fields) -> Response {
    match system::toggle(&server.facts.verbosity, query.get("level"), query.get("duration")) {
        Ok(text) if text.is_empty() => reply::empty(StatusCode::OK),
        Ok(text) => reply::text("text/plain; charset=utf-8", text),
        Err(text) => bad_request(text),
    }
}

/// Writes an answer from a snapshot, on a thread where it may take its time.
async fn from_snapshot(server: &Server, get: Get, query: Fields) -> Response {
    let snapshot = match server.handle.snapshot().await {
        Ok(snapshot) => snapshot,
        Err(gone) => return reply::ending(gone),
    };
    let facts = Arc::clone(&server.facts);
    if matches!(get, Get::State) {
        let (pieces, text) = unbounded_channel();
        tokio::task::spawn_blocking(move || state(&facts, &snapshot, pieces));
        return reply::jsonp_in_pieces(text, query.get("jsonp")).await;
    }
    let handle = server.handle();
    let written = tokio::task::spawn_blocking(move || match get {
        Get::Prometheus => {
            let text = metrics::prometheus(&facts, &handle, &snapshot);
            reply::text(prometheus::CONTENT_TYPE, text)
        }
        Get::MetricsSnapshot => {
            reply::jsonp(metrics::json(&facts, &handle, &snapshot), query.get("jsonp"))
        }
        Get::StateSummary => reply::jsonp(summary::write(&facts, &snapshot), query.get("jsonp")),
        Get::Agents => reply::jsonp(agents::write(&snapshot, &query), query.get("jsonp")),
        Get::Frameworks => reply::jsonp(frameworks::write(&snapshot, &query), query.get("jsonp")),
        Get::Tasks => reply::jsonp(tasks::write(&snapshot, &query), query.get("jsonp")),
        Get::Roles => reply::jsonp(roles::write(&snapshot), query.get("jsonp")),
        _ => reply::jsonp(json::to_string(&snapshot.maintenance), query.get("jsonp")),
    })
    .await;
    written.unwrap_or_else(|cause| {
        reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("writing the answer failed: {cause}"),
        )
    })
}

/// `/weights`
pub(super) async fn weights(server: &Server) -> Response {
    match server.handle.snapshot().await {
        Ok(snapshot) => {
            let mut to = Writer::new();
            to.begin_array();
            view::weights(&snapshot).iter().for_each(|weight| weight.write_json(&mut to));
            to.end_array();
            reply::json(to.into_string())
        }
        Err(gone) => reply::ending(gone),
    }
}

/// `/quota`
pub(super) async fn quota(server: &Server) -> Response {
    match server.handle.snapshot().await {
        Ok(snapshot) => reply::json(json::to_string(&view::quota(&snapshot))),
        Err(gone) => reply::ending(gone),
    }
}

/// `/maintenance/schedule`
pub(super) async fn schedule(server: &Server, request: &Whole) -> Response {
    let query = Fields::parse(request.query());
    match server.handle.snapshot().await {
        Ok(snapshot) => reply::jsonp(json::to_string(&snapshot.schedule), query.get("jsonp")),
        Err(gone) => reply::ending(gone),
    }
}

fn redirect(server: &Server) -> Response {
    let mut response = reply::empty(StatusCode::TEMPORARY_REDIRECT);
    let location = format!("//{}:{}", server.facts.hostname(), server.facts.info.port);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn flags(server: &Server) -> String {
    let mut to = Writer::new();
    to.begin_object();
    write_flags(&server.facts, &mut to);
    to.end_object();
    to.into_string()
}

fn write_flags(facts: &Facts, to: &mut Writer) {
    to.object("flags", |to| {
        for (name, value) in &facts.flags {
            to.name(name);
            to.string(value);
        }
    });
}

fn help() -> Response {
    let mut paths: Vec<&str> = route::all().collect();
    paths.sort_unstable();
    let lines: Vec<String> = paths.iter().map(|path| format!("/{path}\n")).collect();
    reply::text("text/plain; charset=utf-8", lines.concat())
}

/// `/state`
fn state(facts: &Facts, snapshot: &Snapshot, pieces: UnboundedSender<String>) {
    // Whoever asked may have gone away.
    let mut to = Writer::in_pieces(STATE_PIECE, move |piece| drop(pieces.send(piece)));
    to.begin_object();
    let version = version();
    member(&mut to, "version", &version.version);
    member(&mut to, "build_date", version.build_date());
    number(&mut to, "build_time", version.build_time());
    member(&mut to, "build_user", version.build_user());
    number(&mut to, "start_time", facts.started.as_secs_f64());
    number(&mut to, "elected_time", facts.elected.as_secs_f64());
    member(&mut to, "id", &facts.info.id);
    member(&mut to, "pid", facts.pid());
    member(&mut to, "hostname", facts.hostname());
    to.array("capabilities", |to| {
        for capability in &facts.info.capabilities {
            to.string(capability.r#type().as_str_name());
        }
    });
    let counts = metrics::agent_counts(snapshot);
    number(&mut to, "activated_slaves", counts.active);
    number(&mut to, "deactivated_slaves", counts.inactive);
    number(&mut to, "unreachable_slaves", counts.unreachable);
    if let Some(domain) = &facts.info.domain {
        to.name("domain");
        domain.write_json(&mut to);
    }
    member(&mut to, "leader", facts.pid());
    to.object("leader_info", |to| leader(facts, to));
    if let Some(cluster) = &facts.cluster {
        member(&mut to, "cluster", cluster);
    }
    write_flags(facts, &mut to);
    agents::members(snapshot, &mut to);
    frameworks::members(snapshot, &mut to);
    to.array("orphan_tasks", |_| {});
    to.array("unregistered_frameworks", |_| {});
    to.end_object();
    to.finish();
}

fn leader(facts: &Facts, to: &mut Writer) {
    member(to, "id", &facts.info.id);
    member(to, "pid", facts.pid());
    to.name("port");
    to.u64(u64::from(facts.info.port));
    member(to, "hostname", facts.hostname());
    if let Some(domain) = &facts.info.domain {
        to.name("domain");
        domain.write_json(to);
    }
}

/// A member that is a string.
pub(super) fn member(to: &mut Writer, name: &str, value: &str) {
    to.name(name);
    to.string(value);
}

/// A member that is a number.
pub(super) fn number(to: &mut Writer, name: &str, value: f64) {
    to.name(name);
    to.f64(value);
}

/// A member that is true or false.
pub(super) fn flag(to: &mut Writer, name: &str, value: bool) {
    to.name(name);
    to.bool(value);
}

/// A member that is an array of labels.
pub(super) fn labels(to: &mut Writer, labels: &mesos_api::v1::Labels) {
    to.messages("labels", &labels.labels);
}
