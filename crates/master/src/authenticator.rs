//! Who agents and drivers of the older kind are: they prove it over libprocess before they register,
//! by CRAM-MD5 as Mesos has it. It decides; sending is the driver's business.
//!
//! ```text
//! authenticatee, of a client             session here
//!   Authenticate{client} ------------->  Mechanisms
//!   Start{CRAM-MD5} ------------------>  Step{challenge}
//!   Step{answer} --------------------->  Completed: the client is its principal
//!                                        Failed, Error: it is nobody
//! ```
//!
//! A registration that comes meanwhile waits for the end. Who is nobody registers nevertheless, unless
//! the flags demand otherwise. What somebody proved holds until the link to it breaks, or it begins
//! anew.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cluster::master::{Input, Scheduler};
use cluster::time::Time;
use cluster::wire::{FromAgent, FromAuthenticatee, FromAuthenticator};
use endpoints::authentication::Credentials;
use endpoints::cram_md5;
use mesos_api::internal;
use mesos_api::libprocess::Upid;
use mesos_api::v1::scheduler::call;

/// More at once are told to come back. A cluster's agents all come when its master is new.
const SESSIONS_MAX: usize = 64 * 1024;

/// Who has to prove what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) credentials: Credentials,
    /// `--authenticate_agents`
    pub(crate) agents: bool,
    /// `--authenticate_frameworks`
    pub(crate) frameworks: bool,
    /// `--authentication_v0_timeout`
    pub(crate) timeout: Duration,
}

/// Something to do.
#[derive(Debug)]
pub(crate) enum Act {
    Tell {
        to: Arc<str>,
        message: FromAuthenticator,
    },
    /// Handle what has waited.
    Resume(Input),
}

/// What becomes of an input.
#[derive(Debug)]
pub(crate) enum Verdict {
    Pass(Input),
    /// It waits until its sender has proved who it is, or failed to.
    Wait,
    /// Nobody is told: an agent asks again.
    Drop,
    /// The framework's driver at that pid is told.
    Refuse {
        pid: Arc<str>,
        why: String,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Authenticator {
    rules: Rules,
    /// The name in challenges.
    hostname: String,
    /// By the pid of the authenticatee.
    sessions: HashMap<Arc<str>, Session>,
    /// The authenticatee that is at work for a client.
    clients: HashMap<Arc<str>, Arc<str>>,
    /// The principals of clients.
    principals: HashMap<Arc<str>, Arc<str>>,
    /// When sessions are given up, the first first; some are over by then.
    deadlines: VecDeque<(Time, Arc<str>)>,
}

#[derive(Debug)]
struct Session {
    client: Arc<str>,
    until: Time,
    step: Step,
    /// The client's registration; a later one says the same.
    waiting: Option<Input>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Starting,
    /// The challenge waits for its answer.
    Stepping(String),
}

/// Who asks to become part of the cluster.
enum Registers {
    Agent,
    Framework { claimed: Option<String> },
}

impl Authenticator {
    pub(crate) fn new(rules: Rules, hostname: &str) -> Self {
        Self {
            rules,
            hostname: hostname.to_owned(),
            sessions: HashMap::new(),
            clients: HashMap::new(),
            principals: HashMap::new(),
            deadlines: VecDeque::new(),
        }
    }

    /// Judges what comes from agents and drivers. Only registrations are looked at: whoever is not
    /// registered has nothing else to say.
    pub(crate) fn admit(&mut self, input: Input) -> Verdict {
        let Some((pid, registers)) = registration(&input) else { return Verdict::Pass(input) };
        let session = self.clients.get(&pid).and_then(|name| self.sessions.get_mut(name));
        if let Some(session) = session {
            tracing::info!(%pid, "registration waits for the end of the authentication");
            session.waiting = Some(input);
            return Verdict::Wait;
        }
        let proved = self.principals.get(&pid);
        match (registers, proved) {
            (Registers::Agent, None) if self.rules.agents => {
                tracing::warn!(
                    %pid,
                    "refusing registration of agent because it is not authenticated; start it with \
                     --credential"
                );
                Verdict::Drop
            }
            (Registers::Framework { .. }, None) if self.rules.frameworks => {
                let why = format!("Framework at {pid} is not authenticated");
                tracing::warn!(%pid, "refusing framework because it is not authenticated; give its driver a credential");
                Verdict::Refuse { pid, why }
            }
            (Registers::Framework { claimed: Some(claimed) }, Some(proved))
                if *claimed != **proved =>
            {
                let why = format!(
                    "Framework principal '{claimed}' does not match authenticated principal '{proved}'"
                );
                tracing::warn!(%pid, "refusing framework: {why}");
                Verdict::Refuse { pid, why }
            }
            (Registers::Framework { .. }, proved) => Verdict::Pass(of(input, proved.cloned())),
            (Registers::Agent, _) => Verdict::Pass(input),
        }
    }

    /// Takes a message of an authenticatee. The nonce must be a new one.
    pub(crate) fn take(
        &mut self,
        now: Time,
        from: Arc<str>,
        message: FromAuthenticatee,
        nonce: [u8; 16],
    ) -> Vec<Act> {
        match message {
            FromAuthenticatee::Authenticate(message) => self.begin(now, from, &message.pid),
            FromAuthenticatee::Start(message) => self.start(from, &message.mechanism, nonce),
            FromAuthenticatee::Step(message) => self.step(from, &message.data),
        }
    }

    fn begin(&mut self, now: Time, from: Arc<str>, client: &str) -> Vec<Act> {
        let Ok(client) = client.parse::<Upid>() else {
            return vec![error(from, format!("'{client}' is not the address of a process"))];
        };
        let client: Arc<str> = client.to_string().into();
        self.principals.remove(&client);
        // It begins anew: what it began before does not count any more.
        if let Some(earlier) = self.clients.remove(&client) {
            self.sessions.remove(&earlier);
        }
        self.end(&from);
        if self.sessions.len() >= SESSIONS_MAX {
            return vec![error(from, "Too many authentications at once; try again".to_owned())];
        }
        tracing::info!(pid = %client, "authenticating");
        let until = now + self.rules.timeout;
        let session =
            Session { client: client.clone(), until, step: Step::Starting, waiting: None };
        self.sessions.insert(from.clone(), session);
        self.clients.insert(client, from.clone());
        self.deadlines.push_back((until, from.clone()));
        let mechanisms = vec![cram_md5::MECHANISM.to_owned()];
        let message = internal::AuthenticationMechanismsMessage { mechanisms };
        vec![Act::Tell { to: from, message: FromAuthenticator::Mechanisms(message) }]
    }

    fn start(&mut self, from: Arc<str>, mechanism: &str, nonce: [u8; 16]) -> Vec<Act> {
        let Some(session) = self.sessions.get_mut(&from) else { return stray(&from) };
        if session.step != Step::Starting {
            return self.give_up(from, "Unexpected authentication 'start' received".to_owned());
        }
        if mechanism != cram_md5::MECHANISM {
            let why =
                format!("The mechanism '{mechanism}' is not available, {} is", cram_md5::MECHANISM);
            return self.give_up(from, why);
        }
        let challenge = cram_md5::challenge(nonce, &self.hostname);
        let data = challenge.clone().into();
        session.step = Step::Stepping(challenge);
        let message = internal::AuthenticationStepMessage { data };
        vec![Act::Tell { to: from, message: FromAuthenticator::Step(message) }]
    }

    fn step(&mut self, from: Arc<str>, answer: &[u8]) -> Vec<Act> {
        let Some(session) = self.sessions.get(&from) else { return stray(&from) };
        let Step::Stepping(challenge) = &session.step else {
            return self.give_up(from, "Unexpected authentication 'step' received".to_owned());
        };
        let checked = cram_md5::check(&self.rules.credentials, challenge.as_bytes(), answer);
        let principal = match checked {
            Ok(principal) => principal,
            Err(malformed) => return self.give_up(from, malformed.to_string()),
        };
        let Some(session) = self.end(&from) else { return Vec::new() };
        let pid = session.client;
        let message = match principal {
            Some(principal) => {
                tracing::info!(%pid, %principal, "authenticated");
                self.principals.insert(pid, principal);
                FromAuthenticator::Completed(internal::AuthenticationCompletedMessage {})
            }
            None => {
                tracing::warn!(
                    %pid,
                    "authentication failed: --credentials has no such principal, or another secret"
                );
                FromAuthenticator::Failed(internal::AuthenticationFailedMessage {})
            }
        };
        let resumed = session.waiting.map(Act::Resume);
        std::iter::once(Act::Tell { to: from, message }).chain(resumed).collect()
    }

    /// Ends a session that went wrong; what waited for it is asked for again by the client.
    fn give_up(&mut self, from: Arc<str>, why: String) -> Vec<Act> {
        if let Some(session) = self.end(&from) {
            tracing::warn!(pid = %session.client, "authentication given up: {why}");
        }
        vec![error(from, why)]
    }

    fn end(&mut self, authenticatee: &str) -> Option<Session> {
        let session = self.sessions.remove(authenticatee)?;
        self.clients.remove(&session.client);
        Some(session)
    }

    /// When [`Self::expire`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.front().map(|(until, _)| *until)
    }

    /// Gives up what takes too long.
    pub(crate) fn expire(&mut self, now: Time) {
        while let Some((until, _)) = self.deadlines.front()
            && *until <= now
        {
            let Some((until, authenticatee)) = self.deadlines.pop_front() else { return };
            // Another session of that name may have begun since.
            if self.sessions.get(&authenticatee).is_some_and(|session| session.until == until)
                && let Some(session) = self.end(&authenticatee)
            {
                tracing::warn!(pid = %session.client, "authentication timed out");
            }
        }
    }

    /// The link to a client broke: what comes from its address next may be somebody else.
    pub(crate) fn forget(&mut self, pid: &str) {
        self.principals.remove(pid);
    }
}

/// Who registers by an input, and where it is.
fn registration(input: &Input) -> Option<(Arc<str>, Registers)> {
    match input {
        Input::Agent { pid, message } => {
            let registers = matches!(**message, FromAgent::Register(_) | FromAgent::Reregister(_));
            registers.then(|| (Arc::clone(pid), Registers::Agent))
        }
        Input::Call { from: Some(Scheduler::Pid(pid)), call, .. }
            if call.r#type() == call::Type::Subscribe =>
        {
            let info = call.subscribe.as_ref().map(|subscribe| &subscribe.framework_info);
            let claimed = info.and_then(|info| info.principal.clone());
            Some((Arc::clone(pid), Registers::Framework { claimed }))
        }
        _ => None,
    }
}

/// The call of somebody whose principal is known.
fn of(input: Input, proved: Option<Arc<str>>) -> Input {
    match input {
        Input::Call { request, from, call, .. } => {
            Input::Call { request, from, principal: proved, call }
        }
        other => other,
    }
}

fn error(to: Arc<str>, why: String) -> Act {
    let message = internal::AuthenticationErrorMessage { error: Some(why) };
    Act::Tell { to, message: FromAuthenticator::Error(message) }
}

/// A message of a session that is over.
fn stray(from: &str) -> Vec<Act> {
    tracing::debug!(from, "there is no such authentication");
    Vec::new()
}

#[cfg(test)]
mod tests;
