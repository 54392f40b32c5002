//! A stage's config: its schema is checked when the stage is read, a project's values against it later.

use std::collections::BTreeMap;
use std::fmt;

use crate::metadata::{ConfigKey, ConfigSchema, ConfigType, ConfigValue};
use crate::secret::{self, SecretSource};
use crate::size::ByteSize;
use crate::suggest;
use crate::variable::Variable;

/// What to do about a secret that is given in a wrong way.
const SECRET_HELP: &str =
    "Write { env = \"NAME\" }, { file = \"PATH\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }.";

/// A value that its schema has accepted, or the schema's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A string or one choice of an enum.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A list of texts without white space.
    List(Vec<String>),
    /// Files of the project, as written: names or globs. `single` when exactly one file is meant.
    Files {
        /// The names or globs, relative to the project's folder.
        patterns: Vec<String>,
        /// Whether exactly one file is meant.
        single: bool,
    },
    /// A number of bytes.
    Size(u64),
    /// A secret: where its value comes from.
    Secret(SecretSource),
}

/// A key that is unknown, missing or out of its schema's bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config key `{key}` of stage `{stage}` {what}")]
pub struct ConfigProblem {
    /// The stage.
    pub stage: String,
    /// The key.
    pub key: String,
    /// What is wrong, as the end of the sentence.
    pub what: String,
    /// What to do next.
    pub help: Option<String>,
}

/// Checks that a key's schema does not contradict itself.
///
/// # Errors
/// A sentence on what is wrong.
pub fn check_schema(key: &str, schema: &ConfigKey) -> Result<(), String> {
    if crate::id::check_name(key).is_err() {
        return Err("a key is made of a-z, 0-9 and `-`, and starts with a letter".to_owned());
    }
    if schema.help.chars().any(char::is_control) {
        return Err("its `help` has a line break or a control character".to_owned());
    }
    if schema.kind == ConfigType::Enum && schema.values.is_empty() {
        return Err("an enum needs `values`".to_owned());
    }
    if schema.kind != ConfigType::Enum && !schema.values.is_empty() {
        return Err("`values` is only for an enum".to_owned());
    }
    if let Some(value) = schema.values.iter().find(|value| one_line(value).is_err()) {
        return Err(format!("its value {value:?} has a line break or control character"));
    }
    if matches!((schema.min, schema.max), (Some(min), Some(max)) if min > max) {
        return Err("`min` is greater than `max`".to_owned());
    }
    let counted = [ConfigType::Integer, ConfigType::Size, ConfigType::List, ConfigType::Paths];
    if (schema.min.is_some() || schema.max.is_some()) && !counted.contains(&schema.kind) {
        return Err("`min` and `max` are only for integer, size, list and paths".to_owned());
    }
    if schema.kind == ConfigType::Secret && schema.default.is_some() {
        return Err("a secret has no default: everybody could read it".to_owned());
    }
    match &schema.default {
        Some(_) if schema.required => Err("a required key has no use for a default".to_owned()),
        Some(default) => judge(schema, default).map(drop).map_err(|what| format!("its default {what}")),
        None => Ok(()),
    }
}

/// Variables that decide how every command runs, so that an argument must not have their names.
const SHELLS_OWN: [&str; 10] =
    ["PATH", "HOME", "PWD", "OLDPWD", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "LD_PRELOAD"];
/// Arguments that engines give a meaning of their own.
const ENGINES_OWN: [&str; 14] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "SOURCE_DATE_EPOCH",
];

/// Returns the name of the `ARG` that a config key becomes.
pub fn arg_name(key: &str) -> String {
    key.to_uppercase().replace('-', "_")
}

/// Returns whether engines give an argument of this name a meaning of their own.
pub fn is_engines_own(arg: &str) -> bool {
    ENGINES_OWN.contains(&arg) || arg.starts_with("BUILDKIT_")
}

/// Checks that the `ARG` that a key becomes hides nothing that the part needs.
///
/// # Errors
/// A sentence on what it would hide.
pub fn check_arg(key: &str, schema: &ConfigKey, uses: &[Variable]) -> Result<(), String> {
    let arg = arg_name(key);
    // A secret is mounted, and no argument.
    if schema.kind == ConfigType::Secret {
        return Ok(());
    }
    if uses.iter().any(|variable| variable.arg() == arg) {
        return Err(format!(
            "it would be the argument {arg}, which is a project variable in `uses`: give the key another name, or take the variable out of `uses`"
        ));
    }
    if SHELLS_OWN.contains(&&*arg) || arg.starts_with("LD_") {
        return Err(format!(
            "it would be the argument {arg}, which decides how the part's commands run: give the key another name, `stage-{key}`"
        ));
    }
    if is_engines_own(&arg) {
        return Err(format!(
            "it would be the argument {arg}, which engines give a meaning of their own: give the key another name"
        ));
    }
    Ok(())
}

/// Returns the settings of a stage: the project's values where given, else the schema's defaults.
///
/// A key without a value and without a default is absent from the result, unless it is required.
///
/// # Errors
/// Every problem there is, in the order of the keys.
pub fn settle(
    stage: &str,
    schema: &ConfigSchema,
    values: &BTreeMap<String, ConfigValue>,
) -> Result<BTreeMap<String, Setting>, Vec<ConfigProblem>> {
    let mut settings = BTreeMap::new();
    let mut problems = Vec::new();
    let mut fail = |key: &str, what: String, help: Option<String>| {
        problems.push(ConfigProblem { stage: stage.to_owned(), key: key.to_owned(), what, help });
    };
    for key in values.keys().filter(|key| !schema.contains_key(*key)) {
        let help = match suggest::nearest(key, schema.keys().map(String::as_str)) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("The stage knows {}.", suggest::list(schema.keys().map(String::as_str))),
        };
        fail(key, "is unknown".to_owned(), Some(help));
    }
    for (key, entry) in schema {
        let help =
            (!entry.help.is_empty()).then(|| format!("`{key}`: {}.", entry.help.trim_end_matches('.')));
        match values.get(key).or(entry.default.as_ref()) {
            None if entry.required => fail(key, "is required and has no value".to_owned(), help),
            None => {}
            Some(value) => match judge(entry, value) {
                Ok(setting) => drop(settings.insert(key.clone(), setting)),
                Err(what) if entry.kind == ConfigType::Secret => {
                    let id = secret::id(stage, key);
                    fail(key, what, Some(format!("{SECRET_HELP} The part finds it under the id `{id}`.")));
                }
                Err(what) => fail(key, what, help),
            },
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn judge(schema: &ConfigKey, value: &ConfigValue) -> Result<Setting, String> {
    match (schema.kind, value) {
        (ConfigType::Boolean, ConfigValue::Boolean(value)) => Ok(Setting::Boolean(*value)),
        (ConfigType::Integer, ConfigValue::Integer(value)) => {
            within(schema, *value, |number| number.to_string())?;
            Ok(Setting::Integer(*value))
        }
        (ConfigType::String, ConfigValue::String(text)) => Ok(Setting::Text(one_line(text)?)),
        (ConfigType::Enum, ConfigValue::String(text)) => {
            let choices = || schema.values.iter().map(String::as_str);
            if choices().any(|choice| choice == text) {
                return one_line(text).map(Setting::Text);
            }
            let near = suggest::nearest(text, choices()).map(|near| format!(" (did you mean `{near}`?)"));
            Err(format!(
                "is `{text}`, expected {}{}",
                suggest::alternatives(choices()),
                near.unwrap_or_default()
            ))
        }
        (ConfigType::Size, ConfigValue::String(text)) => {
            let size: ByteSize = text.parse().map_err(|error| format!("is not a size: {error}"))?;
            let number = i64::try_from(size.0).map_err(|_| "is too large".to_owned())?;
            within(schema, number, |number| ByteSize(number.unsigned_abs()).to_string())?;
            Ok(Setting::Size(size.0))
        }
        (ConfigType::List, ConfigValue::List(items)) => {
            counted(schema, items.len(), "entries")?;
            let words = items.iter().map(|item| one_word(item)).collect::<Result<_, _>>()?;
            Ok(Setting::List(words))
        }
        (ConfigType::Path, ConfigValue::String(text)) => {
            Ok(Setting::Files { patterns: vec![pattern(text)?], single: true })
        }
        (ConfigType::Paths, ConfigValue::List(items)) => {
            // The bounds count files; how many files a glob stands for is known only when it is expanded,
            // but no pattern at all is too few already.
            if items.is_empty() && schema.min.is_some_and(|min| min > 0) {
                return Err("names no file, and the stage needs at least one".to_owned());
            }
            let patterns = items.iter().map(|item| pattern(item)).collect::<Result<_, _>>()?;
            Ok(Setting::Files { patterns, single: false })
        }
        (ConfigType::Secret, value) => SecretSource::from_value(value).map(Setting::Secret),
        // A person who means one entry writes it without brackets.
        (ConfigType::List | ConfigType::Paths, ConfigValue::String(text)) => {
            judge(schema, &ConfigValue::List(vec![text.clone()]))
        }
        (kind, other) => Err(format!("is {}, expected {}", Found(other), Expected(kind))),
    }
}

fn within(schema: &ConfigKey, number: i64, show: impl Fn(i64) -> String) -> Result<(), String> {
    match (schema.min, schema.max) {
        (Some(min), _) if number < min => {
            Err(format!("is {}, below the least of {}", show(number), show(min)))
        }
        (_, Some(max)) if number > max => {
            Err(format!("is {}, above the greatest of {}", show(number), show(max)))
        }
        _ => Ok(()),
    }
}

/// Checks the number of files or entries against the schema's bounds; `unit` names what is counted.
///
/// # Errors
/// A sentence's end that says what was found and expected.
pub fn counted(schema: &ConfigKey, count: usize, unit: &str) -> Result<(), String> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    match (schema.min, schema.max) {
        (Some(min), _) if count < min => {
            Err(format!("has {count} {unit}, and the stage needs at least {min}"))
        }
        (_, Some(max)) if count > max => {
            Err(format!("has {count} {unit}, and the stage takes at most {max}"))
        }
        _ => Ok(()),
    }
}

fn one_line(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("has a line break or control character, which an ARG cannot carry".to_owned());
    }
    Ok(text.to_owned())
}

fn one_word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("has the entry {text:?}; entries are not empty and have no white space"));
    }
    Ok(text.to_owned())
}

fn pattern(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("names an empty path".to_owned());
    }
    Ok(text.to_owned())
}

struct Found<'a>(&'a ConfigValue);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ConfigValue::Boolean(value) => write!(f, "the boolean `{value}`"),
            ConfigValue::Integer(value) => write!(f, "the integer `{value}`"),
            ConfigValue::String(value) => write!(f, "the string {value:?}"),
            ConfigValue::List(_) => f.write_str("a list"),
            ConfigValue::Table(_) => f.write_str("a table"),
        }
    }
}

struct Expected(ConfigType);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ConfigType::String => "a string",
            ConfigType::Integer => "an integer",
            ConfigType::Boolean => "`true` or `false`",
            ConfigType::Enum => "one of its values, as a string",
            ConfigType::List => "a list of strings",
            ConfigType::Path => "the path of a file, as a string",
            ConfigType::Paths => "a list of paths or globs",
            ConfigType::Size => "a size such as \"64MiB\"",
            ConfigType::Secret => "where the secret comes from",
        })
    }
}

/// Reads a value as a command line gives it (`KEY=VALUE`), by the type that the schema asks for.
///
/// # Errors
/// A sentence's end that says why the text does not fit the type.
pub fn from_command_line(schema: &ConfigKey, text: &str) -> Result<ConfigValue, String> {
    let value = match schema.kind {
        ConfigType::Boolean => match text {
            "true" => ConfigValue::Boolean(true),
            "false" => ConfigValue::Boolean(false),
            _ => ConfigValue::String(text.to_owned()),
        },
        ConfigType::Integer => match text.parse() {
            Ok(number) => ConfigValue::Integer(number),
            Err(_) => ConfigValue::String(text.to_owned()),
        },
        ConfigType::List | ConfigType::Paths if text.starts_with(['[', '"', '\'']) => {
            return Err("is a list, and is written with commas and without quotes here: a,b".to_owned());
        }
        ConfigType::List | ConfigType::Paths => {
            ConfigValue::List(text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        ConfigType::String | ConfigType::Enum | ConfigType::Path | ConfigType::Size => {
            ConfigValue::String(text.to_owned())
        }
        ConfigType::Secret => SecretSource::from_command_line(text)?.to_value(),
    };
    judge(schema, &value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> ConfigSchema {
        toml::from_str(text).unwrap()
    }

    fn values(text: &str) -> BTreeMap<String, ConfigValue> {
        toml::from_str(text).unwrap()
    }

    fn problem(schema_text: &str, given: &str) -> String {
        let problems = settle("s", &schema(schema_text), &values(given)).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn defaults_and_values_are_settled() {
        let schema = schema(
            "a = { type = 'integer', default = 3 }\nb = { type = 'size' }\nc = { type = 'list', default = [] }",
        );
        let settings = settle("s", &schema, &values("b = '2KiB'")).unwrap();
        assert_eq!(settings["a"], Setting::Integer(3));
        assert_eq!(settings["b"], Setting::Size(2048));
        assert_eq!(settings["c"], Setting::List(vec![]));
        assert!(!settle("s", &schema, &values("")).unwrap().contains_key("b"));
    }

    #[test]
    fn every_problem_is_told() {
        let text =
            "timeout = { type = 'integer', min = 1, max = 15 }\nkey = { type = 'paths', required = true }";
        let problem = problem(text, "timeout = 99\ntimeuot = 1");
        assert!(problem.contains("`timeuot` of stage `s` is unknown"), "{problem}");
        assert!(problem.contains("is 99, above the greatest of 15"), "{problem}");
        assert!(problem.contains("`key` of stage `s` is required"), "{problem}");
    }

    #[test]
    fn wrong_types_say_what_was_expected() {
        assert!(problem("a = { type = 'boolean' }", "a = 'yes'").contains("expected `true` or `false`"));
        assert!(
            problem("a = { type = 'enum', values = ['x', 'yy'] }", "a = 'yyy'").contains("did you mean `yy`")
        );
        assert!(problem("a = { type = 'list' }", "a = ['b c']").contains("white space"));
        assert!(problem("a = { type = 'string' }", "a = \"b\\nc\"").contains("line break"));
        assert!(problem("a = { type = 'paths', min = 1 }", "a = []").contains("at least one"));
    }

    #[test]
    fn a_secret_is_settled_to_its_source_and_never_told() {
        let text = "pass = { type = 'secret', required = true }";
        let settings = settle("net", &schema(text), &values("pass = { env = 'WIFI' }")).unwrap();
        assert_eq!(settings["pass"], Setting::Secret(SecretSource::Env("WIFI".to_owned())));
        let problems = settle("net", &schema(text), &values("pass = 'hunter22'")).unwrap_err();
        let told = format!("{problems:?}");
        assert!(told.contains("must not stand in a manifest") && told.contains("net.pass"), "{told}");
        assert!(!told.contains("hunter22"), "{told}");
    }

    #[test]
    fn contradictions_in_a_schema_are_found() {
        let check = |text: &str| check_schema("k", &toml::from_str::<ConfigKey>(text).unwrap());
        assert!(check("type = 'enum'").is_err());
        assert!(check("type = 'integer'\nmin = 2\nmax = 1").is_err());
        assert!(check("type = 'integer'\nmin = 2\ndefault = 1").is_err());
        assert!(check("type = 'string'\nmin = 2").is_err());
        assert!(check("type = 'integer'\nmin = 2\ndefault = 3").is_ok());
        assert!(check("type = 'secret'\nrequired = true").is_ok());
        assert!(check("type = 'enum'\nvalues = [\"x\\nRUN true\"]").is_err());
        assert!(check("type = 'secret'\ndefault = { env = 'X' }").is_err());
        assert!(check("type = 'secret'\nmin = 1").is_err());
    }

    #[test]
    fn command_line_values_take_the_schemas_type() {
        let key = |text: &str| toml::from_str::<ConfigKey>(text).unwrap();
        assert_eq!(from_command_line(&key("type = 'integer'"), "7"), Ok(ConfigValue::Integer(7)));
        assert!(from_command_line(&key("type = 'integer'"), "x").is_err());
        let paths = from_command_line(&key("type = 'paths'"), "a,b");
        assert_eq!(paths, Ok(ConfigValue::List(vec!["a".into(), "b".into()])));
    }
}
