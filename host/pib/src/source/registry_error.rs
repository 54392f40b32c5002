//! What can go wrong with registries of particular kinds.

use pib_objects::ObjectError;
use pib_plan::id::StageName;
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
        "Another program has written there, or a newer pib. Publish another version, or have whoever runs the registry remove that \
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
