//! Looks for calls of make in recipes: by these, products build their variants.

use std::collections::BTreeMap;

use super::state::{Makefile, SourceLine};

/// A call of make in a recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MakeCall {
    /// The folder that it works in, where that is another one.
    pub folder: Option<String>,
    /// What it is to make.
    pub goals: Vec<String>,
    /// The variables that it is given.
    pub variables: BTreeMap<String, String>,
}

impl Makefile {
    /// Returns the calls of make in the recipe of a target.
    pub fn calls(&mut self, target: &str) -> Vec<MakeCall> {
        let rules = self.rules.iter().filter(|rule| rule.targets.iter().any(|own| own == target));
        let lines: Vec<(SourceLine, String)> = rules.flat_map(|rule| rule.recipe.iter().cloned()).collect();
        let mut calls = Vec::new();
        for (place, line) in lines {
            let line = self.expand_at(place, &line.replace("$@", target));
            for command in commands(line.trim_start_matches(['@', '-', '+', ' ', '\t'])) {
                calls.extend(call(&command));
            }
        }
        calls
    }
}

fn call(command: &[String]) -> Option<MakeCall> {
    let start = command.iter().position(|word| word == "make" || word == "gmake")?;
    let is_prefix = |word: &String| word.contains('=');
    if !command.iter().take(start).all(is_prefix) {
        return None;
    }
    let mut call = MakeCall::default();
    let mut words = command.iter().skip(start + 1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-C" | "--directory" => call.folder = words.next().cloned(),
            "-f" | "--file" | "-j" => drop(words.next()),
            option if option.starts_with('-') => {}
            word => match word.split_once('=') {
                Some((name, value)) => {
                    call.variables.insert(name.trim_end_matches(':').to_owned(), value.to_owned());
                }
                None => call.goals.push(word.to_owned()),
            },
        }
    }
    Some(call)
}

/// Splits a line into commands, and each into its words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    for word in split(line) {
        match word {
            ShellToken::End => commands.push(Vec::new()),
            ShellToken::Text(text) => {
                commands.last_mut().into_iter().for_each(|last| last.push(text.clone()))
            }
        }
    }
    commands
}

/// Returns the words of a text, as a shell splits them.
pub fn words(text: &str) -> Vec<String> {
    let texts = split(text).into_iter().filter_map(|word| match word {
        ShellToken::Text(text) => Some(text),
        ShellToken::End => None,
    });
    texts.collect()
}

enum ShellToken {
    Text(String),
    /// A command ends here.
    End,
}

fn split(line: &str) -> Vec<ShellToken> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (';' | '&' | '|' | '\n', None) => {
                found.extend(word.take().map(ShellToken::Text));
                found.push(ShellToken::End);
            }
            (c, None) if c.is_whitespace() => found.extend(word.take().map(ShellToken::Text)),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word.map(ShellToken::Text));
    found
}
