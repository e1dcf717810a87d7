//! The calls of the Engine API that the containerizer makes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use docker_api::{Client, Error, Host, Request, Response, Result};
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// A Docker-compatible engine.
#[derive(Debug)]
pub(crate) struct Engine {
    client: Client,
}

/// What an inspection says, as far as it matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Inspect {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) config: Config,
    pub(crate) host_config: HostConfig,
    pub(crate) network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct State {
    pub(crate) status: String,
    pub(crate) pid: u32,
    #[serde(rename = "OOMKilled")]
    pub(crate) oom_killed: bool,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    pub(crate) tty: bool,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostConfig {
    pub(crate) network_mode: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkSettings {
    pub(crate) networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoint {
    #[serde(rename = "IPAddress")]
    pub(crate) address: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub(crate) address_v6: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Exec {
    running: bool,
    exit_code: Option<i64>,
    pid: u32,
}

/// A command in a container that somebody attaches to.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) words: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// Of the container's; `None` is the container's own.
    pub(crate) user: Option<String>,
    /// Rows and columns of its terminal, if it has one.
    pub(crate) terminal: Option<[u16; 2]>,
}

/// Where a command in a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExecState {
    Starting,
    Running(u32),
    Ended,
}

impl Engine {
    pub(crate) fn new(host: Host) -> Self {
        Self { client: Client::new(host) }
    }

    /// The address, as `docker -H` takes it.
    pub(crate) fn address(&self) -> String {
        self.client.host().to_string()
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        self.client.call(Request::get("/version")).await?.bytes().await.map(drop)
    }

    /// The directory that an image's commands begin in; the empty one if it does not say, `None`
    /// without an image of that name.
    pub(crate) async fn image_directory(&self, image: &str) -> Result<Option<String>> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Config {
            working_dir: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            #[serde(default)]
            config: Option<Config>,
        }
        let path = format!("/images/{}/json", docker_api::encode_path(image));
        match self.client.call(Request::get(path)).await {
            Ok(response) => {
                let image: Image = response.json().await?;
                Ok(Some(image.config.unwrap_or_default().working_dir))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image; its reference has a tag or a digest.
    pub(crate) async fn pull(&self, reference: &str, auth: String) -> Result<()> {
        #[derive(Deserialize)]
        struct Line {
            error: Option<String>,
        }
        let mut request = Request::post("/images/create").query("fromImage", reference);
        if !auth.is_empty() {
            request = request.header("X-Registry-Auth", auth);
        }
        let mut response = self.client.call(request).await?;
        while let Some(line) = response.next_json::<Line>().await? {
            if let Some(error) = line.error {
                return Err(Error::Stream(error));
            }
        }
        Ok(())
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        platform: Option<&str>,
        body: &Json,
    ) -> Result<String> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "Id")]
            id: String,
        }
        let request = Request::post("/containers/create")
            .query("name", name)
            .query_some("platform", platform)
            .json(body);
        Ok(self.client.call(request).await?.json::<Created>().await?.id)
    }

    pub(crate) async fn start(&self, name: &str) -> Result<()> {
        let request = Request::post(format!("/containers/{name}/start"));
        self.client.call(request).await?.bytes().await.map(drop)
    }

    /// Inspects a container; also as the engine wrote it.
    pub(crate) async fn inspect(&self, name: &str) -> Result<(Inspect, Bytes)> {
        let request = Request::get(format!("/containers/{name}/json"));
        let bytes = self.client.call(request).await?.bytes().await?;
        Ok((serde_json::from_slice(&bytes)?, bytes))
    }

    /// Waits for the exit.
    pub(crate) async fn wait(&self, name: &str) -> Result<i64> {
        #[derive(Deserialize)]
        struct Exit {
            #[serde(rename = "StatusCode")]
            status_code: i64,
        }
        let request =
            Request::post(format!("/containers/{name}/wait")).query("condition", "not-running");
        Ok(self.client.call(request).await?.json::<Exit>().await?.status_code)
    }

    /// Changes what a running container may use.
    pub(crate) async fn update(&self, name: &str, amounts: &Json) -> Result<()> {
        let request = Request::post(format!("/containers/{name}/update")).json(amounts);
        self.client.call(request).await?.bytes().await.map(drop)
    }

    pub(crate) async fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        // Whole seconds are all that the API knows; half a second of grace is not none.
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let request =
            Request::post(format!("/containers/{name}/stop")).query("t", seconds.to_string());
        self.client.call(request).await?.bytes().await.map(drop)
    }

    pub(crate) async fn kill(&self, name: &str, signal: i32) -> Result<()> {
        let request =
            Request::post(format!("/containers/{name}/kill")).query("signal", signal.to_string());
        self.client.call(request).await?.bytes().await.map(drop)
    }

    /// Removes a container with its anonymous volumes; one that is gone is fine.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        let request =
            Request::delete(format!("/containers/{name}")).query("v", "1").query("force", "1");
        match self.client.call(request).await {
            Ok(response) => response.bytes().await.map(drop),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Output from the beginning on, and what will come.
    pub(crate) async fn logs(&self, name: &str) -> Result<Response> {
        let request = Request::get(format!("/containers/{name}/logs"))
            .query("follow", "1")
            .query("stdout", "1")
            .query("stderr", "1");
        self.client.call(request).await
    }

    /// Output from now on, for log drivers that cannot be read.
    pub(crate) async fn attach(&self, name: &str) -> Result<docker_api::Hijacked> {
        let request = Request::post(format!("/containers/{name}/attach"))
            .query("stream", "1")
            .query("stdout", "1")
            .query("stderr", "1");
        self.client.hijack(request).await
    }

    /// All containers with a label: their names, and the value of another label.
    pub(crate) async fn labelled(
        &self,
        label: &str,
        value: &str,
        tell: &str,
    ) -> Result<Vec<(String, String)>> {
        #[derive(Deserialize)]
        struct Item {
            #[serde(rename = "Id")]
            id: String,
            #[serde(rename = "Labels", default)]
            labels: Option<BTreeMap<String, String>>,
        }
        let filters = json!({"label": [format!("{label}={value}")]}).to_string();
        let request = Request::get("/containers/json").query("all", "1").query("filters", filters);
        let all: Vec<Item> = self.client.call(request).await?.json().await?;
        // Not every engine compares the value: an empty or a longer one is another agent's.
        let ours = all.into_iter().filter_map(|item| {
            let mut labels = item.labels?;
            let ours = labels.get(label).is_some_and(|found| found == value);
            ours.then(|| (item.id, labels.remove(tell).unwrap_or_default()))
        });
        Ok(ours.collect())
    }

    /// Prepares a command in a container; returns its name.
    pub(crate) async fn exec(
        &self,
        name: &str,
        words: &[String],
        variables: &[(String, String)],
    ) -> Result<String> {
        let env: Vec<String> =
            variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let body = json!({"Cmd": words, "Env": env, "AttachStdout": true, "AttachStderr": true});
        self.create_exec(name, &body).await
    }

    /// Prepares a command that somebody attaches to; returns its name.
    pub(crate) async fn exec_session(&self, name: &str, session: &Session) -> Result<String> {
        let env: Vec<String> =
            session.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let body = json!({
            "Cmd": session.words,
            "Env": env,
            "User": session.user.as_deref().unwrap_or_default(),
            "Tty": session.terminal.is_some(),
            "ConsoleSize": session.terminal,
            "AttachStdin": true,
            "AttachStdout": true,
            "AttachStderr": true,
        });
        self.create_exec(name, &body).await
    }

    async fn create_exec(&self, name: &str, body: &Json) -> Result<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        let request = Request::post(format!("/containers/{name}/exec")).json(body);
        Ok(self.client.call(request).await?.json::<Created>().await?.id)
    }

    /// Starts a prepared command; the stream is its input and output.
    pub(crate) async fn start_exec(
        &self,
        id: &str,
        terminal: Option<[u16; 2]>,
    ) -> Result<docker_api::Hijacked> {
        let body = json!({"Detach": false, "Tty": terminal.is_some(), "ConsoleSize": terminal});
        let start = Request::post(format!("/exec/{id}/start")).json(&body);
        self.client.hijack(start).await
    }

    /// The exit code of a command; `None` while it runs.
    pub(crate) async fn exec_code(&self, id: &str) -> Result<Option<i64>> {
        let exec = self.inspect_exec(id).await?;
        Ok(exec.exit_code.filter(|_| !exec.running))
    }

    /// Says how large the terminal of a command is.
    pub(crate) async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let request = Request::post(format!("/exec/{id}/resize"))
            .query("h", rows.to_string())
            .query("w", columns.to_string());
        self.client.call(request).await?.bytes().await.map(drop)
    }

    /// Runs a prepared command to its end; tells its exit code. Dropping the future leaves it running.
    pub(crate) async fn run_exec(&self, id: &str) -> Result<i64> {
        let mut stream = self.start_exec(id, None).await?.io;
        // Its end is the command's end; what it says is nobody's business.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        Ok(self.inspect_exec(id).await?.exit_code.unwrap_or(-1))
    }

    /// Where a command is in its life.
    pub(crate) async fn exec_state(&self, id: &str) -> Result<ExecState> {
        let exec = self.inspect_exec(id).await?;
        Ok(match (exec.running, exec.exit_code) {
            (true, _) if exec.pid > 0 => ExecState::Running(exec.pid),
            (false, Some(_)) => ExecState::Ended,
            _ => ExecState::Starting,
        })
    }

    async fn inspect_exec(&self, id: &str) -> Result<Exec> {
        self.client.call(Request::get(format!("/exec/{id}/json"))).await?.json().await
    }

    /// One reading of what a container uses.
    pub(crate) async fn stats(&self, name: &str) -> Result<Json> {
        let request = Request::get(format!("/containers/{name}/stats"))
            .query("stream", "0")
            .query("one-shot", "1");
        self.client.call(request).await?.json().await
    }
}
