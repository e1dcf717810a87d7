//! How fast frameworks of the older kind may speak (`--rate_limits`), as Mesos limits them: what comes
//! too early waits, by principal, and where too much waits the framework is told that its message is
//! dropped. Frameworks over HTTP are not limited, as with Mesos: each waits for its own answers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cluster::master::{Input, Scheduler};
use cluster::time::Time;
use mesos_api::json::{self, Value};

/// What `--rate_limits` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Config {
    /// None: this principal is not limited.
    principals: HashMap<Arc<str>, Option<Rate>>,
    /// All others together.
    default: Option<Rate>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    /// From one message to the next.
    interval: Duration,
    /// How many may wait; none: any number.
    capacity: Option<u64>,
}

/// What becomes of an input.
#[derive(Debug)]
pub(crate) enum Verdict {
    Pass(Input),
    Wait,
    /// The framework's driver at that pid is told.
    Exceeded {
        pid: Arc<str>,
        why: String,
    },
}

/// The limits at work.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    principals: HashMap<Arc<str>, Option<Limiter>>,
    default: Option<Limiter>,
    /// Subscribed drivers and their principals.
    drivers: HashMap<Arc<str>, Option<Arc<str>>>,
}

#[derive(Debug)]
struct Limiter {
    rate: Rate,
    /// When the next message may pass.
    free_at: Time,
    waiting: VecDeque<Input>,
}

impl Config {
    /// Reads limits as JSON, or from the file of that path.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub(crate) fn given(value: &str) -> Result<Self, String> {
        if !value.starts_with('/') {
            return Self::parse(value);
        }
        let text = std::fs::read_to_string(value)
            .map_err(|error| format!("cannot read {value}: {error}"))?;
        Self::parse(&text).map_err(|message| format!("{value}: {message}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let limits = json::parse(text.as_bytes())?;
        let Value::Object(members) = &limits else {
            return Err("the limits are no JSON object".to_owned());
        };
        let known = ["limits", "aggregate_default_qps", "aggregate_default_capacity"];
        if let Some((other, _)) = members.iter().find(|(name, _)| !known.contains(&&**name)) {
            return Err(format!("'{other}' is none of {}", known.join(", ")));
        }
        let default = Rate::of(&limits, "aggregate_default_qps", "aggregate_default_capacity")?;
        let mut principals = HashMap::new();
        let list = match limits.get("limits") {
            None => &[][..],
            Some(Value::Array(list)) => list,
            Some(_) => return Err("'limits' is no list".to_owned()),
        };
        for limit in list {
            let principal = limit.get("principal").and_then(Value::as_str);
            let principal = principal.ok_or("each of 'limits' has a 'principal'")?;
            let rate = Rate::of(limit, "qps", "capacity")?;
            if principals.insert(Arc::from(principal), rate).is_some() {
                return Err(format!("the principal '{principal}' is limited twice"));
            }
        }
        Ok(Self { principals, default })
    }
}

impl Rate {
    fn of(limit: &Value<'_>, qps: &str, capacity: &str) -> Result<Option<Self>, String> {
        #[allow(clippy::cast_precision_loss, reason = "nobody is that fast")]
        let per_second = match limit.get(qps) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Signed(number)) => *number as f64,
            Some(Value::Unsigned(number)) => *number as f64,
            Some(Value::Float(number)) => *number,
            Some(_) => return Err(format!("'{qps}' is no number")),
        };
        let interval = Duration::try_from_secs_f64(1.0 / per_second)
            .ok()
            .filter(|_| per_second > 0.0)
            .ok_or_else(|| format!("'{qps}' must be a positive number, not {per_second}"))?;
        let capacity = match limit.get(capacity) {
            None | Some(Value::Null) => None,
            Some(Value::Signed(number)) if *number >= 0 => Some(number.unsigned_abs()),
            Some(Value::Unsigned(number)) => Some(*number),
            Some(_) => return Err(format!("'{capacity}' is no number of messages")),
        };
        Ok(Some(Self { interval, capacity }))
    }
}

impl Limits {
    pub(crate) fn new(config: Config, now: Time) -> Self {
        let limiter = |rate| Limiter { rate, free_at: now, waiting: VecDeque::new() };
        let principals = config.principals.into_iter();
        Self {
            principals: principals.map(|(name, rate)| (name, rate.map(limiter))).collect(),
            default: config.default.map(limiter),
            drivers: HashMap::new(),
        }
    }

    /// Judges what comes. Only the messages of subscribed drivers are limited, and the ends of their
    /// links, which must not overtake them.
    pub(crate) fn admit(&mut self, now: Time, input: Input) -> Verdict {
        let (pid, ends) = match &input {
            Input::Call { from: Some(Scheduler::Pid(pid)), .. } => (Arc::clone(pid), false),
            Input::SchedulerGone(Scheduler::Pid(pid)) => (Arc::clone(pid), true),
            _ => return Verdict::Pass(input),
        };
        let Some(limiter) = self.limiter(&pid) else { return Verdict::Pass(input) };
        let waiting = limiter.waiting.len() as u64;
        if let Some(capacity) = limiter.rate.capacity.filter(|most| !ends && waiting >= *most) {
            let why =
                format!("Message mesos.scheduler.Call dropped: capacity({capacity}) exceeded");
            return Verdict::Exceeded { pid, why };
        }
        if limiter.waiting.is_empty() && limiter.free_at <= now {
            limiter.free_at = now + limiter.rate.interval;
            return Verdict::Pass(input);
        }
        limiter.waiting.push_back(input);
        Verdict::Wait
    }

    fn limiter(&mut self, pid: &str) -> Option<&mut Limiter> {
        let principal = self.drivers.get(pid)?;
        match principal.as_ref().and_then(|name| self.principals.get_mut(name)) {
            Some(limiter) => limiter.as_mut(),
            None => self.default.as_mut(),
        }
    }

    /// A driver subscribes.
    pub(crate) fn subscribed(&mut self, pid: &Arc<str>, principal: Option<Arc<str>>) {
        self.drivers.insert(Arc::clone(pid), principal);
    }

    /// The principal of the subscribed driver that makes a call.
    pub(crate) fn principal_of(&self, input: &Input) -> Option<Arc<str>> {
        match input {
            Input::Call { from: Some(Scheduler::Pid(pid)), .. } => self.drivers.get(pid)?.clone(),
            _ => None,
        }
    }

    /// Whether a subscribed driver has that principal.
    pub(crate) fn knows(&self, principal: &str) -> bool {
        self.drivers.values().flatten().any(|known| **known == *principal)
    }

    /// A driver is gone.
    pub(crate) fn forget(&mut self, pid: &str) {
        self.drivers.remove(pid);
    }

    /// When [`Self::due`] has something.
    pub(crate) fn next(&self) -> Option<Time> {
        let limiters = self.principals.values().flatten().chain(&self.default);
        limiters.filter(|it| !it.waiting.is_empty()).map(|it| it.free_at).min()
    }

    /// What has waited long enough, of each the first.
    pub(crate) fn due(&mut self, now: Time) -> Vec<Input> {
        let limiters = self.principals.values_mut().flatten().chain(&mut self.default);
        let mut due = Vec::new();
        for limiter in limiters.filter(|it| it.free_at <= now) {
            if let Some(input) = limiter.waiting.pop_front() {
                limiter.free_at = now + limiter.rate.interval;
                due.push(input);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use mesos_api::v1::scheduler::{Call, call};

    use super::*;

    const START: Time = Time::from_nanos(0);

    fn limits(text: &str) -> Limits {
        Limits::new(Config::given(text).expect("good"), START)
    }

    fn at(millis: u64) -> Time {
        START + Duration::from_millis(millis)
    }

    fn message(pid: &str) -> Input {
        let mut call = Call::default();
        call.set_type(call::Type::Revive);
        let from = Some(Scheduler::Pid(pid.into()));
        Input::Call { request: None, from, principal: None, call: Box::new(call) }
    }

    fn passes(limits: &mut Limits, now: Time, pid: &str) -> bool {
        match limits.admit(now, message(pid)) {
            Verdict::Pass(_) => true,
            Verdict::Wait => false,
            Verdict::Exceeded { why, .. } => panic!("{why}"),
        }
    }

    const FILE: &str = r#"{"limits": [{"principal": "foo", "qps": 2, "capacity": 2},
                                      {"principal": "bar", "qps": 0.5},
                                      {"principal": "free"}],
                           "aggregate_default_qps": 1000.0,
                           "aggregate_default_capacity": 1}"#;

    #[test]
    fn what_comes_too_early_waits_in_its_order() {
        let mut limits = limits(FILE);
        limits.subscribed(&"a@h".into(), Some("foo".into()));
        assert!(passes(&mut limits, at(0), "a@h"));
        assert!(!passes(&mut limits, at(100), "a@h"));
        assert_eq!(limits.next(), Some(at(500)));
        // The end of its link does not overtake what waits, however much that is.
        assert!(!passes(&mut limits, at(100), "a@h"));
        let gone = Input::SchedulerGone(Scheduler::Pid("a@h".into()));
        assert!(matches!(limits.admit(at(100), gone), Verdict::Wait));
        assert!(limits.due(at(499)).is_empty());
        for millis in [500, 1000] {
            assert!(matches!(&limits.due(at(millis))[..], [Input::Call { .. }]));
            assert!(limits.due(at(millis)).is_empty(), "one at a time");
        }
        assert!(matches!(&limits.due(at(1500))[..], [Input::SchedulerGone(_)]));
        assert_eq!(limits.next(), None);
        assert!(passes(&mut limits, at(2000), "a@h"));
    }

    #[test]
    fn where_too_much_waits_the_message_is_dropped_in_mesos_words() {
        let mut limits = limits(FILE);
        limits.subscribed(&"a@h".into(), Some("foo".into()));
        assert!(passes(&mut limits, at(0), "a@h"));
        for _ in 0..2 {
            assert!(!passes(&mut limits, at(0), "a@h"));
        }
        match limits.admit(at(0), message("a@h")) {
            Verdict::Exceeded { pid, why } => {
                assert_eq!(&*pid, "a@h");
                assert_eq!(why, "Message mesos.scheduler.Call dropped: capacity(2) exceeded");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn principals_share_their_rate_and_others_the_default() {
        let mut limits = limits(FILE);
        for (pid, principal) in [("a@h", "foo"), ("b@h", "foo"), ("c@h", "bar"), ("d@h", "free")] {
            limits.subscribed(&pid.into(), Some(principal.into()));
        }
        limits.subscribed(&"e@h".into(), Some("unheard of".into()));
        limits.subscribed(&"f@h".into(), None);
        assert!(passes(&mut limits, at(0), "a@h"));
        assert!(!passes(&mut limits, at(0), "b@h"), "of the same principal");
        assert!(passes(&mut limits, at(0), "c@h"), "of another one");
        assert!((0..9).all(|_| passes(&mut limits, at(0), "d@h")), "not limited");
        assert!(passes(&mut limits, at(0), "e@h"));
        assert!(!passes(&mut limits, at(0), "f@h"), "together with the one before");
        assert!(passes(&mut limits, at(0), "g@h"), "it has not subscribed");
        limits.forget("b@h");
        assert!(passes(&mut limits, at(0), "b@h"));
    }

    #[test]
    fn where_nothing_is_said_nothing_is_limited() {
        let mut limits = Limits::new(Config::default(), START);
        limits.subscribed(&"a@h".into(), None);
        assert!((0..9).all(|_| passes(&mut limits, at(0), "a@h")));
        assert_eq!(limits.next(), None);
    }

    #[test]
    fn limits_that_are_none_are_told_what_is_wrong() {
        for (bad, told) in [
            ("[]", "the limits are no JSON object"),
            (r#"{"limit": []}"#, "'limit' is none of limits, aggregate_default_qps"),
            (r#"{"limits": [{"qps": 1}]}"#, "each of 'limits' has a 'principal'"),
            (r#"{"limits": [{"principal": "a", "qps": 0}]}"#, "'qps' must be a positive number"),
            (r#"{"aggregate_default_qps": -1}"#, "'aggregate_default_qps' must be a positive"),
            (r#"{"aggregate_default_qps": "x"}"#, "'aggregate_default_qps' is no number"),
            (
                r#"{"limits": [{"principal": "a"}, {"principal": "a"}]}"#,
                "the principal 'a' is limited twice",
            ),
            (
                r#"{"limits": [{"principal": "a", "qps": 1, "capacity": -1}]}"#,
                "'capacity' is no number of messages",
            ),
        ] {
            let error = Config::given(bad).expect_err("bad");
            assert!(error.starts_with(told), "{error}");
        }
    }
}
