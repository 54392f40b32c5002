//! What config names outside of the project's folder. Only a stage's schema tells which of its values name anything.

use std::path::Path;

use pib_plan::config::Setting;

use super::config_files::{self, ConfigFile};
use crate::project::reach::Reach;

/// Returns what a value names outside of the folder `dir`.
pub(super) fn of_setting(dir: &Path, setting: &Setting) -> Vec<Reach> {
    match setting {
        Setting::Files { patterns, .. } => {
            patterns.iter().filter_map(|pattern| of_pattern(dir, pattern)).collect()
        }
        Setting::Secret(source) => Reach::secret(dir, source).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Returns which of the files that a value was found to name are outside: a pattern that stays inside of the project may
/// have met a link that leads out of it.
pub(super) fn of_found(dir: &Path, setting: &Setting, found: &[ConfigFile]) -> Vec<Reach> {
    match of_setting(dir, setting).is_empty() {
        true => found.iter().filter_map(|file| Reach::outside(dir, &file.name)).collect(),
        false => Vec::new(),
    }
}

fn of_pattern(dir: &Path, pattern: &str) -> Option<Reach> {
    let Some((start, rest)) = config_files::split(dir, pattern) else { return Reach::outside(dir, pattern) };
    match Reach::outside(dir, &start)? {
        Reach::Reads { leads_to, .. } => {
            Some(Reach::Reads { named: pattern.to_owned(), leads_to: leads_to.join(rest) })
        }
        other => Some(other),
    }
}
