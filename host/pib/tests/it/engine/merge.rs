//! A project with more layers than engines take: what is merged, what comes of it, and what is said of a failure.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::lab::options;
use super::project::{Scratch, stderr_text};
use crate::world::judge;

/// Commands that would see each other if they shared a shell; the files that they make tell.
const TRICKY: &str = r#"COPY stages/mine/files/x /made/
COPY stages/mine/files/y \
    stages/mine/files/z /made/
RUN mkdir -p /made/dir && cd /made/dir && pwd > /made/one && X=leak && export Y=leak && umask 077 && set -f
RUN pwd > /made/two; echo "x=$X y=$Y opts=$- zero=$0" >> /made/two; echo /made/di* >> /made/two

# It's a comment.
RUN echo 'single '"'"' and "double" $HOME `date`' > /made/three; echo "$HOME" >> /made/three
RUN printf '%s\n' a \
    # It's another.
    "b  c" \
    > /made/four # to the end
RUN echo some > /made/five; exit 0; echo more > /made/five
RUN (exit 3) || echo "went on after $?" > /made/six
RUN test -e /made/five && chmod 4711 /made/six
"#;

/// A project that is cleaned up, on the engine that the other tests use.
struct Many(Scratch);

impl Many {
    /// Makes a project with so many layers before the stage `mine`.
    fn new(name: &str, layers: usize, part: &str) -> Self {
        let host = options().host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let project = Scratch::new(name, &host);
        // Copies cost little, and those to different folders stay as they are.
        let fill = |number: usize| format!("COPY stages/__init__/file /fill/{number}/\n");
        project
            .part("__init__", &format!("RUN mkdir -p /etc\n{}", (0..layers).map(fill).collect::<String>()));
        std::fs::write(project.path("stages/__init__/file"), "some").unwrap();
        std::fs::create_dir_all(project.path("stages/mine/files")).unwrap();
        for file in ["x", "y", "z"] {
            std::fs::write(project.path("stages/mine/files").join(file), file).unwrap();
        }
        project.part("mine", part);
        Self(project)
    }

    /// Returns what the stages made in `/made`: modes, owners and contents.
    fn made(&self) -> BTreeMap<String, (u32, u64, String)> {
        let output = self.0.pib(&["export", "--tar", "out.tar"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr_text(&output));
        let mut archive = tar::Archive::new(std::fs::File::open(self.0.path("out.tar")).unwrap());
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            if path.contains("made/") {
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                let header = entry.header();
                found.insert(path, (header.mode().unwrap(), header.uid().unwrap(), content));
            }
        }
        found
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        _ = self.0.pib(&["clean"]).output();
    }
}

#[test]
fn more_layers_than_the_engine_takes_are_merged_and_make_the_same() {
    let plain = Many::new("fewlayers", 3, TRICKY);
    // With those of `TRICKY` and four more, all that can be merged must be.
    let many = Many::new("manylayers", 115, TRICKY);
    let (expected, made) = (plain.made(), many.made());
    assert_eq!(expected.len(), 11, "{expected:?}");
    assert_eq!(made, expected);
    assert!(
        expected["./made/two"].2.contains("x= y= ") && expected["./made/six"].0 == 0o4711,
        "{expected:?}"
    );

    let plan = many.0.pib(&["plan"]).output().unwrap();
    let text = String::from_utf8_lossy(&plan.stdout);
    assert!(text.contains("7 fewer by merging instructions of `mine`"), "{text}");
    assert_eq!(text.matches("  built\n").count(), 3, "{text}");
    let tags = judge::tool("docker", &["images", "-q", "pib/manylayers"]).unwrap();
    let layers = ["inspect", "--format", "{{len .RootFS.Layers}}", tags.lines().next().unwrap()];
    assert_eq!(
        judge::tool("docker", &layers).unwrap().trim(),
        "121",
        "one of the base, and one that takes the emulators away"
    );

    let wrong = TRICKY.replace("RUN (exit 3) || echo", "RUN echo shown && (exit 3) && echo");
    let line = 1 + wrong.lines().position(|line| line.contains("shown")).unwrap();
    many.0.part("mine", &wrong);
    let place = format!("stage mine, line {line} of its part: `RUN echo shown && (exit 3)");
    for buildkit in ["1", "0"] {
        let output = many.0.pib(&["build"]).env("DOCKER_BUILDKIT", buildkit).output().unwrap();
        let failed = stderr_text(&output);
        assert_eq!(output.status.code(), Some(6), "{failed}");
        for part in [place.as_str(), "failed with exit code 3", "shown"] {
            assert!(failed.contains(part), "no `{part}` in: {failed}");
        }
        assert!(!failed.contains("/bin/sh -c") && !failed.contains("of the part failed"), "{failed}");
    }
}

#[test]
fn what_cannot_be_merged_is_refused_before_the_build() {
    let project = Many::new("toomany", 125, TRICKY);
    let output = project.0.build();
    let refused = stderr_text(&output);
    assert_eq!(output.status.code(), Some(3), "{refused}");
    for part in ["137 file system layers, 7 fewer", "at most 120", "__init__ (126)"] {
        assert!(refused.contains(part), "no `{part}` in: {refused}");
    }
}
