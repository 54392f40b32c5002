//! Small registries written as text, and what comes of them.

mod against_brute_force;
mod bounds;
mod failures;

use super::*;
use crate::id::Arch;
use crate::index::{Candidate, GitReference, GitSource, IndexFile, MemoryIndex, Offer};
use crate::metadata::Support;

pub(super) fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

pub(super) fn req(text: &str) -> VersionReq {
    text.parse().unwrap()
}

/// Reads "watchdog 1.0.0: os ^1, net *; !softdog <2; yanked; arch armv7; os arch; board rpi3; pib >=2".
pub(super) fn entry(line: &str) -> IndexEntry {
    let (head, rest) = line.split_once(':').unwrap_or((line, ""));
    let (stage, version) = head.trim().split_once(' ').unwrap();
    let mut json = serde_json::json!({ "name": stage, "vers": version });
    let mut entry: IndexEntry = serde_json::from_value(json.take()).unwrap();
    for part in rest.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()) {
        let (word, text) = part.split_once(' ').unwrap_or((part, ""));
        let texts = || Some(text.split('|').map(str::to_owned).collect());
        match word {
            "yanked" => entry.yanked = true,
            "pib" => entry.pib = Some(req(text)),
            "arch" => entry.support.arch = Some(text.split('|').map(|arch| arch.parse().unwrap()).collect()),
            "for" => entry.support = Support { os: texts(), ..entry.support },
            "board" => entry.support = Support { boards: texts(), ..entry.support },
            _ => match word.strip_prefix('!') {
                Some(other) => drop(entry.conflicts.insert(name(other), req(text))),
                None => drop(entry.deps.insert(name(word), req(text))),
            },
        }
    }
    entry
}

pub(super) fn index(lines: &[&str]) -> MemoryIndex {
    let mut index = MemoryIndex::new();
    for line in ["__init__ 1.0.0", "__cleanup__ 1.0.0"].iter().chain(lines) {
        index.push(entry(line), SourceId::bundled());
    }
    index.close(SourceId::bundled());
    index
}

/// Reads "a ^1" or "a" (any version).
pub(super) fn root(text: &str) -> Root {
    let (stage, requirement) = match text.split_once(' ') {
        Some((stage, requirement)) => (stage, Some(req(requirement))),
        None => (text, None),
    };
    Root { name: name(stage), requirement, source: None }
}

pub(super) fn request(roots: &[&str]) -> ResolveRequest {
    ResolveRequest {
        roots: roots.iter().map(|text| root(text)).collect(),
        patches: BTreeMap::new(),
        default_source: SourceId::bundled(),
        further_sources: Vec::new(),
        facts: Facts {
            os: "debian".to_owned(),
            arch: Arch::Arm64,
            board: "rpi4".to_owned(),
            pib: Version::new(0, 1, 0),
        },
        locked: Vec::new(),
        update: Update::None,
    }
}

pub(super) fn locked(texts: &[&str]) -> Vec<LockedVersion> {
    let locked = |text: &&str| {
        let (stage, version) = text.split_once(' ').unwrap();
        LockedVersion { name: name(stage), version: version.parse().unwrap(), source: SourceId::bundled() }
    };
    texts.iter().map(locked).collect()
}

/// Returns "a 1.0.0, b 2.0.0", without the two stages of every build.
pub(super) fn chosen(request: &ResolveRequest, index: &MemoryIndex) -> String {
    let resolution = resolve(request, index).unwrap_or_else(|error| panic!("{error}"));
    let own = resolution.stages.iter().filter(|stage| !stage.name.as_str().starts_with('_'));
    own.map(|stage| format!("{} {}", stage.name, stage.version)).collect::<Vec<_>>().join(", ")
}

const SMALL: &[&str] = &[
    "os 1.0.0",
    "os 1.1.0",
    "os 2.0.0-beta.1",
    "watchdog 1.0.0: os ^1",
    "watchdog 1.1.0: os ^1.1; !softdog *",
    "watchdog 1.2.0: os ^1; yanked",
    "watchdog 2.0.0: os ^2",
    "softdog 1.0.0",
    "ro 1.0.0: os *",
];

#[test]
fn the_highest_that_fits_is_chosen() {
    assert_eq!(
        chosen(&request(&["watchdog ^1", "ro *"]), &index(SMALL)),
        "os 1.1.0, ro 1.0.0, watchdog 1.1.0"
    );
    assert_eq!(chosen(&request(&["watchdog *"]), &index(SMALL)), "os 1.1.0, watchdog 1.1.0");
}

#[test]
fn pre_releases_come_only_by_name() {
    assert_eq!(chosen(&request(&["os *"]), &index(SMALL)), "os 1.1.0");
    assert_eq!(chosen(&request(&["os 2.0.0-beta"]), &index(SMALL)), "os 2.0.0-beta.1");
    assert_eq!(chosen(&request(&["os"]), &index(SMALL)), "os 2.0.0-beta.1");
}

#[test]
fn a_conflict_picks_another_version() {
    let both = request(&["softdog *", "watchdog ^1"]);
    assert_eq!(chosen(&both, &index(SMALL)), "os 1.1.0, softdog 1.0.0, watchdog 1.0.0");
}

#[test]
fn the_lock_is_kept_until_told_otherwise() {
    let mut request = request(&["watchdog ^1", "ro *"]);
    request.locked = locked(&["watchdog 1.0.0", "os 1.0.0", "ro 1.0.0"]);
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.0.0, ro 1.0.0, watchdog 1.0.0");
    request.update = Update::Stages(vec![name("os")]);
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0, ro 1.0.0, watchdog 1.0.0");
    request.update = Update::Stages(vec![name("watchdog")]);
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0, ro 1.0.0, watchdog 1.1.0");
    request.update = Update::All;
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0, ro 1.0.0, watchdog 1.1.0");
}

#[test]
fn a_yanked_version_stays_locked_and_comes_by_precise_only() {
    let mut request = request(&["watchdog ^1"]);
    request.locked = locked(&["watchdog 1.2.0"]);
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0, watchdog 1.2.0");
    request.update = Update::All;
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0, watchdog 1.1.0");
    request.update = Update::Precise(name("watchdog"), Version::new(1, 2, 0));
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0, watchdog 1.2.0");
    request.update = Update::Precise(name("watchdog"), Version::new(1, 0, 0));
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0, watchdog 1.0.0");
}

#[test]
fn a_lock_from_elsewhere_is_no_preference() {
    let mut request = request(&["os *"]);
    request.locked = locked(&["os 1.0.0"]);
    request.locked[0].source = SourceId::registry("https://acme.example").unwrap();
    assert_eq!(chosen(&request, &index(SMALL)), "os 1.1.0");
}

#[test]
fn unsupported_and_too_new_versions_are_passed_over() {
    let index = index(&[
        "a 1.0.0",
        "a 1.1.0: arch armv7|armv6",
        "a 1.2.0: for arch",
        "a 1.3.0: board rpi3",
        "a 1.4.0: pib >=0.2",
        "a 1.0.1: arch arm64; for debian; board rpi4; pib >=0.1",
    ]);
    assert_eq!(chosen(&request(&["a *"]), &index), "a 1.0.1");
}

#[test]
fn a_development_build_of_pib_counts_as_its_release() {
    let mut request = request(&["a *"]);
    request.facts.pib = "0.2.0-dev".parse().unwrap();
    assert_eq!(chosen(&request, &index(&["a 1.0.0", "a 1.1.0: pib >=0.2"])), "a 1.1.0");
}

#[test]
fn a_patch_replaces_a_stage_for_all_and_a_source_of_the_project_too() {
    let mut index = index(SMALL);
    let folder = SourceId::path("../ro").unwrap();
    index.push(entry("ro 1.5.0-dev"), folder.clone());
    let git = GitSource::new("https://example.org/os", GitReference::Tag("v1".into()), None).unwrap();
    let fixed = SourceId::from(git.clone().at_commit(&"a".repeat(40)).unwrap());
    let candidate = Candidate {
        version: Version::new(1, 9, 0),
        source: fixed.clone(),
        offer: Offer::Entry(entry("os 1.9.0").into()),
    };
    index.insert(name("os"), git.clone().into(), [candidate]);
    let mut request = request(&["watchdog ^1", "os", "ro"]);
    request.roots[1].source = Some(git.into());
    request.patches.insert(name("ro"), folder.clone());
    let resolution = resolve(&request, &index).unwrap();
    assert_eq!(resolution.get(&name("ro")).unwrap().source, folder);
    let os = resolution.get(&name("os")).unwrap();
    assert_eq!((os.version.to_string().as_str(), &os.source), ("1.9.0", &fixed));
    let by: Vec<_> = os.requested_by.iter().map(|request| request.by.clone()).collect();
    assert_eq!(by, [Requester::Project, Requester::Stage(name("watchdog"))]);
    let init = resolution.get(&name("__init__")).unwrap();
    assert_eq!(init.requested_by[0].by, Requester::EveryBuild);
}

#[test]
fn what_the_default_source_does_not_have_is_looked_for_further() {
    let acme = SourceId::registry("https://acme.example").unwrap();
    let mut index = index(SMALL);
    index.close(acme.clone());
    for line in ["camera 1.0.0: sensor ^1, os ^1", "sensor 1.2.0", "os 1.9.0"] {
        index.push(entry(line), acme.clone());
    }
    let mut request = request(&["camera *"]);
    request.further_sources = vec![acme.clone()];
    assert_eq!(chosen(&request, &index), "camera 1.0.0, os 1.1.0, sensor 1.2.0");
    let resolution = resolve(&request, &index).unwrap();
    let source = |stage: &str| resolution.get(&name(stage)).unwrap().source.clone();
    assert_eq!(
        (source("sensor"), source("os")),
        (acme.clone(), SourceId::bundled()),
        "the default one counts first"
    );
    let (fetched, asked) = fetched(&request, &index);
    assert_eq!(resolve(&request, &fetched), Ok(resolution));
    let of_acme: Vec<_> =
        asked.iter().filter(|(_, source)| *source == acme).map(|(name, _)| name.as_str()).collect();
    assert_eq!(of_acme, ["camera", "sensor"], "what the default source has is nobody else's business");
}

#[test]
fn cancelling_stops_it() {
    let result = resolve_unless(&request(&["os *"]), &index(SMALL), &|| true);
    assert_eq!(result, Err(ResolveError::Cancelled));
}

/// Returns an index of all that `prefetch` asks of another, and the questions.
fn fetched(request: &ResolveRequest, full: &MemoryIndex) -> (MemoryIndex, Vec<(StageName, SourceId)>) {
    let mut fetched = MemoryIndex::new();
    let mut prefetch = Prefetch::new(request);
    let mut asked = Vec::new();
    loop {
        let wanted = prefetch.take();
        if wanted.is_empty() {
            return (fetched, asked);
        }
        for (name, source) in wanted {
            let versions = full.versions(&name, &source).unwrap();
            let file = IndexFile { versions: versions.to_vec(), skipped: Vec::new(), bytes: 0 };
            prefetch.answer(&name, &source, &file).unwrap();
            asked.push((name.clone(), source.clone()));
            fetched.insert(name, source, versions);
        }
    }
}

#[test]
fn prefetching_suffices() {
    let full = index(SMALL);
    let request = request(&["watchdog ^1"]);
    let (fetched, asked) = fetched(&request, &full);
    let names: Vec<_> = asked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["__cleanup__", "__init__", "watchdog", "os"], "a conflict is no reason to fetch");
    assert_eq!(resolve(&request, &fetched), resolve(&request, &full));
}
