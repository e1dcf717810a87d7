//! Tokens of JSON (RFC 7519) that are signed by HMAC-SHA256: whoever has one was given it by whoever
//! has the key. Nothing is kept of a token; who reads it needs the key only.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mesos_api::json::{self, Value, Writer};
use sha2::Sha256;

/// What a token says of its holder, such as `fid` for the id of a framework.
pub type Claims = BTreeMap<String, String>;

/// What tokens are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what it is.
        f.write_str("Key")
    }
}

impl Key {
    /// Reads the file of that path, or takes the text as the key itself.
    ///
    /// # Errors
    /// If the file cannot be read, or there is nothing in it.
    pub fn given(value: &str) -> Result<Self, String> {
        let key = if value.starts_with('/') {
            std::fs::read(value).map_err(|error| format!("cannot read {value}: {error}"))?
        } else {
            value.as_bytes().to_vec()
        };
        if key.is_empty() {
            return Err("the key is empty: whoever guesses that could make tokens".to_owned());
        }
        Ok(Self(key))
    }

    /// Makes a token.
    pub fn sign(&self, claims: &Claims) -> String {
        let mut payload = Writer::new();
        payload.begin_object();
        for (name, value) in claims {
            payload.name(name);
            payload.string(value);
        }
        payload.end_object();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", encode(&payload.into_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// What a token says, if it was signed with this key and its time, of which `now_secs` is the
    /// present in seconds since the epoch, has not passed.
    ///
    /// # Errors
    /// In the words of Mesos.
    pub fn read(&self, token: &str, now_secs: u64) -> Result<Claims, String> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            return Err(format!("Expected 3 components in token, got {}", parts.len()));
        };
        let in_header = |error| format!("Failed to decode token header: {error}");
        let text = decode(header).map_err(in_header)?;
        check_header(&object(&text).map_err(in_header)?)?;
        let in_payload = |error| format!("Failed to decode token payload: {error}");
        let text = decode(payload).map_err(in_payload)?;
        let claims = object(&text).map_err(in_payload)?;
        check_time(&claims, now_secs)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature.trim_end_matches('='))
            .map_err(|error| format!("Failed to base64url-decode token signature: {error}"))?;
        // Without telling by the time it takes how much of it is right.
        self.mac(&format!("{header}.{payload}"))
            .verify_slice(&signature)
            .map_err(|_| "Token signature does not match".to_owned())?;
        let Value::Object(members) = claims else { return Ok(Claims::new()) };
        Ok(members.iter().map(|(name, value)| (name.to_string(), shown(value))).collect())
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.0).expect("a key of any length will do");
        mac.update(text.as_bytes());
        mac
    }
}

fn decode(part: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD
        .decode(part.trim_end_matches('='))
        .map_err(|error| format!("Failed to base64url-decode: {error}"))
}

fn object(text: &[u8]) -> Result<Value<'_>, String> {
    match json::parse(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("Failed to parse into JSON: it is no object".to_owned()),
        Err(error) => Err(format!("Failed to parse into JSON: {error}")),
    }
}

fn check_header(header: &Value<'_>) -> Result<(), String> {
    match header.get("typ") {
        None | Some(Value::String(_)) => {}
        Some(_) => return Err("Token 'typ' is not a string".to_owned()),
    }
    match header.get("alg") {
        None => return Err("Failed to locate 'alg' in token JSON header".to_owned()),
        Some(Value::String(alg)) if **alg == *"HS256" => {}
        Some(Value::String(alg)) if **alg == *"none" || **alg == *"RS256" => {
            let text = format!("Token 'alg' value \"{alg}\" does not match, expected \"HS256\"");
            return Err(text);
        }
        Some(Value::String(alg)) => return Err(format!("Unsupported token algorithm: {alg}")),
        Some(_) => return Err("Token 'alg' field is not a string".to_owned()),
    }
    match header.get("crit") {
        None => Ok(()),
        Some(_) => Err("Token 'crit' field is unsupported".to_owned()),
    }
}

fn check_time(claims: &Value<'_>, now_secs: u64) -> Result<(), String> {
    let Some(expires) = claims.get("exp") else { return Ok(()) };
    #[allow(clippy::cast_precision_loss, reason = "a second more or less in a million years")]
    let (expires, now) = match expires {
        Value::Signed(secs) => (*secs as f64, now_secs as f64),
        Value::Unsigned(secs) => (*secs as f64, now_secs as f64),
        Value::Float(secs) => (*secs, now_secs as f64),
        _ => return Err("JSON payload 'exp' field is not a number".to_owned()),
    };
    if expires < now {
        return Err(format!("Token has expired: exp({expires}) < now({now})"));
    }
    Ok(())
}

/// A claim as a text: as it is, or as JSON.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Null => "null".to_owned(),
        // Nobody who signs here makes such.
        Value::Array(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::given("your-256-bit-secret").expect("a key")
    }

    fn claims() -> Claims {
        let claims = [("cid", "c"), ("eid", "e"), ("fid", "f\"1")];
        claims.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn token(header: &str, payload: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(key().mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    #[test]
    fn a_token_of_others_is_read_and_ours_are_alike() {
        // The example of jwt.io.
        let theirs = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6Ikpva\
                      G4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        let read = key().read(theirs, 0).expect("a token");
        assert_eq!(read["name"], "John Doe");
        assert_eq!(read["iat"], "1516239022");
        let ours = key().sign(&claims());
        assert!(ours.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."), "{ours}");
        assert_eq!(key().read(&ours, u64::MAX), Ok(claims()));
        assert_eq!(key().sign(&claims()), ours, "it is the same each time");
    }

    #[test]
    fn a_token_is_refused_with_the_reason_in_the_words_of_mesos() {
        let good = token(HEADER, "{}");
        let other_key = Key::given("another").expect("a key").sign(&claims());
        let (start, _) = good.rsplit_once('.').expect("three parts");
        let altered = {
            let (_, signature) = good.rsplit_once('.').expect("three parts");
            let payload = URL_SAFE_NO_PAD.encode(r#"{"fid":"x"}"#);
            format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(HEADER))
        };
        for (bad, expected) in [
            ("a.b", "Expected 3 components in token, got 2"),
            ("!.b.c", "Failed to decode token header: Failed to base64url-decode: "),
            ("YQ.b.c", "Failed to decode token header: Failed to parse into JSON: "),
            (&token("{}", "{}"), "Failed to locate 'alg' in token JSON header"),
            (
                &token(r#"{"alg":"none"}"#, "{}"),
                "Token 'alg' value \"none\" does not match, expected \"HS256\"",
            ),
            (&token(r#"{"alg":"HS512"}"#, "{}"), "Unsupported token algorithm: HS512"),
            (&token(r#"{"alg":"HS256","crit":[]}"#, "{}"), "Token 'crit' field is unsupported"),
            (&token(HEADER, "[]"), "Failed to decode token payload: "),
            (&token(HEADER, r#"{"exp":"1"}"#), "JSON payload 'exp' field is not a number"),
            (&token(HEADER, r#"{"exp":99}"#), "Token has expired: exp(99) < now(100)"),
            (&format!("{start}."), "Token signature does not match"),
            (&other_key, "Token signature does not match"),
            (&altered, "Token signature does not match"),
        ] {
            let told = key().read(bad, 100).expect_err(bad);
            assert!(told.starts_with(expected), "{told}");
        }
        assert_eq!(key().read(&token(HEADER, r#"{"exp":100}"#), 100).map(|it| it.len()), Ok(1));
    }

    #[test]
    fn a_key_is_something() {
        assert!(Key::given("").is_err());
        assert!(Key::given("/nowhere/at/all").expect_err("no file").starts_with("cannot read"));
        assert_eq!(format!("{:?}", key()), "Key", "it is not printed");
    }
}
