//! What a stranger's project reaches outside of its folder, which takes the user's word.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, Ran};
use crate::forge::{Forge, Manners, Repo};

/// A project's head; its stages follow.
const HEAD: &str = "[project]\nname = \"router\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n";
const STAGES: &str = "\n[stages]\nos = \"1\"\n";
/// A stage that takes whatever config may reach out.
const TAKES: &str = "[config.file]\ntype = \"path\"\nhelp = \"a file\"\n\n[config.files]\ntype = \"paths\"\nhelp = \"files\"\ndefault = []\n\n\
                     [config.password]\ntype = \"secret\"\nhelp = \"a secret\"\n";

const PART: &str = "RUN --mount=type=secret,id=mine.password true\n";

/// A project from a stranger, beside a file of the user's.
fn strange(top: &str, stages: &str) -> Bench {
    let bench = Bench::new(&format!("{HEAD}{top}{STAGES}{stages}"));
    bench.stage("mine", "", Some("RUN true\n"));
    let user = bench.folder.path().join("user");
    std::fs::create_dir_all(user.join("stages")).unwrap();
    std::fs::write(user.join("private.pem"), "the user's own\n").unwrap();
    bench
}

/// Runs the program for a user who has allowed nothing beforehand.
fn run(bench: &Bench, args: &[&str]) -> Ran {
    bench.run_with(args, &[("PIB_TRUST", "0")])
}

/// Returns the text in one line.
fn flat(text: &str) -> String {
    text.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect::<Vec<_>>().join(" ")
}

fn refused(bench: &Bench, args: &[&str], what: &str) {
    let ran = run(bench, args);
    let words = flat(&ran.errors);
    assert_eq!(ran.code, Some(9), "{args:?}: {}{}", ran.out, ran.errors);
    assert!(words.contains(what) && words.contains("pib trust"), "{what}: {words}");
    assert!(!ran.errors.contains("the user's own"), "{}", ran.errors);
}

fn allowed(bench: &Bench, args: &[&str]) -> String {
    let ran = run(bench, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    ran.out
}

#[test]
fn what_a_manifest_names_outside_is_asked_for_by_every_command() {
    let base = "\n[base]\npath = \"../user/private.pem\"\ndigest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";
    let cases = [
        ("", "mine = { path = \"../user\" }\n", "reads `../user`"),
        ("", "mine = { path = \"out\" }\n", "reads `out`, which is `"),
        ("", "mine = { git = \"file:///etc\" }\n", "reads `/etc`"),
        ("", "mine = { git = \"file:///%65tc\" }\n", "reads `file:///%65tc`"),
        ("\n[registries.r]\nindex = \"file:///etc\"\n", "", "reads `/etc`"),
        ("\n[registries.r]\nindex = \"FILE:///etc\"\n", "mine = { path = \"stages/mine\" }\n", "/etc"),
        ("\n[patch]\nos = { path = \"../user\" }\n", "", "reads `../user`"),
        (base, "", "reads `../user/private.pem`"),
        ("", "[target.t.stages]\nmine = { path = \"/\" }\n", "reads `/`"),
    ];
    for (top, stages, what) in cases {
        let bench = strange(top, stages);
        symlink("../user", bench.path("out")).unwrap();
        for args in [&["lock"][..], &["fetch"], &["update"], &["vendor"]] {
            refused(&bench, args, what);
        }
        if !stages.contains("target") {
            for args in [&["plan"][..], &["tree"], &["build"], &["outdated"], &["why", "os"], &["info", "os"]]
            {
                refused(&bench, args, what);
            }
        }
        assert!(!bench.path("pib.lock").exists() && !bench.path("vendor").exists());
    }
}

#[test]
fn what_config_names_outside_is_asked_for_before_it_is_read() {
    let cases = [
        ("file = \"../user/private.pem\"", "reads `../user/private.pem`"),
        ("file = \"out/private.pem\"", "reads `out/private.pem`, which is `"),
        ("files = [\"../user/*.pem\"]", "reads `../user/*.pem`"),
        ("files = [\"/**/*\"]", "reads `/**/*`"),
        ("files = [\"o*/*.pem\"]", "reads `out`, which is `"),
        ("files = [\"**/private.pem\"]", "reads `out`, which is `"),
        ("files = [\"?ink.pem\"]", "reads `link.pem`, which is `"),
        ("files = [\"stages/../../user/*\"]", "reads `stages/../../user/*`"),
        ("password = { file = \"../user/private.pem\" }", "reads `../user/private.pem`"),
        ("password = { env = \"HOME\" }", "reads the environment variable `HOME`"),
        ("password = { command = [\"touch\", \"started\"] }", "starts `touch`"),
    ];
    for (config, what) in cases {
        let password = if config.contains("password") { "" } else { ", password = { file = \"pass\" }" };
        let file =
            if config.contains("file = \"") && !config.contains("{") { "" } else { ", file = \"pass\"" };
        let bench = strange(
            "",
            &format!("mine = {{ path = \"stages/mine\", config = {{ {config}{password}{file} }} }}\n"),
        );
        bench.stage("mine", TAKES, Some(PART));
        bench.write("pass", "word\n");
        symlink("../user", bench.path("out")).unwrap();
        symlink("../user/private.pem", bench.path("link.pem")).unwrap();
        // A plan starts no program.
        if !config.contains("command") {
            refused(&bench, &["plan"], what);
        }
        refused(&bench, &["build"], what);
        assert!(!bench.path("started").exists());
        // What the command line says is the user's own word.
        if config.contains("password") {
            let given = ["plan", "--secret", "id=mine.password,src=pass"];
            assert_eq!(run(&bench, &given).code, Some(0), "{}", run(&bench, &given).errors);
        }
    }
}

/// What a hook says of a file would show the file; and who cannot be shown what a project asks for cannot allow it.
#[test]
fn no_hook_sees_what_the_user_is_asked_for() {
    let stages = "rootssh = { version = \"1\", config = { authorized-keys = [\"../user/private.pem\"] } }\n";
    let bench = strange("", stages);
    refused(&bench, &["plan"], "reads `../user/private.pem`");
    let shown = run(&bench, &["trust", "--show"]);
    assert_eq!(shown.code, Some(0), "{}", shown.errors);
    assert!(shown.out.contains("reads `../user/private.pem`"), "{}", shown.out);
    assert!(!shown.errors.contains("hook"), "{}", shown.errors);
    // Also where everything is allowed anyway.
    let shown = bench.run_with(&["trust", "--show"], &[("PIB_TRUST", "1")]);
    assert!(shown.out.contains("reads `../user/private.pem`"), "{}", shown.out);
}

/// An engine gives whoever builds on it every container image that it has: other projects' systems among them.
#[test]
fn container_images_by_name_are_asked_for_before_an_engine_is() {
    let own = "mine = { path = \"stages/mine\" }\n";
    let name = "the container image `pib/router:0123456789abcdef`";
    for part in [
        "COPY --from=pib/router:0123456789abcdef /etc/shadow /shadow\n",
        "RUN --mount=type=bind,from=pib/router:0123456789abcdef,target=/x cp /x/etc/shadow /\n",
    ] {
        let bench = strange("", own);
        bench.stage("mine", "", Some(part));
        assert_eq!(run(&bench, &["plan"]).code, Some(0), "{}", run(&bench, &["plan"]).errors);
        refused(&bench, &["build"], name);
        assert!(allowed(&bench, &["trust", "--show"]).contains(name));
        allowed(&bench, &["trust", "--yes"]);
        assert_ne!(run(&bench, &["build"]).code, Some(9), "{}", run(&bench, &["build"]).errors);
    }
    // To write an image's digest, the author must have the image. An earlier stage is no container image.
    let digest = format!("COPY --from=x@sha256:{} /a /a\n", "0".repeat(64));
    for part in [&digest, "COPY --from=os /etc/os-release /a\n"] {
        let bench = strange("", own);
        bench.stage("mine", "[order]\nafter = [\"os\"]\n", Some(part));
        assert_ne!(run(&bench, &["build"]).code, Some(9), "{}", run(&bench, &["build"]).errors);
    }
}

/// The stages of a private registry are the user's to see, and the project's other stages see them.
#[test]
fn a_registry_that_takes_the_users_token_is_asked_for() {
    let bench = strange("\n[registries.theirs]\nindex = \"http://127.0.0.1:9/mine\"\n", "");
    let token = [
        ("PIB_TRUST", "0"),
        ("PIB_REGISTRIES_MINE_TOKEN", "token-of-the-user"),
        ("PIB_REGISTRIES_MINE_INDEX", "http://127.0.0.1:9/mine"),
    ];
    let ran = bench.run_with(&["lock"], &token);
    assert_eq!(ran.code, Some(9), "{}", ran.errors);
    assert!(
        ran.errors.contains("with your token") && !ran.errors.contains("token-of-the-user"),
        "{}",
        ran.errors
    );
    assert_ne!(bench.run_with(&["lock"], &token[..1]).code, Some(9));
}

/// A store takes the user's keys or logins, whoever has named it.
#[test]
fn a_store_that_takes_the_users_keys_is_asked_for() {
    let stores = "\n[stores]\na = \"s3://team-store/pib/\"\nb = \"oci://127.0.0.1:9/team/store\"\n";
    let bench = strange(stores, "");
    for what in ["`s3://team-store/pib` with your keys", "`oci://127.0.0.1:9/team/store` with your keys"] {
        refused(&bench, &["lock"], what);
        refused(&bench, &["push", "a"], what);
    }
    // What the user's own config names is nothing that a project reaches for.
    let config = bench.folder.path().join(".config/pib");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), stores).unwrap();
    allowed(&bench, &["lock"]);
    std::fs::write(config.join("config.toml"), "[stores]\na = \"s3://team-store/other\"\n").unwrap();
    refused(&bench, &["lock"], "`s3://team-store/pib`");
    allowed(&bench, &["trust", "--yes"]);
    allowed(&bench, &["lock"]);
}

#[test]
fn a_shared_cache_is_asked_for() {
    let cache = "\n[cache]\nurl = \"s3://team-cache/pib/\"\n";
    let bench = strange(cache, "");
    refused(&bench, &["lock"], "takes built stages from `s3://team-cache/pib`");
    // That the user keeps recorded content there is no word for built stages.
    let config = bench.folder.path().join(".config/pib");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "[stores]\na = \"s3://team-cache/pib\"\n").unwrap();
    refused(&bench, &["lock"], "takes built stages from");
    // The user's own cache is used instead of a project's.
    std::fs::write(config.join("config.toml"), "[cache]\nurl = \"/srv/cache\"\n").unwrap();
    allowed(&bench, &["lock"]);
    std::fs::write(config.join("config.toml"), "").unwrap();
    refused(&bench, &["lock"], "takes built stages from");
    allowed(&bench, &["trust", "--yes"]);
    allowed(&bench, &["lock"]);
}

#[test]
fn the_users_word_holds_for_what_was_asked_and_for_nothing_else() {
    let stages = |file: &str| {
        format!(
            "mine = {{ path = \"stages/mine\", config = {{ file = \"{file}\", password = {{ command = [\"pass\", \"wifi\"] }} }} }}\n"
        )
    };
    let bench = strange("", &stages("../user/private.pem"));
    bench.stage("mine", TAKES, Some(PART));
    let shown = allowed(&bench, &["trust", "--show"]);
    assert!(shown.contains("reads `../user/private.pem`") && shown.contains("starts `pass wifi`"), "{shown}");
    refused(&bench, &["plan"], "reads");
    assert_eq!(run(&bench, &["trust"]).code, Some(2), "there is nobody to ask");
    refused(&bench, &["plan"], "reads");
    allowed(&bench, &["trust", "--yes"]);
    allowed(&bench, &["plan"]);
    assert!(!bench.path("pib.lock").symlink_metadata().unwrap().is_symlink());
    bench.write("pib.toml", &format!("{HEAD}{STAGES}{}", stages("../user/other.pem")));
    std::fs::write(bench.folder.path().join("user/other.pem"), "x").unwrap();
    refused(&bench, &["plan"], "reads `../user/other.pem`");
    bench.write("pib.toml", &format!("{HEAD}{STAGES}{}", stages("../user/private.pem")));
    allowed(&bench, &["plan"]);
    let forgotten = allowed(&bench, &["trust", "--forget", "--json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&forgotten).unwrap()["project"].is_string());
    refused(&bench, &["plan"], "reads");
    let ran = bench.run_with(&["plan"], &[("PIB_TRUST", "1")]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
}

/// A program of the project's own is allowed as it was when the user was asked.
#[test]
fn a_program_that_the_project_changes_is_asked_for_again() {
    let config = "{ file = \"get.sh\", password = { command = [\"sh\", \"get.sh\"] } }";
    let bench = strange("", &format!("mine = {{ path = \"stages/mine\", config = {config} }}\n"));
    bench.stage("mine", TAKES, Some(PART));
    bench.write("get.sh", "echo word\n");
    refused(&bench, &["build"], "starts `sh`");
    allowed(&bench, &["trust", "--yes"]);
    // There is no engine here.
    assert_eq!(run(&bench, &["build"]).code, Some(5));
    bench.write("get.sh", "touch started; echo word\n");
    refused(&bench, &["build"], "starts `sh`");
    assert!(!bench.path("started").exists());
}

#[test]
fn a_project_of_the_users_own_is_asked_nothing() {
    let bench = strange("", "");
    let within = |args: &[&str]| {
        let ran = run(&bench, args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    };
    within(&["new", "own"]);
    bench.stage("mine", TAKES, Some(PART));
    let own = ["-C", "own"];
    let add = [
        "add",
        "--path",
        "stages/mine",
        "--config",
        "mine.password=env:HOME",
        "--config",
        "mine.file=../user/private.pem",
    ];
    within(&[&own[..], &add].concat());
    within(&[&own[..], &["plan"]].concat());
    // A stranger's project that takes its place is not the user's own.
    std::fs::rename(bench.path("own"), bench.path("kept")).unwrap();
    std::fs::create_dir(bench.path("own")).unwrap();
    for name in ["pib.toml", "pib.lock"] {
        std::fs::copy(bench.path("kept").join(name), bench.path("own").join(name)).unwrap();
    }
    refused(&bench, &["-C", "own", "plan"], "reads");
}

#[test]
fn a_project_can_be_started_where_no_config_can_be_kept() {
    let bench = strange("", "");
    bench.write("config", "a file in the place of the folder");
    let config = bench.path("config");
    let ran =
        bench.run_with(&["new", "own"], &[("PIB_TRUST", "0"), ("XDG_CONFIG_HOME", config.to_str().unwrap())]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(ran.errors.contains("pib trust") && bench.path("own/pib.toml").exists(), "{}", ran.errors);
}

#[test]
fn what_the_user_adds_by_hand_needs_no_second_word() {
    let bench = strange("", "");
    let stage = bench.folder.path().join("user/stages/theirs");
    std::fs::create_dir_all(&stage).unwrap();
    std::fs::write(stage.join("Dockerfile.part"), "RUN true\n").unwrap();
    let add = ["add", "--path", "../user/stages/theirs"];
    allowed(&bench, &[&add[..], &["--dry-run"]].concat());
    allowed(&bench, &add);
    allowed(&bench, &["plan"]);
    // It was this folder that was allowed.
    let text = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &text.replace("user/stages/theirs", "user/stages"));
    refused(&bench, &["plan"], "reads");
}

/// `me:secret` in base 64.
const LOGIN: &str = "Basic bWU6c2VjcmV0";

/// A user who has a password for git, and a stand-in for ssh that notes what it was called with and runs it here.
struct GitUser {
    bench: Bench,
    variables: Vec<(&'static str, String)>,
}

impl GitUser {
    /// The user beside a stranger's project with these stages.
    fn new(stages: &str) -> Self {
        let bench = strange("", stages);
        let noted = |name: &str| bench.folder.path().join(name).display().to_string();
        let helper = format!(
            "!f() {{ echo asked >> {}; echo username=me; echo password=secret; }}; f",
            noted("asked")
        );
        bench.write(
            "../.gitconfig",
            &format!("[credential]\n\thelper = \"{helper}\"\n[safe]\n\tdirectory = *\n"),
        );
        let ssh = format!(
            "#!/bin/sh\necho \"$@\" >> {}\nfor last; do :; done\nexec sh -c \"$last\"\n",
            noted("ssh.log")
        );
        bench.write("../ssh", &ssh);
        let variables = vec![
            ("PIB_TRUST", "0".to_owned()),
            ("PATH", std::env::var("PATH").unwrap()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GIT_SSH_COMMAND", format!("sh {}", noted("ssh"))),
        ];
        Self { bench, variables }
    }

    fn stages(&self, stages: &str) {
        self.bench.write("pib.toml", &format!("{HEAD}{STAGES}{stages}"));
    }

    fn repo(&self) -> Repo {
        let repo = Repo::new(&self.bench.folder.path().join("repos/kvm"));
        repo.stage("", "kvm", "1.0.0");
        repo.commit();
        repo
    }

    fn forge(&self, login: Option<&'static str>) -> Forge {
        Forge::start(&self.bench.folder.path().join("repos"), Manners { login, ..Manners::default() })
    }

    fn run(&self, args: &[&str]) -> Ran {
        let variables: Vec<_> = self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.bench.run_with(args, &variables)
    }

    fn passes(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
        ran.out
    }

    /// Runs what must end for want of the user's word for `url`.
    fn refused(&self, args: &[&str], url: &str) {
        let ran = self.run(args);
        let words = flat(&ran.errors);
        assert_eq!(ran.code, Some(9), "{args:?}: {}{}", ran.out, ran.errors);
        let asks = format!("fetches from `{}` with your git credentials", self.shown(url));
        assert!(words.contains(&asks) && words.contains("pib trust"), "{asks}: {words}");
    }

    /// Returns an address as the bench shows it.
    fn shown(&self, url: &str) -> String {
        url.replace(&*self.bench.folder.path().to_string_lossy(), "TEMP")
    }

    /// Returns whether the user's helper or ssh was started since the last question.
    fn was_asked(&self) -> bool {
        ["asked", "ssh.log"]
            .iter()
            .any(|name| std::fs::remove_file(self.bench.folder.path().join(name)).is_ok())
    }
}

#[test]
fn a_private_repository_is_fetched_with_the_users_word_only() {
    let user = GitUser::new("");
    user.repo();
    let forge = user.forge(Some(LOGIN));
    let url = format!("{}/kvm/.git", forge.address);
    let stage = format!("kvm = {{ git = \"{url}\" }}\n");
    user.stages(&stage);
    let sent = || forge.asked.lock().unwrap().drain(..).any(|(.., login)| login.is_some());
    for args in [&["lock"][..], &["plan"], &["fetch"], &["update"], &["tree"], &["build"]] {
        user.refused(args, &url);
    }
    let shown = user.passes(&["trust", "--show"]);
    assert!(shown.contains(&format!("fetches from `{url}` with your git credentials")), "{shown}");
    assert!(shown.contains("run `pib trust` again"), "{shown}");
    user.passes(&["trust", "--yes"]);
    assert!(!user.was_asked() && !sent(), "nothing may be sent before it is allowed");
    user.passes(&["plan"]);
    assert!(user.was_asked() && sent());
    let shown = user.passes(&["trust", "--show"]);
    assert!(shown.contains(&url) && shown.contains("is allowed") && !shown.contains("again"), "{shown}");
    // What the cache has of it is as private.
    user.passes(&["trust", "--forget"]);
    user.refused(&["plan"], &url);
    user.refused(&["plan", "--offline"], &url);
    assert_eq!(user.bench.run_with(&["plan"], &[("PIB_TRUST", "1")]).code, Some(0));
    // Named on the command line, it is the user's own word, also later.
    user.stages("");
    user.passes(&["add", "--git", &url]);
    user.passes(&["update"]);
    // Of a project of the user's own nothing is asked.
    user.passes(&["new", "own"]);
    let text = std::fs::read_to_string(user.bench.path("own/pib.toml")).unwrap();
    user.bench.write("own/pib.toml", &text.replacen("[stages]\n", &format!("[stages]\n{stage}"), 1));
    user.passes(&["-C", "own", "plan"]);
}

#[test]
fn a_public_repository_is_asked_for_by_nobody() {
    let user = GitUser::new("");
    user.repo();
    let forge = user.forge(None);
    user.stages(&format!("kvm = {{ git = \"{}/kvm/.git\" }}\n", forge.address));
    user.passes(&["plan"]);
    assert!(user.passes(&["trust", "--show"]).contains("asks for nothing"));
    assert!(!user.was_asked());
}

#[test]
fn the_users_ssh_is_started_with_the_users_word_only() {
    let user = GitUser::new("");
    let repo = user.repo();
    let url = format!("ssh://git@example.org:2222{}", repo.folder.display());
    for url in [&url, "git@example.org:acme/kvm.git"] {
        user.stages(&format!("kvm = {{ git = \"{url}\" }}\n"));
        for args in [&["lock"][..], &["plan"], &["fetch"], &["update"], &["vendor"]] {
            user.refused(args, url);
        }
        assert!(user.passes(&["trust", "--show"]).contains(&user.shown(url)));
    }
    user.stages(&format!("[patch]\nos = {{ git = \"{url}\" }}\n"));
    user.refused(&["plan"], &url);
    user.stages(&format!("kvm = {{ git = \"{url}\" }}\n"));
    user.passes(&["trust", "--yes"]);
    assert!(!user.was_asked(), "ssh may not be started before it is allowed");
    user.passes(&["plan"]);
    assert!(user.was_asked());
}

#[test]
fn what_leads_on_to_the_users_credentials_takes_the_users_word_too() {
    let user = GitUser::new("");
    let repo = user.repo();
    let commit = repo.git(&["rev-parse", "HEAD"]);
    // A public repository with a submodule behind ssh.
    let ssh = format!("ssh://git@example.org{}", repo.folder.display());
    let public = Repo::new(&user.bench.folder.path().join("repos/public"));
    public.stage("", "public", "1.0.0");
    public.write(".gitmodules", &format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {ssh}\n"));
    public.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},lib")]);
    public.git(&["add", ".gitmodules", "stage.toml", "Dockerfile.part"]);
    public.git(&["commit", "-q", "-m", "x"]);
    let forge = user.forge(None);
    user.stages(&format!("public = {{ git = \"{}/public/.git\" }}\n", forge.address));
    user.refused(&["plan"], &ssh);
    assert!(user.passes(&["trust", "--yes"]).contains(&user.shown(&ssh)));
    assert!(!user.was_asked());
    user.passes(&["plan"]);
    // The user's own settings have an address reached by ssh, and another with a password.
    let private = user.forge(Some(LOGIN));
    let host = private.address.strip_prefix("http://").unwrap();
    let settings = format!(
        "[url \"ssh://git@example.org/\"]\n\tinsteadOf = https://example.org/\n\
         [url \"http://me:secret@{host}/\"]\n\tinsteadOf = http://{host}/\n"
    );
    user.bench.write("../.gitconfig", &settings);
    assert!(user.was_asked());
    for url in ["https://example.org/acme/kvm".to_owned(), format!("{}/kvm/.git", private.address)] {
        user.stages(&format!("kvm = {{ git = \"{url}\" }}\n"));
        user.refused(&["plan"], &url);
    }
    assert!(!user.was_asked() && private.asked.lock().unwrap().iter().all(|(.., login)| login.is_none()));
    user.passes(&["trust", "--yes"]);
    user.passes(&["plan"]);
}

/// What a folder of the project is made into: a name, how, and what the project then asks for.
type Trap = (&'static str, fn(&Bench), &'static str);

fn into_git(bench: &Bench, name: &str, text: &str) {
    let user = bench.folder.path().join("user");
    bench.write(&format!("repo.git/{name}"), &text.replace("USER", &user.display().to_string()));
}

fn replaced(bench: &Bench, name: &str, leads_to: &str) {
    let path = bench.path(name);
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_dir_all(&path);
    symlink(leads_to.replace("USER", &bench.folder.path().join("user").display().to_string()), path).unwrap();
}

fn pipe(bench: &Bench, name: &str) {
    let _ = std::fs::remove_file(bench.path(name));
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path(name), rustix::fs::Mode::RWXU).unwrap();
}

/// Runs what must be refused at once: something that waits for a pipe waits for ever.
fn refused_at_once(bench: &Bench, name: &str, what: &str) {
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.arg("lock").env("PIB_TRUST", "0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = pib.spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it waits for {name}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let ran = bench.ran(&child.wait_with_output().unwrap());
    let words = flat(&ran.errors);
    assert_eq!(ran.code, Some(9), "{name}: {what}: {words}");
    assert!(words.contains(what), "{name}: {what}: {words}");
}

/// What has git read other places.
fn names_of_other_places() -> [Trap; 6] {
    [
        (
            "a folder of objects",
            |b| into_git(b, "objects/info/alternates", "USER/private/.git/objects\n"),
            "repo.git/objects/info/alternates`, which is",
        ),
        (
            "objects beside the project",
            |b| into_git(b, "objects/info/alternates", "# x\n../../../user/private/.git/objects\n"),
            "TEMP/user/private/.git/objects",
        ),
        (
            "objects from where pib is run",
            |b| into_git(b, "objects/info/alternates", "user\n"),
            "may lead anywhere",
        ),
        ("a common folder", |b| into_git(b, "commondir", "USER/private/.git\n"), "TEMP/user/private/.git"),
        (
            "settings elsewhere",
            |b| into_git(b, "config", "[core]\n\tbare = true\n[ InClude]\n\tpath = USER/private.pem\n"),
            "repo.git/config`, which may lead anywhere",
        ),
        ("a file in the place of the folder", with_a_git_file, "TEMP/user/private/.git"),
    ]
}

/// What leads out by links, what a reader would wait for, and a submodule.
fn links_out() -> [Trap; 7] {
    [
        (
            "a linked branch",
            |b| replaced(b, "repo.git/refs/heads/main", "../../../../user/private/.git/refs/heads/main"),
            "repo.git/refs/heads/main`, which is",
        ),
        (
            "linked objects",
            |b| replaced(b, "repo.git/objects", "USER/private/.git/objects"),
            "repo.git/objects`, which is",
        ),
        ("a link by way of the project", by_way_of_the_project, "more/objects`, which is"),
        ("a linked folder", with_a_linked_folder, "repo.git/.git`, which is"),
        ("a pipe for settings", |b| pipe(b, "repo.git/config"), "repo.git/config"),
        ("a pipe for a branch", |b| pipe(b, "repo.git/packed-refs"), "repo.git/packed-refs"),
        ("a submodule", with_a_submodule, "reads `TEMP/user/private`"),
    ]
}

fn with_a_git_file(bench: &Bench) {
    std::fs::remove_dir_all(bench.path("repo.git")).unwrap();
    into_git(bench, ".git", "gitdir: USER/private/.git\n");
}

fn with_a_linked_folder(bench: &Bench) {
    std::fs::remove_dir_all(bench.path("repo.git")).unwrap();
    std::fs::create_dir(bench.path("repo.git")).unwrap();
    replaced(bench, "repo.git/.git", "USER/private/.git");
}

fn by_way_of_the_project(bench: &Bench) {
    std::fs::create_dir_all(bench.path("more")).unwrap();
    replaced(bench, "more/objects", "USER/private/.git/objects");
    replaced(bench, "repo.git/objects", "../more");
}

fn with_a_submodule(bench: &Bench) {
    let private = bench.folder.path().join("user/private");
    let commit = Repo::new(&private).git(&["rev-parse", "HEAD"]);
    let work = Repo { folder: bench.path("work") };
    let url = format!("file://{}", private.display());
    work.write(".gitmodules", &format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {url}\n"));
    work.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},lib")]);
    work.git(&["add", ".gitmodules"]);
    work.git(&["commit", "-q", "-m", "x"]);
    work.git(&["push", "-q", "../repo.git", "main"]);
}

#[test]
fn a_repository_in_the_project_that_leads_out_of_it_is_asked_for() {
    for (name, set, what) in names_of_other_places().into_iter().chain(links_out()) {
        let bench = strange("", "");
        let private = Repo::new(&bench.folder.path().join("user/private"));
        private.stage("", "kvm", "1.0.0");
        private.commit();
        let work = Repo::new(&bench.path("work"));
        work.stage("", "kvm", "1.0.0");
        work.commit();
        work.git(&["clone", "-q", "--bare", ".", "../repo.git"]);
        // What git leaves there by itself leads nowhere.
        let stage = format!("kvm = {{ git = \"file://{}\" }}\n", bench.path("repo.git").display());
        bench.write("pib.toml", &format!("{HEAD}{STAGES}{stage}"));
        allowed(&bench, &["lock"]);
        std::fs::remove_file(bench.path("pib.lock")).unwrap();
        std::fs::remove_dir_all(bench.folder.path().join("cache")).unwrap();
        set(&bench);
        refused_at_once(&bench, name, what);
    }
}

#[test]
fn a_registry_in_the_project_that_leads_out_of_it_is_asked_for() {
    let bench = strange("", "");
    let index = format!("file://{}", bench.path("registry").display());
    let manifest = |index: &str| {
        let stage = "kvm = { version = \"1\", registry = \"r\" }\n";
        bench.write("pib.toml", &format!("{HEAD}\n[registries.r]\nindex = \"{index}\"\n{STAGES}{stage}"));
    };
    manifest(&index);
    bench.stage("kvm", "description = \"x\"\nlicense = \"MIT\"\n", Some("RUN true\n"));
    allowed(&bench, &["publish", "--index", "./registry", "stages/kvm", "--allow-incomplete"]);
    // A link that stays in the project leads nowhere.
    std::fs::rename(bench.path("registry/3"), bench.path("three")).unwrap();
    symlink("../three", bench.path("registry/3")).unwrap();
    allowed(&bench, &["lock"]);
    let user = bench.folder.path().join("user/registry");
    std::fs::rename(bench.path("registry"), &user).unwrap();
    std::fs::rename(bench.path("three"), bench.folder.path().join("user/three")).unwrap();
    std::fs::create_dir(bench.path("registry")).unwrap();
    std::fs::copy(user.join("config.json"), bench.path("registry/config.json")).unwrap();
    symlink("../../user/three", bench.path("registry/3")).unwrap();
    refused(&bench, &["lock"], "registry/3`, which is `TEMP/user/three`");
    std::fs::remove_file(bench.path("registry/3")).unwrap();
    symlink("../three", bench.path("registry/3")).unwrap();
    std::fs::create_dir(bench.path("three")).unwrap();
    symlink("../../user/three/k", bench.path("three/k")).unwrap();
    refused(&bench, &["lock"], "three/k`, which is `TEMP/user/three/k`");
    // Other ways to write an address of this machine.
    for scheme in ["file://localhost", "file:", "file:////", "FILE:"] {
        manifest(&format!("{scheme}{}", user.display()));
        refused(&bench, &["lock"], "user/registry");
    }
}
