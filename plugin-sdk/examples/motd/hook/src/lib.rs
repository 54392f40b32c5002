//! An example of a hook: writes the text that a person reads who logs in.
//!
//! Its twin in C, `examples/motd-c`, does the same, to the byte.

use pib_plugin_sdk::host::{self, Level};
use pib_plugin_sdk::{Context, Diagnostic, Hook, Rendered, export_hook};

/// The stage's settings, as `[config]` in stage.toml defines them.
#[derive(serde::Deserialize)]
struct Config {
    text: String,
    lines: Vec<String>,
    width: i64,
    shout: bool,
}

/// The hook.
pub(crate) struct Motd;

impl Hook for Motd {
    fn validate(context: &Context) -> Vec<Diagnostic> {
        let config: Config = match context.config() {
            Ok(config) => config,
            Err(error) => return vec![error.into()],
        };
        let mut diagnostics = Vec::new();
        let length = i64::try_from(config.text.len()).unwrap_or(i64::MAX);
        if length > config.width {
            let message = format!("the text has {length} bytes, and a line has {}", config.width);
            diagnostics.push(Diagnostic::error(message).key("text").help("Shorten it, or raise width."));
        }
        if config.lines.len() > 20 {
            let message = format!("{} lines do not fit on a small screen", config.lines.len());
            diagnostics.push(Diagnostic::warning(message).key("lines"));
        }
        if let Some(Err(reason)) = context.files("logo").first().map(|file| file.read()) {
            diagnostics.push(Diagnostic::error(reason).key("logo"));
        }
        diagnostics
    }

    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let config: Config = context.config()?;
        let mut text = match context.files("logo").first() {
            Some(logo) => logo.read()?,
            None => Vec::new(),
        };
        let first = if config.shout { config.text.to_ascii_uppercase() } else { config.text };
        text.extend(format!("{first}\n").bytes());
        for line in &config.lines {
            text.extend(format!("  {line}\n").bytes());
        }
        let project = &context.project;
        let board = context.board_trait("title").unwrap_or(&project.board);
        let system = format!("{} on {board} ({} {})\n", project.hostname, project.os, project.release);
        text.extend(system.bytes());
        for stage in context.stages.iter().filter(|stage| **stage != context.this) {
            text.extend(format!("with {} {}\n", stage.name, stage.version).bytes());
        }
        host::log(Level::Info, &format!("a text of {} bytes", text.len()));
        Ok(Rendered::part(format!("# For {}.\n{part}", project.name)).file("motd", text))
    }
}

export_hook!(Motd);

#[cfg(test)]
mod tests {
    use pib_plugin_sdk::testing::{Harness, logged};
    use pib_plugin_sdk::{StageRef, Value};

    use super::*;

    fn harness(text: &str) -> Harness {
        Harness::new("motd")
            .board_trait("title", "Raspberry Pi 4")
            .setting("text", Value::Text(text.to_owned()))
            .setting("lines", Value::List(vec!["one".to_owned(), "two".to_owned()]))
            .setting("width", Value::Integer(20))
            .setting("shout", Value::Boolean(true))
    }

    #[test]
    fn the_text_has_all_that_it_should() {
        let mut harness = harness("Hello").project_file("logo", "art/logo.txt", "<o>\n");
        let os = StageRef { name: "os".to_owned(), version: "1.0.0".to_owned() };
        harness.context.stages.insert(0, os);
        assert_eq!(harness.validate::<Motd>(), []);
        let rendered = harness.render::<Motd>("RUN true\n").unwrap();
        let text = "<o>\nHELLO\n  one\n  two\ntest on Raspberry Pi 4 (debian trixie)\nwith os 1.0.0\n";
        assert_eq!(rendered, Rendered::part("# For test.\nRUN true\n").file("motd", text));
        assert_eq!(logged(), [(Level::Info, format!("a text of {} bytes", text.len()))]);
    }

    #[test]
    fn mistakes_name_their_key() {
        let told = harness("Hello to all who are here").validate::<Motd>();
        assert_eq!(told[0].key.as_deref(), Some("text"));
        assert_eq!(told[0].message, "the text has 25 bytes, and a line has 20");
        let mut gone = harness("Hi").project_file("logo", "logo.txt", "");
        let Some((_, Value::Files(files))) = gone.context.settings.iter_mut().find(|(key, _)| key == "logo")
        else {
            panic!("the harness has no logo");
        };
        files[0].path = "other.txt".to_owned();
        let told = gone.validate::<Motd>();
        assert!(told[0].key.as_deref() == Some("logo") && told[0].message.contains("other.txt"), "{told:?}");
    }
}
