//! What masters and agents do alike for those who come to them: who is let in and how that is proved,
//! where they are, files in pieces, how long a request may be on its way, which build they are, figures
//! of the machine and of how long things took.
//!
//! No sockets of its own and no paths: which endpoints there are, and which files may be shown, is
//! the business of `master` and `agent`.

pub mod authentication;
pub mod cram_md5;
pub mod domain;
pub mod files;
pub mod firewall;
pub mod heads;
pub mod jwt;
pub mod prometheus;
pub mod system;
pub mod timer;
pub mod version;
