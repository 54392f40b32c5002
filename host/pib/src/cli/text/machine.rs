//! What is found on this machine: engine, emulators, cache.

use std::fmt::Write as _;

use crate::ops::binfmt::BinfmtReport;
use crate::ops::cache::{Kind, Pruned, Verified};
use crate::ops::doctor::{DoctorReport, State};
use crate::ops::trust::{Asked, Forgotten};

impl DoctorReport {
    /// Returns the report for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "ok  ",
                State::Warn => "warn",
                State::Fail => "FAIL",
            };
            _ = writeln!(text, "{state}  {}: {}", check.name, check.found);
            for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
                _ = writeln!(text, "      {line}");
            }
        }
        text
    }
}

impl Asked {
    /// Returns what the project asks for, for people.
    pub(crate) fn to_text(&self) -> String {
        let dir = self.project.display();
        if self.asks_for.is_empty() && self.complete {
            return format!("The project in {dir} asks for nothing outside of its folder\n");
        }
        let head = match (self.started_here, self.allowed) {
            (true, _) => "was started here, and may have everything; it asks for this",
            (false, true) => "is allowed what it asks for outside of its folder",
            (false, false) => "asks for this outside of its folder, and is not allowed it yet",
        };
        let list = self.asks_for.iter().map(|line| format!("  {line}\n")).collect::<String>();
        let more = match (self.complete, self.allowed) {
            (true, _) => "",
            (false, true) => "There may be more: run `pib trust` again\n",
            (false, false) => {
                "There may be more, which is known once this is allowed: run `pib trust` again then\n"
            }
        };
        format!("The project in {dir} {head}:\n{list}{more}")
    }
}

impl Forgotten {
    /// Returns what is so now, for people.
    pub(crate) fn to_text(&self) -> String {
        format!("The project in {} is allowed nothing outside of its folder now", self.project.display())
    }
}

impl BinfmtReport {
    /// Returns the report for people.
    pub(crate) fn to_text(&self) -> String {
        let machine = self.machine.iter().map(|machine| format!("On the machine of {machine}:\n"));
        machine.chain(self.archs.iter().map(|line| format!("{}: {}\n", line.arch, line.state))).collect()
    }
}

/// Returns the kinds for people, a line each.
pub(crate) fn list_text(kinds: &[Kind]) -> String {
    let line = |kind: &Kind| {
        format!("{:<11} {:>6} {:>11}  {}\n", kind.folder, kind.items, shown(kind.bytes), kind.what)
    };
    let total = kinds.iter().map(|kind| kind.bytes).sum();
    kinds.iter().map(line).collect::<String>() + &format!("{:<11} {:>18}\n", "together", shown(total))
}

fn shown(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

impl Verified {
    /// Returns what was found for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text: String = self
            .removed
            .iter()
            .map(|path| format!("removed, since it was damaged: {}\n", path.display()))
            .collect();
        text.push_str(&format!("{} things in the cache are whole", self.whole));
        text
    }
}

impl Pruned {
    /// Returns what was done for people.
    pub(crate) fn to_text(&self) -> String {
        let what = if self.dry_run { "Would remove" } else { "Removed" };
        format!("{what} {} things, {}", self.items, shown(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Check;

    #[test]
    fn each_line_of_a_remedy_is_shown_below_its_check() {
        let check = |state, found: &str, remedy: Option<&str>| Check {
            name: "engine".to_owned(),
            state,
            found: found.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let checks = vec![check(State::Ok, "fine", None), check(State::Fail, "gone", Some("Do\nthis."))];
        let text = DoctorReport { checks }.to_text();
        assert_eq!(text, "ok    engine: fine\nFAIL  engine: gone\n      Do\n      this.\n");
    }
}
