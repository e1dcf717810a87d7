//! Standing for election.

use std::fmt;
use std::time::Duration;

use mesos_api::json;
use mesos_api::v1::MasterInfo;
use zookeeper_client::{Client, CreateMode, Error as ZkError, OneshotWatcher, SessionState};

use crate::{Address, Error, connect, failed, node, patiently, permissions};

/// Below what every client of Mesos passes over.
const LINEAGE: &str = "log_replicas/teu";

/// A master that stands for election, for as long as this is held and its session lives.
#[derive(Debug)]
pub struct Candidacy {
    client: Client,
    address: Address,
    /// The name of its node.
    own: String,
    /// Tells that others have come or gone.
    watcher: Option<OneshotWatcher>,
}

/// How it stands.
#[derive(Debug, PartialEq)]
pub enum Standing {
    /// This one leads.
    Leads,
    /// Another one does.
    Follows(Box<MasterInfo>),
}

/// A registry, and how often one has led with it. What was decided later has a higher term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The registry's own number.
    pub registry: u32,
    /// Counts those who led with it.
    pub term: u32,
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registry {:08x}, term {}", self.registry, self.term)
    }
}

impl Lineage {
    /// Whether all that `last` has decided is known to who has this one.
    fn knows(self, last: Self) -> bool {
        self.registry == last.registry && self.term >= last.term
    }

    fn read(data: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(data).ok()?;
        let number = |name: &str| u32::try_from(value.get(name)?.as_u64()?).ok();
        Some(Self { registry: number("registry")?, term: number("term")? })
    }

    fn write(self) -> Vec<u8> {
        serde_json::json!({"registry": self.registry, "term": self.term}).to_string().into_bytes()
    }
}

impl Candidacy {
    /// Stands for election, behind all who stand already.
    ///
    /// # Errors
    /// If ZooKeeper does not answer, or does not let it.
    pub async fn stand(
        address: Address,
        session_timeout: Duration,
        info: &MasterInfo,
    ) -> Result<Self, Error> {
        let client = connect(&address, session_timeout).await?;
        // To try and make what is there may be forbidden.
        let there = client.check_stat(address.path()).await;
        if there.map_err(failed(&address, "look for", address.path()))?.is_none() {
            let directory = CreateMode::Persistent.with_acls(permissions(&address));
            let made = client.mkdir(address.path(), &directory).await;
            made.map_err(failed(&address, "create", address.path()))?;
        }
        let path = address.child(node::PREFIX);
        let options = CreateMode::EphemeralSequential.with_acls(permissions(&address));
        let created = client.create(&path, &json::to_vec(info), &options).await;
        let (_, number) = created.map_err(failed(&address, "create", &path))?;
        let own = format!("{}{number}", node::PREFIX);
        Ok(Self { client, address, own, watcher: None })
    }

    /// Waits until it may have changed who leads; at first, not at all. To be dropped at any time.
    ///
    /// # Errors
    /// If its own node is gone, or ZooKeeper has not answered for as long as a session lives.
    pub async fn changed(&mut self) -> Result<Standing, Error> {
        loop {
            if let Some(watcher) = self.watcher.take() {
                watcher.changed().await;
            }
            let (names, watcher) = self.list().await?;
            if !names.contains(&self.own) {
                return Err(Error::Gone(self.address.child(&self.own)));
            }
            self.watcher = Some(watcher);
            if node::first(&names) == Some(&self.own) {
                return Ok(Standing::Leads);
            }
            match node::read_first(&self.client, &self.address, &names).await {
                // It has gone while it was read; the watcher tells so.
                Err(Error::Nobody(_)) => {}
                read => return read.map(|info| Standing::Follows(Box::new(info))),
            }
        }
    }

    async fn list(&self) -> Result<(Vec<String>, OneshotWatcher), Error> {
        let path = self.address.path();
        let listed = patiently(&self.client, || self.client.list_and_watch_children(path)).await;
        listed.map_err(failed(&self.address, "list", path))
    }

    /// Waits until this one, which leads, must not any more; why. The servers forget a session that
    /// they have not heard of for its time: whoever leads stops before that.
    pub async fn lost(&mut self) -> Error {
        let mut state = self.client.state_watcher();
        let left = self.client.session_timeout() * 3 / 5;
        let silent = Error::Silent(self.address.hosts().to_owned());
        let unheard = async {
            loop {
                if state.state() == SessionState::Disconnected {
                    // It is noticed after two fifths.
                    let back = tokio::time::timeout(left, state.changed()).await;
                    if back.is_err() {
                        return;
                    }
                } else {
                    state.changed().await;
                }
            }
        };
        tokio::select! {
            () = unheard => silent,
            error = self.deposed() => error,
        }
    }

    async fn deposed(&mut self) -> Error {
        loop {
            match self.changed().await {
                Ok(Standing::Leads) => {}
                Ok(Standing::Follows(other)) => {
                    return Error::Deposed(other.pid.unwrap_or_default());
                }
                Err(error) => return error,
            }
        }
    }

    /// How long the servers remember a master that they do not hear.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// Makes a registry the one with which is led: its term is the next. `persist` keeps the new
    /// lineage with the registry, before others are told.
    ///
    /// # Errors
    /// If another registry led last, or this one has led since with more in it.
    pub async fn lead_with<E>(
        &self,
        own: Lineage,
        persist: impl FnOnce(Lineage) -> Result<(), E>,
    ) -> Result<Result<(), E>, Error> {
        let path = self.address.child(LINEAGE);
        let next = Lineage { term: own.term.saturating_add(1), ..own };
        let read = patiently(&self.client, || self.client.get_data(&path)).await;
        let last = match read {
            Ok((data, _)) => Some(Lineage::read(&data).ok_or_else(|| Error::Node {
                path: path.clone(),
                message: "it names no registry and term".to_owned(),
            })?),
            Err(ZkError::NoNode) => None,
            Err(error) => return Err(failed(&self.address, "read", &path)(error)),
        };
        if let Some(last) = last.filter(|last| !own.knows(*last)) {
            return Err(Error::Registry { path, last, own });
        }
        if let Err(error) = persist(next) {
            return Ok(Err(error));
        }
        if last.is_none() {
            let options = CreateMode::Persistent.with_acls(permissions(&self.address));
            let made = self.client.mkdir(&path, &options).await;
            made.map_err(failed(&self.address, "create", &path))?;
        }
        let data = next.write();
        let written = patiently(&self.client, || self.client.set_data(&path, &data, None)).await;
        written.map_err(failed(&self.address, "write", &path))?;
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_missed_a_term_or_is_another_does_not_lead() {
        let own = Lineage { registry: 7, term: 3 };
        for (registry, term, knows) in [(7, 3, true), (7, 2, true), (7, 4, false), (8, 1, false)] {
            let last = Lineage { registry, term };
            assert_eq!(own.knows(last), knows, "{last}");
            assert_eq!(Lineage::read(&last.write()), Some(last));
        }
        assert_eq!(Lineage::read(b"{\"registry\":1}"), None);
    }
}
