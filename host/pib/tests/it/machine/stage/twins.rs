//! The same hook in Rust and in C: the same answers, to the byte, called natively and in the sandbox.

use std::path::Path;
use std::process::Command;

use pib_plugin_sdk::testing::{Harness, Sandbox, SandboxAnswer};
use pib_plugin_sdk::{Severity, StageRef, Value};

use super::{programs, root, succeeds};

#[path = "../../../../../../plugin-sdk/examples/motd/hook/src/lib.rs"]
mod motd;

use motd::Motd;

/// Copies a stage of the SDK's examples, without its hook's source.
fn copy(name: &str, to: &Path) {
    let from = root().join("plugin-sdk/examples").join(name);
    std::fs::create_dir_all(to).unwrap();
    for file in ["stage.toml", "Dockerfile.part"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// Builds the hook that is written with the SDK.
fn build_rust(stage: &Path) {
    copy("motd", stage);
    let (source, output) = (root().join("plugin-sdk/examples/motd"), stage.join("hook.wasm"));
    succeeds(&root(), &["stage", "build", source.to_str().unwrap(), "--output", output.to_str().unwrap()]);
}

/// Builds the hook that knows nothing of pib but its WIT: clang makes the module, and what `wasm-tools component new`
/// is made of makes a component of it.
fn build_c(stage: &Path) {
    copy("motd-c", stage);
    let module = stage.join("module.wasm");
    let script = root().join("plugin-sdk/examples/motd-c/hook/build.sh");
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let built = Command::new("sh").arg(script).arg(&module).env("PATH", path).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let encoder = wit_component::ComponentEncoder::default().validate(true);
    let component = encoder.module(&std::fs::read(&module).unwrap()).unwrap().encode().unwrap();
    std::fs::remove_file(module).unwrap();
    std::fs::write(stage.join("hook.wasm"), component).unwrap();
}

/// Returns what the harness is told on a Pi 4, with the schema's defaults.
fn harness(text: &str) -> Harness {
    let mut harness = Harness::new("motd")
        .board_trait("title", "Raspberry Pi 4")
        .setting("text", Value::Text(text.to_owned()))
        .setting("lines", Value::List(Vec::new()))
        .setting("width", Value::Integer(72))
        .setting("shout", Value::Boolean(false));
    harness.context.this.version = "1.0.0".to_owned();
    harness.context.stages = vec![harness.context.this.clone()];
    harness
}

#[test]
fn two_languages_give_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (rust, c) = (folder.path().join("rust/motd"), folder.path().join("c/motd"));
    build_rust(&rust);
    build_c(&c);
    let sandbox = |stage: &Path| Sandbox::new(stage).pib(env!("CARGO_BIN_EXE_pib"));
    let (rust, c) = (sandbox(&rust), sandbox(&c));

    let lines = |count: usize| Value::List((0..count).map(|number| format!("line-{number}")).collect());
    let mut full = harness("Grüße, and hello")
        .setting("lines", lines(3))
        .setting("shout", Value::Boolean(true))
        .project_file("logo", "art/logo.bin", [0, 159, 146, 150, b'\n']);
    for (name, version) in [("os", "1.0.0"), ("ro", "1.1.0-rc.1")] {
        full.context.stages.insert(0, StageRef { name: name.to_owned(), version: version.to_owned() });
    }
    let part = std::fs::read_to_string(root().join("plugin-sdk/examples/motd/Dockerfile.part")).unwrap();
    let mut errors = 0;
    for (name, harness) in [
        ("defaults", harness("Welcome")),
        ("all that there is", full),
        ("an empty text", harness("")),
        ("many lines", harness("Welcome").setting("lines", lines(21))),
        ("a long text", harness(&"x".repeat(30)).setting("width", Value::Integer(20))),
        ("a long text and many lines", harness(&"ü".repeat(40)).setting("lines", lines(30))),
    ] {
        let diagnostics = harness.validate::<Motd>();
        let good = diagnostics.iter().all(|told| told.severity == Severity::Warning);
        errors += usize::from(!good);
        let rendered = good.then(|| harness.render::<Motd>(&part).unwrap());
        let native = SandboxAnswer { diagnostics, rendered };
        let answers = [&rust, &c].map(|sandbox| sandbox.render(&harness).unwrap());
        assert_eq!(answers[0], native, "{name}: Rust in the sandbox, and natively");
        assert_eq!(answers[1], native, "{name}: C in the sandbox, and Rust natively");
    }
    assert_eq!(errors, 2, "both kinds of answers were compared");
}
