//! From an OCI config to a process, and the shim that looks after it.
