//! The binary: picks a role by name or verb, wires the parts, owns exit codes.

fn main() {}
