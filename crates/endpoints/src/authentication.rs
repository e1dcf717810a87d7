//! Principals with their secrets, and who may speak to a process over HTTP by them (HTTP Basic, as
//! with Mesos): which endpoints ask for them.
//!
//! Without TLS a secret can be read on its way: it keeps out mistakes, and whoever cannot listen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flags::{Error, Values};
use mesos_api::json::{self, Value};

/// A group of endpoints that are guarded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Realm {
    Scheduler,
    ReadOnly,
    ReadWrite,
}

impl Realm {
    /// What Mesos calls it; `process` is `master` or `agent`.
    pub fn name(self, process: &str) -> String {
        let group = match self {
            Self::Scheduler => "scheduler",
            Self::ReadOnly => "readonly",
            Self::ReadWrite => "readwrite",
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

/// Which realms ask for credentials, and whose are right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    credentials: Credentials,
    asking: BTreeSet<Realm>,
}

impl Authentication {
    pub fn new(credentials: Credentials, asking: impl IntoIterator<Item = Realm>) -> Self {
        Self { credentials, asking: asking.into_iter().collect() }
    }

    /// Reads it from a command line: `credentials` is the flag that has them or names their file,
    /// `switches` are those that make a realm ask.
    ///
    /// # Errors
    /// When the credentials cannot be read, when nothing asks for them, and when they are asked for
    /// and not given.
    pub fn of_flags(
        values: &Values,
        credentials: &str,
        switches: &[(&str, Realm)],
    ) -> Result<Self, Error> {
        let invalid = |message: String| Error::Invalid { name: credentials.to_owned(), message };
        let given = Credentials::of_flag(values, credentials)?;
        let on = switches.iter().filter(|(switch, _)| values.on(switch));
        let asking: BTreeSet<Realm> = on.map(|(_, realm)| *realm).collect();
        match (given, asking.is_empty()) {
            (None, false) => {
                let text = "it says who is let in, and is needed where that is asked";
                Err(invalid(text.to_owned()))
            }
            (Some(_), true) => {
                let names: Vec<String> =
                    switches.iter().map(|(switch, _)| format!("--{switch}")).collect();
                let names = names.join(" or ");
                Err(invalid(format!("nothing asks for them: add {names}")))
            }
            (given, _) => Ok(Self { credentials: given.unwrap_or_default(), asking }),
        }
    }

    /// Who makes a request, by its `Authorization` header; none where nobody asks.
    ///
    /// # Errors
    /// The realm that lets nobody in without the right secret.
    pub fn admit(
        &self,
        realm: Option<Realm>,
        header: Option<&str>,
    ) -> Result<Option<Arc<str>>, Realm> {
        let Some(realm) = realm.filter(|realm| self.asking.contains(realm)) else {
            return Ok(None);
        };
        let principal = header.and_then(|header| self.credentials.principal(header));
        principal.map(Some).ok_or(realm)
    }
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
