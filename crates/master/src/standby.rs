//! A master that waits to lead: it sends whoever asks to the one that does, and hears no messages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::registry::Registry;
use election::{Candidacy, Lineage, Standing};
use endpoints::heads;
use endpoints::prometheus;
use endpoints::version::version;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mesos_api::json::{self, Writer};
use mesos_api::v1::MasterInfo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::gate::{self, Gate};
use crate::http::reply::{self, Response};
use crate::http::route::{Endpoint, Get};
use crate::options::Zk;
use crate::run::RunError;
use crate::store::{Store, StoreError};

/// How long a peer may take for the headers of a request, once they begin.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two attempts to stand.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two attempts to open a registry that another has open.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(50);

/// Who leads, as far as is known.
type Leader = Option<Arc<MasterInfo>>;

/// What is told of a master that does not lead.
#[derive(Debug)]
pub(crate) struct Standby {
    pub(crate) info: MasterInfo,
    pub(crate) flags: BTreeMap<&'static str, String>,
    pub(crate) started: Instant,
    pub(crate) gate: Gate,
}

/// Stands for election and waits until this master leads; none if it is told to stop before.
pub(crate) async fn until_leading(
    zk: &Zk,
    standby: Standby,
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Result<Option<Candidacy>, RunError> {
    let (told, leader) = watch::channel(None);
    let standby = Arc::new(standby);
    let leading = async {
        loop {
            match stand(zk, &standby.info, &told).await {
                // Somebody who does not lead may well wait for ZooKeeper.
                Err(error) if error.is_passing() => {
                    let error = RunError::Election(error);
                    tracing::warn!(error = crate::run::chain(&error), "trying again");
                    told.send_replace(None);
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    };
    tokio::select! {
        candidacy = leading => candidacy.map(Some).map_err(RunError::Election),
        never = serve(listener, leader, Arc::clone(&standby)) => match never {},
        () = stop.cancelled() => Ok(None),
    }
}

async fn stand(
    zk: &Zk,
    info: &MasterInfo,
    told: &watch::Sender<Leader>,
) -> Result<Candidacy, election::Error> {
    let mut candidacy = Candidacy::stand(zk.address.clone(), zk.session_timeout, info).await?;
    loop {
        match candidacy.changed().await? {
            Standing::Leads => return Ok(candidacy),
            Standing::Follows(other) => {
                tracing::info!(zk = %zk.address, leader = other.pid, "standing by");
                told.send_replace(Some(Arc::from(other)));
            }
        }
    }
}

/// Opens the registry of the master that led before, which ends as its session does and may take a
/// moment to let go of it; none if this one is told to stop before.
pub(crate) async fn take_over(
    work_dir: &Path,
    candidacy: &Candidacy,
    stop: &CancellationToken,
) -> Result<Option<(Store, Registry)>, RunError> {
    let until = Instant::now() + candidacy.session_timeout();
    loop {
        match Store::open(work_dir) {
            Err(StoreError::InUse { .. }) if Instant::now() < until => {}
            Err(error) => return Err(error.into()),
            Ok((store, registry)) => {
                let own = store.lineage()?;
                let settled =
                    candidacy.lead_with(own, |next: Lineage| store.keep_lineage(next)).await;
                settled.map_err(RunError::Election)??;
                return Ok(Some((store, registry)));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TAKE_OVER_PAUSE) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

async fn serve(
    listener: &TcpListener,
    leader: watch::Receiver<Leader>,
    standby: Arc<Standby>,
) -> Infallible {
    // Dropped with this future: who is connected comes back to the master that leads then.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, leader.clone(), Arc::clone(&standby)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    tokio::time::sleep(crate::listen::ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, leader: watch::Receiver<Leader>, standby: Arc<Standby>) {
    let (stream, timer) = heads::noted(stream);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(timer)
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(
            TokioIo::new(stream),
            hyper::service::service_fn(move |request| {
                let leader = leader.borrow().clone();
                let standby = Arc::clone(&standby);
                async move { Ok::<_, Infallible>(answer(&request, leader.as_deref(), &standby)) }
            }),
        )
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// What is of this process is told by it; for everything else there is the leader. Neither goes to
/// somebody whom the leader would not let in.
fn answer<B>(request: &Request<B>, leader: Option<&MasterInfo>, standby: &Standby) -> Response {
    let shown = gate::authorization(request.headers());
    let (endpoint, _) = match standby.gate.admit(request.uri().path(), shown) {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    let figures =
        [("master/elected", 0.0), ("master/uptime_secs", standby.started.elapsed().as_secs_f64())];
    match endpoint {
        Endpoint::Get(Get::Health) => reply::empty(StatusCode::OK),
        Endpoint::Get(Get::Version) => reply::json(json::to_string(&version())),
        Endpoint::Get(Get::Flags) => {
            let mut to = Writer::new();
            to.begin_object();
            to.object("flags", |to| {
                for (name, value) in &standby.flags {
                    to.name(name);
                    to.string(value);
                }
            });
            to.end_object();
            reply::json(to.into_string())
        }
        Endpoint::Get(Get::MetricsSnapshot) => {
            let mut to = Writer::new();
            to.begin_object();
            for (name, value) in figures {
                to.name(name);
                to.f64(value);
            }
            to.end_object();
            reply::json(to.into_string())
        }
        Endpoint::Get(Get::Prometheus) => {
            let figures = figures.map(|(name, value)| (name.to_owned(), String::new(), value));
            reply::text(prometheus::CONTENT_TYPE, prometheus::text(figures))
        }
        other => redirect(request, other == Endpoint::Get(Get::Redirect), leader),
    }
}

fn redirect<B>(request: &Request<B>, bare: bool, leader: Option<&MasterInfo>) -> Response {
    let Some(leader) = leader else {
        return reply::error(StatusCode::SERVICE_UNAVAILABLE, "No leader elected");
    };
    let hostname = leader.hostname.as_deref().unwrap_or_default();
    let rest = request.uri().path_and_query().filter(|_| !bare);
    let rest = rest.map(hyper::http::uri::PathAndQuery::as_str).unwrap_or_default();
    let mut response = reply::empty(StatusCode::TEMPORARY_REDIRECT);
    if let Ok(location) = HeaderValue::from_str(&format!("//{hostname}:{}{rest}", leader.port)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests;
