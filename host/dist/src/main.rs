//! Packs what `cargo xtask dist` has compiled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use pib_dist::{DistError, Documents, Package, REVISION, Release, Target, Texts};

/// Pack a compiled pib for its release
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write the archive and the Debian package of a compiled program
    Pack(Box<Pack>),
    /// Write SHA256SUMS of what a folder holds
    Sums {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Pack {
    /// The checkout
    #[arg(long)]
    root: PathBuf,
    /// What the program was compiled for, as rustc calls it
    #[arg(long)]
    target: String,
    /// The program
    #[arg(long)]
    program: PathBuf,
    /// The folder with the manual pages
    #[arg(long)]
    manual: PathBuf,
    /// The folder with the completion scripts, named by their shells
    #[arg(long)]
    completions: PathBuf,
    /// The compiler's version
    #[arg(long)]
    compiler: String,
    /// The C library that the compiler links
    #[arg(long)]
    libc: PathBuf,
    /// The time of the release, in seconds since 1970
    #[arg(long)]
    epoch: u64,
    /// The folder to write to
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Pack(args) => pack(&args),
        Task::Sums { folder } => sums(&folder),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is the program's own")]
            {
                eprintln!("{error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn pack(args: &Pack) -> Result<(), DistError> {
    let target = Target::of(&args.target)
        .ok_or_else(|| DistError::Cargo(format!("pib is not released for {}", args.target)))?;
    let program = read(&args.program)?;
    let mut packages = linked(args)?;
    let musl = musl_version(&args.libc)?;
    packages.extend(pib_dist::bundled(&packages, &args.compiler, &musl)?);
    let bill = pib_dist::bill(&packages, &program, args.epoch);
    let version = packages.iter().find(|package| package.is_own && package.name == "pib");
    let version = version.map(|package| package.version.clone());
    let version = version.ok_or_else(|| DistError::Cargo("pib is not among the packages".to_owned()))?;
    let foreign = packages.into_iter().filter(|package| !package.is_own);
    let with_texts = foreign.map(|package| Texts::of(&package).map(|texts| (package, texts)));
    let release = Release {
        version,
        epoch: args.epoch,
        target,
        program,
        documents: documents(args)?,
        packages: with_texts.collect::<Result<Vec<_>, _>>()?,
        bill,
    };
    let archive = format!("{}.tar.zst", release.archive_name());
    write(&args.out.join(archive), &release.archive()?)?;
    let package = format!("pib_{}-{REVISION}_{}.deb", release.version, target.debian());
    write(&args.out.join(package), &pib_dist::deb(&release)?)?;
    write(&args.out.join(format!("{}.cdx.json", release.archive_name())), release.bill.as_bytes())
}

/// Returns what is linked into the program, as cargo tells it.
fn linked(args: &Pack) -> Result<Vec<Package>, DistError> {
    let tree =
        ["tree", "--locked", "--package", "pib", "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let tree = cargo(&args.root, &[&tree[..], &["--target", &args.target]].concat())?;
    let metadata = ["metadata", "--locked", "--format-version", "1", "--filter-platform", &args.target];
    let metadata = cargo(&args.root, &metadata)?;
    let lock = read(&args.root.join("Cargo.lock"))?;
    pib_dist::linked(&tree, &metadata, &String::from_utf8_lossy(&lock))
}

#[expect(clippy::disallowed_methods, reason = "this is how cargo tells its own path")]
fn cargo(root: &Path, args: &[&str]) -> Result<String, DistError> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(args).current_dir(root).output();
    let output = output.map_err(|error| DistError::Cargo(error.to_string()))?;
    if !output.status.success() {
        return Err(DistError::Cargo(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the version of musl that the compiler links: it is the only one that its library names.
fn musl_version(libc: &Path) -> Result<String, DistError> {
    let bytes = read(libc)?;
    let is_version = |text: &&[u8]| {
        let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
        parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    let found: BTreeSet<&[u8]> = bytes.split(|byte| *byte == 0).filter(is_version).collect();
    match found.into_iter().collect::<Vec<_>>().as_slice() {
        [version] => Ok(String::from_utf8_lossy(version).into_owned()),
        _ => Err(DistError::Version { library: "musl", path: libc.to_owned(), marker: "one version" }),
    }
}

/// Reads what goes beside the program.
fn documents(args: &Pack) -> Result<Documents, DistError> {
    let mut manual = Vec::new();
    for name in names(&args.manual)? {
        let page = read(&args.manual.join(&name))?;
        manual.push((name, page));
    }
    let completions = ["bash", "zsh", "fish"].map(|shell| read(&args.completions.join(shell)));
    let [bash, zsh, fish] = completions;
    let mut own = Vec::new();
    for name in ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        own.push((name.to_owned(), read(&args.root.join(name))?));
    }
    for name in ["README.md", "SECURITY.md"] {
        let page = read(&args.root.join(name))?;
        let page = pib_dist::relinked(&String::from_utf8_lossy(&page), env!("CARGO_PKG_REPOSITORY"));
        own.push((name.to_owned(), page.into_bytes()));
    }
    let book = args.root.join("host/docs");
    let pages = walkdir::WalkDir::new(&book).sort_by_file_name().into_iter().filter_map(Result::ok);
    for page in pages.filter(|page| page.file_type().is_file() && page.file_name() != "book.toml") {
        let path = page.path().strip_prefix(&book).unwrap_or(page.path()).display().to_string();
        own.push((format!("book/{path}"), read(page.path())?));
    }
    Ok(Documents { manual, completions: [bash?, zsh?, fish?], own })
}

fn sums(folder: &Path) -> Result<(), DistError> {
    let released = names(folder)?.into_iter().filter(|name| !name.starts_with("SHA256SUMS"));
    let files: Vec<PathBuf> = released.map(|name| folder.join(name)).collect();
    write(&folder.join("SHA256SUMS"), pib_dist::sums(&files)?.as_bytes())
}

/// Returns the names of what a folder holds, sorted.
fn names(folder: &Path) -> Result<Vec<String>, DistError> {
    let fail = |error| DistError::File { doing: "list", path: folder.to_owned(), error };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>, DistError> {
    std::fs::read(path).map_err(|error| DistError::File { doing: "read", path: path.to_owned(), error })
}

fn write(path: &Path, content: &[u8]) -> Result<(), DistError> {
    std::fs::write(path, content).map_err(|error| DistError::File {
        doing: "write",
        path: path.to_owned(),
        error,
    })
}
