//! Reads Rust as far as the rules need it: modules, imports and definitions; no comments, texts or tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module in a file of its own.
pub(super) struct Module {
    /// Its path in the crate, without `crate`.
    pub(super) path: Vec<String>,
    pub(super) file: PathBuf,
    /// Its code, in which comments, texts and what is compiled for tests alone are blank.
    pub(super) code: String,
    pub(super) imports: Vec<Import>,
}

/// One name that a `use` brings.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// What it is called here; `*` where all names come.
    pub(super) name: String,
    /// Whether it is handed on.
    pub(super) is_public: bool,
}

/// Reads all modules that are reached from the crate's root file.
pub(super) fn modules(root: &Path) -> Vec<Module> {
    let mut found = Vec::new();
    read(root, Vec::new(), root.parent().unwrap(), &mut found);
    found
}

fn read(file: &Path, path: Vec<String>, folder: &Path, found: &mut Vec<Module>) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let code = without_tests(&blanked(&text));
    let children = declared(&code);
    found.push(Module { path: path.clone(), file: file.to_owned(), imports: imports(&code), code });
    for name in children {
        let beside = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
        // A module whose file is elsewhere (`#[path]`) belongs to another crate.
        if let Some(child) = beside.iter().find(|path| path.is_file()) {
            read(child, [&path[..], std::slice::from_ref(&name)].concat(), &folder.join(&name), found);
        }
    }
}

/// Returns the text with blanks for comments, texts and characters; its length and lines stay.
pub(super) fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => at + find(&bytes[at..], b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => at + find(&bytes[at..], b"*/") + 2,
            b'"' => string(bytes, at),
            b'r' if !is_word(bytes, at.wrapping_sub(1)) => match raw(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(bytes.len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).unwrap()
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap_or(bytes.len())
}

fn is_word(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Returns where the text ends that begins here.
fn string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns where the raw text ends that may begin here.
fn raw(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    Some(open + 1 + find(&bytes[open + 1..], &close) + close.len())
}

/// Returns where the character ends that may begin here; a lifetime is none.
fn character(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        return Some(start + 2 + find(&bytes[start + 3..], b"'") + 2);
    }
    let length = std::str::from_utf8(&bytes[start + 1..(start + 5).min(bytes.len())]);
    let first = match length {
        Ok(text) => text.chars().next()?,
        Err(error) => {
            std::str::from_utf8(&bytes[start + 1..start + 1 + error.valid_up_to()]).ok()?.chars().next()?
        }
    };
    let end = start + 1 + first.len_utf8();
    (bytes.get(end) == Some(&b'\'')).then_some(end + 1)
}

/// Blanks what is compiled for tests alone.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| from + at) {
        // Up to the end of the item: its block's, or a semicolon before any.
        let rest = &code.as_bytes()[at..];
        let mut depth = 0;
        let length = rest.iter().position(|byte| {
            match byte {
                b'{' | b'(' | b'[' => depth += 1,
                b'}' | b')' | b']' => depth -= 1,
                _ => {}
            }
            depth == 0 && (*byte == b';' || *byte == b'}')
        });
        let end = at + length.map_or(rest.len(), |length| length + 1);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8(out).unwrap()
}

/// Returns each identifier with where it begins.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = code.as_bytes();
    let starts =
        (0..bytes.len()).filter(move |at| is_word(bytes, *at) && !is_word(bytes, at.wrapping_sub(1)));
    starts.map(move |start| {
        let end = (start..bytes.len()).find(|at| !is_word(bytes, *at)).unwrap_or(bytes.len());
        (start, &code[start..end])
    })
}

/// Returns the names that come after one of these keywords, such as `struct`, and what follows each.
pub(super) fn named<'a>(code: &'a str, keywords: &[&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut end = None;
    words(code).filter_map(move |(at, word)| {
        let is_named = end.is_some_and(|end: usize| code[end..at].trim().is_empty());
        end = keywords.contains(&word).then_some(at + word.len());
        is_named.then(|| (word, &code[at + word.len()..]))
    })
}

fn declared(code: &str) -> Vec<String> {
    let modules = named(code, &["mod"]).filter(|(_, rest)| rest.trim_start().starts_with(';'));
    modules.map(|(name, _)| name.to_owned()).collect()
}

fn imports(code: &str) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, word)| *word == "use") {
        let before = code[..at].trim_end();
        let is_public = before.ends_with("pub") || before.ends_with(')');
        let text = &code[at + 3..at + code[at..].find(';').unwrap_or(code.len() - at)];
        if before.is_empty() || is_public || before.ends_with([';', '}', '{', ']']) {
            expand(text.trim(), &[], is_public, &mut found);
        }
    }
    found
}

/// Takes a tree of imports apart.
fn expand(text: &str, before: &[String], is_public: bool, found: &mut Vec<Import>) {
    if let Some(open) = text.find('{') {
        let head: Vec<String> = text[..open].split("::").map(|part| part.trim().to_owned()).collect();
        let path = [before, &head[..head.len() - 1]].concat();
        let inside = &text[open + 1..text.rfind('}').unwrap()];
        let (mut depth, mut start) = (0, 0);
        for (at, byte) in inside.bytes().enumerate().chain([(inside.len(), b',')]) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' if depth == 0 => {
                    let part = inside[start..at].trim();
                    if !part.is_empty() {
                        expand(part, &path, is_public, found);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (text, alias) =
        text.split_once(" as ").map_or((text, None), |(text, alias)| (text, Some(alias.trim())));
    let mut path: Vec<String> = before.to_vec();
    path.extend(text.split("::").map(|part| part.trim().to_owned()));
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.map_or_else(|| path.last().cloned().unwrap_or_default(), str::to_owned);
    found.push(Import { path, name, is_public });
}

/// Which file uses which.
pub(super) type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// Returns which files of the crate use names out of which others, each with one such path.
///
/// A name that a module only hands on is one of the file that defines it; handing it on is no use of it.
pub(super) fn graph(modules: &[Module], shown: impl Fn(&Path) -> String) -> Graph {
    let mut graph = Graph::new();
    for module in modules {
        let mut uses: Vec<Vec<String>> = Vec::new();
        for import in module.imports.iter().filter(|import| !import.is_public) {
            uses.push(import.path.clone());
        }
        uses.extend(paths(&module.code));
        let from = shown(&module.file);
        let edges = graph.entry(from.clone()).or_default();
        for path in uses {
            if let Some(to) = resolve(modules, module, &path, 0) {
                let to = shown(&to.file);
                if to != from {
                    edges.entry(to).or_insert_with(|| path.join("::"));
                }
            }
        }
    }
    graph
}

/// Returns the paths of at least two names outside of imports.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut statement = 0;
    let mut skip_to = 0;
    let bytes = code.as_bytes();
    for (at, word) in words(code) {
        if at < skip_to {
            continue;
        }
        if word == "use" {
            statement = at + code[at..].find(';').unwrap_or(0);
        }
        if at < statement || code[..at].ends_with("::") {
            continue;
        }
        let mut path = vec![word.to_owned()];
        let mut end = at + word.len();
        while code[end..].starts_with("::") && is_word(bytes, end + 2) {
            let (_, next) = words(&code[end + 2..]).next().unwrap();
            path.push(next.to_owned());
            end += 2 + next.len();
        }
        skip_to = end;
        if path.len() > 1 {
            found.push(path);
        }
    }
    found
}

/// Returns the module in whose file what is at this path is defined, if it is in this crate and no module itself.
fn resolve<'a>(modules: &'a [Module], from: &'a Module, path: &[String], depth: usize) -> Option<&'a Module> {
    let module = |path: &[String]| modules.iter().find(|module| module.path == path);
    if depth > 8 {
        return None;
    }
    let first = path.first()?;
    let (mut at, mut rest) = match first.as_str() {
        "crate" => (module(&[])?, &path[1..]),
        "self" => (from, &path[1..]),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            (module(&from.path[..from.path.len().checked_sub(ups)?])?, &path[ups..])
        }
        name => {
            let child = module(&[&from.path[..], std::slice::from_ref(first)].concat());
            let imported = from.imports.iter().find(|import| import.name == *name && import.path != path);
            match (child, imported) {
                (Some(child), _) => (child, &path[1..]),
                (None, Some(import)) => {
                    let whole = [&import.path[..], &path[1..]].concat();
                    return resolve(modules, from, &whole, depth + 1);
                }
                _ => return None,
            }
        }
    };
    while let Some((name, more)) = rest.split_first() {
        if let Some(child) = module(&[&at.path[..], std::slice::from_ref(name)].concat()) {
            (at, rest) = (child, more);
            continue;
        }
        // It comes from elsewhere, or is defined here.
        if let Some(import) = at.imports.iter().find(|import| import.name == *name) {
            let whole = [&import.path[..], more].concat();
            let inside = resolve(modules, at, &whole, depth + 1);
            let is_own = ["crate", "self", "super"].contains(&import.path[0].as_str())
                || module(&[&at.path[..], &import.path[..1]].concat()).is_some();
            return if is_own { inside } else { None };
        }
        return Some(at);
    }
    // A module by itself says nothing of what is used of it.
    None
}

/// Returns the files that a file uses, and those that these use, and so on.
pub(super) fn reached<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&'a str> =
        graph.get(from).into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    while let Some(at) = open.pop() {
        if seen.insert(at) {
            open.extend(graph.get(at).into_iter().flat_map(BTreeMap::keys).map(String::as_str));
        }
    }
    seen
}

/// Returns the groups of files each of which reaches all others of its group.
pub(super) fn circles(graph: &Graph) -> Vec<Vec<&str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (&**file, reached(graph, file))).collect();
    let mut groups: Vec<Vec<&str>> = Vec::new();
    for (file, own) in &reach {
        if own.contains(file) && !groups.iter().flatten().any(|known| known == file) {
            let group =
                own.iter().filter(|other| reach.get(*other).is_some_and(|theirs| theirs.contains(file)));
            groups.push(group.copied().collect());
        }
    }
    groups
}
