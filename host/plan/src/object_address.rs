//! Addresses of content in S3-compatible buckets and in OCI registries.

use std::fmt;
use std::str::FromStr;

/// The longest name of a bucket, and the longest prefix or repository, in bytes.
const MAX_BUCKET: usize = 63;
const MAX_PATH: usize = 200;
/// The longest tag, in bytes: what pib appends to it must fit into the 128 that registries take.
const MAX_TAG: usize = 100;
/// The tag where an address names none.
pub const DEFAULT_TAG: &str = "pib";

/// A bucket, or a repository of an OCI registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectAddress {
    /// `s3://BUCKET/PREFIX`
    Bucket {
        /// The bucket's name. Which server has it, the user's variables say.
        bucket: String,
        /// What the names of all objects begin with, without slashes at its ends; it may be empty.
        prefix: String,
    },
    /// `oci://HOST/REPOSITORY:TAG`
    Oci {
        /// The registry's host, perhaps with a port.
        host: String,
        /// The repository.
        repository: String,
        /// What the tags that pib makes begin with.
        tag: String,
    },
}

/// Says why a text is not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectAddressError {
    /// It begins with neither `s3://` nor `oci://`.
    #[error("it begins with neither `s3://` nor `oci://`")]
    Scheme,
    /// The bucket's name is not one.
    #[error("`{0}` is not the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens")]
    Bucket(String),
    /// The prefix cannot begin names of objects.
    #[error("`{0}` is not a prefix: parts of letters, digits and `._-`, between single slashes")]
    Prefix(String),
    /// The host is not one.
    #[error("the address has no valid host, as in registry.example or registry.example:5000")]
    Host,
    /// The repository's name is not one.
    #[error(
        "`{0}` is not a repository: parts of lower-case letters, digits and single `._-`, between slashes"
    )]
    Repository(String),
    /// The tag is not one.
    #[error("`{0}` is not a tag: up to {MAX_TAG} letters, digits and `._-`, the first no `.` or `-`")]
    Tag(String),
}

impl ObjectAddress {
    /// Returns whether a text is meant to be such an address, valid or not.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("s3://") || text.starts_with("oci://")
    }
}

impl FromStr for ObjectAddress {
    type Err = ObjectAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket(rest);
        }
        text.strip_prefix("oci://").map_or(Err(ObjectAddressError::Scheme), oci)
    }
}

fn bucket(rest: &str) -> Result<ObjectAddress, ObjectAddressError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_bucket = (3..=MAX_BUCKET).contains(&bucket.len())
        && bucket.bytes().all(inner)
        && edge(bucket.bytes().next())
        && edge(bucket.bytes().last())
        && !bucket.contains("..");
    if !is_bucket {
        return Err(ObjectAddressError::Bucket(shown(bucket)));
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let part = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(letter)
    };
    if prefix.len() > MAX_PATH || !(prefix.is_empty() || prefix.split('/').all(part)) {
        return Err(ObjectAddressError::Prefix(shown(prefix)));
    }
    Ok(ObjectAddress::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn oci(rest: &str) -> Result<ObjectAddress, ObjectAddressError> {
    let (host, path) = rest.split_once('/').ok_or(ObjectAddressError::Host)?;
    // A user, a password, a query or a fragment would be none of the host's.
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let url = url::Url::parse(&format!("https://{host}/")).ok();
    let is_host = url.is_some_and(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    if !is_host || !host.bytes().all(letter) || host.len() > MAX_PATH {
        return Err(ObjectAddressError::Host);
    }
    let (repository, tag) = path.split_once(':').unwrap_or((path, DEFAULT_TAG));
    if repository.len() > MAX_PATH || !repository.split('/').all(is_repository_part) {
        return Err(ObjectAddressError::Repository(shown(repository)));
    }
    let tag_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_tag =
        (1..=MAX_TAG).contains(&tag.len()) && tag.bytes().all(tag_letter) && !tag.starts_with(['.', '-']);
    if !is_tag {
        return Err(ObjectAddressError::Tag(shown(tag)));
    }
    Ok(ObjectAddress::Oci {
        host: host.to_ascii_lowercase(),
        repository: repository.to_owned(),
        tag: tag.to_owned(),
    })
}

/// Returns whether a text is a part of a repository's name: words of lower-case letters and digits, between them one dot, one
/// or two underscores, or hyphens (OCI distribution specification 1.1, "Pulling manifests").
pub(crate) fn is_repository_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut between = String::new();
    let mut after_word = false;
    for byte in part.bytes() {
        if is_word(byte) {
            let is_separator = between.is_empty()
                || matches!(between.as_str(), "." | "_" | "__")
                || between.bytes().all(|byte| byte == b'-');
            if !is_separator || (!between.is_empty() && !after_word) {
                return false;
            }
            between.clear();
            after_word = true;
        } else {
            between.push(char::from(byte));
        }
    }
    after_word && between.is_empty()
}

/// Returns the beginning of a text, for an error.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for ObjectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Oci { host, repository, tag } if tag == DEFAULT_TAG => {
                write!(f, "oci://{host}/{repository}")
            }
            Self::Oci { host, repository, tag } => write!(f, "oci://{host}/{repository}:{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ObjectAddress, ObjectAddressError> {
        text.parse()
    }

    #[test]
    fn addresses_name_a_bucket_or_a_repository() {
        for (text, shown) in [
            ("s3://team-store", "s3://team-store"),
            ("s3://team.store/", "s3://team.store"),
            ("s3://team/a/b/", "s3://team/a/b"),
            ("oci://ghcr.io/acme/store", "oci://ghcr.io/acme/store"),
            ("oci://LocalHost:5000/store:pib", "oci://localhost:5000/store"),
            ("oci://[::1]:5000/a/b__c.d-e:v1", "oci://[::1]:5000/a/b__c.d-e:v1"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        use ObjectAddressError as Error;
        for text in ["", "s3:/team", "https://x.example", "gs://team", "S3://team"] {
            assert_eq!(parse(text), Err(Error::Scheme), "{text}");
        }
        for text in
            ["s3://", "s3://ab", "s3://Team", "s3://me:secret@team", "s3://-team", "s3://a..b", "s3://te?m"]
        {
            assert!(matches!(parse(text), Err(Error::Bucket(_))), "{text}");
        }
        for text in ["s3://team//a", "s3://team/../a", "s3://team/a b", "s3://team/a?x", "s3://team/a//"] {
            assert!(matches!(parse(text), Err(Error::Prefix(_))), "{text}");
        }
        for text in
            ["oci://", "oci://host", "oci:///store", "oci://me:pw@host/store", "oci://ho st/x", "oci://h:x/y"]
        {
            assert_eq!(parse(text), Err(Error::Host), "{text}");
        }
        for text in [
            "oci://h/",
            "oci://h/Store",
            "oci://h/a//b",
            "oci://h/a..b",
            "oci://h/-a",
            "oci://h/a_",
            "oci://h/a?b",
        ] {
            assert!(matches!(parse(text), Err(Error::Repository(_))), "{text}");
        }
        for text in ["oci://h/a:", "oci://h/a:.x", "oci://h/a:b:c", "oci://h/a:b/c", "oci://h/a:b@sha256"] {
            assert!(matches!(parse(text), Err(Error::Tag(_))), "{text}");
        }
        assert!(parse(&format!("oci://h/a:{}", "b".repeat(MAX_TAG + 1))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_written_as_it_is_read(text in "(s3|oci)://[a-zA-Z0-9.:/_@?-]{0,40}") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn no_text_ends_in_a_panic(text in "\\PC{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("oci://{text}"));
        }
    }
}
