//! A node on its way into a swarm: it asks until a manager gives it a certificate or says no.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ca::NodeKey;
use crate::client::{Asking, Failure, Membership, join};
use crate::error::{Code, Error, Result};
use crate::model::Availability;
use crate::token::JoinToken;

/// Between one attempt and the next, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// What a node joins with.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) token: JoinToken,
    pub(crate) remotes: Vec<String>,
    pub(crate) availability: Availability,
    pub(crate) hostname: String,
    /// A request for a certificate; the same for all attempts, by which the manager knows the node.
    pub(crate) request: String,
    problem: Mutex<String>,
}

impl Joining {
    pub(crate) fn new(
        token: JoinToken,
        remotes: Vec<String>,
        availability: Availability,
        hostname: String,
        key: &NodeKey,
    ) -> Result<Self> {
        let request = key.request()?;
        let problem = Mutex::default();
        Ok(Self { token, remotes, availability, hostname, request, problem })
    }

    /// Why the last attempt failed.
    pub(crate) fn problem(&self) -> String {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks each manager in turn until one answers; which one, and what it gave.
    pub(crate) async fn run(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> Result<(String, Membership)> {
        let [mut pause, longest] = PAUSES;
        loop {
            for remote in &self.remotes {
                let asking = Asking {
                    token: &self.token,
                    key_request: &self.request,
                    availability: self.availability,
                    hostname: &self.hostname,
                };
                let joined = tokio::select! {
                    () = stop.cancelled() => return Err(stopped()),
                    joined = join(remote, &asking) => joined,
                };
                match joined {
                    Ok(membership) => return Ok((remote.clone(), membership)),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Passing(error)) => {
                        tracing::debug!(remote, %error, "joining failed and is tried again");
                        let mut problem =
                            self.problem.lock().unwrap_or_else(PoisonError::into_inner);
                        *problem = error.to_string();
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Err(stopped()),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(longest);
        }
    }
}

fn stopped() -> Error {
    Error::new(Code::Unavailable, "the attempt to join was ended")
}
