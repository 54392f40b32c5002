//! The rows of `[base]` of `stage.toml`.

use super::Effect::{Base, From, Nothing, Refused};
use super::{Row, set};

const EARLY: &str = "stages/early/stage.toml";
const INIT: &str = "stages/__init__/stage.toml";

pub(super) fn rows() -> Vec<Row> {
    [base(), archives(), tarballs()].into_iter().flatten().collect()
}

fn base() -> Vec<Row> {
    vec![
        set("stage.toml: hook.component", EARLY, "hook.component", "\"hook.wasm\"", Refused("hook.wasm")),
        set(
            "stage.toml: base.*.include",
            INIT,
            "base.debian.include",
            "[\"ca-certificates\", \"curl\"]",
            Base,
        ),
        set(
            "stage.toml: base.*.include",
            INIT,
            "base.debian.include",
            "[\"ca-certificates\", \"ca-certificates\"]",
            Nothing("the packages are the same"),
        ),
        set(
            "stage.toml: base.*.releases",
            INIT,
            "base.debian.releases",
            "[\"bookworm\"]",
            Refused("bookworm"),
        ),
        set(
            "stage.toml: base.*.releases",
            INIT,
            "base.debian.releases",
            "[\"trixie\"]",
            Nothing("the project's is one of them"),
        ),
        set(
            "stage.toml: base.*.bootstrap=debian",
            INIT,
            "base.other",
            "{ bootstrap = \"debian\" }",
            Nothing("the project has another system"),
        ),
    ]
}

/// Each changes one thing of the second of two archives.
fn archives() -> Vec<Row> {
    let archive = |field: &'static str, changes: [&str; 2], effect| {
        let list = |second: &str| format!("[{{ name = \"debian\" }}, {{ {second} }}]");
        let plain = "name = \"more\", url = \"http://a.example/x\", keys = [\"CF8A1AF502A2AA2D763BAE7E82B129927FA3303E\"], \
                     key-url = \"http://a.example/k\", suite = \"{release}\", components = [\"main\"], arch = [\"arm64\"]";
        let changed = plain.replace(changes[0], changes[1]);
        assert_ne!(plain, changed, "{field}");
        let [before, after]: [&'static str; 2] =
            [list(plain), list(&changed)].map(|text| &*Box::leak(text.into_boxed_str()));
        set(field, INIT, "base.debian.archive", after, effect)
            .start(move |sample| sample.set(INIT, "base.debian.archive", before))
    };
    vec![
        archive("stage.toml: base.*.archive.[].name", ["\"more\"", "\"other\""], Base),
        archive("stage.toml: base.*.archive.[].url", ["example/x", "example/y"], Base),
        archive("stage.toml: base.*.archive.[].keys", ["\"CF8A", "\"CF8B"], Base),
        archive(
            "stage.toml: base.*.archive.[].key-url",
            ["example/k", "example/l"],
            Nothing("keys are known by their fingerprints"),
        ),
        archive("stage.toml: base.*.archive.[].suite", ["{release}", "{release}-more"], Base),
        archive("stage.toml: base.*.archive.[].suite", ["{release}", "trixie"], Nothing("it is the release")),
        archive("stage.toml: base.*.archive.[].components", ["\"main\"", "\"main\", \"contrib\""], Base),
        archive("stage.toml: base.*.archive.[].arch", ["\"arm64\"", "\"armv7\""], Base),
        archive("stage.toml: base.*.archive.[].arch", ["\"arm64\"", "\"armv8\""], Refused("armv8")),
    ]
}

/// Each changes one thing of a signed tarball.
fn tarballs() -> Vec<Row> {
    let tarball = |field: &'static str, changes: [&str; 2], effect| {
        let table = |tarball: &str| format!("{{ bootstrap = \"tarball\", tarball = [{{ {tarball} }}] }}");
        let plain = "arch = \"arm64\", url = \"http://127.0.0.1:9/x.tar.gz\", signature-url = \"http://127.0.0.1:9/x.sig\", \
                     keys = [\"CF8A1AF502A2AA2D763BAE7E82B129927FA3303E\"], key-url = \"http://127.0.0.1:9/k\"";
        let changed = plain.replace(changes[0], changes[1]);
        assert_ne!(plain, changed, "{field}");
        let [before, after]: [&'static str; 2] =
            [table(plain), table(&changed)].map(|text| &*Box::leak(text.into_boxed_str()));
        set(field, INIT, "base.debian", after, effect)
            .start(move |sample| sample.set(INIT, "base.debian", before))
    };
    vec![
        set(
            "stage.toml: base.*.bootstrap=tarball",
            INIT,
            "base.debian",
            "{ bootstrap = \"tarball\" }",
            Refused("names no tarball"),
        ),
        set("stage.toml: base.*.mirror", INIT, "base.debian.mirror", "\"http://m.example/x\"", From("facts")),
        tarball(
            "stage.toml: base.*.tarball.[].arch",
            ["\"arm64\"", "\"armv7\""],
            Refused("names no tarball"),
        ),
        tarball("stage.toml: base.*.tarball.[].url", ["x.tar.gz", "y.tar.gz"], Base),
        tarball(
            "stage.toml: base.*.tarball.[].signature-url",
            ["x.sig", "y.sig"],
            Nothing("what it signs is the same"),
        ),
        tarball("stage.toml: base.*.tarball.[].keys", ["\"CF8A", "\"CF8B"], Base),
        tarball(
            "stage.toml: base.*.tarball.[].key-url",
            ["9/k", "9/l"],
            Nothing("keys are known by their fingerprints"),
        ),
    ]
}
