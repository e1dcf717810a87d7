use endpoints::authentication::Credential;
use mesos_api::v1;

use super::*;

const AGENT: &str = "slave(1)@10.0.0.1:5051";
const DRIVER: &str = "scheduler-1@10.0.0.2:4000";
const TIMEOUT: Duration = Duration::from_secs(15);

/// An authenticator that all have to prove themselves to, and those who do.
struct Rig {
    authenticator: Authenticator,
    now: Time,
    nonce: u8,
}

impl Rig {
    fn new() -> Self {
        Self::demanding(true)
    }

    fn demanding(demanded: bool) -> Self {
        let credentials = Credentials::parse("alice secret\nbob other").expect("good");
        let (agents, frameworks) = (demanded, demanded);
        let rules = Rules { credentials, agents, frameworks, timeout: TIMEOUT };
        let now = Time::from_nanos(1);
        Self { authenticator: Authenticator::new(rules, "master.example"), now, nonce: 0 }
    }

    fn take(&mut self, from: &str, message: FromAuthenticatee) -> Vec<Act> {
        self.nonce += 1;
        self.authenticator.take(self.now, from.into(), message, [self.nonce; 16])
    }

    /// What the authenticatee is told, which is one thing.
    fn told(&mut self, from: &str, message: FromAuthenticatee) -> FromAuthenticator {
        match &self.take(from, message)[..] {
            [Act::Tell { to, message }] => {
                assert_eq!(&**to, from);
                message.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Goes as far as the challenge.
    fn challenge(&mut self, from: &str, client: &str) -> Vec<u8> {
        let told = self.told(from, begin(client));
        let FromAuthenticator::Mechanisms(mechanisms) = told else { panic!("{told:?}") };
        assert_eq!(mechanisms.mechanisms, ["CRAM-MD5"]);
        let told = self.told(from, start("CRAM-MD5"));
        let FromAuthenticator::Step(step) = told else { panic!("{told:?}") };
        step.data.to_vec()
    }

    fn prove(&mut self, client: &str, principal: &str, secret: &str) -> Vec<Act> {
        let challenge = self.challenge("authenticatee(1)@h", client);
        self.take("authenticatee(1)@h", answer(principal, secret, &challenge))
    }
}

fn begin(client: &str) -> FromAuthenticatee {
    FromAuthenticatee::Authenticate(internal::AuthenticateMessage { pid: client.to_owned() })
}

fn start(mechanism: &str) -> FromAuthenticatee {
    let mechanism = mechanism.to_owned();
    FromAuthenticatee::Start(internal::AuthenticationStartMessage { mechanism, data: None })
}

fn answer(principal: &str, secret: &str, challenge: &[u8]) -> FromAuthenticatee {
    let credential = Credential { principal: principal.to_owned(), secret: secret.to_owned() };
    let data = cram_md5::answer(&credential, challenge).into();
    FromAuthenticatee::Step(internal::AuthenticationStepMessage { data })
}

fn register(pid: &str) -> Input {
    let message = internal::RegisterSlaveMessage::default();
    Input::Agent { pid: pid.into(), message: Box::new(FromAgent::Register(message)) }
}

fn subscribe(principal: Option<&str>) -> Input {
    let framework_info =
        v1::FrameworkInfo { principal: principal.map(str::to_owned), ..Default::default() };
    let subscribe = call::Subscribe { framework_info, ..Default::default() };
    let mut call =
        v1::scheduler::Call { subscribe: Some(subscribe), ..v1::scheduler::Call::default() };
    call.set_type(call::Type::Subscribe);
    let from = Some(Scheduler::Pid(DRIVER.into()));
    Input::Call { request: None, from, principal: None, call: Box::new(call) }
}

fn completed(acts: &[Act]) -> bool {
    matches!(acts.first(), Some(Act::Tell { message: FromAuthenticator::Completed(_), .. }))
}

#[test]
fn an_agent_registers_once_it_has_proved_who_it_is() {
    let mut rig = Rig::new();
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Drop));
    assert!(completed(&rig.prove(AGENT, "alice", "secret")));
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Pass(_)));
    let other = register("slave(1)@10.0.0.9:5051");
    assert!(matches!(rig.authenticator.admit(other), Verdict::Drop), "another one");
    // Whoever comes to this address when the link has broken is not known to be the same.
    rig.authenticator.forget(AGENT);
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Drop));
}

#[test]
fn a_framework_has_the_principal_that_it_proved() {
    let mut rig = Rig::new();
    let refused = |verdict| match verdict {
        Verdict::Refuse { pid, why } => {
            assert_eq!(&*pid, DRIVER);
            why
        }
        other => panic!("{other:?}"),
    };
    let why = refused(rig.authenticator.admit(subscribe(None)));
    assert_eq!(why, format!("Framework at {DRIVER} is not authenticated"));
    assert!(completed(&rig.prove(DRIVER, "alice", "secret")));
    for claimed in [None, Some("alice")] {
        match rig.authenticator.admit(subscribe(claimed)) {
            Verdict::Pass(Input::Call { principal, .. }) => {
                assert_eq!(principal.as_deref(), Some("alice"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        refused(rig.authenticator.admit(subscribe(Some("bob")))),
        "Framework principal 'bob' does not match authenticated principal 'alice'"
    );
}

#[test]
fn the_wrong_secret_makes_nobody_of_whoever_has_it() {
    for (principal, secret) in [("alice", "other"), ("carol", "secret")] {
        let mut rig = Rig::new();
        match &rig.prove(AGENT, principal, secret)[..] {
            [Act::Tell { message: FromAuthenticator::Failed(_), .. }] => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Drop));
    }
}

#[test]
fn where_nobody_demands_it_whoever_proves_nothing_registers_too() {
    let mut rig = Rig::demanding(false);
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Pass(_)));
    assert!(matches!(rig.authenticator.admit(subscribe(Some("bob"))), Verdict::Pass(_)));
    assert!(completed(&rig.prove(DRIVER, "alice", "secret")));
    assert!(matches!(rig.authenticator.admit(subscribe(Some("bob"))), Verdict::Refuse { .. }));
}

#[test]
fn a_registration_waits_for_the_end_of_its_authentication() {
    let mut rig = Rig::new();
    let challenge = rig.challenge("a(1)@h", AGENT);
    for _ in 0..2 {
        assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Wait));
    }
    let mut acts = rig.take("a(1)@h", answer("alice", "secret", &challenge));
    assert!(completed(&acts));
    assert_eq!(acts.len(), 2, "it is handled once");
    let Some(Act::Resume(input)) = acts.pop() else { panic!("{acts:?}") };
    assert!(matches!(rig.authenticator.admit(input), Verdict::Pass(_)));
}

#[test]
fn who_begins_anew_is_nobody_until_the_new_end() {
    let mut rig = Rig::new();
    assert!(completed(&rig.prove(AGENT, "alice", "secret")));
    let first = rig.challenge("a(1)@h", AGENT);
    let second = rig.challenge("a(2)@h", AGENT);
    assert_ne!(first, second);
    // What began first is over, and its messages are strays.
    assert!(rig.take("a(1)@h", answer("alice", "secret", &first)).is_empty());
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Wait));
    // An answer to another challenge is none to this one.
    let replayed = rig.take("a(2)@h", answer("alice", "secret", &first));
    assert!(matches!(
        &replayed[..],
        [Act::Tell { message: FromAuthenticator::Failed(_), .. }, Act::Resume(_)]
    ));
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Drop));
}

#[test]
fn what_takes_too_long_is_given_up() {
    let mut rig = Rig::new();
    assert_eq!(rig.authenticator.next_deadline(), None);
    let challenge = rig.challenge("a(1)@h", AGENT);
    assert_eq!(rig.authenticator.next_deadline(), Some(rig.now + TIMEOUT));
    // A session of the same name that is younger goes on.
    rig.now = rig.now + Duration::from_secs(1);
    let again = rig.challenge("a(1)@h", AGENT);
    rig.now = rig.now + Duration::from_secs(14);
    rig.authenticator.expire(rig.now);
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Wait));
    rig.now = rig.now + Duration::from_secs(1);
    rig.authenticator.expire(rig.now);
    assert_eq!(rig.authenticator.next_deadline(), None);
    assert!(matches!(rig.authenticator.admit(register(AGENT)), Verdict::Drop));
    for late in [challenge, again] {
        assert!(rig.take("a(1)@h", answer("alice", "secret", &late)).is_empty());
    }
}

#[test]
fn what_does_not_belong_there_ends_the_session_with_the_reason() {
    let step = |data: &'static [u8]| {
        FromAuthenticatee::Step(internal::AuthenticationStepMessage { data: data.into() })
    };
    let fails = |rig: &mut Rig, message: FromAuthenticatee, expected: &str| {
        let told = rig.told("a(1)@h", message);
        let FromAuthenticator::Error(error) = told else { panic!("{told:?}") };
        assert!(error.error().contains(expected), "{error:?}");
        assert!(rig.take("a(1)@h", start("CRAM-MD5")).is_empty(), "it is over");
    };
    let mut rig = Rig::new();
    fails(&mut rig, begin("nowhere"), "'nowhere' is not the address of a process");
    rig.take("a(1)@h", begin(AGENT));
    fails(&mut rig, start("PLAIN"), "'PLAIN' is not available, CRAM-MD5 is");
    rig.take("a(1)@h", begin(AGENT));
    fails(&mut rig, step(b"alice"), "Unexpected authentication 'step' received");
    rig.challenge("a(1)@h", AGENT);
    fails(&mut rig, start("CRAM-MD5"), "Unexpected authentication 'start' received");
    rig.challenge("a(1)@h", AGENT);
    fails(&mut rig, step(b"alice"), "is not a principal and a digest");
}
