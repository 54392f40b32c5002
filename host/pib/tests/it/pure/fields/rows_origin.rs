//! The rows of where stages come from: git and registries.

use super::Effect::{From, Image, Nothing, Refused};
use super::sample::Sample;
use super::{Effect, Row};
use crate::bench::Bench;
use crate::forge::Repo;
use crate::site::{Site, publish, succeeds};

/// A git repository and a registry with stages.
pub(super) struct Origins {
    _bench: Bench,
    /// The address of the repository: the tip of `main`, the branch `next` and the tag `v1` differ.
    git: String,
    /// A commit that is none of these.
    commit: String,
    /// The registry, which goes by two addresses.
    registry: [String; 2],
}

impl Origins {
    pub(super) fn new() -> Self {
        let bench = Bench::new("");
        let repo = Repo::new(&bench.folder.path().join("repo"));
        let commit = |what: &str| {
            repo.stage("early", "early", "1.0.0");
            repo.write("early/Dockerfile.part", &format!("RUN echo {what}\n"));
            repo.write("last/stage.toml", CLEANUP);
            repo.write("last/Dockerfile.part", &format!("RUN echo {what}\n"));
            repo.commit()
        };
        commit("tag");
        repo.git(&["tag", "v1"]);
        let rev = commit("rev");
        repo.git(&["checkout", "-q", "-b", "next"]);
        commit("branch");
        repo.git(&["checkout", "-q", "main"]);
        commit("main");
        publish(&bench, "1.0.0");
        publish(&bench, "2.0.0");
        bench.write("../last/stage.toml", CLEANUP);
        bench.write("../last/Dockerfile.part", "RUN echo registry\n");
        succeeds(&bench, &["publish", "../last", "--index", "../registry", "--allow-incomplete"]);
        let registry = [(); 2].map(|()| Site::start(bench.path("../registry")).address);
        Self { git: repo.url(), commit: rev, _bench: bench, registry }
    }
}

const CLEANUP: &str = "[stage]\nname = \"__cleanup__\"\nversion = \"1.5.0\"\nphase = \"cleanup\"\n";

/// Where a manifest asks for stages.
struct Table {
    /// How the names of its fields begin.
    field: &'static str,
    /// Its path in the manifest.
    path: &'static str,
    /// The stage that is asked for, and its folder in the repository.
    git: (&'static str, &'static str),
    target: bool,
}

const TABLES: [Table; 3] = [
    Table { field: "stages.*", path: "stages", git: ("early", "early"), target: false },
    Table { field: "patch.*", path: "patch", git: ("__cleanup__", "last"), target: false },
    Table { field: "target.*.stages.*", path: "target.kiosk.stages", git: ("early", "early"), target: true },
];

pub(super) fn rows(origins: &Origins) -> Vec<Row> {
    let mut rows: Vec<Row> = TABLES.iter().flat_map(|table| table.git_rows(origins)).collect();
    rows.extend(TABLES.iter().flat_map(|table| table.registry_rows(origins)));
    rows.extend(addresses(origins));
    rows
}

impl Table {
    fn row(&self, key: &str, effect: Effect, name: &str, value: String) -> Row {
        let (field, path) = (format!("pib.toml: {}.{key}", self.field), format!("{}.{name}", self.path));
        let target = self.target;
        Row::new(field, effect, move |sample| sample.set("pib.toml", &path, &value))
            .start(move |sample| sample.target = target)
    }

    fn git_rows(&self, origins: &Origins) -> Vec<Row> {
        let (name, folder) = self.git;
        let Origins { git, commit, .. } = origins;
        let row = |key: &str, more: &str| {
            let value = format!("{{ git = \"{git}\", path = \"{folder}\"{more} }}");
            self.row(key, From(name), name, value).locks()
        };
        let refused = |key: &str, word, more: &str| {
            let value = format!("{{ path = \"{folder}\"{more} }}");
            self.row(key, Refused(word), name, value)
        };
        vec![
            row("git", ""),
            row("branch", ", branch = \"next\""),
            row("tag", ", tag = \"v1\""),
            row("rev", &format!(", rev = \"{commit}\"")),
            refused("git", "two sources", ", version = \"1\", git = \"https://example.org/early\""),
            refused("branch", "no `git`", ", branch = \"main\""),
            refused("tag", "no `git`", ", tag = \"v1\""),
            refused("rev", "no `git`", ", rev = \"abc\""),
        ]
    }

    fn registry_rows(&self, origins: &Origins) -> Vec<Row> {
        let [address, _] = origins.registry.clone();
        let target = self.target;
        let name = if self.path == "patch" { "__cleanup__" } else { "acme" };
        let start = move |sample: &mut Sample| {
            sample.target = target;
            sample.set("pib.toml", "registries.acme.index", &format!("\"{address}\""));
        };
        let value = |version: &str, registry: &str| {
            format!("{{ version = \"{version}\", registry = \"{registry}\" }}")
        };
        vec![
            self.row("registry", From(name), name, value("1", "acme")).start(start).locks(),
            self.row("registry", Refused("`other` is not described"), name, value("1", "other")),
        ]
    }
}

/// The registry's own address, and what a version asks for there.
fn addresses(origins: &Origins) -> Vec<Row> {
    let [address, other] = origins.registry.clone();
    let start = move |sample: &mut Sample| {
        sample.set("pib.toml", "registries.acme.index", &format!("\"{address}\""));
        sample.set("pib.toml", "stages.acme", "{ version = \"1\", registry = \"acme\" }");
    };
    let reason = "where the same stage comes from is not what it is";
    vec![
        Row::new("pib.toml: registries.*.index", Nothing(reason), move |sample| {
            sample.set("pib.toml", "registries.acme.index", &format!("\"{other}\""));
        })
        .start(start.clone())
        .locks(),
        Row::new("pib.toml: stages.*.version", Image, |sample| {
            sample.set("pib.toml", "stages.acme.version", "\"2\"");
        })
        .start(start)
        .locks(),
        Row::new("pib.toml: registries.*.key", Nothing("it decides what is believed"), |sample| {
            let key = format!("\"ed25519:{}\"", "0a".repeat(32));
            sample.set("pib.toml", "registries.other.key", &key);
        })
        .start(|sample| sample.set("pib.toml", "registries.other.index", "\"http://127.0.0.1:1/\"")),
        Row::new("pib.toml: registries.*.index", Nothing("no stage comes from there"), |sample| {
            sample.set("pib.toml", "registries.acme.index", "\"http://127.0.0.1:1/\"");
        }),
    ]
}
