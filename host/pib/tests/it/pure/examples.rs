//! The example projects are planned as they stand, with the files and secrets that their READMEs ask for.

use std::fs;
use std::path::Path;

use crate::bench::Bench;
use crate::world::{World, root};

fn copy(from: &Path, bench: &Bench, to: &str) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = format!("{to}{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), bench, &format!("{name}/")),
            false => bench.write(&name, &fs::read_to_string(entry.path()).unwrap()),
        }
    }
}

#[test]
fn every_example_is_planned() {
    let mut planned = Vec::new();
    for example in fs::read_dir(root().join("host/examples")).unwrap().flatten() {
        let name = example.file_name().into_string().unwrap();
        let bench = Bench::new("");
        copy(&example.path(), &bench, "");
        bench.write(
            "keys/me.pub",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me@desk\n",
        );
        bench.write("secrets/wg.key", "wAnQx5TPCiqSb0GY6zIL4cvwlIMtOVYjHzs7kGDdEHg=\n");
        bench.write("secrets/web", "$apr1$saltsalt$JrsGZxKxMwfHtm5Tn3wrE.\n");
        bench.write("secrets/share", "0123456789abcdef0123456789abcdef\n");
        let given = [("WIFI_PASSPHRASE", "a long passphrase"), ("PIB_TRUST", "1")];
        let ran = bench.run_with(&["plan"], &given);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.errors);
        if name == "kiosk" {
            let lobby = bench.run_with(&["plan", "--target", "lobby"], &given);
            assert_eq!(lobby.code, Some(0), "{}", lobby.errors);
        }
        for own in fs::read_dir(example.path().join("stages")).into_iter().flatten().flatten() {
            let own = own.file_name().into_string().unwrap();
            assert!(ran.out.contains(&own), "{name} plans no `{own}`: {}", ran.out);
            let checked = bench.run(&["stage", "check", &format!("stages/{own}")]);
            assert_eq!(checked.code, Some(0), "{name}/{own}: {}{}", checked.out, checked.errors);
        }
        planned.push(name);
    }
    planned.sort();
    assert_eq!(planned, ["camera", "kiosk", "kvm", "nas", "router", "wifi-router"]);
}

#[test]
fn every_template_is_planned_under_another_name_and_board() {
    let given = [("WIFI_PASSPHRASE", "a long passphrase"), ("PIB_TRUST", "1")];
    for (template, board) in
        [("router", "rpi4"), ("camera", "zero2w"), ("kiosk", "rpi4"), ("nas", "rpi4"), ("empty", "rpi4")]
    {
        let bench = Bench::new("");
        fs::remove_file(bench.path("pib.toml")).unwrap();
        let made = bench.run(&["init", "--template", template]);
        assert_eq!(made.code, Some(0), "{template}: {}", made.errors);
        let text = fs::read_to_string(bench.path("pib.toml")).unwrap();
        assert!(
            text.contains(&format!(
                "name = \"project\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"{board}\""
            )),
            "{text}"
        );
        bench.write(
            "keys/me.pub",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me@desk\n",
        );
        bench.write("secrets/share", "0123456789abcdef0123456789abcdef\n");
        let planned = bench.run_with(&["plan"], &given);
        assert_eq!(planned.code, Some(0), "{template}: {}", planned.errors);
        let ignored = fs::read_to_string(bench.path(".gitignore")).unwrap();
        assert_eq!(ignored.contains("/secrets"), template == "nas", "{ignored}");
        let again = bench.run(&["init", "--template", template]);
        assert!(again.code == Some(2) && again.errors.contains("exists already"), "{}", again.errors);
    }
}

#[test]
fn a_template_is_made_for_another_system_and_what_is_unknown_is_told() {
    let bench = Bench::new("");
    let made = bench.run(&["new", "cam", "--template", "camera", "--os", "raspios", "--board", "rpi5"]);
    assert_eq!(made.code, Some(0), "{}", made.errors);
    let text = fs::read_to_string(bench.path("cam/pib.toml")).unwrap();
    assert!(
        text.contains("os = \"raspios\"")
            && text.contains("board = \"rpi5\"")
            && text.contains("hostname = \"cam\""),
        "{text}"
    );
    assert!(
        bench.path("cam/stages/stream/Dockerfile.part").exists() && !bench.path("cam/README.md").exists()
    );
    let wrong = bench.run(&["new", "x", "--template", "cammera"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.errors);
    for says in ["unknown template `cammera`", "Did you mean `camera`?", "`nas` and `empty`"] {
        assert!(wrong.errors.contains(says), "{}", wrong.errors);
    }
    assert!(!bench.path("x").exists());
}

/// What a template says of systems and boards is what its stages support.
#[test]
fn a_template_resolves_for_each_system_it_accepts_and_is_refused_for_others() {
    let bench = Bench::new("");
    for template in ["router", "camera", "kiosk", "nas"] {
        let made = bench.run(&["new", template, "--template", template, "--os", "raspios"]);
        assert_eq!(made.code, Some(0), "{template}: {}", made.errors);
        let tree = bench.run(&["tree", "--project", template]);
        assert_eq!(tree.code, Some(0), "{template}: {}", tree.errors);
        let refused = bench.run(&["new", "other", "--template", template, "--os", "arch"]);
        assert_eq!(refused.code, Some(2), "{template}: {}", refused.errors);
        assert!(refused.errors.contains("has stages that `arch` has not"), "{}", refused.errors);
    }
    for (template, more, says) in [
        ("router", ["--board", "rpi2"].as_slice(), "needs Wi-Fi, and the board `rpi2` has none"),
        ("camera", &["--board", "rpi2"], "`zero2w`"),
        ("kiosk", &["--board", "rpi1", "--os", "raspios"], "not built for armv6"),
    ] {
        let refused = bench.run(&[&["new", "other", "--template", template], more].concat());
        assert!(refused.code == Some(2) && refused.errors.contains(says), "{template}: {}", refused.errors);
    }
    assert!(!bench.path("other").exists());
}

/// What holds secrets is ignored also in a folder that git knows already.
#[test]
fn a_gitignore_that_is_there_gets_the_missing_lines() {
    let world = World::new();
    std::fs::create_dir(world.path("here")).unwrap();
    std::fs::write(world.path("here/.gitignore"), "*.log").unwrap();
    world.run("here", &["init", "--template", "nas"]);
    assert_eq!(std::fs::read_to_string(world.path("here/.gitignore")).unwrap(), "*.log\n/target\n/secrets\n");
}
