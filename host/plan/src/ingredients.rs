//! What a stage's key is made of, as a record keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::assemble::input::{Arg, ContextFile, StageInput};
use crate::id::Digest;

/// What a stage's key is made of, beside the key before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredients {
    /// The digest of the part's text.
    pub part: Option<Digest>,
    /// The arguments; without a value those whose value does not count.
    pub args: BTreeMap<String, String>,
    /// The files by their paths in the context; an `x` marks those that may be executed.
    pub files: BTreeMap<String, String>,
    /// The secrets' keyed digests.
    pub secrets: BTreeMap<String, Option<Digest>>,
    /// Whether what its part fetches is recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// How its instructions are merged, where they are. That is in no key, since the result is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<Digest>,
}

impl Ingredients {
    /// Returns what a stage's key is made of.
    pub(crate) fn of(stage: &StageInput, copied: &[&ContextFile], merged: Option<Digest>) -> Self {
        let value = |arg: &Arg| if arg.keyed { arg.value.clone() } else { String::new() };
        let files = stage.files.iter().chain(copied.iter().copied()).map(|file| {
            let kind = if file.is_folder() { " folder" } else { "" };
            (file.path.clone(), format!("{} {}{kind}", file.digest, file.mode))
        });
        Self {
            part: Some(Digest::of(stage.part.text.as_bytes())),
            args: stage.args.iter().map(|arg| (arg.name.clone(), value(arg))).collect(),
            files: files.collect(),
            secrets: stage.secrets.iter().map(|secret| (secret.id.clone(), secret.digest)).collect(),
            recorded: stage.recorded,
            merged,
        }
    }

    /// Returns what differs from `before`, each as a sentence's end.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.part != before.part {
            found.push("its part changed".to_owned());
        }
        if self.recorded != before.recorded {
            let now = if self.recorded { "recorded" } else { "open" };
            found.push(format!("its network is {now} now"));
        }
        changes(&before.args, &self.args, |name, change| {
            found.push(match change {
                Change::Value(old, new) => {
                    format!("{name} changed from `{}` to `{}`", short(old), short(new))
                }
                Change::Added => format!("{name} is new"),
                Change::Removed => format!("{name} is gone"),
            });
        });
        changes(&before.secrets, &self.secrets, |id, change| {
            found.push(match change {
                Change::Value(..) => format!("the secret {id} changed"),
                Change::Added => format!("the secret {id} is new"),
                Change::Removed => format!("the secret {id} is gone"),
            });
        });
        changes(&before.files, &self.files, |path, change| {
            found.push(match change {
                Change::Value(..) => format!("{path} changed"),
                Change::Added => format!("{path} is new"),
                Change::Removed => format!("{path} is gone"),
            });
        });
        if found.is_empty() && self.merged != before.merged {
            found.push("other instructions of it are merged".to_owned());
        }
        found
    }
}

enum Change<'a, V> {
    Value(&'a V, &'a V),
    Added,
    Removed,
}

fn changes<V: PartialEq>(
    before: &BTreeMap<String, V>,
    after: &BTreeMap<String, V>,
    mut tell: impl FnMut(&str, Change<'_, V>),
) {
    for (name, new) in after {
        match before.get(name) {
            Some(old) if old != new => tell(name, Change::Value(old, new)),
            Some(_) => {}
            None => tell(name, Change::Added),
        }
    }
    before.keys().filter(|name| !after.contains_key(*name)).for_each(|name| tell(name, Change::Removed));
}

/// Cuts a long value; a list of packages would fill the screen.
fn short(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}
