use super::*;

/// Returns an empty folder below `target`.
fn folder(name: &str) -> PathBuf {
    let folder = root().join("target/tmp/dist-tests").join(name);
    let _ = fs::remove_dir_all(&folder);
    create(&folder).unwrap();
    folder
}

fn parsed(args: &[&str]) -> Outcome<Options> {
    options(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
}

#[test]
fn both_targets_are_compiled_unless_one_is_named() {
    assert_eq!(parsed(&[]).unwrap().targets, TARGETS);
    let one = parsed(&["--target", TARGETS[1], "--out", "/elsewhere", "--check"]).unwrap();
    assert_eq!(
        (one.targets.as_slice(), one.out.as_path()),
        (&[TARGETS[1].to_owned()][..], Path::new("/elsewhere"))
    );
    assert!(one.check);
    for (args, say) in [
        (
            &["--target", "riscv64gc-unknown-linux-musl"][..],
            "not released for `riscv64gc-unknown-linux-musl`",
        ),
        (&["--out"], "--out needs a value"),
        (&["--sign"], "unknown argument `--sign`"),
    ] {
        let error = parsed(args).err().unwrap();
        assert!(error.contains(say), "{error}");
    }
}

#[test]
fn a_build_that_differs_is_named_and_its_signature_is_not_compared() {
    let (one, other) = (folder("one"), folder("other"));
    for out in [&one, &other] {
        fs::write(out.join("pib.deb"), "the same").unwrap();
        fs::write(out.join("SHA256SUMS.sig"), out.display().to_string()).unwrap();
    }
    compare(&one, &other).unwrap();
    fs::write(other.join("pib.deb"), "another").unwrap();
    assert!(compare(&one, &other).unwrap_err().contains("two builds differ in pib.deb"));
    fs::remove_file(other.join("pib.deb")).unwrap();
    assert!(compare(&one, &other).unwrap_err().contains("different files"));
}

/// As the book tells people to check it.
#[test]
fn the_signature_is_what_ssh_keygen_verifies() {
    if !has("ssh-keygen") {
        eprintln!("skipped: this machine has no ssh-keygen");
        return;
    }
    let out = folder("signed");
    let path = |name: &str| out.join(name).display().to_string();
    capture(&mut command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &path("key")]))
        .unwrap();
    fs::write(out.join("SHA256SUMS"), "digest  pib.deb\n").unwrap();
    sign(&out, &out.join("key")).unwrap();
    let public = fs::read_to_string(out.join("key.pub")).unwrap();
    fs::write(out.join("allowed_signers"), format!("pib namespaces=\"pib-release\" {public}")).unwrap();
    let verify = || {
        let options = ["-Y", "verify", "-I", "pib", "-n", NAMESPACE];
        let mut verify = command("ssh-keygen", &options);
        verify.args(["-f", &path("allowed_signers"), "-s", &path("SHA256SUMS.sig")]);
        verify.stdin(fs::File::open(out.join("SHA256SUMS")).unwrap()).output().unwrap().status.success()
    };
    assert!(verify());
    fs::write(out.join("SHA256SUMS"), "another  pib.deb\n").unwrap();
    assert!(!verify());
}

#[test]
fn nothing_of_this_machine_is_in_what_cargo_compiles() {
    let cross = Cross(PathBuf::from("/tools"));
    let mut cargo = Command::new("cargo");
    cross.use_in(&mut cargo, TARGETS[1], &[(Path::new("/home/me/my work"), "/pib")]);
    let value = |name: &str| {
        let found = cargo.get_envs().find(|(key, _)| *key == name);
        found.and_then(|(_, value)| value).unwrap_or_default().to_string_lossy().into_owned()
    };
    assert_eq!(value("CARGO_ENCODED_RUSTFLAGS"), "--remap-path-prefix=/home/me/my work=/pib");
    let c = "'-ffile-prefix-map=/home/me/my work=/pib' -mno-outline-atomics";
    assert_eq!(value("CFLAGS_aarch64_unknown_linux_musl"), c);
    assert_eq!(value("CC_aarch64_unknown_linux_musl"), "/tools/bin/aarch64-clang");
    assert_eq!(value("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER"), "rust-lld");
}
