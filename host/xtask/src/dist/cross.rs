//! Compiling for musl: Rust's own targets, which bring their libc, and Debian trixie's clang for what is written in C.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, capture, command, root, show};
use crate::toolchain::{CLANG, unpack, write_program};

/// What is unpacked beside the C compiler: `ar`, and musl's headers for each architecture.
const PACKAGES: [&str; 3] = ["llvm-19", "musl-dev:amd64", "musl-dev:arm64"];
/// The C compiler for each target.
pub(super) struct Cross(pub(super) PathBuf);

impl Cross {
    /// Returns the compiler, fetched and unpacked if this folder has none yet.
    pub(super) fn ready() -> Outcome<Self> {
        let cross = Self(root().join("target/dist-toolchain"));
        if cross.0.join("complete").exists() {
            return Ok(cross);
        }
        eprintln!("Fetching the C compiler for releases from Debian trixie");
        unpack(&cross.0, &["amd64", "arm64"], &[&CLANG[..], &PACKAGES].concat())?;
        write_program(
            &cross.0,
            "llvm-ar",
            r#"run --argv0 llvm-ar "$root/usr/lib/llvm-19/bin/llvm-ar" "$@""#,
        )?;
        for machine in ["x86_64", "aarch64"] {
            write_program(&cross.0, &format!("{machine}-clang"), &clang(machine))?;
        }
        let mark = cross.0.join("complete");
        fs::write(&mark, "").map_err(|error| format!("could not write {}: {error}", mark.display()))?;
        Ok(cross)
    }

    /// Has a cargo command compile for `target`, with each of `hidden`'s folders called as beside it: no path of this
    /// machine is in what is compiled.
    pub(super) fn use_in<'a>(
        &self,
        cargo: &'a mut Command,
        target: &str,
        hidden: &[(&Path, &str)],
    ) -> &'a mut Command {
        let machine = target.split('-').next().unwrap_or_default();
        let (lower, upper) = (target.replace('-', "_"), target.replace('-', "_").to_uppercase());
        let bin = self.0.join("bin");
        let mut rust = Vec::new();
        let mut c = Vec::new();
        for (folder, name) in hidden {
            rust.push(format!("--remap-path-prefix={}={name}", folder.display()));
            c.push(format!("'-ffile-prefix-map={}={name}'", folder.display()));
        }
        // Rust has no runtime library with what clang calls for atomics on old processors.
        if machine == "aarch64" {
            c.push("-mno-outline-atomics".to_owned());
        }
        cargo
            .env(format!("CC_{lower}"), bin.join(format!("{machine}-clang")))
            .env(format!("AR_{lower}"), bin.join("llvm-ar"))
            .env(format!("CFLAGS_{lower}"), c.join(" "))
            // Folders may have spaces in their names.
            .env("CC_SHELL_ESCAPED_FLAGS", "1")
            .env(format!("CARGO_TARGET_{upper}_LINKER"), "rust-lld")
            .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
    }
}

/// Returns the script that compiles for a machine. Clang starts itself again for assembler, by the name that it was
/// called by, and with other arguments.
fn clang(machine: &str) -> String {
    format!(
        r#"clang=$root/usr/lib/llvm-19/bin/clang
case "$1" in
    -cc1*) run --argv0 "$0" "$clang" "$@" ;;
esac
run --argv0 "$0" "$clang" -no-canonical-prefixes -resource-dir "$root/usr/lib/llvm-19/lib/clang/19" \
    --target={machine}-linux-musl --sysroot="$root" -isystem "$root/usr/include/{machine}-linux-musl" "$@""#
    )
}

/// Has rustup install the standard library of a target where it is missing.
pub(super) fn add_target(target: &str) -> Outcome {
    if libc(target)?.exists() {
        return Ok(());
    }
    show(&mut command("rustup", &["target", "add", target])).map_err(|error| {
        format!("{error}\nRust's standard library for {target} is needed; rustup installs it")
    })
}

/// Returns the C library that rustc links for a target.
pub(super) fn libc(target: &str) -> Outcome<PathBuf> {
    let sysroot = capture(&mut command("rustc", &["--print", "sysroot"]))?;
    Ok(PathBuf::from(sysroot.trim()).join("lib/rustlib").join(target).join("lib/self-contained/libc.a"))
}

/// Returns the version of the Rust compiler.
pub(super) fn compiler() -> Outcome<String> {
    let text = capture(&mut command("rustc", &["--version"]))?;
    let version = text.split_whitespace().nth(1);
    version.map(str::to_owned).ok_or_else(|| format!("rustc does not say its version: {text}"))
}

/// Returns the folder where cargo keeps packages.
pub(super) fn cargo_home() -> Outcome<PathBuf> {
    let home = || Some(OsString::from(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    std::env::var_os("CARGO_HOME")
        .or_else(home)
        .map(PathBuf::from)
        .ok_or_else(|| "HOME is not set".to_owned())
}
