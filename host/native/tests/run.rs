//! The program that starts commands, run for real: on this machine's own root file system under an overlay, with a
//! companion whose twin is a copy, so that it is told by its path alone.
//!
//! That takes root and overlayfs. Where there is neither, the tests say that they were skipped.

#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]

use std::ffi::{CString, c_char, c_int};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Output};

/// Sets up the overlay in the folder `$1` and runs the rest in it.
const ENTER: &str = r#"
set -e
dir=$1; shift
mount -t tmpfs none "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" none "$dir/root"
for folder in proc dev; do mount --rbind /$folder "$dir/root/$folder"; done
mkdir -p "$dir/root/.pib/usr/bin"
tool=$(readlink -f /usr/bin/readlink)
cp "$tool" "$dir/root/.pib$tool"
printf 'tool\t%s\tcoreutils\t1\tx\n' "$tool" > "$dir/root/.pib/tools"
for folder in $COMPANION; do mkdir -p "$dir/root/.pib/$folder"; done
mkdir -p "$dir/root/it" "$dir/root/.pib/emulators"
for emulator in qemu-aarch64 qemu-arm; do
    printf '#!/bin/sh\necho "$0" "$@"\n' > "$dir/root/.pib/emulators/$emulator"
    chmod 755 "$dir/root/.pib/emulators/$emulator"
done
# Heads of programs: for 64-bit and 32-bit ARM, and for RISC-V.
printf '\177ELF\002\001\001\0\0\0\0\0\0\0\0\0\002\0\267\0' > "$dir/root/it/arm64"
printf '\177ELF\001\001\001\0\0\0\0\0\0\0\0\0\002\0\050\0' > "$dir/root/it/arm"
printf '\177ELF\002\001\001\0\0\0\0\0\0\0\0\0\002\0\363\0' > "$dir/root/it/riscv"
chmod 755 "$dir/root/it/arm64" "$dir/root/it/arm" "$dir/root/it/riscv"
cp "$RUNNER" "$dir/root/.pib/run"; cp "$HELPER" "$dir/root/it/helper"
echo entered
# Bounds are those of a container, where nobody may look into the processes of others.
exec $BOUNDS chroot "$dir/root" /.pib/run --fresh $OPTIONS "$@"
"#;

/// The path that a twin shows.
const TWIN: &str = "/.pib/usr/bin/readlink\n";

/// Runs a command as the program does in a build, with empty folders of the companion; `None` where that cannot be.
fn run(companion: &str, command: &[&str]) -> Option<Output> {
    run_with("", companion, command)
}

/// Runs it with an option.
fn run_with(option: &str, companion: &str, command: &[&str]) -> Option<Output> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("pib-native-run-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut enter = Command::new("unshare");
    enter.args(["--mount", "sh", "-c", ENTER, "enter"]).arg(&folder).args(command);
    enter.env("RUNNER", env!("CARGO_BIN_EXE_pib-native")).env("COMPANION", companion).env("OPTIONS", option);
    let bounds =
        if option.is_empty() { "" } else { "setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace" };
    enter.env("BOUNDS", bounds);
    let mut output = enter.env("HELPER", std::env::current_exe().unwrap()).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    match output.stdout.strip_prefix(b"entered\n") {
        Some(rest) => output.stdout = rest.to_vec(),
        None => {
            eprintln!("skipped: no overlay here: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
    }
    Some(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_twin_takes_the_place_of_a_tool() {
    let Some(output) =
        run("", &["sh", "-c", "readlink /proc/self/exe; cd /usr/bin; ./readlink /proc/self/exe"])
    else {
        return;
    };
    assert_eq!((text(&output.stdout), text(&output.stderr)), (TWIN.repeat(2), String::new()));
}

#[test]
fn a_command_that_cannot_be_run_is_told_with_the_shells_exit_code() {
    for (command, code, reason) in [
        ("nosuch", 127, "pib: could not run nosuch: No such file or directory (os error 2)\n"),
        ("/no/such", 127, "pib: could not run /no/such: No such file or directory (os error 2)\n"),
        ("/etc/passwd", 126, "pib: could not run /etc/passwd: Permission denied (os error 13)\n"),
        ("/it", 126, "pib: could not run /it: Permission denied (os error 13)\n"),
    ] {
        let Some(output) = run("", &[command]) else { return };
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(code), reason.to_owned()));
    }
}

#[test]
fn a_file_without_a_first_line_is_no_command() {
    let part = "printf 'echo run by a shell\\n' > /it/x; chmod +x /it/x; /.pib/run --fresh /it/x; echo $?";
    // Followed already, it follows nothing itself; the command is started all the same.
    let Some(output) = run("", &["sh", "-c", part]) else { return };
    let errors = text(&output.stderr);
    assert_eq!(text(&output.stdout), "126\n", "{errors}");
    assert!(errors.contains("could not run /it/x: Exec format error"), "{errors}");
}

#[test]
fn a_call_by_descriptor_is_followed() {
    let helper = ["/it/helper", "--exact", "helper", "--nocapture", "--quiet"];
    let command = format!("HELPER_RUNS=/usr/bin/readlink exec {}", helper.join(" "));
    let Some(output) = run("", &["sh", "-c", &command]) else { return };
    assert!(text(&output.stdout).ends_with(TWIN), "{output:?}");
    let command = "exec 9< /usr/bin/readlink; /proc/self/fd/9 /proc/self/exe; /dev/fd/9 /proc/self/exe";
    let Some(output) = run("", &["bash", "-c", command]) else { return };
    assert_eq!((text(&output.stdout), text(&output.stderr)), (TWIN.repeat(2), String::new()));
}

/// Is no test: it becomes the program that the environment names, by a descriptor.
#[test]
fn helper() {
    unsafe extern "C" {
        fn fexecve(file: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    }
    let Some(program) = std::env::var_os("HELPER_RUNS") else { return };
    let file = std::fs::File::open(Path::new(&program)).unwrap();
    let words = ["readlink", "/proc/self/exe"].map(|word| CString::new(word).unwrap());
    let argv = [words[0].as_ptr(), words[1].as_ptr(), std::ptr::null()];
    // SAFETY: both lists end in a null pointer, and what they point to is alive.
    let failed = unsafe { fexecve(file.as_raw_fd(), argv.as_ptr(), [std::ptr::null()].as_ptr()) };
    panic!("fexecve gave {failed}: {}", std::io::Error::last_os_error());
}

#[test]
fn other_file_systems_have_other_files() {
    let inside = "mount --bind /usr/bin/echo /usr/bin/readlink; readlink the other";
    let command =
        format!("readlink /proc/self/exe; unshare --mount sh -c '{inside}'; readlink /proc/self/exe");
    let Some(output) = run("", &["sh", "-c", &command]) else { return };
    assert_eq!(text(&output.stdout), format!("{TWIN}the other\n{TWIN}"), "{output:?}");
}

#[test]
fn a_program_that_would_gain_rights_ends_the_build_where_it_would_gain_them() {
    let set = "cp /usr/bin/id /it/id; chmod 4755 /it/id; setpriv --reuid 1000 --regid 1000 --clear-groups /it/id -u; echo on";
    let told = "/it/id changes its user or group when it starts";
    for (companion, code, out, said) in [
        ("", 0, "1000\non\n", ""),
        ("set-id/unknown", 0, "1000\non\n", "the stage may have to say `native = false`"),
        ("set-id/given", 125, "", "the stage must say `native = false`"),
    ] {
        let Some(output) = run(companion, &["sh", "-c", set]) else { return };
        let errors = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (Some(code), out),
            "{companion}: {errors}"
        );
        assert!(
            errors.contains(said) && errors.contains(told) != companion.is_empty(),
            "{companion}: {errors}"
        );
    }
}

#[test]
fn an_emulator_is_called_as_the_kernel_calls_a_handler() {
    const ARM64: &str = "/.pib/emulators/qemu-aarch64 -0";
    for (shell, said) in [
        ("/it/arm64 a b", format!("{ARM64} /it/arm64 -- /it/arm64 a b")),
        ("cd /it; ./arm64", format!("{ARM64} ./arm64 -- ./arm64")),
        ("exec -a name /it/arm64 a", format!("{ARM64} name -- /it/arm64 a")),
        ("/it/arm a", "/.pib/emulators/qemu-arm -0 /it/arm -- /it/arm a".to_owned()),
        (
            "echo '#!/it/arm64 -x' > /it/s; chmod 755 /it/s; /it/s a",
            format!("{ARM64} /it/arm64 -- /it/arm64 -x /it/s a"),
        ),
        ("exec 9< /it/arm64; /dev/fd/9 a", format!("{ARM64} /dev/fd/9 -- /dev/fd/9 a")),
        ("ln -s arm64 /it/l; /it/l", format!("{ARM64} /it/l -- /it/l")),
        ("setpriv --reuid 1000 --clear-groups /it/arm64 a", format!("{ARM64} /it/arm64 -- /it/arm64 a")),
        ("cd /it; setpriv --reuid 1000 ./arm64", format!("{ARM64} ./arm64 -- ./arm64")),
        // A program of this machine is nothing for an emulator.
        ("cp /bin/echo /it/e; /it/e native", "native".to_owned()),
        ("readlink /proc/self/exe", TWIN.trim_end().to_owned()),
    ] {
        let Some(output) = run_with("--emulate", "", &["bash", "-c", shell]) else { return };
        assert_eq!(text(&output.stdout), format!("{said}\n"), "{shell}: {output:?}");
    }
}

#[test]
fn what_no_emulator_runs_fails_as_in_the_kernel() {
    for (shell, code, said) in [
        ("/it/riscv", 126, "pib: cannot run /it/riscv: it is a program for RISC-V, for which"),
        (
            "chmod 711 /it/arm64; setpriv --reuid 1000 --clear-groups bash -c '/it/arm64; exit $?'",
            126,
            "must be allowed to read it",
        ),
        (
            "chmod 700 /it/arm64; setpriv --reuid 1000 --clear-groups bash -c '/it/arm64; exit $?'",
            126,
            "Permission denied",
        ),
        ("chmod 644 /it/arm64; /it/arm64", 126, "Permission denied"),
    ] {
        let Some(output) = run_with("--emulate", "", &["bash", "-c", shell]) else { return };
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{shell}: {errors}");
        assert!(errors.contains(said), "{shell}: {errors}");
    }
    // Handlers do it where nobody asked for emulators; what they say is their own.
    let Some(output) = run("", &["/it/riscv"]) else { return };
    assert!(!text(&output.stderr).contains("RISC-V"), "{output:?}");
}
