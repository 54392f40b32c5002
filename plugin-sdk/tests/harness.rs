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
            Err(error) => vec![error.into()],
        }
    }

    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let config: Config = context.config()?;
        let text = host::read_text("banner.txt")?;
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

/// Counts the bytes of the project's files.
struct Sizes;

impl Hook for Sizes {
    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let mut list = String::new();
        for file in context.files("inputs") {
            list.push_str(&format!("{} {} {}\n", file.name(), file.read()?.len(), file.context_path));
        }
        Ok(Rendered::part(part).file("sizes", list))
    }
}

#[test]
fn files_of_the_project_are_read_by_the_key_that_names_them() {
    let harness =
        Harness::new("sizes").project_file("inputs", "a/one.txt", "12345").project_file("inputs", "two", "");
    let rendered = harness.render::<Sizes>("RUN true\n").unwrap();
    let expected =
        "one.txt 5 stages/sizes/config/inputs/000-one.txt\ntwo 0 stages/sizes/config/inputs/001-two\n";
    assert_eq!(rendered, Rendered::part("RUN true\n").file("sizes", expected));
    assert_eq!(Harness::new("sizes").render::<Sizes>("").unwrap().files[0].content, b"");
    let binary = Harness::new("sizes").project_file("inputs", "x", [0xff, 0xfe]);
    let file = binary.context.files("inputs")[0].clone();
    assert_eq!(binary.call(|| file.read_text()), Err("`x` is not UTF-8 text".to_owned()));
}
