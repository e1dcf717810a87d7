//! CRAM-MD5 (RFC 2195): who knows a secret proves it without telling it, by hashing a challenge
//! together with it. How agents and old drivers prove to a master who they are.
//!
//! Messages and their order are the business of those who speak; nobody who listens learns the
//! secret, but whoever stands between the two can let the right one prove itself and then speak.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;

use crate::authentication::{Credential, Credentials};

/// What SASL calls it.
pub const MECHANISM: &str = "CRAM-MD5";

/// The challenge of a host; the nonce must never come twice.
pub fn challenge(nonce: [u8; 16], hostname: &str) -> String {
    format!("<{:x}@{hostname}>", u128::from_be_bytes(nonce))
}

/// The answer of whoever has the credential.
pub fn answer(credential: &Credential, challenge: &[u8]) -> String {
    let digest = keyed(&credential.secret, challenge).finalize().into_bytes();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {digits}", credential.principal)
}

/// An answer that is none, whatever its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer to the challenge is not a principal and a digest of 32 hexadecimal digits")]
pub struct Malformed;

/// Who answered a challenge; none if nobody of that name is known, or not with this secret.
///
/// # Errors
/// If it is no answer.
pub fn check(
    known: &Credentials,
    challenge: &[u8],
    answer: &[u8],
) -> Result<Option<Arc<str>>, Malformed> {
    let text = std::str::from_utf8(answer).map_err(|_| Malformed)?;
    // A principal may have blanks, a digest has none.
    let (principal, digits) = text.rsplit_once(' ').ok_or(Malformed)?;
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Malformed);
    }
    let digest = u128::from_str_radix(digits, 16).map_err(|_| Malformed)?.to_be_bytes();
    let Some((principal, secret)) = known.find(principal) else { return Ok(None) };
    let right = keyed(secret, challenge).verify_slice(&digest).is_ok();
    Ok(right.then(|| Arc::clone(principal)))
}

fn keyed(secret: &str, challenge: &[u8]) -> Hmac<Md5> {
    let mut mac = Hmac::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(challenge);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tim() -> Credential {
        Credential { principal: "tim".to_owned(), secret: "tanstaaftanstaaf".to_owned() }
    }

    fn known() -> Credentials {
        Credentials::parse("tim tanstaaftanstaaf\ntom other").expect("good")
    }

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let expected = "tim b913a602c7eda7a495b4e6e7334d3890";
        assert_eq!(answer(&tim(), challenge), expected);
        assert_eq!(check(&known(), challenge, expected.as_bytes()), Ok(Some("tim".into())));
    }

    #[test]
    fn only_the_right_secret_answers_this_challenge() {
        let (ours, other) = (challenge([1; 16], "h"), challenge([2; 16], "h"));
        assert_ne!(ours, other);
        let right = answer(&tim(), ours.as_bytes());
        assert_eq!(check(&known(), other.as_bytes(), right.as_bytes()), Ok(None), "a replay");
        let wrong = answer(&Credential { secret: "x".to_owned(), ..tim() }, ours.as_bytes());
        assert_eq!(check(&known(), ours.as_bytes(), wrong.as_bytes()), Ok(None));
        let nobody = Credential { principal: "nobody".to_owned(), ..tim() };
        let nobody = answer(&nobody, ours.as_bytes());
        assert_eq!(check(&known(), ours.as_bytes(), nobody.as_bytes()), Ok(None));
        let as_other = right.replace("tim", "tom");
        assert_eq!(check(&known(), ours.as_bytes(), as_other.as_bytes()), Ok(None));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let digest = "b913a602c7eda7a495b4e6e7334d3890";
        let short = &digest[1..];
        for bad in ["", "tim", digest, &format!("tim {short}"), &format!("tim +{short}")] {
            assert_eq!(check(&known(), b"<1@h>", bad.as_bytes()), Err(Malformed), "{bad}");
        }
        assert_eq!(check(&known(), b"<1@h>", b"tim \xff"), Err(Malformed));
    }
}
