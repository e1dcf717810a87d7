//! The API as a client sees it: a whole daemon on a socket of its own, in a network namespace of
//! its own, spoken to over HTTP.

mod harness;
mod hostile;
mod objects;
mod protocol;
