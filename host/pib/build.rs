//! Rebuilds the crate when the registry that it embeds changes (the compiler sees only the files that were there),
//! and compiles the programs that run on the engine's side: the one that starts commands of a foreign system with
//! native tools, and the one that registers emulators.

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
    let program = |file: &str, name: &str, output: &Path, wanted: bool, without: &str| {
        if wanted && compile(&variable("RUSTC"), &variable("TARGET"), (file, name), output) {
            return;
        }
        if wanted {
            println!("cargo::warning={without}: a program could not be linked statically");
        }
        if let Err(error) = std::fs::write(output, "") {
            println!("cargo::error=could not write {}: {error}", output.display());
        }
    };
    program("main.rs", "pib_native", &runner, known, "native tools are left out");
    let handlers = PathBuf::from(variable("OUT_DIR")).join("handlers");
    let linux = variable("CARGO_CFG_TARGET_OS") == "linux";
    program("handlers.rs", "pib_handlers", &handlers, linux, "`pib binfmt` serves only this machine");
}

/// Compiles a program, linked statically: it runs in any root file system, in which no library may be counted on.
fn compile(rustc: &str, target: &str, (file, name): (&str, &str), output: &Path) -> bool {
    let options = ["--edition=2024", "--crate-type=bin", "-Copt-level=s", "-Clto=fat", "--crate-name", name];
    let more = ["-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-Ccodegen-units=1"];
    let status = Command::new(rustc)
        .args(options)
        .args(more)
        // The same program whatever folder it was compiled in: its digest names the companion.
        .arg("--remap-path-prefix=../native=native")
        .args(["--target", target, "-o"])
        .arg(output)
        .arg(format!("../native/src/{file}"))
        .status();
    status.is_ok_and(|status| status.success())
}
