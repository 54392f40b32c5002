//! Hands the context to BuildKit: its file synchronisation protocol, the sender's side.
//!
//! We tell every file's name, size, mode and time; the engine asks for those that it does not have from a
//! session before. The times come from the contents, so that an unchanged file is never sent twice and a
//! changed one always is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use percent_encoding::percent_decode_str;
use pib_plan::assemble::{CONTEXT_EPOCH, ContextFile, FileSource};
use pib_plan::id::Digest;
use pib_plan::mode::Mode;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

/// The name under which BuildKit asks for the folder of the Dockerfile.
const DOCKERFILE_DIR: &str = "dockerfile";
/// The name under which it asks for the context.
const CONTEXT_DIR: &str = "context";
/// How much of a file goes into one message.
const CHUNK: usize = 128 * 1024;
/// How many messages may wait for the connection.
const QUEUE: usize = 16;
/// Go's bit for a folder in a file mode.
const MODE_DIR: u32 = 1 << 31;

/// Says why a file of the context could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// It could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// It is not what it was when the build was planned.
    #[error("the file {} changed while it was sent to the container engine", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Serves the Dockerfile and the context of one build.
#[derive(Clone)]
pub struct ContextServer {
    dockerfile: Arc<Vec<Entry>>,
    context: Arc<Vec<Entry>>,
    failure: Arc<OnceLock<ContextError>>,
}

/// A file or folder of the context. A folder of which only the files in it are known has none of its own.
#[derive(Debug, Clone)]
struct Entry {
    path: String,
    file: Option<Arc<ContextFile>>,
}

impl ContextServer {
    /// Returns a server of these files.
    pub fn new(dockerfile: &str, context: &[ContextFile]) -> Self {
        let bytes = dockerfile.as_bytes().to_vec();
        let dockerfile = ContextFile {
            path: "Dockerfile".to_owned(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            source: FileSource::Bytes(bytes.into()),
            mode: Mode::FILE,
        };
        Self {
            dockerfile: Arc::new(entries(std::slice::from_ref(&dockerfile))),
            context: Arc::new(entries(context)),
            failure: Arc::default(),
        }
    }

    /// Returns what will hold a failure on our side; the engine only says "rpc error".
    pub fn failure(&self) -> Arc<OnceLock<ContextError>> {
        self.failure.clone()
    }
}

/// Returns the files and their folders in the protocol's order: by path, part by part.
fn entries(files: &[ContextFile]) -> Vec<Entry> {
    let mut all: BTreeMap<Vec<&str>, Option<&ContextFile>> = BTreeMap::new();
    for file in files {
        let parts: Vec<&str> = file.path.split('/').collect();
        for depth in 1..parts.len() {
            all.entry(parts[..depth].to_vec()).or_insert(None);
        }
        all.insert(parts, Some(file));
    }
    let shared = |file: &ContextFile| Arc::new(file.clone());
    all.into_iter().map(|(parts, file)| Entry { path: parts.join("/"), file: file.map(shared) }).collect()
}

impl Entry {
    fn stat(&self) -> Stat {
        let (mode, size, mod_time) = match &self.file {
            None => (MODE_DIR | Mode::FOLDER.bits(), 0, CONTEXT_EPOCH),
            Some(file) if file.is_folder() => (MODE_DIR | file.mode.bits(), 0, CONTEXT_EPOCH),
            Some(file) => {
                let size = i64::try_from(file.size).unwrap_or(i64::MAX);
                (file.mode.bits(), size, file.modified())
            }
        };
        Stat { path: self.path.clone(), mode, size, mod_time, ..Stat::default() }
    }
}

#[async_trait::async_trait]
impl FileSync for ContextServer {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;
    type TarStreamStream = ReceiverStream<Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let metadata = request.metadata();
        let folder = values(metadata, "dir-name");
        let entries = match folder.first().map(String::as_str) {
            Some(DOCKERFILE_DIR) => &self.dockerfile,
            Some(CONTEXT_DIR) | None => &self.context,
            Some(other) => return Err(Status::not_found(format!("no folder `{other}` in this build"))),
        };
        let mut wanted = values(metadata, "include-patterns");
        wanted.extend(values(metadata, "followpaths"));
        let chosen: Vec<Entry> =
            entries.iter().filter(|entry| is_wanted(&entry.path, &wanted)).cloned().collect();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let sending = Sending { entries: chosen, sender, failure: self.failure.clone() };
        tokio::spawn(sending.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("only DiffCopy is served"))
    }
}

/// Returns a request's values of one key; BuildKit encodes what is not ASCII and says so by another key.
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let encoded = metadata.get(format!("{key}-encoded")).is_some_and(|flag| flag.as_bytes() == b"1");
    let texts =
        metadata.get_all(key).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    texts.map(|text| if encoded { percent_decoded(&text) } else { text }).collect()
}

fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns whether one of the patterns may name the path, something in it, or a folder around it.
///
/// Sending more than was asked for is harmless, so patterns are cut at their first wildcard.
fn is_wanted(path: &str, patterns: &[String]) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| {
            let plain = pattern.trim_matches('/').trim_start_matches("./");
            let plain: Vec<&str> =
                plain.split('/').take_while(|part| !part.contains(['*', '?', '[', '\\'])).collect();
            plain == [""] || plain == ["."] || plain.iter().zip(path.split('/')).all(|(a, b)| *a == b)
        })
}

/// One run of the protocol.
struct Sending {
    entries: Vec<Entry>,
    sender: mpsc::Sender<Result<Packet, Status>>,
    failure: Arc<OnceLock<ContextError>>,
}

/// Nobody listens any more.
struct Gone;

impl Sending {
    async fn run(self, mut requests: Streaming<Packet>) {
        if self.tell().await.is_err() {
            return;
        }
        while let Ok(Some(packet)) = requests.message().await {
            let answered = match packet.r#type() {
                PacketType::PacketReq => self.answer(packet.id).await,
                PacketType::PacketFin => {
                    _ = self.send(PacketType::PacketFin, 0, None, Vec::new()).await;
                    return;
                }
                PacketType::PacketErr => return,
                PacketType::PacketStat | PacketType::PacketData => Ok(()),
            };
            if answered.is_err() {
                return;
            }
        }
    }

    /// Tells what there is; an empty message ends the list.
    async fn tell(&self) -> Result<(), Gone> {
        for entry in &self.entries {
            self.send(PacketType::PacketStat, 0, Some(entry.stat()), Vec::new()).await?;
        }
        self.send(PacketType::PacketStat, 0, None, Vec::new()).await
    }

    async fn answer(&self, id: u32) -> Result<(), Gone> {
        let entry = usize::try_from(id).ok().and_then(|index| self.entries.get(index));
        let Some(file) = entry.and_then(|entry| entry.file.as_deref()).filter(|file| !file.is_folder())
        else {
            return self.fail(Status::invalid_argument("no such file in the list")).await;
        };
        match &file.source {
            FileSource::Bytes(bytes) => {
                for chunk in bytes.chunks(CHUNK) {
                    self.send(PacketType::PacketData, id, None, chunk.to_vec()).await?;
                }
            }
            FileSource::File(path) => match self.copy(id, path, file).await? {
                Ok(()) => {}
                Err(error) => {
                    let status = Status::aborted(error.to_string());
                    _ = self.failure.set(error);
                    return self.fail(status).await;
                }
            },
            FileSource::Folder => {}
        }
        self.send(PacketType::PacketData, id, None, Vec::new()).await
    }

    async fn copy(
        &self,
        id: u32,
        path: &Path,
        expected: &ContextFile,
    ) -> Result<Result<(), ContextError>, Gone> {
        let unreadable = |source| ContextError::Read { path: path.to_owned(), source };
        let mut file = match pib_file::open(path).map(tokio::fs::File::from_std) {
            Ok(file) => file,
            Err(error) => return Ok(Err(unreadable(error))),
        };
        let mut hasher = Sha256::new();
        loop {
            let mut chunk = vec![0; CHUNK];
            match file.read(&mut chunk).await {
                Ok(0) => break,
                Ok(count) => chunk.truncate(count),
                Err(error) => return Ok(Err(unreadable(error))),
            }
            hasher.update(&chunk);
            self.send(PacketType::PacketData, id, None, chunk).await?;
        }
        if Digest::from_bytes(hasher.finalize().into()) != expected.digest {
            return Ok(Err(ContextError::Changed { path: path.to_owned() }));
        }
        Ok(Ok(()))
    }

    async fn send(&self, kind: PacketType, id: u32, stat: Option<Stat>, data: Vec<u8>) -> Result<(), Gone> {
        let packet = Packet { r#type: kind.into(), stat, id, data };
        self.sender.send(Ok(packet)).await.map_err(|_| Gone)
    }

    async fn fail(&self, status: Status) -> Result<(), Gone> {
        _ = self.sender.send(Err(status)).await;
        Err(Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> ContextFile {
        let (source, digest) = (FileSource::Bytes([].into()), Digest::of(path.as_bytes()));
        ContextFile { path: path.to_owned(), source, digest, size: 0, mode: Mode::FILE }
    }

    #[test]
    fn entries_have_their_folders_and_the_protocols_order() {
        let entries = entries(&[file("b/c/x"), file("a-b"), file("a/z"), file("b/c.d")]);
        let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["a", "a/z", "a-b", "b", "b/c", "b/c/x", "b/c.d"]);
        assert_eq!(entries[0].stat().mode, MODE_DIR | 0o755);
    }

    #[test]
    fn patterns_choose_generously_but_not_everything() {
        let patterns = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert!(is_wanted("stages/a/x", &patterns(&[])));
        assert!(is_wanted("stages/a/x", &patterns(&["/stages/a"])));
        assert!(is_wanted("stages", &patterns(&["stages/a/x"])));
        assert!(is_wanted("stages/a/x", &patterns(&["stages/*/y"])));
        assert!(is_wanted("stages/a/x", &patterns(&["."])));
        assert!(!is_wanted("stages/b", &patterns(&["stages/a"])));
        assert!(!is_wanted("stages/ab", &patterns(&["stages/a"])));
        assert!(!is_wanted("stages/a", &patterns(&[".dockerignore"])));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(percent_decoded("a%20b%C3%BC%"), "a bü%");
    }
}
