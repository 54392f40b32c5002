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
    // Some 80,000 addresses are corrected at each start. In this form (DT_RELR, glibc 2.36, musl 1.2.4) that takes a part of the time,
    // and of the file.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let runner = PathBuf::from(variable("OUT_DIR")).join("native-run");
    // It reads the registers of x86-64. A pib for another processor has no native tools, no emulators of its own and no
    // recorded builds; an engine on that processor runs the same architecture's programs as they are, and emulates others
    // by its kernel's handlers.
    let known = variable("CARGO_CFG_TARGET_ARCH") == "x86_64" && variable("CARGO_CFG_TARGET_OS") == "linux";
    let program = |file: &str, name: &str, output: &Path, wanted: bool, without: &str| {
        let linker = Some(variable("RUSTC_LINKER")).filter(|linker| !linker.is_empty());
        let compiler = Compiler { rustc: variable("RUSTC"), target: variable("TARGET"), linker };
        if wanted && compiler.compile((file, name), output) {
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

/// The compiler, as cargo would have it for the target.
struct Compiler {
    rustc: String,
    target: String,
    /// Named where the target is another than this machine, whose linker would not do.
    linker: Option<String>,
}

impl Compiler {
    /// Compiles a program, linked statically: it runs in any root file system, in which no library may be counted on.
    fn compile(&self, (file, name): (&str, &str), output: &Path) -> bool {
        let options =
            ["--edition=2024", "--crate-type=bin", "-Copt-level=s", "-Clto=fat", "--crate-name", name];
        let more = ["-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-Ccodegen-units=1"];
        let status = Command::new(&self.rustc)
            .args(options)
            .args(more)
            .args(self.linker.iter().map(|linker| format!("-Clinker={linker}")))
            // The same program whatever folder it was compiled in: its digest names the companion.
            .arg("--remap-path-prefix=../native=native")
            .args(["--target", &self.target, "-o"])
            .arg(output)
            .arg(format!("../native/src/{file}"))
            .status();
        status.is_ok_and(|status| status.success())
    }
}
