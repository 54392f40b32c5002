//! `pib config`: what is set, from where, and no word of what lets somebody in.

use serde_json::Value;

use crate::bench::{Bench, PROJECT};

/// Returns a setting as the program tells it.
fn setting(bench: &Bench, args: &[&str], variables: &[(&str, &str)], key: &str) -> Value {
    let ran = bench.run_with(&[&["config", "--json"], args].concat(), variables);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let all: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    all.into_iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key} in {}", ran.out))
}

#[test]
fn a_setting_names_what_decides_it() {
    let text = format!("{PROJECT}\n[image]\ncompress = \"xz\"\n\n[target.small]\nboard = \"rpi5\"\n");
    let bench = Bench::new(&text);
    let config = bench.path("../config");
    bench.write(
        "../config/pib/config.toml",
        "[hooks]\nmemory = \"1GiB\"\n[stores]\nteam = \"https://pib.example/s\"\n",
    );
    let config = ("XDG_CONFIG_HOME", config.to_str().unwrap());
    for (args, variables, key, value, from, place) in [
        (
            &["--engine", "ssh://me@builder"][..],
            &[("DOCKER_HOST", "unix:///a")][..],
            "engine",
            "ssh://me@builder",
            "command-line",
            Some("--engine"),
        ),
        (&[], &[("DOCKER_HOST", "unix:///a")], "engine", "unix:///a", "environment", Some("DOCKER_HOST")),
        (&[], &[], "image.compress", "xz", "project", Some("pib.toml")),
        (&[], &[], "image.table", "mbr", "default", None),
        (&[], &[], "project.board", "rpi4", "project", Some("pib.toml")),
        (&["--target", "small"], &[], "project.board", "rpi5", "project", Some("pib.toml")),
        (&[], &[], "project.timezone", "UTC", "default", None),
        (&[], &[config], "hooks.memory", "1GiB", "user", None),
        (&[], &[config], "hooks.memories", "16", "default", None),
        (&[], &[config], "stores.team", "https://pib.example/s", "user", None),
    ] {
        let found = setting(&bench, args, variables, key);
        assert_eq!((&found["value"], &found["from"]), (&value.into(), &from.into()), "{key}: {found}");
        if let Some(place) = place {
            assert_eq!(found["where"], place, "{key}");
        }
    }
    let ran = bench.run(&["config", "image"]);
    assert!(ran.out.contains("image.compress") && !ran.out.contains("project.board"), "{}", ran.out);
    bench.fails(&["config", "imgae"], 2, &["nothing called `imgae` is set"]);
}

#[test]
fn what_lets_somebody_in_is_never_shown() {
    let text = format!(
        "{PROJECT}\n[variables]\nWIFI_PSK = \"hunter2\"\n\n[registries.acme]\nindex = \"https://stages.example/?token=hunter2\"\n"
    );
    let bench = Bench::new(&text);
    let path = bench.path("../config/pib/config.toml");
    bench.write(
        "../config/pib/config.toml",
        "[registries.own]\nindex = \"https://x.example\"\ntoken = \"hunter2\"\n",
    );
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let folder = bench.path("../config");
    let variables = [
        ("XDG_CONFIG_HOME", folder.to_str().unwrap()),
        ("PIB_REGISTRIES_ACME_TOKEN", "hunter2"),
        ("https_proxy", "http://me:hunter2@proxy.example:3128"),
    ];
    for args in [&["config"][..], &["config", "--json"], &["config", "--quiet"]] {
        let ran = bench.run_with(args, &variables);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        assert!(!ran.out.contains("hunter2") && !ran.errors.contains("hunter2"), "{}{}", ran.out, ran.errors);
    }
    let ran = bench.run_with(&["config"], &variables);
    for line in ["registries.acme.token", "registries.own.token", "variables.WIFI_PSK"] {
        let found = ran.out.lines().find(|found| found.starts_with(line));
        assert!(found.is_some_and(|found| found.contains("(set, not shown)")), "{line}: {}", ran.out);
    }
    for shown in ["http://***@proxy.example:3128", "https://stages.example/?***"] {
        assert!(ran.out.contains(shown), "{shown}: {}", ran.out);
    }
}

#[test]
fn without_a_project_the_rest_is_told() {
    let bench = Bench::new("");
    std::fs::remove_file(bench.path("pib.toml")).unwrap();
    let ran = bench.run(&["config"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(ran.out.contains("hooks.fuel") && !ran.out.contains("project.board"), "{}", ran.out);
    bench.fails(&["config", "--target", "small"], 3, &["there is no pib.toml"]);
}
