//! The rules of the house: who may import whom, who may print, and what may be called how.
//!
//! Where the tree does not meet a rule yet, a list in `known.rs` says so. The lists only shrink: an entry that is not
//! needed any more fails its test.

mod code;
mod dependencies;
mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use code::{Graph, Module};

/// The crates, each by its root file; a crate may use those that come after it in the first part of the list.
const CRATES: [(&str, &str); 14] = [
    ("pib", "host/pib/src/lib.rs"),
    ("pib-debian", "host/debian/src/lib.rs"),
    ("pib-disk", "host/disk/src/lib.rs"),
    ("pib-buildkit", "host/buildkit/src/lib.rs"),
    ("pib-recorder", "host/recorder/src/lib.rs"),
    ("pib-objects", "host/objects/src/lib.rs"),
    ("pib-net", "host/net/src/lib.rs"),
    ("pib-event", "host/event/src/lib.rs"),
    ("pib-file", "host/file/src/lib.rs"),
    ("pib-plan", "host/plan/src/lib.rs"),
    ("pib-plugin-sdk", "plugin-sdk/src/lib.rs"),
    ("pib-dist", "host/dist/src/lib.rs"),
    ("pib-native", "host/native/src/main.rs"),
    ("xtask", "host/xtask/src/main.rs"),
];

/// The folders of the crate `pib`, in layers: each may use what is in layers below its own.
const LAYERS: [&[&str]; 6] = [
    &["cli"],
    &["ops"],
    &["pipeline", "author"],
    &["project"],
    &["source", "hooks", "engine", "bases", "inspection", "emulator", "ui"],
    &["child"],
];

fn root() -> PathBuf {
    crate::world::root()
}

fn modules(file: &str) -> Vec<Module> {
    code::modules(&root().join(file))
}

/// Returns the path of a file below the root.
fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

/// Returns the folder of the crate `pib` that a file is in, and the number of its layer.
fn layer(file: &str) -> Option<(usize, &str)> {
    let folder = file.strip_prefix("host/pib/src/")?.split('/').next()?.trim_end_matches(".rs");
    Some((LAYERS.iter().position(|layer| layer.contains(&folder))?, folder))
}

#[test]
fn imports_point_down_the_layers() {
    let modules = modules(CRATES[0].1);
    let mut folders = BTreeSet::new();
    for module in modules.iter().filter(|module| module.path.len() == 1) {
        folders.insert(module.path[0].as_str());
        assert!(
            LAYERS.iter().any(|layer| layer.contains(&&*module.path[0])),
            "{:?} has no layer",
            module.path
        );
    }
    assert_eq!(folders.len(), LAYERS.iter().map(|layer| layer.len()).sum::<usize>(), "{folders:?}");
    let graph = code::graph(&modules, shown);
    let mut known: BTreeSet<(&str, &str)> = known::UPWARD.into_iter().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (from, to, path) in edges(&graph) {
        let (Some((from_layer, own)), Some((to_layer, other))) = (layer(from), layer(to)) else { continue };
        seen += 1;
        // What takes part in a command may be shared by two of a layer; adapters know nothing of each other.
        let is_last = from_layer == LAYERS.len() - 1;
        let allowed = own == other || to_layer > from_layer || (to_layer == from_layer && !is_last);
        if !allowed && !known.remove(&(from, to)) {
            wrong.push(format!("{from} uses {to} ({path})"));
        }
    }
    assert!(seen > 100, "the scan finds nothing");
    assert!(wrong.is_empty(), "imports point up:\n{}", wrong.join("\n"));
    assert!(known.is_empty(), "no longer needed in known.rs: {known:?}");
}

#[test]
fn crates_use_only_those_below_them() {
    for (at, (name, file)) in CRATES.iter().enumerate() {
        let manifest = root().join(file).parent().unwrap().join("../Cargo.toml");
        let text = std::fs::read_to_string(manifest).unwrap();
        let text = text.split("[dev-dependencies]").next().unwrap();
        for (other_at, (other, _)) in CRATES.iter().enumerate() {
            let depends =
                text.contains(&format!("\n{other}.workspace")) || text.contains(&format!("\n{other} ="));
            assert!(!depends || (other_at > at && other_at < 10), "{name} depends on {other}");
        }
    }
}

fn edges(graph: &Graph) -> impl Iterator<Item = (&str, &str, &str)> {
    graph
        .iter()
        .flat_map(|(from, edges)| edges.iter().map(|(to, path)| (from.as_str(), to.as_str(), path.as_str())))
}

/// A file that only hands on what is in another does not use it; see [`code::graph`].
#[test]
fn no_two_files_import_each_other() {
    let mut whole = Graph::new();
    for (name, file) in CRATES {
        let modules = modules(file);
        let graph = code::graph(&modules, shown);
        assert!(modules.len() < 6 || edges(&graph).count() > 3, "the scan finds nothing in {name}");
        whole.extend(graph);
    }
    // Each entry, and the uses that it lets be.
    let mut known: Vec<(String, BTreeSet<(String, String)>)> = Vec::new();
    for (from, to) in known::CIRCLES {
        known.push((format!("{from} uses {to}"), [(from.to_owned(), to.to_owned())].into()));
    }
    for parent in known::PARENTS {
        let upward = edges(&whole).filter(|(from, to, _)| *to == parent && is_inside(from, parent));
        let upward = upward.map(|(from, to, _)| (from.to_owned(), to.to_owned()));
        known.push((format!("what is inside of {parent} uses it"), upward.collect()));
    }
    let mut graph = whole.clone();
    for (from, to) in known.iter().flat_map(|(_, uses)| uses) {
        graph.get_mut(from).and_then(|edges| edges.remove(to));
    }
    let wrong: Vec<String> = code::circles(&graph).iter().map(|circle| described(&graph, circle)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (entry, uses) in &known {
        // With the others away, there is no circle: one comes back where the used leads to the user.
        let is_needed = uses.iter().any(|(from, to)| code::reached(&graph, to).contains(&**from));
        assert!(is_needed, "no longer needed in known.rs: {entry}");
    }
}

/// Returns whether a file's module is inside of another file's.
fn is_inside(file: &str, parent: &str) -> bool {
    let folder =
        ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].iter().find_map(|end| parent.strip_suffix(end)).unwrap();
    file != parent && file.starts_with(&format!("{folder}/"))
}

fn described(graph: &Graph, circle: &[&str]) -> String {
    let is_in = |file: &str| circle.contains(&file);
    let inside = edges(graph).filter(|(from, to, _)| is_in(from) && is_in(to));
    let lines: String = inside.map(|(from, to, path)| format!("  {from} uses {to} ({path})\n")).collect();
    format!("{} files are in a circle:\n{lines}", circle.len())
}

/// Names that say what a module is to the one around it, and so mean the same everywhere.
const GENERAL: [&str; 3] = ["error", "tests", "testing"];

/// A command has a file in `cli` and one that does it; beside these, a name in a crate has one meaning.
#[test]
fn no_module_name_has_two_meanings() {
    let mut known: BTreeSet<&str> = known::NAMES.into_iter().collect();
    let mut wrong = Vec::new();
    for (name, file) in CRATES {
        let mut called: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for module in modules(file) {
            let Some(last) = module.path.last() else { continue };
            let is_command = name == "pib" && module.path[0] == "cli";
            if !is_command && !GENERAL.contains(&last.as_str()) {
                called.entry(last.clone()).or_default().push(module.path.join("::"));
            }
        }
        for (last, paths) in called.into_iter().filter(|(_, paths)| paths.len() > 1) {
            if !known.remove(&*last) {
                wrong.push(format!("{name} has {}", paths.join(" and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "one word, one meaning:\n{}", wrong.join("\n"));
    assert!(known.is_empty(), "no longer needed in known.rs: {known:?}");
}

/// Words that were picked for their sound; a newcomer searches for the field's noun.
const BANNED: [&str; 9] = ["Word", "Place", "Piece", "Said", "Means", "said", "told", "anew", "blame"];

/// What introduces a name.
const KEYWORDS: [&str; 8] = ["struct", "enum", "trait", "type", "fn", "mod", "const", "static"];

/// The names of all that is defined are the field's nouns, in tests as well.
#[test]
fn things_are_called_by_their_names() {
    let mut known: BTreeSet<(&str, &str)> = known::BANNED.into_iter().collect();
    let mut wrong = Vec::new();
    for file in rust_files() {
        let text = code::blanked(&std::fs::read_to_string(&file).unwrap());
        let file = shown(&file);
        let names: BTreeSet<&str> = code::named(&text, &KEYWORDS).map(|(name, _)| name).collect();
        for name in names.into_iter().filter(|name| BANNED.contains(name)) {
            let is_known = known.iter().find(|(at, known)| *at == file && *known == name).copied();
            if !is_known.is_some_and(|entry| known.remove(&entry)) {
                wrong.push(format!("{file} defines `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(known.is_empty(), "no longer needed in known.rs: {known:?}");
}

/// Returns all of the project's own Rust files, tests too.
fn rust_files() -> Vec<PathBuf> {
    let folders = ["host", "plugin-sdk", "stages"].map(|name| root().join(name));
    let walk = folders.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.unwrap().into_path());
    let own = walk.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    own.filter(|path| {
        !path.ends_with("bindings.rs") && !path.components().any(|part| part.as_os_str() == "template")
    })
    .collect()
}

#[test]
fn only_the_command_line_and_its_display_print() {
    let printing = ["println", "eprintln", "print", "eprint"];
    for (_, file) in CRATES.iter().filter(|(name, _)| *name != "xtask" && *name != "pib-native") {
        for module in modules(file) {
            let prints = code::words(&module.code).any(|(at, word)| {
                printing.contains(&word) && module.code[at + word.len()..].starts_with('!')
            });
            let may = module.path.first().is_some_and(|first| ["cli", "ui"].contains(&first.as_str()));
            assert!(!prints || may, "{} prints", module.file.display());
        }
    }
}

/// What opens a file without a look at what it is: a named pipe would keep it waiting.
const OPENERS: [&str; 6] =
    ["fs::read(", "fs::read_to_string(", "File::open(", "fs::copy(", "OpenOptions::new(", "File::options("];

#[test]
fn files_are_opened_by_the_one_door() {
    // A folder is opened to be synced, and a new file is made; the kernel's own files, and what this program has just
    // made, are what they are.
    let harmless = ["File::open(folder)", "File::open(root)", "create_new(true)"];
    let known = ["cli/signals.rs", "engine/owner.rs", "engine/binfmt_misc.rs", "debian/src/rootfs.rs"];
    let mut found = Vec::new();
    let outside = ["pib-file", "pib-plan", "pib-plugin-sdk", "pib-dist", "pib-native", "xtask"];
    for (_, file) in CRATES.iter().filter(|(name, _)| !outside.contains(name)) {
        for module in
            modules(file).iter().filter(|module| !known.iter().any(|end| module.file.ends_with(end)))
        {
            for line in module.code.lines().filter(|line| OPENERS.iter().any(|word| line.contains(word))) {
                if !harmless.iter().any(|word| line.contains(word)) {
                    found.push(format!("{}: {}", shown(&module.file), line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "use pib_file instead:\n{}", found.join("\n"));
}

/// What writes, replaces or removes by a path, and so through links.
const WRITERS: [&str; 19] = [
    "fs::write(",
    "fs::rename(",
    "fs::remove_file(",
    "fs::remove_dir(",
    "fs::remove_dir_all(",
    "fs::create_dir(",
    "fs::create_dir_all(",
    "fs::hard_link(",
    "fs::copy(",
    "fs::set_permissions(",
    "fs::symlink(",
    "fs::lchown(",
    "File::create(",
    "File::create_new(",
    "File::options(",
    "OpenOptions::new(",
    "DirBuilder::new(",
    "tempfile::",
    "rustix::fs::",
];

/// The files that may, each with what keeps a stranger's links away from it.
const MAY_WRITE: [(&str, &str); 40] = [
    ("host/pib/src/ops/publish_trial.rs", "in a folder that it has just made"),
    ("host/pib/src/ops/registry_log.rs", "to a file that was opened by Folder"),
    ("host/pib/src/inspection/opened.rs", "a temporary file without a name"),
    ("host/pib/src/inspection/ramdisk.rs", "a temporary file without a name"),
    ("host/debian/src/bootstrap.rs", CACHE),
    ("host/debian/src/companion.rs", CACHE),
    ("host/debian/src/deb.rs", CACHE),
    ("host/debian/src/download.rs", CACHE),
    ("host/debian/src/emulators.rs", CACHE),
    ("host/debian/src/list_cache.rs", CACHE),
    ("host/debian/src/rootfs.rs", CACHE),
    ("host/disk/src/device.rs", "asks for the size of a device's sectors"),
    ("host/disk/src/ext4_tools.rs", "in a folder that it has just made"),
    ("host/disk/src/image.rs", "a temporary file without a name"),
    ("host/disk/src/export.rs", "in a folder that it has just made"),
    ("host/pib/src/bases/base_cache.rs", CACHE),
    ("host/pib/src/bases/tarball.rs", CACHE),
    ("host/pib/src/cli/output.rs", "asks what standard output is"),
    ("host/pib/src/engine/binfmt_misc.rs", "the kernel's own files"),
    ("host/pib/src/engine/far.rs", "a file of its own, with a name that nobody foresees"),
    ("host/pib/src/ops/devices.rs", "asks for the number of a device"),
    ("host/pib/src/ops/doctor.rs", "asks for free space"),
    ("host/pib/src/ops/format.rs", "a temporary file without a name"),
    ("host/pib/src/ops/startup.rs", "in a folder that it has just made"),
    ("host/pib/src/pipeline/diffoscope.rs", "in a folder that it has just made"),
    ("host/pib/src/pipeline/stores.rs", CACHE),
    ("host/pib/src/pipeline/transfer.rs", CACHE),
    ("host/pib/src/source/archive.rs", CACHE),
    ("host/pib/src/source/git/checkout.rs", CACHE),
    ("host/pib/src/source/git/database.rs", CACHE),
    ("host/pib/src/source/kept.rs", CACHE),
    ("host/pib/src/source/leftovers.rs", CACHE),
    ("host/pib/src/source/registry_bucket.rs", "in a folder that it has just made"),
    ("host/pib/src/source/stage_cache.rs", CACHE),
    ("host/pib/src/source/stage_files.rs", "in a folder that pib has just made"),
    ("host/pib/src/source/cache_check.rs", CACHE),
    ("host/recorder/src/fetch.rs", CACHE),
    ("host/recorder/src/journal.rs", CACHE),
    ("host/recorder/src/remote.rs", CACHE),
    ("host/recorder/src/store.rs", CACHE),
];
const CACHE: &str = "in the user's cache";

/// What is written in a project goes through `pib_file::Folder`, which follows no link that a stranger has put there.
#[test]
fn files_are_written_by_the_one_door() {
    let mut known: BTreeSet<&str> = MAY_WRITE.into_iter().map(|(file, _)| file).collect();
    let mut found = Vec::new();
    let outside = ["pib-file", "pib-plugin-sdk", "pib-dist", "pib-native", "xtask"];
    for (_, file) in CRATES.iter().filter(|(name, _)| !outside.contains(name)) {
        for module in modules(file) {
            let (file, code) = (shown(&module.file), &module.code);
            let mut lines = code.lines().filter(|line| WRITERS.iter().any(|word| line.contains(word)));
            let Some(line) = lines.next() else { continue };
            if !MAY_WRITE.iter().any(|(known, _)| *known == file) {
                found.push(format!("{file}: {}", line.trim()));
            }
            known.remove(&*file);
        }
    }
    assert!(found.is_empty(), "use pib_file::Folder instead:\n{}", found.join("\n"));
    assert!(known.is_empty(), "these write nothing any more: {known:?}");
}

#[test]
fn the_plan_decides_without_io() {
    let manifest = std::fs::read_to_string(root().join("host/plan/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
    for name in
        ["tokio", "reqwest", "bollard", "tempfile", "walkdir", "glob", "tar", "rustix", "git2", "rand"]
    {
        assert!(!dependencies.contains(&format!("\n{name}")), "pib-plan depends on {name}");
    }
    for module in modules("host/plan/src/lib.rs") {
        for words in [
            "std::fs",
            "std::env",
            "std::net",
            "std::process",
            "std::thread",
            "SystemTime",
            "Instant::now",
            "async fn",
        ] {
            assert!(!module.code.contains(words), "{} uses {words}", module.file.display());
        }
    }
}

/// The page that says what protects pib's users names the test that shows each protection; such a test must be there.
#[test]
fn the_page_on_security_names_tests_that_there_are() {
    let page = std::fs::read_to_string(root().join("host/docs/security.md")).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let tests: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let tiers = ["pure::", "engine::", "machine::"];
    let named: Vec<&str> =
        page.split('`').filter(|word| tiers.iter().any(|tier| word.starts_with(tier))).collect();
    assert!(named.len() > 20);
    let mut missing: Vec<&str> = named.into_iter().filter(|name| !tests.contains(name)).collect();
    // Unit tests are in other programs than this: a function of that name must stand in a file of tests.
    let sources: Vec<String> = walkdir::WalkDir::new(root().join("host"))
        .into_iter()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
        .map(|entry| std::fs::read_to_string(entry.path()).unwrap())
        .filter(|text| text.contains("#[test]") || text.contains("#[tokio::test]"))
        .collect();
    missing.extend(page.split('`').filter(|word| {
        let name = word.split_once("::tests::").map(|(_, name)| format!("fn {name}("));
        name.is_some_and(|name| !sources.iter().any(|text| text.contains(&name)))
    }));
    assert!(missing.is_empty(), "there are no tests with these names: {missing:#?}");
}
