//! How long a choice of versions takes in a large registry, made up so that it is the same on every machine.
//!
//! `cargo bench -p pib-plan --bench resolve` measures in memory. With `-- --write DIR` it writes the part of the registry
//! that the request can reach instead, as a registry and project of pib's and as the same crates for cargo, so that
//! both programs can be measured on the same graph.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks to the person who runs it")]
#![allow(missing_docs, reason = "a benchmark has no users")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pib_plan::id::{Arch, Digest, StageName};
use pib_plan::index::{Candidate, IndexEntry, MemoryIndex, Offer, SourceId, shard_path, write_index_file};
use pib_plan::resolve::{Facts, ResolveRequest, Root, Update, resolve};
use semver::{Version, VersionReq};

const STAGES: u64 = 50_000;
const VERSIONS: u64 = 20;
/// The stages that others need; the rest need some of these.
const CORE: u64 = 1_000;
/// What the project asks for.
const ROOTS: u64 = 300;
/// How many of a hundred requirements have an upper bound, so that the newest versions do not go together.
const BOUNDED: [u64; 3] = [0, 2, 10];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.as_slice() {
        [flag, folder] if flag == "--write" => write(Path::new(folder)),
        _ => BOUNDED.into_iter().for_each(measure),
    }
}

fn measure(bounded: u64) {
    let since = Instant::now();
    let index = index(bounded);
    let made = since.elapsed();
    let request = request();
    let mut times = Vec::new();
    let mut chosen = 0;
    for _ in 0..21 {
        let since = Instant::now();
        chosen = resolve(&request, &index).unwrap().stages.len();
        times.push(since.elapsed());
    }
    times.sort();
    println!(
        "resolve {ROOTS} of {STAGES} stages x {VERSIONS}, {bounded:>2} % bounded {:>8.1} ms   ({:.1} to {:.1}; {chosen} stages \
         chosen; the registry was made in {:.1} s)",
        millis(times[10]),
        millis(times[0]),
        millis(times[20]),
        made.as_secs_f64()
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Returns a number that looks random and is always the same (splitmix64).
fn mixed(seed: u64, use_: u64) -> u64 {
    let mut z =
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(use_.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn name(stage: u64) -> StageName {
    format!("s{stage:05}").parse().unwrap()
}

/// Returns what a version needs: which stages depends on the stage, which versions of them on the version too.
///
/// The version 1.6 of everything goes together, so that there always is a solution.
fn needs(stage: u64, version: u64, bounded: u64) -> BTreeMap<u64, String> {
    let below = if stage >= CORE { CORE } else { stage / 2 };
    let mut needs = BTreeMap::new();
    for number in 0..mixed(stage, 1) % 4 {
        if below == 0 {
            break;
        }
        let needed = mixed(stage, 10 + number) % below;
        let of_version = |use_: u64| mixed(stage * 64 + version, use_ + number);
        let low = of_version(100) % 6;
        let requirement = match of_version(300) % 100 < bounded {
            true => format!(">=1.{low}, <1.{}", 8 + of_version(200) % 10),
            false => format!("^1.{low}"),
        };
        needs.insert(needed, requirement);
    }
    needs
}

fn roots() -> impl Iterator<Item = u64> {
    (0..ROOTS).map(|number| CORE + number * ((STAGES - CORE) / ROOTS))
}

fn entry(stage: u64, version: u64, bounded: u64, template: &IndexEntry) -> IndexEntry {
    let deps = needs(stage, version, bounded);
    let deps = deps.into_iter().map(|(needed, text)| (name(needed), text.parse::<VersionReq>().unwrap()));
    IndexEntry {
        name: name(stage),
        vers: Version::new(1, version, 0),
        deps: deps.collect(),
        ..template.clone()
    }
}

fn template() -> IndexEntry {
    let digest = Digest::of(b"synthetic").to_string();
    let json = format!(r#"{{"name":"x","vers":"1.0.0","cksum":"{digest}","content":"{digest}"}}"#);
    serde_json::from_str(&json).unwrap()
}

fn index(bounded: u64) -> MemoryIndex {
    let mut index = MemoryIndex::new();
    let (source, template) = (SourceId::bundled(), template());
    let candidate = |entry: IndexEntry| Candidate {
        version: entry.vers.clone(),
        source: SourceId::bundled(),
        offer: Offer::Entry(Arc::new(entry)),
    };
    for stage in 0..STAGES {
        let versions = (0..VERSIONS).map(|version| candidate(entry(stage, version, bounded, &template)));
        index.insert(name(stage), source.clone(), versions.collect::<Vec<_>>());
    }
    for of_every_build in ["__init__", "__cleanup__"] {
        let name: StageName = of_every_build.parse().unwrap();
        let entry = IndexEntry { name: name.clone(), ..template.clone() };
        index.insert(name, source.clone(), vec![candidate(entry)]);
    }
    index
}

fn request() -> ResolveRequest {
    let root = |stage| Root { name: name(stage), requirement: Some("^1".parse().unwrap()), source: None };
    ResolveRequest {
        roots: roots().map(root).collect(),
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

/// Returns every stage that some version of what is asked for leads to.
fn reachable(bounded: u64) -> BTreeSet<u64> {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<u64> = roots().collect();
    while let Some(stage) = pending.pop() {
        if reached.insert(stage) {
            pending.extend((0..VERSIONS).flat_map(|version| needs(stage, version, bounded).into_keys()));
        }
    }
    reached
}

/// Writes the reachable part of the registry with the most bounds, for pib and for cargo.
fn write(folder: &Path) {
    let bounded = BOUNDED[1];
    let template = template();
    let stages = reachable(bounded);
    let put = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put(folder.join("registry/config.json"), "{\"v\":1}\n");
    for stage in &stages {
        let entries: Vec<_> =
            (0..VERSIONS).map(|version| entry(*stage, version, bounded, &template)).collect();
        let path = shard_path(&name(*stage));
        put(folder.join("registry").join(&path), &write_index_file(&entries).unwrap());
        let lines: String = entries.iter().map(crate_line).collect();
        put(folder.join("crates/index").join(&path), &lines);
    }
    let folder = fs::canonicalize(folder).unwrap();
    put(folder.join("pib/pib.toml"), &project(&folder));
    let dependencies: String = roots().map(|stage| format!("{} = \"1\"\n", name(stage))).collect();
    let manifest = format!(
        "[package]\nname = \"synthetic\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[dependencies]\n{dependencies}\n[workspace]\n"
    );
    put(folder.join("cargo/Cargo.toml"), &manifest);
    put(folder.join("cargo/src/lib.rs"), "");
    let config = format!(
        "[source.crates-io]\nreplace-with = \"synthetic\"\n\n[source.synthetic]\nlocal-registry = \"{}\"\n",
        folder.join("crates").display()
    );
    put(folder.join("cargo/.cargo/config.toml"), &config);
    println!("{} stages x {VERSIONS} can be reached, {bounded} % of the requirements bounded", stages.len());
}

/// Returns a project that asks for the roots.
fn project(folder: &Path) -> String {
    let mut text = String::from(
        "[project]\nname = \"synthetic\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n[stages]\n",
    );
    text.extend(
        roots().map(|stage| format!("{} = {{ version = \"1\", registry = \"synthetic\" }}\n", name(stage))),
    );
    let _ =
        write!(text, "\n[registries.synthetic]\nindex = \"file://{}/\"\n", folder.join("registry").display());
    text
}

/// Returns the version as cargo's index has it.
fn crate_line(entry: &IndexEntry) -> String {
    let dependency = |(name, requirement): (&StageName, &VersionReq)| {
        format!(
            r#"{{"name":"{name}","req":"{requirement}","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"}}"#
        )
    };
    let dependencies: Vec<String> = entry.deps.iter().map(dependency).collect();
    format!(
        "{{\"name\":\"{}\",\"vers\":\"{}\",\"deps\":[{}],\"cksum\":\"{}\",\"features\":{{}},\"yanked\":false}}\n",
        entry.name,
        entry.vers,
        dependencies.join(","),
        entry.cksum.unwrap().hex()
    )
}
