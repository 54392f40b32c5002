//! What can go wrong with registries of particular kinds.

use pib_objects::ObjectError;
use pib_plan::id::StageName;
use pib_plan::registry_snapshot::{RegistryKey, SnapshotError};
use semver::Version;

/// Says why a registry in an OCI registry cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RegistryError {
    /// An OCI registry could not be read or written.
    #[error("{action} {what} failed")]
    #[diagnostic(code(pib::source::oci))]
    #[diagnostic(help(
        "An OCI registry is reached with the login that `docker login HOST` has kept, or that a credential helper has; what is in \
         the cache can be used with --offline."
    ))]
    Oci {
        /// What was being done, e.g. "reading".
        action: &'static str,
        /// To what.
        what: String,
        /// What is wrong.
        #[source]
        source: ObjectError,
    },
    /// What stands under the tag of a version is not that version.
    #[error("version {version} of stage `{name}` in the registry {registry} {reason}")]
    #[diagnostic(code(pib::source::bad_manifest))]
    #[diagnostic(help(
        "Another program has written there, or a newer pib. Publish another version, or ask the registry's owner to remove that \
         tag."
    ))]
    BadManifest {
        /// The registry's address.
        registry: String,
        /// The stage.
        name: StageName,
        /// The version.
        version: Version,
        /// What is wrong; it completes "version 1.2.3 ...".
        reason: String,
    },
    /// What was published is gone again.
    #[error("stage `{name}` {version} was published to {registry}, and is gone again")]
    #[diagnostic(code(pib::source::lost))]
    #[diagnostic(help("Somebody removed it, or the registry did not keep it. Publish it again."))]
    Lost {
        /// The registry's address.
        registry: String,
        /// The stage.
        name: StageName,
        /// The version.
        version: Version,
    },
    /// The snapshot of a registry is not to be trusted.
    #[error("{registry} is not to be trusted: its snapshot {reason}")]
    #[diagnostic(code(pib::source::snapshot))]
    #[diagnostic(help(
        "Nothing of it was used. Another mirror may have the right one. Ask the registry's owner, e.g. by mail, which key \
         is right, and whether it was signed lately."
    ))]
    Snapshot {
        /// The registry, in a person's words.
        registry: String,
        /// What is wrong.
        reason: SnapshotError,
    },
    /// A file of a registry is not what the snapshot says.
    #[error("{registry} is not to be trusted: its index file `{path}` {reason}")]
    #[diagnostic(code(pib::source::misfit))]
    #[diagnostic(help(
        "Nothing of it was used. Somebody has changed the file on the way or on the server, or has published without the registry's key. \
         Try again in a minute, or use another mirror; tell the registry's owner."
    ))]
    Misfit {
        /// The registry, in a person's words.
        registry: String,
        /// The file.
        path: String,
        /// What is wrong; it completes "its index file ...".
        reason: String,
    },
    /// An index file that is about to be changed is not what the registry's key has signed.
    #[error("{registry} was changed without its key: its index file `{path}` is not what its snapshot says")]
    #[diagnostic(code(pib::source::unvouched))]
    #[diagnostic(help(
        "Nothing was changed. Somebody has put something into the file, or a publish was interrupted. Look at the file and at the \
         archives that it names. If all of it is yours, sign it: `pib registry sign REGISTRY --key FILE`; else get the file back from a \
         backup."
    ))]
    Unvouched {
        /// The registry, in a person's words.
        registry: String,
        /// The file.
        path: String,
    },
    /// A registry that must be signed is not.
    #[error("{registry} is not to be trusted: it has no signed snapshot")]
    #[diagnostic(code(pib::source::unsigned))]
    #[diagnostic(help(
        "Its key is in pib.toml, or it was signed when it was read before. Somebody may hold the snapshot back; tell the registry's \
         owner."
    ))]
    Unsigned {
        /// The registry, in a person's words.
        registry: String,
    },
    /// A locked version is signed by another publisher's key than the lock has.
    #[error("{place} says that the publisher of {what} is {found}, and pib.lock has {locked}")]
    #[diagnostic(code(pib::source::another_publisher))]
    #[diagnostic(help(
        "Who has signed a published version must never change. Ask the stage's publisher; if the new key is right, take it \
         with `pib update {name} --accept-republished`."
    ))]
    AnotherPublisher {
        /// The stage and its version.
        what: String,
        /// The stage, for the command that helps.
        name: StageName,
        /// The place, in a person's words.
        place: String,
        /// The key in the lock.
        locked: RegistryKey,
        /// The key now.
        found: RegistryKey,
    },
    /// A version is not what its publisher's signature says.
    #[error("{name} {version} in {registry} is not what its publisher, {key}, has signed")]
    #[diagnostic(code(pib::source::not_publishers))]
    #[diagnostic(help(
        "Somebody may have changed the registry: ask the stage's publisher, and tell the registry's owner. Another version may be \
         whole: `pib info {name}` lists them."
    ))]
    NotPublishers {
        /// The registry, in a person's words.
        registry: String,
        /// The stage.
        name: StageName,
        /// Its version.
        version: Version,
        /// The key that is said to have signed it.
        key: RegistryKey,
    },
    /// A registry is to be signed by a key that is not its own.
    #[error("{registry} is signed by {expected}, and not by {found}")]
    #[diagnostic(code(pib::source::other_signer))]
    #[diagnostic(help(
        "Name the file of its key. To replace that key, sign with both: pib registry sign --key OLD --rotate-to NEW."
    ))]
    OtherSigner {
        /// The registry, in a person's words.
        registry: String,
        /// The key that signs it.
        expected: RegistryKey,
        /// The key that was given.
        found: RegistryKey,
    },
    /// A registry is older than what its key has signed.
    #[error("{registry} was rolled back: {found}, and its key has signed number {last}")]
    #[diagnostic(code(pib::source::rolled_back))]
    #[diagnostic(help(
        "Nothing was changed: those who have read the newer state would refuse this one. Get the newer state back. If it is lost, look at what is \
         there, and sign it with a greater number: `pib registry sign REGISTRY --key FILE --number {next}`."
    ))]
    RolledBack {
        /// The registry, in a person's words.
        registry: String,
        /// What was found, in a person's words.
        found: String,
        /// The greatest number that the key is known to have signed.
        last: u64,
        /// The least number that counts.
        next: u64,
    },
    /// A snapshot is to have a number that a newer one has, or may have.
    #[error("{registry} cannot be signed with the number {number}: the next one is {least}")]
    #[diagnostic(code(pib::source::small_number))]
    #[diagnostic(help(
        "Leave --number out, or give a greater one. Readers refuse numbers that are smaller than one that they know."
    ))]
    SmallNumber {
        /// The registry, in a person's words.
        registry: String,
        /// The number that was asked for.
        number: u64,
        /// The least number that counts.
        least: u64,
    },
    /// A registry does not say which stages it has.
    #[error("the registry {registry} does not list its repositories, or not for you")]
    #[diagnostic(code(pib::source::unlisted))]
    #[diagnostic(help(
        "Many OCI registries list theirs for administrators only. `pib info STAGE --registry NAME` asks for one stage."
    ))]
    Unlisted {
        /// The registry's address.
        registry: String,
    },
}
