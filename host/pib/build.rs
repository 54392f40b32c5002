//! Rebuilds the crate when the registry that it embeds changes: the compiler sees only the files that were there.

fn main() {
    println!("cargo::rerun-if-changed=../../registry-index");
    println!("cargo::rerun-if-changed=build.rs");
}
