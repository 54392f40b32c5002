//! What `pib stage` does for an author who needs no compiler.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use crate::bench::{Bench, PROJECT};
use crate::forge::Repo;
use crate::guests;

#[test]
fn a_new_stage_is_whole_and_harms_nothing() {
    let bench = Bench::new("");
    let made = bench.run(&["stage", "new", "stages/hello"]);
    assert_eq!(made.out, "Created stage hello in stages/hello\n", "{}", made.errors);
    let files: Vec<_> = std::fs::read_dir(bench.path("stages/hello"))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let mode = std::fs::metadata(bench.path("stages/hello")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    bench.fails(&["stage", "new", "stages/hello", "--hook", "rust"], 2, &["`stages/hello` exists already"]);
    bench.fails(&["stage", "new", "Bad_Name"], 2, &["not a valid name"]);
    bench.fails(&["stage", "new", "other", "--hook", "cobol"], 2, &["cobol", "rust"]);
    bench.fails(&["stage", "build", "stages/hello"], 3, &["has no Rust crate", "--hook rust"]);
    bench.fails(&["stage", "build", "stages/none"], 2, &["no folder `stages/none`"]);
}

#[test]
fn what_is_missing_is_said_with_the_remedy() {
    let bench = Bench::new("");
    assert_eq!(bench.run(&["stage", "new", "hello", "--hook", "rust"]).code, Some(0));
    // This environment has no PATH, and so no Rust.
    bench.fails(
        &["stage", "build", "hello"],
        3,
        &["there is no `rustc`", "https://rustup.rs", "rustup target add"],
    );
    // A compiler that has never heard of the target.
    let rustc = bench.path("rustc");
    bench.write("rustc", "#!/bin/sh\necho /nonexistent/lib\necho /nonexistent\n");
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = bench.run_with(&["stage", "build", "hello"], &[("RUSTC", rustc.to_str().unwrap())]);
    assert_eq!(ran.code, Some(3));
    let flat: String = ran.errors.split_whitespace().collect::<Vec<_>>().join(" ");
    for say in [
        "has no target wasm32-unknown-unknown",
        "`rustup target add wasm32-unknown-unknown`",
        "libstd-rust-dev-wasm32",
    ] {
        assert!(flat.contains(say), "no `{say}` in:\n{flat}");
    }
}

/// The times of a checkout say nothing; a change since then does.
#[test]
fn a_stale_component_is_told_from_a_checkout() {
    let bench = Bench::new("");
    let manifest = "description = \"x\"\nlicense = \"MIT\"\n[hook]\ncomponent = \"hook.wasm\"\n";
    bench.stage("mine", manifest, Some("RUN true\n"));
    let (component, code) = ("stages/mine/hook.wasm", "stages/mine/hook/src/lib.rs");
    let write = |path: &str, content: &[u8], seconds: u64| {
        bench.write(path, content);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
        std::fs::File::options().write(true).open(bench.path(path)).unwrap().set_modified(time).unwrap();
    };
    let is_stale = || {
        let ran = bench.run(&["stage", "check", "stages/mine"]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        let told = "warning: hook/ has changed since hook.wasm was built; run `pib stage build`";
        assert_eq!(ran.out.contains("warning: "), ran.out.contains(told), "{}", ran.out);
        ran.out.contains(told)
    };
    let built = guests::harmless();
    write(component, &built, 0);
    write(code, b"one", 1);
    assert!(is_stale(), "outside of git, times are all there is");
    write("stages/mine/hook/Cargo.lock", b"", 2);
    write("stages/mine/hook/target/output", b"", 2);
    write(component, &built, 1);
    assert!(!is_stale(), "what a build writes is no source");

    let repository = Repo::new(&bench.path(""));
    write(component, &built, 0);
    assert!(is_stale(), "before the first commit");
    repository.write(".gitignore", "*.wasm\ntarget/\n");
    repository.commit();
    assert!(is_stale(), "a component that is not committed");
    repository.write(".gitignore", "");
    std::fs::remove_dir_all(bench.path("stages/mine/hook/target")).unwrap();
    repository.commit();
    write(component, &built, 0);
    write("stages/mine/hook/target/output", b"", 2);
    write("stages/mine/README.md", b"new", 2);
    assert!(!is_stale(), "nothing that matters has changed since the commit");
    write(code, b"two", 2);
    assert!(is_stale(), "the source has changed");
    repository.git(&["add", "-A"]);
    assert!(is_stale(), "the source has changed, and is in the index");
    repository.git(&["reset", "-q"]);
    write(component, &guests::part("RUN false\n"), 3);
    assert!(!is_stale(), "it was built again");
    write(code, b"one", 4);
    assert!(is_stale(), "the source is as before, and newer than a component that is not");
    write(component, &built, 0);
    assert!(!is_stale(), "all is as it was committed");
    write("stages/mine/hook/src/new.rs", b"", 4);
    assert!(is_stale(), "there is a new source");
}

/// A user's mistake is shown where it stands in `pib.toml`, with what the hook says to do.
#[test]
fn a_private_key_is_shown_at_its_line() {
    let key = "rootssh = { version = \"1\", config = { authorized-keys = [\"keys/me\"] } }\n";
    let bench = Bench::new(&format!("{PROJECT}{key}"));
    bench.write(
        "keys/me",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n",
    );
    let ran = bench.run(&["plan", "--quiet"]);
    assert_eq!(ran.code, Some(3), "{}", ran.errors);
    assert_eq!(ran.out, "");
    insta::assert_snapshot!(ran.errors);
}

/// What the sandbox answers for our own stages is what their code answers in its tests: it is there, and it runs.
#[test]
fn our_own_hooks_pass_their_check() {
    let bench = Bench::new("");
    bench.write(
        "me.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me\n",
    );
    bench.write("bad.pub", "ssh-ed25519 AAAA me\n");
    let root = crate::world::root();
    let stage = |name: &str| root.join("stages").join(name).to_str().unwrap().to_owned();
    for (name, config) in [
        ("watchdog", "timeout=10"),
        ("ro", "volatile=/var/lib/bluetooth=1MiB"),
        ("rootssh", "authorized-keys=me.pub"),
        ("network", "interface=eth0"),
    ] {
        let ran = bench.run(&["stage", "check", &stage(name), "--config", config]);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.errors);
        for say in [
            "ok the hook answers the same twice",
            "ok what it renders can be built",
            "imports pib:stage/host@0.1.0",
        ] {
            assert!(ran.out.contains(say), "{name}: no `{say}` in:\n{}", ran.out);
        }
    }
    for (name, config, say) in [
        ("watchdog", "timeout=16", "counts to 15 at most"),
        ("ro", "volatile=/usr=1MiB", "what the system needs in /usr"),
        ("rootssh", "authorized-keys=bad.pub", "line 1 of `bad.pub` is not a whole public key"),
        ("network", "method=static", "a static network needs an address"),
    ] {
        let ran = bench.run(&["stage", "render", &stage(name), "--config", config]);
        assert_eq!(ran.code, Some(3), "{name}: {}", ran.errors);
        assert!(ran.out.starts_with("error: `") && ran.out.contains(say), "{name}: {}", ran.out);
    }
    let unknown = bench.run(&["stage", "render", &stage("network"), "--config", "metod=static"]);
    assert!(
        unknown.code == Some(2) && unknown.errors.contains("Did you mean `method`?"),
        "{}",
        unknown.errors
    );
}

/// A repository may have come with the stage: it opens nothing outside, and no command waits for what stands in it.
#[test]
fn a_repository_that_came_with_a_stage_leads_nowhere() {
    let manifest = "description = \"x\"\nlicense = \"MIT\"\n[hook]\ncomponent = \"hook.wasm\"\n";
    // Whatever opens the pipe waits for ever.
    let set = |bench: &Bench, name: &str, text: &str| {
        let path = bench.path(name);
        let text = text.replace("PIPE", &bench.folder.path().join("pipe").display().to_string());
        let _ = std::fs::remove_file(&path);
        match text.as_str() {
            "" => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap(),
            text => bench.write(name, text),
        }
    };
    let told = "is not read";
    for (name, text, told) in [
        (".git/config", "[core]\n\tbare = false\n[Include]\n\tpath = PIPE\n", told),
        (".git/config", "[includeIf \"gitdir:/\"]\n\tpath = PIPE\n", told),
        (".git/config", "[core]\n\texcludesFile = PIPE\n", told),
        (".git/config", "[core]\n\tworktree = /\n", told),
        (".git/config", "", told),
        (".git/HEAD", "", told),
        (".git/index", "", ""),
        (".git/packed-refs", "", told),
        (".git/refs/heads/main", "", told),
        (".git/info/exclude", "", told),
        (".git/objects/info/alternates", "PIPE\n", told),
        (".git/commondir", "PIPE\n", told),
        (".gitignore", "", ""),
        (".gitattributes", "", ""),
        ("stages/mine/hook/.gitignore", "", ""),
        ("stages/mine/hook/src/pipe.rs", "", ""),
    ] {
        let bench = Bench::new("");
        bench.stage("mine", manifest, Some("RUN true\n"));
        bench.write("stages/mine/hook.wasm", &guests::harmless());
        bench.write("stages/mine/hook/src/lib.rs", "one");
        let repository = Repo::new(&bench.path(""));
        repository.commit();
        bench.write("stages/mine/hook/src/new.rs", "two");
        rustix::fs::mkfifoat(rustix::fs::CWD, bench.folder.path().join("pipe"), rustix::fs::Mode::RWXU)
            .unwrap();
        std::fs::create_dir_all(bench.path(".git/objects/info")).unwrap();
        set(&bench, name, text);
        let mut pib = bench.in_here(std::process::Command::new(env!("CARGO_BIN_EXE_pib")));
        pib.args(["stage", "check", "stages/mine"]);
        let mut child =
            pib.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let began = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("it waits for {name}: {text}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let ran = bench.ran(&child.wait_with_output().unwrap());
        let flat: String = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.errors);
        assert!(flat.contains(told), "{name}: {text}: {flat}");
        assert!(flat.contains("hook/ has changed since"), "{name}: {text}: {flat}");
    }
}
