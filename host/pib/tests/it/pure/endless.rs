//! Servers that go on for ever: each ends with an error that says so, or with the signal that stops pib.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pib_plan::id::Digest;

use crate::bench::{Bench, PROJECT};
use crate::forge::Repo;
use crate::web;

/// What a registry that is not signed answers.
const UNSIGNED: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Returns the index line of a version that needs these stages.
fn line(name: &str, version: &str, needs: impl IntoIterator<Item = String>) -> String {
    let digest = Digest::of(b"");
    let needs: Vec<String> = needs.into_iter().map(|needed| format!("\"{needed}\":\"*\"")).collect();
    format!(
        "{{\"name\":\"{name}\",\"vers\":\"{version}\",\"cksum\":\"{digest}\",\"content\":\"{digest}\",\"deps\":{{{}}}}}\n",
        needs.join(",")
    )
}

/// Starts a registry that makes its index up; returns its address and how often it is asked.
fn registry(index: impl Fn(&str) -> String + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let (asked, index) = (Arc::new(AtomicUsize::new(0)), Arc::new(index));
    let count = Arc::clone(&asked);
    let address = web::serve(move |mut stream, request| {
        let name = request.target.rsplit('/').next().unwrap();
        if name == "snapshot.json" {
            let _ = stream.write_all(UNSIGNED);
            return;
        }
        count.fetch_add(1, Ordering::Relaxed);
        let body = if name == "config.json" { "{\"v\":1}".to_owned() } else { index(name) };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    });
    (address, asked)
}

/// A project that asks for stages of a registry.
fn project(address: &str, stages: &[&str]) -> Bench {
    let all: String =
        stages.iter().map(|name| format!("{name} = {{ version = \"*\", registry = \"acme\" }}\n")).collect();
    Bench::new(&format!("{PROJECT}{all}\n[registries.acme]\nindex = \"{address}\"\n"))
}

/// Runs what must fail soon.
fn fails(bench: &Bench, args: &[&str], code: i32, say: &[&str]) {
    let began = Instant::now();
    bench.fails(args, code, say);
    assert!(began.elapsed() < Duration::from_secs(60), "{say:?} took {:?}", began.elapsed());
}

fn number(name: &str) -> usize {
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

#[test]
fn a_registry_that_leads_on_for_ever_is_left() {
    let (address, asked) = registry(|name| line(name, "1.0.0", [format!("x{}", number(name) + 1)]));
    let bench = project(&address, &["x0"]);
    let say = [
        "chain of more than 200",
        &address,
        "`x0` -> `x1` -> `x2` -> (",
        "-> `x201`",
        "Take `x0` out of pib.toml",
        "pib.toml:12:1",
    ];
    fails(&bench, &["plan"], 4, &say);
    assert!(asked.load(Ordering::Relaxed) < 300, "{asked:?}");
    fails(&bench, &["lock"], 4, &say[..1]);
    let (address, asked) =
        registry(|name| line(name, "1.0.0", (1..=500).map(|at| format!("x{}", number(name) * 500 + at))));
    fails(&project(&address, &["x0"]), &["plan"], 4, &["more than 10000 others", &address, "`x0` -> `x"]);
    assert!(asked.load(Ordering::Relaxed) < 2000, "{asked:?}");
    // What comes back to where it was is only contradictory, and each stage is asked for once.
    let (address, asked) = registry(|name| line(name, "1.0.0", [format!("x{}", (number(name) + 1) % 3)]));
    fails(&project(&address, &["x0"]), &["plan"], 4, &["x0", "x1", "x2"]);
    assert!(asked.load(Ordering::Relaxed) < 20, "{asked:?}");
}

#[test]
fn one_answer_has_bounds() {
    let many = |name: &str| (0..10_001).map(|number| line(name, &format!("1.0.{number}"), [])).collect();
    let (address, _) = registry(many);
    fails(&project(&address, &["x0"]), &["plan"], 8, &["`x0` has more than 10000 versions", &address]);
    let (address, _) = registry(|name| line(name, "1.0.0", (0..100_000).map(|at| format!("y{at}"))));
    fails(
        &project(&address, &["x0"]),
        &["plan"],
        8,
        &["line 1 of its index file of stage `x0`", "longer than"],
    );
    let (address, _) = registry(|name| line(name, "1.0.0", (0..501).map(|at| format!("y{at}"))));
    fails(&project(&address, &["x0"]), &["plan"], 4, &["`x0` 1.0.0", "names more than 500 other stages"]);
    let (address, _) = registry(|_| "x".repeat(100 << 20));
    fails(&project(&address, &["x0"]), &["plan"], 8, &["larger than the 16777216 bytes"]);
    // Each file is within its bound, and together they are too large.
    let (address, _) = registry(|name| line(name, "1.0.0", []) + &"\n".repeat(15 << 20));
    let bench = project(&address, &["x0", "x1", "x2"]);
    fails(&bench, &["plan"], 4, &["more than 32 MiB of index files", &address]);
}

/// Sends a signal to a run that never ends by itself; it must end at once.
fn ends_at_signal(bench: &Bench, args: &[&str], signal: &str, has_begun: impl Fn() -> bool) {
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    let mut child = pib.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !has_begun() {
        assert!(began.elapsed() < Duration::from_secs(60), "{args:?} did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None, "{args:?} ended by itself");
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    let began = Instant::now();
    let status = child.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{args:?} {signal}: {:?}", began.elapsed());
    assert_eq!(status.code(), Some(130), "{args:?} {signal}");
}

#[test]
fn every_wait_ends_at_a_signal() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // A byte now and then, a pause that was asked for, and silence.
    let slow = web::serve(move |mut stream, request| {
        if request.target.ends_with("snapshot.json") {
            let _ = stream.write_all(UNSIGNED);
            return;
        }
        count.fetch_add(1, Ordering::Relaxed);
        let head = match request.target.rsplit('/').next().unwrap() {
            "x0" => "200 OK\r\nContent-Length: 60000",
            "x1" => "503 Slowly\r\nRetry-After: 30\r\nContent-Length: 0",
            _ => return std::thread::sleep(Duration::from_secs(60)),
        };
        let _ = write!(stream, "HTTP/1.1 {head}\r\n\r\n");
        while head.starts_with("200") && stream.write_all(b"{").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    // A puzzle without a solution: each of twelve stages needs a place of its own, and there are eleven.
    let puzzle = tempfile::tempdir().unwrap();
    std::fs::write(puzzle.path().join("config.json"), "{\"v\":1}").unwrap();
    std::fs::create_dir_all(puzzle.path().join("3/x")).unwrap();
    let names: Vec<String> = (10..22).map(|at| format!("x{at}")).collect();
    for name in &names {
        let version = |place: usize| {
            let others = names.iter().filter(|other| *other != name);
            let others: Vec<String> = others.map(|other| format!("\"{other}\":\"={place}.0.0\"")).collect();
            line(name, &format!("{place}.0.0"), [])
                .replace("\"deps\":{}", &format!("\"conflicts\":{{{}}}", others.join(",")))
        };
        let lines: String = (1..12).map(version).collect();
        std::fs::write(puzzle.path().join("3/x").join(name), lines).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for signal in ["-INT", "-TERM"] {
        for stage in ["x0", "x1", "x2"] {
            asked.store(0, Ordering::Relaxed);
            let begun = || asked.load(Ordering::Relaxed) > 0;
            ends_at_signal(&project(&slow, &[stage]), &["plan"], signal, begun);
        }
        let bench = project(&format!("file://{}", puzzle.path().display()), &names);
        ends_at_signal(&bench, &["plan"], signal, || true);
    }
}

/// The beginning of a list of references, as git's protocol has it.
const LIST: &str = "001e# service=git-upload-pack\n0000";

/// Starts a git server whose list of references never ends.
fn git_server(again: impl Fn(usize) -> String + Send + Sync + Clone + 'static, pause: Duration) -> String {
    web::serve(move |mut stream, _| {
        let kind = "Content-Type: application/x-git-upload-pack-advertisement";
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n{kind}\r\nConnection: close\r\n\r\n{LIST}");
        for number in 0.. {
            if stream.write_all(again(number).as_bytes()).is_err() {
                return;
            }
            std::thread::sleep(pause);
        }
    })
}

/// Returns many references, from one number on.
fn references(from: usize) -> String {
    let reference = |number: usize| {
        let text = format!("{:040x} refs/heads/branch-{number:09}\n", number + 1);
        format!("{:04x}{text}", text.len() + 4)
    };
    (from * 1000..(from + 1) * 1000).map(reference).collect()
}

#[test]
fn a_list_of_references_without_an_end_is_cut() {
    let bench = Bench::new(PROJECT);
    bench.write("../.gitconfig", "[http]\n\tlowSpeedTime = 1\n");
    let flood = format!("{}/kvm", git_server(references, Duration::ZERO));
    fails(&bench, &["add", "--git", &flood], 8, &["list of branches and tags is larger than 64 MiB", &flood]);
    let head = "fff0".to_owned();
    let drip = move |number| if number == 0 { head.clone() } else { "a".to_owned() };
    let drip = format!("{}/kvm", git_server(drip, Duration::from_millis(100)));
    fails(
        &bench,
        &["add", "--git", &drip],
        8,
        &["brought fewer than 20 bytes a second", &drip, "lowSpeedLimit"],
    );
    // The same over ssh: what stands for it gives a list that was made before, again and again.
    let path = std::env::var("PATH").unwrap();
    let list: String = (0..20).map(references).collect();
    bench.write("../list", &list);
    let list = bench.folder.path().join("list");
    let flood = format!("sh -c 'while cat {} 2>/dev/null; do :; done'; :", list.display());
    let drip = "sh -c 'printf fff0; while printf a 2>/dev/null; do sleep 0.1; done'; :";
    for (command, words) in [(flood.as_str(), "larger than 64 MiB"), (drip, "fewer than 20 bytes a second")] {
        let began = Instant::now();
        let variables = [("PATH", path.as_str()), ("GIT_SSH_COMMAND", command)];
        let ran = bench.run_with(&["--json", "add", "--git", "git@example.org:acme/kvm.git"], &variables);
        assert!(ran.code == Some(8) && ran.errors.contains(words), "{}", ran.errors);
        assert!(began.elapsed() < Duration::from_secs(60), "{words} took {:?}", began.elapsed());
    }
    // A repository with many branches is none of this.
    let repo = Repo::new(&bench.folder.path().join("repos/kvm"));
    repo.stage("", "kvm", "1.0.0");
    let commit = repo.commit();
    let packed: String = (0..20_000).map(|at| format!("{commit} refs/heads/b{at:05}\n")).collect();
    std::fs::write(repo.folder.join(".git/packed-refs"), packed).unwrap();
    let forge =
        crate::forge::Forge::start(&bench.folder.path().join("repos"), crate::forge::Manners::default());
    let added = bench.run(&["add", "--git", &format!("{}/kvm/.git", forge.address)]);
    assert_eq!(added.code, Some(0), "{}", added.errors);
}

#[test]
fn a_git_server_that_only_announces_its_answer_is_left() {
    let bench = Bench::new(PROJECT);
    bench.write("../.gitconfig", "[http]\n\tlowSpeedTime = 1\n");
    let address = web::serve(|mut stream, _| {
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let began = Instant::now();
    fails(
        &bench,
        &["add", "--git", &format!("{address}/kvm")],
        8,
        &["nothing arrived for 1 seconds", &address],
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Whatever listens at an engine's address: it takes neither all memory nor all time.
#[test]
fn what_does_not_say_that_it_is_an_engine_is_left() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nTransfer-Encoding: chunked\r\n\r\n";
    const FLOOD: Duration = Duration::ZERO;
    const TRICKLE: Duration = Duration::from_millis(50);
    for (pause, size, say) in [
        (FLOOD, 1 << 16, "it sent more than 4 MiB without saying what it is"),
        (TRICKLE, 1, "it did not say within 10 seconds what it is"),
    ] {
        let address = web::serve(move |mut stream, _| {
            let chunk = format!("{size:x}\r\n{}\r\n", " ".repeat(size));
            let mut sent = stream.write_all(HEAD);
            while sent.is_ok() {
                std::thread::sleep(pause);
                sent = stream.write_all(chunk.as_bytes());
            }
        });
        let bench = Bench::new(PROJECT);
        let began = Instant::now();
        let looked = bench.run(&["doctor", "--engine", &address.replace("http", "tcp")]);
        assert!(looked.code == Some(1) && looked.out.contains(say), "{say}: {}", looked.out);
        assert!(began.elapsed() < Duration::from_secs(30), "{say} took {:?}", began.elapsed());
    }
}
