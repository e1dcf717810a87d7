//! HTTP: which path means what, and the common form of answers.
//!
//! ```text
//! route      the longest known prefix of a path, by its components
//! media      Content-Type and Accept
//! reply      answers in the words of Mesos
//! scheduler  the scheduler API        stream    its events
//! calls      calls of schedulers that follow each other
//! operator   the operator API         legacy    the older endpoints
//! ```

mod calls;
mod explain;
mod files;
mod forms;
mod legacy;
mod media;
mod operator;
mod reply;
mod route;
mod scheduler;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use endpoints::authentication::{Who, now_secs};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};

use crate::facts::Facts;
use crate::handle::Handle;
use reply::{Response, error, method_not_allowed, not_found};
use route::Endpoint;

/// A body longer than this is refused.
const BODY_MAX: usize = 256 << 20;

/// Answers HTTP requests.
#[derive(Debug)]
pub(crate) struct Server {
    handle: Handle,
    facts: Arc<Facts>,
}

/// A request whose body has come.
#[derive(Debug)]
pub(crate) struct Whole {
    head: hyper::http::request::Parts,
    body: Bytes,
    /// Who makes it, where that is asked.
    principal: Option<Arc<str>>,
}

impl Whole {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }
}

impl Server {
    pub(crate) fn new(handle: Handle, facts: Arc<Facts>) -> Self {
        Self { handle, facts }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        let header = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (endpoint, principal) = match self.admit(head.uri.path(), header) {
            Ok(admitted) => admitted,
            Err(response) => return *response,
        };
        let body = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(cause) => {
                let text = format!("cannot read the request's body: {cause}");
                return error(StatusCode::BAD_REQUEST, text);
            }
        };
        self.dispatch(endpoint, Whole { head, body, principal }).await
    }

    /// What a path means, and who asks for it; or the answer, if it may not be asked for.
    fn admit(
        &self,
        path: &str,
        authorization: Option<&str>,
    ) -> Result<(Endpoint, Option<Arc<str>>), Box<Response>> {
        let found = route::find(path).ok_or_else(|| Box::new(not_found()))?;
        if let Some(text) = self.facts.firewall.forbids(found.process, found.path) {
            return Err(Box::new(error(StatusCode::FORBIDDEN, text)));
        }
        let realm = found.endpoint.realm();
        match self.facts.authentication.admit(realm, authorization, now_secs()) {
            Ok(who) => Ok((found.endpoint, who.and_then(Who::principal))),
            Err(denied) => Err(Box::new(reply::unauthorized(denied))),
        }
    }

    async fn dispatch(&self, endpoint: Endpoint, request: Whole) -> Response {
        let method = &request.head.method;
        let post = matches!(
            endpoint,
            Endpoint::Scheduler | Endpoint::Operator | Endpoint::Form(_) | Endpoint::Machine(_)
        );
        if post && method != Method::POST {
            return method_not_allowed(&["POST"], method);
        }
        match endpoint {
            Endpoint::Scheduler => scheduler::answer(self, request).await,
            Endpoint::Operator => operator::answer(self, request).await,
            Endpoint::Form(form) => forms::answer(self, form, request).await,
            Endpoint::Machine(form) => forms::machines(self, form, request).await,
            Endpoint::Weights => forms::weights(self, request).await,
            Endpoint::Quota => forms::quota(self, request).await,
            Endpoint::Schedule => forms::schedule(self, request).await,
            Endpoint::Get(get) => legacy::answer(self, get, request).await,
        }
    }
}
