//! Names that go into generated files: what may be in them.

use crate::error::{Error, Result};

/// Accepts what `sethostname` and a line of /etc/hosts can carry: at most 64 bytes of letters,
/// digits, `-`, `_` and `.`, no label starting with `-`.
pub fn validate_hostname(name: &str) -> Result<()> {
    let label = |label: &str| {
        !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= 64 && name.split('.').all(label) && name.split('.').any(|l| !l.is_empty()) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "invalid hostname \"{}\": use at most 64 letters, digits, '-', '_' and '.'",
        name.escape_default()
    )))
}

/// Accepts a search domain or host name of at most 255 bytes; `.` alone stands for none.
pub fn validate_domain(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && name.len() <= 255 && name.bytes().all(allowed) && !name.starts_with('-')
    {
        return Ok(());
    }
    Err(Error::Invalid(format!("{} is not a valid domain", name.escape_default())))
}
