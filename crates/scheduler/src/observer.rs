//! Reading what a cluster says about itself: GET of a master's or an agent's endpoints.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};

use crate::error::{Error, Result};
use crate::http::{Connection, within};
use crate::masters::Masters;

const BODY_MAX: usize = 512 * 1024 * 1024;
const BODY_TIMEOUT_SECS: u64 = 60;
const REDIRECTS_MAX: usize = 5;

/// A reader of endpoints such as `/state` or `/tasks`. Every read is a connection of its own.
#[derive(Clone, Debug)]
pub struct Observer {
    masters: Masters,
}

impl Observer {
    /// A reader of one of the masters, given as for [`crate::Builder::new`], or of an agent.
    ///
    /// # Errors
    /// If the addresses cannot be used.
    pub fn new(addresses: &str) -> Result<Self> {
        Ok(Self { masters: Masters::parse(addresses)? })
    }

    /// The `host:port` that is asked first, or that answered last.
    pub fn address(&self) -> &str {
        self.masters.current()
    }

    /// Reads a path with its query. Redirects to the leader are followed; of several masters the
    /// first that answers is heard.
    ///
    /// # Errors
    /// If none answers, or the answer is no 200.
    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        let mut last = None;
        for _ in 0..self.masters.count() {
            match self.get_here(path).await {
                Err(error) if error.is_passing() => {
                    self.masters.failed();
                    last = Some(error);
                }
                other => return other,
            }
        }
        Err(last.unwrap_or(Error::NotSubscribed { call: "GET" }))
    }

    async fn get_here(&mut self, path: &str) -> Result<Bytes> {
        self.masters.find().await?;
        for _ in 0..REDIRECTS_MAX {
            let address = self.masters.current().to_owned();
            let mut connection = Connection::open(self.masters.target()).await?;
            let request = Request::get(path)
                .header("Host", &address)
                .header("Accept", "application/json")
                .body(Full::default())
                .map_err(|error| Error::Http {
                    address: address.clone(),
                    message: error.to_string(),
                })?;
            let response = connection.send(request).await?;
            match response.status() {
                StatusCode::OK => {
                    let body = Limited::new(response.into_body(), BODY_MAX).collect();
                    let body =
                        within(BODY_TIMEOUT_SECS, &address, "reading its answer", body).await?;
                    let message =
                        |error: Box<dyn std::error::Error + Send + Sync>| error.to_string();
                    return body
                        .map(|body| body.to_bytes())
                        .map_err(|error| Error::Http { address, message: message(error) });
                }
                StatusCode::TEMPORARY_REDIRECT => {
                    let location = response.headers().get("location");
                    let location = location.and_then(|value| value.to_str().ok());
                    self.masters.redirected(location.unwrap_or_default())?;
                }
                _ => return Err(connection.refusal("GET", response).await),
            }
        }
        let address = self.masters.current().to_owned();
        Err(Error::Redirect { address, location: "redirects without end".to_owned() })
    }
}
