//! What the tests of the engine share: an engine with a base, a reporter, and the exported tree.

#![allow(clippy::unwrap_used, clippy::panic)] // Test helpers outside test functions.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime};

use pib::engine::{Base, BuildRequest, ConnectOptions, Engine};
use pib_event::{Event, Reporter, Silent};
use pib_plan::assemble::{Arg, BaseRef, BuildPlan, ContextFile, Extras, FileSource, StageInput, assemble};
use pib_plan::id::{Arch, Digest};
use pib_plan::part;
use semver::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::kind::{Kind, Private};
use super::rootfs::{base_digest, base_tar};
use crate::ledger;

/// The label of everything that these tests make.
pub(super) const LABEL: &str = "dev.pib.test";

/// Keeps the events, so that a test can look at them.
#[derive(Default)]
pub(super) struct Recorder(pub(super) Mutex<Vec<Event>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// An engine with a base of its own; what was made with it is removed at the end.
pub(super) struct Lab {
    pub(super) engine: Engine,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Keeps what earlier runs left in the engine's build cache from answering for this one.
    nonce: String,
    options: ConnectOptions,
    /// Ends after the rest.
    _private: Option<Arc<Private>>,
    _turn: Option<tokio::sync::OwnedMutexGuard<()>>,
}

/// Podman's turns: it loses images that one test builds on while another removes what is made of the same layers, whatever its
/// clients do. What must work at once is in one test.
static PODMANS_TURN: LazyLock<Arc<tokio::sync::Mutex<()>>> = LazyLock::new(Arc::default);

impl Lab {
    pub(super) async fn of(kind: Kind, test: &str) -> Self {
        let turn = match kind {
            Kind::Podman => Some(Arc::clone(&PODMANS_TURN).lock_owned().await),
            _ => None,
        };
        let (options, private) = kind.options();
        let engine = Engine::connect(&options).await.unwrap();
        let nonce = format!("{:?}", SystemTime::now());
        let name =
            format!("pib-test-{kind:?}-{}-{}", test.replace('_', "-"), std::process::id()).to_lowercase();
        let lab = Self { engine, kind, name, nonce, options, _private: private, _turn: turn };
        let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
        ledger::label(LABEL, &lab.name);
        let base = Base {
            rootfs_tar: base_tar(),
            digest: base_digest(),
            tag: &lab.base(),
            platform: "linux/arm64",
            labels: &labels,
        };
        lab.engine.load_base(&base, &Silent).await.unwrap();
        lab
    }

    /// Connects once more, through something in between.
    pub(super) async fn through(&self, host: &str) -> Engine {
        let options = ConnectOptions { host: Some(host.to_owned()), ..self.options.clone() };
        Engine::connect(&options).await.unwrap()
    }

    /// Returns an instruction that takes so many seconds, and the argument by which its process can be found.
    pub(super) fn sleeping(&self, seconds: u32) -> (String, String) {
        let word = format!(
            "sleeping-{}",
            &Digest::of(format!("{} {}", self.nonce, self.name).as_bytes()).hex()[..16]
        );
        (format!("RUN sh -c 'sleep {seconds}; :' {word}"), word)
    }

    pub(super) fn base(&self) -> String {
        format!("{}:base", self.name)
    }

    pub(super) fn tag(&self, name: &str) -> String {
        format!("{}:{name}", self.name)
    }

    pub(super) fn plan(&self, stages: &[(&str, &str)], files: Vec<ContextFile>) -> BuildPlan {
        let mut inputs: Vec<StageInput> = stages
            .iter()
            .map(|(name, text)| StageInput {
                name: name.parse().unwrap(),
                version: Version::new(1, 0, 0),
                args: vec![Arg { name: "NONCE".to_owned(), value: self.nonce.clone(), keyed: true }],
                part: part::check("part", text).unwrap(),
                files: vec![],
                native: true,
                recorded: false,
                secrets: vec![],
            })
            .collect();
        inputs[0].files = files;
        let base = BaseRef::ContainerImage(self.base());
        assemble(Arch::Arm64, &base, &Digest::of(b"base"), &inputs, &Extras::default()).unwrap()
    }

    pub(super) fn request<'a>(&self, plan: &'a BuildPlan, tag: &'a str) -> BuildRequest<'a> {
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

pub(super) fn options() -> ConnectOptions {
    let host = std::env::var("DOCKER_HOST").ok();
    ConnectOptions { host, ..ConnectOptions::default() }
}

/// One entry of an exported tar.
#[derive(Debug)]
pub(super) struct Exported {
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) kind: tar::EntryType,
    pub(super) link: Option<String>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) content: Vec<u8>,
}

pub(super) async fn export(lab: &Lab, tag: &str) -> BTreeMap<String, Exported> {
    export_of(&lab.engine, tag).await
}

pub(super) async fn export_of(engine: &Engine, tag: &str) -> BTreeMap<String, Exported> {
    let tar = engine.export(tag).await.unwrap();
    assert_eq!(tar.losses(), engine.abilities().losses.as_slice());
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
pub(crate) fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes()))
}

pub(super) async fn until(what: &str, limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

pub(super) fn bytes_file(path: &str, text: &str, executable: bool) -> ContextFile {
    ContextFile {
        path: path.to_owned(),
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        source: FileSource::Bytes(text.as_bytes().into()),
        mode: pib_plan::mode::Mode::of_file(executable),
    }
}

/// Changes an answer of the engine, or leaves it as it is.
type Rewrite = fn(&[u8]) -> Option<Vec<u8>>;

/// Stands between pib and the engine, so that a test can cut the connection or change what is said.
pub(super) struct Proxy {
    _folder: tempfile::TempDir,
    pub(super) host: String,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(super) fn new(lab: &Lab) -> Self {
        Self::between(lab.engine.info().address.strip_prefix("unix://").unwrap(), None)
    }

    /// Changes what the engine at `socket` answers, as long as it sends it in one piece.
    pub(super) fn rewriting(socket: &str, rewrite: Rewrite) -> Self {
        Self::between(socket, Some(rewrite))
    }

    fn between(engine: &str, rewrite: Option<Rewrite>) -> Self {
        let engine = engine.to_owned();
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
                    match rewrite {
                        None => _ = tokio::io::copy_bidirectional(&mut near, &mut far).await,
                        Some(rewrite) => _ = pass(near, far, rewrite).await,
                    }
                });
            }
        });
        Self { host: format!("unix://{}", path.display()), _folder: folder, accepting }
    }

    /// Cuts every connection, and takes no new one.
    pub(super) async fn cut(&mut self) {
        self.accepting.abort();
        _ = (&mut self.accepting).await;
    }
}

async fn pass(
    near: tokio::net::UnixStream,
    far: tokio::net::UnixStream,
    rewrite: Rewrite,
) -> std::io::Result<()> {
    let (mut asked, mut answer) = near.into_split();
    let (mut answered, mut ask) = far.into_split();
    let asking = tokio::spawn(async move { tokio::io::copy(&mut asked, &mut ask).await });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = answered.read(&mut buffer).await?;
        if count == 0 {
            asking.abort();
            return Ok(());
        }
        let piece = &buffer[..count];
        answer.write_all(&rewrite(piece).unwrap_or_else(|| piece.to_vec())).await?;
    }
}
