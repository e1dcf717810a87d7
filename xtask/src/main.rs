//! Project tasks: check, e2e, bench, tidy.

fn main() {}
