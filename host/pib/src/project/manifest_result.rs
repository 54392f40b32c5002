//! Mistakes in manifests, of which several are told at once.

use super::error::Error;

/// Tells mistakes in manifests, of which several may be told at once, from what ends the work.
pub(crate) trait ManifestResult<T>: Sized {
    /// Returns the result, with what is wrong in manifests as a part of it.
    ///
    /// # Errors
    /// When it is an error of another kind.
    fn or_wrong_manifest(self) -> Result<Result<T, Error>, Error>;
}

impl<T> ManifestResult<T> for Result<T, Error> {
    fn or_wrong_manifest(self) -> Result<Self, Error> {
        match self {
            Err(error @ (Error::Manifest(_) | Error::Manifests(_))) => Ok(Err(error)),
            Err(error) => Err(error),
            Ok(value) => Ok(Ok(value)),
        }
    }
}
