//! The pages and feeds of a registry, as files and from its server.

use std::collections::BTreeSet;

use super::registry_service::{Service, stage};
use crate::bench::Bench;
use crate::site::succeeds;

/// Returns the files of a registry that are for people, and the text of each.
fn pages(bench: &Bench) -> Vec<(String, String)> {
    let shop = bench.path("shop");
    let files = walkdir::WalkDir::new(&shop).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.filter(|file| file.file_type().is_file());
    let named = files.map(|file| file.path().strip_prefix(&shop).unwrap().display().to_string());
    let is_page = |name: &String| [".html", ".atom"].iter().any(|end| name.ends_with(end));
    let read = |name: String| (name.clone(), std::fs::read_to_string(shop.join(name)).unwrap());
    named.filter(is_page).map(read).collect()
}

fn names(bench: &Bench) -> Vec<String> {
    pages(bench).into_iter().map(|(name, _)| name).collect()
}

/// Checks that every link on the pages leads to a file.
fn check_links(bench: &Bench) {
    let mut followed = BTreeSet::new();
    for (name, text) in pages(bench) {
        let page = bench.path("shop").join(&name);
        for link in ["href=\"", "src=\""].iter().flat_map(|start| text.split(start).skip(1)) {
            let link = link.split('"').next().unwrap();
            if link.starts_with('#') || link.contains("://") || link.ends_with('.') {
                continue;
            }
            assert!(page.parent().unwrap().join(link).is_file(), "{name} leads to {link}");
            followed.insert(link.to_owned());
        }
    }
    assert!(followed.len() > 5, "{followed:?}");
}

#[test]
fn a_registry_of_files_has_pages_and_feeds() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    assert_eq!(names(&bench), ["feed.atom", "index.html"]);
    for name in ["camera", "light"] {
        stage(&bench, name, "1.0.0");
        succeeds(&bench, &["publish", name, "--registry", "./shop"]);
    }
    let all = [
        "feed.atom",
        "feeds/camera.atom",
        "feeds/light.atom",
        "index.html",
        "stages/camera.html",
        "stages/light.html",
    ];
    assert_eq!(names(&bench), all);
    check_links(&bench);
    let written = pages(&bench);
    let text = |name: &str| &written.iter().find(|(found, _)| found == name).unwrap().1;
    assert!(text("index.html").contains("2 stages<") && text("index.html").contains("default-src 'none'"));
    assert!(text("stages/camera.html").contains("pib add camera"));
    for (name, text) in &written {
        assert!(!text.contains("<b>") && !text.contains("alert(1)</script>"), "{name}: {text}");
    }
    assert_eq!(text("feed.atom").matches("<entry>").count(), 2);
    assert!(text("feeds/light.atom").contains("<title>light 1.0.0</title>"), "{}", text("feeds/light.atom"));
    let list = std::fs::read_to_string(bench.path("shop/stages.json")).unwrap();
    assert!(list.contains("\"name\":\"camera\",\"version\":\"1.0.0\""), "{list}");
    // They are in no registry's way, and its server sends pages of its own.
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("2 versions of 2 stages"));
    assert!(succeeds(&bench, &["registry", "init", "shop"]).contains("already"));
    let service = Service::of(&bench, &["shop"]);
    let feed = service.get("/feed.atom", &[]);
    assert!(
        feed.contains("content-type: application/atom+xml") && feed.contains("href=\"stages/light\""),
        "{feed}"
    );
    assert!(service.get("/feeds/camera.atom", &[]).contains("camera 1.0.0"));
    for path in ["/feeds/nobody.atom", "/feeds/camera", "/index.html", "/stages.json", "/stages/camera.html"]
    {
        assert!(service.get(path, &[]).starts_with("HTTP/1.1 404"), "{path}");
    }

    // What a person has written stays, and pages of stages that are gone go.
    bench.write("shop/index.html", "mine");
    bench.write("shop/stages/notes.txt", "mine");
    bench.write("shop/about.html", "mine");
    std::fs::remove_dir_all(bench.path("shop/archives/light")).unwrap();
    std::fs::remove_file(bench.path("shop/li/gh/light")).unwrap();
    succeeds(&bench, &["registry", "index", "shop"]);
    let left = ["about.html", "feed.atom", "feeds/camera.atom", "index.html", "stages/camera.html"];
    assert_eq!(names(&bench), left);
    for name in ["index.html", "stages/notes.txt", "about.html"] {
        assert_eq!(std::fs::read_to_string(bench.path("shop").join(name)).unwrap(), "mine", "{name}");
    }
}

/// Returns all files of the registry that a publish may write for people.
fn site(bench: &Bench) -> Vec<(String, String)> {
    let list = std::fs::read_to_string(bench.path("shop/stages.json")).unwrap();
    pages(bench).into_iter().chain([("stages.json".to_owned(), list)]).collect()
}

#[test]
fn pages_are_as_if_all_of_them_were_written_again() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let publish = |folder: &str, needs: &str, version: &str| {
        stage(&bench, folder, version);
        let manifest = std::fs::read_to_string(bench.path(folder).join("stage.toml")).unwrap();
        bench.write(&format!("{folder}/stage.toml"), &format!("{manifest}\n[dependencies]\n{needs}\n"));
        succeeds(&bench, &["publish", folder, "--registry", "./shop", "--allow-breaking"]);
    };
    let yank = |undo: &[&str]| {
        succeeds(&bench, &[&["yank", "camera@1.1.0", "--registry", "./shop"], undo].concat());
    };
    let steps: [(&str, &dyn Fn()); 6] = [
        ("a stage that needs one that is not there", &|| publish("camera", "light = \"1\"", "1.0.0")),
        ("the one that it needs", &|| publish("light", "", "1.0.0")),
        ("one that needs nothing more", &|| publish("camera", "", "1.1.0")),
        ("one that needs another", &|| publish("light", "camera = \"1\"", "1.1.0")),
        ("yanked", &|| yank(&[])),
        ("not yanked", &|| yank(&["--undo"])),
    ];
    for (what, step) in steps {
        let before = site(&bench);
        step();
        let renewed = site(&bench);
        assert_ne!(before, renewed, "{what}");
        succeeds(&bench, &["registry", "index", "shop"]);
        assert_eq!(renewed, site(&bench), "{what}");
        check_links(&bench);
    }
    assert!(!bench.path("shop/stale-pages.json").exists());

    // Pages that the change is not about are not written, whatever they say.
    bench.write("shop/stages/light.html", "of yesterday");
    stage(&bench, "sound", "1.0.0");
    succeeds(&bench, &["publish", "sound", "--registry", "./shop"]);
    assert_eq!(std::fs::read_to_string(bench.path("shop/stages/light.html")).unwrap(), "of yesterday");
    // Somebody was killed who had published one: what they have noted is made up for.
    bench.write("shop/stale-pages.json", "{\"a\":{\"since\":1,\"stages\":[\"light\"]}}");
    yank(&[]);
    assert!(
        pages(&bench)
            .iter()
            .any(|(name, text)| name == "stages/light.html" && text.contains("pib add light"))
    );
    assert!(!bench.path("shop/stale-pages.json").exists());
    // A registry without pages gets none.
    succeeds(&bench, &["publish", "sound", "--registry", "./other"]);
    assert!(!bench.path("other/stages.json").exists() && !bench.path("other/stale-pages.json").exists());
}

#[test]
fn an_index_that_is_written_again_keeps_when_versions_were_published() {
    let bench = Bench::new("");
    stage(&bench, "camera", "1.0.0");
    succeeds(&bench, &["publish", "camera", "--registry", "./shop"]);
    let read = || std::fs::read_to_string(bench.path("shop/ca/me/camera")).unwrap();
    let line = read();
    assert!(line.contains("\"pubtime\":\"20"), "{line}");
    bench.write("shop/ca/me/camera", &line.replace("Films", "Sells"));
    succeeds(&bench, &["registry", "index", "shop"]);
    assert_eq!(read(), line);
}
