//! The `WWW-Authenticate` header: what a registry asks for before it answers.
//!
//! Owns only the parsing (RFC 9110 section 11.6.1). One header may hold several challenges and a reply may hold several
//! headers; the caller picks. Answering a challenge is `auth.rs`.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One challenge of a registry that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Credentials go with each request.
    Basic,
    /// Credentials go to a token server, its token goes with each request.
    Bearer(BearerChallenge),
}

/// Where to get a token and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BearerChallenge {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    /// Space-separated scopes, as in the header.
    pub(crate) scope: Option<String>,
}

/// Returns the challenges of a reply that we can answer, in the order of the reply.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .collect()
}

/// Parses one header value. What cannot be understood is left out, never an error: another challenge may do.
fn parse(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut lexer = Lexer { rest: value };
    let mut current: Option<(String, Vec<(String, String)>)> = None;
    while let Some(word) = lexer.word() {
        if lexer.eat('=') {
            let Some(text) = lexer.text() else { break };
            if let Some((_, params)) = &mut current {
                params.push((word.to_ascii_lowercase(), text));
            }
        } else {
            found.extend(current.take().and_then(finish));
            current = Some((word.to_ascii_lowercase(), Vec::new()));
        }
    }
    found.extend(current.and_then(finish));
    found
}

fn finish((scheme, params): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let param =
        |name: &str| params.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer(BearerChallenge {
            realm: param("realm")?,
            service: param("service"),
            scope: param("scope"),
        })),
        _ => None,
    }
}

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    /// Skips separators and takes a scheme or a parameter's name.
    fn word(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
        let end = self.rest.find([' ', '\t', ',', '=', '"']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn eat(&mut self, expected: char) -> bool {
        let trimmed = self.rest.trim_start_matches([' ', '\t']);
        match trimmed.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes a token or a quoted string. `None` if the quote is never closed.
    fn text(&mut self) -> Option<String> {
        if !self.eat('"') {
            return Some(self.word().unwrap_or_default().to_owned());
        }
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(chars.next()?.1),
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{BearerChallenge, Challenge, parse};

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(BearerChallenge {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        })
    }

    #[test]
    fn challenges_are_parsed() {
        let rows: &[(&str, Vec<Challenge>)] = &[
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://a/token",service="reg",scope="repository:x/y:pull,push""#,
                vec![bearer("https://a/token", Some("reg"), Some("repository:x/y:pull,push"))],
            ),
            (
                r#"BEARER Realm="https://a/token" , SERVICE=reg"#,
                vec![bearer("https://a/token", Some("reg"), None)],
            ),
            (
                r#"Negotiate abc, Basic realm="a, b", Bearer realm="u""#,
                vec![Challenge::Basic, bearer("u", None, None)],
            ),
            (r#"Bearer realm="a\"b""#, vec![bearer("a\"b", None, None)]),
            (r#"Bearer realm="never closed"#, vec![]),
            (r#"Bearer service="no realm""#, vec![]),
            ("", vec![]),
            (",,, =\"\"", vec![]),
        ];
        for (header, expected) in rows {
            assert_eq!(&parse(header), expected, "{header}");
        }
    }
}
