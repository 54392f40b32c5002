//! Registering emulators with the real kernel, in a namespace of its own.

use std::process::Command;

/// Kernels since 6.7 keep the handlers of a user namespace apart; what is done there, the machine never sees.
#[test]
fn handlers_are_registered_once_and_foreign_ones_are_left_alone() {
    let script = "\
        cd /proc/sys/fs/binfmt_misc && mount -t binfmt_misc binfmt_misc . 2>/dev/null || { echo unable; exit 0; }
        cd /proc/sys/fs/binfmt_misc
        \"$PIB\" binfmt || exit 11
        cat qemu-aarch64
        \"$PIB\" binfmt || exit 12
        echo -1 > qemu-aarch64
        printf ':other:M::\\\\x7fELF\\\\x02\\\\x01\\\\x01\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x02\\\\x00\\\\xb7::/bin/true:' > register
        if \"$PIB\" binfmt; then exit 13; fi
        test -e other || exit 14
        \"$PIB\" binfmt --replace || exit 15
        if test -e other; then exit 16; fi
        cat qemu-aarch64";
    let mut shell = Command::new("unshare");
    let output =
        shell.args(["-Urm", "sh", "-c", script]).env("PIB", env!("CARGO_BIN_EXE_pib")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && said.is_empty() || said.contains("unable") {
        eprintln!("skipped: this kernel has no handlers per namespace");
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let flags: Vec<&str> = said.lines().filter(|line| line.starts_with("flags: ")).collect();
    assert!(flags.len() == 2 && flags.iter().all(|line| line.contains('F')), "{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--replace"), "{errors}");
}
