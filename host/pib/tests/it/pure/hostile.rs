//! Registries and git servers that mean harm, or are broken: what a real process makes of them.
//!
//! Whatever they send, it ends within a bound, says what was wrong, and leaves nothing: not outside of the cache, and
//! in it nothing that is not whole.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pib_plan::id::Digest;
use tar::EntryType;

use crate::bench::{Bench, PROJECT};
use crate::forge::Repo;
use crate::site::{Manners, Site, succeeds, world};
use crate::web;

/// A project that asks for `acme` of a registry behind a web server.
struct Setup {
    bench: Bench,
    site: Site,
    before: Vec<PathBuf>,
}

impl Setup {
    fn new() -> Self {
        let (bench, site) = world();
        let manifest = fs::read_to_string(bench.path("pib.toml")).unwrap();
        let with = manifest.replace("[stages]", "[stages]\nacme = { version = \"1\", registry = \"acme\" }");
        bench.write("pib.toml", &with);
        bench.write("target/router-rpi4-arm64.img", "earlier");
        let mut setup = Self { bench, site, before: Vec::new() };
        succeeds(&setup.bench, &["fetch"]);
        // What may be there: the stages that are not at fault, and nothing that is half-done.
        fs::remove_file(setup.bench.path("pib.lock")).unwrap();
        setup.forget_acme();
        setup.before = setup.everything();
        setup
    }

    fn forget_acme(&self) {
        let _ = fs::remove_dir_all(self.bench.path("../cache/registries"));
        for item in fs::read_dir(self.bench.path("../cache/stages")).unwrap().flatten() {
            let manifest = fs::read_to_string(item.path().join("stage.toml")).unwrap_or_default();
            if manifest.contains("\"acme\"") {
                fs::remove_dir_all(item.path()).unwrap();
            }
        }
    }

    /// Returns every path there is, but for the registry's own and kept index files.
    fn everything(&self) -> Vec<PathBuf> {
        let folder = self.bench.folder.path();
        let items = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
        let ours = |path: &PathBuf| {
            let inside = path.strip_prefix(folder).unwrap();
            !["registry", "acme", "cache/registries"].iter().any(|start| inside.starts_with(start))
        };
        items.map(walkdir::DirEntry::into_path).filter(ours).collect()
    }

    /// Serves these bytes as the index of `acme`.
    fn index(&self, bytes: &[u8]) {
        fs::write(self.bench.path("../registry/ac/me/acme"), bytes).unwrap();
    }

    /// Serves an archive, with an index line that is right about it but perhaps for its content.
    fn archive(&self, bytes: &[u8], content: Digest) {
        fs::write(self.bench.path("../registry/archives/acme/acme-1.0.0.stage"), bytes).unwrap();
        let (cksum, size) = (Digest::of(bytes), bytes.len());
        let line = format!(
            "{{\"name\":\"acme\",\"vers\":\"1.0.0\",\"cksum\":\"{cksum}\",\"content\":\"{content}\",\"size\":{size}}}\n"
        );
        self.index(line.as_bytes());
    }

    fn fails(&self, code: i32, say: &[&str]) {
        self.forget_acme();
        let began = Instant::now();
        self.bench.fails(&["fetch"], code, say);
        assert!(began.elapsed() < Duration::from_secs(60), "{say:?} took {:?}", began.elapsed());
        assert_eq!(self.everything(), self.before, "{say:?} left something");
        let temp = self.bench.path("../cache/registries/tmp");
        assert!(fs::read_dir(temp).map_or(0, Iterator::count) == 0, "half an index file is left");
    }
}

/// An entry of a tar, whatever it says.
fn entry(path: &str, kind: EntryType, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_link_name_literal(link).unwrap();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let fill = data.len().next_multiple_of(512) - data.len();
    [header.as_bytes(), data, &vec![0; fill]].concat()
}

fn file(path: &str) -> Vec<u8> {
    entry(path, EntryType::Regular, "", b"evil")
}

fn packed(entries: &[Vec<u8>]) -> (Vec<u8>, Digest) {
    let tar = [entries.concat(), vec![0; 1024]].concat();
    (zstd::encode_all(&tar[..], 1).unwrap(), Digest::of(&tar))
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let setup = Setup::new();
    let outside = setup.bench.folder.path().join("evil").display().to_string();
    let link = |kind| vec![entry("a", kind, "/etc/passwd", b""), file("a/x")];
    let cases: [(Vec<Vec<u8>>, &str); 16] = [
        (vec![file("../../../evil")], "`..`"),
        (vec![file("a/../../evil")], "`..`"),
        (vec![file(&outside)], "absolute"),
        (vec![entry("../evil/", EntryType::Directory, "", b"")], "`..`"),
        (link(EntryType::Symlink), "symbolic link"),
        (link(EntryType::Link), "hard link"),
        (link(EntryType::Char), "device"),
        (link(EntryType::Block), "device"),
        (link(EntryType::Fifo), "pipe"),
        (vec![entry("x", EntryType::XHeader, "", b"21 path=../../evil\n"), file("a")], "extended header"),
        (vec![file("a"), file("a")], "twice"),
        (vec![file("stage.toml"), file("Stage.toml")], "differ in case only"),
        (vec![file("a"), file("a/b")], "both a file and a folder"),
        (vec![file("a\nb")], "control character"),
        (vec![file(".git/config")], "no repository of git"),
        (vec![file("files/.GIT/hooks/post-commit")], "no repository of git"),
    ];
    for (entries, words) in cases {
        let (archive, content) = packed(&entries);
        setup.archive(&archive, content);
        setup.fails(8, &["the archive of acme 1.0.0 was refused", words, "Nothing of it was kept"]);
    }
    // What it holds is not what the index promises, though the archive is.
    let (archive, content) = packed(&[file("Dockerfile.part")]);
    let promised = Digest::of(b"other");
    setup.archive(&archive, promised);
    setup.fails(8, &["the content of acme 1.0.0", &promised.to_string(), "Nothing of it was kept"]);
    // Cut short, at its compressed and at its plain end.
    setup.archive(&archive[..archive.len() - 5], content);
    setup.fails(8, &["the archive of acme 1.0.0 was refused"]);
    let cut = zstd::encode_all(&entry("a", EntryType::Regular, "", &[7; 4000])[..2048], 1).unwrap();
    setup.archive(&cut, content);
    setup.fails(8, &["the archive of acme 1.0.0 was refused", "in the middle of a file"]);
    setup.archive(b"no archive at all", content);
    setup.fails(8, &["the archive of acme 1.0.0 was refused"]);
    // It is another stage's: whole, and not what was asked for.
    setup.bench.write("../acme/other/stage.toml", "[stage]\nname = \"other\"\nversion = \"1.0.0\"\n");
    setup.bench.write("../acme/other/Dockerfile.part", "RUN true\n");
    succeeds(&setup.bench, &["publish", "../acme/other", "--index", "../registry", "--allow-incomplete"]);
    let line = fs::read_to_string(setup.bench.path("../registry/ot/he/other")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let archive = fs::read(setup.bench.path("../registry/archives/other/other-1.0.0.stage")).unwrap();
    setup.archive(&archive, line["content"].as_str().unwrap().parse().unwrap());
    setup.bench.fails(&["fetch"], 8, &["the archive of acme 1.0.0 was refused", "it holds other 1.0.0"]);
}

#[test]
fn a_gibibyte_of_zeros_is_stopped_early() {
    let setup = Setup::new();
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(1 << 30);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    io::copy(&mut io::Read::take(io::repeat(0), 1 << 30), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    setup.archive(&bomb, Digest::of(b""));
    setup.fails(8, &["the archive of acme 1.0.0 was refused", "it unpacks to more than"]);
    let many: Vec<Vec<u8>> =
        (0..=10_000).map(|number| entry(&format!("f{number}"), EntryType::Regular, "", b"")).collect();
    let (archive, content) = packed(&many);
    setup.archive(&archive, content);
    setup.fails(8, &["more than 10000 files and folders"]);
    // Not packed: as the archive, as the index, and as what says that it is a registry at all.
    let zeros = |start| setup.site.manners.lock().unwrap().instead = Some((start, "200 OK", 1 << 30));
    zeros("/archives");
    setup.archive(b"", Digest::of(b""));
    setup.fails(8, &["acme-1.0.0.stage", "larger than the 0 bytes"]);
    zeros("/ac/me");
    setup.fails(8, &["`ac/me/acme`", "larger than"]);
    setup.index(b"");
    zeros("/config.json");
    setup.fails(8, &["`config.json`", "larger than"]);
}

#[test]
fn hostile_index_lines_are_told_and_take_no_good_one_away() {
    let setup = Setup::new();
    let good = fs::read_to_string(setup.bench.path("../registry/ac/me/acme")).unwrap();
    let with = |from: &str, to: &str| good.replace(from, to).into_bytes();
    // A later line of the same version does not count: it would change what is published.
    let mut again: serde_json::Value = serde_json::from_str(&good).unwrap();
    again["cksum"] = Digest::of(b"other").to_string().into();
    let cases: [(Vec<u8>, i32, &str); 9] = [
        (b"\xff\xfe\x00\n".to_vec(), 8, "line 1 of its index file of stage `acme`"),
        ("[".repeat(100_000).into_bytes(), 8, "line 1 of its index file of stage `acme`"),
        (vec![b'x'; 2 << 20], 8, "longer than"),
        (with("\"name\":\"acme\"", "\"name\":\"../../evil\""), 8, "describes another stage, `../../evil`"),
        (with("\"vers\":\"1.0.0\"", "\"vers\":\"1.0.0/../../evil\""), 8, "line 1 of its index"),
        (with("\"cksum\":", "\"checksum\":"), 4, "no `cksum`"),
        (with("\"size\":", "\"size\":-"), 4, "cannot be read"),
        (with("\"vers\":", "\"v\":9,\"vers\":"), 4, "needs a newer pib"),
        (with("\"vers\":", "\"deps\":{\"../evil\":\"1\"},\"vers\":"), 4, "`../evil`"),
    ];
    for (bytes, code, words) in cases {
        setup.index(&bytes);
        setup.fails(code, &[words]);
        // Beside it, a good line counts.
        let other = String::from_utf8_lossy(&bytes).replace("1.0.0", "1.0.9").replace('\n', "");
        setup.index(format!("{other}\n{good}{again}\n").as_bytes());
        setup.forget_acme();
        succeeds(&setup.bench, &["fetch"]);
        fs::remove_file(setup.bench.path("pib.lock")).unwrap();
        setup.forget_acme();
    }
    // A size that lies: more is not read, and less is not believed.
    let size: u64 =
        good.split("\"size\":").nth(1).unwrap().split([',', '}']).next().unwrap().parse().unwrap();
    setup.index(&with(&format!("\"size\":{size}"), &format!("\"size\":{}", size - 1)));
    setup.fails(8, &["acme-1.0.0.stage", "larger than"]);
}

#[test]
fn a_server_that_fails_is_told_within_a_bound() {
    let setup = Setup::new();
    let say = |manners: Manners| *setup.site.manners.lock().unwrap() = manners;
    let answers = [
        ("500 Oops\r\nRetry-After: 0\r\nContent-Length: 0", "500"),
        ("429 Slowly\r\nRetry-After: 0\r\nContent-Length: 0", "429"),
        ("429 Slowly\r\nRetry-After: 3600\r\nContent-Length: 0", "asks to be left alone for 3600 seconds"),
        ("403 No\r\nContent-Length: 0", "403"),
        // Half a body, and no more of it.
        ("200 OK\r\nContent-Length: 9", "failed"),
        ("302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0", "failed"),
        ("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0", "failed"),
    ];
    // The last ones are tried again after pauses.
    for (start, answers) in [("/ac/me", &answers[..5]), ("/archives", &answers)] {
        for (head, words) in answers {
            say(Manners { instead: Some((start, head, 0)), ..Manners::default() });
            setup.fails(8, &[words]);
        }
    }
    // Once it is well again, so is everything.
    say(Manners::default());
    succeeds(&setup.bench, &["fetch"]);
    assert!(!succeeds(&setup.bench, &["cache", "verify"]).contains("removed"));
}

#[test]
fn a_token_is_not_told_to_whom_a_server_leads() {
    let setup = Setup::new();
    let elsewhere = Site::start(setup.bench.path("../registry"));
    let good = fs::read_to_string(setup.bench.path("../registry/ac/me/acme")).unwrap();
    for (start, path) in [("/ac/me", "/ac/me/acme"), ("/archives", "/archives/acme/acme-1.0.0.stage")] {
        let head = format!("302 Found\r\nLocation: {}{path}\r\nContent-Length: 0", elsewhere.address);
        let manners =
            Manners { instead: Some((start, Box::leak(head.into_boxed_str()), 0)), ..Manners::default() };
        *setup.site.manners.lock().unwrap() = manners;
        setup.index(good.as_bytes());
        setup.forget_acme();
        let ours = ("PIB_REGISTRIES_ACME_INDEX", setup.site.address.as_str());
        let ran = setup.bench.run_with(&["fetch"], &[("PIB_REGISTRIES_ACME_TOKEN", "secret"), ours]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        let log = elsewhere.log.lock().unwrap().split_off(0);
        assert_eq!(log, [(path.to_owned(), 200, None)]);
        let told = setup.site.log.lock().unwrap().split_off(0);
        assert!(
            told.iter().any(|(asked, _, user)| asked == path && user.as_deref() == Some("Bearer secret"))
        );
        fs::remove_file(setup.bench.path("pib.lock")).unwrap();
    }
}

/// A server that answers every request with this, and with as many zeros.
fn answers(head: &'static str, body: &'static [u8], zeros: usize) -> String {
    web::serve(move |mut stream, _| {
        let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(body);
        for _ in 0..zeros >> 20 {
            if stream.write_all(&[0; 1 << 20]).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_git_server_that_fails_is_told_within_a_bound() {
    let bench = Bench::new(PROJECT);
    succeeds(&bench, &["fetch"]);
    let advertised = "200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement";
    let cases: [(String, &[&str]); 8] = [
        (answers("500 Oops\r\nRetry-After: 0\r\nContent-Length: 0", b"", 0), &["500"]),
        (answers("429 Slowly\r\nRetry-After: 0\r\nContent-Length: 0", b"", 0), &["429"]),
        (answers("429 Slowly\r\nRetry-After: 3600\r\nContent-Length: 0", b"", 0), &["429", "3600 seconds"]),
        (
            answers("200 OK\r\nContent-Type: text/html", b"<html>", 0),
            &["instead of git's protocol", "not that of a web page"],
        ),
        (answers(advertised, b"001e# service=git-upload", 0), &["failed"]),
        (answers(advertised, b"ffff", 0), &["failed"]),
        (answers(advertised, b"", 1 << 30), &["failed"]),
        (answers("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0", b"", 0), &["302"]),
    ];
    for (address, say) in cases {
        let began = Instant::now();
        bench.fails(&["add", "--git", &format!("{address}/kvm")], 8, say);
        assert!(began.elapsed() < Duration::from_secs(60), "{say:?} took {:?}", began.elapsed());
    }
    assert!(!succeeds(&bench, &["cache", "verify"]).contains("removed"));
    // A repository that is called as if it were elsewhere stays in the cache, too.
    let repo = Repo::new(&bench.path("../repos/.._.._evil"));
    repo.stage("", "kvm", "1.0.0");
    repo.commit();
    succeeds(&bench, &["add", "kvm", "--git", &repo.url()]);
    assert!(!bench.path("../evil").exists());
}
