//! What a variant of a product is, as its makefiles say.

use std::collections::{BTreeMap, BTreeSet};

use super::disk;
use super::tree::{Tree, plain_path};
use super::variant::Variant;
use crate::board;
use crate::id::{Arch, check_name};
use crate::layout::DiskFile;
use crate::makefile::{MakeCall, Makefile, words};
use crate::system;

/// How many stages a variant may list.
const MAX_STAGES: usize = 500;

/// What a variant is.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The product's name; empty where the tree has none that fits.
    pub(super) name: String,
    /// The operating system, as pib calls it.
    pub(super) os: String,
    /// The same, as the tree calls it.
    pub(super) given_os: String,
    pub(super) board: String,
    pub(super) arch: String,
    pub(super) hostname: Option<String>,
    pub(super) locale: String,
    pub(super) timezone: String,
    pub(super) mirror: Option<String>,
    /// The stages, in their order.
    pub(super) stages: Vec<String>,
    /// The partitions, where the tree has a disk file.
    pub(super) disk: Option<DiskFile>,
    /// The stages that were found: name and folder, in their order.
    pub(super) folders: Vec<(String, String)>,
    /// The folder of the tree that has pi-builder itself.
    pub(super) builder: Option<String>,
    /// All variables that stages might name.
    pub(super) candidates: BTreeMap<String, String>,
    /// Those that the engine is given.
    pub(super) build_args: BTreeSet<String>,
    /// Those that they do name.
    pub(super) variables: BTreeMap<String, String>,
    /// Those that look like secrets.
    pub(super) secrets: BTreeSet<String>,
}

/// The makefiles that decide a variant.
struct Sources {
    own: Makefile,
    /// What the product's makefile gives to pi-builder's.
    passed: BTreeMap<String, String>,
    builder: Option<Makefile>,
}

impl Sources {
    fn value(&mut self, name: &str) -> Option<String> {
        if let Some(passed) = self.passed.get(name) {
            return Some(passed.trim().to_owned());
        }
        let value =
            self.own.value(name).or_else(|| self.builder.as_mut().and_then(|makefile| makefile.value(name)));
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }
}

impl Settings {
    /// Reads what a variant is.
    pub(super) fn of(tree: &mut Tree<'_>, variant: &Variant) -> Self {
        let mut own = tree.makefile("", &variant.given, variant.goal.as_deref());
        let call = build_call(&mut own, variant.goal.as_deref());
        let builder_folder = call.folder.as_deref().and_then(plain_path);
        let passed = call.variables;
        let is_there =
            |tree: &mut Tree<'_>, folder: &String| tree.text(&format!("{folder}/Makefile")).is_some();
        let builder = match &builder_folder {
            Some(folder) if is_there(tree, folder) => Some(tree.makefile(folder, &passed, None)),
            _ => None,
        };
        let mut sources = Sources { own, passed, builder };
        let mut settings = Self { builder: builder_folder, ..Self::default() };
        settings.read_facts(tree, &mut sources);
        settings.read_candidates(&mut sources);
        settings.tell_rest(tree, &mut sources);
        // What this value is made of has no line of its own, and a note on it none either.
        settings.disk = sources.value("DISK").and_then(|given| {
            disk::read(tree, &given, settings.builder.as_deref(), (&settings.board, &settings.stages))
        });
        settings
    }

    /// Returns the names of the stages that were found, in their order.
    pub(super) fn order(&self) -> Vec<String> {
        self.folders.iter().map(|(name, _)| name.clone()).collect()
    }

    fn read_facts(&mut self, tree: &mut Tree<'_>, sources: &mut Sources) {
        let mut get = |name: &str| sources.value(name);
        self.name = get("PROJECT").map(|name| plain_name(&name)).unwrap_or_default();
        self.given_os = get("OS").unwrap_or_else(|| "arch".to_owned());
        // pi-builder's name of Raspberry Pi OS is a shorter one.
        let given = plain_name(&self.given_os);
        self.os = if given == "rpios" { "raspios".to_owned() } else { given };
        if check_name(&self.os).is_err() {
            self.os = "arch".to_owned();
        }
        self.board = plain_board(tree, get("BOARD"));
        self.arch = plain_arch(tree, &self.board, get("ARCH"));
        self.hostname = get("HOSTNAME").filter(|name| is_hostname(name));
        let is_setting = |text: &String| {
            let fine = |c: char| c.is_ascii_alphanumeric() || "_-+./@".contains(c);
            text.chars().all(fine) && !text.contains("..")
        };
        self.timezone = get("TIMEZONE").filter(is_setting).unwrap_or_else(|| "UTC".to_owned());
        let locale = get("LOCALE").filter(is_setting).unwrap_or_else(|| "en_US".to_owned());
        self.locale = if locale.contains('.') { locale } else { format!("{locale}.UTF-8") };
        let is_mirror = |url: &String| {
            (url.starts_with("http://") || url.starts_with("https://")) && !url.contains(char::is_whitespace)
        };
        // It is a mirror of Arch Linux ARM, and has packages of no other system.
        self.mirror = get("ARCH_DIST_REPO_URL").filter(is_mirror).filter(|_| self.os == "arch");
        for name in get("STAGES").unwrap_or_default().split_whitespace().take(MAX_STAGES) {
            match self.stages.iter().any(|known| known == name) {
                true => {
                    tree.leave_out(format!("stage {name}"), "it is listed twice, and comes once".to_owned())
                }
                false => self.stages.push(name.to_owned()),
            }
        }
    }

    /// Collects the variables that stages might name: the makefiles', and those that are given to the engine.
    fn read_candidates(&mut self, sources: &mut Sources) {
        let names: Vec<String> = sources.own.names().map(str::to_owned).collect();
        for name in names {
            if let Some(value) = sources.own.value(&name) {
                self.candidates.insert(name, value.trim().to_owned());
            }
        }
        let passed = sources.passed.clone();
        let options = sources.value("BUILD_OPTS").unwrap_or_default();
        self.candidates.extend(passed);
        let words = words(&options);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let given = match word.strip_prefix("--build-arg=") {
                Some(given) => Some(given),
                None if word == "--build-arg" => words.next().map(String::as_str),
                None => None,
            };
            if let Some((name, value)) = given.and_then(|given| given.split_once('=')) {
                self.candidates.insert(name.to_owned(), value.to_owned());
                self.build_args.insert(name.to_owned());
            }
        }
    }

    /// Tells what has no place in a manifest, or another one.
    fn tell_rest(&self, tree: &mut Tree<'_>, sources: &mut Sources) {
        tree.leave_out_notes("", &sources.own);
        if let (Some(folder), Some(makefile)) = (&self.builder, &sources.builder) {
            tree.leave_out_notes(folder, makefile);
        }
        if let Some(value) = sources.value("RPIOS_IMAGES_URL") {
            let shown = if value.contains('@') { String::new() } else { format!(" ({value})") };
            let why = "name the base by its digest: [base] url and digest in pib.toml";
            tree.leave_out(format!("RPIOS_IMAGES_URL{shown}"), why.to_owned());
        }
        let add = "add [base] with path or url, and digest, of the root file system's tarball to pib.toml";
        let why = match system::default_release(&self.os).is_some() {
            true => {
                format!(
                    "pib's own `__init__` makes one of {}: remove this one from [stages], or {add}",
                    self.os
                )
            }
            false => format!("pib does not make a base of {} itself: {add}", self.os),
        };
        tree.leave_out("the base".to_owned(), why);
    }
}

/// Returns the call of make by which a product has pi-builder build its system.
fn build_call(makefile: &mut Makefile, goal: Option<&str>) -> MakeCall {
    let targets: Vec<String> = makefile.targets().into_iter().map(str::to_owned).collect();
    let first = goal.into_iter().chain(["os", "all"]).map(str::to_owned);
    for target in first.chain(targets) {
        let calls = makefile.calls(&target).into_iter();
        let mut elsewhere =
            calls.filter(|call| call.folder.is_some() && call.variables.contains_key("STAGES"));
        if let Some(call) = elsewhere.next() {
            return call;
        }
    }
    MakeCall::default()
}

/// Returns a text as a name of pib's.
pub(super) fn plain_name(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(letter).take(64).collect();
    let name = name.trim_matches('-').to_owned();
    if check_name(&name).is_ok() { name } else { String::new() }
}

fn plain_board(tree: &mut Tree<'_>, given: Option<String>) -> String {
    let given = given.unwrap_or_else(|| "rpi4".to_owned());
    let name = if given == "rpi" { "rpi1" } else { given.as_str() };
    if let Ok(board) = board::find(name) {
        return board.name.to_owned();
    }
    tree.leave_out(
        format!("BOARD ({given})"),
        "pib does not know it, and takes rpi4: set board in pib.toml".to_owned(),
    );
    "rpi4".to_owned()
}

fn plain_arch(tree: &mut Tree<'_>, board: &str, given: Option<String>) -> String {
    let known = board::find(board).map(|board| board.archs.to_vec()).unwrap_or_default();
    let wanted = match given.as_deref() {
        Some("aarch64" | "arm64") => Arch::Arm64,
        _ if known.contains(&Arch::Armv7) => Arch::Armv7,
        _ => Arch::Armv6,
    };
    if known.contains(&wanted) {
        return wanted.to_string();
    }
    let instead = known.first().map(ToString::to_string).unwrap_or_default();
    let given = given.unwrap_or_else(|| "none".to_owned());
    tree.leave_out(format!("ARCH ({given})"), format!("{board} takes {instead}: see arch in pib.toml"));
    instead
}

fn is_hostname(text: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 64 && text.split('.').all(part) && text != "localhost" && !text.starts_with("localhost.")
}
