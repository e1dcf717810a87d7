//! Commands inside of tasks, through the agent's operator API: `mesos task exec`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::{Cluster, Scheduler, busybox, eventually};
use serde_json::{Value as Json, json};

use super::framework;

const TIMEOUT: Duration = Duration::from_secs(30);
const RECORDS: &str = "Accept: application/recordio\r\nMessage-Accept: application/json\r\n";

/// A connection whose answer's head has come. It was asked for in HTTP/1.0: the body is as it is,
/// and ends with the connection.
struct Answer {
    head: String,
    body: BufReader<TcpStream>,
}

impl Answer {
    fn of(stream: TcpStream) -> Result<Self> {
        let mut body = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(body.read_line(&mut head)? > 0, "no whole head: {head}");
        }
        Ok(Self { head, body })
    }

    fn status(&self) -> Result<u16> {
        let word = self.head.split(' ').nth(1).context("no status")?;
        Ok(word.parse()?)
    }

    fn text(mut self) -> Result<(u16, String)> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok((self.status()?, text))
    }

    /// The next record that is no heartbeat; none at the end.
    fn record(&mut self) -> Result<Option<Json>> {
        loop {
            let mut length = String::new();
            if self.body.read_line(&mut length)? == 0 {
                return Ok(None);
            }
            let mut record = vec![0; length.trim().parse()?];
            self.body.read_exact(&mut record)?;
            let record: Json = serde_json::from_slice(&record)?;
            if record["type"] == "DATA" {
                return Ok(Some(record));
            }
        }
    }

    /// What has been written to both outputs until the first has all of `wanted` in it.
    fn until(&mut self, wanted: &str) -> Result<(String, String)> {
        let (mut out, mut err) = (String::new(), String::new());
        while !out.contains(wanted) {
            let record = self.record()?.with_context(|| format!("no {wanted:?} in {out:?}"))?;
            take(&record, &mut out, &mut err)?;
        }
        Ok((out, err))
    }

    /// All that is written until the end.
    fn rest(&mut self) -> Result<(String, String)> {
        let (mut out, mut err) = (String::new(), String::new());
        while let Some(record) = self.record()? {
            take(&record, &mut out, &mut err)?;
        }
        Ok((out, err))
    }
}

fn take(record: &Json, out: &mut String, err: &mut String) -> Result<()> {
    let data = &record["data"];
    let bytes = BASE64_STANDARD.decode(data["data"].as_str().context("no data")?)?;
    let text = String::from_utf8(bytes)?;
    match data["type"].as_str() {
        Some("STDOUT") => out.push_str(&text),
        Some("STDERR") => err.push_str(&text),
        other => bail!("{other:?} is no output"),
    }
    Ok(())
}

fn connect(agent: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&agent, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn call(agent: SocketAddr, headers: &str, call: &Json) -> Result<Answer> {
    let mut stream = connect(agent)?;
    let body = call.to_string();
    let length = body.len();
    write!(
        stream,
        "POST /api/v1 HTTP/1.0\r\nHost: agent\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    Answer::of(stream)
}

pub(super) fn ask(agent: SocketAddr, of: &Json) -> Result<(u16, String)> {
    call(agent, "", of)?.text()
}

/// A request whose body is records.
struct Input(TcpStream);

impl Input {
    fn attach(agent: SocketAddr, id: &Json) -> Result<Self> {
        let mut stream = connect(agent)?;
        write!(
            stream,
            "POST /api/v1 HTTP/1.1\r\nHost: agent\r\nContent-Type: application/recordio\r\n\
             Message-Content-Type: application/json\r\nAccept: application/json\r\n\
             Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )?;
        let mut input = Self(stream);
        input.send(&json!({"type": "CONTAINER_ID", "container_id": id}))?;
        Ok(input)
    }

    fn send(&mut self, what: &Json) -> Result<()> {
        let call = json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": what});
        let call = call.to_string();
        let record = format!("{}\n{call}", call.len());
        write!(self.0, "{:x}\r\n{record}\r\n", record.len())?;
        Ok(())
    }

    fn message(&mut self, process_io: Json) -> Result<()> {
        self.send(&json!({"type": "PROCESS_IO", "process_io": process_io}))
    }

    /// Writes to the command; nothing ends its input.
    fn write(&mut self, text: &str) -> Result<()> {
        let data = json!({"type": "STDIN", "data": BASE64_STANDARD.encode(text)});
        self.message(json!({"type": "DATA", "data": data}))
    }

    fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        let size = json!({"window_size": {"rows": rows, "columns": columns}});
        self.message(json!({"type": "CONTROL", "control": {"type": "TTY_INFO", "tty_info": size}}))
    }

    fn end(mut self) -> Result<(u16, String)> {
        // Who is not let in is told before the end.
        let _ = self.0.write_all(b"0\r\n\r\n");
        Answer::of(self.0)?.text()
    }
}

/// A cluster with a task that is a process and one in a container, and their containers' ids.
pub(super) struct Tasks {
    pub(super) cluster: Cluster,
    pub(super) scheduler: Scheduler,
    pub(super) process: Json,
    pub(super) container: Json,
    /// Their tasks.
    pub(super) ids: Vec<String>,
}

impl Tasks {
    pub(super) fn start() -> Result<Option<Self>> {
        let Some((cluster, mut scheduler)) = framework()? else { return Ok(None) };
        let environment = json!({"variables": [{"name": "OF_TASK", "value": "its own"}]});
        let mut process = json!({"command": {"value": "exec sleep 1000"}});
        let mut container = busybox("HOST", "exec sleep 1000");
        for task in [&mut process, &mut container] {
            task["command"]["environment"] = environment.clone();
        }
        let ids = scheduler.launch(&[process, container])?;
        let mut found = Vec::new();
        while found.len() < 2 {
            let update = scheduler.update()?;
            if update["state"] == "TASK_RUNNING" {
                let id = update["container_status"]["container_id"].clone();
                found.push((update["task_id"]["value"].clone(), id));
            }
        }
        let of = |id: &String| {
            let mut all = found.iter();
            let found = all.find(|(task, _)| *task == **id).context("it does not run")?;
            Ok::<_, anyhow::Error>(found.1.clone())
        };
        let (process, container) = (of(&ids[0])?, of(&ids[1])?);
        Ok(Some(Self { cluster, scheduler, process, container, ids }))
    }

    pub(super) fn agent(&self) -> SocketAddr {
        self.cluster.agent()
    }
}

pub(super) fn inside(parent: &Json, name: &str) -> Json {
    json!({"value": name, "parent": parent})
}

fn launch(id: &Json, script: &str) -> Json {
    json!({
        "type": "LAUNCH_NESTED_CONTAINER_SESSION",
        "launch_nested_container_session": {"container_id": id, "command": {"value": script}},
    })
}

pub(super) fn about(kind: &str, id: &Json) -> Json {
    json!({"type": kind, kind.to_lowercase(): {"container_id": id}})
}

fn exit_status(agent: SocketAddr, id: &Json) -> Result<Json> {
    let (status, text) = ask(agent, &about("WAIT_CONTAINER", id))?;
    ensure!(status == 200, "{status}: {text}");
    let answer: Json = serde_json::from_str(&text)?;
    ensure!(answer["type"] == "WAIT_CONTAINER", "{answer}");
    Ok(answer["wait_container"]["exit_status"].clone())
}

#[test]
fn a_command_runs_inside_of_a_task_with_input_and_output() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    for task in [&tasks.process, &tasks.container] {
        let id = inside(task, "s1");
        let script = "echo $OF_TASK; cat; echo bad >&2; exit 3";
        let mut session = call(agent, RECORDS, &launch(&id, script))?;
        ensure!(session.status()? == 200, "{}", session.head);
        for header in
            ["content-type: application/recordio", "message-content-type: application/json"]
        {
            ensure!(session.head.contains(header), "no {header} in {}", session.head);
        }
        ensure!(session.until("\n")?.0 == "its own\n", "not the task's environment");

        // A client first looks whether it would be let in: that ends no input.
        ensure!(Input::attach(agent, &id)?.end()? == (200, String::new()));
        let mut input = Input::attach(agent, &id)?;
        input.write("a line\n")?;
        ensure!(session.until("\n")?.0 == "a line\n", "not what was written");
        let (status, text) = Input::attach(agent, &id)?.end()?;
        ensure!(status == 409 && text.contains("Multiple input"), "{status}: {text}");
        input.write("")?;
        ensure!(session.rest()? == (String::new(), "bad\n".to_owned()));
        ensure!(exit_status(agent, &id)? == 3 << 8);
        input.end()?;

        // It has ended, and is known until it is removed.
        let (status, text) = Input::attach(agent, &id)?.end()?;
        ensure!(status == 500, "{status}: {text}");
        ensure!(ask(agent, &about("KILL_CONTAINER", &id))?.0 == 404);
        ensure!(ask(agent, &about("REMOVE_CONTAINER", &id))? == (200, String::new()));
        let (status, text) = ask(agent, &about("WAIT_NESTED_CONTAINER", &id))?;
        ensure!(status == 404 && text.ends_with("cannot be found"), "{status}: {text}");
    }
    Ok(())
}

#[test]
fn a_session_can_have_a_terminal() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    for task in [&tasks.process, &tasks.container] {
        let id = inside(task, "t1");
        let script = "stty size; read line; stty size; tty > /dev/null && echo terminal; exit 0";
        let mut with_terminal = launch(&id, script);
        let size = json!({"window_size": {"rows": 30, "columns": 90}});
        with_terminal["launch_nested_container_session"]["container"] =
            json!({"type": "MESOS", "tty_info": size});
        let mut session = call(agent, RECORDS, &with_terminal)?;
        session.until("30 90")?;
        let mut input = Input::attach(agent, &id)?;
        input.resize(40, 100)?;
        input.write("x\n")?;
        let (out, err) = session.rest()?;
        ensure!(out.contains("40 100") && out.contains("terminal"), "{out:?}");
        ensure!(err.is_empty(), "a terminal is one stream: {err}");
        ensure!(exit_status(agent, &id)? == 0);
        input.end()?;
    }
    Ok(())
}

/// Whether a process of this host sleeps for that long.
pub(super) fn sleeps(seconds: &str) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if line == format!("sleep\0{seconds}\0").as_bytes() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn a_session_ends_with_its_connection_and_leaves_nothing() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    for (task, seconds) in [(&tasks.process, "7001"), (&tasks.container, "7002")] {
        let id = inside(task, "c1");
        let script = format!("sleep {seconds} & echo begun; wait");
        let mut session = call(agent, RECORDS, &launch(&id, &script))?;
        session.until("begun")?;
        eventually("its child runs", || {
            ensure!(sleeps(seconds)?, "no sleep {seconds}");
            Ok(())
        })?;
        let listed = |nested: bool| -> Result<String> {
            let of = json!({"type": "GET_CONTAINERS", "get_containers": {"show_nested": nested}});
            Ok(ask(agent, &of)?.1)
        };
        ensure!(listed(true)?.contains(r#"{"value":"c1","parent":{"#), "{}", listed(true)?);
        ensure!(!listed(false)?.contains(r#""value":"c1""#), "{}", listed(false)?);
        drop(session);
        ensure!(exit_status(agent, &id)?.as_i64().is_some_and(|status| status != 0));
        eventually("its child is gone", || {
            ensure!(!sleeps(seconds)?, "sleep {seconds} goes on");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn others_can_attach_to_a_session_and_kill_it() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    // Engines tell a signal as the exit code of a shell, others as wait(2) does.
    for (task, killed) in [(&tasks.process, 9), (&tasks.container, 137 << 8)] {
        let id = inside(task, "k1");
        let mut session = call(agent, RECORDS, &launch(&id, "read line; echo $line; sleep 1000"))?;
        let mut other = call(agent, RECORDS, &about("ATTACH_CONTAINER_OUTPUT", &id))?;
        ensure!(other.status()? == 200, "{}", other.head);
        ensure!(ask(agent, &launch(&id, "true"))?.0 == 202, "there is one of that name");
        let (status, text) = ask(agent, &about("REMOVE_CONTAINER", &id))?;
        ensure!(status == 500 && text.contains("has not terminated"), "{status}: {text}");
        let mut input = Input::attach(agent, &id)?;
        input.write("for all\n")?;
        for listener in [&mut session, &mut other] {
            ensure!(listener.until("\n")?.0 == "for all\n");
        }
        ensure!(ask(agent, &about("KILL_NESTED_CONTAINER", &id))? == (200, String::new()));
        ensure!(session.rest()? == (String::new(), String::new()));
        ensure!(other.rest()? == (String::new(), String::new()));
        ensure!(exit_status(agent, &id)? == killed, "{}", exit_status(agent, &id)?);
    }
    Ok(())
}

#[test]
fn what_cannot_be_a_session_is_refused() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    let id = inside(&tasks.process, "x");
    let mut with_image = launch(&id, "true");
    with_image["launch_nested_container_session"]["container"] =
        json!({"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": "x"}}}});
    let mut nobodys = launch(&id, "true");
    nobodys["launch_nested_container_session"]["command"]["user"] = json!("nobody-of-that-name");
    for (call, status, expected) in [
        (launch(&inside(&json!({"value": "none"}), "x"), "true"), 400, "Parent container none"),
        (launch(&inside(&tasks.process, "a.b"), "true"), 400, "contains invalid characters"),
        (launch(&tasks.process, "true"), 400, "container_id.parent' to be present"),
        (with_image, 400, "has nothing of its own but a terminal"),
        (nobodys, 400, "there is no user 'nobody-of-that-name'"),
        (
            about("ATTACH_CONTAINER_OUTPUT", &tasks.process),
            500,
            "I/O switchboard server was disabled",
        ),
        (about("ATTACH_CONTAINER_OUTPUT", &id), 404, "cannot be found"),
        (about("KILL_CONTAINER", &id), 404, "cannot be found"),
        (json!({"type": "ATTACH_CONTAINER_INPUT"}), 415, "to be application/recordio"),
    ] {
        let (got, text) = ask(agent, &call)?;
        ensure!(got == status && text.contains(expected), "{call}: {got}: {text}");
    }
    // A program that is not there is told as a shell tells it.
    let mut missing = launch(&id, "no-such-program");
    missing["launch_nested_container_session"]["command"]["shell"] = json!(false);
    let mut session = call(agent, RECORDS, &missing)?;
    ensure!(session.rest()?.1.contains("cannot run no-such-program"));
    ensure!(exit_status(agent, &id)? == 127 << 8);
    Ok(())
}
