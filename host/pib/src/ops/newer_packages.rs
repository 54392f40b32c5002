//! Looks at what mirrors have now of the packages that a lock and its recording name: `pib outdated --packages`.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use pib_debian::HostApt;
use pib_plan::base::{BaseSource, Bootstrap, WantedBase};
use pib_plan::id::INIT;
use pib_plan::recording::Recording;

use super::browse::Outdated;
use crate::pipeline::{Resolved, base_source, edition, resolve};
use crate::project::{Error, LockMode, Project, Session};

/// Returns the packages of which mirrors have a newer version than the lock or its recording names, by name: those of the
/// target that is named, or of the project and then what is otherwise with its targets.
///
/// # Errors
/// When the stages cannot be resolved, or the mirrors cannot be asked.
pub async fn outdated_packages(session: &Session) -> Result<Vec<Outdated>, Error> {
    let project = Project::load(session)?;
    let parts = if session.target.is_some() { vec![project] } else { project.with_targets()? };
    let mut list = Vec::new();
    for part in parts {
        let target = part.target_name().map(str::to_owned).filter(|_| session.target.is_none());
        let found = outdated_in(session, part).await?;
        let new: Vec<_> = found.into_iter().filter(|package| !list.contains(package)).collect();
        list.extend(new.into_iter().map(|package| Outdated { target: target.clone(), ..package }));
    }
    Ok(list)
}

async fn outdated_in(session: &Session, project: Project) -> Result<Vec<Outdated>, Error> {
    let part = resolve(session, project, LockMode::default()).await?;
    let Some(recipe) = recipe(&part).await? else { return Ok(Vec::new()) };
    let source = BaseSource::Bootstrap(recipe.clone());
    let wanted = WantedBase { project: &part.project.manifest.project, source: &source };
    let base = part.lock.base(wanted).and_then(|base| base.snapshot.as_ref());
    let mut locked: BTreeMap<String, String> = BTreeMap::new();
    for package in base.into_iter().flat_map(|snapshot| &snapshot.packages) {
        locked.insert(package.name.clone(), package.version.clone());
    }
    if part.lock.fetch.is_none() || !part.project.is_recorded() {
        session.warn_once(
            "what parts install is not recorded, and so is not compared: this is the base alone".to_owned(),
        );
    }
    // What parts install takes the place of what the base has.
    locked.extend(recorded(
        &edition::read(session, &part.project, &part.lock)?,
        recipe.package_arch().unwrap_or_default(),
    ));
    let host = HostApt::read(&session.host_root);
    let newest = pib_debian::newest_versions(&recipe, &host, &session.reporter).await?;
    let outdated = locked.into_iter().filter_map(|(name, locked)| {
        let newest = newest.get(&name).filter(|newest| pib_debian::is_newer(newest, &locked))?.clone();
        Some(Outdated {
            name,
            locked,
            compatible: newest.clone(),
            newest,
            yanked: false,
            yank_reason: None,
            target: None,
        })
    });
    Ok(outdated.collect())
}

/// Returns the recipe of a part's base, where pib makes it.
async fn recipe(part: &Resolved) -> Result<Option<Bootstrap>, Error> {
    let Project { manifest, dir, .. } = &part.project;
    let packages = part.packages().await?;
    let init = packages.iter().find(|package| package.name.as_str() == INIT);
    Ok(match init.map(|init| base_source::source(manifest, dir, init)).transpose()? {
        Some(BaseSource::Bootstrap(recipe)) => Some(recipe),
        _ => None,
    })
}

/// Returns the packages of an architecture that parts were given, with their versions: the names of their files tell both
/// (`NAME_VERSION_ARCH.deb`).
fn recorded(recording: &Recording, arch: &str) -> BTreeMap<String, String> {
    let name = |url: &str| {
        let file = url.rsplit('/').next().filter(|_| url.contains("/pool/"))?;
        let file = percent_decode_str(file).decode_utf8().ok()?.into_owned();
        let mut words = file.strip_suffix(".deb")?.splitn(3, '_').map(str::to_owned);
        let (name, version, of) = (words.next()?, words.next()?, words.next()?);
        // Of a file in an archive the name has no epoch, which the version begins with.
        (of == arch || of == "all").then_some((name, version))
    };
    recording
        .iter()
        .filter(|(_, found)| found.status == 200)
        .filter_map(|(asked, _)| name(&asked.url))
        .collect()
}

#[cfg(test)]
mod tests {
    use pib_plan::id::Digest;
    use pib_plan::recording::{Request, Response};

    use super::*;

    #[test]
    fn packages_are_known_by_the_names_of_their_files() {
        let mut recording = Recording::default();
        for (url, status) in [
            ("http://d.example/debian/pool/main/h/hello/hello_2.10-5_arm64.deb", 200),
            ("http://d.example/debian/pool/main/t/tzdata/tzdata_2026a-1%2bb1_all.deb", 200),
            ("http://d.example/debian/pool/main/h/hello/other_1_armhf.deb", 200),
            ("http://d.example/debian/pool/main/g/gone/gone_1_arm64.deb", 404),
            ("http://d.example/debian/dists/trixie/InRelease", 200),
            ("http://d.example/hello_3_arm64.deb", 200),
        ] {
            let response = Response { status, digest: Digest::of(b""), size: 0, headers: BTreeMap::new() };
            recording.add(&Request::get(url), response);
        }
        let expected =
            [("hello", "2.10-5"), ("tzdata", "2026a-1+b1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(recorded(&recording, "arm64"), BTreeMap::from(expected));
    }
}
