//! What `pib stage` does for an author.

use std::os::unix::fs::PermissionsExt as _;

use crate::bench::Bench;

#[test]
fn a_new_stage_is_whole_and_harms_nothing() {
    let bench = Bench::new("");
    let made = bench.run(&["stage", "new", "stages/hello"]);
    assert_eq!(made.out, "Created stage hello in stages/hello\n", "{}", made.errors);
    let files: Vec<_> = std::fs::read_dir(bench.path("stages/hello"))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let mode = std::fs::metadata(bench.path("stages/hello")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    bench.fails(&["stage", "new", "stages/hello", "--hook", "rust"], 2, &["`stages/hello` exists already"]);
    bench.fails(&["stage", "new", "Bad_Name"], 2, &["not a valid name"]);
    bench.fails(&["stage", "new", "other", "--hook", "cobol"], 2, &["cobol", "rust"]);
    bench.fails(&["stage", "build", "stages/hello"], 3, &["has no Rust crate", "--hook rust"]);
    bench.fails(&["stage", "build", "stages/none"], 2, &["no folder `stages/none`"]);
}

#[test]
fn what_is_missing_is_said_with_the_remedy() {
    let bench = Bench::new("");
    assert_eq!(bench.run(&["stage", "new", "hello", "--hook", "rust"]).code, Some(0));
    // This environment has no PATH, and so no Rust.
    bench.fails(
        &["stage", "build", "hello"],
        3,
        &["there is no `rustc`", "https://rustup.rs", "rustup target add"],
    );
    // A compiler that has never heard of the target.
    let rustc = bench.path("rustc");
    bench.write("rustc", "#!/bin/sh\necho /nonexistent/lib\necho /nonexistent\n");
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = bench.run_with(&["stage", "build", "hello"], &[("RUSTC", rustc.to_str().unwrap())]);
    assert_eq!(ran.code, Some(3));
    let flat: String = ran.errors.split_whitespace().collect::<Vec<_>>().join(" ");
    for say in [
        "has no target wasm32-unknown-unknown",
        "`rustup target add wasm32-unknown-unknown`",
        "libstd-rust-dev-wasm32",
    ] {
        assert!(flat.contains(say), "no `{say}` in:\n{flat}");
    }
}
