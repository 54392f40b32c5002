use miette::Diagnostic;
use proptest::prelude::*;
use semver::Version;

use super::*;
use crate::id::{Arch, Digest};
use crate::index::{GitReference, GitSource, HookRef, SourceId};
use crate::moment::Moment;
use crate::registry_snapshot::RegistryKey;
use crate::resolve::{Facts, Root, Update};
use crate::signed_tarball::LockedTarball;
use crate::snapshot::{ArchiveSnapshot, BaseSnapshot, SnapshotPackage};

fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

const SMALL: &str = r#"# This file is written by pib; it says exactly what the build consists of. Keep it in version control.
# To change it, edit pib.toml and run `pib lock`, or run `pib update`.
version = 1

[[base]]
arch = "arm64"
os = "debian"
release = "trixie"
recipe = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
epoch = 1700000000

[[stage]]
name = "__cleanup__"
version = "1.0.0"
source = "bundled"

[[stage]]
name = "__init__"
version = "1.0.0"
source = "bundled"

[[stage]]
name = "os"
version = "1.0.0"
source = "bundled"
checksum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

[[stage]]
name = "ro"
version = "0.0.0"
source = "path+../ro"
hook = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
hook-world = "pib:stage@0.1.0"
dependencies = [
    "os",
]
"#;

fn small() -> Lockfile {
    Lockfile::parse(FILE_NAME, SMALL).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the message, the text that is marked, and the help.
fn failure(text: &str) -> (String, String, String) {
    let error = Lockfile::parse(FILE_NAME, text).unwrap_err();
    let marked = error.span().map(|span| text[span].to_owned()).unwrap_or_default();
    (error.to_string(), marked, error.help().unwrap().to_string())
}

#[test]
fn the_text_is_the_documented_one() {
    assert_eq!(small().to_text(), SMALL);
    assert_eq!(Lockfile::parse(FILE_NAME, &SMALL.replace('\n', "\r\n")).unwrap(), small());
}

#[test]
fn a_newer_lock_is_refused_before_its_rest_is_read() {
    let (message, marked, help) = failure("version = 2\n[[stage]]\nname = 'A NEW FORM'\n");
    assert_eq!(message, "`pib.lock` was written by a newer pib: it has version 2, this pib reads up to 1");
    assert_eq!(marked, "2");
    assert!(help.starts_with("Update pib."), "{help}");
    assert!(failure("version = 0\n").0.contains("there never was"));
    assert!(failure("").0.contains("does not say its `version`"));
    assert_eq!(
        failure("version = 'one'\n").0,
        "`pib.lock` has the text \"one\" where a whole number is expected"
    );
}

#[test]
fn a_merge_conflict_is_recognised() {
    let text = SMALL.replace(
        "name = \"os\"\n",
        "name = \"os\"\n<<<<<<< HEAD\nversion = \"1.0.0\"\n=======\nversion = \"2.0.0\"\n>>>>>>> other\n",
    );
    let (message, marked, help) = failure(&text);
    assert_eq!(message, "`pib.lock` holds a merge conflict");
    assert_eq!(marked, "<<<<<<< HEAD");
    assert!(help.contains("pib lock"), "{help}");
}

#[test]
fn mistakes_are_shown_at_their_place() {
    let (message, marked, _) =
        failure(&SMALL.replace("source = \"bundled\"\nchecksum", "source = \"https://x\"\nchecksum"));
    assert!(message.contains("`https://x` is not a source"), "{message}");
    assert_eq!(marked, "\"https://x\"");
    let (message, marked, _) = failure(&SMALL.replace("    \"os\",", "    \"oss\","));
    assert_eq!(message, "stage `ro` in `pib.lock` depends on `oss`, which the file does not have");
    assert_eq!(marked, "\"oss\"");
    let (message, marked, _) = failure(&SMALL.replace("name = \"ro\"", "name = \"os\""));
    assert_eq!((message.as_str(), marked.as_str()), ("`pib.lock` has stage `os` twice", "\"os\""));
    let (message, ..) = failure(&SMALL.replace("hook-world = \"pib:stage@0.1.0\"\n", ""));
    assert!(message.contains("only one of"), "{message}");
    let (message, marked, _) = failure(&SMALL.replace("hook-world", "hook-word"));
    assert!(message.contains("unknown field `hook-word`"), "{message}");
    assert_eq!(marked, "hook-word");
    let base = &SMALL[SMALL.find("[[base]]").unwrap()..SMALL.find("[[stage]]").unwrap()];
    assert!(
        failure(&SMALL.replace(base, &base.repeat(2))).0.contains("two bases for debian trixie on arm64")
    );
    assert!(failure(&"#".repeat((16 << 20) + 1)).0.contains("larger than"));
    for cut in 0..SMALL.len() {
        // A file that was cut anywhere is read or refused, and never makes the reader panic.
        let _ = Lockfile::parse(FILE_NAME, &SMALL[..cut]);
    }
}

fn request(roots: &[&str]) -> ResolveRequest {
    let root = |text: &&str| {
        let (stage, requirement) = text.split_once(' ').unwrap();
        Root { name: name(stage), requirement: Some(requirement.parse().unwrap()), source: None }
    };
    ResolveRequest {
        roots: roots.iter().map(root).collect(),
        patches: [(name("ro"), SourceId::path("../ro").unwrap())].into(),
        default_source: SourceId::bundled(),
        further_sources: Vec::new(),
        facts: Facts {
            os: "debian".into(),
            arch: Arch::Arm64,
            board: "rpi4".into(),
            pib: Version::new(0, 1, 0),
        },
        locked: Vec::new(),
        update: Update::None,
    }
}

#[test]
fn it_tells_what_the_lock_does_not_meet() {
    let unmet = |request: &ResolveRequest| -> Vec<String> {
        small().unmet(request).iter().map(ToString::to_string).collect()
    };
    assert_eq!(unmet(&request(&["ro *"])), Vec::<String>::new());
    assert_eq!(unmet(&request(&["os ^1"])), ["`ro` is locked, but nothing needs it"]);
    let mut other = request(&["ro *", "os ^2", "watchdog *"]);
    other.patches.clear();
    assert_eq!(
        unmet(&other),
        [
            "`os` ^2 is asked for, but 1.0.0 is locked",
            "`watchdog` is asked for, but not locked",
            "`ro` is to come from bundled, but is locked from path+../ro",
        ]
    );
}

#[test]
fn a_git_source_is_met_by_its_commit() {
    let git = GitSource::new("https://example.org/ro", GitReference::Branch("main".into()), None).unwrap();
    let mut lock = small();
    lock.stages[3].source = git.clone().at_commit(&"a".repeat(40)).unwrap().into();
    let mut request = request(&["ro *"]);
    request.patches.insert(name("ro"), git.into());
    assert_eq!(lock.unmet(&request), []);
}

#[test]
fn a_diff_reads_as_sentences() {
    let (old, mut new) = (small(), small());
    assert!(old.diff(&new).is_empty());
    new.stages[2].version = Version::new(1, 1, 0);
    new.stages[3].source = SourceId::bundled();
    new.stages[0].content = Some(Digest::of(b"other"));
    new.stages.remove(1);
    new.stages.push(LockedStage { name: name("watchdog"), ..old.stages[2].clone() });
    let made = Some(MadeBase { digest: Digest::of(b"base"), epoch: 1_700_000_000 });
    new.set_base(LockedBase { made, ..old.bases[0].clone() });
    new.snapshot = Some(Moment::from_micros(1_795_252_544_000_000));
    new.fetch = Some(Digest::of(b"fetch"));
    let expected = format!(
        "changes the content of `__cleanup__`\nremoves `__init__` 1.0.0\nupdates `os` 1.0.0 -> 1.1.0\n\
         moves `ro` from path+../ro to bundled\nadds `watchdog` 1.0.0\n\
         changes the base of debian trixie for arm64 from {} to {}\ntakes the packages of 2026-11-21T09:15:44Z\n\
         changes the recorded downloads",
        Digest::of(b""),
        Digest::of(b"base")
    );
    assert_eq!(old.diff(&new).to_string(), expected);
    assert!(new.diff(&old).to_string().contains("downgrades `os` 1.1.0 -> 1.0.0"));
    assert_eq!(new.bases.len(), 1);
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn any_snapshot() -> impl Strategy<Value = BaseSnapshot> {
    let package = ("[0-9][A-Za-z0-9.+:~-]{0,9}", "[a-z]{2,5}", "[a-z]/[a-z0-9._~%:+-]{1,9}x");
    let package = (package, 1..1_u64 << 30, any_digest(), any::<bool>());
    let packages = proptest::collection::btree_map("[a-z][a-z0-9+.-]{0,6}", package, 1..5);
    (packages, 0..5_usize, 0..1_u64 << 40).prop_map(|(packages, essential, moment)| BaseSnapshot {
        archives: vec![ArchiveSnapshot {
            name: "debian".to_owned(),
            moment,
            key: "0AF9".to_owned(),
            keyring: (moment % 2 == 0).then(|| ArchiveSnapshot::keyring_text(&moment.to_le_bytes())),
        }],
        packages: packages
            .into_iter()
            .enumerate()
            .map(|(number, (name, ((version, arch, path), size, digest, automatic)))| SnapshotPackage {
                name,
                version,
                arch,
                archive: "debian".to_owned(),
                path,
                size,
                digest,
                essential: number < essential,
                automatic,
            })
            .collect(),
    })
}

/// Some bases are signed tarballs.
fn arch_tarball(number: usize, digest: Digest) -> Option<LockedTarball> {
    let key = "68B3537F39A313B3E574D06777193F152BDBE6A6".to_owned();
    (number == 1).then_some(LockedTarball { digest, moment: 7, key })
}

fn any_source() -> impl Strategy<Value = SourceId> {
    prop_oneof![
        Just(SourceId::bundled()),
        "[!-~]{1,12}[a-z]".prop_map(|url| SourceId::registry(&url).unwrap()),
        "\\PC{1,12}".prop_map(|path| SourceId::path(&path).unwrap()),
        "\\PC{1,8}".prop_map(|tag| GitSource::new("u", GitReference::Tag(tag), None).unwrap().into()),
    ]
}

fn any_lock() -> impl Strategy<Value = Lockfile> {
    use proptest::option::of;
    let digests = (of(any_digest()), any_digest());
    let kind = ("[a-z]{1,4}", "\\PC{0,6}", of("(?s).{0,12}"));
    let base = (0..3_usize, kind, digests, of(0..1_u64 << 40), of(any_snapshot())).prop_map(
        |(arch, (os, release, source), (recipe, digest), epoch, snapshot)| {
            // What is decided and not made yet is told by what it is made of, or where it comes from.
            let is_decided = recipe.is_some() && (source.is_some() || snapshot.is_some());
            let epoch = epoch.or((!is_decided).then_some(7));
            let made = epoch.map(|epoch| MadeBase { digest, epoch });
            let tarball = arch_tarball(arch, digest);
            LockedBase { arch: Arch::ALL[arch], os, release, recipe, made, source, snapshot, tarball }
        },
    );
    let source = any_source();
    let version = (0..9_u64, 0..9_u64, any::<bool>()).prop_map(|(major, minor, is_pre)| {
        format!("{major}.{minor}.0{}", if is_pre { "-rc.1+b" } else { "" }).parse::<Version>().unwrap()
    });
    let hook = (any_digest(), "\\PC{0,12}").prop_map(|(digest, world)| HookRef { digest, world });
    let stage =
        (version, source, of(any_digest()), of(any_digest()), of(hook), any::<proptest::sample::Selector>());
    let stages = proptest::collection::btree_map("[a-z][a-z0-9-]{0,6}", stage, 0..6);
    let recorded = (of(0..1_u64 << 36), of(any_digest()), of(0..1_u64 << 50), any::<bool>());
    (recorded, proptest::collection::vec(base, 0..4), stages).prop_map(
        |((snapshot, fetch, as_of, refuses_losses), bases, stages)| {
            let names: Vec<StageName> = stages.keys().map(|text| name(text)).collect();
            let stage = |(own, (version, source, checksum, content, hook, selector)): (
                String,
                (_, _, _, Option<Digest>, _, proptest::sample::Selector),
            )| {
                let dependencies = selector.try_select(&names).cloned().into_iter().collect();
                let publisher = content.map(|content: Digest| RegistryKey(*content.as_bytes()));
                LockedStage {
                    name: name(&own),
                    version,
                    source,
                    checksum,
                    content,
                    publisher,
                    hook,
                    dependencies,
                }
            };
            let mut lock = Lockfile {
                snapshot: snapshot.map(Moment::from_micros),
                fetch,
                as_of: as_of.map(Moment::from_micros),
                refuses_losses,
                bases: Vec::new(),
                stages: stages.into_iter().map(stage).collect(),
                targets: BTreeMap::new(),
            };
            for base in bases {
                lock.set_base(base);
            }
            lock
        },
    )
}

proptest! {
    #[test]
    fn every_lock_round_trips(lock in any_lock(), seed in any::<proptest::sample::Index>()) {
        let text = lock.to_text();
        prop_assert_eq!(Lockfile::parse(FILE_NAME, &text).map_err(|error| error.to_string()), Ok(lock.clone()));
        prop_assert!(!text.contains('\r'));
        let mut turned = lock.clone();
        if !turned.stages.is_empty() {
            let by = seed.index(turned.stages.len());
            turned.stages.rotate_left(by);
        }
        turned.bases.reverse();
        prop_assert_eq!(turned.to_text(), text, "the text depends on the order in memory");
        prop_assert!(lock.diff(&lock).is_empty());
        let mut unmade = lock.clone();
        for base in &mut unmade.bases {
            let is_decided = base.recipe.is_some() && (base.source.is_some() || base.snapshot.is_some());
            base.made = base.made.filter(|_| !is_decided);
        }
        unmade.sort();
        prop_assert!(unmade.is_completed_by(&lock));
        prop_assert_eq!(lock.is_completed_by(&unmade), lock == unmade);
    }
}

#[test]
fn packages_of_a_base_that_could_mean_more_are_refused() {
    let lines = "archives = [\n    { name = \"debian\", moment = 7, key = \"0A\" },\n]\npackages = [\n    \
                 { name = \"apt\", version = \"1\", arch = \"all\", archive = \"debian\", path = \"pool/a.deb\", \
                 size = 1, digest = \"sha256:5b9a010e6730e4019e90fcb81c92ad59f061955890d691b7d111637d3f8d3dab\" },\n]\n";
    let at = SMALL[..SMALL.find("[[stage]]").unwrap()].trim_end().len();
    let with = |lines: &str| format!("{}\n{lines}{}", &SMALL[..at], &SMALL[at..]);
    let lock = Lockfile::parse(FILE_NAME, &with(lines)).unwrap();
    assert_eq!(lock.bases[0].snapshot.as_ref().unwrap().packages[0].name, "apt");
    assert_eq!(Lockfile::parse(FILE_NAME, &lock.to_text()).unwrap(), lock);
    let (archives, packages) = lines.split_at(lines.find("packages").unwrap());
    for wrong in [
        archives,
        packages,
        &lines.replace("\"apt\"", "\"apt; reboot\""),
        &lines.replace("pool/", "../"),
        &lines.replace("moment = 7", "moment = 7, more = 1"),
    ] {
        let (message, ..) = failure(&with(wrong));
        assert!(
            message.starts_with("`pib.lock`: the base's packages") || message.contains("could not read"),
            "{message}"
        );
    }
    let (message, ..) = failure(&with(&lines.replace("size = 1", "size = -1")));
    assert!(message.contains("number `-1` where a whole number"), "{message}");
}

#[test]
fn a_base_that_is_not_made_yet_says_what_decides_it() {
    let without = |lines: &[&str], more: &str| {
        let mut text = SMALL.to_owned();
        for line in lines {
            let start = text.find(&format!("\n{line} = ")).unwrap() + 1;
            let end = start + text[start..].find('\n').unwrap() + 1;
            text.replace_range(start..end, more);
        }
        text
    };
    let decided = without(&["digest", "epoch"], "").replace("[[base]]\n", "[[base]]\nsource = \"x\"\n");
    let lock = Lockfile::parse(FILE_NAME, &decided).unwrap();
    assert_eq!((lock.bases[0].made, lock.bases[0].digest()), (None, None));
    assert_eq!(Lockfile::parse(FILE_NAME, &lock.to_text()).unwrap(), lock);
    for (text, says) in [
        (without(&["epoch"], ""), "has only one of `digest` and `epoch`"),
        (without(&["digest"], ""), "has only one of `digest` and `epoch`"),
        (without(&["digest", "epoch"], ""), "has neither `digest` nor what it is made of"),
        (decided.replace("recipe = ", "# "), "has neither `digest` nor what it is made of"),
    ] {
        let (message, marked, _) = failure(&text);
        assert!(message.starts_with("`pib.lock`: the base ") && message.ends_with(says), "{message}");
        assert!(marked.starts_with("[[base]]"), "{marked}");
    }
}

fn of_packages(versions: &[(&str, &str)]) -> Lockfile {
    let package = |(name, version): &(&str, &str)| SnapshotPackage {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        arch: "arm64".to_owned(),
        archive: "debian".to_owned(),
        path: "pool/x.deb".to_owned(),
        size: 1,
        digest: Digest::of(version.as_bytes()),
        essential: false,
        automatic: false,
    };
    let archive =
        ArchiveSnapshot { name: "debian".to_owned(), moment: 7, key: "0A".to_owned(), keyring: None };
    let packages = versions.iter().map(package).collect();
    let mut lock = small();
    lock.bases[0].snapshot = Some(BaseSnapshot { archives: vec![archive], packages });
    lock.bases[0].made = None;
    lock
}

#[test]
fn a_lock_is_completed_by_what_its_packages_make_and_by_nothing_else() {
    let old = of_packages(&[("a", "1"), ("b", "1")]);
    let made = |lock: &Lockfile| {
        let mut lock = lock.clone();
        lock.bases[0].made = small().bases[0].made;
        lock
    };
    assert!(
        old.is_completed_by(&old) && old.is_completed_by(&made(&old)) && !made(&old).is_completed_by(&old)
    );
    assert!(!old.is_completed_by(&made(&of_packages(&[("a", "1"), ("b", "2")]))));
    let mut other = made(&old);
    other.stages.pop();
    assert!(!old.is_completed_by(&other));
    let mut other = made(&old);
    other.bases[0].made = Some(MadeBase { digest: Digest::of(b"x"), epoch: 9 });
    assert!(!made(&old).is_completed_by(&other), "a base that is made stays what it is");
}

#[test]
fn a_diff_tells_what_of_a_base_changes() {
    let change = |old: &Lockfile, new: &Lockfile| old.diff(new).to_string();
    let old = of_packages(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let none = Lockfile { bases: Vec::new(), ..old.clone() };
    assert_eq!(change(&none, &old), "adds the base of debian trixie for arm64, 3 packages");
    assert_eq!(change(&old, &none), "removes the base of debian trixie for arm64, 3 packages");
    let new = of_packages(&[("a", "1"), ("b", "2"), ("d", "1")]);
    assert_eq!(change(&old, &new), "changes 3 of the packages of the base of debian trixie for arm64");
    let mut made = old.clone();
    made.bases[0].made = small().bases[0].made;
    let digest = Digest::of(b"");
    assert_eq!(
        change(&old, &made),
        format!("adds the digest of the base of debian trixie for arm64, {digest}")
    );
    let mut file = none.clone();
    file.bases =
        vec![LockedBase { snapshot: None, source: Some("http://x/y".to_owned()), ..old.bases[0].clone() }];
    assert_eq!(change(&none, &file), "adds the base of debian trixie for arm64, http://x/y");
}
