//! The pages of a registry: written on the server, without script. Every text of a stage is a stranger's, and is escaped.

use std::fmt::Write as _;

use pib_plan::html::{escape, escape_lines};
use pib_plan::index::{IndexEntry, IndexFile, Offer};

use crate::source::archive;

/// The longest readme that is shown, in bytes.
const MAX_README: u64 = 256 << 10;
/// Works in light and dark, on a phone and on a screen.
const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--mark:#0a6}\
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:0 auto;padding:1rem}\
a{color:light-dark(#0550ae,#79b8ff)}h1{line-height:1.2}\
form{display:flex;gap:.5rem;margin:1rem 0}input{flex:1;font:inherit;padding:.5rem}button{font:inherit;padding:.5rem 1rem}\
li{margin:.5rem 0}ul{padding-left:1.2rem}pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.75rem;border:1px solid var(--line);border-radius:.4rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem;border-bottom:1px solid var(--line);vertical-align:top}\
.wide{overflow-x:auto}small{opacity:.8}";

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// Returns the newest version that is not yanked, or else the newest.
pub(super) fn newest(file: &IndexFile) -> Option<IndexEntry> {
    let entries = file.versions.iter().filter_map(|candidate| match &candidate.offer {
        Offer::Entry(entry) => Some(entry),
        Offer::Unreadable(_) => None,
    });
    entries.max_by(|a, b| (!a.yanked, &a.vers).cmp(&(!b.yanked, &b.vers))).map(|entry| (**entry).clone())
}

/// Returns the page of all stages, or of those whose name or description has the words of a search.
pub(super) fn list(stages: &[IndexEntry], wanted: &str) -> String {
    let words: Vec<String> = wanted.split_whitespace().map(str::to_lowercase).collect();
    let fits = |entry: &&IndexEntry| {
        let text = format!("{} {}", entry.name, entry.description).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let found: Vec<&IndexEntry> = stages.iter().filter(fits).collect();
    let mut body = format!(
        "<header><h1>Stages</h1>\n<form role=\"search\"><input type=\"search\" name=\"q\" aria-label=\"Search stages\" \
         placeholder=\"Search\" value=\"{}\"><button>Search</button></form></header>\n<main>\n<p>{} of {}</p>\n<ul>\n",
        escape(wanted),
        found.len(),
        stages.len()
    );
    for entry in found {
        _ = writeln!(
            body,
            "<li><a href=\"/stages/{name}\">{name}</a> <small>{version}</small><br>{about}</li>",
            name = escape(entry.name.as_str()),
            version = escape(&entry.vers.to_string()),
            about = escape(&entry.description)
        );
    }
    body += "</ul>\n</main>\n";
    document("Stages", &body)
}

/// Returns the page of a stage.
pub(super) fn stage(entry: &IndexEntry, file: &IndexFile, readme: Option<&str>) -> String {
    let name = escape(entry.name.as_str());
    let mut body = format!(
        "<nav><a href=\"/\">All stages</a></nav>\n<main>\n<h1>{name} <small>{}</small></h1>\n<p>{}</p>\n\
         <h2>Add it</h2>\n<pre><code>pib add {name}</code></pre>\n",
        escape(&entry.vers.to_string()),
        escape(&entry.description)
    );
    facts(&mut body, entry);
    config(&mut body, entry);
    body += "<h2>Versions</h2>\n<ul>\n";
    let mut candidates: Vec<_> = file.versions.iter().collect();
    candidates.sort_by(|a, b| b.version.cmp(&a.version));
    for candidate in candidates {
        let state = match &candidate.offer {
            Offer::Entry(entry) if entry.yanked => match &entry.yank_reason {
                Some(reason) => format!(" (yanked: {})", escape(reason)),
                None => " (yanked)".to_owned(),
            },
            Offer::Entry(_) => String::new(),
            Offer::Unreadable(reason) => format!(" ({})", escape(reason)),
        };
        _ = writeln!(body, "<li>{}{state}</li>", escape(&candidate.version.to_string()));
    }
    body += "</ul>\n";
    if let Some(readme) = readme {
        _ = writeln!(body, "<h2>README</h2>\n<pre>{}</pre>", escape_lines(readme));
    }
    body += "</main>\n";
    document(entry.name.as_str(), &body)
}

/// Adds what the stage needs and is for.
fn facts(body: &mut String, entry: &IndexEntry) {
    let list = |list: &Option<Vec<String>>| list.as_ref().map_or("all".to_owned(), |list| list.join(", "));
    let archs = entry.support.arch.as_ref().map(|list| list.iter().map(ToString::to_string).collect());
    let needs: Vec<String> = entry.deps.iter().map(|(name, range)| format!("{name} {range}")).collect();
    let rows = [
        ("Licence", if entry.license.is_empty() { "not said".to_owned() } else { entry.license.clone() }),
        ("Operating systems", list(&entry.support.os)),
        ("Architectures", list(&archs)),
        ("Boards", list(&entry.support.boards)),
        ("Needs", if needs.is_empty() { "no other stage".to_owned() } else { needs.join(", ") }),
        ("Hook", entry.hook.as_ref().map_or("none".to_owned(), |hook| hook.world.clone())),
        ("Archive", format!("{} bytes", entry.size.unwrap_or_default())),
    ];
    body.push_str("<div class=\"wide\"><table>\n");
    for (name, value) in rows {
        _ = writeln!(body, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value));
    }
    body.push_str("</table></div>\n");
}

/// Adds the table of config keys.
fn config(body: &mut String, entry: &IndexEntry) {
    if entry.config.is_empty() {
        return;
    }
    body.push_str(
        "<h2>Config</h2>\n<div class=\"wide\"><table>\n<tr><th scope=\"col\">Key</th><th scope=\"col\">Type</th>\
         <th scope=\"col\">Default</th><th scope=\"col\">What it does</th></tr>\n",
    );
    for (name, key) in &entry.config {
        let kind = serde_json::to_value(key.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        let default = match &key.default {
            Some(value) => serde_json::to_string(value).unwrap_or_default(),
            None if key.required => "required".to_owned(),
            None => String::new(),
        };
        _ = writeln!(
            body,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            escape(&kind.unwrap_or_default()),
            escape(&default),
            escape(&key.help)
        );
    }
    body.push_str("</table></div>\n");
}

/// Returns the readme in an archive, if there is one that can be shown.
pub(super) fn readme(bytes: &[u8]) -> Option<String> {
    let (folder, package) = archive::open(bytes, "the stage").ok()?;
    let path = package.file("README.md").map(|file| folder.path().join(&file.path))?;
    let text = pib_file::read(path, MAX_README).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_strangers_are_only_texts() {
        let json = r#"{"name":"evil","vers":"1.0.0","description":"<script>alert(1)</script>","license":"\"><img src=x>",
            "config":{"key":{"type":"string","help":"</td><b>","default":"'\u202e"}},"yanked":true,"yank_reason":"<i>"}"#;
        let entry: IndexEntry = serde_json::from_str(json).unwrap();
        let line = json.replace('\n', "");
        let source = pib_plan::index::SourceId::bundled();
        let file = IndexFile::parse(&entry.name, &source, &line).unwrap();
        let pages =
            [list(std::slice::from_ref(&entry), "\"><script>"), stage(&entry, &file, Some("</pre><script>"))];
        for page in pages {
            for bad in ["<script", "<img", "<b>", "<i>", "\u{202e}"] {
                assert!(!page.contains(bad), "{bad} in {page}");
            }
        }
        assert!(list(&[entry], "script alert").contains("1 of 1"));
    }
}
