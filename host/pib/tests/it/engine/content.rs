//! What becomes of everything that a stage's folder may hold, by each way on which a stage comes into a build.
//!
//! One stage holds one of each; it arrives the same, whichever way it came. What cannot arrive is refused where it is,
//! or told.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::project::{Scratch, stderr_text};
use crate::world::Images;

/// The engine that the tests use.
const HOST: &str = "unix:///var/run/docker.sock";
/// A name with all that means something to a shell, a pattern, a URL, a regular expression, git or a Dockerfile.
const HARD_NAME: &str = "files/etc/-a $HOME `b` 'c' \"d\" [e] {f} #g %20 &h;i=j,k*l?m\\n~ü.conf";
const HOSTS: &str = "127.0.0.1 localhost\n10.0.0.5 server.lan\n127.0.1.1 content\n";
const RESOLVER: &str = "nameserver 10.0.0.1\n";
const PART: &str =
    "COPY stages/mine/files/ /\nCOPY stages/mine/README.md /doc/\nRUN ln -s /data/log /var/log/app\n";
/// What a copy of the folder does not keep, and so the manifest does.
const RECORDS: &str = "\n[modes]\n\"files/etc/key\" = \"0600\"\n\"files/etc/sudo\" = \"0440\"\n\
                       \"files/root/.ssh/\" = \"0700\"\n\"files/var/lib/app/\" = \"0755\"\n";

/// The files of the stage, what they say, and their modes in a checkout under the umask 022.
const FILES: [(&str, &str, u32); 10] = [
    ("Dockerfile.part", PART, 0o644),
    ("README.md", "# Mine\n", 0o644),
    ("files/etc/usual", "usual\n", 0o644),
    ("files/etc/key", "secret\n", 0o644),
    ("files/etc/sudo", "pi ALL\n", 0o644),
    ("files/etc/crlf", "a\r\nb\r\n", 0o644),
    ("files/etc/hosts", HOSTS, 0o644),
    ("files/etc/resolv.conf", RESOLVER, 0o644),
    ("files/root/.ssh/authorized_keys", "ssh-ed25519 x\n", 0o644),
    ("files/usr/bin/tool", "#!/bin/sh\n", 0o755),
];

/// What the root file system has of it: a mode, and a text or the target of a link. A folder has no text.
fn expected() -> BTreeMap<String, (u32, String)> {
    let entries = [
        ("doc/README.md", 0o644, "# Mine\n"),
        ("etc/usual", 0o644, "usual\n"),
        ("etc/key", 0o600, "secret\n"),
        ("etc/sudo", 0o440, "pi ALL\n"),
        ("etc/crlf", 0o644, "a\r\nb\r\n"),
        ("etc/hosts", 0o644, HOSTS),
        ("etc/resolv.conf", 0o644, RESOLVER),
        (HARD_NAME.strip_prefix("files/").unwrap(), 0o644, "hard\n"),
        ("root/.ssh", 0o700, ""),
        ("root/.ssh/authorized_keys", 0o644, "ssh-ed25519 x\n"),
        ("usr/bin/tool", 0o755, "#!/bin/sh\n"),
        ("var/lib/app", 0o755, ""),
        ("var/log/app", 0o777, "/data/log"),
    ];
    entries.map(|(path, mode, text)| (path.to_owned(), (mode, text.to_owned()))).into()
}

/// Writes the stage `mine` to a folder, as a checkout under a umask has it: without what git does not keep.
fn write_stage(root: &Path, umask: u32) {
    let manifest = format!("[stage]\nname = \"mine\"\nversion = \"1.0.0\"\n{RECORDS}");
    let files =
        FILES.into_iter().chain([("stage.toml", manifest.as_str(), 0o644), (HARD_NAME, "hard\n", 0o644)]);
    for (path, text, mode) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        set(&path, (if mode & 0o100 != 0 { 0o777 } else { 0o666 }) & !umask);
    }
    // The folder of the log is there for the link only.
    let log = root.join("files/var/log/.keep");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "").unwrap();
    set(&log, 0o666 & !umask);
    for entry in walkdir::WalkDir::new(root).contents_first(true).into_iter().flatten() {
        if entry.file_type().is_dir() {
            set(entry.path(), 0o777 & !umask);
        }
    }
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn git(folder: &Path, args: &[&str]) {
    let set = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").args(set).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Replaces the source of the stage `mine` in the project's manifest.
fn set_source(project: &Scratch, source: &str) {
    let path = project.path("pib.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("mine = ") {
        true => format!("mine = {source}\n"),
        false => format!("{line}\n"),
    });
    std::fs::write(&path, lines.collect::<String>()).unwrap();
}

fn must(project: &Scratch, args: &[&str]) -> String {
    let output = project.pib(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr_text(&output));
    stderr_text(&output)
}

/// Runs what must fail, and returns what it said.
fn fails(project: &Scratch, args: &[&str]) -> String {
    let output = project.pib(args).output().unwrap();
    assert!(!output.status.success(), "{args:?} succeeds");
    stderr_text(&output)
}

/// Returns the entries of the exported root file system that `expected` has.
fn exported(project: &Scratch) -> BTreeMap<String, (u32, String)> {
    must(project, &["export", "--tar", "out.tar"]);
    let mut tar = tar::Archive::new(std::fs::File::open(project.path("out.tar")).unwrap());
    let mut found = BTreeMap::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        if expected().contains_key(&path) {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.to_string_lossy().into_owned());
            found.insert(path, (entry.header().mode().unwrap() & 0o7777, link.unwrap_or(text)));
        }
    }
    found
}

fn key(project: &Scratch) -> String {
    let output = project.pib(&["plan", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stages = plan["stages"].as_array().unwrap();
    stages.iter().find(|stage| stage["name"] == "mine").unwrap()["key"].as_str().unwrap().to_owned()
}

#[test]
fn everything_arrives_the_same_from_every_source() {
    let _images = Images("content");
    let project = Scratch::new("content", HOST);
    let outside = project.path("outside/mine");
    write_stage(&project.path("stages/mine"), 0o022);
    write_stage(&outside, 0o027);

    // The folder itself, and a checkout of it under another umask. No stage has a key before the base is known.
    assert_eq!(exported(&project), expected());
    let by_path = key(&project);
    set_source(&project, "{ path = \"outside/mine\" }");
    assert_eq!(key(&project), by_path, "the umask of a checkout changes the stage");

    // A registry.
    must(&project, &["publish", "outside/mine", "--index", "./registry", "--allow-incomplete"]);
    let index = std::fs::read_to_string(project.path("registry/mi/ne/mine")).unwrap();
    assert!(index.starts_with("{\"v\":2,"), "a pib that knows no modes would read this: {index}");
    let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    let registry =
        format!("\n[registries.here]\nindex = \"file://{}\"\n", project.path("registry").display());
    std::fs::write(project.path("pib.toml"), manifest + &registry).unwrap();
    set_source(&project, "{ version = \"1\", registry = \"here\" }");
    assert_eq!(key(&project), by_path);
    assert_eq!(exported(&project), expected());

    // The project's own copy of that, checked out where git makes CRLF of LF.
    must(&project, &["vendor"]);
    let vendor = project.path("vendor");
    git(&project.path("."), &["init", "-q"]);
    git(&project.path("."), &["config", "core.autocrlf", "true"]);
    git(&project.path("."), &["add", "vendor"]);
    git(&project.path("."), &["commit", "-qm", "1"]);
    std::fs::remove_dir_all(&vendor).unwrap();
    git(&project.path("."), &["checkout", "-q", "--", "vendor"]);
    assert!(!vendor.join("mine/files/var/lib/app").exists(), "git keeps empty folders by now");
    assert_eq!(key(&project), by_path);
    assert_eq!(exported(&project), expected());
    must(&project, &["vendor"]);

    // A git repository.
    let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    std::fs::write(project.path("pib.toml"), manifest.replace("\n[vendor]\npath = \"vendor\"\n", ""))
        .unwrap();
    git(&project.path("outside"), &["init", "-q"]);
    git(&project.path("outside"), &["add", "-A"]);
    git(&project.path("outside"), &["commit", "-qm", "1"]);
    let url = project.path("outside").display().to_string();
    set_source(&project, &format!("{{ git = \"file://{url}\", path = \"mine\" }}"));
    assert_eq!(key(&project), by_path);
    assert_eq!(exported(&project), expected());

    // And a context for a plain client.
    must(&project, &["plan", "--context", "context"]);
    let files = project.path("context/stages/mine/files");
    let mode = |path: &str| std::fs::metadata(files.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("etc/key"), mode("etc/sudo"), mode("root/.ssh")], [0o600, 0o440, 0o700]);
    assert_eq!([mode("etc/usual"), mode("var/lib/app"), mode("usr")], [0o644, 0o755, 0o755]);
}

#[test]
fn what_only_one_copy_of_a_folder_has_is_kept_and_told() {
    let _images = Images("unrecorded");
    let project = Scratch::new("unrecorded", HOST);
    let mine = project.path("stages/mine");
    write_stage(&mine, 0o022);
    must(&project, &["build"]);
    let plain = key(&project);
    std::fs::create_dir(mine.join("files/empty")).unwrap();
    set(&mine.join("files/etc/usual"), 0o640);
    assert_ne!(key(&project), plain);
    let entries = ["\"files/etc/usual\" = \"0640\"", "\"files/empty/\" = \"0755\""];
    let said = must(&project, &["plan"]);
    assert!(entries.iter().all(|entry| said.contains(entry)), "{said}");
    // What is published must be the same from everywhere.
    let said = fails(&project, &["publish", "stages/mine", "--index", "./registry", "--allow-incomplete"]);
    assert!(entries.iter().all(|entry| said.contains(entry)), "{said}");
    let manifest = std::fs::read_to_string(mine.join("stage.toml")).unwrap();
    std::fs::write(mine.join("stage.toml"), format!("{manifest}{}\n", entries.join("\n"))).unwrap();
    assert!(!must(&project, &["plan"]).contains("[modes]"));
    must(&project, &["publish", "stages/mine", "--index", "./registry", "--allow-incomplete"]);
}

#[test]
fn what_cannot_arrive_is_refused_where_it_is() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let file = |root: &Path, name: &OsStr| std::fs::write(root.join("files").join(name), pointer).unwrap();
    /// What to put into the stage's folder, what is said, and whether git has it, too.
    type Case<'a> = (&'a dyn Fn(&Path), &'a str, bool);
    let cases: [Case<'_>; 4] = [
        (&|root| file(root, OsStr::new("firmware.bin")), "Git LFS pointer", true),
        (&|root| symlink("/etc/passwd", root.join("files/link")).unwrap(), "symbolic link", true),
        (&|root| file(root, OsStr::from_bytes(b"caf\xe9")), "not UTF-8", true),
        (&|root| set(&root.join("files/usr/bin/tool"), 0o4755), "RUN chmod", false),
    ];
    for (spoil, words, in_git) in cases {
        let project = Scratch::new("refused", HOST);
        write_stage(&project.path("outside/mine"), 0o022);
        spoil(&project.path("outside/mine"));
        set_source(&project, "{ path = \"outside/mine\" }");
        let mut ways = vec![
            vec!["plan"],
            vec!["vendor"],
            vec!["publish", "outside/mine", "--index", "./registry", "--allow-incomplete"],
        ];
        let mut told: Vec<String> = ways.drain(..).map(|args| fails(&project, &args)).collect();
        if in_git {
            let repository = project.path("outside");
            git(&repository, &["init", "-q"]);
            git(&repository, &["add", "-A"]);
            git(&repository, &["commit", "-qm", "1"]);
            let url = format!("{{ git = \"file://{}\", path = \"mine\" }}", repository.display());
            set_source(&project, &url);
            told.push(fails(&project, &["plan"]));
        }
        for said in told {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}

#[test]
fn a_name_that_no_image_takes_is_told_with_its_stage() {
    let _images = Images("names");
    let project = Scratch::new("names", HOST);
    project.part("mine", "RUN mkdir -p /srv && touch \"/srv/$(printf 'caf\\351.mp3')\"\n");
    for args in [&["export", "--tar", "out.tar"][..], &["build"]] {
        let said = fails(&project, args);
        assert!(said.contains("`srv/caf\\xe9.mp3`, made by stage `mine`"), "{said}");
        assert!(said.contains("Rename the file in the part"), "{said}");
    }
    let left = crate::world::docker(&["images", "-q", "--filter", "reference=pib/names:*-origin"]);
    assert_eq!(left.trim(), "");
}

/// Whatever the folder of a project is called: it is never a pattern, an option, a URL or a piece of a script.
#[test]
fn a_project_may_lie_in_any_folder() {
    let _images = Images("folders");
    for name in
        ["pi[1]", "a b", "$HOME", "100%41", "-x", "#a?b", "quo'te\"", "star*", "ü{a,b}", "back\\slash"]
    {
        let project = Scratch::in_folder("folders", HOST, OsStr::new(name));
        let stage = project.path("stages/mine");
        std::fs::create_dir_all(&stage).unwrap();
        std::fs::write(
            stage.join("stage.toml"),
            "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\n\n[config.keys]\ntype = \"paths\"\n",
        )
        .unwrap();
        project.part("mine", "COPY stages/mine/ /files/\n");
        std::fs::write(stage.join("note"), "x").unwrap();
        std::fs::create_dir_all(project.path("keys/deep")).unwrap();
        for key in ["keys/a.pub", "keys/b.pub", "keys/deep/c.pub"] {
            std::fs::write(project.path(key), "ssh-ed25519 x\n").unwrap();
        }
        set_source(
            &project,
            "{ path = \"stages/mine\", config = { keys = [\"keys/*.pub\", \"keys/**/c.pub\"] } }",
        );
        let dockerfile = project.pib(&["plan", "--dockerfile"]).output().unwrap();
        let text = String::from_utf8_lossy(&dockerfile.stdout).into_owned();
        assert!(dockerfile.status.success(), "{name}: {}", stderr_text(&dockerfile));
        for key in ["000-a.pub", "001-b.pub", "002-c.pub"] {
            assert!(text.contains(key), "{name}: {key} is missing in {text}");
        }
        // Through a registry and a repository in that folder.
        must(&project, &["publish", "stages/mine", "--index", "./registry", "--allow-incomplete"]);
        git(&project.path("stages"), &["init", "-q"]);
        git(&project.path("stages"), &["add", "-A"]);
        git(&project.path("stages"), &["commit", "-qm", "1"]);
        set_source(&project, "false");
        let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
        std::fs::write(project.path("pib.toml"), manifest.replace("mine = false\n", "")).unwrap();
        must(&project, &["add", "mine", "--git", "stages", "--path", "mine"]);
        must(&project, &["vendor"]);
        must(&project, &["export", "--tar", "out.tar"]);
        must(&project, &["plan", "--context", "context"]);
    }
}
