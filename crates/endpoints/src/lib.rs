//! What masters and agents do alike for those who come to them: who is let in and how that is proved,
//! files in pieces, figures of the machine and of how long things took.
//!
//! Neither sockets nor paths: which endpoints there are, and which files may be shown, is the
//! business of `master` and `agent`.

pub mod authentication;
pub mod cram_md5;
pub mod files;
pub mod firewall;
pub mod jwt;
pub mod system;
pub mod timer;
