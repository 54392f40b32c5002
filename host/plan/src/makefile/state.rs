//! What is known of a makefile that was read.

use std::collections::BTreeMap;

/// How many notes are kept.
const MAX_NOTES: usize = 200;

/// A makefile that was read, with all that it includes.
#[derive(Debug, Clone, Default)]
pub struct Makefile {
    /// The variables, as they are written.
    pub(super) variables: BTreeMap<String, Variable>,
    /// The variables that were given, which assignments leave alone.
    pub(super) given: BTreeMap<String, String>,
    /// The rules, in the order in which they are written.
    pub(super) rules: Vec<Rule>,
    /// Assignments that hold for one target alone.
    pub(super) target_variables: Vec<(String, Assignment)>,
    /// What had no value here, or was not understood.
    pub(super) notes: Vec<Note>,
    /// The file that is being read, and the line.
    pub(super) at: SourceLine,
    /// The variables that are being expanded.
    pub(super) pending: Vec<String>,
    /// How many steps were taken.
    pub(super) steps: usize,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) text: String,
    /// Whether the text is expanded whenever the variable is.
    pub(super) is_recursive: bool,
    /// Whether its maker means it for whoever reads the makefile: it was assigned by `?=`.
    pub(super) is_default: bool,
    /// The file and the line of its last assignment; empty where no makefile assigns it.
    pub(super) place: SourceLine,
}

/// A file, and a line of it from 1.
pub(super) type SourceLine = (String, usize);

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) targets: Vec<String>,
    pub(super) prerequisites: Vec<String>,
    /// The lines of the recipe, as they are written, and where they are.
    pub(super) recipe: Vec<(SourceLine, String)>,
}

/// How a value is assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Recursive,
    Simple,
    Default,
    Append,
    Shell,
}

/// An assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) operator: Operator,
    pub(super) value: String,
}

/// Something that had no value here, or was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What it is, as a sentence.
    pub text: String,
}

impl Makefile {
    /// Returns what had no value here, or was not understood.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Returns the names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// Returns whether a variable was assigned by `?=`: a setting of the product's.
    pub fn is_setting(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|variable| variable.is_default)
    }

    /// Returns all targets of the rules, in their order, each once.
    pub fn targets(&self) -> Vec<&str> {
        let mut seen = Vec::new();
        for target in self.rules.iter().flat_map(|rule| &rule.targets) {
            if !seen.contains(&target.as_str()) {
                seen.push(target.as_str());
            }
        }
        seen
    }

    /// Returns the prerequisites of a target.
    pub fn prerequisites(&self, target: &str) -> Vec<&str> {
        let rules = self.rules.iter().filter(|rule| rule.targets.iter().any(|own| own == target));
        rules.flat_map(|rule| rule.prerequisites.iter().map(String::as_str)).collect()
    }

    /// Returns the names of the variables that are assigned for this target alone.
    pub fn own_variables<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.target_variables.iter().filter(move |(own, _)| own == target);
        own.map(|(_, assignment)| assignment.name.as_str())
    }

    /// Returns the targets that have variables of their own, in their order, each once.
    pub fn targets_with_variables(&self) -> Vec<String> {
        let mut targets: Vec<String> = Vec::new();
        for (target, _) in &self.target_variables {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        targets
    }

    pub(super) fn note(&mut self, text: String) {
        let note = Note { file: self.at.0.clone(), line: self.at.1, text };
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
