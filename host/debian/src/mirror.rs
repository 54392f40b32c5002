//! Finds the mirrors of a recipe's archives: of Debian's the project's, else the host's own, else Debian's; of others those that
//! the init stage names.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use pib_plan::moment::Moment;
use pib_plan::package_archive::{KNOWN, PackageArchive};
use url::Url;

use super::Bootstrap;
use super::date;
use super::deb822;
use super::error::DebianError;
use super::release::DatePolicy;

/// Debian's own mirror network.
pub const DEFAULT: &str = "http://deb.debian.org/debian";
/// Debian's own security mirror network.
pub const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";

/// Debian's archive of the past, which has every package that ever was in Debian, by the moment.
/// <https://snapshot.debian.org/>
pub(super) const PAST: &str = "https://snapshot.debian.org/archive";
/// The first day of which it has a copy.
const PAST_BEGINS: &str = "2005-03-12T00:00:00Z";
/// How long after its release was signed an archive is looked at there, in seconds: it takes a copy four times a day, and of
/// a moment it gives the last copy before. Until the next copy no package of the release is gone.
const PAST_DELAY: u64 = 6 * 3600 + 1800;

/// A mirror and where its address was found, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    /// The address, without a slash at its end.
    pub url: Url,
    /// E.g. ``the project's `mirror` ``.
    pub origin: String,
}

impl Mirror {
    /// Returns the address of the file at `path` below the mirror.
    pub(super) fn join(&self, path: &str) -> Result<Url, DebianError> {
        let text = format!("{}/{path}", self.url.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|error| DebianError::BadMirror { mirror: text, reason: error.to_string() })
    }
}

/// What the host's own apt says about Debian's archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostApt {
    /// The host's mirror of Debian, if it has one.
    pub main: Option<Url>,
    /// The host's mirror of Debian's security updates, if it has one.
    pub security: Option<Url>,
    /// What the host's administrator decided about dates; a private, frozen mirror needs this.
    pub dates: DatePolicy,
    /// The user's mirror of Debian's archive of the past, if there is one.
    pub past: Option<Url>,
}

impl HostApt {
    /// Reads the apt configuration below the folder `root`, which is `/` but in tests.
    ///
    /// What is missing or unreadable says nothing: the host need not be Debian.
    pub fn read(root: &Path) -> Self {
        let mut entries = Vec::new();
        for text in texts(&root.join("etc/apt/sources.list"), &root.join("etc/apt/sources.list.d"), "list") {
            entries.extend(parse_list(&text));
        }
        for text in texts(Path::new(""), &root.join("etc/apt/sources.list.d"), "sources") {
            entries.extend(parse_sources(&text));
        }
        let mut dates = DatePolicy::default();
        for text in texts(&root.join("etc/apt/apt.conf"), &root.join("etc/apt/apt.conf.d"), "") {
            parse_dates(&text, &mut dates);
        }
        Self { main: best(&entries, main_score), security: best(&entries, security_score), dates, past: None }
    }

    /// Has another archive of the past than Debian's own asked, where the user names one.
    #[must_use]
    pub fn with_past(self, past: Option<Url>) -> Self {
        Self { past, ..self }
    }

    /// Returns the address of the archive of the past.
    ///
    /// # Errors
    /// When the one that the user names is not usable.
    fn past(&self) -> Result<Url, DebianError> {
        parse_url(self.past.as_ref().map_or(PAST, Url::as_str))
    }
}

/// Where the packages of a recipe are.
#[derive(Debug, Clone)]
pub(super) struct Mirrors {
    /// The archives, the release's own first.
    pub archives: Vec<MirroredArchive>,
    /// Debian's archive of the past.
    past: Option<Url>,
    /// The moment that the archives are of, where that is not now.
    pub as_of: Option<Moment>,
}

/// An archive, and where it may be.
#[derive(Debug, Clone)]
pub(super) struct MirroredArchive {
    /// What of it is used.
    pub archive: PackageArchive,
    /// Its mirrors, in the order of preference.
    pub mirrors: Vec<Mirror>,
}

impl Mirrors {
    /// Returns archives whose mirrors are known; what they do not have is nowhere.
    pub(super) fn new(archives: Vec<MirroredArchive>) -> Self {
        Self { archives, past: None, as_of: None }
    }

    /// Returns the mirrors of the archives that a recipe names. Those of Debian are the ones that the recipe names, else the
    /// host's, else Debian's own.
    ///
    /// # Errors
    /// When an address is not usable.
    pub(super) fn of(recipe: &Bootstrap, host: &HostApt) -> Result<Self, DebianError> {
        let (main, security) = choose(recipe.mirror.as_deref(), recipe.security_mirror.as_deref(), host)?;
        let archives = match recipe.archives.is_empty() {
            true => debian(&recipe.release).into(),
            false => recipe.archives.clone(),
        };
        let mirrored = |archive: PackageArchive| {
            let mirrors = match &archive.origin {
                None if archive.is_security() => security.clone(),
                None => vec![main.clone()],
                Some(origin) => {
                    vec![Mirror { url: parse_url(&origin.url)?, origin: "the init stage".to_owned() }]
                }
            };
            Ok(MirroredArchive { archive, mirrors })
        };
        Ok(Self::new(archives.into_iter().map(mirrored).collect::<Result<_, DebianError>>()?))
    }

    /// Returns where a release of Debian is: the host's mirrors, else Debian's own.
    ///
    /// # Errors
    /// When an address is not usable.
    pub(super) fn of_debian(release: &str, host: &HostApt) -> Result<Self, DebianError> {
        let (main, security) = choose(None, None, host)?;
        Ok(Self::on(release, main, security))
    }

    /// Returns where a release of Debian is, on these mirrors.
    pub(super) fn on(release: &str, main: Mirror, security: Vec<Mirror>) -> Self {
        let mirrored = |archive: PackageArchive| match archive.is_security() {
            true => MirroredArchive { archive, mirrors: security.clone() },
            false => MirroredArchive { archive, mirrors: vec![main.clone()] },
        };
        Self::new(debian(release).map(mirrored).into())
    }

    /// Has Debian's archive of the past asked for what no mirror of Debian has any more.
    ///
    /// # Errors
    /// When the user's mirror of it is not usable.
    pub(super) fn with_the_past(self, host: &HostApt) -> Result<Self, DebianError> {
        Ok(self.with_past(host.past()?))
    }

    /// Returns the archives as they were at a moment, in Debian's archive of the past.
    ///
    /// # Errors
    /// When an archive is not Debian's, so that nobody keeps its past, or the moment is before the first that is kept.
    pub(super) fn at_moment(self, moment: Moment, host: &HostApt) -> Result<Self, DebianError> {
        let past = host.past()?;
        if PAST_BEGINS.parse().is_ok_and(|begin: Moment| moment < begin) {
            let reason = "it begins on 2005-03-12".to_owned();
            return Err(DebianError::NotInThePast { moment, place: past.to_string(), reason });
        }
        let copy = |own: MirroredArchive| {
            let name = own.archive.name.clone();
            if own.archive.origin.is_some() {
                return Err(DebianError::WithoutPast { archive: name });
            }
            let text =
                format!("{}/{name}/{}", past.as_str().trim_end_matches('/'), date::stamp(moment.seconds()));
            let mirror = Mirror { url: parse_url(&text)?, origin: format!("--as-of {moment}") };
            Ok(MirroredArchive { mirrors: vec![mirror], ..own })
        };
        let archives = self.archives.into_iter().map(copy).collect::<Result<_, DebianError>>()?;
        Ok(Self { archives, past: None, as_of: Some(moment) })
    }

    /// Returns the moment at which what the archives say must hold.
    pub(super) fn now(&self) -> SystemTime {
        let past = |moment: Moment| SystemTime::UNIX_EPOCH + Duration::from_micros(moment.micros());
        self.as_of.map_or_else(SystemTime::now, past)
    }

    /// Has an archive of the past asked last.
    pub(super) fn with_past(self, past: Url) -> Self {
        Self { past: Some(past), ..self }
    }

    /// Returns where the file at `path` of an archive may be, in the order in which to ask.
    ///
    /// # Errors
    /// When there is no such archive.
    pub(super) fn addresses(&self, archive: &str, moment: u64, path: &str) -> Result<Vec<Url>, DebianError> {
        let Some(own) = self.archives.iter().find(|own| own.archive.name == archive) else {
            let names: Vec<&str> = self.archives.iter().map(|own| own.archive.name.as_str()).collect();
            let reason = format!("the init stage names the archives {}", names.join(", "));
            return Err(DebianError::BadMirror { mirror: archive.to_owned(), reason });
        };
        let past = self.past.as_ref().filter(|_| own.archive.origin.is_none()).map(|url| {
            let moment = date::stamp(moment.saturating_add(PAST_DELAY));
            let text = format!("{}/{archive}/{moment}/{path}", url.as_str().trim_end_matches('/'));
            parse_url(&text)
        });
        own.mirrors.iter().map(|mirror| mirror.join(path)).chain(past).collect()
    }
}

/// Returns Debian's archives of a release.
fn debian(release: &str) -> [PackageArchive; 2] {
    KNOWN.map(|name| {
        let archive = PackageArchive {
            name: name.to_owned(),
            suite: release.to_owned(),
            components: vec!["main".to_owned()],
            origin: None,
        };
        let suite = if archive.is_security() { format!("{release}-security") } else { release.to_owned() };
        PackageArchive { suite, ..archive }
    })
}

/// Returns the mirrors of Debian's main archive and, in the order of preference, of its security archive.
///
/// # Errors
/// When an address of the project's own is not usable.
fn choose(
    project: Option<&str>,
    project_security: Option<&str>,
    host: &HostApt,
) -> Result<(Mirror, Vec<Mirror>), DebianError> {
    let named = |url: &Url, origin: &str| Mirror { url: url.clone(), origin: origin.to_owned() };
    let fixed = |text: &str| parse_url(text).map(|url| named(&url, "pib's default"));
    let mut security = Vec::new();
    let main = match (project, &host.main) {
        (Some(text), _) => {
            let url = parse_url(text)?;
            // Most mirrors that carry the one carry the other beside it.
            if let Some(sibling) = text.trim_end_matches('/').strip_suffix("/debian") {
                let sibling = parse_url(&format!("{sibling}/debian-security"))?;
                security.push(named(&sibling, "beside the project's `mirror`"));
            }
            named(&url, "the project's `mirror`")
        }
        (None, Some(url)) => named(url, "this host's apt sources"),
        (None, None) => fixed(DEFAULT)?,
    };
    if let Some(text) = project_security {
        return Ok((main, vec![named(&parse_url(text)?, "the project's `security_mirror`")]));
    }
    security.extend(host.security.iter().map(|url| named(url, "this host's apt sources")));
    security.push(fixed(DEFAULT_SECURITY)?);
    let mut seen = Vec::new();
    security.retain(|mirror| {
        !seen.contains(&mirror.url) && {
            seen.push(mirror.url.clone());
            true
        }
    });
    Ok((main, security))
}

fn parse_url(text: &str) -> Result<Url, DebianError> {
    let fail = |reason: &str| DebianError::BadMirror { mirror: text.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(text.trim_end_matches('/')).map_err(|error| fail(&error.to_string()))?;
    match (url.scheme(), url.query(), url.fragment()) {
        ("http" | "https", None, None) => Ok(url),
        ("http" | "https", ..) => Err(fail("it has a query or fragment")),
        _ => Err(fail("it is neither http nor https")),
    }
}

/// One suite of one source of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    url: Url,
    suite: String,
    is_debian_signed: bool,
}

/// Reads the one-line format: `deb [options] uri suite component...`.
fn parse_list(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_ascii_whitespace();
        let (url, suite) = (parse_url(words.next()?).ok()?, words.next()?.to_owned());
        let is_debian_signed = options.contains("debian-archive-");
        words.any(|component| component == "main").then_some(Source { url, suite, is_debian_signed })
    };
    text.lines().filter_map(parse).collect()
}

/// Reads the deb822 format; a malformed file says nothing.
fn parse_sources(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for fields in deb822::paragraphs(text).unwrap_or_default() {
        let get = |name: &str| {
            let found = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.as_str())
        };
        let has = |name: &str, wanted: &str| get(name).split_ascii_whitespace().any(|word| word == wanted);
        if has("Enabled", "no") || !has("Types", "deb") || !has("Components", "main") {
            continue;
        }
        let is_debian_signed = get("Signed-By").contains("debian-archive-");
        for url in get("URIs").split_ascii_whitespace().filter_map(|text| parse_url(text).ok()) {
            for suite in get("Suites").split_ascii_whitespace() {
                sources.push(Source { url: url.clone(), suite: suite.to_owned(), is_debian_signed });
            }
        }
    }
    sources
}

/// Returns the address with the highest score above zero, the first among equals.
fn best(sources: &[Source], score: fn(&Source) -> u32) -> Option<Url> {
    let best = sources.iter().map(score).max().filter(|score| *score > 0)?;
    sources.iter().find(|source| score(source) == best).map(|source| source.url.clone())
}

/// Scores how likely a source is Debian's main archive; other vendors use Debian's suite names, too.
fn main_score(source: &Source) -> u32 {
    let is_companion = source.suite.ends_with("-updates") || source.suite.ends_with("-backports");
    let is_release = DEBIAN_SUITES.contains(&source.suite.split('-').next().unwrap_or_default());
    if is_vendor(source) || !is_release || is_security(source) {
        return 0;
    }
    let path = source.url.path().trim_end_matches('/');
    u32::from(is_debian_host(source)) * 4
        + u32::from(source.is_debian_signed) * 3
        + u32::from(is_companion && path.ends_with("/debian")) * 2
        + u32::from(path == "/debian")
}

/// Scores how likely a source is Debian's security archive.
fn security_score(source: &Source) -> u32 {
    if is_vendor(source) || !is_security(source) {
        return 0;
    }
    let path = source.url.path().trim_end_matches('/');
    u32::from(is_debian_host(source)) * 4
        + u32::from(source.is_debian_signed) * 3
        + u32::from(path.ends_with("/debian-security"))
}

/// The largest file of sources that is read.
const MAX_SOURCES: u64 = 1 << 20;

const DEBIAN_SUITES: [&str; 11] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

fn is_security(source: &Source) -> bool {
    source.suite.ends_with("-security") || source.suite.ends_with("/updates")
}

fn is_debian_host(source: &Source) -> bool {
    source.url.host_str().is_some_and(|host| host == "debian.org" || host.ends_with(".debian.org"))
}

/// Returns whether the address belongs to a derivative that keeps Debian's suite names.
fn is_vendor(source: &Source) -> bool {
    ["ubuntu", "raspbian", "raspberrypi", "kali", "devuan"]
        .iter()
        .any(|name| source.url.as_str().contains(name))
}

/// Reads the two settings about dates; the last one of each wins, as in apt.
fn parse_dates(text: &str, dates: &mut DatePolicy) {
    for line in text.lines() {
        let mut words =
            line.split(|c: char| c.is_whitespace() || c == '"' || c == ';').filter(|w| !w.is_empty());
        let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
        let is_on = !matches!(value.to_ascii_lowercase().as_str(), "false" | "no" | "0" | "off" | "without");
        match key.to_ascii_lowercase().as_str() {
            "acquire::check-valid-until" => dates.check_valid_until = is_on,
            "acquire::check-date" => dates.check_date = is_on,
            _ => {}
        }
    }
}

/// Returns the text of `file` and of the files in `folder` with the extension, sorted by name as apt does.
fn texts(file: &Path, folder: &Path, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().unwrap_or_default() == extension).collect();
    paths.sort();
    std::iter::once(file.to_owned())
        .chain(paths)
        .filter_map(|path| pib_file::read_text(path, MAX_SOURCES).ok())
        .collect()
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
