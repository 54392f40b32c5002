//! A small project in memory: it is changed there, written to a folder of its own, and planned and built by the program.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use pib_file::sealed::Sealed;
use pib_plan::base::{BaseSource, Bootstrap, Location, WantedBase};
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::lockfile::{FILE_NAME as LOCK, LockedBase, Lockfile};
use pib_plan::manifest::project::{BaseRequest, Project, ProjectManifest};
use pib_plan::manifest::stage::StageManifest;
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::bench::{Bench, Ran};

/// The target that the project has.
pub(super) const TARGET: &str = "kiosk";

const PROJECT: &str = r#"[project]
name = "device"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

[stages]
__init__ = { path = "stages/__init__" }
early = { path = "stages/early" }
facts = { path = "stages/facts" }
late = { path = "stages/late", config = { text = "one", files = ["keys/*.pub"], secret = { env = "TOKEN" } } }

[target.kiosk]
hostname = "kiosk"

[target.kiosk.stages]
late = { config = { text = "kiosk" } }
"#;

const STAGES: [(&str, &str, &str); 4] = [
    (
        "__init__",
        "phase = \"init\"\n\n[base.debian]\nbootstrap = \"debian\"\nreleases = [\"trixie\", \"forky\"]\ninclude = [\"ca-certificates\"]\n",
        "RUN true\n",
    ),
    ("early", "", "RUN echo $MIRROR > /early\n"),
    (
        "facts",
        "uses = [\"name\", \"os\", \"release\", \"board\", \"arch\", \"hostname\", \"locale\", \"timezone\", \"mirror\", \
         \"security-mirror\", \"public-mirror\", \"public-security-mirror\", \"root-device\", \"fstab\"]\n",
        "RUN env > /facts\n",
    ),
    (
        "late",
        "description = \"Late\"\n\n[config.text]\ntype = \"string\"\ndefault = \"x\"\n\n[config.files]\ntype = \"paths\"\n\n\
         [config.secret]\ntype = \"secret\"\n",
        "ARG LEVEL=1\nCOPY stages/late/files/ /\nRUN --mount=type=secret,id=late.secret true\n",
    ),
];

/// What stands at a path.
#[derive(Clone)]
enum Entry {
    File(Vec<u8>, u32),
    Folder,
    Link(&'static str),
}

/// A project in memory.
#[derive(Clone)]
pub(super) struct Sample {
    entries: BTreeMap<String, Entry>,
    /// Whether the target is meant, and not the project itself.
    pub(super) target: bool,
    /// Further options of `pib plan` and `pib build`.
    pub(super) options: Vec<&'static str>,
    /// Further options of `pib build`.
    pub(super) build_options: Vec<&'static str>,
    /// The variables of the environment.
    variables: BTreeMap<&'static str, &'static str>,
}

/// What the program makes of a project.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The stages with their keys, in order.
    pub(super) keys: Vec<(String, String)>,
    /// The key of the image.
    pub(super) image: String,
    /// The lock without its bases.
    pub(super) lock: String,
    /// Whether the base that the lock held was the one that is asked for.
    pub(super) same_base: bool,
    /// Whether `pib build` takes the image of the project before the change for the one that is asked for.
    pub(super) up_to_date: bool,
}

/// A project as it is before a change.
pub(super) struct Before {
    pub(super) outcome: Outcome,
    lock: Lockfile,
}

impl Sample {
    pub(super) fn new() -> Self {
        let mut sample = Self {
            entries: BTreeMap::new(),
            target: false,
            options: Vec::new(),
            build_options: Vec::new(),
            variables: BTreeMap::from([("TOKEN", "a-long-token")]),
        };
        sample.write("pib.toml", PROJECT);
        for (name, manifest, part) in STAGES {
            let head = format!("[stage]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
            sample.write(&format!("stages/{name}/stage.toml"), &(head + manifest));
            sample.write(&format!("stages/{name}/Dockerfile.part"), part);
        }
        for name in ["early", "late"] {
            sample.write(&format!("stages/{name}/files/etc/one"), "one\n");
            sample.write(&format!("stages/{name}/notes/beside"), "beside\n");
        }
        sample.write("keys/me.pub", "key\n");
        sample
    }

    pub(super) fn text(&self, path: &str) -> &str {
        match &self.entries[path] {
            Entry::File(bytes, _) => std::str::from_utf8(bytes).unwrap(),
            Entry::Folder | Entry::Link(_) => panic!("{path} is no file"),
        }
    }

    pub(super) fn write(&mut self, path: &str, bytes: impl AsRef<[u8]>) {
        self.entries.insert(path.to_owned(), Entry::File(bytes.as_ref().to_vec(), 0o644));
    }

    /// Sets a variable of the environment.
    pub(super) fn give(&mut self, name: &'static str, value: &'static str) {
        self.variables.insert(name, value);
    }

    pub(super) fn set_mode(&mut self, path: &str, new: u32) {
        match self.entries.get_mut(path).unwrap() {
            Entry::File(_, mode) => *mode = new,
            Entry::Folder | Entry::Link(_) => panic!("{path} is no file"),
        }
    }

    pub(super) fn folder(&mut self, path: &str) {
        self.entries.insert(path.to_owned(), Entry::Folder);
    }

    pub(super) fn link(&mut self, path: &str, to: &'static str) {
        self.entries.insert(path.to_owned(), Entry::Link(to));
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.entries.remove(path).unwrap();
    }

    /// Moves all that is below a folder.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let entries = std::mem::take(&mut self.entries).into_iter();
        self.entries = entries
            .map(|(path, entry)| match path.strip_prefix(from) {
                Some(rest) => (format!("{to}{rest}"), entry),
                None => (path, entry),
            })
            .collect();
    }

    /// Sets a value in a TOML file, whose tables on the way are made where they are missing.
    pub(super) fn set(&mut self, file: &str, path: &str, value: &str) {
        let mut document: DocumentMut = self.text(file).parse().unwrap();
        let value: Value = value.parse().unwrap_or_else(|error| panic!("{value}: {error}"));
        let mut at = document.as_item_mut();
        for key in path.split('.') {
            let table = at.as_table_like_mut().unwrap_or_else(|| panic!("no table on the way to {path}"));
            at = table.entry(key).or_insert_with(|| Item::Table(Table::new()));
        }
        *at = Item::Value(value);
        let text = document.to_string();
        self.write(file, text);
    }

    /// Returns what the program makes of the project, on a base that is in the lock.
    pub(super) fn before(&self) -> Before {
        let at = OnDisk::of(self, None);
        let ran = at.bench.run_with(&["lock"], &[]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        let mut lock = at.lock();
        lock.set_base(self.made_base());
        at.bench.write(LOCK, &lock.to_text());
        let planned = at.plan(self).unwrap_or_else(|error| panic!("{error}"));
        let outcome = planned.outcome(&at.lock(), true);
        Before { outcome, lock: at.lock() }
    }

    /// Returns what the program makes of the project, which was `before` until now, or its refusal.
    pub(super) fn after(&self, before: &Before) -> Result<Outcome, String> {
        let at = OnDisk::of(self, Some(before));
        let mut planned = at.plan(self)?;
        let same_base = planned.image.is_some();
        if !same_base {
            let mut lock = at.lock();
            lock.set_base(self.made_base());
            at.bench.write(LOCK, &lock.to_text());
            planned = at.plan(self)?;
        }
        let lock = at.lock();
        Ok(Outcome { up_to_date: at.is_up_to_date(self), ..planned.outcome(&lock, same_base) })
    }

    /// Stands in for an engine that made or fetched the base: what it is depends on what is asked for.
    fn made_base(&self) -> LockedBase {
        let mut manifest = ProjectManifest::parse("pib.toml", self.text("pib.toml")).unwrap();
        if self.target {
            manifest = manifest.targets[TARGET].clone();
        }
        let project = &manifest.project;
        let source = match manifest.base.clone() {
            Some(BaseRequest::Url { url, digest }) => {
                BaseSource::Tarball { location: Location::Url(url.parse().unwrap()), digest }
            }
            Some(BaseRequest::Path { path, digest }) => {
                BaseSource::Tarball { location: Location::Path(PathBuf::from(path)), digest }
            }
            Some(BaseRequest::Image(reference)) => BaseSource::ContainerImage { reference },
            None => {
                let init = self.text("stages/__init__/stage.toml");
                let init = StageManifest::parse("stage.toml", init).unwrap();
                let recipe = &init.base[&project.os];
                if let Some(tarball) = recipe.tarball((&project.os, &project.release), project.arch) {
                    return made(project, &BaseSource::Signed(tarball));
                }
                BaseSource::Bootstrap(Bootstrap {
                    os: project.os.clone(),
                    release: project.release.clone(),
                    arch: project.arch,
                    mirror: project.mirror.clone(),
                    security_mirror: project.security_mirror.clone(),
                    include: recipe.include.clone(),
                    archives: recipe.archives(&project.release, project.arch),
                })
            }
        };
        made(project, &source)
    }
}

fn made(project: &Project, source: &BaseSource) -> LockedBase {
    let wanted = WantedBase { project, source };
    LockedBase::new(wanted, Digest::of(source.recipe().as_bytes()), 7, None)
}

/// A project on disk.
struct OnDisk {
    bench: Bench,
}

/// What `pib plan --json` shows.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Planned {
    stages: Vec<PlannedStage>,
    #[serde(rename = "image-key")]
    image: Option<String>,
}

#[derive(serde::Deserialize)]
struct PlannedStage {
    name: String,
    key: Option<String>,
}

impl Planned {
    fn outcome(self, lock: &Lockfile, same_base: bool) -> Outcome {
        let lock = Lockfile { bases: Vec::new(), ..lock.clone() }.to_text();
        let keys = self.stages.into_iter().map(|stage| (stage.name, stage.key.unwrap())).collect();
        Outcome { keys, image: self.image.unwrap(), lock, same_base, up_to_date: true }
    }
}

impl OnDisk {
    fn of(sample: &Sample, before: Option<&Before>) -> Self {
        let bench = Bench::new("");
        for (path, entry) in &sample.entries {
            match entry {
                Entry::File(bytes, mode) => {
                    bench.write(path, bytes);
                    let mode = std::fs::Permissions::from_mode(*mode);
                    std::fs::set_permissions(bench.path(path), mode).unwrap();
                }
                Entry::Folder => std::fs::create_dir_all(bench.path(path)).unwrap(),
                Entry::Link(to) => {
                    std::fs::create_dir_all(bench.path(path).parent().unwrap()).unwrap();
                    std::os::unix::fs::symlink(to, bench.path(path)).unwrap();
                }
            }
        }
        // Secrets have digests from the first build on, with a key that is made then.
        private_key(&bench);
        if let Some(before) = before {
            bench.write(LOCK, &before.lock.to_text());
            forge_image(&bench, sample.target, &before.outcome.image);
        }
        Self { bench }
    }

    fn lock(&self) -> Lockfile {
        Lockfile::parse(LOCK, &std::fs::read_to_string(self.bench.path(LOCK)).unwrap()).unwrap()
    }

    fn run(&self, sample: &Sample, command: &[&str], more: &[&str]) -> Ran {
        let target: &[&str] = if sample.target { &["--target", TARGET] } else { &[] };
        let variables: Vec<_> = sample.variables.iter().map(|(name, value)| (*name, *value)).collect();
        self.bench.run_with(&[command, target, &sample.options, more].concat(), &variables)
    }

    fn plan(&self, sample: &Sample) -> Result<Planned, String> {
        let ran = self.run(sample, &["plan", "--json"], &[]);
        match ran.code {
            Some(0) => Ok(serde_json::from_str(&ran.out).unwrap()),
            _ => Err(flat(&ran.errors)),
        }
    }

    /// Returns whether a build takes the image that is there for the one that is asked for. There is no engine here, so that
    /// any other build ends where it would ask one.
    fn is_up_to_date(&self, sample: &Sample) -> bool {
        let ran = self.run(sample, &["build"], &sample.build_options);
        assert!(matches!(ran.code, Some(0 | 5 | 6)), "pib build: {:?}\n{}", ran.code, ran.errors);
        let word = if ran.code == Some(6) { "recorded" } else { "engine" };
        assert!(ran.code == Some(0) || flat(&ran.errors).contains(word), "{}", ran.errors);
        ran.code == Some(0)
    }
}

/// Leaves what a build of the project would have left.
fn forge_image(bench: &Bench, target: bool, key: &str) {
    let stem = if target { "device-kiosk-rpi4-arm64" } else { "device-rpi4-arm64" };
    let path = bench.path(&format!("target/{stem}.img"));
    bench.write(&format!("target/{stem}.img"), "image");
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    let written = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let digest = Digest::of(b"image");
    let layout = serde_json::json!({ "size": 5, "digest": digest, "partitions": [] });
    let report = serde_json::json!({
        "image": path, "digest": digest, "size": 5, "key": key, "stages": [], "layout": layout, "written": 0,
    });
    // JSON's own numbers end before nanoseconds do.
    let report = report.to_string().replace("\"written\":0", &format!("\"written\":{written}"));
    bench.write(&format!("target/{stem}.json"), &report);
    bench.write(&format!("target/{stem}.provenance.json"), "{}");
    bench.write(&format!("target/{stem}.img.bmap"), "");
    bench.write(&format!("target/{stem}.rpi-imager-manifest"), "{}");
    // An image is believed where this user's pib has noted that it wrote it.
    let mut name = KeyHasher::new("pib written image 1");
    name.field(path.as_os_str().as_encoded_bytes());
    let state = format!("{key} {digest} 5 {written}");
    Sealed::new(bench.path("../cache/built")).put(&name.finish().hex(), state.as_bytes());
}

/// Gives the user of the machine the same key in each run.
fn private_key(bench: &Bench) {
    bench.write("../cache/built/key", &[7; 64]);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(bench.path("../cache/built/key"), private).unwrap();
}

/// Returns a message without the lines that it is wrapped into.
fn flat(message: &str) -> String {
    let words = message.split_whitespace().filter(|word| !["│", "|"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}
