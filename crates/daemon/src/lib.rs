//! Docker Engine API server: configuration, listeners, routes. It decides nothing about containers:
//! requests become calls of `engine`, answers become JSON, in `convert` and nowhere else.
//!
//! ```text
//! flags -> settings -> config     what the command line and daemon.json say
//! listen, tls -> serve            sockets, connections
//! version, link, api              the prefix, names with a slash, common headers
//! routes/<noun>                   one handler per operation
//! membership                      this host as a node of a swarm
//! convert/<noun>                  wire types <-> engine types
//! error                           kinds of errors -> status codes
//! ```

mod api;
mod body;
mod config;
mod convert;
mod error;
mod extract;
mod flags;
mod hijack;
mod link;
mod listen;
mod membership;
mod notify;
mod params;
mod progress;
mod routes;
mod run;
mod serve;
mod settings;
mod stream;
mod tls;
mod version;
mod websocket;

pub use config::{Config, ConfigError, Host, LogLevel, Tls};
pub use flags::Flags;
pub use listen::ListenError;
pub use run::{main, run};
pub use settings::{AddressPool, RuntimeSetting, Settings, SettingsError, Size, Ulimit};
pub use tls::TlsError;
