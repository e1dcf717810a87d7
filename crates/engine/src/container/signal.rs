//! Signals by name or number, as Docker spells them.

use crate::{Error, Result};

const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

pub(crate) const TERM: i32 = 15;
pub(crate) const KILL: i32 = 9;

/// Reads `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `SIGRTMAX-1`, in any case.
///
/// # Errors
/// InvalidParameter naming what was given.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let invalid = || Error::InvalidParameter(format!("invalid signal: {}", text.escape_default()));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    // The first two real-time signals belong to the C library.
    let (base, offset) = if let Some(offset) = name.strip_prefix("RTMIN") {
        (34, offset)
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        (64, offset)
    } else {
        return Err(invalid());
    };
    let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().map_err(|_| invalid())? };
    let number: i32 = base + offset;
    if (34..=64).contains(&number) { Ok(number) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_are_read_in_every_spelling() {
        let rows = [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ];
        for (text, number) in rows {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "TERMX", "RTMIN+40", "RTMAX+1", "SIG"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
