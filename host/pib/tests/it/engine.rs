//! A real engine: both builders, what they keep, and how they stop.
//!
//! The base is a static busybox of the target's architecture from the host's Debian mirror, so that what runs
//! here is emulated as in a user's build.

#![allow(clippy::unwrap_used, clippy::panic)] // Test helpers outside test functions.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use pib::base::HostApt;
use pib::engine::binfmt::{Binfmt, BinfmtStatus};
use pib::engine::{Base, BuildRequest, BuilderChoice, ConnectOptions, Engine, EngineError, Secret};
use pib::event::{Event, Reporter, Silent};
use pib_plan::assemble::{Arg, BaseRef, BuildPlan, ContextFile, FileSource, StageInput, assemble};
use pib_plan::id::{Arch, Digest};
use pib_plan::part;
use semver::Version;

/// The label of everything that these tests make.
const LABEL: &str = "org.pib.test";

const BOTH: [BuilderChoice; 2] = [BuilderChoice::Best, BuilderChoice::Classic];

/// Keeps the events, so that a test can look at them.
#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// An engine with a base of its own; what was made with it is removed at the end.
struct Lab {
    engine: Engine,
    name: String,
    /// Keeps what earlier runs left in the engine's build cache from answering for this one.
    nonce: String,
}

impl Lab {
    async fn new(test: &str) -> Self {
        let engine = Engine::connect(&options()).await.unwrap();
        let nonce = format!("{:?}", SystemTime::now());
        let lab = Self { engine, name: format!("pib-test-{test}-{}", std::process::id()), nonce };
        let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
        let base = Base { rootfs_tar: base_tar(), tag: &lab.base(), arch: Arch::Arm64, labels: &labels };
        lab.engine.load_base(&base, &Silent).await.unwrap();
        lab
    }

    fn base(&self) -> String {
        format!("{}:base", self.name)
    }

    fn tag(&self, name: &str) -> String {
        format!("{}:{name}", self.name)
    }

    fn plan(&self, stages: &[(&str, &str)], files: Vec<ContextFile>) -> BuildPlan {
        let mut inputs: Vec<StageInput> = stages
            .iter()
            .map(|(name, text)| StageInput {
                name: name.parse().unwrap(),
                version: Version::new(1, 0, 0),
                args: vec![Arg { name: "NONCE".to_owned(), value: self.nonce.clone(), keyed: true }],
                part: part::check("part", text).unwrap(),
                files: vec![],
            })
            .collect();
        inputs[0].files = files;
        let base = BaseRef::ContainerImage(self.base());
        assemble(Arch::Arm64, &base, &Digest::of(b"base"), &inputs).unwrap()
    }

    fn request<'a>(&self, plan: &'a BuildPlan, tag: &'a str) -> BuildRequest<'a> {
        let mut request = BuildRequest::new(plan, tag);
        request.labels.insert(LABEL.to_owned(), self.name.clone());
        request
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let (engine, label) = (self.engine.clone(), format!("{LABEL}={}", self.name));
        // A runtime of its own: the test's may be on its way out, or panicking.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                // A container of a build that was stopped may hold its image for a moment.
                for _ in 0..50 {
                    let images = engine.container_images(&label).await.unwrap_or_default();
                    if images.is_empty() {
                        break;
                    }
                    for image in images {
                        for tag in image.tags.iter().chain([&image.id]) {
                            _ = engine.remove_image(tag).await;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        });
        _ = cleaning.join();
    }
}

fn options() -> ConnectOptions {
    let host = std::env::var("DOCKER_HOST").ok();
    ConnectOptions { host, ..ConnectOptions::default() }
}

/// Returns the root file system that the tests start from: made once, kept in the target folder.
fn base_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-base-2.tar");
        if !path.exists() {
            let busybox = std::thread::spawn(busybox).join().unwrap();
            let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            file.write_all(&rootfs(&busybox)).unwrap();
            file.persist(&path).unwrap();
        }
        path
    })
}

/// Fetches a static busybox for arm64 from the host's Debian mirror.
fn busybox() -> Vec<u8> {
    let mirror = HostApt::read(Path::new("/")).main;
    let mirror = mirror.map_or("http://deb.debian.org/debian".to_owned(), |url| url.to_string());
    let mirror = mirror.trim_end_matches('/');
    let index = get(&format!("{mirror}/dists/stable/main/binary-arm64/Packages.xz"));
    let mut text = String::new();
    liblzma::read::XzDecoder::new(&index[..]).read_to_string(&mut text).unwrap();
    let entry = text.split("\n\n").find(|entry| entry.starts_with("Package: busybox-static\n")).unwrap();
    let path = entry.lines().find_map(|line| line.strip_prefix("Filename: ")).unwrap();
    let deb = get(&format!("{mirror}/{path}"));
    let data = ar_member(&deb, "data.tar.xz");
    let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(data));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("bin/busybox") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("no busybox in {path}");
}

fn get(url: &str) -> Vec<u8> {
    _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let response = reqwest::get(url).await.unwrap().error_for_status().unwrap();
        response.bytes().await.unwrap().to_vec()
    })
}

fn ar_member<'a>(archive: &'a [u8], name: &str) -> &'a [u8] {
    let mut rest = archive.strip_prefix(b"!<arch>\n").unwrap();
    while rest.len() > 60 {
        let field = |range: std::ops::Range<usize>| std::str::from_utf8(&rest[range]).unwrap().trim();
        let size: usize = field(48..58).parse().unwrap();
        if field(0..16).trim_end_matches('/') == name {
            return &rest[60..60 + size];
        }
        rest = &rest[(60 + size.next_multiple_of(2)).min(rest.len())..];
    }
    panic!("no {name} in the package");
}

/// A capability set as the kernel keeps it: version 2, effective, CAP_NET_RAW.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An access list as the kernel keeps it: owner rw, user 1234 r, group r, mask r, others nothing.
fn access_list() -> Vec<u8> {
    let entries =
        [(1_u16, 6_u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permission, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permission.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn rootfs(busybox: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode: u32, size: usize| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "special"] {
        tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), folder, &b""[..]).unwrap();
    }
    tar.append_data(&mut header(tar::EntryType::Regular, 0o755, busybox.len()), "bin/busybox", busybox)
        .unwrap();
    for tool in
        ["sh", "sleep", "echo", "cat", "seq", "ln", "chmod", "yes", "head", "test", "mkdir", "printf", "dd"]
    {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), format!("bin/{tool}"), "busybox")
            .unwrap();
    }
    let mut plain = |name: &str, mode: u32, records: &[(&str, &[u8])]| {
        if !records.is_empty() {
            tar.append_pax_extensions(records.iter().copied()).unwrap();
        }
        tar.append_data(&mut header(tar::EntryType::Regular, mode, 5), name, &b"hello"[..]).unwrap();
    };
    plain("special/setuid", 0o4755, &[]);
    plain("special/user", 0o644, &[("SCHILY.xattr.user.pib", b"value")]);
    plain("special/capability", 0o755, &[("SCHILY.xattr.security.capability", &CAPABILITY)]);
    plain("special/list", 0o640, &[("SCHILY.xattr.system.posix_acl_access", &access_list())]);
    let mut link = header(tar::EntryType::Link, 0o4755, 0);
    tar.append_link(&mut link, "special/hardlink", "special/setuid").unwrap();
    tar.into_inner().unwrap()
}

fn bytes_file(path: &str, text: &str, executable: bool) -> ContextFile {
    ContextFile {
        path: path.to_owned(),
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        source: FileSource::Bytes(text.as_bytes().to_vec()),
        executable,
    }
}

/// One entry of an exported tar.
#[derive(Debug)]
struct Exported {
    mode: u32,
    owner: (u64, u64),
    kind: tar::EntryType,
    link: Option<String>,
    xattrs: BTreeMap<String, Vec<u8>>,
    content: Vec<u8>,
}

async fn export(lab: &Lab, tag: &str, builder: BuilderChoice) -> BTreeMap<String, Exported> {
    let tar = lab.engine.export(tag, builder).await.unwrap();
    assert_eq!(tar.losses().is_some(), builder == BuilderChoice::Classic);
    tokio::task::spawn_blocking(move || {
        let mut found = BTreeMap::new();
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut xattrs = BTreeMap::new();
            for record in entry.pax_extensions().unwrap().into_iter().flatten() {
                let record = record.unwrap();
                if let Some(name) = record.key().unwrap().strip_prefix("SCHILY.xattr.") {
                    xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
                }
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            let exported = Exported {
                mode: header.mode().unwrap(),
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                kind: header.entry_type(),
                link: entry.link_name().unwrap().map(|link| link.display().to_string()),
                xattrs,
                content,
            };
            let path = entry.path().unwrap().display().to_string();
            found.insert(path.trim_start_matches("./").trim_end_matches('/').to_owned(), exported);
        }
        found
    })
    .await
    .unwrap()
}

/// Returns whether a process on this machine has `word` among its arguments.
fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes()))
}

async fn until(what: &str, limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

#[tokio::test]
async fn an_engine_says_what_it_is() {
    let engine = Engine::connect(&options()).await.unwrap();
    let info = engine.info();
    assert!(info.name == "Docker" || info.name == "Podman", "{info:?}");
    assert!(info.version.starts_with(|c: char| c.is_ascii_digit()), "{info:?}");
    assert!(info.kernel.starts_with("linux "), "{info:?}");
    engine.check_binfmt(Arch::Arm64).unwrap();
    assert!(matches!(Binfmt::default().status(Arch::Armv7), BinfmtStatus::Registered { .. }));
    assert_eq!(engine.container_image("pib-test-nothing:here").await.unwrap(), None);
    assert!(!engine.remove_image("pib-test-nothing:here").await.unwrap());
}

#[tokio::test]
async fn without_an_engine_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let connect = |host: String| async move {
        let options = ConnectOptions { host: Some(host), ..ConnectOptions::default() };
        Engine::connect(&options).await.err().unwrap()
    };
    let path = folder.path().join("none.sock");
    let error = connect(format!("unix://{}", path.display())).await;
    assert!(matches!(error, EngineError::NoSocket { .. }), "{error:?}");

    let stale = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let error = connect(format!("unix://{}", stale.display())).await;
    assert!(error.to_string().contains("nobody listens"), "{error}");

    let mute = folder.path().join("mute.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    let start = Instant::now();
    let error = connect(format!("unix://{}", mute.display())).await;
    assert!(matches!(error, EngineError::NotAnswering { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());

    let error = connect("tcp://127.0.0.1:9".to_owned()).await;
    assert!(matches!(error, EngineError::NotAnswering { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_is_loaded_once_and_is_the_same_everywhere() {
    let lab = Lab::new("base").await;
    let first = lab.engine.container_image(&lab.base()).await.unwrap().unwrap();
    assert_eq!(first.platform, "linux/arm64");
    assert_eq!(first.labels[LABEL], lab.name);

    let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
    let recorder = Recorder::default();
    let tag = lab.base();
    let base = Base { rootfs_tar: base_tar(), tag: &tag, arch: Arch::Arm64, labels: &labels };
    lab.engine.load_base(&base, &recorder).await.unwrap();
    let events = recorder.take();
    assert!(matches!(events.last(), Some(Event::StepFinished { cached: true, .. })), "{events:?}");

    let again = lab.tag("again");
    lab.engine.load_base(&Base { tag: &again, ..base.clone() }, &Silent).await.unwrap();
    assert_eq!(lab.engine.container_image(&again).await.unwrap().unwrap().id, first.id);

    let armv7 = lab.tag("armv7");
    lab.engine.load_base(&Base { tag: &armv7, arch: Arch::Armv7, ..base.clone() }, &Silent).await.unwrap();
    let image = lab.engine.container_image(&armv7).await.unwrap().unwrap();
    assert_eq!(image.platform, "linux/arm/v7");

    let missing = Base { rootfs_tar: Path::new("/nonexistent.tar"), tag: "pib-test:none", ..base };
    let error = lab.engine.load_base(&missing, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent.tar"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_runs_foreign_programs_and_reports_its_stages() {
    let lab = Lab::new("build").await;
    let files = vec![
        bytes_file("stages/__init__/a/one", "first", false),
        bytes_file("stages/__init__/run", "#!/bin/sh\necho ran > /etc/ran\n", true),
    ];
    let stages = [
        ("__init__", "COPY stages/__init__/a/one /etc/one\nCOPY stages/__init__/run /bin/run\nRUN run"),
        ("empty", "ENV NOTHING=1"),
        ("os", "RUN echo said aloud && cat /etc/one > /etc/two"),
    ];
    let plan = lab.plan(&stages, files);
    for builder in BOTH {
        let recorder = Recorder::default();
        let tag = lab.tag(&format!("{builder:?}").to_lowercase());
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let id = lab.engine.build(&request, &recorder).await.unwrap();
        let events = recorder.take();
        let started: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                Event::StepStarted { id, .. } => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let stages = started.iter().filter(|id| id.starts_with("stage:"));
        assert_eq!(stages.collect::<BTreeSet<_>>().len(), 3, "{started:?}");
        for stage in ["stage:__init__", "stage:os"] {
            let finished = Event::StepFinished { id: stage.to_owned(), cached: false };
            assert!(events.contains(&finished), "{builder:?} {events:#?}");
        }
        let log = Event::Log { id: "stage:os".to_owned(), line: "said aloud".to_owned() };
        assert!(events.contains(&log), "{builder:?} {events:#?}");
        let detail = |event: &Event| matches!(event, Event::StepDetail { id, detail } if id == "stage:os" && detail.contains("RUN echo said aloud"));
        assert!(events.iter().any(detail), "{builder:?} {events:#?}");

        let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
        assert_eq!((image.id, image.platform.as_str()), (id.clone(), "linux/arm64"));
        assert_eq!(image.labels[LABEL], lab.name);
        let exported = export(&lab, &tag, builder).await;
        assert_eq!(exported["etc/two"].content, b"first");
        assert_eq!(exported["etc/ran"].content, b"ran\n");
        assert_eq!(exported["bin/run"].mode & 0o7777, 0o755);
        assert_eq!(exported["etc/one"].mode & 0o7777, 0o644);
        assert_eq!(exported["etc/one"].owner, (0, 0));

        lab.engine.build(&request, &recorder).await.unwrap();
        let finished: Vec<Event> = recorder
            .take()
            .into_iter()
            .filter(|event| matches!(event, Event::StepFinished { id, .. } if id.starts_with("stage:")))
            .collect();
        let cached = |event: &Event| matches!(event, Event::StepFinished { cached: true, .. });
        assert!(finished.len() == 3 && finished.iter().all(cached), "{builder:?} {finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_sent_and_only_its_stage_is_built_again() {
    let lab = Lab::new("change").await;
    let build = async |text: &str| {
        // The same size both times: only the content tells them apart.
        let files = vec![bytes_file("stages/os/file", text, false)];
        let plan =
            lab.plan(&[("first", "RUN echo one > /etc/1"), ("os", "COPY stages/os/file /etc/file")], files);
        let tag = lab.tag("latest");
        let recorder = Recorder::default();
        lab.engine.build(&lab.request(&plan, &tag), &recorder).await.unwrap();
        let exported = export(&lab, &tag, BuilderChoice::Best).await;
        let cached = |stage: &str| {
            let finished = Event::StepFinished { id: format!("stage:{stage}"), cached: true };
            recorder.0.lock().unwrap().contains(&finished)
        };
        (exported["etc/file"].content.clone(), cached("first"), cached("os"))
    };
    assert_eq!(build("aaaa").await.0, b"aaaa");
    assert_eq!(build("bbbb").await, (b"bbbb".to_vec(), true, false));
    assert_eq!(build("aaaa").await, (b"aaaa".to_vec(), true, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_instruction_is_told_with_its_own_output() {
    let lab = Lab::new("fail").await;
    let plan = lab.plan(
        &[
            ("good", "RUN echo fine"),
            ("bad", "ENV X=1\nRUN seq 1 100 && printf 'b\\377d' && exit 3"),
            ("never", "RUN echo no"),
        ],
        vec![],
    );
    for builder in BOTH {
        let tag = lab.tag("failed");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let error = lab.engine.build(&request, &Silent).await.unwrap_err();
        let EngineError::BuildFailed { stage, line, instruction, exit_code, log_tail, .. } = &error else {
            panic!("{builder:?} {error:?}");
        };
        assert_eq!((stage.as_deref(), *line, *exit_code), (Some("bad"), Some(2), Some(3)), "{builder:?}");
        assert!(instruction.starts_with("RUN seq 1 100"), "{builder:?} {instruction}");
        assert_eq!(log_tail.len(), 40, "{builder:?} {log_tail:?}");
        assert_eq!(log_tail[38..], ["100", "b\u{fffd}d"], "{builder:?}");
        assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None, "{builder:?}");
    }
    for builder in BOTH {
        let mut plan = lab.plan(&[("good", "RUN echo fine"), ("bad", "RUN true\nRUN false")], vec![]);
        plan.dockerfile = plan.dockerfile.replace("RUN false", "FLY away");
        let tag = lab.tag("refused");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let error = lab.engine.build(&request, &Silent).await.unwrap_err();
        let EngineError::BuildRefused { stage, line, message } = &error else {
            panic!("{builder:?} {error:?}");
        };
        assert_eq!((stage.as_deref(), *line), (Some("bad"), Some(2)), "{builder:?} {message}");
        assert!(message.contains("FLY"), "{builder:?} {message}");
    }
    let plan = lab.plan(&[("bad", "COPY stages/bad/none /x")], vec![]);
    let tag = lab.tag("failed");
    let error = lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("COPY stages/bad/none"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_keeps_everything() {
    let lab = Lab::new("export").await;
    let tag = lab.tag("built");
    let plan =
        lab.plan(&[("os", "RUN ln /special/user /special/linked && chmod 0600 /special/capability")], vec![]);
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    let exported = export(&lab, &tag, BuilderChoice::Best).await;
    assert_eq!(exported["special/setuid"].mode & 0o7777, 0o4755);
    let pair = [&exported["special/setuid"], &exported["special/hardlink"]];
    assert!(pair.iter().any(|entry| entry.kind == tar::EntryType::Link && entry.link.is_some()), "{pair:?}");
    assert_eq!(exported["special/user"].xattrs["user.pib"], b"value");
    assert_eq!(exported["special/capability"].xattrs["security.capability"], CAPABILITY);
    assert_eq!(exported["special/list"].xattrs["system.posix_acl_access"], access_list());
    assert!(exported.keys().all(|path| path != ".dockerenv"), "{:?}", exported.keys());
    assert_eq!(exported["bin/sh"].kind, tar::EntryType::Symlink);

    let classic = export(&lab, &tag, BuilderChoice::Classic).await;
    assert_eq!(classic["special/capability"].xattrs["security.capability"], CAPABILITY);
    assert_eq!(classic["special/setuid"].mode & 0o7777, 0o4755);
    assert!(!classic["special/user"].xattrs.contains_key("user.pib"), "then `losses` must be corrected");

    let error = lab.engine.export(&lab.tag("none"), BuilderChoice::Best).await.err().unwrap();
    assert!(error.to_string().contains("no such container image"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_build_stops_in_the_engine() {
    let lab = Lab::new("cancel").await;
    for (builder, seconds) in [(BuilderChoice::Best, "31177"), (BuilderChoice::Classic, "31178")] {
        let plan = lab.plan(&[("os", &format!("RUN sleep {seconds}"))], vec![]);
        let tag = lab.tag("cancelled");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let building = lab.engine.build(&request, &Silent);
        tokio::select! {
            result = building => panic!("{builder:?} ended: {result:?}"),
            _ = until("start", Duration::from_secs(60), || runs(seconds)) => {}
        }
        let took = until("stop", Duration::from_secs(5), || !runs(seconds)).await;
        assert!(took < Duration::from_secs(3), "{builder:?} took {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_its_instruction_and_nothing_else() {
    let lab = Lab::new("secret").await;
    let plan = lab.plan(
        &[("os", "RUN --mount=type=secret,id=token cat /run/secrets/token && test -s /run/secrets/token")],
        vec![],
    );
    let tag = lab.tag("secret");
    let mut request = lab.request(&plan, &tag);
    request.secrets = vec![Secret { id: "token".to_owned(), value: b"open-sesame".to_vec() }];
    assert!(!format!("{request:?}").contains("open-sesame"));
    let recorder = Recorder::default();
    lab.engine.build(&request, &recorder).await.unwrap();
    let events = recorder.take();
    assert!(!format!("{events:?}").contains("open-sesame"), "{events:?}");
    assert!(events.contains(&Event::Log { id: "stage:os".to_owned(), line: "***".to_owned() }), "{events:?}");
    let exported = export(&lab, &tag, BuilderChoice::Best).await;
    assert!(exported.values().all(|entry| !entry.content.windows(11).any(|bytes| bytes == b"open-sesame")));

    request.builder = BuilderChoice::Classic;
    let error = lab.engine.build(&request, &Silent).await.unwrap_err();
    assert!(matches!(error, EngineError::NeedsBuildKit { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_stops_at_its_target_and_big_files_arrive_whole() {
    let lab = Lab::new("target").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big");
    let bytes: Vec<u8> =
        (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let big = ContextFile {
        path: "stages/a/big".to_owned(),
        source: FileSource::File(path.clone()),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        executable: false,
    };
    let plan = lab.plan(&[("a", "COPY stages/a/big /big"), ("b", "RUN exit 1")], vec![big]);
    let target = "a".parse().unwrap();
    for builder in BOTH {
        let tag = lab.tag("target");
        let mut request = lab.request(&plan, &tag);
        (request.builder, request.target, request.no_cache) = (builder, Some(&target), true);
        lab.engine.build(&request, &Silent).await.unwrap();
        let exported = export(&lab, &tag, BuilderChoice::Best).await;
        assert!(Cursor::new(&exported["big"].content).into_inner() == &bytes, "{builder:?}");
    }
    // The plan's digest is a promise: a file that is no longer what it was must not be built in silence.
    let mut changed = bytes;
    changed[4_000_000] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let mut plan = plan;
    plan.context[0].path = "stages/a/other".to_owned();
    plan.dockerfile = plan.dockerfile.replace("stages/a/big", "stages/a/other");
    for builder in BOTH {
        let tag = lab.tag("changed");
        let mut request = lab.request(&plan, &tag);
        (request.builder, request.target) = (builder, Some(&target));
        let error = lab.engine.build(&request, &Silent).await.unwrap_err();
        assert!(error.to_string().contains("changed while it was sent"), "{builder:?} {error:?}");
    }
}

/// Stands between pib and the engine, so that a test can cut the connection.
struct Proxy {
    _folder: tempfile::TempDir,
    host: String,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    fn new() -> Self {
        let engine = options().host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let engine = engine.strip_prefix("unix://").unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let engine = engine.clone();
                connections.spawn(async move {
                    let mut far = tokio::net::UnixStream::connect(engine).await.unwrap();
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { host: format!("unix://{}", path.display()), _folder: folder, accepting }
    }

    /// Cuts every connection, and takes no new one.
    async fn cut(&mut self) {
        self.accepting.abort();
        _ = (&mut self.accepting).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_vanishes_is_an_error_and_not_a_hang() {
    let lab = Lab::new("vanish").await;
    for (builder, seconds) in [(BuilderChoice::Best, "31179"), (BuilderChoice::Classic, "31180")] {
        let mut proxy = Proxy::new();
        let options = ConnectOptions { host: Some(proxy.host.clone()), ..ConnectOptions::default() };
        let engine = Engine::connect(&options).await.unwrap();
        let plan = lab.plan(&[("first", "RUN true"), ("os", &format!("RUN sleep {seconds}"))], vec![]);
        let tag = lab.tag("vanished");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let cutting = async {
            until("start", Duration::from_secs(60), || runs(seconds)).await;
            proxy.cut().await;
            Instant::now()
        };
        let (result, cut) = tokio::join!(engine.build(&request, &Silent), cutting);
        assert!(cut.elapsed() < Duration::from_secs(5), "{builder:?} {:?}", cut.elapsed());
        let error = result.unwrap_err();
        assert!(matches!(error, EngineError::Disconnected { .. }), "{builder:?} {error:?}");
        until("stop", Duration::from_secs(5), || !runs(seconds)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_or_abandoned_export_is_never_taken_for_a_whole_one() {
    let lab = Lab::new("cut").await;
    let plan = lab.plan(&[("os", "RUN head -c 50000000 /dev/zero > /big")], vec![]);
    let tag = lab.tag("big");
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    for builder in BOTH {
        let mut proxy = Proxy::new();
        let options = ConnectOptions { host: Some(proxy.host.clone()), ..ConnectOptions::default() };
        let engine = Engine::connect(&options).await.unwrap();
        let mut tar = engine.export(&tag, builder).await.unwrap();
        let (mut tar, read) = tokio::task::spawn_blocking(move || {
            let mut start = vec![0; 1_000_000];
            let read = tar.read_exact(&mut start);
            (tar, read)
        })
        .await
        .unwrap();
        read.unwrap();
        proxy.cut().await;
        let rest = tokio::task::spawn_blocking(move || std::io::copy(&mut tar, &mut std::io::sink()));
        let error = rest.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("lost the connection"), "{builder:?} {error}");
    }
    let abandoned = lab.engine.export(&tag, BuilderChoice::Classic).await.unwrap();
    drop(abandoned);
    // The export that was cut could not remove its container, for there was no engine to ask. It is known by
    // its label, and is not taken away from under an export that may be under way.
    let docker = bollard::Docker::connect_with_host(&lab.engine.info().address).unwrap();
    let label = format!("{}={tag}", pib::engine::export::TEMPORARY);
    let options = bollard::query_parameters::ListContainersOptions {
        all: true,
        filters: Some([("label".to_owned(), vec![label])].into()),
        ..Default::default()
    };
    let start = Instant::now();
    let left = loop {
        let left = docker.list_containers(Some(options.clone())).await.unwrap();
        if left.len() <= 1 {
            break left;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    lab.engine.remove_leftovers(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(docker.list_containers(Some(options)).await.unwrap().len(), left.len());
    for container in left {
        docker.remove_container(&container.id.unwrap(), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_binary_output_is_bounded() {
    let lab = Lab::new("flood").await;
    let plan = lab.plan(
        &[("first", "RUN true"), ("os", "RUN head -c 3000000 /dev/zero && echo end && exit 1")],
        vec![],
    );
    for builder in BOTH {
        let recorder = Recorder::default();
        let tag = lab.tag("flood");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let error = lab.engine.build(&request, &recorder).await.unwrap_err();
        let EngineError::BuildFailed { log_tail, .. } = &error else { panic!("{builder:?} {error:?}") };
        assert!(log_tail.len() <= 40 && log_tail.iter().all(|line| line.len() <= 4096), "{builder:?}");
        for event in recorder.take() {
            if let Event::Log { line, .. } = event {
                assert!(line.len() <= 4096 && !line.contains('\0'), "{builder:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_at_once_do_not_disturb_each_other() {
    let lab = Lab::new("twice").await;
    let build = async |text: &str| {
        let files = vec![bytes_file("stages/os/file", text, false)];
        let plan =
            lab.plan(&[("os", "COPY stages/os/file /etc/file"), ("after", "RUN cat /etc/file")], files);
        let tag = lab.tag(text);
        lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
        String::from_utf8(export(&lab, &tag, BuilderChoice::Best).await["etc/file"].content.clone()).unwrap()
    };
    let (one, two, three) = tokio::join!(build("one"), build("two"), build("three"));
    assert_eq!((one.as_str(), two.as_str(), three.as_str()), ("one", "two", "three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_base_is_refused() {
    let lab = Lab::new("broken").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.tar");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let (tag, labels) = (lab.tag("broken"), BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]));
    let base = Base { rootfs_tar: &path, tag: &tag, arch: Arch::Arm64, labels: &labels };
    let error = lab.engine.load_base(&base, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("loading the base"), "{error:?}");
    assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None);
}
