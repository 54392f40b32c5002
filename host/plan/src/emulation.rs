//! Tells a Dockerfile of the emulators that pib brings: they run the target's programs, so that the engine's kernel needs no
//! handler for these.
//!
//! They are in a container image of their own, together with the program that starts commands. It is mounted, never copied.
//! Where a companion is mounted for native tools, the emulators are mounted in it.

use crate::build_stage::EMULATION;
use crate::dockerfile::Line;
use crate::native::{Machine, ROOT};

/// The folder of the emulators in their image, and below [`ROOT`].
pub const FOLDER: &str = "emulators";
/// How the commands of a part are started.
pub(crate) const RUNNER: [&str; 2] = ["/.pib/run", "--emulate"];
/// Where the image is mounted to remove what other mounts have left: `/dev` is in no layer.
const ASIDE: &str = "/dev/.pib";

/// The emulators for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulation {
    /// What the engine calls their container image.
    pub image: String,
    /// Its platform.
    pub machine: Machine,
}

/// Returns a command as pib's own program starts it, where the emulators' image is at [`ROOT`].
pub fn started(command: Vec<String>) -> Vec<String> {
    RUNNER.iter().map(|word| (*word).to_owned()).chain(command).collect()
}

impl Emulation {
    /// Returns the mount of an instruction that takes no native tools.
    pub fn mount(&self) -> String {
        format!("--mount=type=bind,from={EMULATION},target={ROOT}")
    }

    /// Returns the mount of an instruction that has the companion mounted before.
    pub fn mount_beside(&self) -> String {
        format!("--mount=type=bind,from={EMULATION},source=/{FOLDER},target={ROOT}/{FOLDER}")
    }

    /// Returns the instruction that makes the image known.
    pub fn stage(&self) -> String {
        format!("{}\n", self.stage_line().text())
    }

    /// Returns the same as a line.
    pub(crate) fn stage_line(&self) -> Line {
        let from = Line::new("FROM").flag("platform", Some(self.machine.platform()));
        from.name(&self.image).name("AS").name(EMULATION)
    }

    /// Returns the instruction that removes the empty folder that some engines leave at the place of a mount.
    pub fn tidy(&self) -> String {
        format!("{}\n", self.tidy_line().text())
    }

    /// Returns the same as a line. The target's own programs would have to be emulated, with the folder in use.
    pub(crate) fn tidy_line(&self) -> Line {
        let mount = format!("--mount=type=bind,from={EMULATION},target={ASIDE}");
        Line::new("RUN").name(&mount).list([&format!("{ASIDE}/run"), "--tidy"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{BaseRef, BuildPlan, Extras, assemble};
    use crate::id::{Arch, Digest};
    use crate::native::{Native, SetId};
    use crate::relay::{Relay, Way};

    fn plan(emulated: bool, native: bool, recorded: bool) -> BuildPlan {
        let parts = [("RUN a\nRUN [\"c\"]\nSHELL [\"/bin/bash\", \"-c\"]\nRUN d", true), ("RUN b", false)];
        let stages = crate::native::tests::stages(&parts, recorded);
        let machine = Machine::Amd64;
        let emulation = Emulation { image: "pib-emulators:x".to_owned(), machine };
        let tools = Native { image: "pib-native:x".to_owned(), machine, set_id: SetId::Ignored };
        let relay = Relay {
            image: "pib-relay:x".to_owned(),
            way: Way::Session(machine),
            socket: "pib.fetch.7".to_owned(),
        };
        let extras = Extras {
            emulation: emulated.then_some(&emulation),
            native: native.then_some(&tools),
            relay: recorded.then_some(&relay),
            ..Extras::default()
        };
        let base = BaseRef::ContainerImage("base".to_owned());
        assemble(Arch::Arm64, &base, &Digest::of(b""), &stages, &extras).unwrap()
    }

    fn lines<'a>(plan: &'a BuildPlan, start: &str) -> Vec<&'a str> {
        plan.dockerfile.lines().filter(|line| line.starts_with(start)).collect()
    }

    const WHOLE: &str = "--mount=type=bind,from=pib_emulation,target=/.pib";
    const TIDY: &str =
        r#"RUN --mount=type=bind,from=pib_emulation,target=/dev/.pib ["/dev/.pib/run", "--tidy"]"#;

    #[test]
    fn every_command_is_emulated_with_and_without_native_tools() {
        let beside = "--mount=type=bind,from=pib_native,target=/.pib \
                      --mount=type=bind,from=pib_emulation,source=/emulators,target=/.pib/emulators";
        for (native, mounts) in [(false, WHOLE), (true, beside)] {
            let plan = plan(true, native, false);
            let expected = [
                format!("RUN {mounts} a"),
                format!("RUN {mounts} [\"/.pib/run\", \"--emulate\", \"c\"]"),
                format!("RUN {mounts} d"),
                format!("RUN {WHOLE} b"),
                TIDY.to_owned(),
            ];
            assert_eq!(lines(&plan, "RUN"), expected, "{}", plan.dockerfile);
            let shells = ["/bin/sh", "/bin/bash", "/bin/sh"]
                .map(|shell| format!("SHELL [\"/.pib/run\", \"--emulate\", \"{shell}\", \"-c\"]"));
            let last = r#"SHELL ["/bin/sh", "-c"]"#.to_owned();
            assert_eq!(lines(&plan, "SHELL"), shells.into_iter().chain([last]).collect::<Vec<_>>());
            let from = "FROM --platform=linux/amd64 pib-emulators:x AS pib_emulation";
            assert!(lines(&plan, "FROM").contains(&from));
        }
    }

    #[test]
    fn the_recorder_is_reached_from_emulated_commands() {
        let recorded = plan(true, false, true);
        assert!(
            lines(&recorded, "RUN")[0].starts_with(&format!("RUN {WHOLE} --mount=type=ssh,id=pib.fetch.7,"))
        );
    }

    #[test]
    fn no_key_knows_of_emulators() {
        for (native, recorded) in [(false, false), (true, false), (true, true)] {
            assert_eq!(plan(true, native, recorded).key, plan(false, native, recorded).key);
        }
    }
}
