//! The pages of a registry: written on the server, and whole without a script. Every text of a stage is a stranger's, and is escaped.
//!
//! Links are relative, so that the pages may stand below any path of a proxy's.

use std::fmt::Write as _;

use pib_plan::html::escape;
use pib_plan::id::StageName;
use pib_plan::index::{Candidate, IndexEntry, IndexFile, Offer};

use super::registry_catalogue::Catalogue;
use super::registry_feed::{Feed, History};
use super::registry_readme;
use crate::source::archive;

/// Nothing on a page comes from elsewhere, and no script or style runs but the program's own, whatever a stage's texts say.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                                 form-action 'self'; base-uri 'none'";

/// The file with the list of stages, which the search of pages in files reads.
pub(super) const STAGES_FILE: &str = "stages.json";

/// What pages in files say of themselves, so that those of people are left alone.
pub(super) const GENERATOR: &str = "<meta name=\"generator\" content=\"pib registry\">";

/// A file that pages are made with.
pub(super) struct Asset {
    pub(super) name: &'static str,
    pub(super) mime: &'static str,
    pub(super) text: &'static str,
}

/// What pages are made with.
pub(super) const ASSETS: [Asset; 3] = [
    Asset {
        name: "registry.css",
        mime: "text/css; charset=utf-8",
        text: include_str!("registry_face/registry.css"),
    },
    Asset {
        name: "registry.js",
        mime: "text/javascript; charset=utf-8",
        text: include_str!("registry_face/registry.js"),
    },
    Asset { name: "icon.svg", mime: "image/svg+xml", text: include_str!("registry_face/icon.svg") },
];

/// Who sends the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// A registry's server.
    Served,
    /// Any server that sends files.
    Files,
}

impl Pages {
    /// Returns what the addresses of stages' pages end with.
    fn suffix(self) -> &'static str {
        match self {
            Self::Served => "",
            Self::Files => ".html",
        }
    }

    /// Returns the address of the first page, beside it.
    fn first(self) -> &'static str {
        match self {
            Self::Served => ".",
            Self::Files => "index.html",
        }
    }
}

/// Returns the name of the file with the list from one of the stages on.
pub(super) fn list_file(from: usize) -> String {
    match from / LISTED {
        0 => Pages::Files.first().to_owned(),
        page => format!("page-{}.html", page + 1),
    }
}

/// Returns the names of the files with the list, and from which stage on each is.
pub(super) fn list_files(stages: usize) -> impl Iterator<Item = (String, usize)> {
    (0..stages.max(1)).step_by(LISTED).map(|from| (list_file(from), from))
}

/// The longest readme that is shown, in bytes.
const MAX_README: u64 = 256 << 10;
/// How many stages a page lists.
const LISTED: usize = 60;

/// Writes a page; `root` leads to the first one, and `feed` is what is published there.
fn document(title: &str, (root, feed): (&str, &str), pages: Pages, body: &str) -> String {
    // A server says this in a header.
    let policy = match pages {
        Pages::Served => String::new(),
        Pages::Files => {
            format!("{GENERATOR}\n<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n")
        }
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n{policy}<title>{title}</title>\n\
         <link rel=\"alternate\" type=\"application/atom+xml\" title=\"New versions\" href=\"{root}{feed}\">\n\
         <link rel=\"icon\" href=\"{root}assets/icon.svg\">\n<link rel=\"stylesheet\" href=\"{root}assets/registry.css\">\n\
         <script src=\"{root}assets/registry.js\" defer></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\n\
         <header class=\"top\"><nav aria-label=\"Registry\"><a class=\"brand\" href=\"{root}{first}\"><img src=\"{root}assets/icon.svg\" alt=\"\">\
         Stages for pib</a></nav></header>\n<main id=\"main\">\n{body}</main>\n</body>\n</html>\n",
        title = escape(title),
        first = pages.first(),
    )
}

/// Returns the page of all stages, or of those that a search finds, from one of them on.
pub(super) fn list(catalogue: &Catalogue, wanted: &str, from: usize, pages: Pages) -> String {
    let found = catalogue.search(wanted);
    let form = match pages {
        Pages::Served => "action=\".\"".to_owned(),
        // The script shows it: without one, nothing could search.
        Pages::Files => format!("data-index=\"{STAGES_FILE}\" hidden"),
    };
    let mut body = format!(
        "<h1>Stages</h1>\n<form class=\"search\" role=\"search\" {form}><input type=\"search\" name=\"q\" aria-label=\"Search stages\" \
         placeholder=\"Search {} stages\" autocomplete=\"off\" spellcheck=\"false\" value=\"{}\"><button>Search</button></form>\n\
         <div id=\"results\">\n<p class=\"quiet\" role=\"status\">{}</p>\n<ul class=\"stages\">\n",
        catalogue.stages.len(),
        escape(wanted),
        counted(found.len(), catalogue.stages.len()),
    );
    for stage in found.iter().skip(from).take(LISTED) {
        _ = writeln!(
            body,
            "<li><h2><a href=\"stages/{name}{suffix}\">{name}</a><span class=\"version\">{version}{yanked}</span></h2><p>{about}</p></li>",
            name = escape(stage.name.as_str()),
            version = escape(&stage.version.to_string()),
            yanked = if stage.yanked { " (yanked)" } else { "" },
            about = escape(&stage.description),
            suffix = pages.suffix(),
        );
    }
    body += "</ul>\n";
    let address = |from: usize| match pages {
        Pages::Served => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("q", wanted).append_pair("from", &from.to_string());
            format!("?{}", escape(&query.finish()))
        }
        Pages::Files => list_file(from),
    };
    other_pages(&mut body, address, from, found.len());
    body += "</div>\n<p class=\"quiet\"><a href=\"feed.atom\">Feed of new versions</a></p>\n";
    document("Stages", ("", FEED), pages, &body)
}

fn counted(found: usize, all: usize) -> String {
    let stages = if all == 1 { "stage" } else { "stages" };
    match found {
        0 if all > 0 => format!("No stage matches; there are {all}"),
        _ if found == all => format!("{all} {stages}"),
        _ => format!("{found} of {all} {stages}"),
    }
}

/// Adds links to the stages before and after those on a page.
fn other_pages(body: &mut String, address: impl Fn(usize) -> String, from: usize, found: usize) {
    let link = |text: &str, from: usize| format!("<a class=\"button\" href=\"{}\">{text}</a>", address(from));
    let before = (from > 0).then(|| link("Previous", from.saturating_sub(LISTED)));
    let after = found.checked_sub(from).filter(|left| *left > LISTED).map(|_| link("Next", from + LISTED));
    if before.is_some() || after.is_some() {
        let links: String = before.into_iter().chain(after).collect();
        _ = writeln!(body, "<nav class=\"pages\" aria-label=\"Pages\">{links}</nav>");
    }
}

/// Returns the page where there is no stage of that name.
pub(super) fn missing() -> String {
    let body = "<h1>No such stage</h1>\n<p>This registry has no stage of this name. <a href=\"../\">All stages</a></p>\n";
    document("No such stage", ("../", FEED), Pages::Served, body)
}

/// The file with the feed of the whole registry.
pub(super) const FEED: &str = "feed.atom";

/// Returns the feed of the whole registry.
pub(super) fn feed(history: &History, pages: Pages) -> String {
    Feed { title: "Stages for pib", file: FEED, root: "", suffix: pages.suffix(), history }.to_xml()
}

/// Returns the name of the file with the feed of a stage.
pub(super) fn stage_feed_file(name: &StageName) -> String {
    format!("{name}.atom")
}

/// Returns the feed of a stage.
pub(super) fn stage_feed(name: &StageName, versions: &IndexFile, pages: Pages) -> String {
    let (title, file) = (format!("{name} - stages for pib"), stage_feed_file(name));
    let history = History::of(versions);
    Feed { title: &title, file: &file, root: "../", suffix: pages.suffix(), history: &history }.to_xml()
}

/// What the page of a stage is made from.
pub(super) struct StagePage<'a> {
    /// Its newest version.
    pub(super) entry: &'a IndexEntry,
    /// All of them.
    pub(super) file: &'a IndexFile,
    /// Its readme.
    pub(super) readme: Option<&'a str>,
    /// All stages of the registry.
    pub(super) catalogue: &'a Catalogue,
    /// Who sends the page.
    pub(super) pages: Pages,
}

impl StagePage<'_> {
    /// Returns the page.
    pub(super) fn to_html(&self) -> String {
        let entry = self.entry;
        let name = escape(entry.name.as_str());
        let mut body = format!(
            "<h1>{name}<span class=\"version\">{}</span></h1>\n<p class=\"lead\">{}</p>\n",
            escape(&entry.vers.to_string()),
            escape(&entry.description)
        );
        if entry.yanked {
            let reason = entry.yank_reason.as_ref().map(|reason| format!(": {}", escape(reason)));
            _ = writeln!(
                body,
                "<p class=\"notice\">Every version was yanked{}. Locks that hold one still work.</p>",
                reason.unwrap_or_default()
            );
        }
        body += "<div class=\"stage\">\n<div>\n";
        _ = write!(
            body,
            "<section class=\"install\" aria-labelledby=\"install\"><h2 id=\"install\">Install</h2>\n\
             <div class=\"copy\"><pre><code id=\"line\">pib add {name}</code></pre>\
             <button type=\"button\" data-copy=\"line\" hidden>Copy</button></div>\n<p id=\"copied\" class=\"quiet\" role=\"status\"></p>\n\
             <p>The project names this registry in its <code>pib.toml</code>:</p>\n\
             <pre><code>[registries.NAME]\nindex = \"<span data-address=\"../\">the address of this site</span>\"</code></pre></section>\n"
        );
        self.config(&mut body);
        if let Some(readme) = self.readme {
            let readme = registry_readme::to_html(readme);
            _ = writeln!(
                body,
                "<section aria-labelledby=\"readme\"><h2 id=\"readme\">README</h2>\n<div class=\"readme\">{readme}</div></section>"
            );
        }
        body += "</div>\n<aside aria-label=\"About this stage\">\n";
        self.facts(&mut body);
        self.dependencies(&mut body);
        self.versions(&mut body);
        body += "</aside>\n</div>\n";
        let feed = format!("feeds/{}", stage_feed_file(&entry.name));
        document(&format!("{} - stages for pib", entry.name), ("../", &feed), self.pages, &body)
    }

    /// Adds what the stage is for.
    fn facts(&self, body: &mut String) {
        let entry = self.entry;
        let list =
            |list: &Option<Vec<String>>| list.as_ref().map_or("all".to_owned(), |list| list.join(", "));
        let archs = entry.support.arch.as_ref().map(|list| list.iter().map(ToString::to_string).collect());
        let rows = [
            (
                "Licence",
                if entry.license.is_empty() { "not given".to_owned() } else { entry.license.clone() },
            ),
            ("Systems", list(&entry.support.os)),
            ("Architectures", list(&archs)),
            ("Boards", list(&entry.support.boards)),
            ("Hook", entry.hook.as_ref().map_or("none".to_owned(), |hook| hook.world.clone())),
            ("Signed by", entry.publisher.map_or("nobody".to_owned(), |publisher| publisher.key.to_string())),
            ("Archive", size(entry.size.unwrap_or_default())),
        ];
        body.push_str("<section aria-labelledby=\"facts\"><h2 id=\"facts\">Facts</h2>\n<dl>\n");
        for (name, value) in rows {
            _ = writeln!(body, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
        }
        body.push_str("</dl></section>\n");
    }

    /// Adds the stages that it needs, and those that need it.
    fn dependencies(&self, body: &mut String) {
        let link = |name: &str| match self.catalogue.has(name) {
            true => format!("<a href=\"{0}{1}\">{0}</a>", escape(name), self.pages.suffix()),
            false => escape(name),
        };
        let needs = self.entry.deps.iter();
        let needs: Vec<String> = needs
            .map(|(name, range)| format!("{} {}", link(name.as_str()), escape(&range.to_string())))
            .collect();
        let users: Vec<String> =
            self.catalogue.users_of(self.entry.name.as_str()).iter().map(|name| link(name)).collect();
        for (id, title, items) in [("needs", "Needs", needs), ("users", "Needed by", users)] {
            _ = writeln!(body, "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>");
            match items.is_empty() {
                true => body.push_str("<p class=\"quiet\">no other stage</p>"),
                false => _ = write!(body, "<ul><li>{}</li></ul>", items.join("</li><li>")),
            }
            body.push_str("</section>\n");
        }
    }

    /// Adds the list of versions, the newest first.
    fn versions(&self, body: &mut String) {
        body.push_str("<section aria-labelledby=\"versions\"><h2 id=\"versions\">Versions</h2>\n<ol>\n");
        let mut candidates: Vec<&Candidate> = self.file.versions.iter().collect();
        candidates.sort_by(|a, b| b.version.cmp(&a.version));
        for candidate in candidates {
            let state = match &candidate.offer {
                Offer::Entry(entry) if entry.yanked => match &entry.yank_reason {
                    Some(reason) => format!("yanked: {}", escape(reason)),
                    None => "yanked".to_owned(),
                },
                Offer::Entry(_) => String::new(),
                Offer::Unreadable(reason) => escape(reason),
            };
            let state = match state.is_empty() {
                true => state,
                false => format!(" <span class=\"yanked\">({state})</span>"),
            };
            _ = writeln!(body, "<li>{}{state}</li>", escape(&candidate.version.to_string()));
        }
        let feed = escape(&stage_feed_file(&self.entry.name));
        _ = writeln!(
            body,
            "</ol><p class=\"quiet\"><a href=\"../feeds/{feed}\">Feed of new versions</a></p></section>"
        );
    }

    /// Adds the table of config keys.
    fn config(&self, body: &mut String) {
        if self.entry.config.is_empty() {
            return;
        }
        // On a phone the cells stand below one another; the roles stay.
        body.push_str(
            "<section aria-labelledby=\"config\"><h2 id=\"config\">Config</h2>\n<div class=\"wide\"><table class=\"config\" role=\"table\" \
             aria-labelledby=\"config\">\n<thead role=\"rowgroup\"><tr role=\"row\">",
        );
        for title in ["Key", "Type", "Default", "What it does"] {
            _ = write!(body, "<th role=\"columnheader\" scope=\"col\">{title}</th>");
        }
        body.push_str("</tr></thead>\n<tbody role=\"rowgroup\">\n");
        for (name, key) in &self.entry.config {
            let kind = serde_json::to_value(key.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
            let (class, default) = match &key.default {
                Some(value) => (" class=\"default\"", serde_json::to_string(value).unwrap_or_default()),
                None if key.required => ("", "required".to_owned()),
                None => ("", String::new()),
            };
            _ = writeln!(
                body,
                "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\">{}</th><td role=\"cell\">{}</td>\
                 <td role=\"cell\"{class}>{}</td><td role=\"cell\">{}</td></tr>",
                escape(name),
                escape(&kind.unwrap_or_default()),
                escape(&default),
                escape(&key.help)
            );
        }
        body.push_str("</tbody></table></div></section>\n");
    }
}

/// Returns a number of bytes as people read it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
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
    use super::super::registry_catalogue::CatalogueStage;
    use super::*;

    #[test]
    fn the_texts_of_strangers_are_only_texts() {
        let json = r#"{"name":"evil","vers":"1.0.0","description":"<script>alert(1)</script>","license":"\"><img src=x>",
            "config":{"key":{"type":"string","help":"</td><b>","default":"'\u202e"}},"yanked":true,"yank_reason":"<i>"}"#;
        let entry: IndexEntry = serde_json::from_str(json).unwrap();
        let line = json.replace('\n', "");
        let source = pib_plan::index::SourceId::bundled();
        let file = IndexFile::parse(&entry.name, &source, &line).unwrap();
        let catalogue = Catalogue::of(vec![CatalogueStage::of(&entry)], History::default());
        let readme = Some("</pre><script>");
        let pages = Pages::Served;
        let stage = StagePage { entry: &entry, file: &file, readme, catalogue: &catalogue, pages };
        for page in [list(&catalogue, "\"><script>", 0, pages), stage.to_html()] {
            for bad in ["<script>", "<img src=x", "<b>", "<i>", "\u{202e}"] {
                assert!(!page.contains(bad), "{bad} in {page}");
            }
        }
        assert!(list(&catalogue, "script alert", 0, pages).contains("1 stage<"));
    }

    #[test]
    fn long_lists_have_pages() {
        let entry = |number: usize| {
            let text = format!(r#"{{"name":"stage-{number:03}","vers":"1.0.0","description":"One"}}"#);
            CatalogueStage::of(&serde_json::from_str(&text).unwrap())
        };
        let catalogue = Catalogue::of((0..LISTED * 2 + 1).map(entry).collect(), History::default());
        let list = |wanted: &str, from: usize| list(&catalogue, wanted, from, Pages::Served);
        let first = list("o&e", 0);
        assert!(first.contains("No stage matches") && !first.contains("Next"), "{first}");
        let first = list("one", 0);
        assert!(first.contains("?q=one&amp;from=60\">Next") && !first.contains("Previous"), "{first}");
        let last = list("one", LISTED * 2);
        assert!(last.contains("stage-120") && last.contains("from=60\">Previous") && !last.contains("Next"));
        assert!(!list("one", usize::MAX).contains("Next"));
        // In files, each page is one.
        let files: Vec<(String, usize)> = list_files(LISTED * 2 + 1).collect();
        let names = ["index.html", "page-2.html", "page-3.html"];
        assert_eq!(
            files,
            names.map(str::to_owned).into_iter().zip([0, LISTED, LISTED * 2]).collect::<Vec<_>>()
        );
        let middle = super::list(&catalogue, "", LISTED, Pages::Files);
        assert!(
            middle.contains("href=\"index.html\">Previous") && middle.contains("href=\"page-3.html\">Next")
        );
        assert!(
            middle.contains("href=\"stages/stage-060.html\"") && !middle.contains("href=\"?"),
            "{middle}"
        );
    }
}
