//! What a hook says of the config is shown where the config is; and the user's limits.

use super::{bench, flat, limits};
use crate::guests;

#[test]
fn an_error_is_shown_at_the_keys_place_with_the_hooks_help() {
    let bench = bench(&guests::critic(1, "this is a private key", "Name the file that ends in .pub."));
    bench.fails(
        &["plan"],
        3,
        &[
            "config key `timeout` of stage `mine`: this is a private key",
            "timeout = 10",
            "pib.toml:",
            "Name the file that ends in .pub.",
        ],
    );
    // The caret is below the value, in its own line.
    let errors = bench.run(&["plan"]).errors;
    let line = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    let number = line.lines().position(|line| line.starts_with("mine")).unwrap() + 1;
    assert!(errors.contains(&format!("pib.toml:{number}:")), "{errors}");
}

#[test]
fn a_warning_is_told_each_time_and_the_build_goes_on() {
    let bench = bench(&guests::critic(0, "this is short", "Take 15."));
    for _ in 0..2 {
        let ran = bench.run(&["plan"]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        let errors = flat(&ran.errors);
        assert!(errors.contains("warning: pib.toml:"), "{errors}");
        assert!(
            errors.contains("config key `timeout` of stage `mine`: this is short (Take 15.)"),
            "{errors}"
        );
    }
}

#[test]
fn all_mistakes_are_told_at_once_those_of_hooks_too() {
    let bench = bench(&guests::critic(1, "this is a private key", "Look."));
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write(
        "pib.toml",
        &(manifest + "other = { path = \"stages/other\", config = { size = \"big\" } }\n"),
    );
    bench.stage("other", "[config.size]\ntype = \"size\"\n", Some("RUN true\n"));
    bench.fails(&["plan"], 3, &["2 things are wrong", "this is a private key", "is not a size"]);
    // A hook whose config does not even fit the schema is not asked.
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &manifest.replace("timeout = 10", "timeout = \"10\""));
    bench.fails(&["plan"], 3, &["expected an integer", "is not a size"]);
}

#[test]
fn limits_come_from_the_user_alone() {
    let bench = bench(&guests::harmless());
    limits(&bench, "memory = \"64KiB\"");
    bench.fails(&["plan"], 3, &["asked for more than its 64KiB of memory"]);
    limits(&bench, "memroy = \"64KiB\"");
    bench.fails(&["plan"], 3, &["config.toml", "unknown key `memroy`", "Did you mean `memory`?"]);
    limits(&bench, "stack = \"1KiB\"");
    bench.fails(&["plan"], 3, &["limit of hooks: `stack` is 1024"]);
    limits(&bench, "memory = \"1MiB\"");
    assert_eq!(bench.run(&["plan"]).code, Some(0));
    // Neither a stage nor a project can say anything about them.
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &format!("{manifest}\n[hooks]\nfuel = 1\n"));
    bench.fails(&["plan"], 3, &["unknown key `hooks`"]);
    bench.write("pib.toml", &manifest);
    let stage = std::fs::read_to_string(bench.path("stages/mine/stage.toml")).unwrap();
    bench.write("stages/mine/stage.toml", &format!("{stage}fuel = 1\n"));
    bench.fails(&["plan"], 3, &["unknown key `fuel`"]);
}
