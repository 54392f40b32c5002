//! Reads a suite's signed `Release` text: what it is, when it was made, and the digests of its indexes.

use std::collections::{BTreeSet, HashMap};

use pib_plan::id::Digest;

use super::date;
use super::deb822;

/// How far the archive's clock may be ahead of the host's, in seconds.
const CLOCK_TOLERANCE: u64 = 24 * 3600;

/// A suite's release file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    /// E.g. `stable`.
    pub suite: String,
    /// E.g. `trixie`.
    pub codename: String,
    /// When it was made, in seconds since 1970.
    pub date: u64,
    /// Until when it may be used.
    pub valid_until: Option<u64>,
    /// Whether indexes can be fetched by their digest, which is safe while the mirror is being updated.
    pub by_hash: bool,
    /// The indexes by path below the suite's folder.
    files: HashMap<String, Index>,
}

/// One index that a release lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    /// The digest of the file.
    pub digest: Digest,
    /// The size of the file in bytes.
    pub size: u64,
}

/// What is done about dates that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatePolicy {
    /// Whether an expired release is an error (else it is used, with a warning).
    pub check_valid_until: bool,
    /// Whether a release from the future is an error.
    pub check_date: bool,
}

impl Default for DatePolicy {
    fn default() -> Self {
        Self { check_valid_until: true, check_date: true }
    }
}

impl Release {
    /// Reads the text, which must have been verified.
    ///
    /// # Errors
    /// When the text is malformed or lacks what pib needs; the text says what.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut paragraphs = deb822::paragraphs(text).map_err(|error| error.to_string())?.into_iter();
        let fields = match (paragraphs.next(), paragraphs.next()) {
            (Some(fields), None) => fields,
            _ => return Err("it is not one paragraph of fields".to_owned()),
        };
        let get = |name: &str| {
            let found = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        let date = |name: &str| match get(name) {
            None => Ok(None),
            Some(text) => date::parse(text).map(Some).ok_or(format!("its {name} `{text}` is no date")),
        };
        Ok(Self {
            suite: get("Suite").unwrap_or_default().to_owned(),
            codename: get("Codename").unwrap_or_default().to_owned(),
            date: date("Date")?.ok_or("it has no Date")?,
            valid_until: date("Valid-Until")?,
            by_hash: get("Acquire-By-Hash").is_some_and(|value| value.eq_ignore_ascii_case("yes")),
            files: files(get("SHA256").ok_or("it lists no SHA256 digests")?)?,
        })
    }

    /// Checks that this is the release that was asked for and that its time is right.
    ///
    /// Returns warnings about what `policy` lets pass.
    ///
    /// # Errors
    /// When it is another release, expired, or from the future.
    pub(super) fn check(&self, wanted: &str, now: u64, policy: DatePolicy) -> Result<Vec<String>, String> {
        if self.suite != wanted && self.codename != wanted {
            return Err(format!(
                "it is `{}` ({}), not `{wanted}`; the mirror is misconfigured",
                self.codename, self.suite
            ));
        }
        let mut warnings = Vec::new();
        if let Some(until) = self.valid_until.filter(|until| *until < now) {
            let text = format!("it was valid until {} only", date::print(until));
            if policy.check_valid_until {
                return Err(format!(
                    "{text}, so the mirror is out of date or someone holds updates back; use another mirror"
                ));
            }
            warnings.push(format!("{text}; used because this host's apt does not check that either"));
        }
        if policy.check_date && self.date > now.saturating_add(CLOCK_TOLERANCE) {
            return Err(format!(
                "it was made in the future ({}); check this host's clock",
                date::print(self.date)
            ));
        }
        Ok(warnings)
    }

    /// Returns the components of which the release names a list of packages for an architecture.
    pub(super) fn components(&self, architecture: &str) -> BTreeSet<String> {
        let folder = format!("/binary-{architecture}/");
        let component = |path: &String| {
            let (component, file) = path.split_once(&folder)?;
            let is_list = file.starts_with("Packages") && !file.contains('/');
            // Those of Debian's installer are in a folder of their own.
            (is_list && !component.contains('/')).then(|| component.to_owned())
        };
        self.files.keys().filter_map(component).collect()
    }

    /// Returns the names that the release says it has, where they are the names of folders.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = [self.suite.as_str(), self.codename.as_str()];
        let is_name = |name: &&str| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        names.into_iter().filter(is_name)
    }

    /// Returns what the release says of the index at `path`.
    pub(super) fn index(&self, path: &str) -> Option<Index> {
        self.files.get(path).copied()
    }
}

/// An index as a release lists it. Nothing here checks the release's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedIndex {
    /// The digest of the file.
    pub digest: Digest,
    /// The size of the file in bytes.
    pub size: u64,
    /// The other paths at which a mirror may have the file, from the suite's folder: also in those of the suite's names.
    pub others: Vec<String>,
}

/// What comes between an index's folder and its digest
/// (<https://wiki.debian.org/DebianRepository/Format#indices_acquisition_via_hashsums_.28by-hash.29>).
const BY_HASH: &str = "by-hash/SHA256/";

/// Returns what a release, of the form `InRelease` or `Release`, says of the index at a path below the suite's folder.
pub fn listed_index(text: &str, path: &str) -> Option<ListedIndex> {
    let release = Release::parse(signed_text(text)).ok()?;
    let mut listed = listed_in(&release, path)?;
    let here = [&[path.to_owned()], &*listed.others].concat();
    let beside = release.names().flat_map(|name| here.iter().map(move |path| format!("../{name}/{path}")));
    listed.others.extend(beside);
    Some(listed)
}

/// Returns the paths, from a suite's folder, at which a mirror may have the suite's release file `file`, by what one of them says.
pub fn release_paths(text: &str, file: &str) -> Vec<String> {
    let release = Release::parse(signed_text(text)).ok();
    release.iter().flat_map(Release::names).map(|name| format!("../{name}/{file}")).collect()
}

/// Returns what a release says of an index, with its other paths below the suite's folder.
fn listed_in(release: &Release, path: &str) -> Option<ListedIndex> {
    let Some((folder, hex)) = path.split_once(BY_HASH) else {
        let Index { digest, size } = release.index(path)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let slash = if folder.is_empty() { "" } else { "/" };
        let by_hash = format!("{folder}{slash}{BY_HASH}{}", digest.hex());
        return Some(ListedIndex { digest, size, others: vec![by_hash] });
    };
    let digest: Digest = format!("sha256:{hex}").parse().ok()?;
    let is_in_folder = |path: &str| path.strip_prefix(folder).is_some_and(|name| !name.contains('/'));
    let named = release.files.iter().filter(|(path, index)| index.digest == digest && is_in_folder(path));
    let mut others: Vec<String> = named.clone().map(|(path, _)| path.clone()).collect();
    others.sort();
    let size = named.map(|(_, index)| index.size).next()?;
    Some(ListedIndex { digest, size, others })
}

/// Returns what is signed of a text in the cleartext form (RFC 9580, section 7), or the text itself where it has another form.
fn signed_text(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----") else { return text };
    let body = rest.split_once("\n\n").map_or("", |(_, body)| body);
    body.split_once("\n-----BEGIN PGP SIGNATURE-----").map_or(body, |(signed, _)| signed)
}

fn files(block: &str) -> Result<HashMap<String, Index>, String> {
    let mut files = HashMap::new();
    for line in block.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split_ascii_whitespace();
        let entry = (|| {
            let digest = format!("sha256:{}", words.next()?).parse().ok()?;
            let size = words.next()?.parse().ok()?;
            Some((words.next()?.to_owned(), Index { digest, size }))
        })();
        let (path, index) = entry.ok_or_else(|| format!("its line `{line}` is no digest, size and path"))?;
        files.insert(path, index);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "5b9a010e6730e4019e90fcb81c92ad59f061955890d691b7d111637d3f8d3dab";

    fn text() -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n\
             Valid-Until: Sat, 28 Nov 2026 09:15:44 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n 00 1 x\nSHA256:\n \
             {HEX}  96148 main/binary-arm64/Packages.xz\n"
        )
    }

    #[test]
    fn what_a_release_says_is_read() {
        let release = Release::parse(&text()).unwrap();
        assert_eq!(
            (release.codename.as_str(), release.date, release.by_hash),
            ("trixie", 1_795_252_544, true)
        );
        let index = release.index("main/binary-arm64/Packages.xz").unwrap();
        assert_eq!((index.digest.hex().as_str(), index.size), (HEX, 96148));
        assert_eq!(release.index("main/binary-armhf/Packages.xz"), None);
    }

    #[test]
    fn an_index_is_listed_by_its_name_and_by_its_digest() {
        let plain = "main/binary-arm64/Packages.xz";
        let by_hash = format!("main/binary-arm64/by-hash/SHA256/{HEX}");
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}\n-----BEGIN PGP SIGNATURE-----\n\nx\n",
            text().trim_end()
        );
        for text in [text(), signed] {
            let by_name = listed_index(&text, plain).unwrap();
            assert_eq!((by_name.digest.hex().as_str(), by_name.size), (HEX, 96148));
            let all = |first: &str, second: &str| {
                let mut all = vec![second.to_owned()];
                for name in ["stable", "trixie"] {
                    all.extend([first, second].map(|path| format!("../{name}/{path}")));
                }
                all
            };
            assert_eq!(by_name.others, all(plain, &by_hash));
            assert_eq!(release_paths(&text, "InRelease"), ["../stable/InRelease", "../trixie/InRelease"]);
            let by_digest = listed_index(&text, &by_hash).unwrap();
            assert_eq!((by_digest.digest, by_digest.size), (by_name.digest, 96148));
            assert_eq!(by_digest.others, all(&by_hash, plain));
            for other in [
                "main/binary-armhf/Packages.xz",
                &by_hash.replace("5b9a", "0000"),
                &by_hash.replace("main", "x"),
            ] {
                assert_eq!(listed_index(&text, other), None, "{other}");
            }
        }
        assert_eq!(listed_index("", plain), None);
        // What a mirror says it is called leads to no other folder of its.
        let elsewhere = text().replace("Suite: stable", "Suite: ../private").replace(": trixie", ": ..");
        assert_eq!(release_paths(&elsewhere, "InRelease"), Vec::<String>::new());
    }

    #[test]
    fn another_release_and_wrong_times_are_refused() {
        let release = Release::parse(&text()).unwrap();
        let (now, strict) = (release.date + 60, DatePolicy::default());
        let lax = DatePolicy { check_valid_until: false, check_date: false };
        assert_eq!(release.check("trixie", now, strict), Ok(vec![]));
        assert_eq!(release.check("stable", now, strict), Ok(vec![]));
        assert!(release.check("bookworm", now, strict).unwrap_err().contains("not `bookworm`"));
        let later = now + 30 * 24 * 3600;
        assert!(release.check("trixie", later, strict).unwrap_err().contains("valid until 2026-11-28"));
        assert_eq!(release.check("trixie", later, lax).unwrap().len(), 1);
        let earlier = now - 2 * 24 * 3600;
        assert!(release.check("trixie", earlier, strict).unwrap_err().contains("future"));
        assert_eq!(release.check("trixie", earlier, lax), Ok(vec![]));
        assert!(release.check("bookworm", now, lax).is_err());
    }

    #[test]
    fn malformed_releases_are_refused() {
        let good = text();
        for bad in [
            String::new(),
            good.replace("Date:", "Dote:"),
            good.replace("21 Nov", "41 Nov"),
            good.replace("SHA256:", "SHA1:"),
            good.replace(HEX, "abc"),
            format!("{good}\nA: second paragraph\n"),
        ] {
            assert!(Release::parse(&bad).is_err(), "{bad}");
        }
    }
}
