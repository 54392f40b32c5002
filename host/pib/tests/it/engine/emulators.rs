//! pib's own emulators: an engine whose kernel has no handlers builds what one with handlers builds, and handlers that are there
//! are not asked.

use std::process::Output;

use pib_plan::id::Digest;

use super::kind::Private;
use super::project::{Scratch, stderr_text};

/// Starts Docker in a user namespace with all users, and with handlers of its own: none.
///
/// The handlers of the machine must not be in sight, since its root would be allowed to change them.
const WITHOUT_HANDLERS: &str = r#"
mkfifo "$D/mapped"
test ! -e /proc/sys/fs/binfmt_misc/register
unshare --user --mount --net sh -euc '
    read -r _ < "$D/mapped"
    ip link set lo up
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    mkdir "$D/data"
    mount -t tmpfs -o size=2g tmpfs "$D/data"
    exec dockerd --data-root "$D/data" --exec-root "$D/exec" --pidfile "$D/pid" --host "unix://$D/engine.sock" \
        --iptables=false --ip6tables=false' &
inner=$!
while test "$(readlink "/proc/$inner/ns/user")" = "$(readlink /proc/self/ns/user)"; do sleep 0.05; done
for map in uid_map gid_map; do echo 0 0 65536 > "/proc/$inner/$map"; done
echo > "$D/mapped"
wait "$inner"
"#;

/// What a part runs: a name for each, a piece of shell, and what that says. It is the same whoever emulates, since the image
/// holds it.
const CASES: &[(&str, &str, &str)] = &[
    ("machine", "uname -m", "aarch64"),
    ("32 bits", "/it/arm && echo ran", "ran"),
    ("first argument", "sh -c 'echo $0' strange", "strange"),
    ("own program", "readlink /proc/self/exe", "/bin/busybox"),
    ("own program, run again", "exec -a echo /proc/self/exe again", "again"),
    ("script", "cd /it && ./script a b", "./script a b"),
    ("script by a script", "/it/nested c", "/it/script -x -y /it/nested c"),
    ("script by a relative interpreter", "cd /it && ./relative d", "./script ./relative d"),
    ("script without a first line", "/it/text", "a text"),
    ("script with a foreign end of line", "/it/crlf 2> /dev/null || echo $?", "127"),
    ("interpreters without end", "/it/loop 2> /dev/null || echo failed", "failed"),
    ("no environment", "env -i /bin/busybox env | grep -v -e PWD -e SHLVL -e ^_=; echo none", "none"),
    ("no such program", "/it/nothing 2> /dev/null || echo $?", "127"),
    ("a folder", "/it 2> /dev/null || echo $?", "126"),
    ("neither program nor script", "/it/data 2> /dev/null || echo $?", "127"),
    ("link", "/it/links/echo linked", "linked"),
    ("relative, after a change of folder", "cd /bin && ./busybox echo here", "here"),
    (
        "descriptor",
        "exec 9< /it/echo; (exec -a echo /proc/self/fd/9 open); exec -a echo /dev/fd/9 twice",
        "open twice",
    ),
    ("few descriptors", "ulimit -n 4; exec /it/echo few", "few"),
    ("many arguments", "seq 1 30000 | xargs -n 30000 -s 400000 /it/echo | wc -w", "30000"),
    ("many arguments of a script", "seq 1 30000 | xargs -n 30000 -s 400000 /it/count", "30000"),
    ("pipes", "echo a | cat | tr a b | cat", "b"),
    ("background", "(sleep 0.1; echo late) & wait; echo done", "late done"),
    ("signal", "trap 'echo got' USR1; kill -USR1 $$; echo ok", "got ok"),
    ("exit code", "sh -c 'exit 7' || echo $?", "7"),
    ("killed", "sh -c 'kill -9 $$' || echo $?", "137"),
    ("chroot", "chroot /it/root /bin/sh -c 'cd bin; ./echo in; /script; ls /'", "in in a chroot bin script"),
    ("other user", "su user -c 'id -u; /it/echo as; cd /it; ./echo user'", "1000 as user"),
    ("other user, by a script", "su user -c '/it/script e'", "/it/script e"),
    ("set-user-id", "su user -c '/it/set/id -u'", "1000"),
    ("for its owner alone", "su user -c '/it/private 2> /dev/null || echo $?'", "126"),
    ("no new rights", "setpriv --nnp echo nnp", "nnp"),
    ("sandbox of a follower", "unshare -n true 2> /dev/null; echo on", "on"),
];

/// Returns a script that writes what each case says to a file.
fn script() -> String {
    let case = |&(name, shell, _): &(&str, &str, &str)| {
        format!(
            "{{ {}\n}} > /tmp/out 2>> /tmp/errors < /dev/null; echo \"{name}: $(tr '\\n' ' ' < /tmp/out)\" >> /said\n",
            format_args!("sh -c {}", quoted(shell))
        )
    };
    let cases: String = CASES.iter().map(case).collect();
    format!("#!/bin/sh\n{SETUP}{cases}rm -rf /tmp/out /tmp/errors /it/set /it/private\n")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Makes what the cases use.
const SETUP: &str = r#"
for tool in cp rm uname readlink env grep tr xargs wc chroot su setpriv unshare id ls; do ln -sf busybox /bin/$tool; done
echo 'root:x:0:0::/:/bin/sh' > /etc/passwd; echo 'user:x:1000:1000::/:/bin/sh' >> /etc/passwd
cd /it
text() { printf "$2" > $1; chmod 755 $1; }
text script '#!/bin/sh\necho $0 $*\n'
text nested '#!/it/script -x -y\n'
text relative '#!./script\n'
text text 'echo a text\n'
text crlf '#!/bin/sh\r\necho wrong\n'
text loop '#!/it/loop\n'
text count '#!/bin/sh\necho $#\n'
text data '\000\001\002\003'
mkdir -p links set root/bin; ln /bin/busybox echo; ln -s ../echo links/echo
cp echo set/id; chmod 4755 set/id; cp echo private; chmod 700 private
ln echo root/bin/sh; ln echo root/bin/echo; ln echo root/bin/ls
text root/script '#!/bin/sh\necho in a chroot\n'
chmod 755 arm strange
"#;

/// Returns a program for ARM that ends at once, and well.
fn arm() -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0".to_vec();
    for word in [1_u32, 0x1_0054, 52, 0, 0x0500_0000, 0x0020_0034, 0x0028_0001, 0] {
        file.extend(word.to_le_bytes());
    }
    for word in [1_u32, 0, 0x1_0000, 0x1_0000, 96, 96, 5, 0x1_0000] {
        file.extend(word.to_le_bytes());
    }
    for word in [0xe3a0_0000_u32, 0xe3a0_7001, 0xef00_0000] {
        file.extend(word.to_le_bytes());
    }
    file
}

/// Returns the head of a program for RISC-V.
fn strange() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xf3\0".to_vec();
    file.resize(120, 0);
    file
}

fn project(host: &str) -> Scratch {
    let project = Scratch::new("whoemulates", host);
    let files = project.path("stages/mine/files");
    std::fs::create_dir_all(&files).unwrap();
    for (name, bytes) in [("arm", arm()), ("strange", strange()), ("cases", script().into_bytes())] {
        std::fs::write(files.join(name), bytes).unwrap();
    }
    project.part("mine", "COPY stages/mine/files/ /it/\nRUN sh /it/cases\n");
    project
}

fn must(project: &Scratch, args: &[&str]) -> String {
    let output = project.pib(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr_text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program for another processor.
fn run_strange(project: &Scratch) -> Output {
    project.pib(&["run", "--", "/it/strange"]).output().unwrap()
}

/// One build with each, for all cases: a mount namespace, a container and an image of their own each would take minutes.
#[test]
fn an_engine_without_handlers_builds_what_one_with_handlers_does() {
    let engine = Private::start(WITHOUT_HANDLERS, "dockerd");
    let without = project(&engine.host());
    let handlers = without.pib(&["build", "--emulator", "handlers"]).output().unwrap();
    assert!(!handlers.status.success(), "this engine has handlers");
    let built = without.build();
    assert!(built.status.success(), "{}\n{}", stderr_text(&built), engine.log());
    let said = must(&without, &["run", "--", "cat", "/said"]);
    let expected: Vec<String> = CASES.iter().map(|(name, _, said)| format!("{name}: {said} ")).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let failed = run_strange(&without);
    let text = stderr_text(&failed);
    assert!(
        failed.status.code() == Some(126) && text.contains("/it/strange: it is a program for RISC-V"),
        "{text}"
    );

    let with = project("unix:///var/run/docker.sock");
    must(&with, &["build", "--emulator", "handlers"]);
    let digest = |project: &Scratch| Digest::of(&std::fs::read(project.image()).unwrap());
    assert_eq!(digest(&without), digest(&with), "the images differ");

    // This machine has handlers, also for RISC-V: they are not asked.
    let failed = run_strange(&with);
    assert_eq!(failed.status.code(), Some(126), "{}", stderr_text(&failed));
    let parent = "sh -c 'readlink /proc/$PPID/exe; true'; true";
    let shown = must(&with, &["run", "--", "sh", "-c", parent]);
    assert_eq!(shown, "/.pib/emulators/qemu-aarch64\n");
}
