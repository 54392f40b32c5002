//! The daily loop with a real engine: what is built again, and what a person does with it in between.

mod check;
mod hooks;
mod keys;
mod network;
mod packages;
mod places;
mod secrets;

use std::path::Path;
use std::process::Output;

use crate::world::{World, nonce};

/// A project of a base, one or two stages of its own, and the clean-up.
struct Loop {
    world: World,
    name: &'static str,
}

impl Loop {
    /// Makes the project with a stage `mine`, whose part is given.
    fn new(name: &'static str, part: &str) -> Self {
        let world = World::new();
        world.tiny(name, part);
        Self { world, name }
    }

    /// Adds a stage with a manifest.
    fn stage(&self, name: &str, manifest: &str, part: &str) {
        let head = format!("[stage]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
        self.write(&format!("stages/{name}/stage.toml"), &format!("{head}{manifest}"));
        self.write(&format!("stages/{name}/Dockerfile.part"), part);
    }

    fn write(&self, path: &str, content: &(impl AsRef<[u8]> + ?Sized)) {
        let path = self.world.path(self.name).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // At once, as editors do: a running build reads the old text or the new one, and never half of it.
        let written = self.world.path("written");
        std::fs::write(&written, content).unwrap();
        std::fs::rename(written, path).unwrap();
    }

    /// Puts another text into `pib.toml`.
    fn edit(&self, from: &str, to: &str) {
        let path = self.world.path(self.name).join("pib.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no {from} in {text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn run(&self, args: &[&str]) -> String {
        self.world.run(self.name, args)
    }

    fn output(&self, args: &[&str]) -> Output {
        self.world.pib(self.name, args).output().unwrap()
    }

    /// Builds, and returns the instructions that the engine executed, each as `STAGE INSTRUCTION`.
    fn executed(&self, args: &[&str]) -> Vec<String> {
        let output = self.output(&[&["build", "--json"], args].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{errors}");
        let events = errors.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let told = events.filter(|event| event["event"] == "step-detail");
        let told = told.filter_map(|event| {
            let stage = event["id"].as_str()?.strip_prefix("stage:")?.to_owned();
            // The number of the step, and the instruction; FROM executes nothing.
            let (_, instruction) = event["detail"].as_str()?.split_once(' ')?;
            (!instruction.starts_with("FROM ")).then(|| format!("{stage} {instruction}"))
        });
        told.collect()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // What a test leaves in the engine goes however it ends; the rest of the project is a temporary folder.
        let _ = self.world.pib(self.name, &["clean"]).output();
    }
}

/// Returns the stages that instructions were executed of, each once.
fn stages(executed: &[String]) -> Vec<&str> {
    let mut stages: Vec<&str> = executed.iter().filter_map(|line| line.split(' ').next()).collect();
    stages.dedup();
    stages
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the files below a folder that have `word` in them.
fn files_with(folder: &Path, word: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, word));
        } else if memchr::memmem::find(&std::fs::read(&path).unwrap_or_default(), word).is_some() {
            found.push(path.display().to_string());
        }
    }
    found
}
