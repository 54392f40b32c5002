//! Lays out what publishing does, for people.

use pib_plan::moment::Moment;
use pib_plan::size::ByteSize;
use pib_plan::suggest::count;

use crate::ops::mirror::RegistryCopy;
use crate::ops::pack::PackedStage;
use crate::ops::publish::{NewVersion, Publication, Published};
use crate::ops::registry_admin::{MadeRegistry, NewIndex, WholeRegistry};
use crate::ops::registry_login::{Bearer, Login, Logout};
use crate::ops::registry_signing::SignedRegistry;
use crate::ops::registry_tokens::NewToken;
use crate::ops::stage_owners::{ChangedOwner, StageOwners};
use crate::ops::yank::Yanked;
use crate::ui::one_line;

impl Published {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        match self.published.as_slice() {
            [] => format!("Nothing new: {} published already", count(self.unchanged.len(), "stage")),
            some => format!("Published {}", some.join(", ")),
        }
    }
}

impl Publication {
    /// Returns what would be published, for people.
    pub(crate) fn to_text(&self) -> String {
        if self.versions.is_empty() {
            return "Nothing is new".to_owned();
        }
        let versions: Vec<String> = self.versions.iter().map(NewVersion::to_text).collect();
        format!("To the registry {}:\n{}", self.registry, versions.join("\n"))
    }
}

impl NewVersion {
    fn to_text(&self) -> String {
        let Self { stage, version, files, size, before, breaking, changes } = self;
        let mut text = format!("{stage} {version}: {}, {}", count(*files, "file"), ByteSize(*size));
        match before {
            None => text += "; the first version",
            Some(before) if breaking.is_empty() && changes.is_empty() => {
                text += &format!("; projects that use {before} see no difference");
            }
            Some(before) => text += &format!("; since {before}:"),
        }
        let lines = breaking.iter().map(|text| format!("\n  ! {text}"));
        text.extend(lines.chain(changes.iter().map(|text| format!("\n  - {text}"))));
        text
    }
}

impl PackedStage {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let width = self.files.iter().map(|file| file.size.to_string().len()).max().unwrap_or_default();
        let files =
            self.files.iter().map(|file| format!("{} {:>width$} {}\n", file.mode, file.size, file.path));
        let size = ByteSize(self.size);
        let last = match &self.archive {
            Some(archive) => {
                format!("Packed {} {} to {} ({size})", self.stage, self.version, archive.display())
            }
            None => {
                format!("{} {}: {}, {size} packed", self.stage, self.version, count(self.files.len(), "file"))
            }
        };
        format!("{}{last}", files.collect::<String>())
    }
}

impl RegistryCopy {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let fetched = match self.fetched {
            0 => "nothing was fetched".to_owned(),
            some => format!("{} fetched, {}", count(some, "archive"), ByteSize(self.bytes)),
        };
        let snapshot = match self.snapshot {
            Some(number) => format!("signed snapshot {number}"),
            None => "not signed".to_owned(),
        };
        let (versions, stages) = (count(self.versions, "version"), count(self.stages, "stage"));
        let place = self.registry.display();
        let mut text =
            format!("{place} has {versions} of {stages} of {} ({snapshot}); {fetched}", self.source);
        text.extend(self.notes.iter().map(|note| format!("\n- {note}")));
        text
    }
}

impl StageOwners {
    /// Returns the owners for people, a line each.
    pub(crate) fn to_text(&self) -> String {
        match self.owners.as_slice() {
            [] => format!("{} has no owners: everybody may publish whose token allows it", self.stage),
            owners => owners.iter().map(|owner| one_line(owner)).collect::<Vec<_>>().join("\n"),
        }
    }
}

impl ChangedOwner {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let Self { stage, owner, owns, changed, registry } = self;
        match (changed, owns) {
            (true, true) => format!("{owner} is an owner of {stage} in {registry} now"),
            (true, false) => format!("{owner} is not an owner of {stage} in {registry} any more"),
            (false, true) => format!("{owner} was an owner of {stage} already"),
            (false, false) => format!("{owner} was not an owner of {stage}"),
        }
    }
}

impl Yanked {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let Self { stage, version, yanked, changed, registry } = self;
        match (changed, yanked) {
            (true, true) => {
                format!("{stage} {version} is yanked from {registry}; locks that hold it still work")
            }
            (true, false) => format!("{stage} {version} is back in {registry}"),
            (false, true) => format!("{stage} {version} was yanked already"),
            (false, false) => format!("{stage} {version} is not yanked"),
        }
    }
}

impl MadeRegistry {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let folder = self.registry.display();
        match self.new {
            true => {
                format!("{folder} is a registry now. Add stages with `pib publish STAGE --registry {folder}`")
            }
            false => format!("{folder} is a registry already"),
        }
    }
}

impl NewIndex {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = match self.written.len() {
            0 => "The index was right".to_owned(),
            written => format!("Wrote {}", count(written, "index file")),
        };
        text += &format!("; it has {}", count(self.versions, "version"));
        for version in &self.dropped {
            text += &format!("\n{version} is gone: there is no archive of it");
        }
        text
    }
}

impl WholeRegistry {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let Self { registry, stages, versions, notes } = self;
        let mut text = format!(
            "The registry {} is whole: {} of {}",
            registry.display(),
            count(*versions, "version"),
            count(*stages, "stage")
        );
        notes.iter().for_each(|note| text += &format!("\n{note}"));
        text
    }
}

impl SignedRegistry {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let Self { registry, key, version, expires } = self;
        let until = Moment::from_micros(expires.saturating_mul(1_000_000));
        format!(
            "{} is signed: its snapshot {version} counts until {until}\nProjects name its key: [registries.NAME] key = \"{key}\"",
            registry.display()
        )
    }
}

impl NewToken {
    /// Returns the secret, for a person or for `pib login` to read.
    pub(crate) fn to_text(&self) -> String {
        self.token.clone()
    }

    /// Returns what the person is told beside it.
    pub(crate) fn hint(&self) -> String {
        format!(
            "It is shown this once. {} keeps it with: pib login NAME ADDRESS, where ADDRESS is the registry's",
            self.kept.name
        )
    }
}

impl Login {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let Bearer { name, scopes, stages, expires } = &self.bearer;
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let scopes = if scopes.is_empty() { "nothing".to_owned() } else { scopes.join(", ") };
        let stages = if stages.is_empty() { "all stages".to_owned() } else { stages.join(", ") };
        let end = Moment::from_micros(expires.saturating_mul(1_000_000));
        let text = format!("{}: {name}, who may {scopes} for {stages}, until {end}", self.registry);
        match &self.file {
            Some(file) => format!("{text}\nThe token is in {}", file.display()),
            None => text,
        }
    }
}

impl Logout {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        match self.removed {
            true => format!("Removed your token for the registry `{}`", self.registry),
            false => format!("Your config has no token for the registry `{}`", self.registry),
        }
    }
}

/// Returns whose the user's tokens are, for people, a line for each.
pub(crate) fn logins_text(logins: &[Login]) -> String {
    let lines: Vec<String> = logins.iter().map(Login::to_text).collect();
    lines.join("\n")
}
