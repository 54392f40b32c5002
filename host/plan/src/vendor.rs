//! The list of what `pib vendor` has put into a project: which stages, from where, and the digest of every file.
//!
//! The list tells pib's own files from others, and names the file that was changed. What counts as right is
//! `pib.lock`: a list that was changed together with the files does not help against its digests.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use semver::Version;
use serde::Deserialize;
use toml::Spanned;

use crate::id::{Digest, StageName};
use crate::index::SourceId;
use crate::lockfile::{merge_conflict, quoted};
use crate::manifest::{ManifestError, ManifestText};
use crate::mode::{Mode, ModeError};
use crate::path;

/// The name of the list, within the folder of vendored stages.
pub const FILE_NAME: &str = "vendored.toml";
/// The folder that vendored stages go to where the user names no other.
pub const FOLDER: &str = "vendor";
/// The largest list that is read, in bytes: more than a hundred thousand files.
pub const MAX_LIST: usize = 16 << 20;
/// The first schema, which knows no modes; it is written where it says all that there is to say.
const FIRST: i64 = 1;
/// The newest schema that this code reads.
const VERSION: i64 = 2;

const HEADER: &str = "\
# This file is written by `pib vendor`; it says what the stages beside it are. Keep all of them in version control.
# pib refuses a stage whose files were changed here. To change a stage, copy its folder and name the copy in [patch].
";

/// The code of what is wrong with a list.
const LIST: &str = "pib::source::vendor_list";
const ANEW: &str = "Get the folder back from version control, or delete it, and run `pib vendor`.";

/// What a folder of vendored stages holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorList {
    /// The stages, sorted by name and folder.
    pub stages: Vec<VendoredStage>,
}

/// One vendored stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendoredStage {
    /// The stage.
    pub name: StageName,
    /// Its folder, beside the list: called like the stage, or like the stage and its version where the targets of the
    /// project have several of one name.
    pub folder: String,
    /// Its version.
    pub version: Version,
    /// Where it came from, for git with the commit.
    pub source: SourceId,
    /// The digest of its canonical tar.
    pub content: Digest,
    /// The digests of its files, by their path within its folder.
    pub files: BTreeMap<String, Digest>,
    /// The modes of files that have not the usual ones, and of folders that have not or that are empty. Version control
    /// keeps none of these.
    pub modes: BTreeMap<String, ListedMode>,
}

/// The mode of a file or folder of a vendored stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedMode {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// The mode.
    pub mode: Mode,
}

/// The one key that every schema has.
#[derive(Deserialize)]
struct Probe {
    version: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    stage: Vec<StageSchema>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageSchema {
    name: Spanned<StageName>,
    folder: Option<Spanned<String>>,
    version: Version,
    source: SourceId,
    content: Digest,
    #[serde(default)]
    files: BTreeMap<String, Digest>,
    #[serde(default)]
    modes: BTreeMap<Spanned<String>, Spanned<String>>,
}

impl VendorList {
    /// Parses the text of a list that was read from `file`.
    ///
    /// # Errors
    /// When the text holds a merge conflict, is of a newer schema, or is no list.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        let input = ManifestText::new(file, text);
        if text.len() > MAX_LIST {
            let message = format!("`{file}` is larger than {} MiB and is surely no list", MAX_LIST >> 20);
            let error = ManifestText::new(file, "").error(0..0, message, "");
            return Err(error.with_code(LIST).with_help(ANEW));
        }
        if let Some(span) = merge_conflict(text) {
            let message = format!("`{file}` holds a merge conflict");
            let help = "Settle pib.lock first. Then take either side of the folder whole, e.g. by `git checkout --ours`, \
                        and run `pib vendor`.";
            let error = input.error(span, message, "the conflict begins here");
            return Err(error.with_code(LIST).with_help(help));
        }
        let broken = |error: toml::de::Error| {
            let message = format!("could not read `{file}`: {}", error.message().trim().replace('\n', ", "));
            input.error(error.span().unwrap_or(0..0), message, "here").with_code(LIST).with_help(ANEW)
        };
        let probe: Probe = toml::from_str(text).map_err(broken)?;
        if !(FIRST..=VERSION).contains(probe.version.get_ref()) {
            let found = probe.version.get_ref();
            let message =
                format!("`{file}` has version {found}, and this pib reads versions {FIRST} to {VERSION}");
            let help =
                "Update pib if it is older than the file; else delete the folder and run `pib vendor`.";
            return Err(input.error(probe.version.span(), message, "this version").with_help(help));
        }
        let schema: Schema = toml::from_str(text).map_err(broken)?;
        let mut list = Self::default();
        for stage in schema.stage {
            let StageSchema { name, folder, version, source, content, files, modes } = stage;
            let modes = listed_modes(&input, modes)?;
            let (mut span, name) = (name.span(), name.into_inner());
            let folder = match folder {
                None => name.to_string(),
                Some(folder) => {
                    span = folder.span();
                    folder.into_inner()
                }
            };
            if !fits(&folder, &name) {
                let message = format!("`{folder}` in `{file}` is no folder for stage `{name}`");
                return Err(input.error(span, message, "this folder").with_help(ANEW));
            }
            if list.in_folder(&folder).is_some() {
                let message = format!("`{file}` has stage `{folder}` twice");
                return Err(input.error(span, message, "the second").with_help(ANEW));
            }
            list.insert(VendoredStage { name, folder, version, source, content, files, modes });
        }
        Ok(list)
    }

    /// Returns the text of the file: the same for the same contents.
    pub fn to_text(&self) -> String {
        let plain = self.stages.iter().all(|stage| stage.modes.is_empty());
        let mut text = format!("{HEADER}version = {}\n", if plain { FIRST } else { VERSION });
        for stage in &self.stages {
            let folder = match stage.folder == stage.name.as_str() {
                true => String::new(),
                false => format!("folder = {}\n", quoted(&stage.folder)),
            };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[stage]]\nname = {}\n{folder}version = {}\nsource = {}\ncontent = {}\n\n[stage.files]\n",
                quoted(&stage.name),
                quoted(&stage.version),
                quoted(&stage.source),
                quoted(&stage.content)
            );
            for (path, digest) in &stage.files {
                let _ = writeln!(text, "{} = {}", quoted(path), quoted(digest));
            }
            if !stage.modes.is_empty() {
                text.push_str("\n[stage.modes]\n");
            }
            for (path, ListedMode { is_folder, mode }) in &stage.modes {
                let slash = if *is_folder { "/" } else { "" };
                let _ = writeln!(text, "{} = {}", quoted(&format!("{path}{slash}")), quoted(mode));
            }
        }
        text
    }

    /// Returns the stages that are called `name`.
    pub fn named(&self, name: &StageName) -> impl Iterator<Item = &VendoredStage> {
        let first = self.stages.partition_point(|stage| stage.name < *name);
        self.stages[first..].iter().take_while(move |stage| stage.name == *name)
    }

    /// Returns the stage whose files are in `folder`.
    pub fn in_folder(&self, folder: &str) -> Option<&VendoredStage> {
        self.stages.iter().find(|stage| stage.folder == folder)
    }

    /// Adds a stage, in the place of the one in the same folder.
    pub fn insert(&mut self, new: VendoredStage) {
        let key = |stage: &VendoredStage| (stage.name.clone(), stage.folder.clone());
        match self.stages.binary_search_by_key(&key(&new), key) {
            Ok(position) => self.stages[position] = new,
            Err(position) => self.stages.insert(position, new),
        }
    }
}

/// Reads the modes of a stage's files and folders; the path of a folder ends in a slash.
fn listed_modes(
    input: &ManifestText,
    table: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<BTreeMap<String, ListedMode>, ManifestError> {
    let mut modes = BTreeMap::new();
    for (key, value) in table {
        let (span, written) = (key.span(), key.into_inner());
        let wrong = |reason: String| {
            let message = format!("`{}` lists a mode of `{written}` that cannot be: {reason}", input.file);
            input.error(span.clone(), message, "this entry").with_help(ANEW)
        };
        let is_folder = written.ends_with('/');
        let path = written.strip_suffix('/').unwrap_or(&written);
        path::check(path).map_err(wrong)?;
        let mode: Mode = value.get_ref().parse().map_err(|error: ModeError| wrong(error.to_string()))?;
        modes.insert(path.to_owned(), ListedMode { is_folder, mode });
    }
    Ok(modes)
}

/// Returns a folder for each of these stages: the first of a name has it, further ones its version, too.
pub fn folders<'a>(stages: impl IntoIterator<Item = (&'a StageName, &'a Version)>) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    for (name, version) in stages {
        let versioned = format!("{name}-{version}");
        let numbered = (2_u32..).map(|number| format!("{versioned}-{number}"));
        let mut tries = [name.to_string(), versioned.clone()].into_iter().chain(numbered);
        // On some file systems names that differ only in case are the same.
        let free = |folder: &String| folders.iter().all(|taken| !taken.eq_ignore_ascii_case(folder));
        folders.extend(tries.find(free));
    }
    folders
}

/// Returns whether a list may have this folder for the stage: one that [`folders`] could have given, and no way out.
fn fits(folder: &str, name: &StageName) -> bool {
    let plain = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte))
    };
    let rest = folder.strip_prefix(name.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(plain))
}

/// How the files of a vendored stage differ from the listed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A file has other bytes.
    Changed {
        /// Its path within the stage's folder.
        path: String,
        /// The digest in the list.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A file is missing.
    Missing(String),
    /// A file is there that is not listed.
    Added(String),
    /// All files are right but for who may execute them.
    Modes,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { path, .. } => write!(f, "`{path}` was changed"),
            Self::Missing(path) => write!(f, "`{path}` is missing"),
            Self::Added(path) => write!(f, "`{path}` was added"),
            Self::Modes => f.write_str("which of its files may be executed was changed"),
        }
    }
}

impl VendoredStage {
    /// Returns how files differ from the listed ones: the first difference by path.
    pub fn difference(&self, files: &BTreeMap<String, Digest>) -> Difference {
        let paths = self.files.keys().chain(files.keys()).collect::<std::collections::BTreeSet<_>>();
        for path in paths {
            match (self.files.get(path), files.get(path)) {
                (Some(expected), Some(found)) if expected != found => {
                    return Difference::Changed { path: path.clone(), expected: *expected, found: *found };
                }
                (Some(_), None) => return Difference::Missing(path.clone()),
                (None, Some(_)) => return Difference::Added(path.clone()),
                _ => {}
            }
        }
        Difference::Modes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> VendorList {
        let mut list = VendorList::default();
        for name in ["ro", "__init__", "kvm"] {
            list.insert(VendoredStage {
                name: name.parse().unwrap(),
                folder: name.to_owned(),
                version: Version::new(1, 2, 0),
                source: SourceId::bundled(),
                content: Digest::of(name.as_bytes()),
                files: BTreeMap::from([
                    ("a \"b\"\\c".to_owned(), Digest::of(b"a")),
                    ("d".to_owned(), Digest::of(b"d")),
                ]),
                modes: BTreeMap::new(),
            });
        }
        list
    }

    #[test]
    fn a_list_comes_back_as_it_was_written() {
        let text = list().to_text();
        assert_eq!(VendorList::parse("vendored.toml", &text).unwrap(), list());
        assert_eq!(VendorList::parse("x", &text).unwrap().to_text(), text);
        let names: Vec<_> = list().stages.iter().map(|stage| stage.name.to_string()).collect();
        assert_eq!(names, ["__init__", "kvm", "ro"]);
        assert_eq!(list().in_folder("kvm").unwrap().content, Digest::of(b"kvm"));
        assert!(!text.contains("folder ="), "a folder that is called like its stage is told:\n{text}");
    }

    #[test]
    fn modes_and_empty_folders_are_listed_where_there_are_some() {
        let mut list = list();
        assert!(list.to_text().contains("\nversion = 1\n"), "older pibs read what they can read");
        let mode = |bits, is_folder| ListedMode { mode: Mode::new(bits).unwrap(), is_folder };
        list.stages[1].modes =
            BTreeMap::from([("d".to_owned(), mode(0o600, false)), ("e/f".to_owned(), mode(0o755, true))]);
        let text = list.to_text();
        assert!(text.contains("\nversion = 2\n"), "{text}");
        assert!(text.contains("[stage.modes]\n\"d\" = \"0600\"\n\"e/f/\" = \"0755\"\n"), "{text}");
        assert_eq!(VendorList::parse("vendored.toml", &text).unwrap(), list);
    }

    #[test]
    fn several_stages_of_one_name_have_folders_of_their_own() {
        let name: StageName = "ro".parse().unwrap();
        let versions = ["1.2.0", "1.0.0-RC", "1.0.0-rc", "2.0.0", "2.0.0"].map(|text| text.parse().unwrap());
        let folders = folders(versions.iter().map(|version| (&name, version)));
        assert_eq!(folders, ["ro", "ro-1.0.0-RC", "ro-1.0.0-rc-2", "ro-2.0.0", "ro-2.0.0-2"]);
        let mut list = list();
        let (first, content) = (list.in_folder("ro").unwrap().clone(), Digest::of(b"other"));
        for (folder, version) in folders.into_iter().zip(versions).skip(1) {
            list.insert(VendoredStage { folder, version, content, ..first.clone() });
        }
        let text = list.to_text();
        assert!(text.contains("name = \"ro\"\nfolder = \"ro-2.0.0\"\nversion = \"2.0.0\"\n"), "{text}");
        let read = VendorList::parse("vendored.toml", &text).unwrap();
        assert_eq!(read, list);
        assert_eq!((read.named(&name).count(), read.named(&"kvm".parse().unwrap()).count()), (5, 1));
        assert_eq!(read.named(&"r".parse().unwrap()).count(), 0);
        list.insert(VendoredStage { content: Digest::of(b"new"), ..first });
        assert_eq!((list.stages.len(), list.in_folder("ro").unwrap().content), (7, Digest::of(b"new")));
    }

    #[test]
    fn what_is_no_list_is_refused_with_advice() {
        let text = list().to_text();
        let cases = [
            (text.replace("version = 1\n", "version = 3\n"), "version 3", "Update pib"),
            (format!("{text}\n[stage.modes]\n\"../x\" = \"0600\"\n"), "`..`", "pib vendor"),
            (format!("{text}\n[stage.modes]\n\"a\" = \"4755\"\n"), "set-user-id", "pib vendor"),
            (format!("<<<<<<< a\n{text}"), "merge conflict", "pib.lock first"),
            (text.replace("\"ro\"", "\"kvm\""), "`kvm` twice", "pib vendor"),
            (text.replace("\"ro\"", "\"../ro\""), "`../ro`", "pib vendor"),
            (text.replace("\"ro\"", "\"ro\"\nfolder = \"ro-/../../x\""), "no folder for stage", "pib vendor"),
            (text.replace("\"ro\"", "\"ro\"\nfolder = \"kvm\""), "no folder for stage `ro`", "pib vendor"),
            (text.replace("content =", "contents ="), "contents", "pib vendor"),
            ("x".to_owned(), "could not read", "pib vendor"),
        ];
        for (text, words, advice) in cases {
            let error = VendorList::parse("vendor/vendored.toml", &text).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.advice().unwrap().contains(advice), "{:?}", error.advice());
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let list = list();
        let stage = &list.stages[0];
        let with = |change: &dyn Fn(&mut BTreeMap<String, Digest>)| {
            let mut files = stage.files.clone();
            change(&mut files);
            stage.difference(&files)
        };
        let changed = with(&|files| {
            files.insert("d".to_owned(), Digest::of(b"e"));
        });
        let (expected, found) = (Digest::of(b"d"), Digest::of(b"e"));
        assert_eq!(changed, Difference::Changed { path: "d".to_owned(), expected, found });
        assert_eq!(
            with(&|files| {
                files.remove("d");
            })
            .to_string(),
            "`d` is missing"
        );
        assert_eq!(
            with(&|files| {
                files.insert("c".to_owned(), Digest::of(b""));
            })
            .to_string(),
            "`c` was added"
        );
        assert!(with(&|_| ()).to_string().contains("executed"));
    }
}
