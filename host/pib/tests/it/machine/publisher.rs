//! Somebody who publishes stages, whatever keeps their registry.

#![allow(clippy::unwrap_used)] // Test helpers outside test functions.

use std::process::{Child, Command, Stdio};

use crate::bench::{Bench, Ran};

const FOCUS: &str = "\n[config.focus]\ntype = \"integer\"\n";

/// A folder with stages, and the registry that gets them.
pub(super) struct Publisher {
    pub(super) bench: Bench,
    address: String,
    /// Their variables: where keys and logins are.
    pub(super) variables: Vec<(String, String)>,
    /// What pib must never print.
    secret: &'static str,
}

impl Publisher {
    pub(super) fn new(address: String, variables: Vec<(String, String)>, secret: &'static str) -> Self {
        Self { bench: Bench::new(""), address, variables, secret }
    }

    pub(super) fn address(&self) -> String {
        self.address.clone()
    }

    /// Writes a stage that is fit for strangers, in a folder.
    pub(super) fn stage(&self, folder: &str, name: &str, version: &str, readme: &str) {
        let manifest = format!(
            "[stage]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"Does one thing\"\nlicense = \"MIT\"\n{FOCUS}"
        );
        self.bench.write(&format!("{folder}/stage.toml"), &manifest);
        self.bench.write(&format!("{folder}/Dockerfile.part"), "RUN true\n");
        self.bench.write(&format!("{folder}/README.md"), readme);
    }

    pub(super) fn run(&self, args: &[&str]) -> Ran {
        let pairs: Vec<_> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let ran = self.bench.run_with(args, &pairs);
        let shows = ran.out.contains(self.secret) || ran.errors.contains(self.secret);
        assert!(!shows, "{}{}", ran.out, ran.errors);
        ran
    }

    pub(super) fn succeeds(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.out, ran.errors);
        ran.out
    }

    pub(super) fn publish(&self, folder: &str) -> String {
        self.succeeds(&["publish", folder, "--registry", &self.address])
    }

    pub(super) fn verify(&self) -> String {
        self.succeeds(&["registry", "verify", &self.address])
    }

    /// Begins to publish.
    pub(super) fn begin(&self, folder: &str) -> Child {
        let mut pib = self.bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        pib.args(["publish", folder, "--registry", &self.address, "--allow-similar"]);
        pib.envs(self.variables.iter().cloned());
        pib.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Writes a project that takes the camera from the registry at an address.
    pub(super) fn project(&self, address: &str) {
        self.bench.write("pib.toml", &format!("[project]\nname = \"pi\"\nboard = \"rpi4\"\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n\n[stages]\ncamera = {{ version = \"1\", registry = \"shop\" }}\n\n[registries.shop]\nindex = \"{address}/\"\n"));
        _ = std::fs::remove_file(self.bench.path("pib.lock"));
    }

    /// Publishes at the same time, again and again: of two who publish one version, one wins; of those who publish different ones,
    /// all are there.
    pub(super) fn race(&self, rounds: u32) {
        for round in 0..rounds {
            for (folder, readme) in [("one", "One.\n"), ("two", "Two.\n")] {
                self.stage(folder, "camera", &format!("1.{round}.0"), readme);
            }
            let both = ["one", "two"].map(|folder| (folder, self.begin(folder)));
            let won = both.map(|(folder, mut child)| (folder, child.wait().unwrap().success()));
            assert_ne!(won[0].1, won[1].1, "round {round}");
            // The one that has won is there: publishing it again changes nothing.
            self.publish(won.iter().find(|(_, won)| *won).unwrap().0);
            for number in 0..3 {
                let version = format!("1.{round}.{}", number + 1);
                self.stage(&format!("d{number}"), "camera", &version, "Different.\n");
            }
            let all = [0, 1, 2].map(|number| self.begin(&format!("d{number}")));
            assert_eq!(all.map(|mut child| child.wait().unwrap().success()), [true; 3], "round {round}");
        }
        assert!(self.verify().contains(&format!("{} versions of 1 stage", rounds * 4)));
    }
}
