//! What a master and its agents say about themselves, as JSON.

use scheduler::Observer;
use serde_json::Value as Json;

use crate::cli;
use crate::failure::Failure;
use crate::grammar::Values;

const DEFAULT_MASTER: &str = "127.0.0.1:5050";

/// The masters' addresses: the flag, else the environment, else this host.
pub(crate) fn master_of(flags: &Values) -> String {
    flags
        .get("master")
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .or_else(|| cli::env("TEU_MASTER"))
        .unwrap_or_else(|| DEFAULT_MASTER.to_owned())
}

/// A reader of the cluster's endpoints.
pub(crate) struct View {
    master: Observer,
    /// `principal:secret@`, or nothing: what opens the masters opens their agents.
    credential: String,
}

impl View {
    pub(crate) fn new(masters: &str) -> Result<Self, Failure> {
        // Those of ZooKeeper open no agent.
        let credential = masters
            .rsplit_once('@')
            .filter(|_| !masters.starts_with("zk://"))
            .map(|(credential, _)| format!("{credential}@"));
        let credential = credential.unwrap_or_default();
        Ok(Self { master: Observer::new(masters)?, credential })
    }

    /// The master that answered last.
    pub(crate) fn address(&self) -> &str {
        self.master.address()
    }

    /// Reads an endpoint of the master.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Json, Failure> {
        parse(&mut self.master, path).await
    }

    /// Every task of every framework, those that have ended among them as long as they are kept.
    pub(crate) async fn tasks(&mut self) -> Result<Vec<Json>, Failure> {
        Ok(list(&self.get("/tasks?limit=1000000&order=asc").await?, "tasks"))
    }

    /// A reader of the agent's endpoints, and the name of its process, such as `slave(1)`.
    pub(crate) async fn agent(&mut self, id: &str) -> Result<Agent, Failure> {
        let agents = list(&self.get("/slaves").await?, "slaves");
        let pid = agents
            .iter()
            .find(|agent| agent["id"] == id)
            .and_then(|agent| agent["pid"].as_str())
            .ok_or_else(|| format!("the master does not know where agent {id} is"))?;
        let (process, address) =
            pid.split_once('@').ok_or_else(|| format!("agent {id} has the odd pid {pid:?}"))?;
        let observer = Observer::new(&format!("{}{address}", self.credential))?;
        Ok(Agent { process: process.to_owned(), observer })
    }
}

/// A reader of one agent's endpoints.
#[derive(Debug)]
pub(crate) struct Agent {
    process: String,
    observer: Observer,
}

impl Agent {
    /// Reads an endpoint below the agent's process.
    pub(crate) async fn state(&mut self) -> Result<Json, Failure> {
        let path = format!("/{}/state", self.process);
        parse(&mut self.observer, &path).await
    }

    /// Reads a part of a file that the agent shows.
    pub(crate) async fn read(&mut self, path: &str, offset: u64) -> Result<String, Failure> {
        let path = docker_api::encode_path(path);
        let answer = parse(
            &mut self.observer,
            &format!("/files/read?path={path}&offset={offset}&length=65536"),
        )
        .await?;
        Ok(answer["data"].as_str().unwrap_or_default().to_owned())
    }
}

async fn parse(observer: &mut Observer, path: &str) -> Result<Json, Failure> {
    let bytes = observer.get(path).await?;
    let address = observer.address();
    serde_json::from_slice(&bytes).map_err(|error| {
        format!("http://{address}{path} answers something other than JSON: {error}").into()
    })
}

/// The members of an array in an object; none if it is not there.
pub(crate) fn list(object: &Json, name: &str) -> Vec<Json> {
    object[name].as_array().cloned().unwrap_or_default()
}
