//! Tests of a finished system: what a stage promises in `[[test]]`, and whether the running system keeps it.
//!
//! | module | what it does |
//! |---|---|
//! | [`dialogue`] | what pib and the system under test say to each other |
//! | [`junit`] | writes results as JUnit XML |
//!
//! Tests change no image: they are in no key. They are a part of their stage's package, and of its digest.

pub mod dialogue;
pub mod junit;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dialogue::{Ending, Reply};

/// How long a test may take where it does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time that a test may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// The most tests of one stage.
pub const MAX_TESTS: usize = 200;
/// The longest name, in characters.
pub const MAX_NAME: usize = 100;
/// The longest command, in bytes.
pub const MAX_COMMAND: usize = 16 << 10;
/// How much of an output is shown where a test fails, in characters.
const SHOWN: usize = 2000;

/// A test of a stage: a command that runs in the booted system, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceTest {
    /// What the test is called, within its stage.
    pub name: String,
    /// The command, which `/bin/sh -c` runs as root.
    pub command: String,
    /// The exit code that it must have.
    pub exit: u8,
    /// What it must print to standard output, but for white space around it.
    pub stdout: Option<String>,
    /// What must be somewhere in its standard output.
    pub stdout_contains: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it runs after the system was started a second time.
    pub after_reboot: bool,
}

impl DeviceTest {
    /// Says what is wrong with what the command did; nothing where it passes.
    ///
    /// # Errors
    /// The reason, as a sentence without an end.
    pub fn judge(&self, reply: &Reply) -> Result<(), String> {
        let Ending::Exit(code) = reply.ending else {
            return Err(format!("it did not end within {} s and was stopped", self.timeout.as_secs()));
        };
        if code != self.exit {
            return Err(format!("it ended with exit code {code} instead of {}", self.exit));
        }
        let found = String::from_utf8_lossy(&reply.stdout);
        if let Some(wanted) = self.stdout.as_deref().filter(|wanted| found.trim() != wanted.trim()) {
            return Err(format!("it printed {:?} instead of {:?}", shown(found.trim()), wanted.trim()));
        }
        if let Some(wanted) = self.stdout_contains.as_deref().filter(|wanted| !found.contains(*wanted)) {
            return Err(format!("it printed {:?}, which does not contain {wanted:?}", shown(found.trim())));
        }
        Ok(())
    }

    /// Returns the script that the system runs: the command in a shell of its own, which has these variables.
    ///
    /// Values reach the command through its environment, never as a part of its text: no value changes what it means.
    pub fn script(&self, variables: &BTreeMap<String, String>) -> String {
        let mut script = String::new();
        for (name, value) in variables {
            let _ = writeln!(script, "export {name}={}", quoted(value));
        }
        let _ = writeln!(script, "exec /bin/sh -c {}", quoted(&self.command));
        script
    }
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TestOutcome {
    /// The stage; `system` for what pib itself looks at.
    pub stage: String,
    /// The test's name.
    pub name: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it failed; none where it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<TestFailure>,
}

/// Why a test failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TestFailure {
    /// The reason.
    pub reason: String,
    /// The beginning of what the command printed to standard output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// The beginning of what it printed to standard error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

impl TestFailure {
    /// Returns a failure of a command that did this.
    pub fn new(reason: String, reply: &Reply) -> Self {
        let text = |bytes: &[u8]| shown(String::from_utf8_lossy(bytes).trim_end());
        Self { reason, stdout: text(&reply.stdout), stderr: text(&reply.stderr) }
    }

    /// Returns a failure of which there is nothing to show.
    pub fn silent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), stdout: String::new(), stderr: String::new() }
    }
}

/// Returns the name of the variable by which a test sees a config key: `PIB_CONFIG_LOG_SIZE` for `log-size`.
pub fn config_variable(key: &str) -> String {
    format!("PIB_CONFIG_{}", crate::config::arg_name(key))
}

/// Quotes a text for a shell: within single quotes nothing has a meaning but their end.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Cuts what is too long to be shown.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test() -> DeviceTest {
        DeviceTest {
            name: "is active".to_owned(),
            command: "systemctl is-active watchdog".to_owned(),
            exit: 0,
            stdout: None,
            stdout_contains: None,
            timeout: Duration::from_secs(5),
            after_reboot: false,
        }
    }

    fn reply(code: u8, stdout: &str) -> Reply {
        Reply { ending: Ending::Exit(code), stdout: stdout.into(), stderr: b"oh".to_vec() }
    }

    #[test]
    fn a_test_passes_by_its_exit_code_and_its_output() {
        let plain = test();
        assert_eq!(plain.judge(&reply(0, "whatever")), Ok(()));
        assert!(plain.judge(&reply(3, "")).unwrap_err().contains("exit code 3 instead of 0"));
        let late = Reply { ending: Ending::TimedOut, ..reply(0, "") };
        assert!(plain.judge(&late).unwrap_err().contains("within 5 s"));
        // A whole output is compared as a whole: `inactive` is not `active`.
        let exact = DeviceTest { stdout: Some("active".to_owned()), ..test() };
        assert_eq!(exact.judge(&reply(0, "active\n")), Ok(()));
        assert!(exact.judge(&reply(0, "inactive\n")).unwrap_err().contains("\"inactive\""));
        let part = DeviceTest { stdout_contains: Some("ro,".to_owned()), exit: 1, ..test() };
        assert_eq!(part.judge(&reply(1, "ro,noatime")), Ok(()));
        assert!(part.judge(&reply(1, "rw")).is_err() && part.judge(&reply(0, "ro,")).is_err());
    }

    #[test]
    fn values_reach_a_command_by_its_environment_alone() {
        let value = "a'b; $(touch /x) \"\\\n`c`".to_owned();
        let name = config_variable("log-size");
        assert_eq!(name, "PIB_CONFIG_LOG_SIZE");
        let variables = BTreeMap::from([(name, value.clone())]);
        let test = DeviceTest { command: "printf %s \"$PIB_CONFIG_LOG_SIZE\"; exit 7".to_owned(), ..test() };
        let run =
            std::process::Command::new("/bin/sh").arg("-c").arg(test.script(&variables)).output().unwrap();
        assert_eq!((run.status.code(), String::from_utf8(run.stdout).unwrap()), (Some(7), value));
    }

    #[test]
    fn long_outputs_are_cut_between_characters() {
        let failure = TestFailure::new("no".to_owned(), &reply(0, &"ü".repeat(5000)));
        assert_eq!(failure.stdout.chars().count(), SHOWN + 3);
    }
}
