//! A registry behind a real web server: what is asked, what is kept, and what a hostile server achieves.

use crate::site::{Manners, Site, publish, succeeds, world};

const INDEX: &str = "/ac/me/acme";
const ARCHIVE: &str = "/archives/acme/acme-1.0.0.stage";

#[test]
fn a_server_is_asked_no_more_than_needed() {
    let (bench, site) = world();
    succeeds(&bench, &["add", "acme", "--registry", "acme"]);
    assert!(site.asked().contains(&format!("200 {INDEX}")));
    assert!(succeeds(&bench, &["fetch"]).ends_with("stages are in the cache\n"));
    site.asked();
    // What the lock holds and the cache has needs no network, with or without being told so.
    for args in [&["lock"][..], &["fetch"], &["plan"], &["plan", "--frozen"], &["tree", "--offline"]] {
        succeeds(&bench, args);
        assert_eq!(site.asked(), [""; 0], "{args:?}");
    }
    succeeds(&bench, &["update"]);
    assert_eq!(site.asked(), [format!("304 {INDEX}")]);
    publish(&bench, "1.1.0");
    succeeds(&bench, &["lock"]);
    assert_eq!(site.asked(), [""; 0]);
    assert!(succeeds(&bench, &["outdated"]).contains("acme 1.0.0 -> 1.1.0"));
    succeeds(&bench, &["update", "acme"]);
    assert!(std::fs::read_to_string(bench.path("pib.lock")).unwrap().contains("1.1.0"));
}

#[test]
fn what_the_manifest_asks_for_anew_is_looked_up_anew() {
    let (bench, site) = world();
    succeeds(&bench, &["add", "acme@1", "--registry", "acme"]);
    publish(&bench, "2.0.0");
    site.asked();
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &manifest.replace("acme = { version = \"1\"", "acme = { version = \"2\""));
    succeeds(&bench, &["lock"]);
    assert!(site.asked().contains(&format!("200 {INDEX}")));
    assert!(std::fs::read_to_string(bench.path("pib.lock")).unwrap().contains("2.0.0"));
}

#[test]
fn without_the_network_only_the_cache_counts() {
    let (bench, site) = world();
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    let with = manifest.replace("[stages]", "[stages]\nacme = { version = \"1\", registry = \"acme\" }");
    bench.write("pib.toml", &with);
    bench.fails(&["lock", "--offline"], 8, &["stage `acme`", "not in the cache", "pib fetch"]);
    assert_eq!(site.asked(), [""; 0]);
    succeeds(&bench, &["lock"]);
    bench.fails(&["fetch", "--offline"], 8, &["the archive of acme 1.0.0", "not in the cache"]);
    succeeds(&bench, &["fetch"]);
    succeeds(&bench, &["fetch", "--frozen"]);
}

#[test]
fn hostile_answers_are_told_and_leave_nothing() {
    let (bench, site) = world();
    succeeds(&bench, &["fetch"]);
    succeeds(&bench, &["add", "acme", "--registry", "acme"]);
    let say = |start, head, zeros| site.manners.lock().unwrap().instead = Some((start, head, zeros));
    let tree = || succeeds(&bench, &["cache", "list", "--json"]);
    let before = tree();
    say("/archives", "500 Oops\r\nRetry-After: 0\r\nContent-Length: 0", 0);
    bench.fails(&["fetch"], 8, &["acme-1.0.0.stage", "500"]);
    say("/archives", "429 Slowly\r\nRetry-After: 0\r\nContent-Length: 0", 0);
    bench.fails(&["fetch"], 8, &["acme-1.0.0.stage", "429"]);
    say("/archives", "200 OK\r\nContent-Length: 9000", 0);
    bench.fails(&["fetch"], 8, &["acme-1.0.0.stage"]);
    say("/archives", "200 OK", 1 << 30);
    bench.fails(&["fetch"], 8, &["acme-1.0.0.stage", "larger than"]);
    std::fs::write(bench.path("../registry").join(&ARCHIVE[1..]), "not this").unwrap();
    site.manners.lock().unwrap().instead = None;
    bench.fails(&["fetch"], 8, &["acme 1.0.0", "does not have the digest", "Nothing of it was kept"]);
    assert_eq!(tree(), before);
    assert!(succeeds(&bench, &["cache", "verify"]).ends_with("are whole\n"));
}

#[test]
fn a_token_is_for_one_server() {
    let (bench, site) = world();
    let elsewhere = Site::start(site.root.clone());
    *site.manners.lock().unwrap() =
        Manners { login: Some("Bearer secret"), archives_at: Some(elsewhere.address.clone()), instead: None };
    bench.fails(&["add", "acme", "--registry", "acme"], 8, &["401"]);
    let ours = ("PIB_REGISTRIES_ACME_INDEX", site.address.as_str());
    let token = [("PIB_REGISTRIES_ACME_TOKEN", "secret"), ours];
    let added = bench.run_with(&["add", "acme", "--registry", "acme"], &token);
    assert_eq!(added.code, Some(0), "{}", added.errors);
    let fetched = bench.run_with(&["fetch"], &token);
    assert_eq!(fetched.code, Some(0), "{}", fetched.errors);
    let log = elsewhere.log.lock().unwrap().clone();
    assert_eq!(log, [(ARCHIVE.to_owned(), 200, None)]);
    for (path, text) in bench.files() {
        assert!(!text.contains("secret"), "{}", path.display());
    }
}

#[test]
fn the_cache_is_listed_checked_and_pruned() {
    let (bench, _site) = world();
    succeeds(&bench, &["add", "acme", "--registry", "acme"]);
    succeeds(&bench, &["fetch"]);
    assert_eq!(succeeds(&bench, &["cache", "dir"]), "TEMP/cache\n");
    let stages = |text: &str| {
        let kinds: serde_json::Value = serde_json::from_str(text).unwrap();
        (kinds[0]["items"].as_u64().unwrap(), kinds[1]["items"].as_u64().unwrap())
    };
    assert_eq!(stages(&succeeds(&bench, &["cache", "list", "--json"])), (5, 1));
    // One stage and the index are damaged: both go, and come back when they are needed.
    let folder = std::fs::read_dir(bench.path("../cache/stages")).unwrap().flatten();
    let mut folders = folder.map(|item| item.path()).filter(|path| path.join("stage.toml").is_file());
    std::fs::write(folders.next().unwrap().join("stage.toml"), "x").unwrap();
    let registry = std::fs::read_dir(bench.path("../cache/registries")).unwrap().flatten();
    let registry = registry.into_iter().find(|item| item.file_name() != "tmp").unwrap();
    std::fs::write(registry.path().join(&INDEX[1..]), "x").unwrap();
    let verified = succeeds(&bench, &["cache", "verify"]);
    assert_eq!(verified.matches("removed, since it was damaged").count(), 2, "{verified}");
    assert!(!succeeds(&bench, &["cache", "verify"]).contains("removed"));
    succeeds(&bench, &["fetch", "--locked"]);
    assert_eq!(succeeds(&bench, &["cache", "prune"]), "Removed 0 things, 0.0 MiB\n");
    assert!(succeeds(&bench, &["cache", "prune", "--days", "0", "--dry-run"]).starts_with("Would remove 6"));
    assert!(succeeds(&bench, &["cache", "prune", "--days", "0"]).starts_with("Removed 6"));
    assert_eq!(stages(&succeeds(&bench, &["cache", "list", "--json"])), (0, 0));
    succeeds(&bench, &["fetch", "--locked"]);
}
