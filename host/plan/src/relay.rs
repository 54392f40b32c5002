//! Tells a Dockerfile of the recorder: what RUN instructions fetch goes through a socket to pib, which records it or
//! answers from what was recorded.
//!
//! The socket comes with the build's session, as the socket of an SSH agent would (`RUN --mount=type=ssh`), so that
//! nobody else reaches it. The program that starts commands relays a port of the container to it.

use crate::build_stage::RELAY;
use crate::dockerfile::Line;
use crate::native::{Machine, ROOT};

/// What the build's session calls the certificate of the authority that vouches for the recorder. Each build has another one.
pub const AUTHORITY: &str = "pib.authority";

/// What instructions mount to reach the recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// What the engine calls the container image with the program that starts commands, where no native tools bring it.
    pub image: String,
    /// Its platform.
    pub machine: Machine,
    /// What the build's session calls the socket. The engine's cache knows an instruction by it, too: another snapshot has
    /// another one.
    pub socket: String,
}

impl Relay {
    /// Returns the mount of the program that starts commands.
    pub(crate) fn program(&self) -> String {
        format!("--mount=type=bind,from={RELAY},target={ROOT}")
    }

    /// Returns the mounts of the socket, which programs of every user may use, and of the authority that these are to trust.
    pub(crate) fn mounts(&self) -> [String; 2] {
        [
            format!("--mount=type=ssh,id={},target={ROOT}/recorder,mode=0666,required=true", self.socket),
            format!("--mount=type=secret,id={AUTHORITY},target={ROOT}/ca.pem,mode=0444,required=true"),
        ]
    }

    /// Returns the instruction that makes the program known.
    pub(crate) fn stage_line(&self) -> Line {
        let from = Line::new("FROM").flag("platform", Some(self.machine.platform()));
        from.name(&self.image).name("AS").name(RELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{BaseRef, BuildPlan, Extras, assemble};
    use crate::id::{Arch, Digest};
    use crate::native::{Native, SetId};

    fn plan(stages: &[(&str, bool)], native: bool, relay: bool) -> BuildPlan {
        let stages = crate::native::tests::stages(stages, true);
        let machine = Machine::Amd64;
        let tools = Native { image: "pib-native:x".to_owned(), machine, set_id: SetId::Ignored };
        let own = Relay { image: "pib-relay:x".to_owned(), machine, socket: "pib.fetch.7".to_owned() };
        let extras =
            Extras { native: native.then_some(&tools), relay: relay.then_some(&own), ..Extras::default() };
        let base = BaseRef::ContainerImage("base".to_owned());
        assemble(Arch::Arm64, &base, &Digest::of(b""), &stages, &extras).unwrap()
    }

    fn lines<'a>(plan: &'a BuildPlan, start: &str) -> Vec<&'a str> {
        plan.dockerfile.lines().filter(|line| line.starts_with(start)).collect()
    }

    const SOCKET: &str = "--mount=type=ssh,id=pib.fetch.7,target=/.pib/recorder,mode=0666,required=true \
                          --mount=type=secret,id=pib.authority,target=/.pib/ca.pem,mode=0444,required=true";
    const TIDY: &str = r#"RUN ["/bin/sh", "-c", "[ ! -d /.pib ] || rmdir /.pib"]"#;

    #[test]
    fn every_command_reaches_the_recorder_with_and_without_native_tools() {
        let parts = [("RUN a\nRUN [\"c\"]", true), ("RUN b", false)];
        let own = "--mount=type=bind,from=pib_relay,target=/.pib";
        let tools = "--mount=type=bind,from=pib_native,target=/.pib";
        for (native, mount) in [(false, own), (true, tools)] {
            let plan = plan(&parts, native, true);
            let expected = [
                format!("RUN {mount} {SOCKET} a"),
                format!("RUN {mount} {SOCKET} [\"/.pib/run\", \"c\"]"),
                format!("RUN {own} {SOCKET} b"),
                TIDY.to_owned(),
            ];
            assert_eq!(lines(&plan, "RUN"), expected, "{}", plan.dockerfile);
            assert_eq!(
                lines(&plan, "SHELL"),
                [r#"SHELL ["/.pib/run", "/bin/sh", "-c"]"#, r#"SHELL ["/bin/sh", "-c"]"#]
            );
            assert!(plan.dockerfile.contains("FROM --platform=linux/amd64 pib-relay:x AS pib_relay\n"));
        }
    }

    #[test]
    fn no_key_knows_of_the_recorder() {
        let parts = [("RUN a", true), ("COPY --from=a /x /y", true)];
        for native in [false, true] {
            assert_eq!(plan(&parts, native, true).key, plan(&parts, native, false).key);
        }
    }
}
