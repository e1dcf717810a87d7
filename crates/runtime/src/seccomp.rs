//! Seccomp profiles: Docker's default, user-supplied ones, compiled once and cached.
