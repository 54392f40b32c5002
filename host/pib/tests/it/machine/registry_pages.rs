//! The pages of a registry's server in a real browser: a person finds a stage and its install line, on a desk and on a phone, in light
//! and in dark, by the keyboard alone.

use crate::bench::Bench;
use crate::browser::{Browser, axe};
use crate::pure::registry_service::Service;
use crate::site::{Site, succeeds};

const README: &str = "# Camera

Films what a **Raspberry Pi** camera sees, and serves it as MJPEG. See [the site](https://example.org).

## Use it

```toml
[stages]
camera = { version = \"1\", config = { fps = 30 } }
```

| port | what |
|---|---|
| 8080 | the stream |

1. `pib add camera`
2. `pib build`

<script>document.title = 'evil'</script>
";

/// Makes a registry with stages that need each other.
fn registry() -> Bench {
    let bench = Bench::new("");
    let stages = [
        ("network", "Configures wired and wireless networks", "", ""),
        ("camera", "Films what a Raspberry Pi camera sees", "network = \"1\"", FPS),
        ("bird-feeder", "Feeds birds, and watches them", "camera = \"1\"", ""),
        ("kiosk", "Shows one web page on the whole screen", "network = \"1\"", ""),
        ("zram", "Compresses memory", "", ""),
    ];
    for (name, about, needs, config) in stages {
        let manifest = format!(
            "[stage]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"{about}\"\nlicense = \"MIT\"\n\n[dependencies]\n{needs}\n{config}"
        );
        bench.write(&format!("{name}/stage.toml"), &manifest);
        bench.write(&format!("{name}/Dockerfile.part"), "RUN true\n");
        bench.write(&format!("{name}/README.md"), README);
        succeeds(&bench, &["publish", name, "--registry", "./shop"]);
    }
    let manifest = std::fs::read_to_string(bench.path("camera/stage.toml")).unwrap();
    bench.write("camera/stage.toml", &manifest.replace("1.0.0", "1.1.0"));
    succeeds(&bench, &["publish", "camera", "--registry", "./shop"]);
    succeeds(&bench, &["yank", "camera@1.0.0", "--registry", "./shop", "--reason", "it does not focus"]);
    bench
}

const FPS: &str = "
[config.fps]
type = \"integer\"
default = 25
help = \"How many pictures it takes in a second\"

[config.resolution]
type = \"string\"
default = \"1280x720\"
help = \"The size of the pictures, as the camera's driver names it\"
";

/// Goes from the search to the install line of the camera, as a person would without a mouse.
fn find_and_copy(browser: &mut Browser, address: &str, axe: &str, name: &str) {
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    browser.open(&format!("http://{address}/"));
    assert_eq!(browser.evaluate("document.querySelectorAll('ul.stages li').length"), 5);
    browser.picture(&format!("{name}-list"));
    assert_eq!(browser.barriers(axe), Vec::<String>::new(), "{name}");
    assert_eq!(browser.evaluate(fits), true, "{name}: the list is wider than the window");
    browser.press("/");
    browser.types("films");
    browser
        .wait_for("document.querySelectorAll('ul.stages li').length === 1 && location.search === '?q=films'");
    browser.picture(&format!("{name}-found"));
    browser.press("ArrowDown");
    browser.press("Enter");
    browser.wait_for("document.readyState === 'complete' && location.pathname === '/stages/camera'");
    browser.picture(&format!("{name}-stage"));
    assert_eq!(browser.barriers(axe), Vec::<String>::new(), "{name}");
    assert_eq!(browser.evaluate(fits), true, "{name}: the stage is wider than the window");
    let text = browser.evaluate("document.querySelector('main').innerText");
    let text = text.as_str().unwrap();
    for part in [
        "pib add camera",
        "fps",
        "1.0.0 (yanked: it does not focus)",
        "bird-feeder",
        "network ^1",
        "evil",
        address,
    ] {
        assert!(text.contains(part), "{name}: no `{part}` in {text}");
    }
    assert_ne!(browser.evaluate("document.title"), "evil");
    browser.tab_to("button[data-copy]");
    browser.press("Enter");
    browser.wait_for("document.getElementById('copied').textContent === 'Copied'");
    assert_eq!(browser.evaluate("navigator.clipboard.readText()"), "pib add camera", "{name}");
    browser.tab_to("aside a[href=network]");
    browser.press("Enter");
    browser.wait_for("document.readyState === 'complete' && location.pathname === '/stages/network'");
}

#[test]
fn a_person_finds_a_stage_and_how_to_install_it() {
    let Some(mut browser) = Browser::start() else { return };
    let Some(axe) = axe() else { return };
    let bench = registry();
    let service = Service::of(&bench, &["shop"]);
    for (device, size) in [("desk", (1280, 900)), ("phone", (390, 844))] {
        for scheme in ["light", "dark"] {
            browser.window(size, device == "phone", scheme);
            find_and_copy(&mut browser, &service.address, &axe, &format!("{device}-{scheme}"));
        }
    }
    assert!(browser.faults.is_empty(), "{:?}", browser.faults);
    // Without scripts, the form searches.
    browser.without_scripts();
    browser.open(&format!("http://{}/", service.address));
    browser.tab_to("input");
    browser.types("birds");
    browser.press("Enter");
    browser.wait_for("document.readyState === 'complete' && location.search === '?q=birds'");
    assert_eq!(browser.evaluate("document.querySelectorAll('ul.stages li').length"), 1);
    browser.tab_to("ul.stages a");
    browser.press("Enter");
    browser.wait_for("document.readyState === 'complete' && location.pathname === '/stages/bird-feeder'");
    assert_eq!(browser.evaluate("document.querySelector('button[data-copy]').checkVisibility()"), false);
    drop(browser);
    search_in_files(&bench, &axe);
}

/// The same pages as files, behind a server that only sends them.
fn search_in_files(bench: &Bench, axe: &str) {
    let Some(mut browser) = Browser::start() else { return };
    succeeds(bench, &["registry", "index", "shop"]);
    let site = Site::start(bench.path("shop"));
    browser.window((390, 844), true, "light");
    browser.open(&format!("{}/index.html", site.address));
    browser.press("/");
    browser.types("films");
    browser.wait_for("document.querySelectorAll('ul.stages li').length === 1");
    assert_eq!(browser.barriers(axe), Vec::<String>::new());
    browser.press("ArrowDown");
    browser.press("Enter");
    browser.wait_for("document.readyState === 'complete' && location.pathname === '/stages/camera.html'");
    let text = browser.evaluate("document.querySelector('main').innerText");
    let text = text.as_str().unwrap();
    assert!(text.contains("pib add camera") && text.contains(&site.address), "{text}");
    browser.tab_to("aside a[href='network.html']");
    browser.press("Enter");
    browser.wait_for("document.readyState === 'complete' && location.pathname === '/stages/network.html'");
    assert!(browser.faults.is_empty(), "{:?}", browser.faults);
    // Without scripts there is the list, and no search that could not work.
    browser.without_scripts();
    browser.open(&format!("{}/index.html", site.address));
    assert_eq!(browser.evaluate("document.querySelectorAll('ul.stages li').length"), 5);
    assert_eq!(browser.evaluate("document.querySelector('form.search').checkVisibility()"), false);
}
