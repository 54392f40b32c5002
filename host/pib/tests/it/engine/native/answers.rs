//! What a part asks for must be the target's answer, and what it changes must count from then on.

use pib_plan::id::Digest;

use super::prepared;
use crate::world::{Images, World, docker};

/// Each instruction fails where it gets an answer of the building machine.
const QUESTIONS: &str = r#"
RUN [ "$(uname -m)" = aarch64 ] && [ "$(arch)" = aarch64 ] && [ "$(dpkg --print-architecture)" = arm64 ]
RUN ["/bin/sh", "-c", "test \"$(uname -m)\" = aarch64"]
RUN [ "$(bash -c 'echo $HOSTTYPE')" = aarch64 ] && bash -c 'case $MACHTYPE in aarch64-*) ;; *) exit 1 ;; esac'
RUN perl -MPOSIX -e 'exit((POSIX::uname())[4] ne "aarch64")' && perl -MConfig -e 'exit($Config{archname} !~ /^aarch64/)'
RUN eval "$(apt-config shell A APT::Architecture)" && [ "$A" = arm64 ]
RUN [ "$(dpkg-query --show --showformat '${Architecture}' libc6)" = arm64 ] && dpkg --version | grep -q arm64
RUN ldconfig -p | grep -q aarch64 && ! ldconfig -p | grep -q x86-64
RUN [ -z "$(dpkg --audit)" ]
RUN ! ls -d /usr/lib/x86_64-linux-gnu /lib64 2>/dev/null
# Fails, and the shell goes on with its own exit code.
RUN /usr/bin/does-not-exist; [ $? = 127 ] && sh -c 'exit 9'; [ $? = 9 ] && sh -c 'kill -TERM $$'; [ $? = 143 ]
RUN apt-get install --yes file gcc libc6-dev python3-pip && \
    file --dereference /bin/sh | grep -q aarch64 && \
    echo 'int main(void) { return 42; }' > /x.c && gcc -o /x /x.c && file /x | grep -q aarch64 && { /x; [ $? = 42 ]; }
RUN python3 -c 'import sysconfig, platform; assert sysconfig.get_platform() == "linux-aarch64", sysconfig.get_platform(); \
    assert platform.machine() == "aarch64"' && python3 -m pip debug 2>/dev/null | grep -q aarch64
"#;

/// What depends on the processor's name alone, asked on armv7.
const QUESTIONS_ARMV7: &str = r#"
RUN [ "$(uname -m)" = armv7l ] && [ "$(arch)" = armv7l ] && [ "$(dpkg --print-architecture)" = armhf ]
RUN [ "$(bash -c 'echo $HOSTTYPE')" = arm ] && bash -c 'case $MACHTYPE in arm-*-gnueabihf) ;; *) exit 1 ;; esac'
RUN perl -MPOSIX -e 'exit((POSIX::uname())[4] ne "armv7l")' && perl -MConfig -e 'exit($Config{archname} !~ /^arm-/)'
RUN eval "$(apt-config shell A APT::Architecture)" && [ "$A" = armhf ]
RUN [ "$(dpkg-query --show --showformat '${Architecture}' libc6)" = armhf ] && dpkg --version | grep -q armhf
RUN ldconfig -p | grep -q hard-float && ! ldconfig -p | grep -q x86-64
RUN apt-get install --yes file python3-minimal && file --dereference /bin/sh | grep -q 'ELF 32-bit.* ARM' && \
    python3 -c 'import os; assert os.uname().machine == "armv7l"' && [ -z "$(dpkg --audit)" ]
"#;

/// Replaces tools that have native twins; what comes after must be done by what took their place.
const CHANGES: &str = r#"
RUN ln -sf bash /bin/sh
RUN [ -n "$BASH_VERSION" ] && [ "$HOSTTYPE" = aarch64 ]
RUN apt-get install --yes busybox-static && ln -sf /bin/busybox /bin/sh
RUN sh --help 2>&1 | grep -q BusyBox && [ "$(uname -m)" = aarch64 ]
RUN ln -sf dash /bin/sh
RUN rm /usr/bin/sort && printf '#!/bin/sh\necho mine\n' > /usr/bin/sort && chmod +x /usr/bin/sort && [ "$(sort)" = mine ]
RUN dpkg-divert --quiet --local --rename --add /usr/bin/rev && cp /usr/bin/tac /usr/bin/rev && [ "$(printf 'a\nb\n' | rev)" = "$(printf 'b\na')" ]
RUN apt-get install --yes python3-minimal && python3 -V > /python
RUN sed 's/^Suites:.*/Suites: sid/; /^$/,$d' /etc/apt/sources.list.d/debian.sources > /etc/apt/sources.list.d/sid.sources && \
    apt-get -o Acquire::Check-Valid-Until=false update && apt-get install --yes -t sid libc6 dpkg coreutils python3-minimal && \
    version() { dpkg-query --show --showformat '${source:Upstream-Version}' "$1"; } && \
    sort --version | grep -qF "$(version coreutils)" && \
    dpkg --version | grep -qF "$(version dpkg)" && ldd --version | grep -qF "$(version libc6 | cut -d- -f1)" && \
    [ "$(sort < /etc/hosts | wc -l)" = "$(wc -l < /etc/hosts)" ] && [ -z "$(dpkg --audit)" ]
RUN [ "$(python3 -V)" != "$(cat /python)" ] && python3 -V | grep -qF "$(readlink /usr/bin/python3 | sed 's/python//')." && \
    echo 'x = 1' > /m.py && python3 -m py_compile /m.py && \
    python3 -c 'import os, sys; assert os.uname().machine == "aarch64"; assert os.path.exists(f"/__pycache__/m.{sys.implementation.cache_tag}.pyc")'
RUN dpkg --purge --force-depends --force-remove-protected --force-remove-essential apt && ! command -v apt-get && [ ! -e /usr/lib/apt ]
RUN apt-get --version; [ $? = 127 ]
"#;

#[test]
fn a_part_gets_the_targets_answers() {
    let world = World::new();
    let _images = Images("answers");
    world.tiny("answers", QUESTIONS);
    world.run("answers", &["build"]);
}

#[test]
fn a_part_gets_the_targets_answers_on_armv7() {
    let _images = Images("answersarmv7");
    let world = prepared(World::new(), "answersarmv7", QUESTIONS_ARMV7, ("bookworm", "armv7", "rpi3"));
    world.run("answersarmv7", &["build"]);
}

/// Bookworm's libapt has the architecture in its code, where it cannot be replaced: its apt is emulated, and works.
#[test]
fn a_library_that_cannot_be_told_the_name_takes_its_programs_with_it() {
    let world = World::new();
    let _images = Images("older");
    let part = "RUN apt-get install --yes nano && [ \"$(dpkg --print-architecture)\" = arm64 ] && \\\n    \
                eval \"$(apt-config shell A APT::Architecture)\" && [ \"$A\" = arm64 ] && nano --version\n";
    world.tiny("older", part);
    let manifest = world.path("older/pib.toml");
    let text = std::fs::read_to_string(&manifest).unwrap().replace("\"trixie\"", "\"bookworm\"");
    std::fs::write(&manifest, text).unwrap();
    world.run("older", &["build"]);
}

#[test]
fn what_a_part_replaces_counts_from_then_on() {
    let world = World::new();
    let _images = Images("changes");
    world.tiny("changes", CHANGES);
    // Cleanup is Debian's and needs apt, which is gone: the build ends before it.
    let cleanup = world.path("changes/stages/__cleanup__");
    std::fs::create_dir_all(&cleanup).unwrap();
    std::fs::write(cleanup.join("Dockerfile.part"), "RUN true\n").unwrap();
    world.run("changes", &["add", "--path", "stages/__cleanup__"]);
    world.run("changes", &["build"]);
}

#[test]
fn a_stage_that_says_so_is_emulated() {
    let world = World::new();
    let _images = Images("foreign");
    world.tiny("foreign", "RUN readlink /proc/self/exe > /native; [ ! -e /.pib ] || [ -e /.pib/run ]\n");
    let plan = world.run("foreign", &["plan", "--dockerfile"]);
    let mounts = "RUN --mount=type=bind,from=pib_native,target=/.pib \
                  --mount=type=bind,from=pib_emulation,source=/emulators,target=/.pib/emulators readlink";
    assert!(plan.contains(mounts), "{plan}");
    world.run("foreign", &["build"]);
    let tag = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "pib/foreign"]);
    let native = || docker(&["run", "--rm", "--network=none", tag.trim(), "cat", "/native"]);
    assert_eq!(native().trim(), "/.pib/usr/bin/readlink");

    let manifest = "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\nnative = false\n";
    std::fs::write(world.path("foreign/stages/mine/stage.toml"), manifest).unwrap();
    let plan = world.run("foreign", &["plan", "--dockerfile"]);
    assert!(plan.contains("\nRUN --mount=type=bind,from=pib_emulation,target=/.pib readlink"), "{plan}");
    let plan = world.run("foreign", &["plan", "--dockerfile", "--emulator", "handlers"]);
    assert!(plan.contains("\nRUN readlink"), "{plan}");
    for options in [&["build", "--no-cache"][..], &["build", "--no-native", "--no-cache"]] {
        world.run("foreign", options);
        let tag = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "pib/foreign"]);
        let tag = tag.lines().next().unwrap();
        let path = docker(&["run", "--rm", "--network=none", tag, "cat", "/native"]);
        assert_eq!(path.trim(), "/usr/bin/readlink");
    }
}

#[test]
fn a_release_without_native_tools_is_told_once_and_emulated() {
    let world = World::new();
    let _images = Images("unknown");
    world.tiny("unknown", "RUN [ ! -s /.pib/tools ] && echo done > /mine\n");
    world.run("unknown", &["plan", "--context", "context"]);
    // A base of one's own, of a release that no archive knows.
    let base = world.path("unknown/context/base.tar");
    let digest = Digest::of(&std::fs::read(&base).unwrap());
    let manifest = world.path("unknown/pib.toml");
    let text = std::fs::read_to_string(&manifest).unwrap().replace("\"trixie\"", "\"nosuchrelease\"");
    let text = format!("{text}\n[base]\npath = \"context/base.tar\"\ndigest = \"{digest}\"\n");
    std::fs::write(&manifest, text).unwrap();
    for name in ["__init__", "__cleanup__"] {
        let stage = world.path("unknown/stages").join(name);
        std::fs::create_dir_all(&stage).unwrap();
        std::fs::write(stage.join("Dockerfile.part"), "RUN true\n").unwrap();
        world.run("unknown", &["add", "--path", &format!("stages/{name}")]);
    }
    let output = world.pib("unknown", &["build"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors.matches("native tools are disabled").count(), 1, "{errors}");
    let tag = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "pib/unknown"]);
    assert_eq!(docker(&["run", "--rm", "--network=none", tag.trim(), "cat", "/mine"]), "done\n");
}
