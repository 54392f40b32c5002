//! The tutorial of the book: its commands, one after the other, with everything real, and what the page shows of each.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::flash::Card;
use crate::console::{self, Shown};
use crate::ledger;
use crate::skip::lacks;
use crate::world::{World, cache, root};

/// The card of the page, in whose place a loop device is written to.
const CARD: &str = "/dev/sdb";
/// The home folder of the page.
const HOME: &str = "/home/you";

/// Removes what the project's builds left in the engine when the test ends, however it ends.
struct Cleaned<'a>(&'a World);

impl Drop for Cleaned<'_> {
    fn drop(&mut self) {
        if self.0.path("router").is_dir() {
            _ = self.0.pib("router", &["clean"]).output();
        }
    }
}

/// A terminal of somebody who follows the page.
struct Reader<'a> {
    world: &'a World,
    folder: PathBuf,
    card: Option<Card>,
}

impl Reader<'_> {
    /// Runs a command of the page and compares what it prints with what the page shows.
    fn follow(&mut self, shown: &Shown) {
        if let Some(folder) = shown.command.strip_prefix("cd ") {
            self.folder.push(folder);
            return;
        }
        let mut command = shown.command.trim_start_matches("sudo ").to_owned();
        if command.contains(CARD) {
            self.card = Card::new(3 << 29);
            // Otherwise this machine lets nobody make a loop device, which was said.
            let Some(card) = &self.card else { return };
            command = command.replace(CARD, card.name());
        }
        let output = self.shell(&command).output().unwrap();
        let text = self.as_on_the_page(&String::from_utf8_lossy(&output.stdout));
        let place = format!("tutorial.md, line {}: `{}`", shown.line, shown.command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{place}: {}\n{text}\n{errors}", output.status);
        assert!(
            console::is_shown(&shown.output, &text),
            "{place} printed\n{text}\nThe page shows\n{}",
            shown.output.join("\n")
        );
        eprintln!("$ {}\n{text}", shown.command);
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).current_dir(&self.folder).stdin(Stdio::null());
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", self.world.path("bin").display())).env("LC_ALL", "C");
        shell.env("PIB_CACHE_DIR", cache()).env("XDG_CONFIG_HOME", self.world.path("config"));
        shell
    }

    fn as_on_the_page(&self, output: &str) -> String {
        let text = output.replace(&*self.world.path("").to_string_lossy(), &format!("{HOME}/"));
        match &self.card {
            Some(card) => text.replace(card.name(), CARD),
            None => text,
        }
    }
}

#[test]
fn the_tutorial_does_what_it_shows() {
    if lacks(&["ssh-keygen", "qemu-system-aarch64"]) {
        return;
    }
    let page = std::fs::read_to_string(root().join("host/docs/tutorial.md")).unwrap();
    let commands = console::commands(&page);
    let heavy = ["pib build", "pib test", "pib flash", "pib inspect"];
    for command in heavy {
        assert!(commands.iter().any(|shown| shown.command.contains(command)), "`{command}` is not run");
    }
    let world = World::new();
    let _cleaned = Cleaned(&world);
    std::fs::create_dir(world.path("bin")).unwrap();
    symlink(Path::new(env!("CARGO_BIN_EXE_pib")), world.path("bin/pib")).unwrap();
    ledger::project(&world.path("router"));
    let mut reader = Reader { world: &world, folder: world.path(""), card: None };
    for shown in &commands {
        reader.follow(shown);
    }
}
