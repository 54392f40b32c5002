//! Tokens, passwords and who gets them: the servers that their owner names, and nobody else.

use std::os::unix::fs::PermissionsExt as _;

use crate::bench::{Bench, Ran};
use crate::forge::{self, Forge, Repo};
use crate::site::{Manners, Site, world};

const TOKEN: &str = "hunter2-token";
/// The variable that has it.
const OURS: (&str, &str) = ("PIB_REGISTRIES_ACME_TOKEN", TOKEN);

/// Returns what each request said of the user, and forgets the requests.
fn users(site: &Site) -> Vec<Option<String>> {
    site.log.lock().unwrap().drain(..).map(|(.., user)| user).collect()
}

fn bearer() -> Option<String> {
    Some(format!("Bearer {TOKEN}"))
}

/// Adds `acme` and takes it out again; everything that is shown and kept is without the token.
fn adds(bench: &Bench, variables: &[(&str, &str)]) -> Ran {
    let before = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    let ran = bench.run_with(&["--verbose", "add", "acme", "--registry", "acme"], variables);
    let json = bench.run_with(&["--json", "fetch"], variables);
    for text in [&ran.out, &ran.errors, &json.out, &json.errors] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    for file in walkdir::WalkDir::new(bench.folder.path()).into_iter().flatten() {
        let is_config = file.path().ends_with(".config/pib/config.toml");
        if file.file_type().is_file() && !is_config && !file.path().ends_with(".netrc") {
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(TOKEN), "{}", file.path().display());
        }
    }
    bench.write("pib.toml", &before);
    let _ = std::fs::remove_file(bench.path("pib.lock"));
    let _ = std::fs::remove_dir_all(bench.path("../cache/registries"));
    ran
}

/// Returns the text in one line.
fn flat(text: &str) -> String {
    text.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect::<Vec<_>>().join(" ")
}

fn config(bench: &Bench, text: &str, mode: u32) {
    bench.write("../.config/pib/config.toml", text);
    let path = bench.path("../.config/pib/config.toml");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_name_in_a_project_gets_no_token() {
    let (bench, site) = world();
    let ran = adds(&bench, &[OURS]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let seen = users(&site);
    assert!(seen.len() >= 2 && seen.iter().all(Option::is_none), "{seen:?}");
    // The warning comes once, and has the lines to write.
    let errors = flat(&ran.errors);
    assert_eq!(errors.matches("is not sent to").count(), 1, "{errors}");
    let (variable, line) = (
        format!("PIB_REGISTRIES_ACME_INDEX={}", site.address),
        format!("[registries.acme] and, below that, index = \"{}\"", site.address),
    );
    assert!(errors.contains(&variable) && errors.contains(&line), "{errors}");
    // For another address, or one that only looks alike.
    let port: u16 = site.address.rsplit(':').next().unwrap().parse().unwrap();
    for index in [
        "https://stages.example/".to_owned(),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1:{}/", port ^ 1),
        format!("{}/private", site.address),
    ] {
        for by_file in [false, true] {
            let index_variable = ("PIB_REGISTRIES_ACME_INDEX", index.as_str());
            let (text, variables) = match by_file {
                true => (format!("[registries.acme]\nindex = \"{index}\"\n"), vec![OURS]),
                false => (String::new(), vec![OURS, index_variable]),
            };
            config(&bench, &text, 0o644);
            let ran = adds(&bench, &variables);
            assert_eq!(ran.code, Some(0), "{}", ran.errors);
            assert!(users(&site).iter().all(Option::is_none), "{index}");
            assert_eq!(flat(&ran.errors).matches("the registry of that name in this project").count(), 1);
        }
    }
    // Without the network there is nothing to warn of, and without the name neither.
    let other = [("PIB_REGISTRIES_OTHER_TOKEN", TOKEN)];
    assert!(!bench.run_with(&["fetch"], &other).errors.contains("token"));
    assert!(!bench.run_with(&["fetch", "--offline"], &[OURS]).errors.contains("token"));
}

#[test]
fn the_address_of_the_user_gets_the_token_whatever_a_project_calls_it() {
    let (bench, site) = world();
    let login: &str = Box::leak(bearer().unwrap().into_boxed_str());
    *site.manners.lock().unwrap() = Manners { login: Some(login), ..Manners::default() };
    let index = format!("index = \"{}\"\n", site.address);
    let token = format!("token = \"{TOKEN}\"\n");
    let by_variable = [OURS, ("PIB_REGISTRIES_ACME_INDEX", site.address.as_str())];
    for (text, mode, variables) in [
        (String::new(), 0o644, &by_variable[..]),
        (format!("[registries.acme]\n{index}"), 0o644, &by_variable[..1]),
        (format!("[registries.acme]\n{index}{token}"), 0o600, &[]),
        (format!("[registries.mine]\n{index}{token}"), 0o400, &[]),
    ] {
        config(&bench, &text, mode);
        let ran = adds(&bench, variables);
        assert_eq!(ran.code, Some(0), "{text}{}", ran.errors);
        let seen = users(&site);
        assert!(seen.len() >= 2 && seen.iter().all(|user| *user == bearer()), "{text}{seen:?}");
        assert!(!ran.errors.contains("is not sent"), "{}", ran.errors);
        let _ = std::fs::remove_file(bench.path("../.config/pib/config.toml"));
    }
}

#[test]
fn a_config_file_that_cannot_be_trusted_is_refused_with_advice() {
    let (bench, site) = world();
    let text = format!("[registries.acme]\nindex = \"{}\"\ntoken = \"{TOKEN}\"\n", site.address);
    for mode in [0o644, 0o640, 0o604, 0o620, 0o666] {
        config(&bench, &text, mode);
        let say = [&format!("mode 0{mode:o}"), "holds a token", "chmod 600"];
        bench.fails(&["add", "acme", "--registry", "acme"], 3, &say);
    }
    for (text, say) in [
        (text.replace("index", "indx"), ["unknown key `indx`", "Did you mean `index`?", "config.toml:2:"]),
        (text.replace("token", "tokn"), ["unknown key `tokn`", "Did you mean `token`?", "config.toml:3:"]),
        (text.replace("http://127.0.0.1", "http://10.0.0.1"), ["unprotected", "https", "config.toml:2:"]),
        (text.replace("http://", "file:///srv/"), ["behind a web server", "take no token", "config.toml:2:"]),
        (
            text.replace("://", "://me:hunter2-token@"),
            ["no user and no password", "https://", "config.toml:2:"],
        ),
        (text.replace(TOKEN, "hunter2-token b"), ["token has blanks", "`acme`", "config.toml:1:"]),
    ] {
        config(&bench, &text, 0o600);
        bench.fails(&["add", "acme", "--registry", "acme"], 3, &say);
        let ran = bench.run(&["--json", "plan"]);
        assert!(!ran.errors.contains("hunter2") && !ran.out.contains("hunter2"), "{}", ran.errors);
    }
    let _ = std::fs::remove_file(bench.path("../.config/pib/config.toml"));
    for (variables, say) in [
        ([OURS, ("PIB_REGISTRIES_ACME_INDEX", "http://stages.example")], "PIB_REGISTRIES_ACME_INDEX"),
        ([OURS, ("PIB_REGISTRIES_ACME_INDEX", "acme")], "PIB_REGISTRIES_ACME_INDEX"),
        (
            [("PIB_REGISTRIES_ACME_TOKEN", "a b"), ("PIB_REGISTRIES_ACME_INDEX", "https://x.example")],
            "_TOKEN",
        ),
    ] {
        let ran = bench.run_with(&["plan"], &variables);
        assert!(ran.code == Some(3) && ran.errors.contains(say), "{}", ran.errors);
    }
    assert_eq!(site.asked(), [""; 0]);
}

#[test]
fn an_address_with_a_user_is_refused() {
    let (bench, site) = world();
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    for user in ["stages.example", "me:hunter2-token", ":hunter2-token"] {
        let address = site.address.replace("://", &format!("://{user}@"));
        bench.write("pib.toml", &manifest.replace(&site.address, &address));
        bench.fails(&["plan"], 3, &["no user and no password", "***@127.0.0.1"]);
        let ran = bench.run_with(&["add", "acme", "--registry", "acme"], &[OURS]);
        assert!(ran.code == Some(3) && !ran.errors.contains(TOKEN), "{}", ran.errors);
    }
    assert_eq!(site.asked(), [""; 0]);
}

#[test]
fn neither_a_proxy_nor_a_netrc_takes_part() {
    let (bench, site) = world();
    let proxy = Site::start(site.root.clone());
    bench.write(
        "../.netrc",
        "machine 127.0.0.1 login me password hunter2-token\ndefault login me password x\n",
    );
    // Without a token, the proxy is asked as its user wants it. This one knows no other servers.
    let through = [("http_proxy", proxy.address.as_str()), OURS];
    assert_eq!(adds(&bench, &through).code, Some(8));
    let seen = users(&proxy);
    assert!(!seen.is_empty() && seen.iter().all(Option::is_none), "{seen:?}");
    // A token that is for this machine does not leave it.
    let index = ("PIB_REGISTRIES_ACME_INDEX", site.address.as_str());
    let ran = adds(&bench, &[through[0], OURS, index]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    // Debian's archive is asked as its user wants it, too.
    let asked = proxy.log.lock().unwrap().clone();
    assert!(
        asked.iter().all(|(path, _, user)| path.contains("/debian/dists/") && user.is_none()),
        "{asked:?}"
    );
    assert!(users(&site).iter().all(|user| *user == bearer()));
    // Nor does curl's file let anybody in.
    users(&site);
    adds(&bench, &[]);
    assert!(users(&site).iter().all(Option::is_none));
}

/// A git whose helper notes what it is asked, and knows one host only.
fn helper(bench: &Bench, host: &str) -> std::path::PathBuf {
    let log = bench.folder.path().join("asked");
    let script = format!(
        "#!/bin/sh\nall=$(cat)\necho \"$all\" >> {}\ncase \"$all\" in *\"host={host}\"*) echo username=me; echo \
         password=secret;; esac\n",
        log.display()
    );
    bench.write("../helper", &script);
    let path = bench.folder.path().join("helper");
    bench.write("../.gitconfig", &format!("[credential]\n\thelper = \"!sh {}\"\n", path.display()));
    log
}

#[test]
fn a_git_helper_is_asked_for_the_host_that_is_reached() {
    let bench = Bench::new(crate::bench::PROJECT);
    let root = bench.folder.path().join("repos");
    let library = Repo::new(&root.join("library"));
    library.write("lib.sh", "echo\n");
    library.commit();
    let manners = || forge::Manners { login: Some("Basic bWU6c2VjcmV0"), ..forge::Manners::default() };
    let (trusted, evil) = (Forge::start(&root, manners()), Forge::start(&root, manners()));
    let host = |forge: &Forge| forge.address.strip_prefix("http://").unwrap().to_owned();
    let repo = Repo::new(&root.join("kvm"));
    repo.stage("", "kvm", "1.0.0");
    let submodule = format!("{}/library/.git", trusted.address);
    repo.git(&["submodule", "--quiet", "add", &library.url(), "files/lib"]);
    repo.git(&["config", "-f", ".gitmodules", "submodule.files/lib.url", &submodule]);
    repo.commit();
    let log = helper(&bench, &host(&trusted));
    let path = std::env::var("PATH").unwrap();
    let environment = [("PATH", path.as_str()), ("GIT_CONFIG_NOSYSTEM", "1")];
    // What looks like the trusted host is the user at another one, and asked for as that.
    for address in [
        format!("http://{}@{}/kvm/.git", host(&trusted).replace(':', "%3A"), host(&evil)),
        format!("http://{}%2F@{}/kvm/.git", host(&trusted).replace(':', "%3A"), host(&evil)),
        format!("{}/kvm/.git", evil.address),
    ] {
        let ran = bench.run_with(&["add", "--git", &address], &environment);
        assert_eq!(ran.code, Some(8), "{}", ran.errors);
        let asked = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(asked.contains(&format!("host={}", host(&evil))), "{asked}");
        assert!(!asked.contains(&format!("host={}", host(&trusted))), "{asked}");
    }
    let users = |forge: &Forge| -> Vec<Option<String>> {
        forge.asked.lock().unwrap().drain(..).map(|(.., user)| user).collect()
    };
    assert!(users(&evil).iter().all(Option::is_none));
    // A submodule's host is asked with what is for it, and the repository that names it with nothing.
    let open = Forge::start(&root, forge::Manners::default());
    let ran = bench.run_with(&["add", "--git", &format!("{}/kvm/.git", open.address)], &environment);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(users(&open).iter().all(Option::is_none));
    assert!(users(&trusted).iter().any(Option::is_some));
}

#[test]
fn a_project_names_no_helper() {
    let bench = Bench::new(crate::bench::PROJECT);
    let root = bench.folder.path().join("repos");
    let repo = Repo::new(&root.join("kvm"));
    repo.stage("", "kvm", "1.0.0");
    repo.commit();
    let login = Some("Basic bWU6c2VjcmV0");
    let forge = Forge::start(&root, forge::Manners { login, ..forge::Manners::default() });
    // The project is a repository itself, and its settings are a stranger's.
    let project = Repo::new(&bench.path(""));
    let touched = bench.folder.path().join("touched");
    project.git(&["config", "credential.helper", &format!("!touch {}; cat >&2", touched.display())]);
    let path = std::env::var("PATH").unwrap();
    let environment = [("PATH", path.as_str()), ("GIT_CONFIG_NOSYSTEM", "1")];
    let ran = bench.run_with(&["add", "--git", &format!("{}/kvm/.git", forge.address)], &environment);
    assert_eq!(ran.code, Some(8), "{}", ran.errors);
    assert!(!touched.exists(), "the project's helper ran");
}
