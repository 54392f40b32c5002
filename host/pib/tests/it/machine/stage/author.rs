//! What `pib stage` does for an author.

use std::path::Path;
use std::process::Command;

use super::{pib, programs, succeeds};

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_new_hook_is_built_tested_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    succeeds(here, &["stage", "new", "hello", "--hook", "rust"]);
    let (code, _, errors) = pib(here, &["stage", "check", "hello"]);
    assert_eq!(code, Some(3));
    assert!(errors.contains("pib stage build"), "{errors}");
    let built = succeeds(here, &["stage", "build", "hello"]);
    assert!(built.starts_with("Built hello/hook.wasm (") && built.contains("pib:stage@0.1.0"), "{built}");
    let checked = succeeds(here, &["stage", "check", "hello"]);
    assert!(checked.contains("answers the same twice"), "{checked}");
    let shown =
        succeeds(here, &["stage", "render", "hello", "--config", "greeting=Good day", "--board", "rpi3"]);
    assert!(shown.contains("COPY stages/hello/greeting") && shown.contains("Good day, on a rpi3"), "{shown}");

    // From another folder, by another user, the same bytes.
    let elsewhere = here.join("a/longer/path/to/the/same/stage");
    std::fs::create_dir_all(&elsewhere).unwrap();
    succeeds(&elsewhere, &["stage", "new", "hello", "--hook", "rust"]);
    let lock = "hello/hook/Cargo.lock";
    std::fs::copy(here.join(lock), elsewhere.join(lock)).unwrap();
    succeeds(&elsewhere, &["stage", "build", "hello"]);
    let component = read(&here.join("hello/hook.wasm"));
    assert!(component == read(&elsewhere.join("hello/hook.wasm")), "the component tells where it was built");
    assert!(component.len() < 150_000, "{} bytes", component.len());
    let told = String::from_utf8_lossy(&component).into_owned();
    assert!(
        !told.contains(here.to_str().unwrap()) && !told.contains("/.cargo/"),
        "it names a folder of this machine"
    );

    // A mistake in the code is the compiler's to explain, and the earlier component stays.
    let code = here.join("hello/hook/src/lib.rs");
    let text = std::fs::read_to_string(&code).unwrap();
    std::fs::write(&code, text.replace("context.config()?", "context.conifg()?")).unwrap();
    let (code, _, errors) = pib(here, &["stage", "build", "hello"]);
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("conifg") && errors.contains("src/lib.rs"), "{errors}");
    assert!(component == read(&here.join("hello/hook.wasm")));
}

#[test]
fn the_tests_of_a_new_hook_pass() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(folder.path(), &["stage", "new", "hello", "--hook", "rust"]);
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet"]).current_dir(folder.path().join("hello/hook"));
    let ran = cargo.env_remove("CARGO_TARGET_DIR").output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && out.contains("2 passed"),
        "{out}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn the_compilers_are_the_ones_that_hooks_are_published_with() {
    let ran = Command::new(programs().join("rustc")).arg("-vV").output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.contains("rustc 1.85"), "{text}");
}
