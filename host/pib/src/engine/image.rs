//! Container images: look up, load a base, list, remove.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bollard::errors::Error::DockerResponseServerError;
use bollard::models::ImageInspect;
use bollard::query_parameters::{ImportImageOptions, ListImagesOptions, RemoveImageOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::AsyncReadExt;

use pib_plan::id::Digest;

use super::docker_archive::{self, Frame};
use super::{Engine, EngineError};
use pib_event::{Reporter, ReporterExt};

/// How much of a base is handed to the engine at once.
const CHUNK: usize = 256 * 1024;
/// The step of loading a base.
const LOADING: &str = "base:load";
/// How often a base is sent before the engine's failure is reported.
const ATTEMPTS: u32 = 4;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);
/// How long the engine is asked again about container images that others use or remove before that is an error.
const IN_USE: Duration = Duration::from_secs(5);

/// The id of a container image, as the engine gives it.
pub type ContainerImageId = String;

/// What an engine knows of a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerImage {
    /// Its id: `sha256:` and 64 hex digits.
    pub id: String,
    /// The names that it goes by.
    pub tags: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its platform, e.g. `linux/arm/v7`; empty where only a list was asked for.
    pub platform: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A root file system that builds start from.
#[derive(Debug, Clone)]
pub struct Base<'a> {
    /// The tarball, not compressed.
    pub rootfs_tar: &'a Path,
    /// The digest that it must have.
    pub digest: Digest,
    /// What to call the container image; name it by the tarball's digest.
    pub tag: &'a str,
    /// The platform of its programs, e.g. `linux/arm64`.
    pub platform: &'a str,
    /// The labels to give it.
    pub labels: &'a BTreeMap<String, String>,
}

impl Engine {
    /// Returns the container image called `tag`, or `None` where the engine has none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn container_image(&self, tag: &str) -> Result<Option<ContainerImage>, EngineError> {
        Ok(self.inspected(tag).await?.map(described))
    }

    /// Loads a base under its tag, unless the engine has it, and returns its id; the tarball is streamed.
    ///
    /// The same tarball gives the same container image id on every machine. A tag is no proof of what it names: what the
    /// engine has is the base only if it is made of this one layer and starts programs as the base does. Progress is
    /// told as step `base`.
    ///
    /// # Errors
    /// When the tarball cannot be read or is another than it must be, or the engine refuses it.
    pub async fn load_base(
        &self,
        base: &Base<'_>,
        reporter: &dyn Reporter,
    ) -> Result<ContainerImageId, EngineError> {
        reporter.started(LOADING, format!("Loading {} into {}", base.tag, self.info().name));
        match self.has_base(base).await? {
            Some((id, true)) => {
                reporter.finished(LOADING, true);
                return Ok(id);
            }
            Some((_, false)) => reporter.warn(format!(
                "the container image {} is another than pib has loaded under this name: it loses the name",
                base.tag
            )),
            None => {}
        }
        let (frame, size) = measured(base).await?;
        let mut attempt = 1;
        loop {
            match self.send_base(base, (&frame, size), reporter).await {
                Ok(id) => {
                    reporter.finished(LOADING, false);
                    return Ok(id);
                }
                // Podman closes the connection, or says that it does not know an image, where another build removes at this
                // moment what is made of the same layer.
                Err(EngineError::Disconnected { .. } | EngineError::Api { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
            attempt += 1;
            tokio::time::sleep(TICK).await;
        }
    }

    /// Sends a base to the engine once; returns its id.
    async fn send_base(
        &self,
        base: &Base<'_>,
        (frame, size): (&Frame, u64),
        reporter: &dyn Reporter,
    ) -> Result<ContainerImageId, EngineError> {
        let sent = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(std::sync::OnceLock::new());
        let body =
            archive_stream(base.rootfs_tar.to_owned(), size, frame.clone(), sent.clone(), failed.clone());
        let docker = self.client().patient();
        let mut answer = Box::pin(docker.import_image_stream(ImportImageOptions::default(), body, None));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                line = answer.next() => match line {
                    None => break,
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(match failed.get() {
                        None => EngineError::api("loading the base", &error),
                        Some(error) => EngineError::Io {
                            action: "read",
                            path: base.rootfs_tar.to_owned(),
                            source: std::io::Error::other(String::clone(error)),
                        },
                    }),
                },
                _ = tick.tick() => reporter.progress(LOADING, sent.load(Ordering::Relaxed), Some(size)),
            }
        }
        // The engine answers "Loaded" in words; that it has the base is the only proof of success.
        let message = match self.has_base(base).await? {
            Some((id, true)) => return Ok(id),
            Some((_, false)) => format!("it took the base, and has something else as {}", base.tag),
            None => format!("it took the base, but does not list {}", base.tag),
        };
        Err(EngineError::Api { doing: "loading the base".to_owned(), message })
    }

    /// Returns the id of what the engine calls by the base's tag, and whether that is the base; `None` where it has no such
    /// tag.
    async fn has_base(&self, base: &Base<'_>) -> Result<Option<(ContainerImageId, bool)>, EngineError> {
        let image = self.inspected(base.tag).await?;
        Ok(image.map(|image| (image.id.clone().unwrap_or_default(), is_base(&image, base))))
    }

    async fn inspected(&self, tag: &str) -> Result<Option<ImageInspect>, EngineError> {
        match unless_lost(async || self.client().quick().inspect_image(tag).await).await {
            Ok(image) => Ok(Some(image)),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(EngineError::api(format!("looking up the container image {tag}"), &error)),
        }
    }

    /// Returns the container images that have the label `label` (`key` or `key=value`).
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn container_images(&self, label: &str) -> Result<Vec<ContainerImage>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListImagesOptions { filters: Some(filters), ..Default::default() };
        let images =
            unless_lost(async || self.client().quick().list_images(Some(options.clone())).await).await;
        let images = images.map_err(|error| EngineError::api("listing container images", &error))?;
        Ok(images
            .into_iter()
            .map(|image| ContainerImage {
                id: image.id,
                tags: image.repo_tags,
                labels: image.labels.into_iter().collect(),
                platform: String::new(),
                size: u64::try_from(image.size).unwrap_or(0),
            })
            .collect())
    }

    /// Removes the container image with the tag or id; returns whether there was one.
    ///
    /// While a container uses the image, the engine is asked again for some seconds: Podman's builds work in containers,
    /// and each holds the image it starts from, also where that is only another build's cache, until its step ends.
    ///
    /// # Errors
    /// When the engine refuses, e.g. since a container goes on using it.
    pub async fn remove_image(&self, tag: &str) -> Result<bool, EngineError> {
        let (since, mut was_there) = (Instant::now(), false);
        loop {
            let options = RemoveImageOptions { force: false, noprune: false, ..Default::default() };
            let remove = async || self.client().quick().remove_image(tag, Some(options.clone()), None).await;
            match unless_lost(remove).await {
                Ok(_) => return Ok(true),
                // Podman takes the name away first, and then finds that it cannot remove the rest.
                Err(DockerResponseServerError { status_code: 404, .. }) => return Ok(was_there),
                Err(DockerResponseServerError { status_code: 409, .. }) if since.elapsed() < IN_USE => {
                    was_there = true;
                    tokio::time::sleep(TICK).await;
                }
                Err(error) => {
                    return Err(EngineError::api(format!("removing the container image {tag}"), &error));
                }
            }
        }
    }
}

/// Asks the engine, and for some seconds again where it lost an image while it answered.
///
/// To answer about one image Podman reads all of them: it collects their ids first, and fails where one was removed before
/// it was read, e.g. by another build.
async fn unless_lost<T>(
    ask: impl AsyncFn() -> Result<T, bollard::errors::Error>,
) -> Result<T, bollard::errors::Error> {
    let since = Instant::now();
    loop {
        match ask().await {
            Err(DockerResponseServerError { status_code: 500, message })
                if message.contains("image not known") && since.elapsed() < IN_USE =>
            {
                tokio::time::sleep(TICK).await;
            }
            answer => return answer,
        }
    }
}

/// Returns whether a container image is the base: made of its one layer, whose digest engines check when they take it,
/// and with nothing that would change what is built on it.
fn is_base(image: &ImageInspect, base: &Base<'_>) -> bool {
    let layers = image.root_fs.as_ref().and_then(|root| root.layers.as_deref()).unwrap_or_default();
    let config = image.config.clone().unwrap_or_default();
    let same_layer = matches!(layers, [layer] if *layer == base.digest.to_string());
    let folder = config.working_dir.as_deref().unwrap_or_default();
    let plain = config.on_build.unwrap_or_default().is_empty()
        && config.entrypoint.unwrap_or_default().is_empty()
        && config.shell.unwrap_or_default().is_empty()
        && config.volumes.unwrap_or_default().is_empty()
        && config.user.unwrap_or_default().is_empty()
        && ["", "/"].contains(&folder)
        && config.env.unwrap_or_default().iter().all(|variable| variable == docker_archive::PATH);
    same_layer && plain
}

fn described(image: ImageInspect) -> ContainerImage {
    let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
    let parts = [image.os, image.architecture, image.variant];
    let platform: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    ContainerImage {
        id: image.id.unwrap_or_default(),
        tags: image.repo_tags.unwrap_or_default(),
        labels: labels.into_iter().collect(),
        platform: platform.join("/"),
        size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
    }
}

async fn measured(base: &Base<'_>) -> Result<(Frame, u64), EngineError> {
    let unreadable = |source| EngineError::Io { action: "read", path: base.rootfs_tar.to_owned(), source };
    let path = base.rootfs_tar.to_owned();
    let measured = tokio::task::spawn_blocking(move || {
        Ok((docker_archive::measure(&path)?, docker_archive::check_tar(&path)))
    })
    .await;
    let measured = measured.map_err(|error| unreadable(error.into()))?;
    let ((size, found), checked) = measured.map_err(unreadable)?;
    let digest = base.digest;
    if found != digest {
        return Err(EngineError::DamagedBase { path: base.rootfs_tar.to_owned(), expected: digest, found });
    }
    checked.map_err(|error| EngineError::Api {
        doing: "loading the base".to_owned(),
        message: format!("{} is not a whole tar archive: {error}", base.rootfs_tar.display()),
    })?;
    let frame =
        docker_archive::frame(base.tag, base.platform, base.labels, &digest, size).map_err(unreadable)?;
    Ok((frame, size))
}

/// Streams the archive; what goes wrong on this side is kept in `failed`, since the engine's client only
/// says that the body ended early.
fn archive_stream(
    path: PathBuf,
    size: u64,
    frame: Frame,
    sent: Arc<AtomicU64>,
    failed: Arc<std::sync::OnceLock<String>>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let head = stream::once(async move { Ok(Bytes::from(frame.head)) });
    let tail = stream::once(async move { Ok(Bytes::from(frame.tail)) });
    let layer = stream::unfold(Layer { path, file: None, left: size, done: false }, move |mut layer| {
        let (sent, failed) = (sent.clone(), failed.clone());
        async move {
            let chunk = layer.next().await?;
            match &chunk {
                Ok(bytes) => _ = sent.fetch_add(bytes.len() as u64, Ordering::Relaxed),
                Err(error) => _ = failed.set(format!("could not read {}: {error}", layer.path.display())),
            }
            Some((chunk, layer))
        }
    });
    head.chain(layer).chain(tail)
}

struct Layer {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    left: u64,
    done: bool,
}

impl Layer {
    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        if self.done || self.left == 0 {
            return None;
        }
        let chunk = self.read().await;
        self.done = chunk.is_err();
        Some(chunk)
    }

    async fn read(&mut self) -> std::io::Result<Bytes> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tokio::fs::File::from_std(pib_file::open(&self.path)?),
        };
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK);
        let mut buffer = vec![0; want];
        // The size stands in the archive's header already, so a file that shrank is an error, not an end.
        file.read_exact(&mut buffer).await?;
        self.left -= want as u64;
        self.file = Some(file);
        Ok(Bytes::from(buffer))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};

    use crate::engine::ConnectOptions;

    use super::*;

    const VERSION: &str = r#"{"Version":"4.3.1","ApiVersion":"1.41","Os":"linux","Arch":"amd64",
        "Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}"#;

    /// Answers as Podman does; each list of images is the next of `lists`.
    fn answer(stream: UnixStream, lists: &mut impl Iterator<Item = (u16, &'static str)>) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut lines = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let first = lines.next()?;
            lines.for_each(drop);
            let (status, body) = match first {
                line if line.contains("/version") => (200, VERSION),
                line if line.contains("/images/json") => lists.next().unwrap(),
                _ => (200, "{}"),
            };
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            reader.get_mut().write_all((head + body).as_bytes()).ok()?;
        }
    }

    async fn listed(lists: Vec<(u16, &'static str)>) -> Result<Vec<ContainerImage>, EngineError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let mut lists = lists.into_iter();
            for stream in listener.incoming().flatten() {
                answer(stream, &mut lists);
            }
        });
        let host = Some(format!("unix://{}", path.display()));
        let engine = Engine::connect(&ConnectOptions { host, ..ConnectOptions::default() }).await.unwrap();
        engine.container_images("a=b").await
    }

    #[tokio::test]
    async fn images_are_listed_again_where_podman_lost_one_while_it_listed_them() {
        let lost =
            r#"{"cause":"image not known","message":"reading image \"12\": image not known","response":500}"#;
        let listed_again = listed(vec![(500, lost), (500, lost), (200, "[]")]).await;
        assert_eq!(listed_again.unwrap(), []);
        let error = listed(vec![(500, r#"{"message":"no space left on device"}"#)]).await.unwrap_err();
        assert!(error.to_string().contains("listing container images"), "{error}");
    }
}
