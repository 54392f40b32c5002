//! What a project reaches outside of its own folder, and whether the user allows that.
//!
//! A project may come from a stranger: a repository that somebody cloned to look at. What it names outside of its folder
//! (files, programs to start, variables of the environment) is the user's, and ends in what the project's stages see. So
//! the user is asked once for each such thing. The answers are kept in `trust.toml` in the user's config, where no project
//! can write. A project that the user started with `pib new` has all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pib_file::Folder;
use serde::{Deserialize, Serialize};

use super::contained::real;
use super::reach::{self, Reach};
use super::{Error, files};
use crate::source::git::{Denied, Permission};

/// The file of the answers, in the user's config.
const FILE_NAME: &str = "trust.toml";
/// Stands at the head of that file.
const HEAD: &str =
    "# What projects may reach outside of their folders. `pib trust` and `pib new` write this file.\n\n";

/// What is known of the user's answers in this run of the program.
#[derive(Debug, Clone, Default)]
pub struct Consent {
    /// Whether everything is allowed: `PIB_TRUST`.
    all: bool,
    /// The folder of the user's config; without one nothing is kept.
    config: Option<PathBuf>,
    /// What this run has been allowed, or, where it only collects, what it has been asked for.
    granted: Arc<Mutex<BTreeSet<Reach>>>,
    /// Whether this run finds out what a project asks for.
    collects: bool,
}

/// The answers for all projects, by their folders.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    #[serde(default)]
    project: BTreeMap<String, Answer>,
}

/// The answer for one project.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Answer {
    /// Which folder it is for: another one at its path is not that project.
    #[serde(default)]
    folder: String,
    /// Whether the user started the project in that folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    started_here: bool,
    /// What the project may reach.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    allows: BTreeSet<String>,
}

/// What one project may have of what its repositories lead to.
pub(crate) struct ProjectPermission {
    consent: Consent,
    dir: PathBuf,
}

impl ProjectPermission {
    /// Returns the permission of the project in `dir`.
    pub(crate) fn new(consent: &Consent, dir: &Path) -> Self {
        Self { consent: consent.clone(), dir: dir.to_owned() }
    }
}

impl Permission for ProjectPermission {
    fn log_in(&self, url: &str) -> Result<(), Denied> {
        Ok(self.consent.check_first(&self.dir, [Reach::Login(url.to_owned())])?)
    }

    fn open(&self, url: &str) -> Result<(), Denied> {
        if self.consent.asks_nothing(&self.dir)? {
            return Ok(());
        }
        Ok(self.consent.check_first(&self.dir, reach::of_repository(&self.dir, url))?)
    }
}

impl Consent {
    /// Returns the trust of a run of the program whose user keeps config in `config`; `all` allows everything.
    pub(super) fn new(config: Option<PathBuf>, all: bool) -> Self {
        Self { all, config, ..Self::default() }
    }

    /// Returns a consent to everything: nobody but the user has named anything.
    pub(crate) fn to_everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Returns a trust that allows everything and keeps in mind what was asked for.
    pub(crate) fn collecting(&self) -> Self {
        Self { collects: true, granted: Arc::default(), ..self.clone() }
    }

    /// Returns whether this run finds out what a project asks for.
    pub(crate) fn is_collecting(&self) -> bool {
        self.collects
    }

    /// Returns what was asked for while this collected.
    pub(crate) fn collected(&self) -> Vec<Reach> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Allows something for this run: the user has just asked for it.
    pub(crate) fn grant(&self, reaches: impl IntoIterator<Item = Reach>) {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).extend(reaches);
    }

    /// Checks that the user allows the project in `dir` all that it asks for.
    ///
    /// # Errors
    /// [`Error::Untrusted`], with what is not allowed; or when the answers cannot be read.
    pub(crate) fn check(&self, dir: &Path, reaches: impl IntoIterator<Item = Reach>) -> Result<(), Error> {
        let reaches: BTreeSet<Reach> = reaches.into_iter().collect();
        if self.collects {
            self.grant(reaches);
            return Ok(());
        }
        if self.all || reaches.is_empty() {
            return Ok(());
        }
        self.judge(dir, reaches)
    }

    /// Checks that the user allows the project in `dir` something that cannot be done only to find out what it asks for: a
    /// run that collects notes it, and goes on where it is allowed already.
    ///
    /// # Errors
    /// As [`Consent::check`].
    pub(crate) fn check_first(
        &self,
        dir: &Path,
        reaches: impl IntoIterator<Item = Reach>,
    ) -> Result<(), Error> {
        let reaches: BTreeSet<Reach> = reaches.into_iter().collect();
        if self.all || reaches.is_empty() {
            return Ok(());
        }
        if self.collects {
            self.grant(reaches.iter().cloned());
        }
        self.judge(dir, reaches)
    }

    /// Returns whether the project in `dir` may have everything, so that nothing need be looked for.
    ///
    /// # Errors
    /// When the answers cannot be read.
    pub(crate) fn asks_nothing(&self, dir: &Path) -> Result<bool, Error> {
        Ok(!self.collects && (self.all || self.is_started_here(dir)?))
    }

    fn judge(&self, dir: &Path, mut reaches: BTreeSet<Reach>) -> Result<(), Error> {
        // What was collected was not granted.
        if !self.collects {
            let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
            reaches.retain(|reach| !granted.contains(reach));
        }
        if reaches.is_empty() || self.is_started_here(dir)? {
            return Ok(());
        }
        let allowed = self.allowed(dir)?;
        reaches.retain(|reach| !allowed.contains(&reach.to_answer()));
        match reaches.is_empty() {
            true => Ok(()),
            false => Err(Error::Untrusted {
                dir: dir.to_owned(),
                asks_for: reaches.iter().map(Reach::to_string).collect(),
            }),
        }
    }

    /// Returns whether the user started the project in `dir` with `pib new`.
    ///
    /// # Errors
    /// When the answers cannot be read.
    pub(crate) fn is_started_here(&self, dir: &Path) -> Result<bool, Error> {
        Ok(self.answer(dir)?.started_here)
    }

    /// Returns what the project in `dir` is allowed one by one, as the answers name it.
    ///
    /// # Errors
    /// When the answers cannot be read.
    pub(crate) fn allowed(&self, dir: &Path) -> Result<BTreeSet<String>, Error> {
        Ok(self.answer(dir)?.allows)
    }

    /// Returns the answer for the project in `dir`, which is none where it was given for another folder at that path.
    fn answer(&self, dir: &Path) -> Result<Answer, Error> {
        let answer = self.answers()?.project.remove(&key(dir)).unwrap_or_default();
        Ok(if answer.folder == FolderIdentity::of(dir).text { answer } else { Answer::default() })
    }

    /// Keeps what this run was granted, where a project is not allowed it yet; nothing where no config is kept.
    ///
    /// # Errors
    /// When the answers cannot be written.
    pub(crate) fn keep_granted(&self, dir: &Path) -> Result<(), Error> {
        let granted = self.collected();
        if self.config.is_none() || self.all || granted.is_empty() || self.is_started_here(dir)? {
            return Ok(());
        }
        self.change(dir, |answer| answer.allows.extend(granted.iter().map(Reach::to_answer)))
    }

    /// Sets what a project is allowed; what it was allowed before goes where that `replaces` it.
    ///
    /// # Errors
    /// When the answers cannot be written, or there is no folder for them.
    pub(crate) fn allow(&self, dir: &Path, reaches: &[Reach], replaces: bool) -> Result<(), Error> {
        self.change(dir, |answer| {
            if replaces {
                answer.allows.clear();
            }
            answer.allows.extend(reaches.iter().map(Reach::to_answer));
        })
    }

    /// Notes that the user started the project in `dir`, where config is kept at all, and the file system tells when the
    /// folder was made.
    ///
    /// # Errors
    /// When the answers cannot be written.
    pub(crate) fn started(&self, dir: &Path) -> Result<(), Error> {
        if self.config.is_none() {
            return Ok(());
        }
        // Without its birth, a folder cannot be told from one that takes its number when it is gone.
        self.change(dir, |answer| answer.started_here = FolderIdentity::of(dir).is_certain)
    }

    /// Takes back everything that a project is allowed.
    ///
    /// # Errors
    /// When the answers cannot be written.
    pub(crate) fn forget(&self, dir: &Path) -> Result<(), Error> {
        self.change(dir, |answer| *answer = Answer::default())
    }

    fn answers(&self) -> Result<Answers, Error> {
        let Some(path) = self.path() else { return Ok(Answers::default()) };
        let text = files::read_text(&path)?.unwrap_or_default();
        toml::from_str(&text).map_err(|error| Error::BrokenTrust { path, what: error.message().to_owned() })
    }

    fn change(&self, dir: &Path, change: impl FnOnce(&mut Answer)) -> Result<(), Error> {
        let (Some(folder), Some(path)) = (&self.config, self.path()) else { return Err(Error::NoConfig) };
        let fail = |error| Error::io("keep what projects may reach in", &path, error);
        let folder = Folder::make(folder).map_err(fail)?;
        // Two programs that each add an answer take turns, for the moment that this takes.
        let lock = folder.open_or_create(".trust-lock").map_err(fail)?;
        lock.lock().map_err(fail)?;
        let mut answers = self.answers()?;
        let answer = answers.project.entry(key(dir)).or_default();
        let now = FolderIdentity::of(dir).text;
        if answer.folder != now {
            *answer = Answer { folder: now, ..Answer::default() };
        }
        change(answer);
        answers.project.retain(|_, answer| answer.started_here || !answer.allows.is_empty());
        let text = toml::to_string(&answers).map_err(|error| fail(std::io::Error::other(error)))?;
        files::replace_text(&folder, FILE_NAME, &format!("{HEAD}{text}"))
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.config.as_ref()?.join(FILE_NAME))
    }
}

/// Returns what the answers call a project's folder.
fn key(dir: &Path) -> String {
    // A name that is no UTF-8 is told from all others, too.
    let real = real(dir);
    real.to_str().map_or_else(|| format!("{real:?}"), str::to_owned)
}

/// What tells a folder from all others that were or will be at its path.
struct FolderIdentity {
    /// Its inode and, to the nanosecond, when it was made: ext4 gives the number of a removed folder to the next one.
    text: String,
    /// Whether the file system tells when it was made.
    is_certain: bool,
}

impl FolderIdentity {
    fn of(dir: &Path) -> Self {
        let Ok(found) = pib_file::identity(dir) else {
            return Self { text: String::new(), is_certain: false };
        };
        let (inode, (major, minor)) = (found.inode, found.device);
        let text = match found.born {
            Some((seconds, nanoseconds)) => format!("{inode} born {seconds}.{nanoseconds:09}"),
            None => format!("{inode} on {major}:{minor}"),
        };
        Self { text, is_certain: found.born.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use pib_plan::secret::SecretSource;

    use super::*;

    /// A project beside a file of the user's, and a place for config.
    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new() -> Self {
            let desk = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(desk.path().join("project/inside")).unwrap();
            std::fs::write(desk.path().join("private"), "x").unwrap();
            Self(desk)
        }

        fn project(&self) -> PathBuf {
            self.0.path().join("project")
        }

        fn trust(&self) -> Consent {
            Consent::new(Some(self.0.path().join("config")), false)
        }

        fn reach(&self, named: &str) -> Option<Reach> {
            Reach::outside(&self.project(), named)
        }
    }

    #[test]
    fn what_leads_out_of_the_folder_is_outside_and_nothing_else_is() {
        let desk = Desk::new();
        let private = desk.0.path().join("private");
        let link = |from: &str, to: &Path| std::os::unix::fs::symlink(to, desk.project().join(from)).unwrap();
        link("file", &private);
        link("folder", desk.0.path());
        link("home", Path::new("inside"));
        link("dangling", Path::new("../gone"));
        link("round", Path::new("round"));
        for inside in
            ["a", "inside", "inside/../b", "./inside/./x", "none/../../project/c", "home/x", "round"]
        {
            assert_eq!(desk.reach(inside), None, "{inside}");
        }
        for outside in [
            "..",
            "../x",
            "inside/../../x",
            "/",
            "file",
            "folder",
            "folder/private",
            "home/../../y",
            "none/../../z",
        ] {
            assert!(desk.reach(outside).is_some(), "{outside}");
        }
        // A link to a file that does not exist gives nothing to read. Once the file exists, the link is judged by it.
        assert_eq!(desk.reach("dangling"), None);
        let Some(Reach::Reads { leads_to, .. }) = desk.reach("folder/private") else { panic!() };
        assert_eq!(leads_to, private.canonicalize().unwrap());
    }

    #[test]
    fn an_answer_holds_for_what_was_asked_and_for_nothing_else() {
        let (desk, other) = (Desk::new(), Desk::new());
        let (dir, trust) = (desk.project(), desk.trust());
        let asked = desk.reach("../private").unwrap();
        let refused = |trust: &Consent, reach: &Reach| trust.check(&dir, [reach.clone()]).is_err();
        assert!(refused(&trust, &asked));
        trust.allow(&dir, std::slice::from_ref(&asked), true).unwrap();
        assert!(!refused(&trust, &asked));
        assert!(refused(&trust, &desk.reach("../other").unwrap()));
        assert!(refused(&trust, &Reach::Variable("PASSWORD".to_owned())));
        assert!(trust.check(&other.project(), [asked.clone()]).is_err());
        trust.forget(&dir).unwrap();
        assert!(refused(&trust, &asked));
        assert!(!refused(&Consent::new(None, true), &asked));
        assert!(refused(&Consent::new(None, false), &asked));
    }

    #[test]
    fn a_program_of_the_project_that_changes_is_asked_for_again() {
        let desk = Desk::new();
        let (dir, trust) = (desk.project(), desk.trust());
        let command =
            |words: &[&str]| SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let reach = |words: &[&str]| Reach::secret(&dir, &command(words)).unwrap();
        std::fs::write(dir.join("get.sh"), "echo one").unwrap();
        trust.allow(&dir, &[reach(&["sh", "get.sh"])], true).unwrap();
        assert!(trust.check(&dir, [reach(&["sh", "get.sh"])]).is_ok());
        std::fs::write(dir.join("get.sh"), "cat ~/.ssh/id_ed25519").unwrap();
        assert!(trust.check(&dir, [reach(&["sh", "get.sh"])]).is_err());
        trust.allow(&dir, &[reach(&["a b", "c"])], true).unwrap();
        assert!(trust.check(&dir, [reach(&["a", "b c"])]).is_err());
        assert!(!reach(&["pass", "secret-argument"]).to_string().contains("secret-argument"));
    }

    #[test]
    fn a_project_that_was_started_here_is_asked_nothing_until_another_takes_its_place() {
        let desk = Desk::new();
        let (dir, trust) = (desk.project(), desk.trust());
        let asked = desk.reach("../private").unwrap();
        trust.started(&dir).unwrap();
        trust.check(&dir, [asked.clone()]).unwrap();
        // A folder that exists at the same time has another inode for certain.
        std::fs::rename(&dir, desk.0.path().join("moved")).unwrap();
        std::fs::create_dir(&dir).unwrap();
        assert!(trust.check(&dir, [asked]).is_err());
    }

    #[test]
    fn an_answer_is_no_other_folders_at_the_same_path() {
        let desk = Desk::new();
        let (dir, trust) = (desk.project(), desk.trust());
        let asked = desk.reach("../private").unwrap();
        trust.allow(&dir, std::slice::from_ref(&asked), true).unwrap();
        std::fs::rename(&dir, desk.0.path().join("moved")).unwrap();
        std::fs::create_dir(&dir).unwrap();
        assert!(trust.check(&dir, [asked.clone()]).is_err());
        // The new folder is allowed something: what the old one was allowed is not among it.
        trust.allow(&dir, &[Reach::Variable("A".to_owned())], true).unwrap();
        assert!(trust.check(&dir, [asked.clone()]).is_err());
        // A file system gives the number of a removed folder to one that is made after it.
        let born = || FolderIdentity::of(&dir).text.split_once(" born ").unwrap().1.to_owned();
        for _ in 0..20 {
            trust.started(&dir).unwrap();
            assert!(trust.check(&dir, [asked.clone()]).is_ok());
            // The clock of a file system ticks some hundred times a second: a later folder is one of another tick.
            let before = born();
            while born() == before {
                std::fs::remove_dir_all(&dir).unwrap();
                std::fs::create_dir(&dir).unwrap();
            }
            assert!(trust.check(&dir, [asked.clone()]).is_err());
        }
    }

    #[test]
    fn answers_that_cannot_be_read_allow_nothing() {
        let desk = Desk::new();
        let config = desk.0.path().join("config");
        std::fs::create_dir_all(&config).unwrap();
        for broken in ["project = 1", "[project.x]\nallow = []", "<<<<<<< HEAD"] {
            std::fs::write(config.join(FILE_NAME), broken).unwrap();
            let error = desk.trust().check(&desk.project(), desk.reach("..")).unwrap_err();
            assert!(matches!(error, Error::BrokenTrust { .. }), "{broken}");
        }
    }
}
