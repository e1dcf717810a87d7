//! `task run`: a framework for one task.

use std::time::Duration;

use scheduler::{
    Builder, Event, Events, Framework, Network, Offer, Scheduler, Task, TaskId, TaskState,
    TaskUpdate, random_task_id,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::LABEL;
use super::logs::{Logs, PAUSE};
use crate::cluster::{View, master_of};
use crate::failure::Failure;
use crate::grammar::{Call, Outcome, Values};

// What the flags are unless given; the help shows them.
pub(crate) const CPUS: &str = "0.1";
pub(crate) const MEMORY: &str = "32";
pub(crate) const DISK: &str = "0";
pub(crate) const NETWORK: &str = "host";
pub(crate) const ROLE: &str = "*";
pub(crate) const WAIT: &str = "60";

/// How long a detached task's framework may be away: until somebody kills it.
const DETACHED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const REFUSE: Duration = Duration::from_secs(2);

/// `task run [OPTIONS] IMAGE [COMMAND] [ARG...]`
pub(crate) async fn run(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let master = master_of(flags);
    let id = random_task_id();
    let name = flags.get("name").unwrap_or(&call.args[0]);
    let task = describe(flags, &call.args, name)?.id(id.clone());
    let mut framework =
        Framework::new(name).roles([flags.text_or("role", ROLE)]).label(LABEL, "1").user("root");
    if flags.on("detach") {
        framework = framework.failover_timeout(DETACHED);
    }
    let (scheduler, events) = Builder::new(&master, framework).subscribe()?;
    let wait = flags.text_or("wait", WAIT).parse().unwrap_or_default();
    let wait = Duration::from_secs(wait);
    let view = View::new(&master)?;
    let deadline = Instant::now() + wait;
    let run = Run { scheduler, events, view, task, id, deadline, wait, detach: flags.on("detach") };
    run.until_done().await
}

/// The task as the flags describe it.
fn describe(flags: &Values, args: &[String], name: &str) -> Result<Task, Failure> {
    let (image, words) =
        args.split_first().ok_or("an image is needed, or --no-image and a command")?;
    let mut task = if flags.on("no-image") {
        for flag in ["network", "publish", "pull", "volume"] {
            if flags.given(flag) {
                return Err(format!(
                    "--{flag} is about containers and makes no sense with --no-image"
                )
                .into());
            }
        }
        Task::run(name, args.iter().map(String::as_str))
    } else if words.is_empty() {
        Task::docker(name, image)
    } else {
        Task::docker(name, image).arguments(words.iter().map(String::as_str))
    };
    let amount = |flag: &str, default| {
        let text = flags.text_or(flag, default);
        let amount = text.parse::<f64>().ok().filter(|amount| *amount >= 0.0);
        amount.ok_or_else(|| format!("invalid --{flag} {text:?}: expected a number"))
    };
    task = task
        .cpus(amount("cpus", CPUS)?)
        .mem_mb(amount("memory", MEMORY)?)
        .disk_mb(amount("disk", DISK)?)
        .network(network(flags.text_or("network", NETWORK)));
    for variable in flags.all("env") {
        let (name, value) = variable
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("invalid --env {variable:?}: expected name=value"))?;
        task = task.env(name, value);
    }
    for port in flags.all("publish") {
        task = publish(task, port)?;
    }
    for volume in flags.all("volume") {
        task = match volume.split(':').collect::<Vec<_>>().as_slice() {
            [host, container] | [host, container, "rw"] => task.volume(*host, *container),
            [host, container, "ro"] => task.volume_read_only(*host, *container),
            _ => {
                return Err(
                    format!("invalid --volume {volume:?}: expected host:container[:ro]").into()
                );
            }
        };
    }
    if flags.on("pull") {
        task = task.force_pull();
    }
    if let Some(user) = flags.get("user") {
        task = task.user(user);
    }
    Ok(task)
}

fn network(name: &str) -> Network {
    match name {
        "host" => Network::Host,
        "bridge" => Network::Bridge,
        "none" => Network::None,
        other => Network::Named(other.to_owned()),
    }
}

fn publish(task: Task, port: &str) -> Result<Task, Failure> {
    let number = |text: &str| {
        let invalid = || format!("invalid --publish {port:?}: expected [agent's port:]port");
        text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(invalid)
    };
    Ok(match port.split_once(':') {
        Some((host, container)) => task.publish_at(number(host)?, number(container)?),
        None => task.publish(number(port)?),
    })
}

/// One task on its way.
struct Run {
    scheduler: Scheduler,
    events: Events,
    view: View,
    task: Task,
    id: TaskId,
    deadline: Instant,
    wait: Duration,
    detach: bool,
}

impl Run {
    async fn until_done(mut self) -> Outcome {
        let Some(agent) = self.placed().await? else { return Ok(130) };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut logs = None;
        loop {
            tokio::select! {
                event = self.events.next() => match event? {
                    Some(Event::Update(update)) => {
                        if let Some(code) = self.updated(&update, &agent, &mut logs).await? {
                            return Ok(code);
                        }
                    }
                    Some(Event::Disconnected { cause }) => eprintln!("teu: {cause}"),
                    Some(_) => {}
                    None => return Err("the subscription ended before the task did".into()),
                },
                _ = interrupt.recv() => {
                    eprintln!("killing the task");
                    self.scheduler.kill(&self.id, None).await?;
                }
                () = tokio::time::sleep(PAUSE), if logs.is_some() => print(&mut logs).await,
            }
        }
    }

    /// Waits for an offer that is large enough and launches the task; `None` if interrupted.
    async fn placed(&mut self) -> Result<Option<String>, Failure> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut largest = (0.0, 0.0);
        loop {
            let event = tokio::select! {
                event = self.events.next() => event?,
                _ = interrupt.recv() => {
                    self.scheduler.teardown().await?;
                    return Ok(None);
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    return Err(self.give_up(largest).await);
                }
            };
            match event {
                Some(Event::Offers(offers)) => {
                    for offer in offers {
                        largest = (offer.cpus().max(largest.0), offer.mem_mb().max(largest.1));
                        if let Some(agent) = self.take(offer).await? {
                            return Ok(Some(agent));
                        }
                    }
                }
                // Before anything runs an unreachable master is an error to tell, not to sit out.
                Some(Event::Disconnected { cause }) => return Err(cause.into()),
                Some(_) => {}
                None => return Err("the subscription ended before the task was launched".into()),
            }
        }
    }

    /// Launches the task on the offer if it fits.
    async fn take(&self, mut offer: Offer) -> Result<Option<String>, Failure> {
        let Some(placed) = offer.place(&self.task) else {
            self.scheduler.decline([offer.id()], REFUSE).await?;
            return Ok(None);
        };
        self.scheduler.launch(&offer, [placed]).await?;
        self.scheduler.suppress().await?;
        Ok(Some(offer.agent_id().value.clone()))
    }

    async fn give_up(&self, largest: (f64, f64)) -> Failure {
        let torn = self.scheduler.teardown().await;
        let seconds = self.wait.as_secs();
        let (cpus, mem) = largest;
        let mut text = if largest == (0.0, 0.0) {
            format!("no agent was offered within {seconds} s")
        } else {
            format!(
                "no offer within {seconds} s was large enough; the largest had {cpus} processors and {mem} MB"
            )
        };
        text.push_str("; 'teu cluster status' says who uses what and why offers do not come");
        if let Err(error) = torn {
            text.push_str(&format!("\nthe framework could not be torn down: {error}"));
        }
        text.into()
    }

    /// Tells a change of state; returns the exit code when this command is done.
    async fn updated(
        &mut self,
        update: &TaskUpdate,
        agent: &str,
        logs: &mut Option<Logs>,
    ) -> Result<Option<u8>, Failure> {
        let running = update.state() == TaskState::TaskRunning;
        if self.detach && running {
            self.scheduler.acknowledge(update).await?;
            println!("{}", self.id);
            self.scheduler.stop();
            return Ok(Some(0));
        }
        if !running || logs.is_none() {
            eprintln!("{update}");
        }
        if (running || update.is_terminal()) && logs.is_none() {
            match Logs::open(&mut self.view, agent, &self.id.value).await {
                Ok(opened) => *logs = Some(opened),
                Err(failure) if running => eprintln!("teu: no output can be shown: {failure}"),
                Err(_) => {} // a task that never started has no sandbox
            }
        }
        if !update.is_terminal() {
            return Ok(None);
        }
        print(logs).await;
        self.scheduler.acknowledge(update).await?;
        self.scheduler.teardown().await?;
        Ok(Some(exit_code(update.state(), update.message())))
    }
}

/// Shows what has come; gives up on the output, not on the task, if the agent does not answer.
async fn print(logs: &mut Option<Logs>) {
    if let Some(open) = logs
        && let Err(failure) = open.print().await
    {
        eprintln!("teu: no more output can be shown: {failure}");
        *logs = None;
    }
}

/// The program's own exit status where the agent's words tell it, as `docker run` does.
fn exit_code(state: TaskState, message: &str) -> u8 {
    if state == TaskState::TaskFinished {
        return 0;
    }
    let (_, status) = message.split_once("exited with status ").unwrap_or_default();
    let digits: String = status.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|code| *code > 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_programs_where_it_is_told() {
        let check = |state, message, expected| assert_eq!(exit_code(state, message), expected);
        check(TaskState::TaskFinished, "Container exited with status 0", 0);
        check(TaskState::TaskFailed, "Container exited with status 3", 3);
        check(TaskState::TaskFailed, "Command exited with status 127", 127);
        check(TaskState::TaskKilled, "Container exited with status 0", 1);
        check(TaskState::TaskError, "Task uses more resources than available", 1);
        check(TaskState::TaskFailed, "exited with status 4000", 1);
    }
}
