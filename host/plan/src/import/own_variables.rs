//! Which of a product's variables its stages read.

use super::found_stage::Found;
use super::makefile_settings::Settings;
use super::tree::Tree;
use crate::config::is_engines_own;
use crate::redaction::is_suspect;
use crate::variable::is_named_in;

/// What pib gives to bare stages without a word.
const BUILTIN: [&str; 8] =
    ["OS", "BOARD", "ARCH", "HOSTNAME", "LOCALE", "TIMEZONE", "STAGES", "ARCH_DIST_REPO_URL"];
/// How many variables are carried over, and how long a value may be.
const MAX_VARIABLES: usize = 500;
const MAX_VALUE: usize = 16 << 10;

/// Chooses the variables that the stages name. The value of what looks like a secret goes nowhere.
pub(super) fn choose(tree: &mut Tree<'_>, settings: &mut Settings, found: &Found) {
    let parts = settings.folders.iter().filter_map(|(_, folder)| found.parts.get(folder));
    let parts: Vec<&str> = parts.map(String::as_str).collect();
    let is_name = |name: &str| {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
    };
    for (name, value) in &settings.candidates {
        let is_read = parts.iter().any(|part| is_named_in(part, name));
        if is_suspect(name, value) {
            if is_read || settings.build_args.contains(name) {
                settings.secrets.insert(name.clone());
            }
            continue;
        }
        if BUILTIN.contains(&name.as_str()) || !is_read || !is_name(name) || is_engines_own(name) {
            continue;
        }
        if value.chars().any(char::is_control) || value.len() > MAX_VALUE {
            let why = "its value is no single line of text: put it into a file of the stage that reads it";
            tree.leave_out(format!("variable {name}"), why.to_owned());
        } else if settings.variables.len() < MAX_VARIABLES {
            settings.variables.insert(name.clone(), value.clone());
        }
    }
    // Parts compare it with pi-builder's own name of the system.
    if settings.os != settings.given_os && parts.iter().any(|part| is_named_in(part, "OS")) {
        settings.variables.insert("OS".to_owned(), settings.given_os.clone());
    }
}
