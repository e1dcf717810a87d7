//! A master that waits to lead: it sends whoever asks to the one that does, and hears no messages.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use election::{Candidacy, Lineage, Standing};
use endpoints::heads;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mesos_api::json;
use mesos_api::v1::MasterInfo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::options::Zk;
use crate::run::RunError;
use crate::store::Store;
use endpoints::version::version;

/// How long a peer may take for the headers of a request, once they begin.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// Who leads, as far as is known.
type Leader = Option<Arc<MasterInfo>>;

/// Stands for election and waits until this master leads; none if it is told to stop before.
pub(crate) async fn until_leading(
    zk: &Zk,
    info: &MasterInfo,
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Result<Option<Candidacy>, RunError> {
    let (told, leader) = watch::channel(None);
    let leading = async {
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
    };
    tokio::select! {
        candidacy = leading => candidacy.map(Some).map_err(RunError::Election),
        never = serve(listener, leader) => match never {},
        () = stop.cancelled() => Ok(None),
    }
}

/// Sees to it that the registry is the one that led last, and has it counted.
pub(crate) async fn settle(candidacy: &Candidacy, store: &Store) -> Result<(), RunError> {
    let own = store.lineage()?;
    let settled = candidacy.lead_with(own, |next: Lineage| store.keep_lineage(next)).await;
    Ok(settled.map_err(RunError::Election)??)
}

/// Waits until this master leads no more.
pub(crate) async fn lost(mut candidacy: Candidacy) -> RunError {
    loop {
        match candidacy.changed().await {
            Ok(Standing::Leads) => {}
            Ok(Standing::Follows(other)) => {
                return RunError::Deposed(other.pid.unwrap_or_default());
            }
            Err(error) => return RunError::Election(error),
        }
    }
}

async fn serve(listener: &TcpListener, leader: watch::Receiver<Leader>) -> Infallible {
    // Dropped with this future: who is connected comes back to the master that leads then.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, leader.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    tokio::time::sleep(crate::listen::ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, leader: watch::Receiver<Leader>) {
    let (stream, timer) = heads::noted(stream);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(timer)
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(
            TokioIo::new(stream),
            hyper::service::service_fn(move |request: Request<Incoming>| {
                let leader = leader.borrow().clone();
                async move { Ok::<_, Infallible>(answer(&request, leader.as_deref())) }
            }),
        )
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

fn answer(request: &Request<Incoming>, leader: Option<&MasterInfo>) -> Response<Full<Bytes>> {
    let path = request.uri().path().trim_matches('/');
    let path = path.strip_prefix("master/").unwrap_or(path);
    match path {
        "health" => Response::default(),
        "version" => {
            let mut response = Response::new(json::to_string(&version()).into());
            let of_json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, of_json);
            response
        }
        _ => redirect(request, path == "redirect", leader),
    }
}

fn redirect(
    request: &Request<Incoming>,
    bare: bool,
    leader: Option<&MasterInfo>,
) -> Response<Full<Bytes>> {
    let Some(leader) = leader else {
        return status(StatusCode::SERVICE_UNAVAILABLE, "No leader elected");
    };
    let hostname = leader.hostname.as_deref().unwrap_or_default();
    let rest = request.uri().path_and_query().filter(|_| !bare);
    let rest = rest.map(hyper::http::uri::PathAndQuery::as_str).unwrap_or_default();
    let mut response = status(StatusCode::TEMPORARY_REDIRECT, "");
    if let Ok(location) = HeaderValue::from_str(&format!("//{hostname}:{}{rest}", leader.port)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn status(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
