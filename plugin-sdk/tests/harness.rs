//! A hook as its author would write it, called natively.

use pib_plugin_sdk::host::{self, Level};
use pib_plugin_sdk::testing::{Harness, logged};
use pib_plugin_sdk::{Context, Diagnostic, Hook, Rendered, Value, export_hook};

struct Banner;

#[derive(serde::Deserialize)]
struct Config {
    width: usize,
}

impl Hook for Banner {
    fn validate(context: &Context) -> Vec<Diagnostic> {
        match context.config::<Config>() {
            Ok(config) if config.width > 80 => {
                vec![Diagnostic::error("the banner is too wide").key("width").help("Use at most 80.")]
            }
            Ok(_) => Vec::new(),
            Err(error) => vec![Diagnostic::error(error.to_string())],
        }
    }

    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let config: Config = context.config().map_err(|error| error.to_string())?;
        let text = String::from_utf8(host::read_file("banner.txt")?).map_err(|error| error.to_string())?;
        host::log(Level::Info, "rendering");
        Ok(Rendered::part(format!("# {}\n{part}", context.project.board))
            .file("banner", text.repeat(config.width)))
    }
}

export_hook!(Banner);

#[test]
fn a_hook_is_tested_like_any_code() {
    let harness = Harness::new("banner").setting("width", Value::Integer(3)).file("banner.txt", "=");
    assert_eq!(harness.validate::<Banner>(), []);
    let rendered = harness.render::<Banner>("RUN true\n").unwrap();
    assert_eq!(rendered, Rendered::part("# rpi4\nRUN true\n").file("banner", "==="));
    assert_eq!(logged(), [(Level::Info, "rendering".to_owned())]);

    let wide = harness.clone().setting("width", Value::Integer(99));
    let told = wide.validate::<Banner>();
    assert_eq!((told[0].key.as_deref(), told[0].help.as_deref()), (Some("width"), Some("Use at most 80.")));
    assert!(Harness::new("banner").validate::<Banner>()[0].message.contains("width"));
    let missing = Harness::new("banner").setting("width", Value::Integer(1)).render::<Banner>("");
    assert!(missing.unwrap_err().contains("banner.txt"));
}
