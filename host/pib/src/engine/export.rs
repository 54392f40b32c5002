//! Takes the root file system of a container image out of the engine, as a tar stream.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions, RemoveContainerOptions};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::Engine;
use super::backend::{Chunk, Loss};
use super::error::EngineError;
use super::owner::{self, OWNER};
use super::task::AbortOnDrop;

/// How many chunks may wait for the reader; each is at most a few MiB, most are 32 KiB.
const QUEUE: usize = 16;
/// The label of containers that are there only for a while, such as the time of an export.
pub const TEMPORARY: &str = "dev.pib.temporary";
/// How long the removal of an abandoned container may take.
const REMOVAL: Duration = Duration::from_secs(5);
/// How long to wait before a removal is tried again.
const MOMENT: Duration = Duration::from_millis(100);

/// The root file system of a container image as a tar stream, owners and modes and all.
///
/// Read it outside of async code, e.g. within `spawn_blocking`. An end that is not an error is the end of the
/// whole tar. Dropping it stops the engine.
pub struct RootfsTar {
    chunks: mpsc::Receiver<Chunk>,
    current: Bytes,
    losses: Vec<Loss>,
    fault: Fault,
    _task: AbortOnDrop,
}

/// Why the engine's stream broke, for a caller to whom its reader only says that it could not read on.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<Mutex<Option<EngineError>>>);

impl Fault {
    /// Returns the engine's failure, where there was one, once.
    pub fn take(&self) -> Option<EngineError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl RootfsTar {
    /// Returns what is lost with this engine.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Returns what will hold the engine's failure, if reading fails by one.
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }
}

impl Read for RootfsTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => {
                    let reading = io::Error::other(error.to_string());
                    *self.fault.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return Err(reading);
                }
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

impl Engine {
    /// Starts to take the root file system of the container image `tag` out of the engine.
    ///
    /// With BuildKit everything is kept: owners, modes, hard links, all extended attributes. Without it,
    /// [`RootfsTar::losses`] says what is not.
    ///
    /// # Errors
    /// When there is no such container image or the engine refuses. What goes wrong later, reading tells.
    pub async fn export(&self, tag: &str) -> Result<RootfsTar, EngineError> {
        let image = self.container_image(tag).await?.ok_or_else(|| EngineError::Api {
            doing: format!("exporting {tag}"),
            message: "there is no such container image".to_owned(),
        })?;
        let (sender, chunks) = mpsc::channel(QUEUE);
        let task = self.backend().export(self, &image, tag, sender).await?;
        Ok(RootfsTar {
            chunks,
            current: Bytes::new(),
            losses: self.abilities().losses,
            fault: Fault::default(),
            _task: task,
        })
    }

    /// Removes containers that a pib left behind that has ended, or whose end cannot be told from here and that are
    /// older than `age`; returns how many there were.
    ///
    /// An export removes its container itself; one stays only where pib was killed or the engine vanished.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn remove_leftovers(&self, age: Duration) -> Result<usize, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![TEMPORARY.to_owned()])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let containers = self.quick().list_containers(Some(options)).await;
        let containers = containers.map_err(|error| EngineError::api("listing containers", &error))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let newest = i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX);
        let mut count = 0;
        for container in containers {
            let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
            let ended = owner.and_then(|owner| owner::has_ended(owner));
            let left = ended.unwrap_or_else(|| container.created.is_some_and(|made| made < newest));
            if let Some(id) = container.id.filter(|_| left) {
                remove_container(self, &id).await;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Has the engine export a container that is made for it and never runs.
pub(super) async fn by_container(
    engine: &Engine,
    tag: &str,
    sender: mpsc::Sender<Chunk>,
) -> Result<AbortOnDrop, EngineError> {
    let body = ContainerCreateBody {
        image: Some(tag.to_owned()),
        labels: Some(temporary(tag)),
        // Never run, but without any command the engine refuses to create it.
        cmd: Some(vec!["/".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let created = engine.quick().create_container(None::<CreateContainerOptions>, body).await;
    let created = created.map_err(|error| EngineError::api(format!("exporting {tag}"), &error))?;
    let mut container = TemporaryContainer::new(engine, &created.id);
    Ok(AbortOnDrop(tokio::spawn(async move {
        let docker = container.engine.patient();
        let mut stream = Box::pin(docker.export_container(&created.id));
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| EngineError::api("exporting", &error));
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() || failed {
                break;
            }
        }
        // Before the sender goes, so that the container is gone when the reader sees the end.
        container.remove().await;
    })))
}

/// Returns the labels of a container that is there only for a while.
pub(super) fn temporary(tag: &str) -> HashMap<String, String> {
    let owner = (OWNER.to_owned(), owner::this_process());
    HashMap::from([(TEMPORARY.to_owned(), tag.to_owned()), owner])
}

/// A container that is removed with its owner, also when the export is abandoned.
pub(super) struct TemporaryContainer {
    engine: Engine,
    id: Option<String>,
    /// Whether the engine has said that it is there.
    there: bool,
}

impl TemporaryContainer {
    pub(super) fn new(engine: &Engine, id: &str) -> Self {
        Self { engine: engine.clone(), id: Some(id.to_owned()), there: true }
    }

    /// A container that is about to be asked for by `name`: dropped before the engine has answered, it is removed too.
    pub(super) fn asked_for(engine: &Engine, name: &str) -> Self {
        Self { engine: engine.clone(), id: Some(name.to_owned()), there: false }
    }

    /// Takes what the engine has answered: whether it has made the container.
    pub(super) fn answered(&mut self, made: bool) {
        self.there = made;
        if !made {
            self.id = None;
        }
    }

    pub(super) async fn remove(&mut self) {
        if let Some(id) = self.id.clone() {
            remove_container(&self.engine, &id).await;
            // Only now: dropped in the middle of the removal, it is tried once more.
            self.id = None;
        }
    }
}

impl Drop for TemporaryContainer {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let (engine, there) = (self.engine.clone(), self.there);
        // On a thread of its own, and waited for: the program may be about to end, and its runtime with it.
        let removing = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                let removal = async {
                    // What was asked for a moment ago may not be there yet.
                    while !remove_container(&engine, &id).await && !there {
                        tokio::time::sleep(MOMENT).await;
                    }
                };
                _ = runtime.block_on(async { tokio::time::timeout(REMOVAL, removal).await });
            }
        });
        _ = removing.join();
    }
}

/// Removes a container, and returns whether it did; what it fails to remove has a label by which it can be found.
pub(super) async fn remove_container(engine: &Engine, id: &str) -> bool {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    engine.quick().remove_container(id, Some(options)).await.is_ok()
}
