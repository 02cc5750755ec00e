//! The `corer` command.

fn main() {}
