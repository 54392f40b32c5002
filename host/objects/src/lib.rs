//! Content in S3-compatible buckets and in OCI registries.
//!
//! | module | what it does |
//! |---|---|
//! | [`ContentStore`] | files by their digests, in either |
//! | [`Bucket`] | objects by their names: read, written whole, written only where nobody else has |
//! | `bucket_error` | what the errors of a bucket's server mean |
//! | [`ObjectServers`] | buckets and repositories together |
//! | [`Repositories`] | repositories of OCI registries, each connected to once, and the lists of them |
//! | [`Repository`] | blobs and manifests of a repository, by the OCI distribution protocol |
//! | `oci_host` | a registry's host, and requests that are made until they are answered |
//! | `oci_manifests` | a repository's tags, and the manifests that they name |
//! | `store_manifest` | the manifests of a store in a repository |
//! | `oci_login` | lets the user in at a registry: challenges, tokens |
//! | `docker_config` | what `docker login` has kept, and credential helpers |
//! | `aws_files` | what `aws configure` has kept |
//! | [`Access`] | the variables and the home folder that all of these start from |
//!
//! Invariants: an object is there whole or not at all; nothing is read past the size that the caller expects; a server that is
//! silent, slow or down ends in an error within minutes. A key, a password or a token is in memory and in a request's header
//! to the server that it is for, in nothing else: not in an error, and hidden in whatever is shown. Deliberately absent: what
//! the content is, and whether the user allows that a project names a server. Callers know both.

mod access;
mod aws_files;
mod bucket;
mod bucket_error;
mod content;
mod docker_config;
mod error;
mod object_servers;
mod oci;
mod oci_host;
mod oci_login;
mod oci_manifests;
mod repositories;
mod store_manifest;

pub use access::Access;
pub use bucket::{Bucket, Buckets, Expected, Found, ObjectVersion};
pub use content::ContentStore;
pub use error::ObjectError;
pub use object_servers::ObjectServers;
pub use oci::Repository;
pub use oci_manifests::FoundManifest;
pub use repositories::Repositories;

#[cfg(test)]
mod tests;
