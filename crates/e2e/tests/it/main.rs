//! What a user sees: real binaries, real kernel, `teu` and the stock docker CLI.

mod walkthrough;
