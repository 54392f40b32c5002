//! Edits of `pib.toml` that keep comments, order and layout.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::id::StageName;
use crate::index::{GitReference, GitSource};
use crate::metadata::ConfigValue;

/// The keys that say where a stage comes from.
const SOURCE_KEYS: [&str; 7] = ["version", "registry", "git", "branch", "tag", "rev", "path"];

/// A stage as `pib add` writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStage {
    /// The name.
    pub name: StageName,
    /// The version requirement, or
    pub version: Option<String>,
    /// the registry's name in `[registries]`, beside the version, or
    pub registry: Option<String>,
    /// the folder, or
    pub path: Option<String>,
    /// the git repository and what to take of it.
    pub git: Option<GitSource>,
    /// Values for config keys.
    pub config: Vec<(String, ConfigValue)>,
}

impl NewStage {
    /// Returns a stage of which nothing is said yet: as it stands, only its config would change.
    pub fn new(name: StageName) -> Self {
        Self { name, version: None, registry: None, path: None, git: None, config: Vec::new() }
    }
}

/// Says that the text cannot be edited.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EditError {
    /// The text is not TOML.
    #[error("the manifest is not valid TOML: {0}")]
    Syntax(String),
    /// A table that must be edited is something else.
    #[error("`{0}` is not a table")]
    NotATable(String),
}

/// Returns `text` with the stage added to the project or to one of its targets, or changed where it stands already.
///
/// An entry that exists keeps its config; keys given anew replace theirs.
///
/// # Errors
/// When the text is not TOML or `stages` is no table.
pub fn add_stage(text: &str, target: Option<&str>, stage: &NewStage) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(syntax)?;
    let stages = stages_table(&mut document, target)?;
    let name = stage.name.as_str();
    if let Some(table) = stages.get_mut(name).and_then(Item::as_table_mut) {
        change_table(table, stage)?;
        return Ok(written(&document, text));
    }
    let earlier = stages.get(name).cloned();
    let mut entry = earlier.as_ref().and_then(as_inline).unwrap_or_default();
    let source = source_keys(stage);
    if !source.is_empty() {
        for key in SOURCE_KEYS {
            entry.remove(key);
        }
    }
    let mut fresh = InlineTable::new();
    for (key, text) in source {
        fresh.insert(key, Value::from(text));
    }
    for (key, value) in entry.iter() {
        fresh.insert(key, value.clone());
    }
    add_config(&mut fresh, &stage.config)?;
    let plain = fresh.len() == 1 && fresh.contains_key("version");
    let mut value = match fresh.get("version") {
        Some(version) if plain => version.clone(),
        _ => {
            fresh.fmt();
            Value::InlineTable(fresh)
        }
    };
    if let Some(Item::Value(earlier)) = &earlier {
        *value.decor_mut() = earlier.decor().clone();
    }
    match stages.get_mut(name) {
        Some(item) => *item = Item::Value(value),
        None => drop(stages.insert(name, Item::Value(value))),
    }
    Ok(written(&document, text))
}

/// Changes a stage that has a table of its own, `[stages.NAME]` or dotted keys. What is not given stays as it is written.
fn change_table(table: &mut Table, stage: &NewStage) -> Result<(), EditError> {
    let source = source_keys(stage);
    if !source.is_empty() {
        for key in SOURCE_KEYS.into_iter().filter(|key| source.iter().all(|(given, _)| given != key)) {
            table.remove(key);
        }
    }
    for (key, text) in source {
        set(table, key, text.into());
    }
    if stage.config.is_empty() {
        return Ok(());
    }
    let mut empty = Table::new();
    empty.set_dotted(table.is_dotted());
    let config = table.entry("config").or_insert(Item::Table(empty));
    let is_inline = config.is_inline_table();
    let config = config.as_table_like_mut().ok_or_else(|| EditError::NotATable("config".to_owned()))?;
    for (key, value) in &stage.config {
        set(config, key, to_value(value));
    }
    if is_inline {
        config.fmt();
    }
    Ok(())
}

/// Sets a value; a comment beside an earlier one stays.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(earlier)) => {
            *value.decor_mut() = earlier.decor().clone();
            *earlier = value;
        }
        _ => drop(table.insert(key, Item::Value(value))),
    }
}

/// Returns the keys that say where a stage comes from; none where only its config is given.
fn source_keys(stage: &NewStage) -> Vec<(&'static str, &str)> {
    let mut keys = Vec::new();
    if let Some(git) = &stage.git {
        keys.push(("git", git.url()));
        match git.reference() {
            GitReference::Default => {}
            GitReference::Branch(text) => keys.push(("branch", text)),
            GitReference::Tag(text) => keys.push(("tag", text)),
            GitReference::Rev(text) => keys.push(("rev", text)),
        }
        keys.extend(git.path().map(|path| ("path", path)));
        return keys;
    }
    let plain = [("version", &stage.version), ("registry", &stage.registry), ("path", &stage.path)];
    keys.extend(plain.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?))));
    keys
}

/// Returns `text` without the entry of the stage in the project's or the target's table, and whether it was there.
///
/// # Errors
/// When the text is not TOML or `stages` is no table.
pub fn remove_stage(text: &str, target: Option<&str>, name: &StageName) -> Result<(String, bool), EditError> {
    let mut document: DocumentMut = text.parse().map_err(syntax)?;
    let removed = stages_table(&mut document, target)?.remove(name.as_str()).is_some();
    Ok((written(&document, text), removed))
}

/// Returns `text` with the target leaving out a stage that the project has.
///
/// # Errors
/// When the text is not TOML or `stages` is no table.
pub fn leave_out_stage(text: &str, target: &str, name: &StageName) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(syntax)?;
    let stages = stages_table(&mut document, Some(target))?;
    match stages.get_mut(name.as_str()) {
        Some(item) => {
            let decor = item.as_value().map(|earlier| earlier.decor().clone());
            let mut value = Value::from(false);
            *value.decor_mut() = decor.unwrap_or_default();
            *item = Item::Value(value);
        }
        None => drop(stages.insert(name.as_str(), toml_edit::value(false))),
    }
    Ok(written(&document, text))
}

/// Returns `text` with `path` as the folder of vendored stages.
///
/// # Errors
/// When the text is not TOML or `vendor` is no table.
pub fn set_vendor(text: &str, path: &str) -> Result<String, EditError> {
    set_text(text, "vendor", "path", path)
}

/// Returns `text` with `path` as the place of a store.
///
/// # Errors
/// When the text is not TOML or `stores` is no table.
pub fn set_store(text: &str, name: &str, path: &str) -> Result<String, EditError> {
    set_text(text, "stores", name, path)
}

/// Returns `text` with a string in a table.
fn set_text(text: &str, table: &str, key: &str, value: &str) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(syntax)?;
    let item = document.entry(table).or_insert_with(|| Item::Table(Table::new()));
    let table = item.as_table_like_mut().ok_or_else(|| EditError::NotATable(table.to_owned()))?;
    match table.get_mut(key) {
        Some(Item::Value(old)) if old.as_str() == Some(value) => {}
        _ => set(table, key, value.into()),
    }
    Ok(written(&document, text))
}

/// Returns the text of an edited document, with the line ends and the byte order mark that `old` has.
///
/// The document's own text has plain line breaks only. What the edit did not touch stays as it was also where a file
/// mixes both kinds: the lines before and after the edited ones are the same, counted from either end.
pub(super) fn written(document: &DocumentMut, old: &str) -> String {
    const MARK: char = '\u{feff}';
    let new = document.to_string();
    let mut text = String::with_capacity(new.len() + new.len() / 16);
    if old.starts_with(MARK) && !new.starts_with(MARK) {
        text.push(MARK);
    }
    if !old.contains("\r\n") {
        text.push_str(&new);
        return text;
    }
    // A last line may have no end at all.
    let lines = |text: &'_ str| -> Vec<(String, Option<bool>)> {
        let whole = text.trim_start_matches(MARK).split_inclusive('\n');
        let bare = whole.map(|line| {
            let end = line.ends_with('\n').then(|| line.ends_with("\r\n"));
            (line.trim_end_matches(['\r', '\n']).to_owned(), end)
        });
        bare.collect()
    };
    let (before, after) = (lines(old), lines(&new));
    let same = |(one, other): &(&(String, _), &(String, _))| one.0 == other.0;
    let head = before.iter().zip(&after).take_while(same).count();
    let most = before.len().min(after.len()) - head;
    let tail = before.iter().rev().zip(after.iter().rev()).take(most).take_while(same).count();
    let mostly = before.iter().filter(|(_, end)| *end == Some(true)).count() * 2 >= before.len();
    for (number, (line, _)) in after.iter().enumerate() {
        let from_end = after.len() - number;
        let end = if number < head {
            before[number].1
        } else if from_end <= tail {
            before[before.len() - from_end].1
        } else {
            None
        };
        text.push_str(line);
        if from_end > 1 || new.ends_with('\n') {
            text.push_str(if end.unwrap_or(mostly) { "\r\n" } else { "\n" });
        }
    }
    text
}

pub(super) fn syntax(error: toml_edit::TomlError) -> EditError {
    EditError::Syntax(error.message().to_owned())
}

/// Returns the table of the project's stages, or of what the target has other than the project.
fn stages_table<'a>(
    document: &'a mut DocumentMut,
    target: Option<&str>,
) -> Result<&'a mut dyn TableLike, EditError> {
    let mut item = document.as_item_mut();
    if let Some(target) = target {
        item = child(child(item, "target")?, target)?;
    }
    let stages = child(item, "stages")?;
    stages.as_table_like_mut().ok_or_else(|| EditError::NotATable("stages".to_owned()))
}

/// Returns what is at `key` of a table; where nothing is, a table is made, written in the way of the one around it.
fn child<'a>(item: &'a mut Item, key: &str) -> Result<&'a mut Item, EditError> {
    let fail = || EditError::NotATable(key.to_owned());
    let empty = match item.is_inline_table() {
        true => Item::Value(Value::InlineTable(InlineTable::new())),
        false => Item::Table(Table::new()),
    };
    let table = item.as_table_like_mut().ok_or_else(fail)?;
    if !table.contains_key(key) {
        let inline = empty.is_inline_table();
        table.insert(key, empty);
        if inline {
            // The space that stood behind the last entry would stand before a comma.
            table.fmt();
        }
    }
    table.get_mut(key).ok_or_else(fail)
}

fn as_inline(item: &Item) -> Option<InlineTable> {
    match item {
        Item::Value(Value::InlineTable(table)) => Some(table.clone()),
        Item::Value(version @ Value::String(_)) => {
            let mut table = InlineTable::new();
            let mut version = version.clone();
            version.decor_mut().clear();
            table.insert("version", version);
            Some(table)
        }
        _ => None,
    }
}

fn add_config(entry: &mut InlineTable, config: &[(String, ConfigValue)]) -> Result<(), EditError> {
    if config.is_empty() {
        return Ok(());
    }
    let table = entry.entry("config").or_insert_with(|| Value::InlineTable(InlineTable::new()));
    let table = table.as_inline_table_mut().ok_or_else(|| EditError::NotATable("config".to_owned()))?;
    for (key, value) in config {
        table.insert(key, to_value(value));
    }
    table.fmt();
    Ok(())
}

fn to_value(value: &ConfigValue) -> Value {
    match value {
        ConfigValue::Boolean(value) => (*value).into(),
        ConfigValue::Integer(value) => (*value).into(),
        ConfigValue::String(value) => value.as_str().into(),
        ConfigValue::List(values) => Value::Array(values.iter().map(String::as_str).collect::<Array>()),
        ConfigValue::Table(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.as_str(), to_value(value)));
            Value::InlineTable(entries.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# head\n[stages]\nos = \"1\"  # the system\n\n# tail\n[image]\ncompress = \"none\"\n";

    fn stage(name: &str, version: Option<&str>) -> NewStage {
        NewStage { version: version.map(str::to_owned), ..NewStage::new(name.parse().unwrap()) }
    }

    #[test]
    fn adding_keeps_comments_and_order() {
        let text = add_stage(TEXT, None, &stage("ro", Some("1"))).unwrap();
        let expected = TEXT.replace("# the system\n", "# the system\nro = \"1\"\n");
        assert_eq!(text, expected);
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_stay() {
        let ro = stage("ro", Some("1"));
        let windows = TEXT.replace('\n', "\r\n");
        let added = add_stage(&windows, None, &ro).unwrap();
        assert_eq!(added, add_stage(TEXT, None, &ro).unwrap().replace('\n', "\r\n"));
        assert_eq!(remove_stage(&added, None, &ro.name).unwrap(), (windows.clone(), true));
        let vendored = set_vendor(&windows, "vendor").unwrap();
        assert_eq!(vendored.matches('\n').count(), vendored.matches("\r\n").count());
        let left_out = leave_out_stage(&windows, "kiosk", &ro.name).unwrap();
        assert_eq!(left_out.matches('\n').count(), left_out.matches("\r\n").count());
        // A file with both kinds keeps each line's own, and one without an end keeps having none.
        let mixed = TEXT.replacen('\n', "\r\n", 2);
        let added = add_stage(&mixed, None, &ro).unwrap();
        assert_eq!(added.replace("ro = \"1\"\r\n", "").replace("ro = \"1\"\n", ""), mixed);
        let marked = format!("\u{feff}{windows}");
        assert!(add_stage(&marked, None, &ro).unwrap().starts_with("\u{feff}# head\r\n[stages]\r\n"));
        let open = "[stages]\r\nos = \"1\"";
        assert_eq!(add_stage(open, None, &ro).unwrap(), "[stages]\r\nos = \"1\"\r\nro = \"1\"\r\n");
    }

    #[test]
    fn config_turns_the_entry_into_a_table_and_is_merged() {
        let mut new = stage("os", None);
        new.config = vec![("packages".into(), ConfigValue::List(vec!["vim".into()]))];
        let text = add_stage(TEXT, None, &new).unwrap();
        assert!(
            text.contains("os = { version = \"1\", config = { packages = [\"vim\"] } }  # the system"),
            "{text}"
        );
        new.config = vec![("wifi".into(), ConfigValue::Boolean(true))];
        let text = add_stage(&text, None, &new).unwrap();
        assert!(text.contains("config = { packages = [\"vim\"], wifi = true } }"), "{text}");
    }

    #[test]
    fn a_stage_with_a_table_of_its_own_keeps_its_comments() {
        let text = "[stages.os] # the system\n# why\nversion = \"1\" # old\n\n[stages.os.config]\n# all\npackages = [ # these\n  \"vim\",\n]\n";
        let mut new = stage("os", Some("2"));
        new.config = vec![("wifi".into(), ConfigValue::Boolean(true))];
        let changed = add_stage(text, None, &new).unwrap();
        assert_eq!(changed, format!("{}wifi = true\n", text.replace("\"1\"", "\"2\"")));
        new.config.clear();
        (new.version, new.path) = (None, Some("../os".into()));
        let moved = add_stage(text, None, &new).unwrap();
        assert!(moved.contains("path = \"../os\"") && !moved.contains("version"), "{moved}");
        assert!(moved.contains("# these"), "{moved}");
        let config = "[stages.os]\nversion = \"1\"\n";
        new.path = None;
        new.config = vec![("wifi".into(), ConfigValue::Boolean(true))];
        let added = add_stage(config, None, &new).unwrap();
        assert_eq!(added, format!("{config}\n[stages.os.config]\nwifi = true\n"));
    }

    #[test]
    fn a_path_replaces_a_version() {
        let mut new = stage("os", None);
        new.path = Some("../os".into());
        let text = add_stage(TEXT, None, &new).unwrap();
        assert!(text.contains("os = { path = \"../os\" }"), "{text}");
    }

    #[test]
    fn a_repository_replaces_what_was_there() {
        let mut new = stage("os", None);
        new.path = Some("../os".into());
        let text = add_stage(TEXT, None, &new).unwrap();
        let git = |reference, path| GitSource::new("https://example.org/os.git", reference, path).unwrap();
        new.path = None;
        new.git = Some(git(GitReference::Tag("v1".into()), Some("stages/os")));
        let text = add_stage(&text, None, &new).unwrap();
        let url = "git = \"https://example.org/os.git\"";
        assert!(text.contains(&format!("os = {{ {url}, tag = \"v1\", path = \"stages/os\" }}")), "{text}");
        new.git = Some(git(GitReference::Default, None));
        let text = add_stage(&text, None, &new).unwrap();
        assert!(text.contains(&format!("os = {{ {url} }}")), "{text}");
    }

    #[test]
    fn a_target_has_a_table_of_its_own() {
        let ro = stage("ro", Some("1"));
        let add = |text: &str, stage: &NewStage| {
            let text = add_stage(text, Some("kiosk"), stage).unwrap();
            assert!(text.parse::<DocumentMut>().is_ok(), "{text}");
            text
        };
        // It is made where it is missing, behind what the target says already.
        let plain = format!("{TEXT}\n[target.kiosk]\nhostname = \"kiosk\"\n\n[target.spare]\n");
        let made = "hostname = \"kiosk\"\n\n[target.kiosk.stages]\nro = \"1\"\n\n[target.spare]\n";
        let text = add(&plain, &ro);
        assert_eq!(text, plain.replace("hostname = \"kiosk\"\n\n[target.spare]\n", made));
        assert_eq!(
            remove_stage(&text, Some("kiosk"), &ro.name).unwrap(),
            (text.replace("ro = \"1\"\n", ""), true)
        );
        assert_eq!(remove_stage(&text, None, &ro.name).unwrap(), (text, false));
        // Config that is written with dots is kept, and so is the comment of a stage that was left out.
        let dotted = format!("{TEXT}\n[target.kiosk.stages]\nro = false  # no\nos.config.vim = true\n");
        let mut config = stage("os", None);
        config.config = vec![("wifi".into(), ConfigValue::Boolean(false))];
        let text = add(&add(&dotted, &ro), &config);
        let stages = "ro = \"1\"  # no\nos.config.vim = true\nos.config.wifi = false\n";
        assert!(text.ends_with(&format!("[target.kiosk.stages]\n{stages}")), "{text}");
        // Tables on one line stay so.
        let inline = "target = { kiosk = { hostname = \"x\" } }\n";
        assert_eq!(add(inline, &ro), "target = { kiosk = { hostname = \"x\", stages = { ro = \"1\" } } }\n");
        let keys = "[target]\nkiosk.hostname = \"x\"\n";
        assert_eq!(add(keys, &ro), format!("{keys}\n[target.kiosk.stages]\nro = \"1\"\n"));
        assert!(add_stage("target = 1\n", Some("kiosk"), &ro).is_err());
        assert!(add_stage("[target]\nkiosk = 1\n", Some("kiosk"), &ro).is_err());
    }

    #[test]
    fn a_target_leaves_out_what_the_project_has() {
        let text = format!("{TEXT}\n[target.kiosk.stages]\nos = \"2\"  # newer\n");
        let os = "os".parse().unwrap();
        let out = leave_out_stage(&text, "kiosk", &os).unwrap();
        assert_eq!(out, text.replace("\"2\"  # newer", "false  # newer"));
        assert_eq!(leave_out_stage(&out, "kiosk", &os).unwrap(), out);
        let dotted = format!("{TEXT}\n[target.kiosk.stages]\nos.config.vim = true\n");
        let out = leave_out_stage(&dotted, "kiosk", &os).unwrap();
        assert_eq!(out, dotted.replace("os.config.vim = true", "os = false"));
        let out = leave_out_stage(&format!("{TEXT}\n[target.kiosk]\n"), "kiosk", &os).unwrap();
        assert!(out.ends_with("\n[target.kiosk]\n\n[target.kiosk.stages]\nos = false\n"), "{out}");
    }

    #[test]
    fn the_folder_of_vendored_stages_is_set_once() {
        let text = set_vendor(TEXT, "vendor").unwrap();
        assert_eq!(text, format!("{TEXT}\n[vendor]\npath = \"vendor\"\n"));
        assert_eq!(set_vendor(&text, "vendor").unwrap(), text);
        let commented = text.replace("\"vendor\"\n", "\"vendor\"  # all of them\n");
        let moved = set_vendor(&commented, "third-party").unwrap();
        assert!(moved.ends_with("path = \"third-party\"  # all of them\n"), "{moved}");
        assert!(set_vendor("vendor = 1\n", "vendor").is_err());
        let store = set_store(TEXT, "vendored", "packages").unwrap();
        assert!(store.ends_with("[stores]\nvendored = \"packages\"\n"), "{store}");
        assert_eq!(set_store(&store, "vendored", "packages").unwrap(), store);
    }

    #[test]
    fn a_missing_table_is_made_and_stages_are_removed() {
        let text = add_stage("[project]\nname = \"x\"\n", None, &stage("ro", Some("1"))).unwrap();
        assert_eq!(text, "[project]\nname = \"x\"\n\n[stages]\nro = \"1\"\n");
        let (text, removed) = remove_stage(TEXT, None, &"os".parse().unwrap()).unwrap();
        assert!(removed && !text.contains("os ="));
        assert!(!remove_stage(&text, None, &"os".parse().unwrap()).unwrap().1);
    }
}
