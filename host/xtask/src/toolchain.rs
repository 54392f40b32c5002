//! The compilers that the published hooks are built with: Debian trixie's, unpacked to a folder of their own.
//!
//! Another version of the compiler makes other bytes of the same source, so that one is chosen, and for as long as
//! trixie is in Debian's archive everybody can have it. Nothing is installed: the machine may be any Debian, and the
//! programs run by their own loader and libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, capture, command, root};

/// The packages that are unpacked: the compilers, the linker, what the target needs, and the libraries of all these.
const PACKAGES: [&str; 24] = [
    "clang-19",
    "libc6",
    "libclang-common-19-dev",
    "libclang-cpp19",
    "libbsd0",
    "libedit2",
    "libffi8",
    "libgcc-s1",
    "libgmp10",
    "libllvm19",
    "liblzma5",
    "libmd0",
    "libstd-rust-1.85",
    "libstd-rust-dev",
    "libstd-rust-dev-wasm32",
    "libstdc++6",
    "libtinfo6",
    "libxml2",
    "libz3-4",
    "libzstd1",
    "lld-19",
    "rustc",
    "wasi-libc",
    "zlib1g",
];
/// Debian's archive, where this machine's apt knows no mirror of it.
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// The libraries' folders within the unpacked packages.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib/llvm-19/lib"];
/// The start of what the compiler calls itself.
const RUSTC: &str = "rustc 1.85.1 ";

/// The folder with the compilers.
pub(crate) struct Toolchain(PathBuf);

impl Toolchain {
    /// Returns the toolchain, fetched and unpacked if this folder has none yet.
    pub(crate) fn ready() -> Outcome<Self> {
        let folder = root().join("target/wasm-toolchain");
        let toolchain = Self(folder);
        if !toolchain.0.join("complete").exists() {
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
        let _ = fs::remove_dir_all(&self.0);
        let apt = self.0.join("apt");
        let root = self.0.join("root");
        for folder in ["lists/partial", "archives/partial", "etc"] {
            create(&apt.join(folder))?;
        }
        create(&root)?;
        eprintln!("Fetching the compilers for hooks from Debian trixie");
        let keyring = crate::run::root().join("host/debian/src/keys/debian-archive-keyring.asc");
        let source = format!("deb [arch=amd64 signed-by={}] {} trixie main\n", keyring.display(), mirror());
        write(&apt.join("sources.list"), &source)?;
        write(&apt.join("status"), "")?;
        capture(apt_get(&apt).arg("update"))?;
        capture(apt_get(&apt).arg("download").args(PACKAGES).current_dir(apt.join("archives")))?;
        let archives = fs::read_dir(apt.join("archives"))
            .map_err(|error| format!("could not list what was downloaded: {error}"))?;
        for archive in archives.flatten().map(|entry| entry.path()) {
            if archive.extension().is_some_and(|end| end == "deb") {
                let (archive, root) = (archive.to_string_lossy(), root.to_string_lossy());
                capture(&mut command("dpkg-deb", &["--extract", &archive, &root]))?;
            }
        }
        self.write_programs()?;
        let _ = fs::remove_dir_all(&apt);
        write(&self.0.join("complete"), "")
    }

    /// Writes the programs that start the unpacked ones with their own loader and libraries.
    fn write_programs(&self) -> Outcome {
        let programs = self.programs();
        create(&programs)?;
        let root = self.0.join("root");
        let root = root.display();
        let libraries = LIBRARIES.map(|folder| format!("{root}/{folder}")).join(":");
        for (name, program, options) in [
            ("rustc", "usr/bin/rustc", format!("--sysroot {root}/usr")),
            ("rust-lld", "usr/lib/llvm-19/bin/lld", String::new()),
            ("wasm-ld", "usr/lib/llvm-19/bin/lld", "-flavor wasm".to_owned()),
            (
                "clang",
                "usr/lib/llvm-19/bin/clang",
                format!(
                    "-resource-dir {root}/usr/lib/llvm-19/lib/clang/19 --sysroot {root}/usr -B {}",
                    programs.display()
                ),
            ),
        ] {
            let loader = format!("{root}/usr/lib64/ld-linux-x86-64.so.2");
            let text = format!(
                "#!/bin/sh\nexec {loader} --library-path {libraries} {root}/{program} {options} \"$@\"\n"
            );
            let path = programs.join(name);
            write(&path, &text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(|error| format!("could not make {} executable: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Has a command's cargo use these compilers.
    pub(crate) fn use_in<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("RUSTC", self.rustc())
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", self.programs().join("rust-lld"))
    }
}

/// Returns an apt that knows nothing but the folder's own source.
fn apt_get(folder: &Path) -> Command {
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
        ("APT::Architectures", "amd64".to_owned()),
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
