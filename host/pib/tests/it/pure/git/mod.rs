//! Stages out of git repositories, which git itself has made.

mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::forge::{Forge, Manners, Repo};

const HEAD: &str = "[project]\nname = \"router\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\n\
                    arch = \"arm64\"\n\n[stages]\n";

/// A project, and a folder for repositories beside it.
fn bench(stages: &str) -> Bench {
    Bench::new(&format!("{HEAD}{stages}"))
}

fn repo(bench: &Bench, name: &str) -> Repo {
    Repo::new(&bench.folder.path().join("repos").join(name))
}

/// A repository with the stage `kvm`: version 1.0.0 at tag v1, 2.0.0 at the tip of `main`.
fn kvm(bench: &Bench) -> (Repo, String, String) {
    let repo = repo(bench, "kvm");
    repo.stage("", "kvm", "1.0.0");
    let first = repo.commit();
    repo.git(&["tag", "v1"]);
    repo.stage("", "kvm", "2.0.0");
    let second = repo.commit();
    (repo, first, second)
}

fn read(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.path(name)).unwrap()
}

/// Runs what must succeed; returns what it wrote.
fn run(bench: &Bench, args: &[&str]) -> String {
    let ran = bench.run(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.out, ran.errors);
    ran.out
}

/// Throws away what the cache holds, as on a machine that never saw the project.
fn forget(bench: &Bench) {
    std::fs::remove_dir_all(bench.folder.path().join("cache")).unwrap();
}

#[test]
fn a_tag_a_branch_a_commit_and_the_default_branch_are_taken() {
    let bench = bench("");
    let (repo, first, second) = kvm(&bench);
    repo.git(&["tag", "-a", "-m", "with a text", "v2"]);
    repo.git(&["branch", "next", "v1"]);
    repo.git(&["update-ref", "refs/pull/3/head", "v1"]);
    let url = repo.url();
    let short = &first[..9];
    let cases: [(&[&str], &str, &str, &str); 7] = [
        (&["--tag", "v1"], "1.0.0", &first, "?tag=v1"),
        (&["--tag", "v2"], "2.0.0", &second, "?tag=v2"),
        (&["--branch", "next"], "1.0.0", &first, "?branch=next"),
        (&["--rev", &first], "1.0.0", &first, &format!("?rev={first}")),
        (&["--rev", short], "1.0.0", &first, &format!("?rev={short}")),
        (&["--rev", "refs/pull/3/head"], "1.0.0", &first, "?rev=refs/pull/3/head"),
        (&[], "2.0.0", &second, ""),
    ];
    for (flags, version, commit, query) in cases {
        let added = run(&bench, &[&["add", "--git", &url], flags].concat());
        assert!(added.starts_with(&format!("Added kvm {version}\n")), "{flags:?}: {added}");
        let lock = read(&bench, "pib.lock");
        assert!(lock.contains(&format!("source = \"git+{url}{query}#{commit}\"")), "{lock}");
        assert!(lock.contains("content = \"sha256:"), "{lock}");
        // What was written is what is built from: nothing moves by itself.
        assert_eq!(
            run(&bench, &["lock", "--locked", "--offline"]).trim(),
            "pib.lock is up to date: 3 stages"
        );
    }
    assert!(run(&bench, &["plan"]).contains("kvm"));
}

#[test]
fn a_stage_is_found_by_its_folder_or_its_name() {
    let bench = bench("");
    let repo = repo(&bench, "many");
    repo.stage("stages/kvm", "kvm", "1.2.3");
    repo.stage("stages/cam", "cam", "0.1.0");
    // As pi-builder has them: only a part.
    repo.write("stages/arch/bare/Dockerfile.part", "RUN true\n");
    repo.commit();
    let url = repo.url();
    run(&bench, &["add", "--git", &url, "--path", "stages/kvm"]);
    run(&bench, &["add", "cam", "--git", &url]);
    run(&bench, &["add", "bare", "--git", &url, "--path", "stages/arch/bare"]);
    let manifest = read(&bench, "pib.toml");
    for (name, path) in [("kvm", "stages/kvm"), ("cam", "stages/cam"), ("bare", "stages/arch/bare")] {
        let line = format!("{name} = {{ git = \"{url}\", path = \"{path}\" }}");
        assert!(manifest.contains(&line), "{manifest}");
    }
    assert!(read(&bench, "pib.lock").contains("version = \"0.0.0\""));
    bench.fails(&["add", "--git", &url], 2, &["3 stages that fit", "cam --path stages/cam"]);
    bench.fails(&["add", "cma", "--git", &url], 2, &["no stage `cma`", "It has"]);
    bench.fails(
        &["add", "cam", "--git", &url, "--path", "stages"],
        3,
        &["no stage at `stages`", "stages/cam"],
    );
    bench.fails(&["add", "cam", "--git", &url, "--path", "../x"], 3, &["`..`"]);
    bench.fails(&["add", "ro", "--git", &url, "--path", "stages/cam"], 3, &["holds stage `cam`, not `ro`"]);
    bench.fails(&["add", "cam", "--git", &url, "--tag", "v9"], 3, &["no tag `v9`", "no tag at all"]);
    bench.fails(&["add", "cam", "--git", &url, "--branch", "mian"], 3, &["no branch `mian`", "`main`"]);
}

#[test]
fn a_branch_moves_only_by_update() {
    let bench = bench("");
    let (repo, _, second) = kvm(&bench);
    run(&bench, &["add", "--git", &repo.url(), "--branch", "main"]);
    repo.stage("", "kvm", "3.0.0");
    let third = repo.commit();
    assert!(run(&bench, &["lock"]).contains("up to date"));
    assert!(read(&bench, "pib.lock").contains(&second));
    // Also on a machine that must fetch it first.
    forget(&bench);
    assert!(run(&bench, &["lock", "--locked"]).contains("up to date"));
    let updated = run(&bench, &["update", "kvm"]);
    assert!(updated.contains("2.0.0 -> 3.0.0"), "{updated}");
    assert!(read(&bench, "pib.lock").contains(&third));
}

#[test]
fn a_tag_that_moved_is_an_error_that_names_both_commits() {
    let bench = bench("");
    let (repo, first, second) = kvm(&bench);
    run(&bench, &["add", "--git", &repo.url(), "--tag", "v1"]);
    repo.git(&["tag", "-f", "v1", &second]);
    // What is in the cache is what was locked.
    assert!(run(&bench, &["lock", "--locked"]).contains("up to date"));
    forget(&bench);
    let say = ["tag `v1`", "moved since stage `kvm` was locked", &first, &second, "--accept-republished"];
    bench.fails(&["plan"], 8, &say);
    for args in [&["lock"][..], &["update"], &["update", "kvm"], &["update", "--dry-run"]] {
        bench.fails(args, 8, &say);
    }
    run(&bench, &["update", "kvm", "--accept-republished"]);
    assert!(read(&bench, "pib.lock").contains(&second));
    repo.git(&["tag", "-d", "v1"]);
    forget(&bench);
    bench.fails(&["plan"], 8, &["does not give commit", "tag `v1`, which is gone", "pib update kvm"]);
}

#[test]
fn a_rewritten_history_is_an_error_that_says_so() {
    let bench = bench("");
    let (repo, _, second) = kvm(&bench);
    run(&bench, &["add", "--git", &repo.url()]);
    repo.git(&["checkout", "-q", "--orphan", "other"]);
    repo.commit();
    repo.git(&["branch", "-D", "main"]);
    repo.git(&["tag", "-d", "v1"]);
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.git(&["gc", "-q", "--prune=now"]);
    forget(&bench);
    bench.fails(&["plan"], 8, &["does not give commit", &second, "history was rewritten"]);
}

#[test]
fn what_was_fetched_serves_without_a_network() {
    let bench = bench("");
    kvm(&bench);
    let forge = Forge::start(&bench.folder.path().join("repos"), Manners::default());
    let url = format!("{}/kvm/.git", forge.address);
    bench.fails(
        &["add", "--git", &url, "--tag", "v1", "--offline"],
        8,
        &["the tag `v1` of", "is not in the cache, and the network may not be used"],
    );
    run(&bench, &["add", "--git", &url, "--tag", "v1"]);
    let before = forge.requests();
    assert!(before > 0);
    run(&bench, &["lock", "--locked", "--offline"]);
    run(&bench, &["plan", "--frozen"]);
    run(&bench, &["plan"]);
    // A stage that was thrown away comes out of the repository's copy again.
    std::fs::remove_dir_all(bench.folder.path().join("cache/stages")).unwrap();
    run(&bench, &["plan", "--frozen"]);
    std::fs::remove_file(bench.path("pib.lock")).unwrap();
    run(&bench, &["lock", "--offline"]);
    assert_eq!(forge.requests(), before, "the network was used");
    forget(&bench);
    bench.fails(&["plan", "--frozen"], 8, &["of stage `kvm`", "is not in the cache", "--offline"]);
    run(&bench, &["plan", "--locked"]);
}

#[test]
fn little_is_fetched_over_the_web_and_more_where_it_must_be() {
    let bench = bench("");
    let (repo, first, second) = kvm(&bench);
    let forge = Forge::start(&bench.folder.path().join("repos"), Manners::default());
    let url = format!("{}/kvm/.git", forge.address);
    run(&bench, &["add", "--git", &url]);
    let copies = std::fs::read_dir(bench.folder.path().join("cache/git")).unwrap();
    let copy = copies.flatten().map(|entry| entry.path()).find(|path| path.join("HEAD").is_file()).unwrap();
    assert_eq!(std::fs::read_to_string(copy.join("shallow")).unwrap().trim(), second, "it has its history");
    // A second commit comes into the same copy, by the name and by its digits alone.
    run(&bench, &["add", "--git", &url, "--tag", "v1"]);
    assert!(read(&bench, "pib.lock").contains(&first));
    repo.stage("", "kvm", "3.0.0");
    let third = repo.commit();
    repo.stage("", "kvm", "4.0.0");
    repo.commit();
    run(&bench, &["add", "--git", &url, "--rev", &third]);
    run(&bench, &["add", "--git", &url, "--rev", &third[..8]]);
    run(&bench, &["add", "--git", &url, "--branch", "main"]);
    assert!(read(&bench, "pib.lock").contains("version = \"4.0.0\""));
    bench.fails(
        &["add", "--git", &format!("{}/kvn/.git", forge.address)],
        8,
        &["no repository at this address"],
    );
}

#[test]
fn submodules_come_along_from_their_own_repositories() {
    let bench = bench("");
    let library = repo(&bench, "library");
    library.write("lib.sh", "echo hello\n");
    let wanted = library.commit();
    let (repo, ..) = kvm(&bench);
    repo.git(&["submodule", "--quiet", "add", "../library", "files/lib"]);
    repo.commit();
    // It is the commit that counts, not what the library has by now.
    library.write("lib.sh", "echo later\n");
    library.commit();
    run(&bench, &["add", "--git", &repo.url()]);
    run(&bench, &["plan"]);
    let cached = std::fs::read_dir(bench.folder.path().join("cache/stages")).unwrap().flatten();
    let file = cached.map(|entry| entry.path().join("files/lib/lib.sh")).find(|path| path.is_file()).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "echo hello\n");
    assert_eq!(repo.git(&["rev-parse", "HEAD:files/lib"]), wanted);
    // The stage itself may be in a submodule.
    let outer = self::repo(&bench, "outer");
    outer.git(&["submodule", "--quiet", "add", "../kvm", "sub"]);
    outer.commit();
    run(&bench, &["add", "kvm", "--git", &outer.url(), "--path", "sub"]);
}

#[test]
fn submodules_in_a_circle_end_in_an_error() {
    let bench = bench("");
    let (repo, ..) = kvm(&bench);
    let other = self::repo(&bench, "other");
    other.write("x", "x");
    other.commit();
    other.git(&["submodule", "--quiet", "add", "../kvm", "kvm"]);
    other.commit();
    repo.git(&["submodule", "--quiet", "add", "../other", "files/other"]);
    repo.commit();
    bench.fails(&["add", "--git", &repo.url()], 8, &["leads back to a repository that it is in", "->"]);
    // A repository that is its own submodule.
    let own = self::repo(&bench, "own");
    own.stage("", "own", "1.0.0");
    own.commit();
    own.git(&["submodule", "--quiet", "add", "./", "files/own"]);
    own.commit();
    bench.fails(&["add", "--git", &own.url()], 8, &["leads back"]);
}

#[test]
fn what_no_stage_may_hold_is_refused_and_nothing_is_left() {
    let bench = bench("");
    let repo = repo(&bench, "kvm");
    repo.stage("", "kvm", "1.0.0");
    repo.write("files/a", "a");
    std::os::unix::fs::symlink("/etc/passwd", repo.folder.join("files/link")).unwrap();
    repo.commit();
    bench.fails(&["add", "--git", &repo.url()], 3, &["`files/link`", "symbolic link"]);
    std::fs::remove_file(repo.folder.join("files/link")).unwrap();
    repo.write("files/A", "a");
    repo.commit();
    bench.fails(&["add", "--git", &repo.url()], 3, &["differ in case only"]);
    let left = std::fs::read_dir(bench.folder.path().join("cache/stages/tmp")).unwrap().count();
    assert_eq!(left, 0, "half a stage is left in the cache");
}

#[test]
fn a_damaged_copy_is_fetched_anew() {
    let bench = bench("");
    kvm(&bench);
    let forge = Forge::start(&bench.folder.path().join("repos"), Manners::default());
    run(&bench, &["add", "--git", &format!("{}/kvm/.git", forge.address), "--tag", "v1"]);
    let cache = bench.folder.path().join("cache");
    std::fs::remove_dir_all(cache.join("stages")).unwrap();
    for entry in walkdir::WalkDir::new(cache.join("git")).into_iter().flatten() {
        if entry.file_type().is_file() && entry.path().to_string_lossy().contains("objects/") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    bench.fails(&["plan", "--frozen"], 1, &["reading the copy of"]);
    run(&bench, &["plan", "--locked"]);
    // A stage whose files were changed in the cache is not believed either.
    for entry in walkdir::WalkDir::new(cache.join("stages")).into_iter().flatten() {
        if entry.file_name() == "Dockerfile.part" {
            std::fs::write(entry.path(), "RUN evil\n").unwrap();
        }
    }
    assert!(!run(&bench, &["plan", "--dockerfile", "--frozen"]).contains("evil"));
}

#[test]
fn a_silent_server_is_given_up_within_a_bound() {
    let bench = bench("");
    bench.write("../.gitconfig", "[http]\n\tlowSpeedTime = 1\n");
    // It takes connections and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/kvm", listener.local_addr().unwrap());
    let began = Instant::now();
    bench.fails(&["add", "--git", &url], 8, &["did not answer", "nothing arrived for 1 seconds"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // It stops in the middle of a pack.
    kvm(&bench);
    let manners = Manners { falls_asleep: Arc::new(true.into()), ..Manners::default() };
    let forge = Forge::start(&bench.folder.path().join("repos"), manners);
    let began = Instant::now();
    bench.fails(
        &["add", "--git", &format!("{}/kvm/.git", forge.address)],
        8,
        &["nothing arrived for 1 seconds"],
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let silent_ssh = bench
        .run_with(&["add", "--git", "git@example.org:acme/kvm.git"], &[("GIT_SSH_COMMAND", "sleep 60; :")]);
    assert_eq!(silent_ssh.code, Some(8), "{}", silent_ssh.errors);
    assert!(silent_ssh.errors.contains("did not answer"), "{}", silent_ssh.errors);
}

#[test]
fn an_interrupt_ends_a_fetch_at_once() {
    let bench = bench("");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/kvm", listener.local_addr().unwrap());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pib"))
        .args(["add", "--git", &url])
        .current_dir(bench.path(""))
        .env("HOME", bench.folder.path())
        .env("PIB_CACHE_DIR", bench.folder.path().join("cache"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It is connected: it waits for an answer that never comes.
    let _connection = listener.accept().unwrap();
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let began = Instant::now();
    let status = child.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(status.code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("interrupted") && !said.contains("panicked"), "{said}");
}

#[test]
fn ssh_is_the_users_own_and_its_failures_are_explained() {
    let bench = bench("");
    let (repo, first, _) = kvm(&bench);
    let path = std::env::var("PATH").unwrap();
    // Stands for a server: notes how it was called and runs what it was told to, here.
    let log = bench.folder.path().join("ssh.log");
    let script =
        format!("#!/bin/sh\necho \"$@\" >> {}\nfor last; do :; done\nexec sh -c \"$last\"\n", log.display());
    bench.write("../ssh", &script);
    let command = format!("sh {}", bench.folder.path().join("ssh").display());
    let url = format!("ssh://git@example.org:2222{}", repo.folder.display());
    let ran = bench.run_with(
        &["add", "--git", &url, "--tag", "v1"],
        &[
            ("GIT_SSH_COMMAND", &command),
            ("PATH", &path),
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(read(&bench, "pib.lock").contains(&first));
    let called = std::fs::read_to_string(log).unwrap();
    assert!(
        called.contains("BatchMode=yes") && called.contains("-p 2222 git@example.org git-upload-pack"),
        "{called}"
    );

    let fails = |said: &str, advice: &[&str]| {
        let command = format!("echo '{said}' >&2; exit 255; :");
        let ran = bench.run_with(
            &["--json", "add", "--git", "git@example.org:acme/other.git"],
            &[("GIT_SSH_COMMAND", &command)],
        );
        assert_eq!(ran.code, Some(8), "{}", ran.errors);
        for words in advice.iter().copied().chain(["ssh to git@example.org failed", said]) {
            assert!(ran.errors.contains(words), "no `{words}` in: {}", ran.errors);
        }
    };
    fails("git@example.org: Permission denied (publickey).", &["takes none of your keys", "ssh-add"]);
    fails("Host key verification failed.", &["does not know the server", "ssh -T git@example.org"]);
    fails("ssh: Could not resolve hostname example.org", &["Check the network"]);
    // The real one: there is nobody at this port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = bench.run_with(&["add", "--git", &format!("ssh://git@127.0.0.1:{port}/acme/kvm")], &[]);
    assert_eq!(ran.code, Some(8), "{}", ran.errors);
    assert!(
        ran.errors.contains("Connection refused") || ran.errors.contains("could not be started"),
        "{}",
        ran.errors
    );
    bench.fails(&["add", "--git", "git://example.org/kvm"], 3, &["not safe", "neither encryption nor"]);
}

#[test]
fn passwords_come_from_the_users_helpers_and_go_to_one_host_only() {
    let bench = bench("");
    kvm(&bench);
    let root = bench.folder.path().join("repos");
    // `me:secret` in base 64.
    let forge = Forge::start(&root, Manners { login: Some("Basic bWU6c2VjcmV0"), ..Manners::default() });
    let url = format!("{}/kvm/.git", forge.address);
    let path = std::env::var("PATH").unwrap();
    let environment = [("PATH", path.as_str()), ("GIT_CONFIG_NOSYSTEM", "1")];
    let ran = bench.run_with(&["--json", "add", "--git", &url], &environment);
    assert_eq!(ran.code, Some(8), "{}", ran.errors);
    assert!(ran.errors.contains("no git credential helper"), "{}", ran.errors);
    let helper = "[credential]\n\thelper = \"!f() { echo username=me; echo password=secret; }; f\"\n";
    bench.write("../.gitconfig", helper);
    let ran = bench.run_with(&["add", "--git", &url], &environment);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(!read(&bench, "pib.lock").contains("secret") && !read(&bench, "pib.toml").contains("secret"));
    // Led to another host, it asks that one without what the first one is told.
    let other = Forge::start(&root, Manners::default());
    let manners = Manners {
        login: Some("Basic bWU6c2VjcmV0"),
        moved_to: Some(other.address.clone()),
        ..Manners::default()
    };
    let first = Forge::start(&root, manners);
    let ran = bench.run_with(&["add", "--git", &format!("{}/old/kvm/.git", first.address)], &environment);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let users = |forge: &Forge| -> Vec<(String, Option<String>)> {
        forge.asked.lock().unwrap().drain(..).map(|(method, _, user)| (method, user)).collect()
    };
    assert!(users(&first).iter().any(|(_, user)| user.is_some()), "the first host was not told");
    let asked = users(&other);
    assert!(asked.iter().any(|(method, _)| method == "POST"), "{asked:?}");
    assert!(asked.iter().all(|(_, user)| user.is_none()), "{asked:?}");
    // Where the other host wants a password, no helper is asked, and neither of them is told anything.
    let login = Some("Basic bWU6c2VjcmV0");
    let guarded = Forge::start(&root, Manners { login, ..Manners::default() });
    let moved_to = Some(guarded.address.clone());
    let leads = Forge::start(&root, Manners { moved_to, ..Manners::default() });
    let url = format!("{}/old/kvm/.git", leads.address);
    let ran = bench.run_with(&["--json", "add", "--git", &url], &environment);
    assert_eq!(ran.code, Some(8), "{}", ran.errors);
    assert!(ran.errors.contains("it is another one than was asked for"), "{}", ran.errors);
    for forge in [&guarded, &leads] {
        assert!(users(forge).iter().all(|(_, user)| user.is_none()));
    }
}

#[test]
fn what_a_killed_process_left_is_no_obstacle() {
    let bench = bench("");
    let (repo, first, _) = kvm(&bench);
    run(&bench, &["add", "--git", &repo.url()]);
    let copies = std::fs::read_dir(bench.folder.path().join("cache/git")).unwrap();
    let copy = copies.flatten().map(|entry| entry.path()).find(|path| path.join("HEAD").is_file()).unwrap();
    // It was writing that a commit is there.
    std::fs::write(copy.join(format!("refs/pib/commits/{first}.lock")), "").unwrap();
    std::fs::write(copy.join("objects/pack/pack_git2_Xyz"), "half a pack").unwrap();
    run(&bench, &["add", "--git", &repo.url(), "--tag", "v1"]);
    // It was only just making the copy.
    std::fs::remove_file(copy.join("HEAD")).unwrap();
    std::fs::remove_dir_all(bench.folder.path().join("cache/stages")).unwrap();
    run(&bench, &["plan", "--locked"]);
}

#[test]
fn a_fetch_that_is_killed_in_the_middle_leaves_nothing() {
    let bench = bench("");
    let (repo, ..) = kvm(&bench);
    // Enough, and not to be compressed much, that half of it is more than a piece of the protocol.
    let digest = |number: u32| pib_plan::id::Digest::of(&number.to_le_bytes()).hex();
    repo.write("files/data", &(0..20_000).map(digest).collect::<String>());
    repo.commit();
    let manners = Manners { falls_asleep: Arc::new(true.into()), awake_below: 1 << 18, ..Manners::default() };
    let forge = Forge::start(&bench.folder.path().join("repos"), manners.clone());
    let url = format!("{}/kvm/.git", forge.address);
    let mut pib = bench.in_here(std::process::Command::new(env!("CARGO_BIN_EXE_pib")));
    let mut child = pib.args(["add", "--git", &url]).stderr(std::process::Stdio::null()).spawn().unwrap();
    // Half a pack has arrived: it is being written under a name of its own. libgit2 makes short-lived files too, under
    // names with other beginnings, when it tries what the file system can do.
    let cache = bench.folder.path().join("cache");
    let half = || {
        let items = walkdir::WalkDir::new(cache.join("git")).into_iter().flatten();
        items.filter(|item| item.file_name().to_string_lossy().starts_with("pack_git2_")).count()
    };
    let began = Instant::now();
    while half() == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "no pack arrived");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(half(), 1);
    manners.falls_asleep.store(false, Ordering::Relaxed);
    let manifest = read(&bench, "pib.toml");
    assert!(!manifest.contains("kvm"), "{manifest}");
    assert!(!run(&bench, &["cache", "verify"]).contains("removed"));
    assert_eq!(half(), 0);
    run(&bench, &["add", "--git", &url]);
    run(&bench, &["plan", "--frozen"]);
}

#[test]
fn precise_moves_a_branch_to_a_commit() {
    let bench = bench("");
    let (repo, first, second) = kvm(&bench);
    run(&bench, &["add", "--git", &repo.url(), "--branch", "main"]);
    assert!(read(&bench, "pib.lock").contains(&second));
    let moved = run(&bench, &["update", "kvm", "--precise", &first[..10]]);
    assert!(moved.contains("2.0.0 -> 1.0.0"), "{moved}");
    let source = format!("source = \"git+{}?branch=main#{first}\"", repo.url());
    assert!(read(&bench, "pib.lock").contains(&source), "{}", read(&bench, "pib.lock"));
    // It stays there until it is moved again, also on a machine that must fetch it first.
    forget(&bench);
    run(&bench, &["plan", "--locked"]);
    assert!(run(&bench, &["lock"]).contains("up to date"));
    // What is in the cache needs no network; a name will do, too; and a trial writes nothing.
    let said = run(&bench, &["update", "kvm", "--precise", &first, "--offline"]);
    assert!(said.contains("Nothing to update"), "{said}");
    run(&bench, &["update", "kvm", "--precise", &second, "--dry-run"]);
    assert!(read(&bench, "pib.lock").contains(&first));
    run(&bench, &["update", "kvm", "--precise", &second]);
    run(&bench, &["update", "kvm", "--precise", "v1"]);
    assert!(read(&bench, "pib.lock").contains(&first));
    run(&bench, &["update", "kvm"]);
    assert!(read(&bench, "pib.lock").contains(&second));
    bench.fails(&["update", "kvm", "--precise", "0123456789"], 3, &["no rev `0123456789`"]);
    bench.fails(&["update", "__init__", "--precise", &first], 2, &["is no version", "--precise a1b2c3d"]);
    // A tag is held to its commit by the lock, so that the manifest is the place to change it.
    run(&bench, &["add", "--git", &repo.url(), "--tag", "v1"]);
    bench.fails(&["update", "kvm", "--precise", &second], 2, &["at tag `v1`", "in pib.toml"]);
    run(&bench, &["add", "--git", &repo.url(), "--rev", &first]);
    bench.fails(&["update", "kvm", "--precise", &second], 2, &["at rev"]);
}

#[test]
fn a_patch_may_come_from_git_and_a_reference_asked_twice_is_fetched_once() {
    let bench = bench("watchdog = \"1\"\n");
    let repo = repo(&bench, "mine");
    repo.stage("a", "watchdog", "9.0.0");
    repo.stage("b", "other", "1.0.0");
    repo.commit();
    let forge = Forge::start(&bench.folder.path().join("repos"), Manners::default());
    let url = format!("{}/mine/.git", forge.address);
    let stages = format!(
        "watchdog = \"1\"\nother = {{ git = \"{url}\", path = \"b\" }}\n\n[patch]\nwatchdog = {{ git = \"{url}\", path = \"a\" }}\n"
    );
    bench.write("pib.toml", &format!("{HEAD}{stages}").replace("watchdog = \"1\"", "watchdog = \"9\""));
    run(&bench, &["lock"]);
    assert!(read(&bench, "pib.lock").contains("version = \"9.0.0\""));
    let asked = forge.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|(method, ..)| method == "GET").count(), 1, "{asked:?}");
}

#[test]
fn many_at_once_share_one_copy() {
    let bench = bench("");
    let (repo, ..) = kvm(&bench);
    bench.write("pib.toml", &format!("{HEAD}kvm = {{ git = \"{}\" }}\n", repo.url()));
    let codes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(|| bench.run(&["lock"]).code)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
    run(&bench, &["plan", "--frozen"]);
}
