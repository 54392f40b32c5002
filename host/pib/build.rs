//! Rebuilds the crate when the registry that it embeds changes (the compiler sees only the files that were there),
//! and compiles the program that starts commands of a foreign system with native tools.

use std::path::{Path, PathBuf};
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "this is how cargo talks to a build script")]
fn main() {
    println!("cargo::rerun-if-changed=../../registry-index");
    println!("cargo::rerun-if-changed=../../plugin-sdk/src");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../native/src");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let runner = PathBuf::from(variable("OUT_DIR")).join("native-run");
    // It reads the registers of x86-64; where pib runs on another processor, builds are emulated.
    let known = variable("CARGO_CFG_TARGET_ARCH") == "x86_64" && variable("CARGO_CFG_TARGET_OS") == "linux";
    if !(known && compile(&variable("RUSTC"), &variable("TARGET"), &runner)) {
        if known {
            println!(
                "cargo::warning=native tools are left out: their starter could not be linked statically"
            );
        }
        if let Err(error) = std::fs::write(&runner, "") {
            println!("cargo::error=could not write {}: {error}", runner.display());
        }
    }
}

/// Compiles the program, linked statically: it runs in any root file system, in which no library may be counted on.
fn compile(rustc: &str, target: &str, output: &Path) -> bool {
    let options =
        ["--edition=2024", "--crate-name=pib_native", "--crate-type=bin", "-Copt-level=s", "-Clto=fat"];
    let more = ["-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-Ccodegen-units=1"];
    let status = Command::new(rustc)
        .args(options)
        .args(more)
        // The same program whatever folder it was compiled in: its digest names the companion.
        .arg("--remap-path-prefix=../native=native")
        .args(["--target", target, "-o"])
        .arg(output)
        .arg("../native/src/main.rs")
        .status();
    status.is_ok_and(|status| status.success())
}
