//! A framework spoken by hand: the scheduler API as JSON over a socket, for tests that say exactly
//! what a task is and look at every update of it.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value as Json, json};

use crate::wait::{DEADLINE, stretched};

/// A subscribed framework. It acknowledges every update that it hands out.
#[derive(Debug)]
pub struct Scheduler {
    master: SocketAddr,
    info: Json,
    id: Json,
    stream_id: String,
    events: Receiver<Json>,
    offers: VecDeque<Json>,
    updates: VecDeque<Json>,
}

impl Scheduler {
    /// Subscribes a framework that checkpoints and knows TASK_KILLING.
    pub fn subscribe(master: SocketAddr) -> Result<Self> {
        Self::subscribe_with(master, json!({}))
    }

    /// Subscribes such a framework with more, or other, fields of its FrameworkInfo.
    pub fn subscribe_with(master: SocketAddr, fields: Json) -> Result<Self> {
        let mut info = json!({
            "user": "root", "name": "test", "checkpoint": true, "failover_timeout": 60.0,
            "capabilities": [{"type": "TASK_KILLING_STATE"}],
        });
        for (name, value) in fields.as_object().into_iter().flatten() {
            info[name] = value.clone();
        }
        let (stream_id, events) = open(master, &Json::Null, &info)?;
        let (offers, updates) = (VecDeque::new(), VecDeque::new());
        let id = Json::Null;
        let mut scheduler = Self { master, info, id, stream_id, events, offers, updates };
        while scheduler.id.is_null() {
            scheduler.hear()?;
        }
        Ok(scheduler)
    }

    /// Comes back as the same framework, as after a failover of the master or its own.
    pub fn subscribe_again(&mut self) -> Result<()> {
        self.offers.clear();
        let (stream_id, events) = open(self.master, &self.id, &self.info)?;
        (self.stream_id, self.events) = (stream_id, events);
        Ok(())
    }

    /// Asks for the state of all tasks; the answers are updates.
    pub fn reconcile(&self) -> Result<()> {
        self.call(json!({"type": "RECONCILE", "reconcile": {"tasks": []}}))
    }

    /// The framework's id.
    pub fn id(&self) -> &str {
        self.id["value"].as_str().unwrap_or_default()
    }

    /// Launches tasks on the next offer with room, each given without id, name and agent; returns
    /// their ids.
    pub fn launch(&mut self, tasks: &[Json]) -> Result<Vec<String>> {
        let offer = self.offer_with_room()?;
        self.launch_on(&offer, Vec::new(), tasks)
    }

    /// The next offer.
    pub fn offer(&mut self) -> Result<Json> {
        // Among what has come may be that an earlier one is void: its agent went away.
        while let Ok(event) = self.events.try_recv() {
            self.take(&event)?;
        }
        loop {
            match self.offers.pop_front() {
                Some(offer) => return Ok(offer),
                None => self.hear()?,
            }
        }
    }

    /// What a task has just left may be offered by itself: that is given back.
    fn offer_with_room(&mut self) -> Result<Json> {
        loop {
            let offer = self.offer()?;
            let amount = |name: &str| {
                let all = offer["resources"].as_array().into_iter().flatten();
                let of_name = all.filter(|resource| resource["name"] == name);
                of_name.filter_map(|resource| resource["scalar"]["value"].as_f64()).sum::<f64>()
            };
            if amount("cpus") >= 0.5 && amount("mem") >= 128.0 {
                return Ok(offer);
            }
            self.accept(&offer, &[])?;
        }
    }

    /// Carries out operations on an offer, then launches tasks on it, if there are any.
    pub fn launch_on(
        &mut self,
        offer: &Json,
        mut operations: Vec<Json>,
        tasks: &[Json],
    ) -> Result<Vec<String>> {
        let (ids, infos) = named(offer, tasks);
        if !infos.is_empty() {
            operations.push(json!({"type": "LAUNCH", "launch": {"task_infos": infos}}));
        }
        self.accept(offer, &operations)?;
        Ok(ids)
    }

    /// Launches a group of tasks on the next offer with room, under a default executor of that id.
    pub fn launch_group(&mut self, executor: &str, tasks: &[Json]) -> Result<Vec<String>> {
        let offer = self.offer_with_room()?;
        let (ids, infos) = named(&offer, tasks);
        let executor = json!({
            "type": "DEFAULT", "executor_id": {"value": executor}, "framework_id": self.id,
            "resources": resources(0.1, 32.0),
        });
        let group = json!({"executor": executor, "task_group": {"tasks": infos}});
        self.accept(&offer, &[json!({"type": "LAUNCH_GROUP", "launch_group": group})])?;
        Ok(ids)
    }

    fn accept(&self, offer: &Json, operations: &[Json]) -> Result<()> {
        self.call(json!({"type": "ACCEPT", "accept": {
            "offer_ids": [offer["id"]], "operations": operations,
            "filters": {"refuse_seconds": 0.0},
        }}))
    }

    /// Kills a task.
    pub fn kill(&self, task: &str) -> Result<()> {
        self.call(json!({"type": "KILL", "kill": {"task_id": {"value": task}}}))
    }

    /// The next update of any task, acknowledged.
    pub fn update(&mut self) -> Result<Json> {
        let start = Instant::now();
        loop {
            // Heartbeats keep the stream from being silent.
            ensure!(start.elapsed() < stretched(DEADLINE), "no update within {DEADLINE:?}");
            let Some(status) = self.updates.pop_front() else {
                self.hear()?;
                continue;
            };
            if !status["uuid"].is_null() {
                self.call(json!({"type": "ACKNOWLEDGE", "acknowledge": {
                    "agent_id": status["agent_id"], "task_id": status["task_id"],
                    "uuid": status["uuid"],
                }}))?;
            }
            return Ok(status);
        }
    }

    /// Updates of a task, in order, until it is over or in `last`.
    pub fn until(&mut self, task: &str, last: &str) -> Result<Vec<Json>> {
        let mut seen = Vec::new();
        loop {
            let status = self.update()?;
            if status["task_id"]["value"] != task {
                continue;
            }
            let state = status["state"].as_str().unwrap_or_default().to_owned();
            seen.push(status);
            if state == last {
                return Ok(seen);
            }
            let live = ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"];
            ensure!(live.contains(&state.as_str()), "not {last} but {seen:?}");
        }
    }

    /// Ends the framework and everything it runs.
    pub fn teardown(&self) -> Result<()> {
        self.call(json!({"type": "TEARDOWN"}))
    }

    fn call(&self, mut call: Json) -> Result<()> {
        call["framework_id"] = self.id.clone();
        let (_, head) = post(self.master, "/api/v1/scheduler", &call, Some(&self.stream_id))?;
        ensure!(head.starts_with("HTTP/1.1 202"), "{call} was answered {head}");
        Ok(())
    }

    fn hear(&mut self) -> Result<()> {
        let event = match self.events.recv_timeout(stretched(DEADLINE)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => bail!("no event within {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the master closed the stream"),
        };
        self.take(&event)
    }

    fn take(&mut self, event: &Json) -> Result<()> {
        match event["type"].as_str() {
            Some("SUBSCRIBED") => self.id = event["subscribed"]["framework_id"].clone(),
            Some("OFFERS") => {
                let offers = event["offers"]["offers"].as_array().cloned().unwrap_or_default();
                self.offers.extend(offers);
            }
            Some("RESCIND") => {
                let gone = &event["rescind"]["offer_id"];
                self.offers.retain(|offer| offer["id"] != *gone);
            }
            Some("UPDATE") => self.updates.push_back(event["update"]["status"].clone()),
            Some("ERROR") => bail!("the master says {event}"),
            _ => {}
        }
        Ok(())
    }
}

/// Gives tasks ids, names, and what else they lack for an offer.
fn named(offer: &Json, tasks: &[Json]) -> (Vec<String>, Vec<Json>) {
    let offer_id = offer["id"]["value"].as_str().unwrap_or_default();
    let named = tasks.iter().enumerate().map(|(number, task)| {
        let id = format!("task-{number}-{offer_id}");
        let mut info = task.clone();
        info["name"] = json!("t");
        info["task_id"] = json!({"value": id});
        info["agent_id"] = offer["agent_id"].clone();
        if info["resources"].is_null() {
            info["resources"] = resources(0.1, 32.0);
        }
        (id, info)
    });
    named.unzip()
}

/// Resources of a task.
pub fn resources(cpus: f64, mem: f64) -> Json {
    let scalar = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
    json!([scalar("cpus", cpus), scalar("mem", mem)])
}

/// A task that is a shell command in a busybox container.
pub fn busybox(network: &str, script: &str) -> Json {
    json!({
        "container": {"type": "DOCKER", "docker": {"image": "busybox", "network": network}},
        "command": {"value": script},
    })
}

/// Opens the stream of a framework, whose id is null if it is new; returns the stream's id.
fn open(master: SocketAddr, id: &Json, info: &Json) -> Result<(String, Receiver<Json>)> {
    let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    if !id.is_null() {
        call["framework_id"] = id.clone();
        call["subscribe"]["framework_info"]["id"] = id.clone();
    }
    let (mut reader, head) = post(master, "/api/v1/scheduler", &call, None)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "subscription: {head}");
    let stream_id = header(&head, "mesos-stream-id").context("no stream id")?.to_owned();
    let (sender, events) = channel();
    std::thread::spawn(move || {
        let mut records = Records::default();
        while let Ok(Some(chunk)) = next_chunk(&mut reader) {
            for event in records.add(&chunk) {
                if sender.send(event).is_err() {
                    return;
                }
            }
        }
    });
    Ok((stream_id, events))
}

fn post(
    to: SocketAddr,
    path: &str,
    body: &Json,
    stream_id: Option<&str>,
) -> Result<(BufReader<TcpStream>, String)> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(to)?;
    let stream_id = stream_id.map(|id| format!("Mesos-Stream-Id: {id}\r\n")).unwrap_or_default();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\n{stream_id}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(reader.read_line(&mut head)? > 0, "the connection ended in {head:?}");
    }
    Ok((reader, head))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn next_chunk(reader: &mut BufReader<TcpStream>) -> Result<Option<Vec<u8>>> {
    let mut size = String::new();
    if reader.read_line(&mut size)? == 0 {
        return Ok(None);
    }
    let length =
        usize::from_str_radix(size.trim(), 16).with_context(|| format!("chunk {size:?}"))?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(length);
    Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
}

/// Finds RecordIO's records in pieces of any size.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, piece: &[u8]) -> Vec<Json> {
        self.0.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let length =
                std::str::from_utf8(&self.0[..end]).ok().and_then(|text| text.parse().ok());
            let Some(length): Option<usize> = length else { break };
            let Some(record) = self.0.get(end + 1..end + 1 + length) else { break };
            events.extend(serde_json::from_slice::<Json>(record));
            self.0.drain(..end + 1 + length);
        }
        events
    }
}
