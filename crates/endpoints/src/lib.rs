//! What the endpoints of masters and agents do alike: who is let in, files in pieces, the machine's
//! figures.
//!
//! Neither sockets nor paths: which endpoints there are, and which files may be shown, is the
//! business of `master` and `agent`.

pub mod authentication;
pub mod files;
pub mod system;
