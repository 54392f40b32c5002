//! Adds the stages of a build to the shared cache.
//!
//! Each stage's root file system is exported as an image's is, so that what others start from is what a part of this build
//! would have started from. Of a stage with a secret, and of those after it, nothing leaves this machine.

use futures_util::{StreamExt as _, stream};
use pib_disk::{KnownRecords, Packed};
use pib_event::{ReporterExt as _, Silent};
use pib_plan::id::Digest;
use pib_plan::native::ROOT;
use pib_plan::stage_entry::{MAX_PACKS, PackFile, SizedDigest, StageEntry, shared_key};

use super::based::Based;
use super::entry_store::CacheFault;
use super::shared_cache::{AT_ONCE, Pulled, STEP, SharedCache};
use super::transfer::{TransferFile, folder};
use crate::engine::{BuildRequest, Engine};
use crate::project::{Session, blocking};

/// The packs that the next stage can share, and the records in them.
#[derive(Default)]
struct Chain {
    packs: Vec<PackFile>,
    known: KnownRecords,
}

/// A stage that the cache gets.
struct Outgoing {
    index: usize,
    key: Digest,
}

impl SharedCache {
    /// Adds what the cache does not have of the stages that were built by this request; parts were given what has the digest
    /// `recording`. What goes wrong is a warning.
    pub(crate) async fn push(
        &mut self,
        session: &Session,
        engine: &Engine,
        (based, recording): (&Based, Option<Digest>),
        request: &BuildRequest<'_>,
    ) {
        if !self.writes {
            return;
        }
        let reporter = &session.reporter;
        let mut is_begun = false;
        let pushed = self.push_missing(session, engine, (based, recording), (request, &mut is_begun)).await;
        match pushed {
            Ok(0) => {}
            Ok(count) => {
                reporter.finished(STEP, false);
                let stages = pib_plan::suggest::count(count, "stage");
                reporter.note(format!("Added {stages} to the shared cache {}", self.store));
            }
            Err(fault) => {
                if is_begun {
                    reporter.failed(STEP);
                }
                session
                    .warn_once(format!("{fault} ({}); it did not get all stages of this build", self.store));
            }
        }
    }

    async fn push_missing(
        &mut self,
        session: &Session,
        engine: &Engine,
        (based, recording): (&Based, Option<Digest>),
        (request, is_begun): (&BuildRequest<'_>, &mut bool),
    ) -> Result<usize, CacheFault> {
        let missing = self.missing(based, recording.as_ref()).await?;
        if missing.is_empty() {
            return Ok(0);
        }
        *is_begun = true;
        session.reporter.started(STEP, "Adding stages to the shared cache");
        let pulled = self.start.as_mut().and_then(|start| start.pulled.take());
        let mut chain =
            pulled.map_or_else(Chain::default, |Pulled { packs, known, archive: _ }| Chain { packs, known });
        let mut count = 0;
        for Outgoing { index, key } in missing {
            let stage = &request.plan.stages[index];
            session.reporter.detail(STEP, format!("stage {}", stage.name));
            if chain.packs.len() >= MAX_PACKS {
                chain = Chain::default();
            }
            let (packed, file) = export(session, engine, (request, index), &mut chain).await?;
            if let Some(path) = &packed.fragile {
                session.reporter.note(format!(
                    "Stage {} and those after it stay on this machine: engines lose the capabilities of {path}, a hard link, when \
                     they load it",
                    stage.name
                ));
                break;
            }
            let pack = PackFile { digest: packed.pack, size: packed.compressed, length: packed.length };
            chain.packs.push(pack);
            let rootfs = SizedDigest { digest: packed.digest, size: packed.size };
            let name = format!("{} {}", stage.name, stage.version);
            self.store.put(&StageEntry::new(key, name, rootfs, chain.packs.clone()), file).await?;
            count += 1;
        }
        if count == 0 {
            session.reporter.finished(STEP, true);
        }
        Ok(count)
    }

    /// Returns the stages that this build made, others may have, and the cache does not have.
    async fn missing(&self, based: &Based, recording: Option<&Digest>) -> Result<Vec<Outgoing>, CacheFault> {
        let inputs = &based.rendered.inputs;
        let secret = inputs.iter().position(|stage| !stage.secrets.is_empty()).unwrap_or(inputs.len());
        let first = self.start.as_ref().map_or(0, |start| start.last + 1);
        let indexes = first..secret.min(based.rendered.last + 1);
        let asked = indexes.map(async |index| {
            let key = shared_key(&based.keys[index], recording);
            // An entry that has something wrong is replaced.
            match self.store.entry(key).await {
                Ok(Some(_)) => Ok(None),
                Ok(None) | Err(CacheFault::Wrong(_)) => Ok(Some(Outgoing { index, key })),
                Err(fault) => Err(fault),
            }
        });
        let mut asked = std::pin::pin!(stream::iter(asked).buffered(AT_ONCE));
        let mut missing = Vec::new();
        while let Some(found) = asked.next().await {
            missing.extend(found?);
        }
        Ok(missing)
    }
}

/// Takes the root file system of a stage out of the engine; returns its pack.
async fn export(
    session: &Session,
    engine: &Engine,
    (request, index): (&BuildRequest<'_>, usize),
    chain: &mut Chain,
) -> Result<(Packed, TransferFile), CacheFault> {
    let refused =
        |error: crate::engine::EngineError| CacheFault::Here(std::io::Error::other(error.to_string()));
    let last = request.target.map_or(request.plan.stages.len() - 1, |target| {
        request.plan.stages.iter().position(|stage| stage.name == *target).unwrap_or(index)
    });
    let tag = match index == last {
        true => request.tag.to_owned(),
        // The engine has it, without a name.
        false => format!("{}-shared", request.tag),
    };
    if index != last {
        let request =
            BuildRequest { tag: &tag, target: Some(&request.plan.stages[index].name), ..request.clone() };
        engine.build(&request, &Silent).await.map_err(refused)?;
    }
    let packed = pack(session, engine, &tag, chain).await;
    if index != last {
        _ = engine.remove_image(&tag).await;
    }
    packed
}

async fn pack(
    session: &Session,
    engine: &Engine,
    tag: &str,
    chain: &mut Chain,
) -> Result<(Packed, TransferFile), CacheFault> {
    let here = |error: &dyn std::fmt::Display| CacheFault::Here(std::io::Error::other(error.to_string()));
    let folder = folder(session)?;
    let (file, spool) = (TransferFile::new(&folder)?, folder.unnamed()?);
    let tar = engine.export(tag).await.map_err(|error| here(&error))?;
    let (mut known, number) = (std::mem::take(&mut chain.known), chain.packs.len());
    let own = ROOT.trim_start_matches('/');
    let work = move |tar| {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let packed = pib_disk::pack(tar, (&mut known, number), own, spool, file.as_file());
        packed.map(|packed| (packed, known, file))
    };
    let (packed, known, file) = blocking::read(tar, work).await.map_err(|error| here(&error))??;
    chain.known = known;
    Ok((packed, file))
}
