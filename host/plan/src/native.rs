//! Tells a Dockerfile of native tools: programs of the building machine's own processor that stand in for the
//! target's while a `RUN` instruction runs.
//!
//! The tools are a container image of their own, the *companion*. It is mounted, never copied, so that no layer
//! holds anything of it. Its program `run` starts each command and decides which programs it stands in for.

use crate::build_stage::NATIVE;
use crate::dockerfile::Line;
use crate::id::Arch;

/// Where the companion is mounted.
pub const ROOT: &str = "/.pib";
/// The companion's program that starts commands.
pub(crate) const RUNNER: [&str; 1] = ["/.pib/run"];

/// The companion of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Native {
    /// What the engine calls the companion.
    pub image: String,
    /// Its platform.
    pub machine: Machine,
    /// What the engine's kernel does with set-user-id programs of the target.
    pub set_id: SetId,
}

/// What a kernel does with programs of the target that have a set-user-id or set-group-id bit. With native tools no program
/// gains rights, so that the companion's program must know where one would without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetId {
    /// They gain nothing: the emulator runs with the rights of whoever starts it.
    Ignored,
    /// They gain rights: the emulators' handler has flag C.
    Given,
    /// Nobody knows: the engine is on another machine.
    Unknown,
}

impl SetId {
    /// Returns the folder of the companion that tells its program.
    fn folder(self) -> Option<&'static str> {
        match self {
            Self::Ignored => None,
            Self::Given => Some("/set-id/given"),
            Self::Unknown => Some("/set-id/unknown"),
        }
    }
}

/// A machine that builds: a processor architecture whose programs can stand in for a target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86.
    Amd64,
}

impl Machine {
    /// Returns the machine that an engine calls `arch` (Go's words), if pib has tools for it.
    pub fn of(arch: &str) -> Option<Self> {
        matches!(arch, "amd64" | "x86_64").then_some(Self::Amd64)
    }

    /// Returns its platform, as container engines write it.
    pub fn platform(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
        }
    }

    /// Returns Debian's name of the architecture.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
        }
    }

    /// Returns the folders in which Debian's programs look for the architecture's libraries, and where they lie
    /// in a build, below [`ROOT`]: each path as long as the one that it takes the place of, so that it can be put
    /// into programs. Where they usually are, a part that searches all libraries would find them.
    pub fn libraries(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Amd64 => [
                ("/usr/lib/x86_64-linux-gnu", "/.pib/lib/86_64-linux-gnu"),
                ("/lib/x86_64-linux-gnu", "/.pib/86_64-linux-gnu"),
            ],
        }
    }

    /// Returns whether the target's programs need emulation here.
    pub fn emulates(self, _target: Arch) -> bool {
        match self {
            Self::Amd64 => true,
        }
    }
}

impl Native {
    /// Returns the mount of an instruction.
    pub fn mount(&self) -> String {
        format!("--mount=type=bind,from={NATIVE},target={ROOT}")
    }

    /// Returns the instructions that make the companion known.
    pub fn stage(&self) -> String {
        self.stage_lines().iter().map(|line| format!("{}\n", line.text())).collect()
    }

    /// Returns the same, one by one.
    pub(crate) fn stage_lines(&self) -> Vec<Line> {
        let from = Line::new("FROM").flag("platform", Some(self.machine.platform()));
        let from = from.name(&self.image).name("AS").name(NATIVE);
        // Nothing can run in the companion, but a folder can be made.
        let folder = self.set_id.folder().map(|folder| Line::new("WORKDIR").name(folder));
        std::iter::once(from).chain(folder).collect()
    }

    /// Returns the instruction that removes the empty folder that some engines leave at the place of a mount.
    pub fn tidy(&self) -> String {
        format!("{}\n", tidy_line().text())
    }
}

/// Returns the instruction that removes the empty folder that some engines leave at the place of a mount.
pub(crate) fn tidy_line() -> Line {
    Line::new("RUN").list(["/bin/sh", "-c", &format!("[ ! -d {ROOT} ] || rmdir {ROOT}")])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::assemble::{BaseRef, Extras, StageInput, assemble};
    use crate::id::Digest;
    use crate::part;

    /// Returns stages `a`, `b` and `c` of these parts, each with whether it takes native programs.
    pub(crate) fn stages(parts: &[(&str, bool)], recorded: bool) -> Vec<StageInput> {
        let stage = |((text, native), name): (&(&str, bool), &str)| StageInput {
            name: name.parse().unwrap(),
            version: semver::Version::new(1, 0, 0),
            args: vec![],
            part: part::check("p", text).unwrap(),
            files: vec![],
            native: *native,
            recorded,
            secrets: vec![],
        };
        parts.iter().zip(["a", "b", "c"]).map(stage).collect()
    }

    fn plan(parts: &[(&str, bool)], native: bool) -> crate::assemble::BuildPlan {
        plan_where(parts, native, SetId::Ignored)
    }

    fn plan_where(parts: &[(&str, bool)], native: bool, set_id: SetId) -> crate::assemble::BuildPlan {
        let stages = stages(parts, false);
        let tools = Native { image: "pib-native:x".to_owned(), machine: Machine::Amd64, set_id };
        let base = BaseRef::ContainerImage("base".to_owned());
        let extras = Extras { native: native.then_some(&tools), ..Extras::default() };
        assemble(Arch::Arm64, &base, &Digest::of(b""), &stages, &extras).unwrap()
    }

    fn lines<'a>(plan: &'a crate::assemble::BuildPlan, start: &str) -> Vec<&'a str> {
        plan.dockerfile.lines().filter(|line| line.starts_with(start)).collect()
    }

    /// Checks the lines of parts that are one instruction, which ends with the stage's name.
    fn are_where_they_are_said_to_be(plan: &crate::assemble::BuildPlan) {
        let own: Vec<_> = plan.steps.iter().filter(|step| step.written.is_some()).collect();
        assert_eq!(own.len(), plan.stages.len());
        for (step, stage) in own.into_iter().zip(&plan.stages) {
            let line = plan.dockerfile.lines().nth(step.line - 1).unwrap();
            assert!(line.ends_with(stage.name.as_str()), "{line}");
        }
    }

    #[test]
    fn every_form_of_an_instruction_is_told_of_the_tools() {
        let text = "RUN a\nrun --network=none b\nRUN [\"c\", \"d\"]\nSHELL [ \"/bin/bash\", \"-c\" ]\nRUN e\\\n  f\nWORKDIR /x\n";
        let plan = plan(&[(text, true), ("RUN g", false), ("RUN h", true)], true);
        let mounts = Native { image: String::new(), machine: Machine::Amd64, set_id: SetId::Ignored }.mount();
        let tidy = r#"RUN ["/bin/sh", "-c", "[ ! -d /.pib ] || rmdir /.pib"]"#;
        let expected = [
            format!("RUN {mounts} a"),
            format!("RUN {mounts} --network=none b"),
            format!("RUN {mounts} [\"/.pib/run\", \"c\", \"d\"]"),
            format!("RUN {mounts} e  f"),
            tidy.to_owned(),
            "RUN g".to_owned(),
            format!("RUN {mounts} h"),
            tidy.to_owned(),
        ];
        assert_eq!(lines(&plan, "RUN"), expected, "{}", plan.dockerfile);
        let shells = [
            r#"SHELL ["/.pib/run", "/bin/sh", "-c"]"#,
            r#"SHELL ["/.pib/run", "/bin/bash", "-c"]"#,
            r#"SHELL ["/bin/sh", "-c"]"#,
            r#"SHELL ["/.pib/run", "/bin/sh", "-c"]"#,
            r#"SHELL ["/bin/sh", "-c"]"#,
        ];
        assert_eq!(lines(&plan, "SHELL"), shells);
        assert_eq!(lines(&plan, "FROM")[0], "FROM --platform=linux/amd64 pib-native:x AS pib_native");
    }

    #[test]
    fn what_the_kernel_does_with_set_user_id_is_told_and_in_no_key() {
        let parts = [("RUN a", true), ("RUN b", true)];
        let with = |set_id| plan_where(&parts, true, set_id);
        let plain = with(SetId::Ignored);
        assert!(!plain.dockerfile.contains("set-id"));
        for (set_id, folder) in [(SetId::Given, "/set-id/given"), (SetId::Unknown, "/set-id/unknown")] {
            let plan = with(set_id);
            assert_eq!(lines(&plan, "WORKDIR"), [format!("WORKDIR {folder}")]);
            assert_eq!(plan.key, plain.key);
            are_where_they_are_said_to_be(&plan);
        }
    }

    #[test]
    fn libraries_move_to_places_with_names_as_long() {
        for (from, to) in Machine::Amd64.libraries() {
            assert_eq!(from.len(), to.len());
            assert!(to.starts_with("/.pib/"));
        }
    }

    #[test]
    fn the_keys_and_the_lines_of_the_parts_stay_right() {
        let parts = [("RUN a", true), ("RUN b", false)];
        let (with, without) = (plan(&parts, true), plan(&parts, false));
        assert_eq!(with.key, without.key);
        are_where_they_are_said_to_be(&with);
        assert!(!without.dockerfile.contains("pib/run"));
    }
}
