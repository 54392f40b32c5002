//! The hook of the stage watchdog: what the board's chip can count to, and the daemon's settings.
use pib_plugin_sdk::{Context, Diagnostic, Hook, Rendered, export_hook};

/// The name of what is known of the board's chip.
const MAX_TIMEOUT: &str = "watchdog-max-timeout";

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    timeout: i64,
    interval: Option<i64>,
    max_load: i64,
}

impl Config {
    /// Three signs of life may get lost, but for what the project says.
    fn interval(&self) -> i64 {
        self.interval.unwrap_or((self.timeout / 3).max(1))
    }
}

/// The stage's hook.
pub struct Watchdog;

impl Hook for Watchdog {
    fn validate(context: &Context) -> Vec<Diagnostic> {
        let config: Config = match context.config() {
            Ok(config) => config,
            Err(error) => return vec![error.into()],
        };
        let mut diagnostics = Vec::new();
        match context.board_trait(MAX_TIMEOUT).map(str::parse::<i64>) {
            Some(Ok(most)) if config.timeout > most => {
                let message = format!(
                    "the timeout is {} seconds, and the watchdog of board `{}` counts to {most} at most",
                    config.timeout, context.project.board
                );
                let help = format!(
                    "Use {most} or less: a chip that is asked for more refuses, and nothing guards the device."
                );
                diagnostics.push(Diagnostic::error(message).key("timeout").help(help));
            }
            Some(Ok(_)) => {}
            _ => diagnostics.push(
                Diagnostic::warning(format!(
                    "nothing is known of the watchdog of board `{}`",
                    context.project.board
                ))
                .help("See in the device's log whether it took the timeout: `journalctl -u watchdog`."),
            ),
        }
        let interval = config.interval();
        if interval >= config.timeout {
            let message = format!(
                "a sign of life every {interval} seconds comes too late for a timeout of {} seconds",
                config.timeout
            );
            diagnostics
                .push(Diagnostic::error(message).key("interval").help("Use half of the timeout, or less."));
        } else if interval * 2 > config.timeout {
            let message = format!("one late sign of life in {interval} seconds resets the device");
            diagnostics
                .push(Diagnostic::warning(message).key("interval").help("Use half of the timeout, or less."));
        }
        diagnostics
    }

    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let config: Config = context.config()?;
        let mut settings = vec![
            ("watchdog-device", "/dev/watchdog".to_owned()),
            ("watchdog-timeout", config.timeout.to_string()),
            ("interval", config.interval().to_string()),
        ];
        if config.max_load > 0 {
            settings.push(("max-load-1", config.max_load.to_string()));
        }
        settings.extend([
            ("realtime", "yes".to_owned()),
            ("priority", "1".to_owned()),
            ("log-dir", "/run/watchdog".to_owned()),
        ]);
        let lines: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        Ok(Rendered::part(part).file("watchdog.conf", lines))
    }
}

export_hook!(Watchdog);

#[cfg(test)]
mod tests {
    use pib_plugin_sdk::testing::Harness;
    use pib_plugin_sdk::{Severity, Value};

    use super::*;

    fn harness(timeout: i64, interval: Option<i64>) -> Harness {
        let harness = Harness::new("watchdog")
            .board_trait(MAX_TIMEOUT, "15")
            .setting("timeout", Value::Integer(timeout))
            .setting("max-load", Value::Integer(24));
        match interval {
            Some(interval) => harness.setting("interval", Value::Integer(interval)),
            None => harness,
        }
    }

    fn told(harness: &Harness) -> Vec<(Severity, Option<String>)> {
        harness.validate::<Watchdog>().into_iter().map(|told| (told.severity, told.key)).collect()
    }

    #[test]
    fn the_chip_and_the_interval_bound_the_timeout() {
        assert_eq!(told(&harness(15, None)), []);
        assert_eq!(told(&harness(2, None)), []);
        let late = harness(16, None).validate::<Watchdog>();
        assert_eq!(late[0].key.as_deref(), Some("timeout"));
        assert!(late[0].message.contains("16 seconds") && late[0].message.contains("`rpi4` counts to 15"));
        assert_eq!(told(&harness(10, Some(10))), [(Severity::Error, Some("interval".to_owned()))]);
        assert_eq!(told(&harness(10, Some(6))), [(Severity::Warning, Some("interval".to_owned()))]);
        assert_eq!(told(&harness(10, Some(5))), []);
        let mut unknown = harness(10, None);
        unknown.context.board_traits.clear();
        assert_eq!(told(&unknown), [(Severity::Warning, None)]);
    }

    #[test]
    fn the_daemon_is_told() {
        let rendered = harness(10, None).render::<Watchdog>("RUN true\n").unwrap();
        assert_eq!(rendered.part, "RUN true\n");
        let conf = String::from_utf8(rendered.files[0].content.clone()).unwrap();
        let expected = "watchdog-device = /dev/watchdog\nwatchdog-timeout = 10\ninterval = 3\nmax-load-1 = 24\n\
                        realtime = yes\npriority = 1\nlog-dir = /run/watchdog\n";
        assert_eq!(conf, expected);
        let idle =
            harness(10, Some(2)).setting("max-load", Value::Integer(0)).render::<Watchdog>("").unwrap();
        let conf = String::from_utf8(idle.files[0].content.clone()).unwrap();
        assert!(conf.contains("interval = 2\n") && !conf.contains("max-load"), "{conf}");
    }
}
