//! Reads `[[test]]` of `stage.toml`.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, ManifestText};
use crate::device_test::{DEFAULT_TIMEOUT, DeviceTest, MAX_COMMAND, MAX_NAME, MAX_TESTS, MAX_TIMEOUT};

/// A table of `[[test]]`, as it is written.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TestTable {
    #[cfg_attr(test, schemars(with = "String"))]
    name: Spanned<String>,
    #[cfg_attr(test, schemars(with = "String"))]
    command: Spanned<String>,
    #[serde(default)]
    exit: u8,
    stdout: Option<String>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    stdout_contains: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<u64>"))]
    timeout: Option<Spanned<u64>>,
    #[serde(default)]
    after_reboot: bool,
}

/// Checks the tests of a stage.
///
/// # Errors
/// When a name is empty, too long or there twice, a command is empty or too long, or a time is out of bounds.
pub(super) fn read(
    source: &ManifestText,
    tables: Vec<Spanned<TestTable>>,
) -> Result<Vec<DeviceTest>, ManifestError> {
    if let Some(excess) = tables.get(MAX_TESTS) {
        let message = format!("`{}` has more than {MAX_TESTS} tests", source.file);
        return Err(source.error(excess.span(), message, "the first of those that are too many"));
    }
    let mut tests: Vec<DeviceTest> = Vec::with_capacity(tables.len());
    for table in tables {
        let test = checked(source, table.into_inner(), &tests)?;
        tests.push(test);
    }
    Ok(tests)
}

fn checked(
    source: &ManifestText,
    table: TestTable,
    earlier: &[DeviceTest],
) -> Result<DeviceTest, ManifestError> {
    let TestTable { name, command, exit, stdout, stdout_contains, timeout, after_reboot } = table;
    let file = &source.file;
    let shown = name.get_ref();
    if shown.trim().is_empty() || shown.chars().count() > MAX_NAME || shown.chars().any(char::is_control) {
        let message = format!("[[test]] in `{file}`: a name is a line of 1 to {MAX_NAME} characters");
        return Err(source.error(name.span(), message, "this name"));
    }
    if earlier.iter().any(|test| test.name == *shown) {
        let message = format!("[[test]] in `{file}`: two tests are called `{shown}`");
        return Err(source
            .error(name.span(), message, "the second")
            .with_help("Give each test its own name."));
    }
    let text = command.get_ref();
    if text.trim().is_empty() || text.len() > MAX_COMMAND || text.contains('\0') {
        let message = format!(
            "[[test]] in `{file}`, `{shown}`: a command has 1 to {MAX_COMMAND} bytes, none of them NUL"
        );
        return Err(source.error(command.span(), message, "this command"));
    }
    if let Some(part) = stdout_contains.as_ref().filter(|part| part.get_ref().is_empty()) {
        let message = format!("[[test]] in `{file}`, `{shown}`: every output contains an empty text");
        let help = "Write stdout = \"\" to have the command print nothing.";
        return Err(source.error(part.span(), message, "this text").with_help(help));
    }
    let limit = match timeout {
        None => DEFAULT_TIMEOUT,
        Some(seconds) if (1..=MAX_TIMEOUT.as_secs()).contains(seconds.get_ref()) => {
            Duration::from_secs(seconds.into_inner())
        }
        Some(seconds) => {
            let most = MAX_TIMEOUT.as_secs();
            let message = format!("[[test]] in `{file}`, `{shown}`: a timeout has 1 to {most} seconds");
            return Err(source.error(seconds.span(), message, "this timeout"));
        }
    };
    Ok(DeviceTest {
        name: name.into_inner(),
        command: command.into_inner(),
        exit,
        stdout,
        stdout_contains: stdout_contains.map(Spanned::into_inner),
        timeout: limit,
        after_reboot,
    })
}

#[cfg(test)]
mod tests {
    use crate::manifest::stage::StageManifest;

    const STAGE: &str = "[stage]\nname = \"x\"\nversion = \"1.0.0\"\n";

    fn read(tests: &str) -> Result<StageManifest, super::ManifestError> {
        StageManifest::parse("stage.toml", &format!("{STAGE}{tests}"))
    }

    #[test]
    fn tests_are_read_with_what_they_do_not_say() {
        let text = "[[test]]\nname = \"a b\"\ncommand = \"true\"\n\
                    [[test]]\nname = \"c\"\ncommand = \"id -u\"\nexit = 1\nstdout = \"0\"\nstdout-contains = \"0\"\n\
                    timeout = 3600\nafter-reboot = true\n";
        let tests = read(text).unwrap().tests;
        assert_eq!((tests[0].exit, tests[0].timeout.as_secs(), tests[0].after_reboot), (0, 60, false));
        assert_eq!((tests[1].exit, tests[1].timeout.as_secs(), tests[1].after_reboot), (1, 3600, true));
        assert_eq!(tests[1].stdout.as_deref(), Some("0"));
    }

    #[test]
    fn mistakes_are_shown_at_their_place() {
        let plain = "[[test]]\nname = \"a\"\ncommand = \"true\"\n";
        for (text, words) in [
            ("[[test]]\nname = \"\"\ncommand = \"true\"\n".to_owned(), "a name is a line"),
            ("[[test]]\nname = \"a\\nb\"\ncommand = \"true\"\n".to_owned(), "a name is a line"),
            ("[[test]]\nname = \"a\"\n".to_owned(), "command"),
            ("[[test]]\nname = \"a\"\ncommand = \" \"\n".to_owned(), "a command has"),
            (format!("{plain}{plain}"), "two tests are called `a`"),
            (format!("{plain}timeout = 0\n"), "1 to 3600 seconds"),
            (format!("{plain}timeout = 3601\n"), "1 to 3600 seconds"),
            (format!("{plain}exit = 256\n"), "256"),
            (format!("{plain}stdout-contains = \"\"\n"), "an empty text"),
            (format!("{plain}after_reboot = true\n"), "Did you mean `after-reboot`?"),
            (plain.repeat(201).replace("name = \"a\"", "name = \"b\""), "more than 200"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(format!("{error} {:?}", error.advice()).contains(words), "{text}: {error}");
            assert!(error.span().is_some_and(|span| span.start >= STAGE.len()), "{text}: {error}");
        }
    }
}
