//! Starts a project.

use std::path::PathBuf;

use pib_event::ReporterExt as _;
use pib_file::Folder;
use pib_plan::board::{self, Board};
use pib_plan::id::{Arch, ArchError, check_name};
use pib_plan::manifest::project::{FILE_NAME, ProjectManifest};
use pib_plan::suggest;
use pib_plan::system::{self, Unfit};
use serde::Serialize;

use super::project_template::{self, ProjectTemplate};
use crate::project::{Error, Session, files};

/// What to start.
#[derive(Debug, Clone)]
pub struct NewOptions {
    /// The folder to make.
    pub path: PathBuf,
    /// The project's name, where not the folder's.
    pub name: Option<String>,
    /// The template, where the project does not begin empty.
    pub template: Option<String>,
    /// The board, where not the template's.
    pub board: Option<String>,
    /// The architecture, where not the board's best.
    pub arch: Option<String>,
    /// The operating system.
    pub os: String,
    /// Its release, where not the default.
    pub release: Option<String>,
    /// The stage that brings a kernel of its own.
    pub kernel: Option<String>,
}

/// A project that was started.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewProject {
    /// Its folder, as the command line named it.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub path: PathBuf,
    /// Its board.
    pub board: String,
    /// Its architecture.
    pub arch: Arch,
}

/// The file that tells git what is not to be kept, and its lines: the second where the project has files with secrets.
const IGNORE: &str = ".gitignore";
const IGNORED: [&str; 2] = ["/target\n", "/secrets\n"];
/// The largest such file, in bytes.
const MAX_IGNORE: u64 = 1 << 20;
/// The board of a project that begins empty.
const BOARD: &str = "rpi4";
/// How the parts of a new project reach the network.
const RECORDED: &str = "\
# What parts download is recorded in pib.fetch.lock: the same image on any day.
[build]
network = \"recorded\"
";

/// Makes the folder, its `pib.toml` and what else the template has.
///
/// # Errors
/// When the name, template, board or architecture is not known, the operating system has nothing for the board, or something is
/// there already.
pub fn new(session: &Session, options: &NewOptions) -> Result<NewProject, Error> {
    let folder = session.cwd.join(&options.path);
    let of_folder = || folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = options.name.clone().unwrap_or_else(of_folder);
    check_name(&name).map_err(|error| {
        let help = match options.name {
            Some(_) => "Take another name.",
            None => "The folder's name becomes the project's; `--name NAME` gives it another.",
        };
        Error::usage(error.to_string(), help)
    })?;
    let template = project_template::find(options.template.as_deref())?;
    let board = options.board.as_deref().or(template.as_ref().map(ProjectTemplate::board));
    let board =
        board::find(board.unwrap_or(BOARD)).map_err(|error| Error::usage(error.to_string(), error.help()))?;
    let release = release(options)?;
    let arch = arch(options, &board, &release)?;
    match system::check_board(&options.os, &release, board.name, arch) {
        Err(Unfit::Kernel { .. }) if options.kernel.is_some() => {}
        judged => judged.map_err(unfit)?,
    }
    if let Some(template) = &template {
        template.check(&options.os, &board, arch)?;
    }
    let mut project = project_table(&name, options, &release, board.name, arch);
    if !template.as_ref().is_some_and(ProjectTemplate::has_build_table) {
        project = format!("{project}\n{RECORDED}");
    }
    let (text, files) = match &template {
        Some(template) => (template.manifest(&project), template.files.as_slice()),
        None => (format!("{project}\n[stages]\nos = \"1\"\n"), &[][..]),
    };
    // What is written must be what `pib build` reads.
    ProjectManifest::parse(FILE_NAME, &text)?;
    for name in [FILE_NAME].into_iter().chain(files.iter().map(|(name, _)| *name)) {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            let message = format!("`{}` exists already", session.show(&path).display());
            return Err(Error::usage(message, "Choose another folder, or edit that file."));
        }
    }
    let made = Folder::make(&folder).map_err(|error| Error::io("create the folder", &folder, error))?;
    project_template::write(&made, files)?;
    files::replace_text(&made, FILE_NAME, &text)?;
    let ignored = if text.contains("\"secrets/") { 2 } else { 1 };
    ignore(&made, &IGNORED[..ignored])?;
    if let Err(error) = session.consent.started(&folder) {
        // A home that cannot be written to is no reason not to start a project.
        session
            .reporter
            .warn(format!("{error}; what the project names outside of its folder will need `pib trust`"));
    }
    Ok(NewProject { path: options.path.clone(), board: board.name.to_owned(), arch })
}

/// Has git ignore files of the project, in a file that may be there already.
fn ignore(made: &Folder, lines: &[&str]) -> Result<(), Error> {
    let before = match made.kind(IGNORE) {
        Ok(None) => String::new(),
        _ => made.read_text(IGNORE, MAX_IGNORE).map_err(|error| Error::io("read", IGNORE, error))?,
    };
    let missing = lines.iter().filter(|line| !before.lines().any(|found| found.trim() == line.trim_end()));
    let missing: String = missing.copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    files::replace_text(made, IGNORE, &format!("{before}{end}{missing}"))
}

/// Returns the release that was asked for, or the system's default.
fn release(options: &NewOptions) -> Result<String, Error> {
    match (&options.release, system::default_release(&options.os)) {
        (Some(release), _) => Ok(release.clone()),
        (None, Some(release)) => Ok(release.to_owned()),
        (None, None) => {
            let message = format!("pib knows no default release of `{}`", options.os);
            let help = match suggest::nearest(&options.os, system::names()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!(
                    "The bundled stages make {}. For another system, name a release with --release.",
                    suggest::list(system::names())
                ),
            };
            Err(Error::usage(message, help))
        }
    }
}

/// Returns the architecture that was asked for, or the best that both the board and the release have.
fn arch(options: &NewOptions, board: &Board, release: &str) -> Result<Arch, Error> {
    let has = system::archs(&options.os, release, board.name).map_err(unfit)?;
    match &options.arch {
        Some(text) => text.parse().map_err(|error: ArchError| Error::usage(error.to_string(), "")),
        // Where the release has none for the board, the check that follows says so.
        None => Ok(has.and_then(|archs| archs.first()).copied().unwrap_or(board.archs[0])),
    }
}

fn unfit(unfit: Unfit) -> Error {
    Error::usage(unfit.to_string(), unfit.help())
}

/// Returns the table `[project]` of `pib.toml`.
fn project_table(name: &str, options: &NewOptions, release: &str, board: &str, arch: Arch) -> String {
    // What is typed is text, whatever it holds.
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let (os, release) = (quoted(&options.os), quoted(release));
    let kernel =
        options.kernel.iter().map(|stage| format!("kernel = {}\n", quoted(stage))).collect::<String>();
    format!(
        "[project]
name = \"{name}\"
os = {os}
release = {release}
board = \"{board}\"
arch = \"{arch}\"
{kernel}hostname = \"{name}\"
locale = \"en_US.UTF-8\"
timezone = \"UTC\"
"
    )
}
