//! Instructions that cannot stand in a part, and why.

use std::ops::Range;

use super::checked::Assignment;
use super::instructions::Instruction;
use super::lines::Fault;
use crate::dockerfile::{Template, is_variable_name};

/// What is refused wherever it stands, why, and what to do instead.
const REFUSED: [(&str, &str, &str); 6] = [
    (
        "FROM",
        "has a FROM of its own",
        "A part continues from the stage before it: remove the FROM. To use files of another container image, write \
         COPY --from=IMAGE.",
    ),
    (
        "ONBUILD",
        "has an ONBUILD, whose instruction would run in the stage that comes next",
        "Write the instruction into the part of the stage that needs it.",
    ),
    (
        "VOLUME",
        "has a VOLUME: a device has none, and some engines lose what is written below one",
        "Remove it. To keep a folder apart, give it a partition: [[image.partition]] in pib.toml.",
    ),
    (
        "HEALTHCHECK",
        "has a HEALTHCHECK, which is about running containers and would do nothing on a device",
        "Remove it. On a device a service's manager watches it.",
    ),
    (
        "STOPSIGNAL",
        "has a STOPSIGNAL, which is about running containers and would do nothing on a device",
        "Remove it, or set KillSignal= in the service's unit.",
    ),
    (
        "ENTRYPOINT",
        "has an ENTRYPOINT, which is about running containers and would do nothing on a device",
        "Remove it. On a device the init system starts what is to run: enable a service.",
    ),
];

/// Refuses an instruction that cannot stand in a part, or has not what it needs.
pub(super) fn instruction(instruction: &Instruction) -> Result<(), Fault> {
    let keyword = &*instruction.keyword;
    if let Some((_, what, help)) = REFUSED.iter().find(|(refused, ..)| *refused == keyword) {
        return Err(Fault::new(instruction.at.clone(), *what, "this instruction", *help));
    }
    if instruction.arguments.text.is_empty() {
        let what = format!("has {} {keyword} with nothing behind it", article(keyword));
        let help = "Remove it, or write what it is to do; a line goes on only where it ends in a backslash.";
        return Err(Fault::new(instruction.at.clone(), what, "this instruction", help));
    }
    if keyword == "SHELL" && instruction.list.is_none() {
        let help = "Write SHELL [\"/bin/bash\", \"-c\"].";
        return Err(Fault::new(
            instruction.at.clone(),
            "has a SHELL that is no list",
            "this instruction",
            help,
        ));
    }
    Ok(())
}

/// Returns what an `ENV` sets.
pub(super) fn env(env: &Instruction) -> Result<Vec<Assignment>, Fault> {
    let pair = |(name, value): Pair| {
        let span = env.arguments.span(name.start..value.end);
        let value = Some(env.word(&env.arguments.text[value.clone()], &value)?);
        let name = env.arguments.text[name].to_owned();
        variable_name(env, &name, span.clone())?;
        Ok(Assignment { name, value, span })
    };
    pairs(env)?.into_iter().map(pair).collect()
}

/// Returns the names and values of a `LABEL`.
pub(super) fn labels(label: &Instruction) -> Result<Vec<(Template, Template)>, Fault> {
    let word = |place: Range<usize>| label.word(&label.arguments.text[place.clone()], &place);
    let pair = |(name, value): Pair| {
        let span = label.arguments.span(name.clone());
        let name = word(name)?;
        if name.text().is_none_or(str::is_empty) {
            let help = "Write its name as plain text.";
            return Err(Fault::new(span, "has a LABEL whose name has a variable", "this name", help));
        }
        Ok((name, word(value)?))
    };
    pairs(label)?.into_iter().map(pair).collect()
}

/// Where a name and its value stand in the arguments.
type Pair = (Range<usize>, Range<usize>);

/// Returns where the names and values of an `ENV` or `LABEL` stand.
fn pairs(instruction: &Instruction) -> Result<Vec<Pair>, Fault> {
    let (arguments, keyword) = (&instruction.arguments, &instruction.keyword);
    same_words(instruction)?;
    let words = arguments.words();
    let first = words.first().cloned().unwrap_or(0..0);
    let name = &arguments.text[first.clone()];
    if !name.contains('=') {
        // The old form: everything behind the name is its value.
        let rest = &arguments.text[first.end..];
        if words.len() < 2 || !rest.starts_with([' ', '\t']) {
            let what = format!("has {} {keyword} that gives {name} no value", article(keyword));
            let help = format!("Write {keyword} {name}=VALUE.");
            return Err(Fault::new(arguments.span(first), what, "this variable", help));
        }
        if name.contains([' ', '\t']) {
            let what = format!("has {} {keyword} whose name has a space", article(keyword));
            let help = format!(
                "Write {keyword} NAME=VALUE: without the `=`, engines end the name at its first space."
            );
            return Err(Fault::new(arguments.span(first), what, "this name", help));
        }
        // Engines take a space of another kind, such as U+00A0, for a part of the value.
        let start = arguments.text.len() - rest.trim_start_matches([' ', '\t']).len();
        return Ok(vec![(first, start..arguments.text.len())]);
    }
    let pair = |word: Range<usize>| match arguments.text[word.clone()].find('=') {
        Some(length @ 1..) => Ok((word.start..word.start + length, word.start + length + 1..word.end)),
        _ => {
            let text = &arguments.text[word.clone()];
            let what = format!("has {} {keyword} with `{text}`, which is not NAME=VALUE", article(keyword));
            let help = "Write NAME=VALUE, with quotes around a value that has spaces: NAME=\"a b\".";
            Err(Fault::new(arguments.span(word), what, "this word", help))
        }
    };
    words.into_iter().map(pair).collect()
}

/// Returns the indefinite article of a keyword.
pub(super) fn article(keyword: &str) -> &'static str {
    if keyword.starts_with(['A', 'E']) { "an" } else { "a" }
}

/// Refuses arguments in which engines and shells find different words.
pub(super) fn same_words(instruction: &Instruction) -> Result<(), Fault> {
    if !instruction.arguments.has_other_words() {
        return Ok(());
    }
    let what = format!(
        "has {} {} with a backslash at the end of a text in single quotes, which engines and shells read differently",
        article(&instruction.keyword),
        instruction.keyword
    );
    let help = "Write double quotes, and two backslashes for one: NAME=\"a\\\\\".";
    Err(Fault::new(instruction.at.clone(), what, "this instruction", help))
}

/// Refuses names of variables that some engine or shell reads as something else.
pub(super) fn variable_name(instruction: &Instruction, name: &str, span: Range<usize>) -> Result<(), Fault> {
    if is_variable_name(name) {
        return Ok(());
    }
    let keyword = &instruction.keyword;
    let what = format!("has {} {keyword} of `{name}`, which is no variable's name", article(keyword));
    let help = "Write a name of A-Z, a-z, 0-9 and _ that begins with no digit, without quotes or variables.";
    Err(Fault::new(span, what, "this name", help))
}

/// Refuses directives for the engine's reader, which count only at the top of the whole.
pub(super) fn directives(text: &str) -> Result<(), Fault> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let span = at..at + line.trim_end().len();
        at += line.len();
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|line| line.split_once('=')) else {
            return Ok(());
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let own = value == "docker/dockerfile" || value.starts_with("docker/dockerfile:1");
        let (what, help) = match &*name {
            "escape" if value != "\\" => (
                "chooses another escape character than the backslash",
                "Remove the line, and write backslashes: all parts are read as one Dockerfile.",
            ),
            "syntax" if !own => (
                "asks for a Dockerfile reader of its own",
                "Remove the line: all parts are read as one Dockerfile, by the engine's own reader.",
            ),
            name if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) => return Ok(()),
            _ => continue,
        };
        return Err(Fault::new(span, what, "this line", help));
    }
    Ok(())
}
