//! Principals with their secrets, and who may speak to a process over HTTP: by a secret (HTTP Basic)
//! or by a token (Bearer), as with Mesos, and which endpoints ask.
//!
//! Without TLS a secret can be read on its way: it keeps out mistakes, and whoever cannot listen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flags::{Error, Values};
use mesos_api::json::{self, Value, Writer};

use crate::jwt::{Claims, Key};

/// A group of endpoints that are guarded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Realm {
    Scheduler,
    ReadOnly,
    ReadWrite,
    /// Of agents.
    Executor,
}

impl Realm {
    /// What Mesos calls it; `process` is `master` or `agent`.
    pub fn name(self, process: &str) -> String {
        let group = match self {
            Self::Scheduler => "scheduler",
            Self::ReadOnly => "readonly",
            Self::ReadWrite => "readwrite",
            Self::Executor => "executor",
        };
        format!("mesos-{process}-{group}")
    }
}

/// Principals and their secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<Arc<str>, String>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    /// Reads either form that Mesos takes: JSON, or lines of a principal and a secret.
    ///
    /// # Errors
    /// Says what is wrong, without telling a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read =
            if text.trim_start().starts_with('{') { of_json(text)? } else { of_lines(text)? };
        if read.is_empty() {
            return Err("it names no principal".to_owned());
        }
        Ok(Self(read))
    }

    /// Reads them from the file of that path, or as they are there.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the file cannot be read.
    pub fn given(value: &str) -> Result<Self, String> {
        given(value, Self::parse)
    }

    /// The same for a flag that may be absent.
    ///
    /// # Errors
    /// Names the flag and what is wrong with it.
    pub fn of_flag(values: &Values, name: &str) -> Result<Option<Self>, Error> {
        values.read(name, Self::given)
    }

    /// A principal with its secret.
    pub(crate) fn find(&self, principal: &str) -> Option<(&Arc<str>, &str)> {
        self.0.get_key_value(principal).map(|(principal, secret)| (principal, &**secret))
    }

    /// The principal of an `Authorization` header, if the secret is right.
    fn principal(&self, header: &str) -> Option<Arc<str>> {
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (principal, secret) = decoded.split_once(':')?;
        let (known, right) = self.find(principal)?;
        same(secret, right).then(|| Arc::clone(known))
    }
}

/// Who a process is to others, and the secret that proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub principal: String,
    pub secret: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret.
        f.debug_tuple("Credential").field(&self.principal).finish()
    }
}

impl Credential {
    /// Reads it from the file of that path, or as it is there: JSON with `principal` and `secret`, or
    /// the two with a blank between.
    ///
    /// # Errors
    /// Says what is wrong, without telling the secret.
    pub fn given(value: &str) -> Result<Self, String> {
        given(value, |text| {
            if text.trim_start().starts_with('{') {
                let one = json::parse(text.as_bytes())?;
                return pair(&one).ok_or_else(|| {
                    "its JSON has no 'principal' and 'secret', which are texts".to_owned()
                });
            }
            let mut words = text.split_whitespace().map(str::to_owned);
            match (words.next(), words.next(), words.next()) {
                (Some(principal), Some(secret), None) => Ok(Self { principal, secret }),
                _ => Err("it is neither JSON nor one principal and its secret".to_owned()),
            }
        })
    }
}

/// Parses what a flag says, or what the file has that it names.
fn given<T>(value: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    if !value.starts_with('/') {
        return parse(value);
    }
    let text =
        std::fs::read_to_string(value).map_err(|error| format!("cannot read {value}: {error}"))?;
    parse(&text).map_err(|message| format!("{value}: {message}"))
}

/// Compares without telling by the time it takes how much is right.
fn same(given: &str, right: &str) -> bool {
    let differing = given.bytes().zip(right.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == right.len() && differing == 0
}

fn of_json(text: &str) -> Result<BTreeMap<Arc<str>, String>, String> {
    let value = json::parse(text.as_bytes())?;
    let Some(Value::Array(list)) = value.get("credentials") else {
        return Err("its JSON has no list 'credentials'".to_owned());
    };
    let mut read = BTreeMap::new();
    for one in list {
        let Some(one) = pair(one) else {
            return Err("each of 'credentials' has a 'principal' and a 'secret'".to_owned());
        };
        read.insert(Arc::from(one.principal), one.secret);
    }
    Ok(read)
}

fn pair(json: &Value<'_>) -> Option<Credential> {
    match (json.get("principal"), json.get("secret")) {
        (Some(Value::String(principal)), Some(Value::String(secret))) => {
            Some(Credential { principal: principal.to_string(), secret: secret.to_string() })
        }
        _ => None,
    }
}

fn of_lines(text: &str) -> Result<BTreeMap<Arc<str>, String>, String> {
    let mut read = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(principal), Some(secret), None) = (words.next(), words.next(), words.next())
        else {
            return Err(format!("line {} is not a principal and a secret", number + 1));
        };
        read.insert(Arc::from(principal), secret.to_owned());
    }
    Ok(read)
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// By name and secret.
    Principal(Arc<str>),
    /// By a token.
    Claims(Claims),
}

impl Who {
    /// Its principal, which holders of tokens have none of.
    pub fn principal(self) -> Option<Arc<str>> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Claims(_) => None,
        }
    }
}

/// As Mesos shows it.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(principal) => f.write_str(principal),
            Self::Claims(claims) => {
                let mut json = Writer::new();
                json.begin_object();
                json.object("claims", |json| {
                    for (name, value) in claims {
                        json.name(name);
                        json.string(value);
                    }
                });
                json.end_object();
                f.write_str(&json.into_string())
            }
        }
    }
}

/// What somebody is answered, with 401, who is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The header `WWW-Authenticate`: what would let it in.
    pub challenge: String,
    pub text: String,
}

/// Which realms ask who comes, and who is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    /// `master` or `agent`.
    pub process: &'static str,
    /// None if secrets let nobody in.
    pub credentials: Option<Credentials>,
    /// None if tokens let nobody in.
    pub key: Option<Key>,
    pub asking: BTreeSet<Realm>,
}

impl Authentication {
    /// Who makes a request, by its `Authorization` header; none where nobody asks. The time is that
    /// of now, in seconds since the epoch.
    ///
    /// # Errors
    /// What is answered without the right secret or token.
    pub fn admit(
        &self,
        realm: Option<Realm>,
        header: Option<&str>,
        now_secs: u64,
    ) -> Result<Option<Who>, Denied> {
        let Some(realm) = realm.filter(|realm| self.asking.contains(realm)) else {
            return Ok(None);
        };
        let realm = realm.name(self.process);
        let mut challenges = Vec::new();
        if let Some(credentials) = &self.credentials {
            if let Some(principal) = header.and_then(|header| credentials.principal(header)) {
                return Ok(Some(Who::Principal(principal)));
            }
            challenges.push(("Basic", format!("Basic realm=\"{realm}\"")));
        }
        if let Some(key) = &self.key {
            let why = match header.map(|header| holder(key, header, now_secs)) {
                Some(Ok(claims)) => return Ok(Some(Who::Claims(claims))),
                Some(Err(why)) => {
                    format!(", error=\"invalid_token\", error_description=\"{why}\"")
                }
                None => String::new(),
            };
            challenges.push(("Bearer", format!("Bearer realm=\"{realm}\"{why}")));
        }
        Err(Denied::of(&challenges))
    }
}

impl Denied {
    fn of(challenges: &[(&str, String)]) -> Self {
        const TEXT: &str = "401 Unauthorized.";
        let challenge: Vec<&str> = challenges.iter().map(|(_, it)| &**it).collect();
        let text = match challenges {
            [] | [_] => TEXT.to_owned(),
            several => {
                let each = several
                    .iter()
                    .map(|(scheme, _)| format!("\"{scheme}\" authenticator returned:\n{TEXT}"));
                each.collect::<Vec<_>>().join("\n\n")
            }
        };
        Self { challenge: challenge.join(","), text }
    }
}

/// The present, in seconds since the epoch.
pub fn now_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What the token of an `Authorization` header says; the error is in the words of Mesos.
fn holder(key: &Key, header: &str, now_secs: u64) -> Result<Claims, String> {
    let words: Vec<&str> = header.split(' ').collect();
    let [scheme, token] = words[..] else {
        return Err("Malformed 'Authorization' header".to_owned());
    };
    if scheme != "Bearer" {
        return Err(format!("Scheme '{scheme}' unsupported"));
    }
    let claims = key.read(token, now_secs).map_err(|why| format!("Invalid JWT: {why}"))?;
    if claims.is_empty() { Err("JWT claims missing".to_owned()) } else { Ok(claims) }
}

/// The flags as endpoints show them: those of `secret` only where they are the path of a file.
pub fn shown(values: &Values, secret: &[&str]) -> BTreeMap<&'static str, String> {
    let mut all = values.all().clone();
    for name in secret {
        let given = all.iter_mut().find(|(flag, _)| *flag == name);
        if let Some((_, value)) = given.filter(|(_, value)| !value.starts_with('/')) {
            "(not shown)".clone_into(value);
        }
    }
    all
}

#[cfg(test)]
mod tests;
