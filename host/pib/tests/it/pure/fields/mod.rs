//! A key knows everything: a table with a row for each thing that a build is told, with what must change when it changes.
//!
//! The rows are compared with lists that the code itself gives ([`listed`]), so that a new field without a row fails.

mod listed;
mod rows_base;
mod rows_build;
mod rows_order;
mod rows_origin;
mod rows_project;
mod rows_stage;
mod sample;

use std::collections::{BTreeMap, BTreeSet};

use pib::engine::{Abilities, Loss};
use pib_plan::id::Digest;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::manifest::stage::StageManifest;

use listed::Format;
use rows_origin::Origins;
use sample::{Outcome, Sample};

/// What must change with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The keys of the stages from this one on, and with them the image's.
    From(&'static str),
    /// The image's key alone.
    Image,
    /// The base that the lock holds is none for this, so that another is made, and with it every key.
    Base,
    /// No key; a build asks the engine all the same.
    Build,
    /// Nothing, for this reason.
    Nothing(&'static str),
    /// It is refused, by a message with this in it.
    Refused(&'static str),
}

type Change = Box<dyn Fn(&mut Sample) + Send + Sync>;

/// A field, a way to change it, and what must change because of that.
struct Row {
    field: String,
    /// What the project is like before; the plain one where there is none.
    start: Option<Change>,
    change: Change,
    effect: Effect,
    /// Whether the lock changes, beside the base in it.
    locks: bool,
}

/// Returns the row of a field that is set in a file of the sample.
fn set(
    field: &'static str,
    file: &'static str,
    path: &'static str,
    value: &'static str,
    effect: Effect,
) -> Row {
    Row::new(field, effect, move |sample| sample.set(file, path, value))
}

impl Row {
    fn new(
        field: impl Into<String>,
        effect: Effect,
        change: impl Fn(&mut Sample) + Send + Sync + 'static,
    ) -> Self {
        Self { field: field.into(), start: None, change: Box::new(change), effect, locks: false }
    }

    /// Starts from a project that was changed before.
    fn start(self, start: impl Fn(&mut Sample) + Send + Sync + 'static) -> Self {
        Self { start: Some(Box::new(start)), ..self }
    }

    /// Says that the lock changes.
    fn locks(self) -> Self {
        Self { locks: true, ..self }
    }

    /// Changes the field in a project, and returns what came of it.
    fn run(&self) -> Result<Option<Outcome>, String> {
        let mut sample = Sample::new();
        if let Some(start) = &self.start {
            start(&mut sample);
        }
        // What is given to one run alone is not there before.
        let before = sample.before();
        (self.change)(&mut sample);
        let after = match (sample.after(&before), self.effect) {
            (Err(message), Effect::Refused(word)) if message.contains(word) => return Ok(None),
            (Err(message), _) => return Err(format!("is refused: {message}")),
            (Ok(_), Effect::Refused(_)) => return Err("is not refused".to_owned()),
            (Ok(after), _) => after,
        };
        let before = before.outcome;
        let found = change_of(&before, &after);
        if found != self.effect && !matches!((found, self.effect), (Effect::Nothing(_), Effect::Nothing(_))) {
            return Err(format!("has the effect {found:?}:\n{before:?}\n{after:?}"));
        }
        if (before.lock != after.lock) != self.locks {
            let word = if self.locks { "not in" } else { "in" };
            return Err(format!("is {word} the lock:\n{}\n{}", before.lock, after.lock));
        }
        let changed = matches!(found, Effect::From(_) | Effect::Base | Effect::Image);
        Ok(changed.then_some(after))
    }
}

/// Returns what changed from one outcome to the other.
///
/// # Panics
/// When the two contradict themselves: a changed stage with an unchanged one after it, or a key that a build does not mind.
fn change_of(before: &Outcome, after: &Outcome) -> Effect {
    let same = before.keys.iter().zip(&after.keys).take_while(|(old, new)| old == new).count();
    let known: BTreeSet<&str> = before.keys.iter().map(|(_, key)| key.as_str()).collect();
    let is_new = |(_, key): &(String, String)| !known.contains(key.as_str());
    assert!(after.keys[same..].iter().all(is_new), "a stage is as before after one that is not: {after:?}");
    let same_image = before.image == after.image;
    assert!(!after.up_to_date || same_image, "another image is taken for the one that is asked for");
    match after.keys.get(same) {
        _ if !after.same_base => {
            assert!(same == 0 && !same_image, "another base, and keys as before");
            Effect::Base
        }
        Some((_, _)) if same_image => panic!("the image does not know of a stage: {after:?}"),
        Some((stage, _)) => Effect::From(Box::leak(stage.clone().into_boxed_str())),
        None if !same_image => Effect::Image,
        None if !after.up_to_date => Effect::Build,
        None => Effect::Nothing(""),
    }
}

/// Returns the fields of all that a build is told, as the code lists them.
pub(super) fn listed_fields() -> BTreeSet<String> {
    let sample = Sample::new();
    let project = Format {
        file: "pib.toml",
        text: sample.text("pib.toml"),
        parse: &|text| ProjectManifest::parse("pib.toml", text).err(),
    };
    let stage = Format {
        file: "stage.toml",
        text: sample.text("stages/early/stage.toml"),
        parse: &|text| StageManifest::parse("stage.toml", text).err(),
    };
    let help = crate::bench::Bench::new("").run(&["build", "--help"]).out;
    let mut fields = project.fields();
    fields.extend(stage.fields());
    fields.extend(listed::options("pib build", &help));
    fields.extend(listed::values::<Loss>("engine"));
    fields
}

/// Returns the table.
fn rows(origins: &Origins) -> Vec<Row> {
    let mut rows = rows_project::rows();
    rows.extend(rows_order::rows());
    rows.extend(rows_origin::rows(origins));
    rows.extend(rows_stage::rows());
    rows.extend(rows_base::rows());
    rows.extend(rows_build::rows());
    rows
}

#[test]
fn every_field_has_a_row() {
    let listed = listed_fields();
    let losses = |field: &&String| !field.starts_with("engine=");
    let rows: BTreeSet<String> = rows(&Origins::new()).into_iter().map(|row| row.field).collect();
    let missing: Vec<_> = listed.iter().filter(losses).filter(|field| !rows.contains(*field)).collect();
    let unknown: Vec<_> =
        rows.iter().filter(|row| !row.starts_with("file: ") && !listed.contains(*row)).collect();
    assert!(missing.is_empty(), "fields without a row: {missing:#?}");
    assert!(unknown.is_empty(), "rows of no field: {unknown:#?}");
    for (format, least) in [("pib.toml: ", 60), ("stage.toml: ", 50), ("pib build: ", 15), ("engine=", 3)] {
        let count = listed.iter().filter(|field| field.starts_with(format)).count();
        assert!(count >= least, "the list of {format}has {count} fields");
    }
    println!("{} fields are listed", listed.len());
}

#[test]
fn every_change_has_its_effect_and_a_key_of_its_own() {
    let origins = Origins::new();
    let rows = rows(&origins);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let run = || {
        let mut found = Vec::new();
        while let Some(row) = rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| row.run()));
            let outcome = outcome.unwrap_or_else(|_| Err("panicked, as above".to_owned()));
            found.push((row, outcome));
        }
        found
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let (mut wrong, mut taken) = (Vec::new(), BTreeMap::new());
    let mut counts = BTreeMap::<&str, usize>::new();
    for (row, result) in &results {
        let kind = match row.effect {
            Effect::From(_) => "change stages",
            Effect::Image => "change the image alone",
            Effect::Base => "change the base",
            Effect::Build => "have the engine asked",
            Effect::Nothing(reason) => {
                assert!(!reason.is_empty(), "{} gives no reason", row.field);
                "change nothing"
            }
            Effect::Refused(_) => "are refused",
        };
        *counts.entry(kind).or_default() += 1;
        match result {
            Err(message) => wrong.push(format!("{} {message}", row.field)),
            Ok(Some(after)) => {
                if let Some(other) = taken.insert(&after.image, &row.field) {
                    wrong.push(format!("{} gives the image of {other}", row.field));
                }
            }
            Ok(None) => {}
        }
    }
    println!("{} cases: {counts:?}", results.len());
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), results.len(), wrong.join("\n\n"));
}

#[test]
fn what_an_engine_loses_is_in_the_key_of_its_image() {
    // Each is taken by name: a further ability must be looked at here. Without mounts, what needs them is refused or left
    // out, and a build that stops late gives the same.
    let by = |abilities: &Abilities, whole| {
        let Abilities { mounts: _, stops: _, losses } = abilities;
        Loss::add_to_key(losses, whole)
    };
    let listed = listed::values::<Loss>("engine");
    let losses: Vec<Loss> = listed
        .iter()
        .map(|name| serde_json::from_value(name.trim_start_matches("engine=").into()).unwrap())
        .collect();
    let mut keys = BTreeSet::new();
    let mut cases = 0;
    for whole in [Digest::of(b"one"), Digest::of(b"other")] {
        for set in 0..1_u32 << losses.len() {
            let lost = losses.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
            let losses = lost.map(|(_, loss)| *loss).collect();
            let key = by(&Abilities { mounts: true, stops: true, losses }, whole);
            assert!(keys.insert(key.to_string()), "two engines of other losses give one key");
            cases += 1;
        }
    }
    println!("{cases} cases");
}
