//! The report of a build as one page of HTML, which needs nothing else: no script, no font, no network.

mod html;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use pib_disk::FoundPartition;
use pib_plan::boot::chain::Chain;
use pib_plan::id::Digest;
use pib_plan::suggest::count;

use super::summary::ListChange;
use super::system::{PackageContent, SystemContent};
use html::{COLOURS, STYLE, Table, bar, list, size, treemap};
use pib_plan::html::escape;

/// How many of the largest packages have a bar.
const LARGEST: usize = 20;
/// How many changes of one kind are listed.
const MAX_CHANGES: usize = 300;
/// What packages are listed under whose stage is not known.
const OTHER: &str = "others";

/// How long a step of the build took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// What was done.
    pub title: String,
    /// How long it took.
    pub time: Duration,
    /// Whether an earlier result was used.
    pub cached: bool,
}

/// What the page says.
#[derive(Debug)]
pub struct ReportPage<'a> {
    /// The image's file name.
    pub name: &'a str,
    /// Its digest.
    pub digest: Digest,
    /// The size of the file, and of the image before it was compressed.
    pub sizes: (u64, u64),
    /// The stages, as name and version.
    pub stages: &'a [(String, String)],
    /// The partitions.
    pub partitions: &'a [FoundPartition],
    /// The system.
    pub system: &'a SystemContent,
    /// The stage that brought each package.
    pub brought: &'a BTreeMap<String, String>,
    /// The boot chain on each model of the board.
    pub chains: &'a [Chain],
    /// How long the steps of the build took; empty where nothing was built.
    pub times: &'a [StepTime],
    /// What is different since the image before, where there is one.
    pub changes: Option<&'a [ListChange]>,
}

impl ReportPage<'_> {
    /// Returns the page.
    pub fn to_text(&self) -> String {
        let title = escape(self.name);
        let sections = [
            self.head(),
            self.boot(),
            self.sizes(),
            self.times(),
            self.changes(),
            self.packages(),
            self.rights(),
        ];
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <style>{STYLE}</style></head><body><main>\n<h1>{title}</h1>\n{}</main></body></html>\n",
            sections.concat()
        )
    }

    fn head(&self) -> String {
        let system = self.system;
        let (file, plain) = self.sizes;
        let packed = if file == plain { String::new() } else { format!(", compressed to {}", size(file)) };
        let stages = self.stages.iter().map(|(name, version)| format!("{name} {version}"));
        format!(
            "<p>{}, {}{packed}, {} in {} files and folders.</p>\n<p><code>{}</code></p>\n<p>Stages: {}</p>\n",
            escape(system.name.as_deref().unwrap_or("unknown system")),
            size(plain),
            size(system.bytes),
            system.entries,
            self.digest,
            escape(&stages.collect::<Vec<_>>().join(", "))
        )
    }

    fn boot(&self) -> String {
        let mut table =
            Table::new("What the firmware of each model does with the image", &["Model", "Result"]);
        for chain in self.chains {
            let how = if chain.is_try { " (trying an update)" } else { "" };
            let result = match &chain.faults[..] {
                [] => "<span class=\"good\">starts</span>".to_owned(),
                faults => {
                    let faults = faults.iter().map(ToString::to_string);
                    format!("<span class=\"bad\">does not start</span>{}", list(faults))
                }
            };
            table.row(&[format!("{}{how}", escape(chain.model)), result]);
        }
        format!("<h2>Boot chain</h2>\n{}", table.finish())
    }

    fn sizes(&self) -> String {
        let mut text = "<h2>Sizes</h2>\n".to_owned();
        let mut table = Table::new("Partitions", &["Label", "File system", "Size", "Of the image", "Free"]);
        for partition in self.partitions {
            let free = match partition.space {
                _ if partition.filesystem.is_read_only() => "never written to".to_owned(),
                Some((_, free)) => size(free),
                None => "not known".to_owned(),
            };
            table.row(&[
                escape(partition.label.as_deref().unwrap_or("-")),
                escape(partition.filesystem.text()),
                size(partition.region.size),
                bar(partition.region.size, self.sizes.1),
                free,
            ]);
        }
        text.push_str(&table.finish());
        let groups = self.by_stage();
        let whole: u64 = groups.iter().map(|(_, items)| bytes(items)).fold(0, u64::saturating_add);
        text.push_str("<h3>Packages by the stage that brought them</h3>\n");
        text.push_str(&treemap(
            "Each column is a stage, each field a package, as large as its files",
            &groups,
        ));
        text.push_str("<ul class=\"key\">");
        for (number, (stage, _)) in groups.iter().enumerate() {
            let _ = write!(
                text,
                "<li><svg aria-hidden=\"true\" class=\"c{}\"><rect width=\"100%\" height=\"100%\"/></svg>{}</li>",
                number % COLOURS,
                escape(stage)
            );
        }
        text.push_str("</ul>\n");
        let mut table = Table::new("Stages", &["Stage", "Packages", "Size", ""]);
        for (stage, items) in &groups {
            let own = bytes(items);
            table.row(&[escape(stage), items.len().to_string(), size(own), bar(own, whole)]);
        }
        text.push_str(&table.finish());
        let mut table = Table::new("The largest packages", &["Package", "Size", ""]);
        let largest = self.largest_first();
        let most = largest.first().map_or(0, |content| content.bytes);
        for PackageContent { package, bytes, .. } in largest.into_iter().take(LARGEST) {
            table.row(&[escape(&package.name), size(*bytes), bar(*bytes, most)]);
        }
        text.push_str(&table.finish());
        text
    }

    fn largest_first(&self) -> Vec<&PackageContent> {
        let mut packages: Vec<&PackageContent> = self.system.packages.iter().collect();
        packages.sort_by_key(|content| std::cmp::Reverse(content.bytes));
        packages
    }

    fn stage_of(&self, package: &str) -> &str {
        self.brought.get(package).map_or(OTHER, String::as_str)
    }

    /// Returns the packages and their sizes by stage, the largest stages and packages first.
    fn by_stage(&self) -> Vec<(String, Vec<(String, u64)>)> {
        let mut groups: BTreeMap<&str, Vec<(String, u64)>> = BTreeMap::new();
        for content in self.largest_first() {
            let name = &content.package.name;
            groups.entry(self.stage_of(name)).or_default().push((name.clone(), content.bytes));
        }
        let mut groups: Vec<_> = groups.into_iter().map(|(stage, items)| (stage.to_owned(), items)).collect();
        groups.sort_by_key(|(_, items)| std::cmp::Reverse(bytes(items)));
        groups
    }

    fn times(&self) -> String {
        let mut text = "<h2>Time</h2>\n".to_owned();
        if self.times.is_empty() {
            text.push_str("<p>The image was up to date: nothing was built.</p>\n");
            return text;
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let most = self.times.iter().map(|step| millis(step.time)).max().unwrap_or(0);
        let mut table = Table::new("Steps of the build", &["Step", "Seconds", ""]);
        for step in self.times {
            let how = if step.cached { " (cached)" } else { "" };
            let title = format!("{}{how}", escape(&step.title));
            table.row(&[title, format!("{:.1}", step.time.as_secs_f64()), bar(millis(step.time), most)]);
        }
        text.push_str(&table.finish());
        text
    }

    fn changes(&self) -> String {
        let mut text = "<h2>Changes since the last report</h2>\n".to_owned();
        let Some(changes) = self.changes else {
            text.push_str("<p>This is the first report of the project.</p>\n");
            return text;
        };
        let mut is_same = true;
        for ListChange { what, added, removed, changed } in changes {
            let lines = added.iter().map(|item| format!("new: {item}"));
            let lines = lines.chain(removed.iter().map(|item| format!("gone: {item}")));
            let changed =
                changed.iter().map(|(name, before, now)| format!("{name}: {before} \u{2192} {now}"));
            let lines: Vec<String> = lines.chain(changed).collect();
            if lines.is_empty() {
                continue;
            }
            is_same = false;
            let more = lines.len().saturating_sub(MAX_CHANGES);
            let _ = write!(text, "<h3>{}</h3>\n{}", escape(what), list(lines.into_iter().take(MAX_CHANGES)));
            if more > 0 {
                let _ = writeln!(text, "<p>and {}</p>", count(more, "more change"));
            }
        }
        if is_same {
            text.push_str("<p>Stages, packages, files that give rights and units are the same.</p>\n");
        }
        text
    }

    fn packages(&self) -> String {
        let head = ["Package", "Version", "Stage", "Size", "Licences"];
        let mut table = Table::new("All packages, by name", &head);
        for PackageContent { package, bytes, licences } in &self.system.packages {
            table.row(&[
                escape(&package.name),
                format!("<code>{}</code>", escape(&package.version)),
                escape(self.stage_of(&package.name)),
                size(*bytes),
                escape(&licences.join(", ")),
            ]);
        }
        let number = count(self.system.packages.len(), "package");
        format!("<h2>Packages</h2>\n<details><summary>{number}</summary>{}</details>\n", table.finish())
    }

    fn rights(&self) -> String {
        let mut table =
            Table::new("Programs that run with more rights than their user has", &["File", "Right", "Owner"]);
        for file in &self.system.privileged {
            let (user, group) = file.owner;
            let path = format!("<code>{}</code>", escape(&file.path));
            table.row(&[path, file.right.to_owned(), format!("{user}:{group}")]);
        }
        format!(
            "<h2>Rights</h2>\n{}<h2>Units that are started</h2>\n{}",
            table.finish(),
            list(self.system.services.iter().cloned())
        )
    }
}

fn bytes(items: &[(String, u64)]) -> u64 {
    items.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
}

#[cfg(test)]
mod tests {
    use pib_debian::InstalledPackage;

    use super::*;
    use crate::inspection::SpecialFile;

    const EVIL: &str = "</style><script>alert(1)</script>\" onload='x' &\u{202e}\u{7}";

    #[test]
    fn texts_of_the_image_stay_texts() {
        let package =
            InstalledPackage { name: EVIL.to_owned(), version: EVIL.to_owned(), ..Default::default() };
        let mut system = SystemContent::empty();
        system.name = Some(EVIL.to_owned());
        system.packages = vec![PackageContent { package, bytes: 4096, licences: vec![EVIL.to_owned()] }];
        system.privileged = vec![SpecialFile { path: EVIL.to_owned(), right: "setuid", owner: (0, 0) }];
        system.services = vec![EVIL.to_owned()];
        let owned = || EVIL.to_owned();
        let change = ListChange {
            what: "Packages",
            added: vec![owned()],
            removed: vec![owned()],
            changed: vec![(owned(), owned(), owned())],
        };
        let page = ReportPage {
            name: EVIL,
            digest: Digest::of(b"x"),
            sizes: (1, 2),
            stages: &[(owned(), owned())],
            partitions: &[],
            system: &system,
            brought: &BTreeMap::from([(owned(), owned())]),
            chains: &[],
            times: &[StepTime { title: owned(), time: Duration::from_secs(1), cached: false }],
            changes: Some(&[change]),
        };
        let text = page.to_text();
        assert_eq!(text.matches("<script").count(), 0);
        assert_eq!(text.matches("</style>").count(), 1);
        assert!(!text.contains("onload='") && !text.contains("\" onload") && !text.contains('\u{202e}'));
        assert!(text.matches("&lt;script&gt;").count() > 10);
    }
}
