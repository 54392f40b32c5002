//! Feeds of what was published: of a whole registry, and of each stage (Atom, RFC 4287).

use std::cmp::Reverse;
use std::fmt::Write as _;

use pib_plan::html::escape;
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, IndexFile, Offer};
use pib_plan::moment::Moment;
use semver::Version;
use serde::{Deserialize, Serialize};

/// How many versions a feed has.
const LISTED: usize = 50;

/// The versions that were published last, the newest first, and what was published first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    recent: Vec<FeedVersion>,
    first: Option<(Option<Moment>, Digest)>,
}

/// A version, as a feed has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FeedVersion {
    published: Moment,
    name: StageName,
    version: Version,
    description: String,
    yanked: bool,
    digest: Digest,
}

impl FeedVersion {
    /// Returns what a feed has of a version; nothing where nobody has noted when it was published.
    fn of(entry: &IndexEntry) -> Option<Self> {
        Some(Self {
            published: entry.pubtime?,
            name: entry.name.clone(),
            version: entry.vers.clone(),
            description: entry.description.clone(),
            yanked: entry.yanked,
            digest: entry.cksum?,
        })
    }
}

impl History {
    /// Returns the history of a stage. Versions of which nobody has noted when they were published are in no feed.
    pub(super) fn of(file: &IndexFile) -> Self {
        let entries = file.versions.iter().filter_map(|candidate| match &candidate.offer {
            Offer::Entry(entry) => Some(entry),
            Offer::Unreadable(_) => None,
        });
        let first = entries.clone().filter_map(|entry| Some((entry.pubtime, entry.cksum?))).min();
        Self { recent: entries.filter_map(|entry| FeedVersion::of(entry)).collect(), first }.sorted()
    }

    /// Adds the history of another stage.
    pub(super) fn with(mut self, other: Self) -> Self {
        self.recent.extend(other.recent);
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.sorted()
    }

    /// Puts the history of a stage in the place of the one that it had. Versions are added to a stage, and none is removed.
    pub(super) fn with_newer(mut self, name: &StageName, newer: Self) -> Self {
        self.recent.retain(|version| version.name != *name);
        self.with(newer)
    }

    fn sorted(mut self) -> Self {
        self.recent.sort_by_cached_key(|version| {
            (Reverse(version.published), version.name.clone(), version.version.clone())
        });
        self.recent.truncate(LISTED);
        self
    }
}

/// What a feed is about, and where it is.
pub(super) struct Feed<'a> {
    /// Its title.
    pub(super) title: &'a str,
    /// Its own file's name.
    pub(super) file: &'a str,
    /// Leads to the registry's first page.
    pub(super) root: &'a str,
    /// What the addresses of stages' pages end with.
    pub(super) suffix: &'a str,
    /// What is in it.
    pub(super) history: &'a History,
}

impl Feed<'_> {
    /// Returns the feed. Its addresses are relative to its own, as those of the pages are.
    pub(super) fn to_xml(&self) -> String {
        let Self { title, file, root, suffix, history } = self;
        let updated = history.recent.first().map(|version| version.published);
        // What was published first never changes, and is no other registry's.
        let id = history
            .first
            .map_or(Digest::of(b""), |(_, first)| Digest::of(format!("{file} {first}").as_bytes()));
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"en\">\n\
             <title>{}</title>\n<id>{}</id>\n<updated>{}</updated>\n<link rel=\"self\" href=\"{}\"/>\n\
             <link href=\"{root}.\"/>\n<author><name>Publishers of this registry</name></author>\n<generator>pib</generator>\n",
            escape(title),
            urn(&id),
            updated.unwrap_or(Moment::from_micros(0)),
            escape(file),
        );
        for FeedVersion { published, name, version, description, yanked, digest } in &history.recent {
            let name = escape(name.as_str());
            let yanked = if *yanked { " (yanked)" } else { "" };
            _ = write!(
                text,
                "<entry>\n<title>{name} {version}{yanked}</title>\n<id>{id}</id>\n<updated>{published}</updated>\n\
                 <link href=\"{root}stages/{name}{suffix}\"/>\n<summary>{about}</summary>\n</entry>\n",
                version = escape(&version.to_string()),
                id = urn(digest),
                about = escape(description),
            );
        }
        text + "</feed>\n"
    }
}

/// Returns an address that names what has a digest: a UUID of version 8, which is free to use (RFC 9562, section 5.8).
fn urn(digest: &Digest) -> String {
    let hex = digest.hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, lines: &[(&str, &str)]) -> IndexFile {
        let line = |(version, more): &(&str, &str)| {
            let cksum = Digest::of(format!("{name}{version}").as_bytes());
            format!(
                r#"{{"name":"{name}","vers":"{version}","description":"a & <b>","cksum":"{cksum}","content":"{cksum}"{more}}}"#
            ) + "\n"
        };
        let text: String = lines.iter().map(line).collect();
        IndexFile::parse(&name.parse().unwrap(), &pib_plan::index::SourceId::bundled(), &text).unwrap()
    }

    fn feed(history: &History) -> String {
        Feed { title: "Stages", file: "feed.atom", root: "", suffix: ".html", history }.to_xml()
    }

    #[test]
    fn a_feed_has_what_was_published_last() {
        let camera = file(
            "camera",
            &[
                ("1.0.0", ""),
                ("1.1.0", r#","pubtime":"2026-11-29T10:00:00Z""#),
                ("1.2.0", r#","pubtime":"2026-11-29T12:00:00Z","yanked":true"#),
            ],
        );
        let light = file("light", &[("1.0.0", r#","pubtime":"2026-11-29T11:00:00Z""#)]);
        let both = History::of(&camera).with(History::of(&light));
        let text = feed(&both);
        let document = roxmltree::Document::parse(&text).unwrap();
        let texts = |name: &str| -> Vec<&str> {
            document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/2005/Atom", name)))
                .filter_map(|node| node.text())
                .collect()
        };
        assert_eq!(texts("title"), ["Stages", "camera 1.2.0 (yanked)", "light 1.0.0", "camera 1.1.0"]);
        assert_eq!(texts("updated")[..2], ["2026-11-29T12:00:00Z"; 2]);
        assert_eq!(texts("summary"), ["a & <b>"; 3]);
        assert!(text.contains("<link href=\"stages/light.html\"/>"), "{text}");
        let ids = texts("id");
        assert!(ids.iter().all(|id| id.starts_with("urn:uuid:")) && ids.len() == 4, "{ids:?}");
        // What is published later does not make it another feed.
        let before = feed(&History::of(&camera));
        assert!(before.contains(&format!("<id>{}</id>", ids[0])), "{before}");
    }

    #[test]
    fn a_feed_may_be_empty_and_is_never_long() {
        assert!(roxmltree::Document::parse(&feed(&History::default())).is_ok());
        let lines: Vec<(String, String)> = (0..60)
            .map(|minor| (format!("1.{minor}.0"), format!(r#","pubtime":"2026-11-29T10:00:{minor:02}Z""#)))
            .collect();
        let lines: Vec<(&str, &str)> = lines.iter().map(|(one, two)| (one.as_str(), two.as_str())).collect();
        let text = feed(&History::of(&file("camera", &lines)));
        assert_eq!(text.matches("<entry>").count(), LISTED);
        assert!(text.contains("camera 1.59.0") && !text.contains("camera 1.9.0"), "{text}");
    }
}
