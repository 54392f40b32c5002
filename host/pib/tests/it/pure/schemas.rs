//! The JSON schemas of `pib.toml` and `stage.toml`: another program's validator takes every file that pib reads, and what it
//! refuses, pib refuses, too.

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::manifest::stage::StageManifest;

use crate::bench::{Bench, PROJECT};
use crate::world::root;

/// A schema as the program writes it.
struct Judge {
    schemas: Schemas,
    schema: SchemaIndex,
}

impl Judge {
    fn of(file: &str) -> Self {
        let ran = Bench::new("").run(&["schema", file]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", serde_json::from_str(&ran.out).unwrap()).unwrap();
        let schema = compiler.compile("schema.json", &mut schemas).unwrap();
        Self { schemas, schema }
    }

    fn judge(&self, text: &str) -> Result<(), String> {
        let value: toml::Value = toml::from_str(text).map_err(|error| error.to_string())?;
        let value = serde_json::to_value(value).unwrap();
        self.schemas.validate(&value, self.schema).map_err(|error| format!("{error:#}"))
    }
}

fn found(folder: &str, name: &str) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(root().join(folder)).sort_by_file_name().into_iter();
    let files =
        walk.filter_entry(|entry| entry.file_name() != "target").map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.file_name().is_some_and(|found| found == name)).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Returns the blocks of the book that are whole files: those with this table.
fn blocks(table: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(root().join("host/docs")).sort_by_file_name() {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|end| end == "md") {
            let text = read(&path);
            let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
            let whole = blocks.filter(|block| block.lines().any(|line| line == table));
            found.extend(whole.map(|block| (path.display().to_string(), block.to_owned())));
        }
    }
    found
}

#[test]
fn every_project_fits_the_schema() {
    let judge = Judge::of("pib.toml");
    let bench = Bench::new("");
    assert_eq!(bench.run(&["new", "fresh"]).code, Some(0));
    let mut projects: Vec<(String, String)> = found("host/examples", "pib.toml")
        .iter()
        .map(|path| (path.display().to_string(), read(path)))
        .chain([
            ("pib new".to_owned(), read(&bench.path("fresh/pib.toml"))),
            ("bench".to_owned(), PROJECT.to_owned()),
        ])
        .collect();
    projects.extend(
        blocks("[project]").into_iter().filter(|(_, text)| ProjectManifest::parse("pib.toml", text).is_ok()),
    );
    assert!(projects.len() >= 3, "{} projects", projects.len());
    for (name, text) in projects {
        judge.judge(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_stage_fits_the_schema() {
    let judge = Judge::of("stage.toml");
    let bench = Bench::new("");
    assert_eq!(bench.run(&["stage", "new", "fresh"]).code, Some(0));
    let mut stages = found("stages", "stage.toml");
    stages.extend(found("plugin-sdk/examples", "stage.toml"));
    stages.extend(found("host/examples", "stage.toml"));
    assert!(stages.len() > 8, "{stages:?}");
    stages.push(bench.path("fresh/stage.toml"));
    for path in stages {
        judge.judge(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// A file with every table and key that there is.
const WHOLE: &str = r#"
[project]
name = "router"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"
hostname = "router"

[stages]
os = "1"
watchdog = { version = "1", config = { timeout = 10, level = "a", on = true, list = ["a"], key = { env = "KEY" } } }
mine = { path = "stages/mine" }
kvm = { git = "https://example.org/kvm.git", tag = "v1" }

[patch]
ro = { path = "../ro" }

[image]
compress = "zstd"
sbom = ["spdx"]
table = "gpt"
size = "8GiB"

[[image.partition]]
label = "BOOT"
filesystem = "vfat"
mount = "/boot/firmware"
size = "512MiB"

[[image.partition]]
label = "ROOT"
filesystem = "ext4"
mount = "/"
free = "1GiB"
reserved = 1

[build]
native = false
network = "recorded"

[stores]
team = "https://pib.example/store"

[cache]
url = "oci://registry.example/acme/cache"
write = "ci"

[registries.acme]
index = "https://stages.example.org/"

[order]
list = ["os", "mine"]

[order.stages.mine]
after = ["os"]

[variables]
COLOUR = "red"

[target.small]
board = "rpi5"
stages = { kvm = false, mine = "1", ro = { version = "1" } }
image = { compress = "xz" }
"#;

const STAGE: &str = r#"
[stage]
name = "mine"
version = "1.0.0"
description = "Mine"
phase = "normal"
uses = ["board", "root-device"]
native = true
exports = ["LANG"]

[support]
os = ["debian"]
arch = ["arm64"]
boards = ["rpi4"]

[dependencies]
os = "1"

[order]
after = ["os"]

[config.timeout]
type = "integer"
default = 15
min = 1
max = 15

[modes]
"files/key" = "0600"

[[test]]
name = "runs"
command = "true"
exit = 0
timeout = 5
"#;

/// Checks that a file is right, and that the validator and pib both refuse it with each of the changes.
fn refuse(file: &str, right: &str, reader: impl Fn(&str) -> Result<(), String>, wrong: &[(&str, &str)]) {
    let judge = Judge::of(file);
    judge.judge(right).unwrap_or_else(|error| panic!("{file}: {error}"));
    reader(right).unwrap_or_else(|error| panic!("{file}: {error}"));
    for (from, to) in wrong {
        assert!(right.contains(from), "{from}");
        let text = right.replacen(from, to, 1);
        assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{to} is not TOML");
        assert!(judge.judge(&text).is_err(), "the schema of {file} takes `{to}`");
        assert!(reader(&text).is_err(), "pib takes `{to}` in {file}, which its schema refuses");
    }
}

#[test]
fn what_the_schema_of_projects_refuses_pib_refuses() {
    let reader =
        |text: &str| ProjectManifest::parse("pib.toml", text).map(|_| ()).map_err(|error| error.to_string());
    refuse(
        "pib.toml",
        WHOLE,
        reader,
        &[
            ("release =", "relaese ="),
            ("[project]", "[projct]"),
            ("board = \"rpi4\"\n", ""),
            ("board = \"rpi4\"", "board = \"rpi9\""),
            ("board = \"rpi5\"", "board = \"rpi9\""),
            ("arch = \"arm64\"", "arch = \"amd64\""),
            ("name = \"router\"", "name = 5"),
            ("name = \"router\"", "name = \"My Router\""),
            ("os = \"1\"", "os = 1"),
            ("os = \"1\"", "os = false"),
            ("path = \"stages/mine\"", "paht = \"stages/mine\""),
            ("path = \"stages/mine\"", "path = [\"stages/mine\"]"),
            ("tag = \"v1\"", "tag = 1"),
            ("timeout = 10", "timeout = 1.5"),
            ("list = [\"a\"]", "list = [[\"a\"]]"),
            ("compress = \"zstd\"", "compress = \"zip\""),
            ("sbom = [\"spdx\"]", "sbom = \"spdx\""),
            ("table = \"gpt\"", "table = \"apm\""),
            ("size = \"8GiB\"", "size = \"big\""),
            ("size = \"8GiB\"", "size = 8"),
            ("size = \"512MiB\"", "size = \"half\""),
            ("filesystem = \"vfat\"", "filesystem = \"ntfs\""),
            ("label = \"BOOT\"\n", ""),
            ("reserved = 1", "reserved = \"1\""),
            ("reserved = 1", "reserved = 300"),
            ("native = false", "native = \"no\""),
            ("network = \"recorded\"", "network = \"closed\""),
            ("team = \"https://pib.example/store\"", "team = 1"),
            ("index = ", "url = "),
            ("after = [\"os\"]", "after = \"os\""),
            ("COLOUR = \"red\"", "COLOUR = 1"),
            ("kvm = false", "kvm = true"),
            ("compress = \"xz\"", "compres = \"xz\""),
        ],
    );
}

#[test]
fn what_the_schema_of_stages_refuses_pib_refuses() {
    let reader =
        |text: &str| StageManifest::parse("stage.toml", text).map(|_| ()).map_err(|error| error.to_string());
    refuse(
        "stage.toml",
        STAGE,
        reader,
        &[
            ("version =", "verison ="),
            ("name = \"mine\"\n", ""),
            ("name = \"mine\"", "name = \"Mine\""),
            ("version = \"1.0.0\"", "version = 1"),
            ("phase = \"normal\"", "phase = \"last\""),
            ("\"root-device\"", "\"root-devices\""),
            ("native = true", "native = \"yes\""),
            ("exports = [\"LANG\"]", "exports = \"LANG\""),
            ("arch = [\"arm64\"]", "arch = [\"amd64\"]"),
            ("boards = [", "board = ["),
            ("os = \"1\"", "os = 1"),
            ("after = [\"os\"]", "after = [\"Os\"]"),
            ("type = \"integer\"", "type = \"number\""),
            ("type = \"integer\"\n", ""),
            ("min = 1", "min = \"1\""),
            ("\"0600\"", "600"),
            ("command = \"true\"\n", ""),
            ("exit = 0", "exit = 256"),
            ("timeout = 5", "timeout = -5"),
            ("[[test]]", "[[tests]]"),
        ],
    );
}
