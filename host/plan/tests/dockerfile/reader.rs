//! A reader of Dockerfiles, written by what engines document and do.

use std::collections::BTreeMap;

/// How an engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// Docker 20.10, its classic builder, Podman 4: any backslash at the end continues a line, and there are no heredocs.
    Old,
    /// BuildKit since 0.9: heredocs, and two backslashes at the end do not continue a line.
    New,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) keyword: String,
    pub(crate) flags: Vec<String>,
    pub(crate) rest: String,
    pub(crate) list: Option<Vec<String>>,
    pub(crate) heredocs: Vec<Document>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    word: String,
    name: String,
    chomp: bool,
    body: String,
}

impl Document {
    pub(crate) fn content(&self) -> String {
        let lines = self.body.split_inclusive('\n');
        lines.map(|line| if self.chomp { line.trim_start_matches('\t') } else { line }).collect()
    }
}

pub(crate) fn read(text: &str, age: Age) -> Result<Vec<Read>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n').map(|line| {
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line)
    });
    let mut found = Vec::new();
    while let Some(first) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let (mut line, mut ends) = without_continuation(first, age);
        while !ends {
            let Some(next) = lines.next() else { break };
            if next.trim().is_empty() || next.trim_start().starts_with('#') {
                continue;
            }
            let (more, last) = without_continuation(next, age);
            line.push_str(&more);
            ends = last;
        }
        if line.is_empty() {
            continue;
        }
        let mut instruction = instruction(&line)?;
        let looks = age == Age::New && instruction.list.is_none() && line.contains("<<");
        if looks && ["RUN", "COPY", "ADD"].contains(&&*instruction.keyword) {
            for word in words(&line) {
                let Some((name, chomp)) = heredoc(&word) else { continue };
                let mut body = String::new();
                loop {
                    let line = lines.next().ok_or("a heredoc has no end")?;
                    let end = if chomp { line.trim_start_matches('\t') } else { line };
                    if end == name {
                        break;
                    }
                    body.push_str(line);
                    body.push('\n');
                }
                instruction.heredocs.push(Document { word, name, chomp, body });
            }
        }
        found.push(instruction);
    }
    Ok(found)
}

fn without_continuation(line: &str, age: Age) -> (String, bool) {
    let text = line.trim_end_matches([' ', '\t']);
    match text.strip_suffix('\\') {
        Some(before) if age == Age::Old || !before.ends_with('\\') => (before.to_owned(), false),
        _ => (line.to_owned(), true),
    }
}

fn instruction(line: &str) -> Result<Read, String> {
    const KEYWORDS: &str = " ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR ";
    let line = line.trim();
    let (keyword, mut rest) = line.split_once([' ', '\t', '\u{b}', '\u{c}', '\r']).unwrap_or((line, ""));
    let keyword = keyword.to_uppercase();
    if !KEYWORDS.contains(&format!(" {keyword} ")) {
        return Err(format!("unknown instruction {keyword}"));
    }
    let mut flags = Vec::new();
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            break;
        }
        // Options with quotes are not for parts, so that words are enough here.
        let (flag, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = more;
        if flag == "--" {
            break;
        }
        flags.push(flag.to_owned());
    }
    let rest = rest.trim().to_owned();
    let list = rest.starts_with('[').then(|| {
        let mut values = serde_json::Deserializer::from_str(&rest).into_iter::<Vec<String>>();
        values.next().and_then(Result::ok)
    });
    Ok(Read { keyword, flags, list: list.flatten(), rest, heredocs: vec![] })
}

/// Returns the words of a line, with their quotes; none where a quote has no end.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut braces) = (Vec::new(), String::new(), None, 0);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('"') | None, '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '$') if chars.peek() == Some(&'{') => braces += 1,
            (None, '}') if braces > 0 => braces -= 1,
            (None, c) if c.is_whitespace() && braces == 0 => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    words.extend((!word.is_empty()).then_some(word));
    if quote.is_some() { vec![] } else { words }
}

fn heredoc(word: &str) -> Option<(String, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let chomp = rest.starts_with('-');
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
    (!rest.is_empty() && !rest.contains('<')).then_some((name, chomp))
}

/// Returns what a `RUN` starts, and the file that it starts where that is a script of its own.
pub(crate) fn started(run: &Read, shell: &[String]) -> (Vec<String>, Option<String>) {
    if let Some(list) = &run.list {
        return (list.clone(), None);
    }
    let in_shell = |script: String| shell.iter().cloned().chain([script]).collect();
    match &run.heredocs[..] {
        [only] if only.word == run.rest && only.content().starts_with("#!") => (vec![], Some(only.content())),
        [only] if only.word == run.rest => (in_shell(only.content()), None),
        documents => {
            let bodies = documents.iter().map(|document| format!("\n{}{}", document.body, document.name));
            (in_shell(run.rest.clone() + &bodies.collect::<String>()), None)
        }
    }
}

pub(crate) fn shell_of(read: &Read, shell: &mut Vec<String>) {
    if let ("SHELL", Some(list)) = (&*read.keyword, &read.list) {
        shell.clone_from(list);
    }
    if read.keyword == "FROM" && read.rest.starts_with("base ") {
        *shell = default_shell();
    }
}

pub(crate) fn default_shell() -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned()]
}

/// What variables stand for.
pub(crate) type Variables<'a> = BTreeMap<&'a str, &'a str>;

/// Returns what a word says, as engines put values into words.
pub(crate) fn expand(word: &str, variables: &Variables<'_>) -> Result<String, String> {
    let chars: Vec<char> = word.chars().collect();
    let mut at = 0;
    let text = expand_until(&chars, &mut at, None, variables)?;
    Ok(text)
}

fn expand_until(
    chars: &[char],
    at: &mut usize,
    end: Option<char>,
    variables: &Variables<'_>,
) -> Result<String, String> {
    let mut text = String::new();
    loop {
        let Some(&c) = chars.get(*at) else {
            return end.map_or(Ok(text), |end| Err(format!("no {end}")));
        };
        *at += 1;
        match c {
            c if Some(c) == end => return Ok(text),
            '\'' => loop {
                let inner = *chars.get(*at).ok_or("no end of '")?;
                *at += 1;
                if inner == '\'' {
                    break;
                }
                text.push(inner);
            },
            '"' => loop {
                let inner = *chars.get(*at).ok_or("no end of \"")?;
                *at += 1;
                match inner {
                    '"' => break,
                    '$' => text.push_str(&variable(chars, at, variables)?),
                    '\\' => match chars.get(*at) {
                        Some(&next) if matches!(next, '"' | '$' | '\\') => {
                            *at += 1;
                            text.push(next);
                        }
                        _ => text.push('\\'),
                    },
                    inner => text.push(inner),
                }
            },
            '\\' => {
                text.extend(chars.get(*at));
                *at += 1;
            }
            '$' => text.push_str(&variable(chars, at, variables)?),
            c => text.push(c),
        }
    }
}

/// Returns the value of what follows a `$`.
fn variable(chars: &[char], at: &mut usize, variables: &Variables<'_>) -> Result<String, String> {
    let name = |at: &mut usize| {
        let start = *at;
        let first = chars.get(start).copied().unwrap_or(' ');
        if "@*#?-$!0".contains(first) {
            *at += 1;
        } else {
            let is_inner = |c: &char| c.is_alphanumeric() || *c == '_';
            let digits = first.is_numeric();
            while chars.get(*at).is_some_and(|c| is_inner(c) && (!digits || c.is_numeric())) {
                *at += 1;
            }
        }
        chars[start..*at].iter().collect::<String>()
    };
    let value = |name: &str| variables.get(name).copied().unwrap_or_default().to_owned();
    if chars.get(*at) != Some(&'{') {
        let name = name(at);
        return Ok(if name.is_empty() { "$".to_owned() } else { value(&name) });
    }
    *at += 1;
    let name = name(at);
    let rest: String = chars[*at..].iter().take(2).collect();
    match &*rest {
        _ if name.is_empty() => Err("no name".to_owned()),
        rest if rest.starts_with('}') => {
            *at += 1;
            Ok(value(&name))
        }
        ":-" | ":+" => {
            *at += 2;
            let other = expand_until(chars, at, Some('}'), variables)?;
            let value = value(&name);
            let wants_other = value.is_empty() == (rest == ":-");
            Ok(if wants_other {
                other
            } else if rest == ":-" {
                value
            } else {
                String::new()
            })
        }
        _ => Err(format!("modifier {rest}")),
    }
}

/// Returns the names and values of an `ENV` or `LABEL`, and of an `ARG` the names alone, too; each as it is written.
pub(crate) fn pairs(rest: &str, is_arg: bool) -> Result<Vec<(String, Option<String>)>, String> {
    let words = quoted_words(rest);
    let first = words.first().ok_or("nothing")?;
    if !is_arg && !first.contains('=') {
        let (name, value) = rest.split_once([' ', '\t']).ok_or("no value")?;
        return Ok(vec![(name.to_owned(), Some(value.trim_start_matches([' ', '\t']).to_owned()))]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None if is_arg => Ok((word.clone(), None)),
        None => Err(format!("{word} has no value")),
    };
    words.iter().map(pair).collect()
}

/// Splits a text at white space outside of quotes; a backslash keeps what follows it, also in quotes of either kind.
fn quoted_words(rest: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let own = word.get_or_insert_default();
        own.push(c);
        match c {
            '\\' => own.extend(chars.next()),
            c if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ => {}
        }
    }
    words.extend(word);
    words
}

/// Returns an option with the fields of a mount under one name each, in order, and its kind spelled out.
pub(crate) fn option(flag: &str) -> (String, BTreeMap<String, Option<String>>) {
    let Some(fields) = flag.strip_prefix("--mount=") else { return (flag.to_owned(), BTreeMap::new()) };
    let mut found = BTreeMap::from([("type".to_owned(), Some("bind".to_owned()))]);
    for field in fields.split(',') {
        let (name, value) = field.split_once('=').map_or((field, None), |(name, value)| (name, Some(value)));
        let name = name.to_lowercase();
        let name = match &*name {
            "src" => "source",
            "dst" | "destination" => "target",
            "readonly" => "ro",
            "readwrite" => "rw",
            name => name,
        };
        let value = value.map(|value| if name == "type" { value.to_lowercase() } else { value.to_owned() });
        // Engines take the last one.
        found.insert(name.to_owned(), value);
    }
    ("--mount".to_owned(), found)
}
