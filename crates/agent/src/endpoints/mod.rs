//! What the agent tells about itself over HTTP: Mesos' legacy endpoints and its operator API.
//!
//! What is shown is copied out of the driver in one step and written outside of it.

mod files;
mod metrics;
mod nested;
mod operator;
mod state;
mod statistics;

use endpoints::authentication::{Denied, Realm, now_secs};
use endpoints::prometheus;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request as HttpRequest, StatusCode};
use serde_json::{Map, Value as Json, json};
use tokio::sync::oneshot;

use crate::driver::{Request, View};
use crate::server::{Answer, Server, text, whole};

/// Every endpoint.
const KNOWN: &[&str] = &[
    "/api/v1",
    "/containers",
    "/files/browse",
    "/files/debug",
    "/files/download",
    "/files/read",
    "/flags",
    "/health",
    "/help",
    "/logging/toggle",
    "/metrics",
    "/metrics/snapshot",
    "/monitor/statistics",
    "/state",
    "/system/stats.json",
    "/version",
];

/// Answers one request; `path` is without the agent's prefix.
pub(crate) async fn answer(server: &Server, path: &str, request: HttpRequest<Incoming>) -> Answer {
    let query = Query::of(&request);
    let fits =
        |one: &&&str| path == **one || path.strip_prefix(**one).is_some_and(|r| r.starts_with('/'));
    let Some(endpoint) = KNOWN.iter().filter(fits).max_by_key(|one| one.len()) else {
        return text(StatusCode::NOT_FOUND, "404 Not Found.");
    };
    if let Some(refusal) = server.firewall.forbids(process(endpoint), &endpoint[1..]) {
        return text(StatusCode::FORBIDDEN, &refusal);
    }
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Err(denied) = server.authentication.admit(realm(endpoint), header, now_secs()) {
        return unauthorized(&denied);
    }
    if *endpoint == "/api/v1" {
        return operator::answer(server, request).await;
    }
    let shown = match *endpoint {
        "/health" => return text(StatusCode::OK, ""),
        "/help" => return text(StatusCode::OK, &(KNOWN.join("\n") + "\n")),
        "/version" => Ok(value_of(&endpoints::version::version())),
        "/system/stats.json" => return written(&query, endpoints::system::stats()),
        "/logging/toggle" => return toggle(server, &query),
        "/flags" => look(server, |view| json!({"flags": flags(view)})).await,
        "/state" => look(server, state::state).await,
        "/containers" => statistics::containers(server, &query).await,
        "/monitor/statistics" => statistics::monitor(server).await,
        "/metrics" => match metrics::all(server).await {
            Ok(figures) => {
                let figures = figures.into_iter().map(|(name, value)| (name, String::new(), value));
                let body = prometheus::text(figures).into_bytes();
                return whole(StatusCode::OK, prometheus::CONTENT_TYPE, body);
            }
            Err(answer) => Err(answer),
        },
        "/metrics/snapshot" => match endpoints::system::check_timeout(query.get("timeout")) {
            Ok(()) => metrics::snapshot(server).await.map(Json::from),
            Err(why) => Err(text(StatusCode::BAD_REQUEST, &why)),
        },
        other => return files::answer(server, other, &query).await,
    };
    match shown {
        Ok(value) => jsonp(&query, &value),
        Err(answer) => answer,
    }
}

/// Whose an endpoint is; none: the whole program's.
fn process(endpoint: &str) -> Option<&'static str> {
    let program = ["/version", "/metrics", "/files/", "/logging/", "/system/", "/help"];
    let is_programs = program.iter().any(|start| endpoint.starts_with(start));
    (!is_programs).then_some("slave(1)")
}

/// What guards an endpoint, if anything does.
fn realm(endpoint: &str) -> Option<Realm> {
    match endpoint {
        // Who only looks whether somebody is here need not say who it is.
        "/health" | "/version" | "/help" | "/system/stats.json" => None,
        "/api/v1" | "/logging/toggle" => Some(Realm::ReadWrite),
        _ => Some(Realm::ReadOnly),
    }
}

fn toggle(server: &Server, query: &Query) -> Answer {
    match endpoints::system::toggle(&server.verbosity, query.get("level"), query.get("duration")) {
        Ok(said) => text(StatusCode::OK, &said),
        Err(refusal) => text(StatusCode::BAD_REQUEST, &refusal),
    }
}

/// 401, with what would let the client in.
pub(crate) fn unauthorized(denied: &Denied) -> Answer {
    let mut answer = text(StatusCode::UNAUTHORIZED, &denied.text);
    if let Ok(challenge) = HeaderValue::from_str(&denied.challenge) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// Copies something out of the driver.
pub(crate) async fn look<T: Send + 'static>(
    server: &Server,
    what: impl FnOnce(&View<'_>) -> T + Send + 'static,
) -> Result<T, Answer> {
    let (reply, answered) = oneshot::channel();
    let look = Request::Look(Box::new(move |view| {
        let _ = reply.send(what(view)); // whoever asked may be gone
    }));
    let gone = || text(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
    server.driver.send(look).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())
}

fn flags(view: &View<'_>) -> Map<String, Json> {
    view.config.flags.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// Writes JSON; as a call of the function that a browser asks for, if it does.
pub(crate) fn jsonp(query: &Query, value: &Json) -> Answer {
    written(query, value.to_string())
}

/// The same for JSON that is written already.
pub(crate) fn written(query: &Query, body: String) -> Answer {
    match query.get("jsonp") {
        Some(function) => {
            let body = format!("{function}({body})");
            whole(StatusCode::OK, "text/javascript", body.into_bytes())
        }
        None => whole(StatusCode::OK, "application/json", body.into_bytes()),
    }
}

/// The parameters of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &HttpRequest<Incoming>) -> Self {
        Self::parse(request.uri().query().unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Undoes percent-encoding; what is no such code stays as it is.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = || {
            Some(
                char::from(*bytes.get(at + 1)?).to_digit(16)? * 16
                    + char::from(*bytes.get(at + 2)?).to_digit(16)?,
            )
        };
        match (bytes[at], code().and_then(|code| u8::try_from(code).ok())) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A message as a value, in Mesos' JSON.
pub(crate) fn value_of<M: mesos_api::json::Json>(message: &M) -> Json {
    serde_json::from_slice(&mesos_api::json::to_vec(message)).unwrap_or(Json::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("path=%2Fa%20b+c&offset=-1&x&bad=%zz");
        assert_eq!(query.get("path"), Some("/a b c"));
        assert_eq!(query.get("offset"), Some("-1"));
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.get("bad"), Some("%zz"));
        assert_eq!(query.get("none"), None);
    }
}
