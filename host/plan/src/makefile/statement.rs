//! Reads statements, one after the other, as make does.

use std::collections::BTreeMap;

use super::expansion::{MAX_STEPS, split_arguments};
use super::logical_line::{LogicalLine, logical_lines};
use super::state::{Assignment, Makefile, Operator, Rule, SourceLine, Variable};

/// How many files may be included, and how deep.
const MAX_INCLUDES: usize = 64;
const MAX_INCLUDE_DEPTH: usize = 16;

/// Reads a makefile and what it includes.
///
/// `files` gives the text of a file by its path, where it can be had. The variables in `given` have their values whatever
/// the makefile assigns, as those on make's command line. With a `goal`, the variables of that target alone hold, too.
pub fn read(
    files: &mut dyn FnMut(&str) -> Option<String>,
    file: &str,
    given: &BTreeMap<String, String>,
    goal: Option<&str>,
) -> Makefile {
    let mut makefile = Makefile { given: given.clone(), ..Makefile::default() };
    for (name, value) in given {
        let place = SourceLine::default();
        let variable = Variable { text: value.clone(), is_recursive: false, is_default: false, place };
        makefile.variables.insert(name.clone(), variable);
    }
    let mut reader = Reader { files, makefile, included: 0, depth: 0 };
    match (reader.files)(file) {
        Some(text) => reader.file(file, &text),
        None => reader.makefile.note(format!("{file} cannot be read")),
    }
    let mut makefile = reader.makefile;
    if let Some(goal) = goal {
        let own = makefile.target_variables.clone().into_iter().filter(|(target, _)| target == goal);
        for (_, Assignment { name, operator, value }) in own {
            makefile.assign(&name, operator, &value, false);
        }
    }
    makefile
}

struct Reader<'f> {
    files: &'f mut dyn FnMut(&str) -> Option<String>,
    makefile: Makefile,
    included: usize,
    depth: usize,
}

/// A conditional that is open.
struct Condition {
    /// Whether the lines around it count.
    outer: bool,
    /// Whether one of its branches counted.
    taken: bool,
    /// Whether the lines of this branch count.
    active: bool,
}

/// What a file's lines lead to.
#[derive(Default)]
struct Progress {
    conditions: Vec<Condition>,
    /// The index of the rule whose recipe may go on.
    rule: Option<usize>,
}

impl Reader<'_> {
    fn file(&mut self, name: &str, text: &str) {
        let outer = self.makefile.at.clone();
        let mut progress = Progress::default();
        let mut lines = logical_lines(text).into_iter();
        while let Some(line) = lines.next() {
            self.makefile.at = (name.to_owned(), line.number);
            self.makefile.steps += 1;
            if self.makefile.steps > MAX_STEPS {
                self.makefile.note("the makefile is too long, and the rest of it is left out".to_owned());
                break;
            }
            self.line(&line, &mut progress, &mut lines);
        }
        if !progress.conditions.is_empty() {
            self.makefile.note("a conditional has no endif".to_owned());
        }
        self.makefile.at = outer;
    }

    fn line(
        &mut self,
        line: &LogicalLine,
        progress: &mut Progress,
        lines: &mut impl Iterator<Item = LogicalLine>,
    ) {
        let active = progress.conditions.last().is_none_or(|condition| condition.active);
        if line.is_indented() && progress.rule.is_some() {
            if let Some(rule) =
                progress.rule.and_then(|at| self.makefile.rules.get_mut(at)).filter(|_| active)
            {
                rule.recipe.push((self.makefile.at.clone(), line.text.trim().to_owned()));
            }
            return;
        }
        let statement = line.statement();
        if statement.is_empty() || self.condition(&statement, &mut progress.conditions) {
            return;
        }
        let (word, rest) = split_word(&statement);
        if word == "define" {
            let value = lines.take_while(|line| split_word(line.text.trim()).0 != "endef");
            let value = value.map(|line| line.text).collect::<Vec<_>>().join("\n");
            if active {
                let name = rest.trim_end_matches(['=', ':', '?', '+', ' ', '\t']);
                let name = self.makefile.expand(name);
                self.makefile.assign(&name, Operator::Recursive, &value, false);
            }
            return;
        }
        if !active {
            return;
        }
        match word {
            "include" | "-include" | "sinclude" => self.include(rest, word == "include"),
            "unexport" | ".PHONY:" | "vpath" => {}
            "undefine" => drop(self.makefile.variables.remove(rest.trim())),
            _ => progress.rule = self.statement(&statement),
        }
    }

    /// Reads an assignment or a rule; returns the index of the rule.
    fn statement(&mut self, statement: &str) -> Option<usize> {
        let (plain, overrides) = without_modifiers(statement);
        if let Some((name, operator, value)) = assignment(plain) {
            let name = self.makefile.expand(name);
            self.makefile.assign(name.trim(), operator, value, overrides);
            return None;
        }
        let Some(colon) = find_outside(plain, |rest| rest.starts_with(':')) else {
            let left = self.makefile.expand(plain);
            if !left.trim().is_empty() && plain == statement {
                self.makefile.note("the line is not understood, and is left out".to_owned());
            }
            return None;
        };
        let (targets, rest) =
            (plain.get(..colon).unwrap_or_default(), plain.get(colon + 1..).unwrap_or_default());
        let targets = self.makefile.expand(targets);
        let targets: Vec<String> = targets.split_whitespace().map(str::to_owned).collect();
        let rest = rest.trim_start_matches(':').trim();
        let (own, _) = without_modifiers(rest);
        if let Some((name, operator, value)) = assignment(own) {
            for target in targets {
                let assignment =
                    Assignment { name: name.trim().to_owned(), operator, value: value.to_owned() };
                self.makefile.target_variables.push((target, assignment));
            }
            return None;
        }
        let (before, recipe) = match rest.split_once(';') {
            Some((before, recipe)) => (before, vec![(self.makefile.at.clone(), recipe.trim().to_owned())]),
            None => (rest, Vec::new()),
        };
        let before = self.makefile.expand(before);
        let prerequisites =
            before.split_whitespace().filter(|word| *word != "|").map(str::to_owned).collect();
        self.makefile.rules.push(Rule { targets, prerequisites, recipe });
        Some(self.makefile.rules.len() - 1)
    }

    fn include(&mut self, rest: &str, must: bool) {
        let names = self.makefile.expand(rest);
        for name in names.split_whitespace() {
            self.included += 1;
            if self.included > MAX_INCLUDES || self.depth >= MAX_INCLUDE_DEPTH {
                self.makefile.note(format!(
                    "{name} is not included: there are too many includes, or they go in a circle"
                ));
                return;
            }
            match (self.files)(name) {
                Some(text) => {
                    self.depth += 1;
                    self.file(name, &text);
                    self.depth -= 1;
                }
                None if must => self.makefile.note(format!("{name} is included, and cannot be read")),
                None => {}
            }
        }
    }

    /// Reads a line of a conditional; returns whether it is one.
    fn condition(&mut self, statement: &str, open: &mut Vec<Condition>) -> bool {
        let (word, rest) = split_word(statement);
        match word {
            "ifeq" | "ifneq" | "ifdef" | "ifndef" => {
                let outer = open.last().is_none_or(|condition| condition.active);
                let active = outer && self.test(word, rest);
                open.push(Condition { outer, taken: active, active });
            }
            "else" => {
                let (word, more) = split_word(rest);
                let tests = matches!(word, "ifeq" | "ifneq" | "ifdef" | "ifndef");
                let wants = open.last().is_some_and(|last| last.outer && !last.taken);
                let holds = !tests || (wants && self.test(word, more));
                match open.last_mut() {
                    Some(last) => {
                        last.active = last.outer && !last.taken && holds;
                        last.taken |= last.active;
                    }
                    None => self.makefile.note("an else belongs to no conditional".to_owned()),
                }
            }
            "endif" => {
                if open.pop().is_none() {
                    self.makefile.note("an endif belongs to no conditional".to_owned());
                }
            }
            _ => return false,
        }
        true
    }

    fn test(&mut self, word: &str, rest: &str) -> bool {
        if word == "ifdef" || word == "ifndef" {
            let name = self.makefile.expand(rest);
            let known = self.makefile.variables.get(name.trim());
            return known.is_some_and(|variable| !variable.text.is_empty()) == (word == "ifdef");
        }
        let Some((one, other)) = sides(rest) else {
            self.makefile.note("a conditional does not compare two values, and counts as false".to_owned());
            return false;
        };
        (self.makefile.expand(one).trim() == self.makefile.expand(other).trim()) == (word == "ifeq")
    }
}

/// Returns what `ifeq` compares: `(a,b)`, or two texts in quotes.
fn sides(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.trim();
    if let Some(inside) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        let [one, other] = split_arguments(inside)[..] else { return None };
        return Some((one, other));
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (one, rest) = rest.get(1..)?.split_once(quote)?;
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (other, _) = rest.get(1..)?.split_once(quote)?;
    Some((one, other))
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.find(|c: char| c.is_whitespace()) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default().trim_start()),
        None => (text, ""),
    }
}

/// Returns a statement without `export`, `override` and `private`, and whether it overrides what was given.
fn without_modifiers(statement: &str) -> (&str, bool) {
    let (mut rest, mut overrides) = (statement, false);
    loop {
        let (word, more) = split_word(rest);
        match word {
            "export" | "private" => rest = more,
            "override" => (rest, overrides) = (more, true),
            _ => return (rest, overrides),
        }
    }
}

/// Returns where in a text, outside of brackets, the rest of it fits.
fn find_outside(text: &str, fits: impl Fn(&str) -> bool) -> Option<usize> {
    let mut depth = 0_i64;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ if depth <= 0 && text.get(at..).is_some_and(&fits) => return Some(at),
            _ => {}
        }
    }
    None
}

/// Splits an assignment into name, operator and value.
fn assignment(statement: &str) -> Option<(&str, Operator, &str)> {
    const OPERATORS: [(&str, Operator); 7] = [
        (":::=", Operator::Simple),
        ("::=", Operator::Simple),
        (":=", Operator::Simple),
        ("?=", Operator::Default),
        ("+=", Operator::Append),
        ("!=", Operator::Shell),
        ("=", Operator::Recursive),
    ];
    let found = |rest: &str| OPERATORS.iter().find(|(text, _)| rest.starts_with(text));
    let at = find_outside(statement, |rest| rest.starts_with(':') || found(rest).is_some())?;
    let (name, rest) = (statement.get(..at)?, statement.get(at..)?);
    let (text, operator) = found(rest)?;
    // Where a colon comes first, this is a rule.
    Some((name.trim(), *operator, rest.get(text.len()..)?.trim_start()))
}
