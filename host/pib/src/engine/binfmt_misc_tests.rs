use super::*;

const DEBIAN: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: PF\noffset 0\n\
    magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

fn kernel() -> (tempfile::TempDir, Binfmt) {
    let folder = tempfile::tempdir().unwrap();
    let handlers = folder.path().join("binfmt");
    fs::create_dir(&handlers).unwrap();
    fs::write(handlers.join("register"), "").unwrap();
    fs::write(handlers.join("status"), "enabled\n").unwrap();
    let binfmt = Binfmt { handlers, root: folder.path().to_owned() };
    (folder, binfmt)
}

#[test]
fn handlers_are_recognised_by_what_they_take() {
    let (_folder, binfmt) = kernel();
    assert_eq!(binfmt.read().status(Arch::Arm64), BinfmtStatus::Missing);
    fs::write(
        binfmt.handlers.join("jar"),
        "enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic 504b0304\n",
    )
    .unwrap();
    fs::write(binfmt.handlers.join("any-name"), DEBIAN).unwrap();
    let interpreter = PathBuf::from("/usr/libexec/qemu-binfmt/aarch64-binfmt-P");
    let (name, flags) = ("any-name".to_owned(), "PF".to_owned());
    assert_eq!(binfmt.read().status(Arch::Arm64), BinfmtStatus::Registered { name, interpreter, flags });
    assert_eq!(binfmt.read().status(Arch::Armv7), BinfmtStatus::Missing);
    fs::write(binfmt.handlers.join("any-name"), DEBIAN.replace("PF", "OC")).unwrap();
    assert!(matches!(binfmt.read().status(Arch::Arm64), BinfmtStatus::NotFixed { .. }));
    fs::write(binfmt.handlers.join("any-name"), DEBIAN.replace("enabled", "disabled")).unwrap();
    assert!(matches!(binfmt.read().status(Arch::Arm64), BinfmtStatus::Disabled { .. }));
    let gone = Binfmt { handlers: "/nonexistent".into(), root: "/".into() };
    assert_eq!(gone.read().status(Arch::Arm64), BinfmtStatus::NotMounted);
}

#[test]
fn what_is_registered_is_what_the_kernel_takes() {
    let (folder, binfmt) = kernel();
    assert!(matches!(binfmt.install(Arch::Arm64, false), Err(BinfmtError::NoEmulator { .. })));
    let emulator = folder.path().join("usr/bin/qemu-aarch64-static");
    fs::create_dir_all(emulator.parent().unwrap()).unwrap();
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    fs::write(&emulator, &elf).unwrap();
    let installed = binfmt.install(Arch::Arm64, false).unwrap();
    assert_eq!(installed, Changed::Registered { interpreter: "/usr/bin/qemu-aarch64-static".into() });
    let line = fs::read_to_string(binfmt.handlers.join("register")).unwrap();
    let fields: Vec<&str> = line.split(':').collect();
    assert_eq!(
        (fields[1], fields[2], fields[6], fields[7]),
        ("pib-aarch64", "M", "/usr/bin/qemu-aarch64-static", "F")
    );
    assert_eq!(fields[4].replace("\\x", ""), "7f454c460201010000000000000000000200b700");
    assert_eq!(fields[5].replace("\\x", ""), "ffffffffffffff00fffffffffffffffffeffffff");
}

#[test]
fn a_foreign_handler_is_replaced_only_when_told() {
    let (_folder, binfmt) = kernel();
    let other = binfmt.handlers.join("qemu-aarch64");
    fs::write(&other, DEBIAN.replace("PF", "P")).unwrap();
    assert!(matches!(binfmt.install(Arch::Arm64, false), Err(BinfmtError::Foreign { .. })));
    assert_eq!(fs::read_to_string(&other).unwrap(), DEBIAN.replace("PF", "P"));
    assert!(matches!(binfmt.install(Arch::Arm64, true), Err(BinfmtError::NoEmulator { .. })));
    assert_eq!(fs::read_to_string(&other).unwrap(), DEBIAN.replace("PF", "P"));
    let kept = Changed::Nothing { others: vec!["qemu-aarch64".to_owned()] };
    assert_eq!(binfmt.remove(Arch::Arm64, false).unwrap(), kept);
    assert_eq!(fs::read_to_string(&other).unwrap(), DEBIAN.replace("PF", "P"));
}

#[test]
fn only_what_pib_registered_is_removed() {
    let (_folder, binfmt) = kernel();
    for name in ["pib-aarch64", "qemu-aarch64"] {
        fs::write(binfmt.handlers.join(name), DEBIAN).unwrap();
    }
    let text = |name: &str| fs::read_to_string(binfmt.handlers.join(name)).unwrap();
    assert_eq!(binfmt.remove(Arch::Armv7, true).unwrap(), Changed::Nothing { others: vec![] });
    let removed = Changed::Removed { names: vec!["pib-aarch64".to_owned()] };
    assert_eq!(binfmt.remove(Arch::Arm64, false).unwrap(), removed);
    assert_eq!((text("pib-aarch64").as_str(), text("qemu-aarch64").as_str()), ("-1", DEBIAN));
    assert!(matches!(binfmt.remove(Arch::Arm64, true).unwrap(), Changed::Removed { .. }));
    assert_eq!(text("qemu-aarch64"), "-1");
}

#[test]
fn the_engines_architecture_decides_what_is_native() {
    assert!(
        is_native("arm64", Arch::Arm64) && is_native("arm64", Arch::Armv7) && is_native("arm", Arch::Armv6)
    );
    assert!(!is_native("amd64", Arch::Arm64) && !is_native("arm", Arch::Arm64));
    let error = check(&BinfmtStatus::Missing, Arch::Armv7).unwrap_err();
    assert!(error.to_string().contains("armv7"), "{error}");
}

#[test]
fn flag_c_gives_rights() {
    let (_folder, binfmt) = kernel();
    for (flags, gives) in [("PF", false), ("F", false), ("POCF", true), ("OC", false)] {
        fs::write(binfmt.handlers.join("qemu-aarch64"), DEBIAN.replace("PF", flags)).unwrap();
        assert_eq!(binfmt.read().status(Arch::Arm64).gives_rights(), gives, "{flags}");
    }
    assert!(!binfmt.read().status(Arch::Armv7).gives_rights());
}
