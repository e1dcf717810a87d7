//! Join tokens: `SWMTKN-1-<digest of the root certificate>-<secret>`, both in base 36.
//!
//! Whoever has one can tell the swarm's manager from an impostor before he says the secret.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::{ID_DIGITS, base36, is_base36};

const PREFIX: &str = "SWMTKN";
const VERSION: &str = "1";
/// Digits of a digest of 256 bits.
const DIGEST_DIGITS: usize = 50;

/// What a node needs to join a swarm.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    /// Of the root certificate in PEM form, as Docker has it.
    pub(crate) digest: String,
    pub(crate) secret: String,
}

/// A text that is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub(crate) struct InvalidToken;

impl JoinToken {
    /// Reads a token.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidToken> {
        let parts: Vec<&str> = text.split('-').collect();
        match parts[..] {
            [PREFIX, VERSION, digest, secret]
                if is_base36(digest, DIGEST_DIGITS) && is_base36(secret, ID_DIGITS) =>
            {
                Ok(Self { digest: digest.to_owned(), secret: secret.to_owned() })
            }
            _ => Err(InvalidToken),
        }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{VERSION}-{}-{}", self.digest, self.secret)
    }
}

/// Tells no secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The digest of a root certificate as tokens have it.
pub(crate) fn digest(root_pem: &str) -> String {
    base36(&Sha256::digest(root_pem.as_bytes()), DIGEST_DIGITS)
}

/// The secret half of a token. `Debug` does not tell it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// Makes a new one of 128 random bits.
    pub(crate) fn random() -> Self {
        Self(crate::id::random_id())
    }

    /// The secret's digits.
    pub(crate) fn tell(&self) -> &str {
        &self.0
    }

    /// Whether a text is this secret, in a time that says nothing about where it differs.
    pub(crate) fn is(&self, text: &str) -> bool {
        Sha256::digest(self.0.as_bytes()) == Sha256::digest(text.as_bytes())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(root_pem: &str) -> JoinToken {
        JoinToken { digest: digest(root_pem), secret: crate::id::random_id() }
    }

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let token = generate("a certificate");
        let text = token.to_string();
        assert_eq!(text.len(), "SWMTKN-1--".len() + 50 + 25);
        assert_eq!(JoinToken::parse(&text), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret));
        let secret = Secret(token.secret.clone());
        assert!(secret.is(&token.secret) && !secret.is(Secret::random().tell()));
        assert!(!format!("{secret:?}").contains(&token.secret));
    }

    #[test]
    fn a_token_of_docker_is_read() {
        let text = "SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-\
                    8vxv8rssmk743ojnwacrr2e7c";
        assert_eq!(JoinToken::parse(text).map(|token| token.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let good = generate("x").to_string();
        for text in [
            String::new(),
            "SWMTKN-1".to_owned(),
            good.replace("-1-", "-2-"),
            good.to_uppercase(),
            format!("{good}0"),
            format!("{good}-0"),
            good.replace("SWMTKN", "TOKEN"),
            "SWMTKN-1-äöü-\u{0}".to_owned(),
        ] {
            assert_eq!(JoinToken::parse(&text), Err(InvalidToken), "{text}");
        }
    }
}
