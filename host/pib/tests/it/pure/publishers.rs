//! Publishers who sign what they publish with a key of their own.

use super::registry_service::{Service, stage, token};
use crate::bench::Bench;
use crate::site::succeeds;

const INDEX: &str = "shop/ca/me/camera";

/// Publishes a version, signed with the key in a file, if one is named.
fn publish(bench: &Bench, version: &str, key: Option<&str>, more: &[&str]) -> String {
    stage(bench, "camera", version);
    let key: Vec<&str> = key.into_iter().flat_map(|key| ["--sign-with", key]).collect();
    succeeds(bench, &[&["publish", "camera", "--registry", "./shop", "--yes"], &key[..], more].concat())
}

fn project(bench: &Bench) {
    let index = bench.path("shop").canonicalize().unwrap();
    let text = format!(
        "[project]\nname = \"pi\"\nboard = \"rpi4\"\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n\n\
         [stages]\ncamera = {{ version = \"1\", registry = \"shop\" }}\n\n[registries.shop]\nindex = \"file://{}\"\n",
        index.display()
    );
    bench.write("pib.toml", &text);
}

/// Returns the public key in the last line of the index.
fn publisher(bench: &Bench) -> String {
    let text = std::fs::read_to_string(bench.path(INDEX)).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    line["publisher"]["key"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn another_publishers_key_is_told() {
    let bench = Bench::new("");
    publish(&bench, "1.0.0", Some("mine"), &[]);
    let mine = publisher(&bench);
    assert!(mine.starts_with("ed25519:"), "{mine}");
    project(&bench);
    let said = bench.run(&["update"]);
    let lock = || std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    assert!(lock().contains(&format!("publisher = \"{mine}\"")), "{}{}", said.errors, lock());
    // The same key is nothing to tell of.
    let said = publish(&bench, "1.1.0", Some("mine"), &["--dry-run"]);
    assert!(said.contains("no difference"), "{said}");
    publish(&bench, "1.1.0", Some("mine"), &[]);
    let updated = bench.run(&["update"]);
    assert!(!(updated.out + &updated.errors).contains("publisher"));
    // Another one is, to the publisher and to those who use the stage.
    let said = publish(&bench, "1.2.0", Some("new"), &["--dry-run"]);
    assert!(said.contains("its publisher's key is a new key") && !bench.path("new").exists(), "{said}");
    stage(&bench, "camera", "1.2.0");
    let said =
        bench.run(&["publish", "camera", "--registry", "./shop", "--yes", "--sign-with", "other"]).errors;
    let other = publisher(&bench);
    let told = format!("camera 1.2.0: its publisher's key is a new key, and was {mine}");
    assert!(said.contains(&told) && said.contains(&format!("Signed by {other}")), "{said}");
    let updated = bench.run(&["update"]);
    let told = format!("changes the publisher's key of `camera`: it was {mine}, and is {other}");
    assert!((updated.out.clone() + &updated.errors).contains(&told), "{}{}", updated.out, updated.errors);
    let said = publish(&bench, "1.3.0", None, &["--dry-run"]);
    assert!(said.contains(&format!("it is not signed, and was signed by {other}")), "{said}");
    publish(&bench, "1.3.0", None, &[]);
    let updated = bench.run(&["update"]);
    assert!((updated.out + &updated.errors).contains("takes `camera` unsigned"));
    assert!(!lock().contains("publisher = "), "{}", lock());
    assert!(succeeds(&bench, &["registry", "index", "shop"]).contains("The index was right"));
}

#[test]
fn what_a_publisher_has_not_signed_is_refused() {
    let bench = Bench::new("");
    publish(&bench, "1.0.0", Some("mine"), &[]);
    project(&bench);
    succeeds(&bench, &["update"]);
    // Another key's signature, and one that is damaged.
    publish(&bench, "1.0.1", Some("other"), &[]);
    let text = std::fs::read_to_string(bench.path(INDEX)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let signature =
        |line: &str| line.split("\"publisher\":").nth(1).unwrap().trim_end_matches('}').to_owned();
    let (mine, other) = (signature(lines[0]), signature(lines[1]));
    let key = publisher(&bench);
    for bad in [lines[1].replace(&other, &mine), lines[1].replace(&key[8..], &"ab".repeat(32))] {
        bench.write(INDEX, &format!("{}\n{bad}\n", lines[0]));
        let failed = bench.run(&["update"]);
        let told = failed.errors.contains("is not what its publisher");
        assert!(failed.code == Some(8) && told, "{:?} {}{}", failed.code, failed.out, failed.errors);
        let verified = bench.run(&["registry", "verify", "shop"]);
        assert!(
            verified.code == Some(8) && verified.errors.contains("publisher's signature"),
            "{}",
            verified.errors
        );
    }
}

#[test]
fn a_server_takes_what_its_publisher_has_signed() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let secret = token(&bench, &[]);
    let service = Service::of(&bench, &["shop", "--tokens", "tokens.json"]);
    stage(&bench, "camera", "1.0.0");
    succeeds(&bench, &["package", "camera", "--output", "packed"]);
    let archive = std::fs::read(bench.path("packed/camera-1.0.0.stage")).unwrap();
    let bearer = format!("authorization: Bearer {secret}");
    let put = |publisher: &str| {
        let path = format!("/api/v1/stages?publisher={publisher}");
        service.request("PUT", &path, &[&bearer], &archive)
    };
    assert!(put("me").starts_with("HTTP/1.1 400"));
    let forged = format!("ed25519:{}:{}", "ab".repeat(32), "cd".repeat(64));
    let answer = put(&forged);
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("publisher's signature"), "{answer}");
    let index = format!("http://{}", service.address);
    let variables = [("PIB_REGISTRIES_SHOP_INDEX", index.as_str()), ("PIB_REGISTRIES_SHOP_TOKEN", &secret)];
    let ran = bench.run_with(&["publish", "camera", "--registry", &index, "--sign-with", "mine"], &variables);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let key = publisher(&bench);
    assert!(service.get("/stages/camera", &[]).contains(&key), "{key}");
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("1 version of 1 stage"));
}

/// A locked version has the publisher that it had: neither another key nor a signature that is not its own gets into the lock.
#[test]
fn a_locked_version_keeps_its_publisher() {
    let bench = Bench::new("");
    publish(&bench, "1.0.0", Some("mine"), &[]);
    let (signed, mine) = (std::fs::read_to_string(bench.path(INDEX)).unwrap(), publisher(&bench));
    project(&bench);
    succeeds(&bench, &["lock"]);
    let locked = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    // The same content, signed by another key.
    std::fs::remove_dir_all(bench.path("shop")).unwrap();
    publish(&bench, "1.0.0", Some("other"), &[]);
    let other = publisher(&bench);
    let say =
        [&*format!("publisher of camera 1.0.0 is {other}, and pib.lock has {mine}"), "--accept-republished"];
    for command in ["lock", "plan", "fetch", "update"] {
        bench.fails(&[command], 8, &say);
    }
    assert_eq!(std::fs::read_to_string(bench.path("pib.lock")).unwrap(), locked);
    let taken = bench.run(&["update", "camera", "--accept-republished"]);
    assert!(taken.code == Some(0) && (taken.out + &taken.errors).contains("changes the publisher's key"));
    // A key whose signatures anybody can make: the neutral element, which has order 1.
    let weak = format!("ed25519:01{}", "0".repeat(62));
    let text = signed.replace(&mine, &weak);
    let start = text.find("\"signature\":\"").unwrap() + 13;
    let text = format!("{}01{}{}", &text[..start], "0".repeat(126), &text[start + 128..]);
    std::fs::write(bench.path(INDEX), text).unwrap();
    std::fs::remove_file(bench.path("pib.lock")).unwrap();
    bench.fails(&["lock"], 8, &["not what its publisher", &weak]);
    assert!(!bench.path("pib.lock").exists());
}
