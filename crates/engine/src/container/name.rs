//! Names of containers: what they may look like, and made-up ones.

use rand::seq::IndexedRandom as _;

use crate::{Error, Result};

/// How often a made-up name is drawn before a number is put behind it.
pub(crate) const TRIES: usize = 6;

const ADJECTIVES: [&str; 60] = [
    "able", "airy", "ample", "apt", "bold", "brave", "breezy", "brisk", "calm", "candid", "cheery",
    "clever", "cosy", "crisp", "curious", "deft", "eager", "earnest", "fair", "fond", "frank",
    "fresh", "gentle", "glad", "golden", "grand", "hardy", "hearty", "honest", "humble", "jolly",
    "keen", "kind", "lively", "lucid", "lucky", "mellow", "merry", "mild", "neat", "nimble",
    "patient", "plucky", "polite", "proud", "quick", "quiet", "rapid", "serene", "sharp", "silver",
    "snug", "steady", "sturdy", "sunny", "tidy", "vivid", "warm", "wise", "witty",
];

const SURNAMES: [&str; 60] = [
    "abel",
    "agnesi",
    "ampere",
    "babbage",
    "banach",
    "bernoulli",
    "bohr",
    "boole",
    "born",
    "cantor",
    "cauchy",
    "celsius",
    "church",
    "clarke",
    "codd",
    "conway",
    "cori",
    "dalton",
    "darwin",
    "dijkstra",
    "dirac",
    "erdos",
    "euler",
    "faraday",
    "fermat",
    "fourier",
    "franklin",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "hamming",
    "hertz",
    "hilbert",
    "hooke",
    "hopper",
    "huygens",
    "joule",
    "kepler",
    "knuth",
    "lamport",
    "laplace",
    "leibniz",
    "liskov",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "noether",
    "ohm",
    "pascal",
    "planck",
    "ramanujan",
    "riemann",
    "shannon",
    "tesla",
    "turing",
    "volta",
    "wiles",
    "zuse",
];

/// Draws a name; from the `TRIES`th attempt on with a number, so that it ends.
pub(crate) fn made_up(attempt: usize) -> String {
    let mut random = rand::rng();
    let adjective = ADJECTIVES.choose(&mut random).unwrap_or(&"calm");
    let surname = SURNAMES.choose(&mut random).unwrap_or(&"turing");
    if attempt < TRIES {
        format!("{adjective}_{surname}")
    } else {
        format!("{adjective}_{surname}{}", rand::random_range(0..10_u32.pow(6)))
    }
}

/// Checks a name and takes a leading slash off.
///
/// # Errors
/// InvalidParameter in Docker's words.
pub(crate) fn parse(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && (2..=255).contains(&bare.len()) {
        return Ok(bare);
    }
    Err(Error::InvalidParameter(format!(
        "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        name.escape_default()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["ab", "web-1", "/web", "A_b.c", "0x"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in ["", "/", "a", "-a", "a b", "a/b", "a\n", "ä1", &long] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn made_up_names_are_names() {
        for attempt in 0..10 {
            let name = made_up(attempt);
            assert_eq!(parse(&name).unwrap(), name);
        }
    }
}
