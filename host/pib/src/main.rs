//! The binary `pib`.

fn main() {}
