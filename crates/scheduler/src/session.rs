//! The owner of a framework's subscription: makes it, reads it, and makes it again.
//!
//! ```text
//!            +--------------- wait (backoff) <--------------+
//!            v                                              |
//!        connect --> SUBSCRIBE --> SUBSCRIBED --> events ---+  stream ends, heartbeats stop
//!            ^            |                         |
//!            +-- 307 -----+                         +--> ERROR event: the end
//! ```
//!
//! One task runs this. Events leave by a bounded channel: a framework that is slow slows the
//! master's stream and nothing else. Calls do not pass here; they use the [`Link`] that this task
//! publishes while a subscription is up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use mesos_api::recordio::Decoder;
use mesos_api::v1;
use mesos_api::v1::FrameworkId;
use mesos_api::v1::scheduler::{Call, call};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::driver::Options;
use crate::error::{Error, Result};
use crate::event::{self, Event, Received, Refusal, Subscribed};
use crate::http::{self, Connection};
use crate::masters::{Masters, Target};
use crate::store;

/// What a master sends at most in one record: a snapshot of offers of a large cluster is some MB.
const RECORD_MAX: usize = 256 * 1024 * 1024;
const DEFAULT_HEARTBEAT_SECS: f64 = 15.0;
/// So many heartbeats may be missing before the master counts as gone.
const MISSED_HEARTBEATS: f64 = 3.0;
/// A leader that redirects to a leader that redirects: an election is going on.
const REDIRECTS_MAX: usize = 5;

/// What a call needs of the subscription that is up.
#[derive(Debug)]
pub(crate) struct Link {
    target: Target,
    pub(crate) stream_id: Option<String>,
    pub(crate) framework_id: FrameworkId,
    /// Held over the answer: Mesos acts in the order of arrival, and calls must arrive in the
    /// order they were made. At most for one answer's deadline.
    pub(crate) calls: tokio::sync::Mutex<Option<Connection>>,
}

/// What the session and the callers share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Held for a copy only.
    link: Mutex<Option<Arc<Link>>>,
    pub(crate) stop: CancellationToken,
    /// Set while the framework is torn down: the master ends the stream before it answers.
    pub(crate) ending: AtomicBool,
}

impl Shared {
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, link: Option<Arc<Link>>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) masters: Masters,
    pub(crate) info: v1::FrameworkInfo,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: mpsc::Sender<Result<Event>>,
    pub(crate) backoff: Backoff,
}

/// The framework's end of the channel is gone, or it was told to stop.
struct Unwanted;

impl Session {
    /// Runs until the framework drops its events, stops, or is refused.
    pub(crate) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        // Dropping the subscription closes its connections: the master sees the stream end.
        let _ = stop.run_until_cancelled(self.subscribe_forever()).await;
        self.shared.publish(None);
    }

    async fn subscribe_forever(&mut self) -> Result<(), Unwanted> {
        loop {
            let cause = match self.subscribe().await {
                Ok(unwanted) => return Err(unwanted),
                Err(cause) => cause,
            };
            self.shared.publish(None);
            if self.shared.ending.load(Ordering::Acquire) {
                return Err(Unwanted);
            }
            if !cause.is_passing() {
                return self.send(Err(cause)).await;
            }
            tracing::debug!(master = self.masters.current(), error = %cause, "subscription is down");
            self.masters.failed();
            self.send(Ok(Event::Disconnected { cause })).await?;
            tokio::time::sleep(self.backoff.next(rand::random())).await;
        }
    }

    async fn send(&self, event: Result<Event>) -> Result<(), Unwanted> {
        self.events.send(event).await.map_err(|_| Unwanted)
    }

    /// One subscription, to its end: an error, unless nobody listens any more.
    async fn subscribe(&mut self) -> Result<Unwanted> {
        self.masters.find().await?;
        for _ in 0..REDIRECTS_MAX {
            let mut connection = Connection::open(self.masters.target()).await?;
            let call = self.subscribe_call();
            let response = connection.post(&call, self.options.encoding, None).await?;
            match response.status() {
                StatusCode::OK => return self.read(connection, response).await,
                StatusCode::TEMPORARY_REDIRECT => {
                    let location = response.headers().get("location");
                    let location = location.and_then(|value| value.to_str().ok());
                    self.masters.redirected(location.unwrap_or_default())?;
                }
                _ => return Err(connection.refusal("SUBSCRIBE", response).await),
            }
        }
        Err(Error::Redirect {
            address: self.masters.current().to_owned(),
            location: "redirects without end".to_owned(),
        })
    }

    fn subscribe_call(&self) -> Call {
        Call {
            r#type: Some(call::Type::Subscribe.into()),
            // Mesos wants it in both places, or in none.
            framework_id: self.info.id.clone(),
            subscribe: Some(call::Subscribe {
                framework_info: self.info.clone(),
                suppressed_roles: self.options.suppressed_roles.clone(),
                offer_constraints: None,
            }),
            ..Default::default()
        }
    }

    async fn read(
        &mut self,
        connection: Connection,
        response: Response<Incoming>,
    ) -> Result<Unwanted> {
        let address = self.masters.current().to_owned();
        let stream_id = response.headers().get("mesos-stream-id");
        let stream_id = stream_id.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = response.into_body();
        let mut decoder = Decoder::new(RECORD_MAX);
        let mut patience = patience(None);
        loop {
            let frame =
                tokio::time::timeout(patience, body.frame()).await.map_err(|_| Error::Timeout {
                    address: address.clone(),
                    seconds: patience.as_secs(),
                    doing: "waiting for an event or a heartbeat",
                })?;
            let Some(frame) = frame else { return Err(Error::Closed { address }) };
            let frame = frame.map_err(|error| Error::http(&address, &error))?;
            let Ok(data) = frame.into_data() else { continue };
            decoder.feed(&data);
            let decode = |message| Error::Decode { address: address.clone(), message };
            while let Some(record) =
                decoder.next_record().map_err(|error| decode(error.to_string()))?
            {
                let event = self.options.encoding.decode(&record).map_err(decode)?;
                let event = match event::receive(event) {
                    Ok(Received::Nothing) => continue,
                    Ok(Received::Event(event)) => event,
                    Ok(Received::Subscribed { framework_id, master, heartbeat_secs }) => {
                        patience = self::patience(heartbeat_secs);
                        let link = self.link(&connection, stream_id.clone(), &framework_id);
                        self.subscribed(framework_id, master, link).await?
                    }
                    Err(Refusal::Refused(message)) => return Err(Error::Refused { message }),
                    Err(Refusal::Incomplete(kind)) => {
                        return Err(decode(format!("{kind} lacks its content")));
                    }
                };
                if self.send(Ok(event)).await.is_err() {
                    return Ok(Unwanted);
                }
            }
        }
    }

    fn link(
        &self,
        connection: &Connection,
        stream_id: Option<String>,
        framework_id: &FrameworkId,
    ) -> Link {
        Link {
            target: connection.target().clone(),
            stream_id,
            framework_id: framework_id.clone(),
            calls: tokio::sync::Mutex::new(None),
        }
    }

    /// Keeps the id before the framework may launch anything under it.
    async fn subscribed(
        &mut self,
        framework_id: FrameworkId,
        master: Option<v1::MasterInfo>,
        link: Link,
    ) -> Result<Event> {
        let again = self.info.id.is_some();
        if let Some(path) = self.options.id_file.clone() {
            let id = framework_id.clone();
            let written = tokio::task::spawn_blocking(move || store::write(&path, &id)).await;
            written.unwrap_or(Ok(()))?;
        }
        self.info.id = Some(framework_id.clone());
        self.backoff.reset();
        self.shared.publish(Some(Arc::new(link)));
        Ok(Event::Subscribed(Subscribed { framework_id, master, again }))
    }
}

fn patience(heartbeat_secs: Option<f64>) -> Duration {
    let heartbeat = heartbeat_secs.filter(|secs| secs.is_finite() && *secs > 0.0);
    let secs = heartbeat.unwrap_or(DEFAULT_HEARTBEAT_SECS) * MISSED_HEARTBEATS;
    Duration::from_secs_f64(secs.clamp(1.0, 24.0 * 3600.0))
}

impl Link {
    /// Makes one call; opens the connection for calls when there is none.
    pub(crate) async fn call(
        &self,
        mut call: Call,
        name: &'static str,
        encoding: crate::Encoding,
    ) -> Result<()> {
        call.framework_id = Some(self.framework_id.clone());
        let mut slot = self.calls.lock().await;
        // Taken out: a caller that gives up in the middle of an answer leaves no half-read one.
        let mut connection = match slot.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => Connection::open(self.target.clone()).await?,
        };
        let response = connection.post(&call, encoding, self.stream_id.as_deref()).await?;
        if !http::is_taken(response.status()) {
            return Err(connection.refusal(name, response).await);
        }
        connection.text(response).await?;
        *slot = Some(connection);
        Ok(())
    }
}
