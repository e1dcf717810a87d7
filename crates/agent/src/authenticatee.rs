//! Proves to the master who this agent is, by CRAM-MD5 as Mesos has it. It decides; when to begin and
//! how long to wait is the core's business, sending the link's.
//!
//! Each attempt is a process of its own name to the master, so that what comes late of an earlier one
//! is not taken for an answer to this one.

use cluster::wire::{FromAuthenticatee, FromAuthenticator};
use endpoints::authentication::Credential;
use endpoints::cram_md5;
use mesos_api::internal;

/// What the process of an attempt is called, with its number.
const NAME: &str = "crammd5-authenticatee";

/// A message, from one process of this agent to one at the master's address.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) message: FromAuthenticatee,
}

/// What a message of the master means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Answer(Step),
    /// The master believes it.
    Proved,
    /// It does not; in words for operators.
    Refused(String),
    /// This attempt has failed, another may not.
    Failed(String),
    /// It is not of this attempt.
    Stray,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Authenticatee {
    credential: Credential,
    attempts: u64,
    expects: Expects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Nothing,
    Mechanisms,
    Steps,
}

/// Whether messages to a process of that name are for an authenticatee.
pub(crate) fn is_name(process: &str) -> bool {
    process.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('('))
}

impl Authenticatee {
    pub(crate) fn new(credential: Credential) -> Self {
        Self { credential, attempts: 0, expects: Expects::Nothing }
    }

    fn name(&self) -> String {
        format!("{NAME}({})", self.attempts)
    }

    /// Begins anew, for the agent of that pid.
    pub(crate) fn begin(&mut self, pid: &str) -> Step {
        self.attempts += 1;
        self.expects = Expects::Mechanisms;
        let message = internal::AuthenticateMessage { pid: pid.to_owned() };
        let message = FromAuthenticatee::Authenticate(message);
        Step { from: self.name(), to: "master".to_owned(), message }
    }

    /// Takes a message of the master's process `from` to the process `to` of this agent.
    pub(crate) fn hear(&mut self, to: &str, from: String, message: FromAuthenticator) -> Heard {
        if self.expects == Expects::Nothing || to != self.name() {
            return Heard::Stray;
        }
        let answer = match (message, self.expects) {
            (FromAuthenticator::Mechanisms(offered), Expects::Mechanisms) => {
                if !offered.mechanisms.iter().any(|one| one == cram_md5::MECHANISM) {
                    return self.fail(format!(
                        "the master takes {}, and this agent has {} only",
                        offered.mechanisms.join(", "),
                        cram_md5::MECHANISM
                    ));
                }
                self.expects = Expects::Steps;
                FromAuthenticatee::Start(internal::AuthenticationStartMessage {
                    mechanism: cram_md5::MECHANISM.to_owned(),
                    data: Some(bytes::Bytes::new()),
                })
            }
            (FromAuthenticator::Step(step), Expects::Steps) => {
                let data = cram_md5::answer(&self.credential, &step.data).into();
                FromAuthenticatee::Step(internal::AuthenticationStepMessage { data })
            }
            (FromAuthenticator::Completed(_), Expects::Steps) => {
                self.expects = Expects::Nothing;
                return Heard::Proved;
            }
            (FromAuthenticator::Failed(_), _) => {
                self.expects = Expects::Nothing;
                return Heard::Refused(format!(
                    "the master refused authentication as principal '{}': its --credentials have no \
                     such principal, or another secret; see --credential of this agent",
                    self.credential.principal
                ));
            }
            (FromAuthenticator::Error(error), _) => {
                return self.fail(format!("the master says: {}", error.error()));
            }
            (unexpected, _) => {
                return self.fail(format!("the master sent {} out of turn", unexpected.name()));
            }
        };
        Heard::Answer(Step { from: self.name(), to: from, message: answer })
    }

    fn fail(&mut self, why: String) -> Heard {
        self.expects = Expects::Nothing;
        Heard::Failed(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: &str = "slave(1)@10.0.0.1:5051";
    const SESSION: &str = "crammd5-authenticator-session(7)";

    fn authenticatee() -> Authenticatee {
        let (principal, secret) = ("tim".to_owned(), "tanstaaftanstaaf".to_owned());
        Authenticatee::new(Credential { principal, secret })
    }

    fn mechanisms(all: &[&str]) -> FromAuthenticator {
        let mechanisms = all.iter().map(|one| (*one).to_owned()).collect();
        FromAuthenticator::Mechanisms(internal::AuthenticationMechanismsMessage { mechanisms })
    }

    fn challenge() -> FromAuthenticator {
        let data = "<1896.697170952@postoffice.reston.mci.net>".into();
        FromAuthenticator::Step(internal::AuthenticationStepMessage { data })
    }

    fn completed() -> FromAuthenticator {
        FromAuthenticator::Completed(internal::AuthenticationCompletedMessage {})
    }

    fn failed() -> FromAuthenticator {
        FromAuthenticator::Failed(internal::AuthenticationFailedMessage {})
    }

    fn error(text: &str) -> FromAuthenticator {
        let error = Some(text.to_owned());
        FromAuthenticator::Error(internal::AuthenticationErrorMessage { error })
    }

    #[test]
    fn a_challenge_is_answered_to_the_process_that_made_it() {
        let mut ours = authenticatee();
        let begun = ours.begin(PID);
        assert_eq!((&*begun.from, &*begun.to), ("crammd5-authenticatee(1)", "master"));
        assert!(is_name(&begun.from) && !is_name("slave(1)"));
        let message = internal::AuthenticateMessage { pid: PID.to_owned() };
        assert_eq!(begun.message, FromAuthenticatee::Authenticate(message));
        let mut hear = |message| ours.hear(&begun.from, SESSION.to_owned(), message);
        let Heard::Answer(start) = hear(mechanisms(&["PLAIN", "CRAM-MD5"])) else { panic!() };
        assert_eq!((&start.from, &*start.to), (&begun.from, SESSION));
        let FromAuthenticatee::Start(start) = start.message else { panic!("{start:?}") };
        assert_eq!(start.mechanism, "CRAM-MD5");
        let Heard::Answer(step) = hear(challenge()) else { panic!() };
        let FromAuthenticatee::Step(step) = step.message else { panic!("{step:?}") };
        assert_eq!(step.data, "tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(hear(completed()), Heard::Proved);
        assert_eq!(hear(failed()), Heard::Stray, "it is over");
    }

    #[test]
    fn what_is_late_is_not_of_this_attempt() {
        let mut ours = authenticatee();
        let first = ours.begin(PID).from;
        let second = ours.begin(PID).from;
        assert_ne!(first, second);
        for message in [mechanisms(&["CRAM-MD5"]), completed(), failed()] {
            assert_eq!(ours.hear(&first, SESSION.to_owned(), message), Heard::Stray);
        }
        assert!(matches!(
            ours.hear(&second, SESSION.to_owned(), mechanisms(&["CRAM-MD5"])),
            Heard::Answer(_)
        ));
    }

    #[test]
    fn what_goes_wrong_is_told_apart_from_a_refusal() {
        let hear = |messages: Vec<FromAuthenticator>| {
            let mut ours = authenticatee();
            let name = ours.begin(PID).from;
            let heard = messages.into_iter().map(|it| ours.hear(&name, SESSION.to_owned(), it));
            heard.last().expect("one at least")
        };
        let fails = |messages, expected: &str| match hear(messages) {
            Heard::Failed(why) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        };
        fails(vec![mechanisms(&["PLAIN"])], "the master takes PLAIN, and this agent has CRAM-MD5");
        fails(vec![completed()], "AuthenticationCompletedMessage out of turn");
        fails(vec![challenge()], "AuthenticationStepMessage out of turn");
        fails(vec![error("No authenticator loaded")], "the master says: No authenticator loaded");
        match hear(vec![mechanisms(&["CRAM-MD5"]), challenge(), failed()]) {
            Heard::Refused(why) => {
                assert!(why.contains("principal 'tim'") && why.contains("--credential"), "{why}");
                assert!(!why.contains("tanstaaf"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}
