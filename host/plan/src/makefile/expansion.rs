//! Puts the values of variables into texts, and computes the functions that need nothing but texts.

use super::state::{Makefile, Operator, SourceLine, Variable};

/// How deep values may refer to others.
const MAX_DEPTH: usize = 40;
/// How long a value may become.
const MAX_VALUE: usize = 256 << 10;
/// How many references are followed for one makefile.
pub(super) const MAX_STEPS: usize = 50_000;
/// How many bytes of values count as one step.
const BYTES_A_STEP: usize = 64;

/// Variables that every environment has. Others that no makefile assigns are empty on most machines, too, and makefiles count on that.
const ENVIRONMENT: [&str; 8] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "UID", "USER"];

impl Makefile {
    /// Returns the value of a variable, with all that it refers to.
    pub fn value(&mut self, name: &str) -> Option<String> {
        let variable = self.variables.get(name)?.clone();
        if !variable.is_recursive {
            return Some(variable.text);
        }
        if self.pending.iter().any(|pending| pending == name) {
            self.note(format!("the variable {name} refers to itself, and has no value here"));
            return None;
        }
        self.pending.push(name.to_owned());
        let value = self.expand_at(variable.place, &variable.text);
        self.pending.pop();
        Some(value)
    }

    /// Returns a text with the values of the variables in it; what is noted of it is noted of this place.
    pub(super) fn expand_at(&mut self, place: SourceLine, text: &str) -> String {
        let outer = std::mem::replace(&mut self.at, place);
        let expanded = self.expand(text);
        self.at = outer;
        expanded
    }

    /// Returns a text with the values of the variables in it.
    pub fn expand(&mut self, text: &str) -> String {
        if !text.contains('$') {
            return text.to_owned();
        }
        self.steps += 1;
        if self.pending.len() > MAX_DEPTH || self.steps > MAX_STEPS {
            self.note("values refer to others too often, and have no value here".to_owned());
            return String::new();
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(rest.get(..at).unwrap_or_default());
            let after = rest.get(at + 1..).unwrap_or_default();
            let (value, left) = self.reference(after);
            out.push_str(&value);
            rest = left;
            if out.len() + rest.len() > MAX_VALUE {
                self.note("a value is too long, and is cut".to_owned());
                return String::new();
            }
        }
        out.push_str(rest);
        self.steps += out.len() / BYTES_A_STEP;
        out
    }

    /// Returns the value of what stands behind a `$`, and the rest of the text.
    fn reference<'t>(&mut self, after: &'t str) -> (String, &'t str) {
        match after.chars().next() {
            None => (String::new(), ""),
            Some('$') => ("$".to_owned(), after.get(1..).unwrap_or_default()),
            Some(open @ ('(' | '{')) => {
                let inside = after.get(1..).unwrap_or_default();
                match closing(inside, open) {
                    Some(end) => {
                        let value = self.bracketed(inside.get(..end).unwrap_or_default());
                        (value, inside.get(end + 1..).unwrap_or_default())
                    }
                    None => {
                        self.note("a reference to a variable has no end".to_owned());
                        (String::new(), "")
                    }
                }
            }
            Some(c) => {
                let value = self.value(&c.to_string()).unwrap_or_default();
                (value, after.get(c.len_utf8()..).unwrap_or_default())
            }
        }
    }

    /// Returns the value of what stands in brackets: a variable's, or a function's.
    fn bracketed(&mut self, inside: &str) -> String {
        self.pending.push(String::new());
        let value = self.bracketed_at_depth(inside);
        self.pending.pop();
        value
    }

    fn bracketed_at_depth(&mut self, inside: &str) -> String {
        let function = inside.split_once([' ', '\t']).filter(|(name, _)| is_function(name));
        if let Some((name, arguments)) = function {
            return self.function(name, arguments.trim_start());
        }
        if let Some((name, change)) = inside.split_once(':')
            && let Some((from, to)) = change.split_once('=')
        {
            let value = self.value(name).unwrap_or_default();
            let (from, to) = (self.expand(from), self.expand(to));
            let (from, to) = (with_percent(&from), with_percent(&to));
            return map_words(&value, |word| substitute(word, &from, &to));
        }
        let name = self.expand(inside);
        match name.trim() {
            "MAKE" => "make".to_owned(),
            "CURDIR" | "PWD" => ".".to_owned(),
            name if ENVIRONMENT.contains(&name) && !self.variables.contains_key(name) => {
                self.note(format!("$({name}) is taken from the environment, and has no value here"));
                String::new()
            }
            name => self.value(name).unwrap_or_default(),
        }
    }

    fn function(&mut self, name: &str, arguments: &str) -> String {
        if matches!(
            name,
            "shell" | "wildcard" | "eval" | "file" | "guile" | "foreach" | "realpath" | "abspath"
        ) {
            // What stands in it may be a secret.
            self.note(format!("$({name} ...) was not computed, and has no value here"));
            return String::new();
        }
        let raw = split_arguments(arguments);
        let lazy = |at: usize| raw.get(at).map(|text| text.trim()).unwrap_or_default().to_owned();
        match name {
            "if" => {
                let chosen = if self.expand(&lazy(0)).trim().is_empty() { lazy(2) } else { lazy(1) };
                return self.expand(&chosen);
            }
            "or" | "and" => return self.first_or_last(name == "or", &raw),
            "error" | "warning" | "info" => {
                self.note(format!("$({name} ...) is reached"));
                return String::new();
            }
            _ => {}
        }
        let given: Vec<String> = raw.iter().map(|text| self.expand(text)).collect();
        let argument = |at: usize| given.get(at).map(String::as_str).unwrap_or_default();
        match name {
            "strip" => map_words(argument(0), str::to_owned),
            "subst" if argument(0).is_empty() => argument(2).to_owned(),
            "subst" => argument(2).replace(argument(0), argument(1)),
            "patsubst" => {
                map_words(argument(2), |word| substitute(word, argument(0).trim(), argument(1).trim()))
            }
            "filter" | "filter-out" => {
                let keep = name == "filter";
                let fits = |word: &&str| argument(0).split_whitespace().any(|pattern| matches(word, pattern));
                let kept = argument(1).split_whitespace().filter(|word| fits(word) == keep);
                kept.collect::<Vec<_>>().join(" ")
            }
            "firstword" => argument(0).split_whitespace().next().unwrap_or_default().to_owned(),
            "lastword" => argument(0).split_whitespace().next_back().unwrap_or_default().to_owned(),
            "words" => argument(0).split_whitespace().count().to_string(),
            "findstring" if argument(1).contains(argument(0)) => argument(0).to_owned(),
            "call" => self.call(&given),
            _ => String::new(),
        }
    }

    fn first_or_last(&mut self, wants_first: bool, raw: &[&str]) -> String {
        let mut value = String::new();
        for text in raw {
            value = self.expand(text.trim());
            if value.is_empty() != wants_first {
                return value;
            }
        }
        value
    }

    /// Returns the value of a variable in which the arguments stand.
    fn call(&mut self, given: &[String]) -> String {
        let Some((name, arguments)) = given.split_first() else { return String::new() };
        let name = name.trim().to_owned();
        let before: Vec<_> =
            (1..=9).map(|number| self.variables.get(&usize::to_string(&number)).cloned()).collect();
        for (at, argument) in arguments.iter().enumerate().take(9) {
            let place = self.at.clone();
            let simple = Variable { text: argument.clone(), is_recursive: false, is_default: false, place };
            self.variables.insert((at + 1).to_string(), simple);
        }
        let value = self.value(&name).unwrap_or_default();
        for (at, old) in before.into_iter().enumerate() {
            let key = (at + 1).to_string();
            match old {
                Some(old) => drop(self.variables.insert(key, old)),
                None => drop(self.variables.remove(&key)),
            }
        }
        value
    }

    /// Assigns a value as make would.
    pub(super) fn assign(&mut self, name: &str, operator: Operator, value: &str, overrides: bool) {
        if name.is_empty() || (self.given.contains_key(name) && !overrides) {
            return;
        }
        let known = self.variables.get(name).cloned();
        let is_default =
            operator == Operator::Default || known.as_ref().is_some_and(|known| known.is_default);
        let (text, is_recursive) = match (operator, known) {
            (Operator::Default, Some(_)) => return,
            (Operator::Recursive | Operator::Default, _) | (Operator::Append, None) => {
                (value.to_owned(), true)
            }
            (Operator::Simple, _) => (self.expand(value), false),
            (Operator::Append, Some(known)) => {
                let more = if known.is_recursive { value.to_owned() } else { self.expand(value) };
                let text = if known.text.is_empty() { more } else { format!("{} {more}", known.text) };
                (text, known.is_recursive)
            }
            (Operator::Shell, _) => {
                self.note(format!("{name} is what a command prints, which was not run"));
                (String::new(), false)
            }
        };
        if text.len() > MAX_VALUE {
            self.note(format!("the value of {name} is too long, and is left out"));
            return;
        }
        let place = self.at.clone();
        self.variables.insert(name.to_owned(), Variable { text, is_recursive, is_default, place });
    }
}

fn is_function(name: &str) -> bool {
    const KNOWN: [&str; 25] = [
        "shell",
        "wildcard",
        "eval",
        "file",
        "guile",
        "foreach",
        "realpath",
        "abspath",
        "if",
        "or",
        "and",
        "error",
        "warning",
        "info",
        "strip",
        "subst",
        "patsubst",
        "filter",
        "filter-out",
        "firstword",
        "lastword",
        "words",
        "findstring",
        "call",
        "value",
    ];
    KNOWN.contains(&name)
}

/// Returns where the bracket closes that was opened before the text.
fn closing(text: &str, open: char) -> Option<usize> {
    let close = if open == '(' { ')' } else { '}' };
    let mut depth = 1_usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Splits a function's arguments at the commas that are in no brackets.
pub(super) fn split_arguments(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i64, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

fn map_words(text: &str, change: impl Fn(&str) -> String) -> String {
    text.split_whitespace().map(change).collect::<Vec<_>>().join(" ")
}

fn with_percent(suffix: &str) -> String {
    if suffix.contains('%') { suffix.to_owned() } else { format!("%{suffix}") }
}

/// Returns what the `%` of a pattern stands for in a word.
fn stem<'w>(word: &'w str, pattern: &str) -> Option<&'w str> {
    let (before, after) = pattern.split_once('%')?;
    word.strip_prefix(before)?.strip_suffix(after)
}

fn matches(word: &str, pattern: &str) -> bool {
    word == pattern || stem(word, pattern).is_some()
}

fn substitute(word: &str, from: &str, to: &str) -> String {
    match stem(word, from) {
        Some(stem) => to.replacen('%', stem, 1),
        None if word == from => to.to_owned(),
        None => word.to_owned(),
    }
}
