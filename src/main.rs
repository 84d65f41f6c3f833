//! The `claudebox` binary.

fn main() {}
