//! HTTP: which path means what, and the common form of answers.
//!
//! ```text
//! route      the longest known prefix of a path, by its components
//! gate       who is let in, and where
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
pub(crate) mod gate;
mod legacy;
mod media;
mod operator;
pub(crate) mod reply;
pub(crate) mod route;
mod scheduler;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use crate::facts::Facts;
use crate::handle::Handle;
use reply::{Response, error, method_not_allowed};
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
        let shown = gate::authorization(&head.headers);
        let (endpoint, principal) = match self.facts.gate.admit(head.uri.path(), shown) {
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
