//! Instructions that cannot stand in a part, and why.

use std::ops::Range;

use super::checked::Assignment;
use super::instructions::Instruction;
use super::lines::Fault;

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
        let article = if keyword.starts_with(['A', 'E']) { "an" } else { "a" };
        let what = format!("has {article} {keyword} with nothing behind it");
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
    let (arguments, words) = (&env.arguments, env.arguments.words());
    let text = |word: &Range<usize>| &arguments.text[word.clone()];
    let first = words.first().map(text).unwrap_or_default();
    if !first.contains('=') {
        // The old form: everything behind the name is its value.
        let span = arguments.span(0..first.len());
        if words.len() < 2 {
            let what = format!("has an ENV that gives {first} no value");
            return Err(Fault::new(span, what, "this variable", format!("Write ENV {first}=VALUE.")));
        }
        let value = arguments.text[first.len()..].trim_start().to_owned();
        return Ok(vec![Assignment { name: first.to_owned(), value: Some(value), span }]);
    }
    let assignment = |word: Range<usize>| {
        let span = arguments.span(word.clone());
        let Some((name, value)) = text(&word).split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let what = format!("has an ENV with `{}`, which is not NAME=VALUE", text(&word));
            let help = "Write NAME=VALUE, with quotes around a value that has spaces: NAME=\"a b\".";
            return Err(Fault::new(span, what, "this word", help));
        };
        Ok(Assignment { name: name.to_owned(), value: Some(value.to_owned()), span })
    };
    words.into_iter().map(assignment).collect()
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
