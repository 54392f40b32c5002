//! Signs registries, and keeps their snapshots up to date where something is published.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pib_event::{Event, Reporter};
use pib_plan::id::StageName;
use pib_plan::registry_snapshot::{RegistryKey, from_hex};
use serde::Serialize;

use super::publish_destination::PublishDestination;
use super::signed_numbers;
use crate::project::{self, Error, Session};
use crate::source::registry_sign::{Change, SignableRegistry, SigningKey};

/// How the text in a file with a key begins; the secret's hex digits follow.
const SECRET: &str = "pib-registry-key:";
/// The largest such file, in bytes.
const MAX_KEY: u64 = 4096;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is signed, and by which key.
#[derive(Debug, Clone)]
pub struct SignOptions {
    /// The registry's folder, or the address of its bucket.
    pub registry: PathBuf,
    /// The file of the key; it is made where there is none.
    pub key: PathBuf,
    /// The file of the key that signs from now on; it is made where there is none.
    pub rotate_to: Option<PathBuf>,
    /// For how many days the snapshot counts.
    pub days: Option<u32>,
    /// The number of the snapshot, where it is not the next one.
    pub number: Option<u64>,
}

/// A registry that was signed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SignedRegistry {
    /// Its folder or its address.
    pub registry: PathBuf,
    /// The key, for the projects that use the registry.
    pub key: String,
    /// The number of the snapshot.
    pub version: u64,
    /// Until when it counts, in seconds since 1970.
    pub expires: u64,
}

/// Signs all of a registry as it is.
///
/// # Errors
/// When another key signs it, or the registry or a key's file cannot be read or written.
pub async fn sign(session: &Session, options: &SignOptions) -> Result<SignedRegistry, Error> {
    let (place, registry) = named(session, &options.registry).await?;
    for file in [&options.key].into_iter().chain(&options.rotate_to) {
        check_place(session, &place, file)?;
    }
    let key = load(session, &options.key)?.map_or_else(|| make(session, &options.key), Ok)?;
    let next = options.rotate_to.as_ref();
    let next = next.map(|file| load(session, file)?.map_or_else(|| make(session, file), Ok)).transpose()?;
    let lifetime = options.days.map(|days| DAY * days);
    let change = Change::All { lifetime, next: next.as_ref(), number: options.number };
    recall(session, &key, &options.key)?;
    let signed = place.borrow().sign(&key, &change).await?;
    let signed = signed.ok_or_else(|| Error::usage("nothing was signed", "Run the command again."))?;
    for file in [&options.key].into_iter().chain(&options.rotate_to) {
        remember(session.reporter.as_ref(), &session.cwd.join(file), signed.snapshot.version);
    }
    Ok(SignedRegistry {
        registry,
        key: signed.key.to_string(),
        version: signed.snapshot.version,
        expires: signed.snapshot.expires,
    })
}

/// Returns the registry in a folder or at an address, to be signed, and what it is called.
async fn named(session: &Session, registry: &Path) -> Result<(SignableRegistry, PathBuf), Error> {
    if let Some(oci) = PublishDestination::oci(session, registry)? {
        let address = PathBuf::from(oci.to_string());
        return Ok((SignableRegistry::Oci(oci), address));
    }
    if let Some((address, bucket)) = PublishDestination::bucket(session, registry)? {
        let address = address.to_string();
        return Ok((SignableRegistry::Bucket(bucket, address.clone()), PathBuf::from(address)));
    }
    let root = super::publish_destination::existing(session, registry)?;
    crate::source::registry::Registry::folder(&root)?.check().await?;
    Ok((SignableRegistry::Folder(root.clone()), root))
}

/// Refuses the file of a key in the folder of the registry, whose files everybody may read.
fn check_place(session: &Session, place: &SignableRegistry, file: &Path) -> Result<(), Error> {
    let SignableRegistry::Folder(root) = place else { return Ok(()) };
    let path = session.cwd.join(file);
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    if root.canonicalize().ok().zip(folder).is_none_or(|(root, folder)| !folder.starts_with(root)) {
        return Ok(());
    }
    Err(Error::usage(
        format!("the key's file `{}` would be a file of the registry, and be served with it", file.display()),
        "Keep the key outside of the registry's folder.",
    ))
}

/// What signs what is published.
pub(super) struct Signer {
    place: SignableRegistry,
    key: Option<(SigningKey, PathBuf)>,
    reporter: Arc<dyn Reporter>,
}

impl Signer {
    /// Returns what signs nothing, for a registry that is only read.
    pub(super) fn of_nothing(session: &Session, place: SignableRegistry) -> Self {
        Self { place, key: None, reporter: session.reporter.clone() }
    }

    /// Returns what signs a registry that is written to: nothing where it is not signed.
    ///
    /// # Errors
    /// When the registry is signed and there is no key, or the other way round.
    pub(super) async fn of(
        session: &Session,
        place: SignableRegistry,
        file: Option<&Path>,
    ) -> Result<Self, Error> {
        let is_signed = place.borrow().is_signed().await?;
        let key = match (is_signed, file) {
            (true, None) => {
                return Err(Error::usage(
                    "the registry is signed, and what is published without its key would be refused by all who use it",
                    "Name the file of its key: --key FILE.",
                ));
            }
            (false, Some(file)) => {
                if let Some(key) = load(session, file)? {
                    recall(session, &key, file)?;
                    place.borrow().check_newest(&key, None)?;
                }
                let help = "Sign it once: pib registry sign REGISTRY --key FILE.";
                return Err(Error::usage("the registry is not signed, so that no key is of use", help));
            }
            (false, None) => None,
            (true, Some(file)) => Some(load(session, file)?.ok_or_else(|| {
                Error::usage(
                    format!("there is no file `{}`", file.display()),
                    "Name the file of the registry's key.",
                )
            })?),
        };
        let key = key.zip(file.map(|file| session.cwd.join(file)));
        Ok(Self { place, key, reporter: session.reporter.clone() })
    }

    /// Returns the key, which knows what it has signed last: perhaps by the hand of another process.
    fn key(&self) -> Result<Option<&SigningKey>, crate::source::SourceError> {
        let Some((key, file)) = &self.key else { return Ok(None) };
        let last = signed_numbers::last(file)
            .map_err(crate::source::SourceError::io("reading", &signed_numbers::path(file)))?;
        key.has_signed(last);
        Ok(Some(key))
    }

    async fn signed(&self, key: &SigningKey, change: &Change<'_>) -> Result<(), crate::source::SourceError> {
        let signed = self.place.borrow().sign(key, change).await?;
        if let Some((signed, (_, file))) = signed.zip(self.key.as_ref()) {
            remember(self.reporter.as_ref(), file, signed.snapshot.version);
        }
        Ok(())
    }

    /// Checks, before the index files of stages are changed, that the key signs the registry, and that they are what it has signed.
    ///
    /// # Errors
    /// When another key signs the registry, or a file is not what its snapshot says.
    pub(super) async fn check(&self, names: &[StageName]) -> Result<(), crate::source::SourceError> {
        match self.key()? {
            Some(key) => self.place.borrow().check(key, names).await,
            None => Ok(()),
        }
    }

    /// Signs the index files of stages that were changed.
    ///
    /// # Errors
    /// When another key signs the registry, or it cannot be written.
    pub(super) async fn sign(&self, names: &[StageName]) -> Result<(), crate::source::SourceError> {
        match self.key()?.filter(|_| !names.is_empty()) {
            Some(key) => self.signed(key, &Change::Stages(names)).await,
            None => Ok(()),
        }
    }

    /// Signs all of the registry as it is.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub(super) async fn sign_all(&self) -> Result<(), crate::source::SourceError> {
        match self.key()? {
            Some(key) => self.signed(key, &Change::All { lifetime: None, next: None, number: None }).await,
            None => Ok(()),
        }
    }

    /// Has the snapshot count longer, where half of its time is over.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub(super) async fn renew(&self) -> Result<(), crate::source::SourceError> {
        match self.key()? {
            Some(key) => self.signed(key, &Change::Renewal).await,
            None => Ok(()),
        }
    }
}

/// Returns the key that a publisher signs with; its file is made where there is none.
///
/// # Errors
/// When the file cannot be used.
pub(super) fn publishers_key(session: &Session, file: &Path) -> Result<SigningKey, Error> {
    match load(session, file)? {
        Some(key) => Ok(key),
        None => make(session, file),
    }
}

/// Returns the public key of the key in a file; `None` where there is no file yet.
///
/// # Errors
/// When the file cannot be used.
pub(super) fn public_key(session: &Session, file: &Path) -> Result<Option<RegistryKey>, Error> {
    Ok(load(session, file)?.map(|key| key.public()))
}

/// Tells a key what it has signed last, as far as that is known beside its file.
fn recall(session: &Session, key: &SigningKey, file: &Path) -> Result<(), Error> {
    let path = session.cwd.join(file);
    let last = signed_numbers::last(&path);
    key.has_signed(last.map_err(|error| Error::io("read", signed_numbers::path(&path), error))?);
    Ok(())
}

/// Remembers what the key in a file has signed. The snapshot is there already: what is wrong now is only a warning.
fn remember(reporter: &dyn Reporter, file: &Path, number: u64) {
    if let Err(error) = signed_numbers::remember(file, number) {
        let shown = signed_numbers::path(file);
        let message = format!(
            "pib cannot remember in `{}` that snapshot {number} was signed ({error}): it would not notice that the registry is rolled back",
            shown.display()
        );
        reporter.report(Event::Warning { message });
    }
}

/// Returns the key in a file; `None` where there is no file.
fn load(session: &Session, file: &Path) -> Result<Option<SigningKey>, Error> {
    let path = session.cwd.join(file);
    let text = match pib_file::read_text(&path, MAX_KEY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Error::io("read", &path, error))?,
    };
    session.mask.hide(text.trim().as_bytes());
    let mode =
        std::fs::metadata(&path).map_err(|error| Error::io("read", &path, error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::usage(
            format!("others may read the key in `{}` (mode 0{:o})", path.display(), mode & 0o777),
            format!("Make a new key, or close the file if nobody has read it: chmod 600 {}.", path.display()),
        ));
    }
    let key = text.trim().strip_prefix(SECRET).and_then(from_hex).and_then(|secret| SigningKey::of(&secret));
    key.map(Some).ok_or_else(|| {
        Error::usage(
            format!("`{}` is not the file of a registry's key", path.display()),
            "`pib registry sign` makes one where there is no file.",
        )
    })
}

/// Makes a key, and the file that has it.
fn make(session: &Session, file: &Path) -> Result<SigningKey, Error> {
    let path = session.cwd.join(file);
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| Error::io("make a key", "", io::Error::other(error.to_string())))?;
    let key = SigningKey::of(&secret).ok_or_else(|| Error::usage("no key could be made", "Try again."))?;
    let text = format!("{SECRET}{}\n", hex::encode(secret));
    session.mask.hide(text.trim().as_bytes());
    let folder = project::make_folder(session, path.parent().unwrap_or(&path))?;
    let write = || {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut new = folder.output(name)?.create()?;
        new.file().write_all(text.as_bytes())?;
        new.as_file().sync_all()?;
        new.keep(std::fs::Permissions::from_mode(0o600))
    };
    write().map_err(|error| Error::io("write", &path, error))?;
    Ok(key)
}
