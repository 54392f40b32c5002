//! A run of the tests, and what it leaves: in the engine, in its folder, and among the mounts.
//!
//! Nothing that another works with is touched. The tests write down the labels of what they make in engines (`ledger.rs`
//! among the integration tests), and only what bears one of them is removed. Bases and native tools have no project's
//! label, since projects share them: those that appeared during the run go where no other project builds on them. What
//! cannot be removed is told, and is no failure of the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run::{Outcome, capture, command};

/// A run of the tests.
pub(crate) struct Run {
    /// What the tests write down is here, and their temporary folders are below it.
    folder: PathBuf,
    /// The container images that all projects share and that were there before; `None` where no engine is used.
    shared: Option<BTreeSet<String>>,
}

/// A container image of pib's.
struct Image {
    id: String,
    /// The project that it belongs to; none where it is shared.
    project: String,
    layers: Vec<String>,
}

impl Run {
    /// Makes the folder of a run; with an engine, looks at what is in that.
    pub(crate) fn start(engine: bool) -> Outcome<Self> {
        // The name is short, since sockets are made below it, whose paths have at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("pib-{}", std::process::id()));
        fs::create_dir_all(folder.join("t"))
            .map_err(|error| format!("could not make {}: {error}", folder.display()))?;
        let shared = if engine { Some(shared()?) } else { None };
        Ok(Self { folder, shared })
    }

    /// Has a command's tests belong to this run.
    pub(crate) fn enter(&self, command: &mut Command) {
        command.env("PIB_TEST_RUN", &self.folder).env("TMPDIR", self.folder.join("t"));
    }

    /// Removes what the tests left, and tells of it, of what they skipped, and of what cannot be removed.
    pub(crate) fn finish(self) {
        if let Some(before) = &self.shared {
            let mut left = Vec::new();
            for label in self.lines("labels") {
                left.extend(remove_labelled(&label));
            }
            left.extend(remove_shared(before));
            warn("could not remove from the engine", &left);
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let here = self.folder.display().to_string();
        let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let mounts: Vec<String> =
            mounts.filter(|place| place.starts_with(&here)).map(str::to_owned).collect();
        warn("left mounted", &mounts);
        let left = fs::read_dir(self.folder.join("t")).into_iter().flatten().flatten();
        warn(
            "left behind, and removed",
            &left.map(|item| item.path().display().to_string()).collect::<Vec<_>>(),
        );
        let skipped = self.lines("skipped");
        if mounts.is_empty() {
            let error = fs::remove_dir_all(&self.folder).err();
            warn(
                "could not remove",
                &error.iter().map(|error| format!("{here}: {error}")).collect::<Vec<_>>(),
            );
        }
        if !skipped.is_empty() {
            eprintln!("skipped: {}", skipped.len());
            for line in skipped {
                eprintln!("  {line}");
            }
        }
    }

    /// Returns the lines that the tests have written to a file of the run, each once.
    fn lines(&self, file: &str) -> BTreeSet<String> {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn warn(what: &str, things: &[String]) {
    for thing in things {
        eprintln!("warning: {what}: {thing}");
    }
}

fn docker(args: &[&str]) -> Outcome<String> {
    capture(&mut command("docker", args))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Removes the containers and container images with a label; returns why some of them stay.
fn remove_labelled(label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let mut errors = Vec::new();
    match docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]) {
        Ok(ids) => errors
            .extend(words(&ids).iter().filter_map(|id| docker(&["rm", "--force", "--volumes", id]).err())),
        Err(error) => errors.push(error),
    }
    let list = || docker(&["images", "--quiet", "--no-trunc", "--filter", &filter]);
    // The list begins with the newest: what was made of another is younger than that. One that is called by several
    // names is listed as often.
    let ids = match list() {
        Ok(ids) => words(&ids),
        Err(error) => {
            errors.push(error);
            Vec::new()
        }
    };
    let mut seen = BTreeSet::new();
    for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
        errors.extend(docker(&["rmi", "--force", id]).err());
    }
    errors
}

/// Returns the ids of the container images that all projects share.
fn shared() -> Outcome<BTreeSet<String>> {
    Ok(images()?.into_iter().filter(|image| image.project.is_empty()).map(|image| image.id).collect())
}

/// Returns all container images of pib's, the newest first.
fn images() -> Outcome<Vec<Image>> {
    let ids = words(&docker(&["images", "--quiet", "--no-trunc", "--filter", "label=dev.pib"])?);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let format = "{{.Id}} {{index .Config.Labels \"dev.pib.project\"}} {{range .RootFS.Layers}}{{.}},{{end}}";
    let mut inspect = vec!["image", "inspect", "--format", format];
    inspect.extend(ids.iter().map(String::as_str));
    let text = docker(&inspect)?;
    let mut images: Vec<Image> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let (id, project, layers) = (field(), field(), field());
        if images.iter().all(|image| image.id != id) {
            let layers = layers.split_terminator(',').map(str::to_owned).collect();
            images.push(Image { id, project, layers });
        }
    }
    Ok(images)
}

/// Removes shared container images that were not there before and that nobody builds on; returns why others stay.
fn remove_shared(before: &BTreeSet<String>) -> Vec<String> {
    let images = match images() {
        Ok(images) => images,
        Err(error) => return vec![error],
    };
    let is_used = |base: &Image| {
        images.iter().any(|image| !image.project.is_empty() && image.layers.starts_with(&base.layers))
    };
    let new = images.iter().filter(|image| image.project.is_empty() && !before.contains(&image.id));
    // One that a project of somebody else's builds on is theirs as well.
    new.filter(|image| !is_used(image))
        .filter_map(|image| docker(&["rmi", "--force", &image.id]).err())
        .collect()
}
