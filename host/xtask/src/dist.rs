//! What is released: static programs, packed for any Linux and for Debian, with digests and a signature.
//!
//! Cargo compiles them for musl with a C compiler of a fixed version ([`cross`]); the crate `pib-dist` packs them.

mod cross;
#[cfg(test)]
mod dist_tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, capture, cargo, command, has, root, show};
use crate::setup::{Need, install};
use cross::Cross;

/// What a release is compiled for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];
/// The shells that get completions.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];
/// The variable that names the private SSH key to sign with.
const KEY: &str = "PIB_DIST_KEY";
/// What signatures are for, as ssh-keygen understands it: a signature of something else is none of a release.
const NAMESPACE: &str = "pib-release";

const NEEDS: [Need; 2] = [
    Need { what: "a C compiler", there: || has("cc"), packages: &["build-essential"] },
    Need { what: "an ssh client", there: || has("ssh-keygen"), packages: &["openssh-client"] },
];
/// What runs a program for another processor: each is tried, and one writes the manual pages where no native one is made.
const EMULATION: [Need; 1] = [Need {
    what: "user emulation for ARM",
    there: || has("qemu-aarch64-static"),
    packages: &["qemu-user-static"],
}];

/// What the command line asks for.
struct Options {
    targets: Vec<String>,
    out: PathBuf,
    check: bool,
}

/// Makes a release.
pub(crate) fn dist(args: &[String]) -> Outcome {
    let options = options(args)?;
    if !(cfg!(target_arch = "x86_64") && cfg!(target_os = "linux")) {
        return Err(
            "releases are compiled on x86-64 Linux: their C compiler is Debian's of that architecture"
                .to_owned(),
        );
    }
    install(&NEEDS)?;
    if options.targets.iter().any(|target| target != TARGETS[0]) {
        install(&EMULATION)?;
    }
    for target in &options.targets {
        cross::add_target(target)?;
    }
    let cross = Cross::ready()?;
    let epoch = epoch()?;
    let here = Checkout { folder: root(), home: None };
    here.release(&cross, &options.targets, &epoch, &options.out)?;
    match std::env::var_os(KEY) {
        Some(key) => sign(&options.out, Path::new(&key))?,
        None => eprintln!("SHA256SUMS is not signed: {KEY} does not name a private SSH key"),
    }
    if options.check {
        let other = Checkout::elsewhere()?;
        let out = root().join("target/dist-elsewhere/out");
        other.release(&cross, &options.targets, &epoch, &out)?;
        compare(&options.out, &out)?;
    }
    Ok(())
}

fn options(args: &[String]) -> Outcome<Options> {
    let mut options = Options { targets: Vec::new(), out: root().join("target/dist"), check: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().cloned().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--target" => options.targets.push(value()?),
            "--out" => options.out = PathBuf::from(value()?),
            "--check" => options.check = true,
            _ => {
                return Err(format!(
                    "unknown argument `{arg}`; `cargo xtask dist` takes --target, --out and --check"
                ));
            }
        }
    }
    if let Some(unknown) = options.targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        return Err(format!(
            "pib is not released for `{unknown}`; the targets are {}",
            TARGETS.join(" and ")
        ));
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.map(str::to_owned).to_vec();
    }
    Ok(options)
}

/// Returns the time of the release: `SOURCE_DATE_EPOCH`, or the time of the last commit.
fn epoch() -> Outcome<String> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => Ok(epoch),
        Err(_) => Ok(capture(&mut command("git", &["log", "-1", "--format=%ct"]))?.trim().to_owned()),
    }
}

/// A workspace to compile, and for whom.
struct Checkout {
    folder: PathBuf,
    /// The home folder of the user who compiles, where it is another.
    home: Option<PathBuf>,
}

impl Checkout {
    /// Makes a copy of the workspace at another path, for a user with another home.
    fn elsewhere() -> Outcome<Self> {
        let base = root().join("target/dist-elsewhere");
        let _ = fs::remove_dir_all(&base);
        let (folder, home) = (base.join("a folder with another name"), base.join("home"));
        for folder in [&folder, &home.join(".cargo")] {
            create(folder)?;
        }
        let copy =
            "git ls-files -z --cached --others --exclude-standard | tar --null -T - -c | tar -x -C \"$1\"";
        capture(&mut command("sh", &["-c", copy, "sh", &folder.to_string_lossy()]))?;
        // The packages are the same; only the path to them is another.
        for name in ["registry", "config.toml"] {
            let (from, to) = (cross::cargo_home()?.join(name), home.join(".cargo").join(name));
            if from.exists() {
                std::os::unix::fs::symlink(&from, &to)
                    .map_err(|error| format!("could not link {}: {error}", to.display()))?;
            }
        }
        Ok(Self { folder, home: Some(home) })
    }

    /// Compiles the program for each target, and writes what is released of it to `out`.
    fn release(&self, cross: &Cross, targets: &[String], epoch: &str, out: &Path) -> Outcome {
        let _ = fs::remove_dir_all(out);
        create(out)?;
        for target in targets {
            self.compile(cross, target, epoch)?;
            self.try_out(target)?;
        }
        // A native program writes them faster, and each writes the same.
        let speaker = targets.iter().find(|target| *target == TARGETS[0]).or(targets.first());
        let speaker = speaker.map(String::as_str).unwrap_or(TARGETS[0]);
        let pages = self.folder.join("target/dist-pages");
        self.write_pages(speaker, &pages)?;
        for target in targets {
            self.pack(target, epoch, &pages, out)?;
        }
        show(cargo(&["run", "--quiet", "--locked", "-p", "pib-dist", "--", "sums"]).arg(out))
    }

    fn program(&self, target: &str) -> PathBuf {
        self.folder.join("target").join(target).join("release/pib")
    }

    fn compile(&self, cross: &Cross, target: &str, epoch: &str) -> Outcome {
        let mut build = cargo(&["build", "--locked", "--release", "-p", "pib", "--target", target]);
        build.current_dir(&self.folder).env("SOURCE_DATE_EPOCH", epoch).env_remove("CARGO_TARGET_DIR");
        let cargo_home = match &self.home {
            Some(home) => {
                // rustup finds its compilers by the user's home.
                if let Some(user) =
                    std::env::var_os("HOME").filter(|_| std::env::var_os("RUSTUP_HOME").is_none())
                {
                    build.env("RUSTUP_HOME", PathBuf::from(user).join(".rustup"));
                }
                build.env("HOME", home).env("CARGO_HOME", home.join(".cargo"));
                home.join(".cargo")
            }
            None => cross::cargo_home()?,
        };
        show(cross.use_in(&mut build, target, &[(&cargo_home, "/cargo"), (&self.folder, "/pib")]))
    }

    /// Returns the compiled program, as this machine runs it.
    fn run(&self, target: &str) -> Command {
        match target == TARGETS[0] {
            true => Command::new(self.program(target)),
            false => {
                let mut emulator = Command::new("qemu-aarch64-static");
                emulator.arg(self.program(target));
                emulator
            }
        }
    }

    /// Has a compiled program do what depends on the C library it is linked with: the tests run one with another.
    fn try_out(&self, target: &str) -> Outcome {
        let home = self.folder.join("target/dist-trial").join(target);
        let _ = fs::remove_dir_all(&home);
        create(&home)?;
        let run = || {
            let mut run = self.run(target);
            run.env_clear().env("HOME", &home).current_dir(&home);
            run
        };
        capture(run().args(["new", "device"]))?;
        capture(run().args(["tree", "--project", "device"]))?;
        let trust = home.join(".config/pib/trust.toml");
        let text = fs::read_to_string(&trust)
            .map_err(|error| format!("could not read {}: {error}", trust.display()))?;
        match text.contains("started-here = true") {
            true => Ok(()),
            false => {
                Err(format!("pib for {target} does not know the project that it has just made:\n{text}"))
            }
        }
    }

    /// Has a compiled program write its manual pages and completion scripts.
    fn write_pages(&self, target: &str, pages: &Path) -> Outcome {
        let _ = fs::remove_dir_all(pages);
        create(&pages.join("completions"))?;
        let run = || self.run(target);
        capture(run().arg("man").arg(pages.join("man")))?;
        for shell in SHELLS {
            let script = capture(run().args(["completions", shell]))?;
            let path = pages.join("completions").join(shell);
            fs::write(&path, script)
                .map_err(|error| format!("could not write {}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn pack(&self, target: &str, epoch: &str, pages: &Path, out: &Path) -> Outcome {
        let libc = cross::libc(target)?;
        let mut pack = cargo(&["run", "--quiet", "--locked", "-p", "pib-dist", "--", "pack"]);
        pack.args(["--target", target, "--epoch", epoch, "--compiler", &cross::compiler()?]);
        pack.arg("--root").arg(&self.folder).arg("--program").arg(self.program(target));
        pack.arg("--manual").arg(pages.join("man")).arg("--completions").arg(pages.join("completions"));
        show(pack.arg("--libc").arg(libc).arg("--out").arg(out))
    }
}

/// Signs the digests with a private SSH key.
fn sign(out: &Path, key: &Path) -> Outcome {
    let mut sign = command("ssh-keygen", &["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]);
    show(sign.arg(key).arg(out.join("SHA256SUMS")))
}

/// Compares what two builds wrote, but for signatures, which not every kind of key makes twice the same.
fn compare(one: &Path, other: &Path) -> Outcome {
    let names = |folder: &Path| -> Outcome<Vec<String>> {
        let fail = |error| format!("could not list {}: {error}", folder.display());
        let entries = fs::read_dir(folder).map_err(fail)?.flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".sig")).collect();
        names.sort();
        Ok(names)
    };
    let read = |path: PathBuf| {
        fs::read(&path).map_err(|error| format!("could not read {}: {error}", path.display()))
    };
    let (expected, found) = (names(one)?, names(other)?);
    if expected != found {
        return Err(format!("two builds wrote different files: {expected:?} and {found:?}"));
    }
    let mut differing = Vec::new();
    for name in &expected {
        if read(one.join(name))? != read(other.join(name))? {
            differing.push(name.as_str());
        }
    }
    match differing.as_slice() {
        [] => {
            println!("{}: the same bytes in two builds", expected.join(", "));
            Ok(())
        }
        names => Err(format!("two builds differ in {}; what tells of a folder or a user?", names.join(", "))),
    }
}

fn create(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| format!("could not create {}: {error}", folder.display()))
}
