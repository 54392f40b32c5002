//! Where an image comes from, as a statement that stands beside it: in-toto's (v1) with SLSA's provenance (v1).
//!
//! The formats: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md> and
//! <https://slsa.dev/spec/v1.0/provenance>. Nothing in it depends on when or where the image was built.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pib_plan::base::{BaseSource, Location};
use pib_plan::id::Digest;
use pib_plan::index::SourceId;
use pib_plan::manifest::project::{Compression, Network, ProjectManifest};
use pib_plan::recording::{Method, Recording};
use serde::{Deserialize, Serialize};
use url::Url;

use super::based::Based;
use crate::engine::Loss;
use pib_event::Difference;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// The longest name or version of a dependency that is shown.
const MAX_NAME: usize = 300;
/// The kind of what parts were given.
const DOWNLOAD: &str = "download";
/// What says how the parameters and dependencies are to be read: the book.
const BUILD_TYPE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/build/v1");

/// The statement of which image was made of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Resource>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Provenance,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provenance {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: Parameters,
    internal_parameters: Inner,
    resolved_dependencies: Vec<Resource>,
}

/// What the project asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Parameters {
    /// What the names of the image's files begin with: project, target, board and architecture.
    name: String,
    os: String,
    release: String,
    /// The board; absent where a pib wrote the provenance that did not note it, as are the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    board: Option<String>,
    /// The architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arch: Option<String>,
    /// What else `pib.toml` decides of the image, by the keys there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, String>,
}

impl Parameters {
    /// Returns what a project asks for.
    fn of(manifest: &ProjectManifest) -> Self {
        let ProjectManifest { project, image, build, .. } = manifest;
        let network = match build.network {
            Network::Recorded => "recorded",
            Network::Open => "open",
        };
        let compress = match image.compress {
            Compression::None => "none",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
        };
        let settings = [
            ("project.hostname", project.hostname.clone()),
            ("project.locale", project.locale.clone()),
            ("project.timezone", project.timezone.clone()),
            ("image.compress", compress.to_owned()),
            ("image.layout", image.layout.key_text()),
            ("build.network", network.to_owned()),
        ];
        Self {
            name: project.file_stem(),
            os: project.os.clone(),
            release: project.release.clone(),
            board: Some(project.board.clone()),
            arch: Some(project.arch.to_string()),
            settings: settings.map(|(key, value)| (key.to_owned(), value)).into(),
        }
    }

    /// Returns these as the pib would have written them that wrote `like`.
    fn in_form_of(&self, like: &Self) -> Self {
        match &like.board {
            Some(_) => self.clone(),
            None => Self { board: None, arch: None, settings: BTreeMap::new(), ..self.clone() },
        }
    }

    /// Returns in what an image of `now` is another one.
    fn differences(&self, now: &Self) -> Vec<Difference> {
        let whole = |of: &Self| format!("{} of {} {}", of.name, of.os, of.release);
        let mut found = Vec::new();
        if whole(self) != whole(now) {
            found.push(changed("image", Some(whole(self)), Some(whole(now))));
        }
        if self.board.is_some() {
            let pairs = [("board", &self.board, &now.board), ("architecture", &self.arch, &now.arch)];
            let pairs = pairs.into_iter().filter(|(_, own, other)| own != other);
            found.extend(pairs.map(|(name, own, other)| changed(name, own.clone(), other.clone())));
            let keys: BTreeSet<&String> = self.settings.keys().chain(now.settings.keys()).collect();
            let values = |key: &String| (self.settings.get(key).cloned(), now.settings.get(key).cloned());
            let settings =
                keys.into_iter().map(|key| (key, values(key))).filter(|(_, (own, other))| own != other);
            found
                .extend(settings.map(|(key, (own, other))| changed(&format!("setting `{key}`"), own, other)));
        }
        found
    }
}

fn changed(name: &str, before: Option<String>, after: Option<String>) -> Difference {
    // What a stranger's provenance says is shown on one line, and no more of it than fits there.
    let shown = |text: String| -> String {
        let plain = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(MAX_NAME).collect()
    };
    Difference {
        name: name.to_owned(),
        aspects: Vec::new(),
        stage: None,
        before: before.map(shown),
        after: after.map(shown),
        summary: None,
    }
}

/// Returns a difference between an image and its project as a line of text.
pub(crate) fn line(difference: &Difference) -> String {
    let Difference { name, before, after, .. } = difference;
    match (before, after) {
        (Some(before), Some(after)) => format!("{name} was {before}, and is {after}"),
        (Some(before), None) => format!("{name} {before} is not in the project any more"),
        (None, Some(after)) => format!("{name} {after} is new"),
        (None, None) => format!("{name} is not what it was"),
    }
}

/// What decides the image beside that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Inner {
    /// The digest of everything that does, settings and files of the project among it.
    key: Digest,
    /// What the engine could not give it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    losses: Vec<Loss>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Builder {
    id: String,
    version: BTreeMap<String, String>,
}

/// A file or folder, by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Resource {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

/// What a dependency is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Annotations {
    /// `stage`, `base`, `package` or `download`.
    kind: String,
    version: String,
}

impl Statement {
    /// Returns the statement that a file is the image of a build by an engine with these losses, whose parts were given what
    /// the recording has.
    pub(crate) fn of(
        based: &Based,
        losses: &[Loss],
        recording: &Recording,
        file: &str,
        digest: Digest,
    ) -> Self {
        let manifest = &based.rendered.packages.project().manifest;
        let version = BTreeMap::from([("pib".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        Self {
            kind: STATEMENT.to_owned(),
            subject: vec![Resource { annotations: None, ..Resource::new("", file, "", None, digest) }],
            predicate_type: PROVENANCE.to_owned(),
            predicate: Provenance {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE.to_owned(),
                    external_parameters: Parameters::of(manifest),
                    internal_parameters: Inner { key: based.image_key(losses), losses: losses.to_vec() },
                    resolved_dependencies: dependencies(based).chain(downloads(recording)).collect(),
                },
                run_details: RunDetails {
                    builder: Builder { id: env!("CARGO_PKG_REPOSITORY").to_owned(), version },
                },
            },
        }
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// Says why the text is not a provenance that pib wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let own = (&*found.kind, &*found.predicate_type) == (STATEMENT, PROVENANCE)
            && found.definition().build_type == BUILD_TYPE
            && found.definition().resolved_dependencies.iter().all(Resource::can_be_shown);
        if own { Ok(found) } else { Err("it is not the provenance of an image of pib's".to_owned()) }
    }

    /// Returns it as text.
    ///
    /// # Errors
    /// Never but for a fault of this program.
    pub(crate) fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| format!("{text}\n"))
    }

    /// Returns whether it is about a file with this digest, and no other.
    pub(crate) fn is_about(&self, digest: &Digest) -> bool {
        matches!(&*self.subject, [only] if only.digest == sha256(digest))
    }

    /// Returns whether it says of its image what `other` says. The file may have another name by now, and another version
    /// of pib may have written it.
    pub(crate) fn says_what(&self, other: &Self) -> bool {
        self.definition().without_downloads()
            == other.definition().without_downloads().in_form_of(self.definition())
            && self.predicate.run_details.builder.id == other.predicate.run_details.builder.id
    }

    /// Returns the downloads that `now` does not have as they were. It may have more: of another target, for instance.
    pub(crate) fn downloads_beyond(&self, now: &Self) -> Vec<Difference> {
        let (own, other) = (self.definition().downloads(), now.definition().downloads());
        own.difference(&other).map(|(name, ..)| changed(&format!("download `{name}`"), None, None)).collect()
    }

    /// Returns the digest of everything that decided the image.
    pub(crate) fn key(&self) -> Digest {
        self.definition().internal_parameters.key
    }

    /// Returns what the engine could not give the image.
    pub(crate) fn losses(&self) -> &[Loss] {
        &self.definition().internal_parameters.losses
    }

    /// Returns in what an image of `now` is made of something else.
    pub(crate) fn differences(&self, now: &Self) -> Vec<Difference> {
        let (own, other) = (self.definition().without_downloads(), now.definition().without_downloads());
        let mut found = own.external_parameters.differences(&other.external_parameters);
        let by_name = |of: &'_ BuildDefinition| -> BTreeMap<(String, String), Resource> {
            let resources = of.resolved_dependencies.iter();
            resources
                .map(|resource| ((resource.kind().to_owned(), resource.name.clone()), resource.clone()))
                .collect()
        };
        let (own, other) = (by_name(&own), by_name(&other));
        for (key, before) in &own {
            match other.get(key) {
                Some(now) if now.digest == before.digest => {}
                Some(now) => {
                    found.push(changed(&before.title(), Some(before.which()), Some(now.which())));
                }
                None => found.push(changed(&before.title(), Some(before.version().to_owned()), None)),
            }
        }
        let new = other.iter().filter(|(key, _)| !own.contains_key(*key));
        found.extend(new.map(|(_, new)| changed(&new.title(), None, Some(new.version().to_owned()))));
        let downloads = self.definition().downloads().len();
        match now.definition().downloads().is_empty() && downloads > 0 {
            true => found.push(changed(
                "recorded downloads",
                Some(downloads.to_string()),
                Some("none".to_owned()),
            )),
            false => found.extend(self.downloads_beyond(now)),
        }
        found
    }

    fn definition(&self) -> &BuildDefinition {
        &self.predicate.build_definition
    }
}

impl BuildDefinition {
    /// Returns the downloads: the name, the status and the digest of each.
    fn downloads(&self) -> BTreeSet<(&str, &str, &BTreeMap<String, String>)> {
        let all = self.resolved_dependencies.iter().filter(|resource| resource.kind() == DOWNLOAD);
        all.map(|resource| (&*resource.name, resource.version(), &resource.digest)).collect()
    }

    /// Returns it with the parameters as the pib would have written them that wrote `like`.
    fn in_form_of(self, like: &Self) -> Self {
        let external_parameters = self.external_parameters.in_form_of(&like.external_parameters);
        Self { external_parameters, ..self }
    }

    /// Returns all but the downloads.
    fn without_downloads(&self) -> Self {
        let mut all = self.clone();
        all.resolved_dependencies.retain(|resource| resource.kind() != DOWNLOAD);
        all
    }
}

impl Resource {
    fn new(kind: &str, name: &str, version: &str, uri: Option<String>, digest: Digest) -> Self {
        let annotations = Annotations { kind: kind.to_owned(), version: version.to_owned() };
        Self { name: name.to_owned(), uri, digest: sha256(&digest), annotations: Some(annotations) }
    }

    fn kind(&self) -> &str {
        self.annotations.as_ref().map_or("", |found| &found.kind)
    }

    fn version(&self) -> &str {
        self.annotations.as_ref().map_or("", |found| &found.version)
    }

    /// Returns whether its name and version fit into a line.
    fn can_be_shown(&self) -> bool {
        let fits = |text: &str| text.len() <= MAX_NAME && !text.contains(char::is_control);
        fits(&self.name) && fits(self.version()) && fits(self.kind())
    }

    fn title(&self) -> String {
        format!("{} `{}`", self.kind(), self.name)
    }

    /// Returns the version, and the start of the digest, since a folder may change without another version.
    fn which(&self) -> String {
        let digest = self.digest.values().next().map_or("", |hex| hex.get(..12).unwrap_or(hex));
        format!("{} ({digest})", self.version())
    }
}

fn sha256(digest: &Digest) -> BTreeMap<String, String> {
    BTreeMap::from([("sha256".to_owned(), digest.hex())])
}

/// Returns what a build is made of: the base, its packages, the stages in build order.
fn dependencies(based: &Based) -> impl Iterator<Item = Resource> {
    let packages = &based.rendered.packages;
    let project = &packages.project().manifest.project;
    let from = match &based.rendered.base {
        BaseSource::Tarball { location: Location::Url(url), .. } => public(url.as_str()),
        BaseSource::Signed(tarball) => public(&tarball.url),
        _ => None,
    };
    let release = format!("{} {}", project.release, project.arch);
    let base = Resource::new("base", &project.os, &release, from, based.digest);
    let snapshot = based.locked.as_ref().and_then(|locked| locked.snapshot.as_ref());
    let listed = snapshot.into_iter().flat_map(|snapshot| &snapshot.packages).map(|package| {
        // The package URL that <https://github.com/package-url/purl-spec> gives to Debian's.
        let [name, version] =
            [&package.name, &package.version].map(|text| utf8_percent_encode(text, RESERVED));
        // Whose it is, the name of its archive tells: on Raspberry Pi OS, some packages are Debian's.
        let vendor = package.archive.trim_end_matches("-security");
        let uri = format!("pkg:deb/{vendor}/{name}@{version}?arch={}", package.arch);
        Resource::new("package", &package.name, &package.version, Some(uri), package.digest)
    });
    let stages = packages.list.iter().map(|package| {
        let stage = packages.resolved.resolution.get(&package.name);
        let source = stage.and_then(|stage| match &stage.source {
            SourceId::Registry(registry) => public(registry.url()?),
            SourceId::Git(git) => {
                public(git.url()).map(|url| format!("git+{url}@{}", git.commit().unwrap_or_default()))
            }
            SourceId::Path(_) => None,
        });
        Resource::new("stage", package.name.as_str(), &package.version.to_string(), source, package.content)
    });
    [base].into_iter().chain(listed).chain(stages).collect::<Vec<_>>().into_iter()
}

/// Returns what parts were given, sorted by address.
fn downloads(recording: &Recording) -> impl Iterator<Item = Resource> {
    recording.iter().filter(|(asked, _)| asked.method != Method::Head).filter_map(|(asked, found)| {
        let address = public(&asked.url)?;
        // The end of a very long address tells more than its start.
        let name = &address[address.len().saturating_sub(MAX_NAME)..];
        Some(Resource::new(DOWNLOAD, name, &found.status.to_string(), Some(address.clone()), found.digest))
    })
}

/// What a part of a package URL has in another form.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// Returns an address of a web server as everyone may see it: without a password, a token, or a question. There is none for
/// what is on this machine: its paths are the user's own, and other ones elsewhere.
fn public(address: &str) -> Option<String> {
    let mut url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_public_or_not_there() {
        for (address, shown) in [
            ("https://me:secret@x.example/a/b.tar?token=t#f", Some("https://x.example/a/b.tar")),
            ("http://x.example:8080/a", Some("http://x.example:8080/a")),
            ("file:///home/me/a", None),
            ("ssh://git@x.example/a", None),
            ("/home/me/a", None),
        ] {
            assert_eq!(public(address).as_deref(), shown, "{address}");
        }
    }
}
