use pib_plan::id::Arch;
use pib_plan::snapshot::ArchiveSnapshot;

use super::*;

fn recipe(archives: Vec<PackageArchive>) -> Bootstrap {
    Bootstrap {
        os: "debian".to_owned(),
        release: "trixie".to_owned(),
        arch: Arch::Arm64,
        mirror: Some("http://mirror.example/debian".to_owned()),
        security_mirror: None,
        include: Vec::new(),
        archives,
    }
}

fn snapshot(names: &[&str]) -> BaseSnapshot {
    let archive = |name: &&str| ArchiveSnapshot {
        name: (*name).to_owned(),
        moment: 7,
        key: "0A".to_owned(),
        keyring: None,
    };
    BaseSnapshot { archives: names.iter().map(archive).collect(), packages: Vec::new() }
}

fn archive(name: &str, components: &[&str]) -> PackageArchive {
    let suite = if name == "debian-security" { "trixie-security" } else { "trixie" };
    PackageArchive {
        name: name.to_owned(),
        suite: suite.to_owned(),
        components: components.iter().map(|name| (*name).to_owned()).collect(),
        origin: None,
    }
}

fn text(recipe: &Bootstrap, snapshot: &BaseSnapshot) -> String {
    let files = files(recipe, snapshot).unwrap();
    assert_eq!((files.len(), files[0].0.as_str()), (1, DEBIAN_FILE));
    String::from_utf8(files[0].1.clone()).unwrap()
}

#[test]
fn the_sources_name_debians_own_network() {
    let plain = recipe(Vec::new());
    assert_eq!(text(&plain, &snapshot(&["debian"])).matches("URIs:").count(), 1);
    let both = text(&plain, &snapshot(&["debian", "debian-security"]));
    for part in ["Suites: trixie trixie-updates\n", "Suites: trixie-security\n", "debian-security\n"] {
        assert!(both.contains(part), "{part}: {both}");
    }
    assert!(!both.contains("mirror.example"));
}

#[test]
fn debians_own_archives_have_the_components_that_are_named() {
    let named = recipe(vec![archive("debian", &["main", "non-free"]), archive("debian-security", &["main"])]);
    let both = text(&named, &snapshot(&["debian", "debian-security"]));
    let expected = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\n\
                    Components: main non-free\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    Types: deb\nURIs: http://deb.debian.org/debian-security\nSuites: trixie-security\n\
                    Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
    assert_eq!(both, expected);
    // What the mirrors do not have, the base does not ask for.
    assert!(!text(&named, &snapshot(&["debian"])).contains("security"));
}
