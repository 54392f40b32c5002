//! Tells a Dockerfile of the recorder: what RUN instructions fetch goes to pib, which records it or answers from what was
//! recorded.
//!
//! With BuildKit, a socket comes with the build's session, as the socket of an SSH agent would (`RUN --mount=type=ssh`), so that
//! nobody else reaches it. Engines without BuildKit have neither sessions nor mounts. There a build argument names a port of
//! pib's machine and a token, and the program that starts commands is copied in, and removed after the last stage. Either way
//! that program relays a port of the container.

use crate::build_stage::RELAY;
use crate::dockerfile::{Line, Template};
use crate::native::{self, Machine, ROOT};

/// What the build's session calls the certificate of the authority that vouches for the recorder. Each build has another one.
pub const AUTHORITY: &str = "pib.authority";
/// The build argument that names a port. All engines know it without a declaration, and keep it in no image, no history and no
/// key of their caches. Nothing in a build reaches an FTP server by a proxy, so that it hides no argument of the user's.
pub const PORT_ARGUMENT: &str = "ftp_proxy";
/// The folder of the image of the program that is copied in.
pub const COPIED: &str = "pib";
/// The label that the name of the recording is the value of, where no mount tells it to the engine's cache.
const LABEL: &str = "dev.pib.recording";
/// The program that starts commands which reach the network without the recorder.
pub(crate) const OPEN: [&str; 2] = ["/.pib/run", "--open"];

/// What instructions need to reach the recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// What the engine calls the container image with the program that starts commands, where no native tools bring it.
    pub image: String,
    /// How they reach it.
    pub way: Way,
    /// What the build's session calls the socket. The engine's cache knows an instruction by it, too: another snapshot has
    /// another one.
    pub socket: String,
}

/// How instructions reach the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a socket of the build's session. They mount the program, which is for this machine.
    Session(Machine),
    /// By a port of pib's machine. The program is copied in.
    Port,
}

impl Relay {
    /// Returns the mount of the program that starts commands, where it is mounted.
    pub(crate) fn program(&self) -> Option<String> {
        matches!(self.way, Way::Session(_)).then(|| format!("--mount=type=bind,from={RELAY},target={ROOT}"))
    }

    /// Returns the mounts of the socket, which programs of every user may use, and of the authority that these are to trust.
    pub(crate) fn mounts(&self) -> Vec<String> {
        match self.way {
            Way::Session(_) => vec![
                format!("--mount=type=ssh,id={},target={ROOT}/recorder,mode=0666,required=true", self.socket),
                format!("--mount=type=secret,id={AUTHORITY},target={ROOT}/ca.pem,mode=0444,required=true"),
            ],
            Way::Port => Vec::new(),
        }
    }

    /// Returns whether the program is copied in.
    pub(crate) fn is_copied(&self) -> bool {
        self.way == Way::Port
    }

    /// Returns the instruction that makes the program known.
    pub(crate) fn stage_line(&self) -> Line {
        let platform = match self.way {
            Way::Session(machine) => Some(machine.platform()),
            Way::Port => None,
        };
        let from = platform.map_or(Line::new("FROM"), |name| Line::new("FROM").flag("platform", Some(name)));
        from.name(&self.image).name("AS").name(RELAY)
    }

    /// Returns the instructions that put the program where commands are started by it, where it is not mounted.
    pub(crate) fn copy_lines(&self) -> Vec<Line> {
        match self.way {
            Way::Session(_) => Vec::new(),
            Way::Port => vec![
                Line::new("COPY")
                    .flag("from", Some(RELAY))
                    .name(&format!("/{COPIED}/"))
                    .name(&format!("{ROOT}/")),
                Line::new("LABEL").assignment(LABEL, &Template::literal(&self.socket)),
            ],
        }
    }

    /// Returns the instruction that removes what is left of the program.
    pub(crate) fn tidy_line(&self) -> Line {
        match self.way {
            Way::Session(_) => native::tidy_line(),
            Way::Port => Line::new("RUN").list(["/bin/sh", "-c", &format!("rm -rf {ROOT}")]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{BaseRef, BuildPlan, Extras, assemble};
    use crate::id::{Arch, Digest};
    use crate::native::{Native, SetId};

    fn own(way: Way) -> Relay {
        Relay { image: "pib-relay:x".to_owned(), way, socket: "pib.fetch.7".to_owned() }
    }

    fn plan(stages: &[(&str, bool)], native: bool, relay: bool) -> BuildPlan {
        let stages = crate::native::tests::stages(stages, true);
        let machine = Machine::Amd64;
        let tools = Native { image: "pib-native:x".to_owned(), machine, set_id: SetId::Ignored };
        let own = own(Way::Session(machine));
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
    fn without_mounts_the_program_is_copied_and_removed_after_the_last_stage() {
        let parts = [("RUN a", false), ("RUN [\"b\"]", false), ("RUN c\nUSER nobody", false)];
        let mut stages = crate::native::tests::stages(&parts, true);
        stages[1].recorded = false;
        let port = own(Way::Port);
        let extras = Extras { relay: Some(&port), ..Extras::default() };
        let base = BaseRef::ContainerImage("base".to_owned());
        let plan = assemble(Arch::Arm64, &base, &Digest::of(b""), &stages, &extras).unwrap();
        let lines = plan.dockerfile.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<&str> =
            lines.filter(|line| !line.starts_with("FROM ") || line.ends_with("pib_relay")).collect();
        let expected = [
            "FROM pib-relay:x AS pib_relay",
            "COPY --from=pib_relay /pib/ /.pib/",
            r#"LABEL dev.pib.recording="pib.fetch.7""#,
            r#"SHELL ["/.pib/run", "/bin/sh", "-c"]"#,
            "RUN a",
            r#"SHELL ["/.pib/run", "--open", "/bin/sh", "-c"]"#,
            r#"RUN ["/.pib/run", "--open", "b"]"#,
            r#"SHELL ["/.pib/run", "/bin/sh", "-c"]"#,
            "RUN c",
            "USER nobody",
            "USER 0:0",
            r#"SHELL ["/bin/sh", "-c"]"#,
            r#"RUN ["/bin/sh", "-c", "rm -rf /.pib"]"#,
        ];
        assert_eq!(lines, expected, "{}", plan.dockerfile);
        let without = assemble(Arch::Arm64, &base, &Digest::of(b""), &stages, &Extras::default()).unwrap();
        assert_eq!(plan.key, without.key);
    }

    #[test]
    fn no_key_knows_of_the_recorder() {
        let parts = [("RUN a", true), ("COPY --from=a /x /y", true)];
        for native in [false, true] {
            assert_eq!(plan(&parts, native, true).key, plan(&parts, native, false).key);
        }
    }
}
