//! Targets are built on several engines.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use pib_plan::id::Digest;

use super::kind;
use super::project::{Scratch, stderr_text};
use crate::world::Images;

const NAME: &str = "spread";
const TARGETS: [&str; 3] = ["first", "other", "third"];

/// Makes a project of three targets, of which the last two have everything in common.
fn project() -> Scratch {
    let scratch = Scratch::new(NAME, "unix:///var/run/docker.sock");
    scratch.part("__init__", "RUN echo \"$WORD\" > /word\n");
    scratch.part("mine", "RUN /bin/busybox cat /word > /mine\n");
    let init = "[stage]\nname = \"__init__\"\nversion = \"1.0.0\"\nphase = \"init\"\n\n\
                [config.word]\ntype = \"string\"\ndefault = \"plain\"\n";
    fs::write(scratch.path("stages/__init__/stage.toml"), init).unwrap();
    let mut manifest = fs::read_to_string(scratch.path("pib.toml")).unwrap();
    for name in TARGETS {
        let word = if name == "first" { "alone" } else { "shared" };
        manifest += &format!("\n[target.{name}.stages]\n__init__.config.word = \"{word}\"\n");
    }
    fs::write(scratch.path("pib.toml"), manifest).unwrap();
    scratch
}

/// Returns the digests of the targets' images, which go.
fn images(scratch: &Scratch) -> BTreeMap<&'static str, Digest> {
    let path = |name: &str| scratch.path("target").join(format!("{NAME}-{name}-rpi4-arm64.img"));
    let take = |name: &'static str| {
        let digest = Digest::of(&fs::read(path(name)).unwrap());
        fs::remove_file(path(name)).unwrap();
        (name, digest)
    };
    TARGETS.into_iter().map(take).collect()
}

#[test]
fn targets_go_to_several_engines_and_to_others_where_one_dies() {
    let _images = Images(NAME);
    let scratch = project();
    let alone = scratch.pib(&["build", "--all"]).output().unwrap();
    assert!(alone.status.success(), "{}", stderr_text(&alone));
    let expected = images(&scratch);

    let engines = ["one", "two"].map(|_| kind::docker("256m"));
    let [one, two] = &engines;
    let config = scratch.path(".config/pib");
    fs::create_dir_all(&config).unwrap();
    let named = format!(
        "[engines.gone]\naddress = \"unix:///nonexistent/engine.sock\"\n\n[engines.one]\naddress = \"{}\"\n\n\
         [engines.two]\naddress = \"{}\"\nslots = 1\n",
        one.host(),
        two.host()
    );
    fs::write(config.join("config.toml"), named).unwrap();
    let spread = scratch.pib(&["build", "--all"]).output().unwrap();
    let said = stderr_text(&spread);
    assert!(spread.status.success(), "{said}");
    assert!(said.contains("engine `gone` is left out"), "{said}");
    // What has something in common stays together.
    let by = |engine: &str, target: &str| said.contains(&format!("{target}: engine `{engine}` builds it"));
    assert_eq!(by("one", "other"), by("one", "third"), "{said}");
    assert_ne!(by("one", "first"), by("one", "other"), "{said}");
    assert_eq!(images(&scratch), expected);

    // One of the engines ends as soon as it is given something.
    let [one, two] = engines;
    let mut pib = scratch.pib(&["--json", "build", "--all", "--no-cache"]);
    let mut pib = pib.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(pib.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("engine `two` builds it") {
        line.clear();
        assert!(events.read_line(&mut line).unwrap() > 0, "nothing was given to the engine");
    }
    drop(two);
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(pib.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("engine `two` does not answer any more"), "{rest}");
    assert_eq!(images(&scratch), expected);

    // With none left, that is told.
    drop(one);
    let none = scratch.pib(&["build", "--all", "--no-cache"]).output().unwrap();
    assert_eq!(none.status.code(), Some(5), "{}", stderr_text(&none));
}
