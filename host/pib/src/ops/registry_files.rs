//! The files that a registry's server sends: which there are, and the answers that hold them, wholly or in part.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use pib_plan::id::{Digest, StageName};
use pib_plan::index::shard_path;
use pib_plan::registry_snapshot;
use semver::Version;

/// Returns an answer that browsers take for nothing but what it says.
pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

/// How a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileKind {
    /// What is in it.
    pub(super) mime: &'static str,
    /// Whether it never changes.
    pub(super) never_changes: bool,
}

/// Returns how the file of a registry at this path is sent; `None` where a registry has none there.
pub(super) fn file_kind(path: &str) -> Option<FileKind> {
    const ARCHIVE: FileKind = FileKind { mime: "application/octet-stream", never_changes: true };
    const INDEX: FileKind = FileKind { mime: "application/x-ndjson", never_changes: false };
    if path == "config.json" || path == registry_snapshot::FILE_NAME {
        return Some(FileKind { mime: "application/json", never_changes: false });
    }
    let last = path.rsplit('/').next()?;
    if let Some(rest) = path.strip_prefix("archives/") {
        let (name, _) = rest.split_once('/').filter(|(_, file)| *file == last)?;
        let version = last.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".stage")?;
        return (name.parse::<StageName>().is_ok() && version.parse::<Version>().is_ok()).then_some(ARCHIVE);
    }
    let name: StageName = last.parse().ok()?;
    (shard_path(&name) == path).then_some(INDEX)
}

/// Returns an answer with a file, or the part of it that is asked for, or none where the client has it.
pub(super) fn send_file(headers: &HeaderMap, bytes: Vec<u8>, file: FileKind) -> Response {
    let tag = format!("\"{}\"", &Digest::of(&bytes).hex()[..32]);
    let asked = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_known = asked(header::IF_NONE_MATCH).is_some_and(|tags| {
        tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*")
    });
    let size = bytes.len();
    let range = asked(header::RANGE).filter(|_| asked(header::IF_RANGE).is_none_or(|known| known == tag));
    let (status, body, part) = match (is_known, range.map(|text| byte_range(text, size))) {
        (true, _) => (StatusCode::NOT_MODIFIED, Vec::new(), None),
        (false, Some(Some(Ok((first, last))))) => (
            StatusCode::PARTIAL_CONTENT,
            bytes.get(first..=last).unwrap_or_default().to_vec(),
            Some(format!("bytes {first}-{last}/{size}")),
        ),
        (false, Some(Some(Err(())))) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, Vec::new(), Some(format!("bytes */{size}")))
        }
        (false, _) => (StatusCode::OK, bytes, None),
    };
    let mut response = respond(status, file.mime, body);
    let keep = match file.never_changes {
        true => "public, max-age=31536000, immutable",
        false => "public, max-age=0, must-revalidate",
    };
    let more = [
        (header::ETAG, Some(tag)),
        (header::CACHE_CONTROL, Some(keep.to_owned())),
        (header::ACCEPT_RANGES, Some("bytes".to_owned())),
        (header::CONTENT_RANGE, part),
    ];
    for (name, value) in more {
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Returns the first and the last byte of a range ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-14), one range only);
/// `None` where it asks for something else, which is answered with the whole, and an error where no byte is in it.
fn byte_range(text: &str, size: usize) -> Option<Result<(usize, usize), ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if last.contains(',') {
        return None;
    }
    let end = size.checked_sub(1);
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => {
            end.filter(|end| first <= *end).map(|end| (first, last.min(end)))
        }
        (Ok(first), Err(_)) if last.is_empty() => end.filter(|end| first <= *end).map(|end| (first, end)),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => {
            end.map(|end| (size.saturating_sub(count), end))
        }
        (Err(_), Ok(_)) if first.is_empty() => None,
        _ => return None,
    };
    Some(range.ok_or(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registrys_files_are_served() {
        let mime = |path: &str| file_kind(path).map(|kind| kind.mime);
        for path in ["config.json", "snapshot.json"] {
            assert_eq!(mime(path), Some("application/json"), "{path}");
        }
        for path in ["2/os", "ca/me/camera", "1/a"] {
            assert_eq!(mime(path), Some("application/x-ndjson"), "{path}");
        }
        assert!(file_kind("archives/os/os-1.0.0+debian.stage").is_some_and(|kind| kind.never_changes));
        for path in [
            "",
            "tokens.json",
            "ca/me/kiosk",
            "archives/os/ro-1.0.0.stage",
            "archives/../os",
            "../etc/passwd",
            ".git/config",
            "archives/os/os-1.stage",
        ] {
            assert_eq!(mime(path), None, "{path}");
        }
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (text, range) in [
            ("bytes=0-3", Some(Ok((0, 3)))),
            ("bytes=2-", Some(Ok((2, 9)))),
            ("bytes=-3", Some(Ok((7, 9)))),
            ("bytes=-99", Some(Ok((0, 9)))),
            ("bytes=5-99", Some(Ok((5, 9)))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=3-1", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-3", None),
        ] {
            assert_eq!(byte_range(text, 10), range, "{text}");
        }
        assert_eq!(byte_range("bytes=0-", 0), Some(Err(())));
    }
}
