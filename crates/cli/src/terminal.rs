//! The terminal: raw mode, its size, detach keys.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, Once};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The mode to return to, while the terminal is raw.
///
/// Held for one system call at most; the panic hook takes it as well.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Keeps the terminal raw as long as it lives.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Makes stdin raw.
    pub(crate) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let default = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                default(info);
            }));
        });
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        if let Ok(mut saved) = SAVED.lock() {
            saved.get_or_insert(before);
        }
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns the terminal to the mode it had, if it is raw. Safe to call at any time.
pub(crate) fn restore() {
    let saved = SAVED.try_lock().ok().and_then(|mut saved| saved.take());
    if let Some(before) = saved {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before); // the terminal may be gone
    }
}

/// Tells rows and columns of the terminal on stdout.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Tells how wide text may be.
pub(crate) fn width() -> usize {
    if !io::stdout().is_terminal() {
        return 80;
    }
    size().map_or(80, |(_, columns)| usize::from(columns))
}

pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Parses a detach sequence such as `ctrl-p,ctrl-q` into the bytes that the keys send.
pub(crate) fn parse_detach_keys(text: &str) -> Result<Vec<u8>, String> {
    text.split(',')
        .map(|key| {
            let unknown = || format!("Unknown character: '{key}'");
            if let Some(letter) = key.strip_prefix("ctrl-") {
                return match letter.as_bytes() {
                    [b @ b'a'..=b'z'] => Ok(b - b'a' + 1),
                    [b @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(b - b'@'),
                    [b','] => Ok(b','),
                    _ => Err(unknown()),
                };
            }
            match key {
                "DEL" => Ok(127),
                _ => match key.as_bytes() {
                    [byte] => Ok(*byte),
                    _ => Err(unknown()),
                },
            }
        })
        .collect()
}

/// Finds the detach sequence in what is typed, holding back a beginning of it.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    pub(crate) fn new(sequence: Vec<u8>) -> Self {
        Self { sequence, matched: 0 }
    }

    /// Passes input on; `None` when the sequence was completed.
    pub(crate) fn filter(&mut self, input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(input.len());
        for &byte in input {
            if self.sequence.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return None;
                }
                continue;
            }
            out.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(self.sequence.first() == Some(&byte));
            if self.matched == 0 {
                out.push(byte);
            } else if self.sequence.len() == 1 {
                return None;
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_parse() {
        assert_eq!(parse_detach_keys("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(parse_detach_keys("a,ctrl-@,DEL"), Ok(vec![b'a', 0, 127]));
        assert!(parse_detach_keys("ctrl-P").is_err());
        assert!(parse_detach_keys("shift-a").is_err());
    }

    #[test]
    fn a_broken_sequence_is_passed_on() {
        let mut keys = DetachKeys::new(vec![16, 17]);
        assert_eq!(keys.filter(b"ab"), Some(b"ab".to_vec()));
        assert_eq!(keys.filter(&[16]), Some(vec![]));
        assert_eq!(keys.filter(b"x"), Some(vec![16, b'x']));
        assert_eq!(keys.filter(&[16, 16]), Some(vec![16]));
        assert_eq!(keys.filter(&[17]), None);
    }
}
