//! The compilers that the published hooks and the released program are built with: Debian trixie's, unpacked to a folder of
//! their own.
//!
//! Another version of the compiler makes other bytes of the same source, so that one is chosen, and for as long as
//! trixie is in Debian's archive everybody can have it. Nothing is installed: the machine may be any Debian, and the
//! programs run by their own loader and libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, capture, command, root};

/// Trixie's C compiler, and the libraries that it runs with.
pub(crate) const CLANG: [&str; 17] = [
    "clang-19",
    "libc6",
    "libclang-common-19-dev",
    "libclang-cpp19",
    "libbsd0",
    "libedit2",
    "libffi8",
    "libgcc-s1",
    "libllvm19",
    "liblzma5",
    "libmd0",
    "libstdc++6",
    "libtinfo6",
    "libxml2",
    "libz3-4",
    "libzstd1",
    "zlib1g",
];
/// What hooks need beside it: the compiler of Rust, the linker, and what the target needs.
const PACKAGES: [&str; 7] = [
    "libgmp10",
    "libstd-rust-1.85",
    "libstd-rust-dev",
    "libstd-rust-dev-wasm32",
    "lld-19",
    "rustc",
    "wasi-libc",
];
/// Debian's archive, where this machine's apt knows no mirror of it.
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// The libraries' folders within the unpacked packages.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib/llvm-19/lib"];
/// The programs, each with how it is started.
const PROGRAMS: [(&str, &str); 4] = [
    ("rustc", r#"run "$root/usr/bin/rustc" --sysroot "$root/usr" "$@""#),
    ("rust-lld", r#"run "$root/usr/lib/llvm-19/bin/lld" "$@""#),
    ("wasm-ld", r#"run "$root/usr/lib/llvm-19/bin/lld" -flavor wasm "$@""#),
    (
        "clang",
        r#"run "$root/usr/lib/llvm-19/bin/clang" -resource-dir "$root/usr/lib/llvm-19/lib/clang/19" --sysroot "$root/usr" \
    -B "$bin" "$@""#,
    ),
];
/// The start of what the compiler calls itself.
const RUSTC: &str = "rustc 1.85.1 ";

/// The folder with the compilers.
pub(crate) struct Toolchain(PathBuf);

impl Toolchain {
    /// Returns the toolchain, fetched and unpacked if this folder has none yet.
    pub(crate) fn ready() -> Outcome<Self> {
        let folder = root().join("target/wasm-toolchain");
        let toolchain = Self(folder);
        // The programs of an earlier version of this task do not run in a checkout that was moved.
        let runs = || capture(Command::new(toolchain.rustc()).arg("--version")).is_ok();
        if !toolchain.0.join("complete").exists() || !runs() {
            toolchain.fetch()?;
        }
        let version = capture(Command::new(toolchain.rustc()).arg("--version"))?;
        if !version.starts_with(RUSTC) {
            return Err(format!(
                "{} has another compiler than hooks are published with: {version}, not {RUSTC}",
                toolchain.0.display()
            ));
        }
        Ok(toolchain)
    }

    /// Returns the folder with a program for each of `rustc`, `rust-lld`, `clang` and `wasm-ld`.
    pub(crate) fn programs(&self) -> PathBuf {
        self.0.join("bin")
    }

    fn rustc(&self) -> PathBuf {
        self.programs().join("rustc")
    }

    fn fetch(&self) -> Outcome {
        eprintln!("Fetching the compilers for hooks from Debian trixie");
        unpack(&self.0, &["amd64"], &[&CLANG[..], &PACKAGES].concat())?;
        for (name, text) in PROGRAMS {
            write_program(&self.0, name, text)?;
        }
        write(&self.0.join("complete"), "")
    }

    /// Has a command's cargo use these compilers.
    pub(crate) fn use_in<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("RUSTC", self.rustc())
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", self.programs().join("rust-lld"))
    }
}

/// Unpacks packages of trixie below `root` in a folder, which is made anew. A package of another architecture than the
/// first has its name after a colon.
pub(crate) fn unpack(folder: &Path, archs: &[&str], packages: &[&str]) -> Outcome {
    let _ = fs::remove_dir_all(folder);
    let (apt, root) = (folder.join("apt"), folder.join("root"));
    for folder in ["lists/partial", "archives/partial", "etc"] {
        create(&apt.join(folder))?;
    }
    create(&root)?;
    let keyring = crate::run::root().join("host/debian/src/keys/debian-archive-keyring.asc");
    let (keyring, archs) = (keyring.display(), archs.join(","));
    let source = format!("deb [arch={archs} signed-by={keyring}] {} trixie main\n", mirror());
    write(&apt.join("sources.list"), &source)?;
    write(&apt.join("status"), "")?;
    capture(apt_get(&apt, &archs).arg("update"))?;
    capture(apt_get(&apt, &archs).arg("download").args(packages).current_dir(apt.join("archives")))?;
    let archives = fs::read_dir(apt.join("archives"))
        .map_err(|error| format!("could not list what was downloaded: {error}"))?;
    for archive in archives.flatten().map(|entry| entry.path()) {
        if archive.extension().is_some_and(|end| end == "deb") {
            let (archive, root) = (archive.to_string_lossy(), root.to_string_lossy());
            capture(&mut command("dpkg-deb", &["--extract", &archive, &root]))?;
        }
    }
    let _ = fs::remove_dir_all(&apt);
    Ok(())
}

/// Writes a program below `bin`, a shell script that may be moved with its folder: `run` starts an unpacked program with its
/// own loader and libraries.
pub(crate) fn write_program(folder: &Path, name: &str, text: &str) -> Outcome {
    let programs = folder.join("bin");
    create(&programs)?;
    let libraries = LIBRARIES.map(|folder| format!("$root/{folder}")).join(":");
    let text = format!(
        "#!/bin/sh\nbin=$(cd \"$(dirname \"$0\")\" && pwd -P)\nroot=${{bin%/bin}}/root\n\
         run() {{ exec \"$root/usr/lib64/ld-linux-x86-64.so.2\" --library-path \"{libraries}\" \"$@\"; }}\n\
         {text}\n"
    );
    let path = programs.join(name);
    write(&path, &text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(|error| format!("could not make {} executable: {error}", path.display()))
}

/// Returns an apt that knows nothing but the folder's own source.
fn apt_get(folder: &Path, archs: &str) -> Command {
    let mut apt = command("apt-get", &["--quiet", "--quiet"]);
    let path = |name: &str| folder.join(name).display().to_string();
    for (option, value) in [
        ("Dir::Etc::sourcelist", path("sources.list")),
        ("Dir::Etc::sourceparts", path("etc")),
        ("Dir::Etc::preferencesparts", path("etc")),
        ("Dir::State::lists", path("lists")),
        ("Dir::State::status", path("status")),
        ("Dir::Cache", path("archives")),
        ("APT::Architecture", "amd64".to_owned()),
        ("APT::Architectures", archs.to_owned()),
        ("APT::Sandbox::User", "root".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::Retries", "3".to_owned()),
    ] {
        apt.args(["-o", &format!("{option}={value}")]);
    }
    apt
}

/// Returns the mirror of Debian's archive that this machine's apt uses.
fn mirror() -> String {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    texts.extend(parts.map(|part| fs::read_to_string(part.path()).unwrap_or_default()));
    let words = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.trim_start().starts_with('#'));
    let mut urls = words.flat_map(str::split_whitespace).filter(|word| word.starts_with("http"));
    let found = urls.find(|url| url.trim_end_matches('/').ends_with("/debian"));
    found.unwrap_or(ARCHIVE).to_owned()
}

fn create(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| format!("could not create {}: {error}", folder.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("could not write {}: {error}", path.display()))
}
