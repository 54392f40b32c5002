//! Stages of one's own: made, built, checked, in Rust and in another language.

mod author;
mod twins;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::root;

/// Returns the folder of the programs that `cargo xtask` builds hooks with.
fn programs() -> PathBuf {
    let programs = root().join("target/wasm-toolchain/bin");
    assert!(programs.join("rustc").exists(), "no compiler for hooks: run `cargo xtask hooks --check` once");
    programs
}

/// Runs pib in `folder`, with the compilers for hooks, and returns its exit code, its output and its errors.
fn pib(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut pib = Command::new(env!("CARGO_BIN_EXE_pib"));
    pib.args(args).current_dir(folder).env("PIB_CACHE_DIR", folder.join("cache")).env("NO_COLOR", "1");
    pib.env("RUSTC", programs().join("rustc"));
    pib.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", programs().join("rust-lld"));
    // What cargo tells the tests is not for the hooks.
    pib.env_remove("CARGO_TARGET_DIR");
    let output = pib.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn succeeds(folder: &Path, args: &[&str]) -> String {
    let (code, out, errors) = pib(folder, args);
    assert_eq!(code, Some(0), "{args:?}: {out}{errors}");
    out
}
