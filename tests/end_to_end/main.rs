//! The built program, end to end.

fn main() {}
