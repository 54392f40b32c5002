//! What can go wrong with where stages come from, each with the way out.

use std::io;
use std::path::{Path, PathBuf};

use pib_file::LinkError;
use pib_plan::id::{Digest, NameError, StageName};
use pib_plan::index::SourceIdError;
use pib_plan::manifest::ManifestError;
use pib_plan::suggest;
use semver::Version;

use super::git::GitError;
use super::registry_error::RegistryError;
use pib_net::NetError;
use pib_objects::ObjectError;

/// Says why a stage cannot be fetched, packed or published, and what to do about it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SourceError {
    /// A file or folder could not be read or written.
    #[error("{action} `{}` failed", path.display())]
    #[diagnostic(code(pib::source::io))]
    #[diagnostic(help(
        "Check that the file is there, that it may be accessed, and that the disk is not full."
    ))]
    Io {
        /// What was being done, e.g. "reading".
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A `stage.toml` or a part is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Manifest(#[from] ManifestError),
    /// A path source names nothing.
    #[error("there is no folder `{}` for stage `{name}`", path.display())]
    #[diagnostic(code(pib::source::no_folder))]
    #[diagnostic(help("Correct the stage's `path` in pib.toml; it is relative to the project's folder."))]
    NoFolder {
        /// The stage that was asked for.
        name: String,
        /// The folder.
        path: PathBuf,
    },
    /// A folder is no stage.
    #[error("the folder `{}` is not a stage: it has neither a stage.toml nor a Dockerfile.part", path.display())]
    #[diagnostic(code(pib::source::not_a_stage))]
    #[diagnostic(help(
        "Name the folder that holds the stage's stage.toml or Dockerfile.part itself, not one above it."
    ))]
    NotAStage {
        /// The folder.
        path: PathBuf,
    },
    /// A stage has a manifest but nothing to build.
    #[error("stage `{name}` at `{}` has no part", path.display())]
    #[diagnostic(code(pib::source::no_part))]
    #[diagnostic(help("Add a Dockerfile.part, or a Dockerfile.OS.part for each operating system."))]
    NoPart {
        /// The stage.
        name: StageName,
        /// Its folder.
        path: PathBuf,
    },
    /// A stage has no part for this system.
    #[error("stage `{name}` has no part for os `{os}`: neither Dockerfile.{os}.part nor Dockerfile.part")]
    #[diagnostic(code(pib::source::no_part_for_os))]
    #[diagnostic(help(
        "Add one of the two files, or say under [support] in stage.toml which systems the stage is for."
    ))]
    NoPartForOs {
        /// The stage.
        name: StageName,
        /// The operating system.
        os: String,
    },
    /// A source holds another stage than the one that was asked for.
    #[error("{place} holds stage `{found}`, not `{wanted}`")]
    #[diagnostic(code(pib::source::wrong_name))]
    #[diagnostic(help("Ask for the stage by the name it has there: `{found}`."))]
    WrongName {
        /// The place, in a person's words.
        place: String,
        /// The name of the stage there.
        found: StageName,
        /// The name that was asked for.
        wanted: StageName,
    },
    /// A bare folder's own name cannot be a stage's.
    #[error("the folder `{}` has no stage.toml, so that its name would be the stage's", path.display())]
    #[diagnostic(code(pib::source::bad_folder_name))]
    #[diagnostic(help("Rename the folder, or give it a stage.toml with a valid name and a version."))]
    BadFolderName {
        /// The folder.
        path: PathBuf,
        /// What is wrong with the name.
        #[source]
        source: NameError,
    },
    /// A stage's folder holds what no stage may hold.
    #[error("`{}` cannot be part of a stage: {reason}", path.display())]
    #[diagnostic(code(pib::source::unfit))]
    #[diagnostic(help(
        "A stage holds regular files and folders with plain UTF-8 names and plain modes only. Make links and \
         set-user-id programs in the part, with RUN ln -s and RUN chmod; keep big data outside and fetch it in the part."
    ))]
    Unfit {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is not there, only what Git LFS keeps in its place.
    #[error("`{}` cannot be part of a stage: it is a Git LFS pointer, not the file that it stands for", path.display())]
    #[diagnostic(code(pib::source::lfs_pointer))]
    #[diagnostic(help(
        "Fetch the file: `git lfs pull` in its repository. pib itself fetches nothing of Git LFS: of a stage from git \
         or for a registry, keep the file out of it, or fetch it in the part."
    ))]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A stage is to be published with what no other copy of its folder would have.
    #[error("stage `{name}` in `{}` has modes or empty folders that its stage.toml does not record", path.display())]
    #[diagnostic(code(pib::source::unrecorded))]
    #[diagnostic(help(
        "git and most tools do not keep them, so the same version would have another content elsewhere. Undo them, or \
         add this to stage.toml:\n\n[modes]\n{help}"
    ))]
    Unrecorded {
        /// The stage.
        name: StageName,
        /// Its folder.
        path: PathBuf,
        /// The entries that are missing, one a line.
        help: String,
    },
    /// A hook is named but not there, or is no hook.
    #[error("the hook `{}` of stage `{name}` cannot be used: {reason}", path.display())]
    #[diagnostic(code(pib::source::bad_hook))]
    BadHook {
        /// The stage.
        name: StageName,
        /// The component's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do next.
        #[help]
        help: String,
    },
    /// An archive is not one, or is a hostile one.
    #[error("the archive of {what} was refused: {reason}")]
    #[diagnostic(code(pib::source::bad_archive))]
    #[diagnostic(help(
        "Nothing of it was kept. The archive is damaged or was not made by `pib publish`; tell the registry's \
         owner."
    ))]
    BadArchive {
        /// The stage and version.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes are not those that the registry promised.
    #[error("{what} does not have the digest that the registry promises: expected {expected}, found {found}")]
    #[diagnostic(code(pib::source::wrong_digest))]
    #[diagnostic(help(
        "Nothing of it was kept. Try again; if it stays so, the registry is damaged or was tampered with."
    ))]
    WrongDigest {
        /// What was checked.
        what: String,
        /// The digest that the index has.
        expected: Digest,
        /// The digest of what arrived.
        found: Digest,
    },
    /// A source has something else under a version that is locked.
    #[error("{what} changed since it was locked: pib.lock has {locked}, {place} now has {found}")]
    #[diagnostic(code(pib::source::changed_since_lock))]
    #[diagnostic(help(
        "A published version must never change. Find out why it did; if the new content is right, take it with \
         `pib update {name} --accept-republished`."
    ))]
    ChangedSinceLock {
        /// What changed: the archive or the content of which stage.
        what: String,
        /// The stage, for the command that helps.
        name: StageName,
        /// The place, in a person's words.
        place: String,
        /// The digest in the lock.
        locked: Digest,
        /// The digest now.
        found: Digest,
    },
    /// The index has a version whose archive is not there.
    #[error("{registry} lists stage `{name}` {version} but has no archive of it")]
    #[diagnostic(code(pib::source::no_archive))]
    #[diagnostic(help("The registry is incomplete; tell its owner, or choose another version."))]
    NoArchive {
        /// The registry, in a person's words.
        registry: String,
        /// The stage.
        name: StageName,
        /// The version.
        version: Version,
    },
    /// A place is not a registry.
    #[error("{registry} cannot be used: {reason}")]
    #[diagnostic(code(pib::source::bad_registry))]
    #[diagnostic(help(
        "A registry is a folder, served as it is, that `pib publish` has written; check the address."
    ))]
    BadRegistry {
        /// The registry, in a person's words.
        registry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest names a registry that it does not define.
    #[error("there is no registry `{name}` in pib.toml")]
    #[diagnostic(code(pib::source::unknown_registry))]
    #[diagnostic(help("{help}"))]
    UnknownRegistry {
        /// The name.
        name: String,
        /// What to do.
        help: String,
    },
    /// An address cannot be that of a source.
    #[error(transparent)]
    #[diagnostic(code(pib::source::bad_address))]
    #[diagnostic(help("Give a registry as `https://...`, `http://...` or `file:///...`."))]
    BadAddress(#[from] SourceIdError),
    /// The network would be needed and may not be used.
    #[error("{what} is not in the cache, and the network may not be used (--offline)")]
    #[diagnostic(code(pib::source::offline))]
    #[diagnostic(help("Run `pib fetch` once with the network, or leave --offline out."))]
    Offline {
        /// What is missing.
        what: String,
    },
    /// Something could not be fetched.
    #[error("fetching {what} failed")]
    #[diagnostic(code(pib::source::net))]
    #[diagnostic(help(
        "Check the network and the address; what is in the cache can be used with --offline."
    ))]
    Net {
        /// What was being fetched.
        what: String,
        /// What the HTTP client found.
        #[source]
        source: NetError,
    },
    /// A registry in a bucket could not be read or written.
    #[error("{action} {what} failed")]
    #[diagnostic(code(pib::source::objects))]
    #[diagnostic(help(
        "The bucket is reached as `aws` reaches it: by AWS_ENDPOINT_URL, AWS_REGION, and your keys or profile."
    ))]
    Objects {
        /// What was being done, e.g. "reading".
        action: &'static str,
        /// To what.
        what: String,
        /// What is wrong.
        #[source]
        source: ObjectError,
    },
    /// Servers answer, but so slowly that no build comes of it.
    #[error("asking where the stages come from was stopped after {minutes} minutes")]
    #[diagnostic(code(pib::source::slow))]
    #[diagnostic(help(
        "A registry or repository answers too slowly. `pib doctor` tries each; what is in the cache can be used with \
         --offline."
    ))]
    Slow {
        /// After how many minutes.
        minutes: u64,
    },
    /// A registry of a particular kind cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Registry(#[from] RegistryError),
    /// A git repository does not give a stage.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] GitError),
    /// A vendored stage was changed in the project's folder.
    #[error(
        "stage `{name}` in `{}` is not what `pib vendor` put there: {reason} (expected {expected}, found {found})",
        path.display()
    )]
    #[diagnostic(code(pib::source::vendor_changed))]
    #[diagnostic(help(
        "`pib vendor` puts it right. To change a stage, copy its folder to another place and name that in pib.toml: \
         [patch] {name} = {{ path = \"...\" }}."
    ))]
    VendorChanged {
        /// The stage.
        name: StageName,
        /// Its folder.
        path: PathBuf,
        /// How it differs.
        reason: String,
        /// The digest in the list.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// Git has rewritten a file of a vendored stage.
    #[error(
        "stage `{name}` in `{}` is not what `pib vendor` put there: {reason} (expected {expected}, found {found})",
        path.display()
    )]
    #[diagnostic(code(pib::source::vendor_rewritten))]
    #[diagnostic(help(
        "Run `pib vendor`: it puts the file right and writes a .gitattributes beside the stages, by which git keeps \
         every byte. Commit both: git add --renormalize."
    ))]
    VendorRewritten {
        /// The stage.
        name: StageName,
        /// Its folder.
        path: PathBuf,
        /// Which file, and how.
        reason: String,
        /// The digest in the list.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A vendored stage is another one than the lock holds.
    #[error(
        "stage `{name}` in `{}` is not the one that is locked: pib.lock has {locked}, the list of vendored stages has \
         {found}",
        path.display()
    )]
    #[diagnostic(code(pib::source::vendor_not_locked))]
    #[diagnostic(help("Run `pib vendor`: it puts there what pib.lock holds."))]
    VendorNotLocked {
        /// The stage.
        name: StageName,
        /// Its folder.
        path: PathBuf,
        /// The digest in the lock.
        locked: Digest,
        /// The digest in the list.
        found: Digest,
    },
    /// A vendored stage's folder is gone.
    #[error("the folder `{}` of the vendored stage `{name}` is not there", path.display())]
    #[diagnostic(code(pib::source::vendor_missing))]
    #[diagnostic(help("Get it back from version control, or run `pib vendor`."))]
    VendorMissing {
        /// The stage.
        name: StageName,
        /// Its folder.
        path: PathBuf,
    },
    /// Something that pib did not make is where a vendored stage must be.
    #[error("`{}` is in the way of vendored stages: {reason}", path.display())]
    #[diagnostic(code(pib::source::vendor_in_the_way))]
    #[diagnostic(help(
        "Nothing was changed. Move it elsewhere, or choose another folder: pib vendor FOLDER."
    ))]
    VendorInTheWay {
        /// What is in the way.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// A link is where pib follows none.
    #[error("{0}, and pib does not follow it")]
    #[diagnostic(code(pib::source::link))]
    #[diagnostic(help(
        "What a project or a stage has is in its own folder: a link could lead to any file of yours. Put a file or a folder \
         in the link's place."
    ))]
    Link(LinkError),
    /// A version is published with another content.
    #[error(
        "stage `{name}` {version} is published already, with another content: published {published}, in `{}` {found}",
        path.display()
    )]
    #[diagnostic(code(pib::source::already_published))]
    #[diagnostic(help(
        "A published version never changes: bump the version in stage.toml, then publish again."
    ))]
    AlreadyPublished {
        /// The stage.
        name: StageName,
        /// The version.
        version: Version,
        /// The stage's folder.
        path: PathBuf,
        /// The content digest in the registry.
        published: Digest,
        /// The content digest of the folder.
        found: Digest,
    },
    /// A version cannot be yanked.
    #[error("the registry `{}` cannot yank it: {reason}", registry.display())]
    #[diagnostic(code(pib::source::unyankable))]
    #[diagnostic(help("`pib info STAGE --registry NAME` lists the versions of a stage."))]
    Unyankable {
        /// The registry's folder.
        registry: PathBuf,
        /// Why.
        reason: String,
    },
    /// A registry's server refuses what it is asked for.
    #[error("the registry at {server} refuses it: {error} ({status})")]
    #[diagnostic(code(pib::source::denied))]
    #[diagnostic(help(
        "`pib login NAME ADDRESS` keeps your token for it, and `pib whoami` shows what that allows. The operator of the registry makes \
         tokens with `pib registry token`."
    ))]
    Denied {
        /// The registry's address.
        server: String,
        /// The status that it answered.
        status: http::StatusCode,
        /// What it says.
        error: String,
    },
    /// A registry is not as it should be.
    #[error("{} in the registry `{}`:\n{}", suggest::count(faults.len(), "fault"), registry.display(), numbered(faults))]
    #[diagnostic(code(pib::source::damaged_registry))]
    #[diagnostic(help(
        "Get the files back from version control or a mirror, or publish again. `pib registry index` writes the lines again from \
         the archives that are there."
    ))]
    DamagedRegistry {
        /// Its folder.
        registry: PathBuf,
        /// What is wrong, a sentence each.
        faults: Vec<String>,
    },
    /// Stages are not fit for others to use.
    #[error("{} in the way of publishing:\n{}", suggest::count(problems.len(), "problem"), numbered(problems))]
    #[diagnostic(code(pib::source::unpublishable))]
    #[diagnostic(help(
        "Nothing was published. Correct this, or add the flag in brackets where it is meant to be so."
    ))]
    Unpublishable {
        /// What is wrong, a sentence each, with the flag that allows it.
        problems: Vec<String>,
    },
    /// A check found versions that are not published.
    #[error("not published yet: {stages}")]
    #[diagnostic(code(pib::source::not_published))]
    #[diagnostic(help("Publish them: run the same command without --check, and commit what it writes."))]
    NotPublished {
        /// The stages with their versions, joined for people.
        stages: String,
    },
}

/// Returns sentences as a numbered list.
fn numbered(sentences: &[String]) -> String {
    let lines = sentences.iter().enumerate().map(|(number, text)| format!("{}. {text}", number + 1));
    lines.collect::<Vec<_>>().join("\n")
}

impl SourceError {
    /// Returns the error of an HTTP client that cannot be made.
    pub(crate) fn client(source: NetError) -> Self {
        Self::Net { what: "stages".to_owned(), source }
    }

    /// Returns a function that wraps an IO error with what was being done to which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match LinkError::of(&source) {
            Some(link) => Self::Link(link.clone()),
            None => Self::Io { action, path, source },
        }
    }
}
