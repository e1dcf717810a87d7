//! How many messages made sense: what masters and agents both count.

/// Messages that made sense, and those that did not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub valid: u64,
    pub invalid: u64,
}

impl Judged {
    pub(crate) const fn count(&mut self, valid: bool) {
        *(if valid { &mut self.valid } else { &mut self.invalid }) += 1;
    }
}
