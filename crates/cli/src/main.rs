//! The `cooperage` command.
fn main() {}
