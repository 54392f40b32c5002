//! A registry's own server: publishing with tokens, its files, its pages, and what strangers send to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::api_description;
use crate::bench::Bench;
use crate::site::succeeds;

const PROJECT: &str =
    "[project]\nname = \"pi\"\nboard = \"rpi4\"\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n";

/// A running server of a registry, which ends with this value.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Service {
    /// Serves the registry in `shop`, to which is published.
    fn start(bench: &Bench) -> Self {
        Self::of(bench, &["shop", "--tokens", "tokens.json"])
    }

    /// Serves a registry; `args` name it and say how.
    pub(crate) fn of(bench: &Bench, args: &[&str]) -> Self {
        let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        pib.args(["registry", "serve", "--listen", "127.0.0.1:0"]).args(args);
        let errors = std::fs::File::create(bench.path("errors")).unwrap();
        let mut child = pib.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let address = address.unwrap_or_else(|| panic!("{line}")).trim_end_matches(';').to_owned();
        Self { child, address }
    }

    /// Returns the process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to end.
    pub(crate) fn end(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until the server has ended, and returns its exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Sends a request as it is, and returns the whole answer.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        _ = stream.write_all(request);
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> String {
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n{lines}\r\n",
            self.address
        );
        let answer = self.raw(&[head.as_bytes(), body].concat());
        api_description::check(method, path, &answer);
        answer
    }

    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> String {
        self.request("GET", path, headers, b"")
    }
}

pub(crate) fn stage(bench: &Bench, name: &str, version: &str) {
    let manifest = format!(
        "[stage]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"Films <b>birds</b>\"\nlicense = \"MIT\"\n"
    );
    bench.write(&format!("{name}/stage.toml"), &manifest);
    bench.write(&format!("{name}/Dockerfile.part"), "RUN true\n");
    bench.write(&format!("{name}/README.md"), "<script>alert(1)</script>\n");
}

/// Makes a token, and returns its secret.
pub(crate) fn token(bench: &Bench, more: &[&str]) -> String {
    let said = succeeds(bench, &[&["registry", "token", "ann", "--tokens", "tokens.json"], more].concat());
    said.lines().next().unwrap().to_owned()
}

fn run_as(bench: &Bench, service: &Service, token: &str, args: &[&str]) -> (Option<i32>, String) {
    let index = format!("http://{}", service.address);
    let ran =
        bench.run_with(args, &[("PIB_REGISTRIES_SHOP_INDEX", &index), ("PIB_REGISTRIES_SHOP_TOKEN", token)]);
    (ran.code, ran.out + &ran.errors)
}

#[test]
fn a_stage_is_published_to_a_server_and_taken_from_it() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let all = token(&bench, &[]);
    let updates = token(&bench, &["--scope", "publish-update", "--stage", "camera"]);
    let service = Service::start(&bench);
    let index = format!("http://{}", service.address);
    bench.write("pib.toml", &format!("{PROJECT}\n[stages]\n\n[registries.shop]\nindex = \"{index}\"\n"));
    stage(&bench, "camera", "1.0.0");
    let publish = ["publish", "camera", "--registry", "shop"];
    // Without a token, with a wrong one, with one that allows less.
    for (token, words) in [("pib_wrong", "401"), (updates.as_str(), "403"), ("pib_", "401")] {
        let (code, said) = run_as(&bench, &service, token, &publish);
        assert!(code == Some(8) && said.contains(words), "{token}: {said}");
        assert!(token.len() < 10 || !said.contains(token), "{said}");
    }
    let (code, said) = run_as(&bench, &service, &all, &publish);
    assert!(code == Some(0) && said.contains("Published camera 1.0.0"), "{said}");
    let (code, said) = run_as(&bench, &service, &all, &publish);
    assert!(code == Some(0) && said.contains("Nothing new"), "{said}");
    // Now the other token may go on, and nobody may change what is published.
    stage(&bench, "camera", "1.1.0");
    assert_eq!(run_as(&bench, &service, &updates, &publish).0, Some(0));
    bench.write("camera/README.md", "changed\n");
    let (code, said) = run_as(&bench, &service, &all, &publish);
    assert!(code == Some(8) && said.contains("409") && said.contains("another content"), "{said}");
    let yank = ["yank", "camera@1.1.0", "--registry", "shop", "--reason", "it is blind"];
    let (code, said) = run_as(&bench, &service, &updates, &yank);
    assert!(code == Some(8) && said.contains("403"), "{said}");
    let long = [&yank[..4], &["--reason", "a\nb"]].concat();
    assert!(run_as(&bench, &service, &all, &long).1.contains("one line"));
    assert_eq!(run_as(&bench, &service, &all, &yank).0, Some(0));
    let info = succeeds(&bench, &["info", "camera", "--registry", "shop"]);
    assert!(info.contains("1.1.0 (yanked: it is blind)"), "{info}");
    // A project takes it.
    bench.write("pib.toml", &format!("{PROJECT}\n[stages]\ncamera = {{ version = \"1\", registry = \"shop\" }}\n\n[registries.shop]\nindex = \"{index}\"\n"));
    succeeds(&bench, &["lock"]);
    let lock = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    assert!(lock.contains("name = \"camera\"\nversion = \"1.0.0\""), "{lock}");
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("2 versions of 1 stage"));
}

#[test]
fn files_and_pages_are_read_by_anybody_and_nothing_else_is() {
    let bench = Bench::new("");
    stage(&bench, "camera", "1.0.0");
    succeeds(&bench, &["publish", "camera", "--registry", "./shop"]);
    bench.write("shop/secret", "secret");
    std::os::unix::fs::symlink("/etc/passwd", bench.path("shop").join("1")).unwrap();
    token(&bench, &[]);
    let service = Service::start(&bench);
    let archive = "/archives/camera/camera-1.0.0.stage";
    let whole = service.get(archive, &[]);
    assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("immutable"), "{whole}");
    let tag = whole.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert!(service.get(archive, &[&format!("if-none-match: {tag}")]).starts_with("HTTP/1.1 304"));
    let part = service.get(archive, &["range: bytes=0-3"]);
    assert!(part.starts_with("HTTP/1.1 206") && part.contains("content-range: bytes 0-3/"), "{part}");
    assert!(service.get(archive, &["range: bytes=99999999-"]).starts_with("HTTP/1.1 416"));
    assert!(service.get("/ca/me/camera", &[]).contains("must-revalidate"));
    assert!(service.request("HEAD", "/config.json", &[], b"").starts_with("HTTP/1.1 200"));
    for path in [
        "/secret",
        "/1/a",
        "/../tokens.json",
        "/%2e%2e/tokens.json",
        "/archives/../config.json",
        "/tokens.json",
        "/stages/nobody",
        "/stages/..%2f..",
    ] {
        assert!(service.get(path, &[]).starts_with("HTTP/1.1 404"), "{path}");
    }
    for (path, words) in [
        ("/", "1 stage<"),
        ("/?q=birds", "1 stage<"),
        ("/?q=%3Cscript%3E", "No stage matches"),
        ("/stages/camera", "pib add camera"),
    ] {
        let page = service.get(path, &[]);
        assert!(page.starts_with("HTTP/1.1 200") && page.contains(words), "{path}: {page}");
        assert!(
            !page.contains("<script>") && !page.contains("<b>") && page.contains("default-src 'none'"),
            "{page}"
        );
    }
    for name in ["registry.css", "registry.js", "icon.svg"] {
        assert!(service.get(&format!("/assets/{name}"), &[]).starts_with("HTTP/1.1 200"), "{name}");
    }
    // Programs are told where what is, and get a list of the stages.
    let described = service.get("/api/v1/openapi.json", &[]);
    assert!(described.contains("\"openapi\": \"3.1.0\""), "{described}");
    let list = service.get("/api/v1/stages?q=birds", &[]);
    assert!(list.contains("\"name\":\"camera\",\"version\":\"1.0.0\""), "{list}");
}

#[test]
fn what_strangers_send_does_no_harm() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let secret = token(&bench, &[]);
    let service = Service::start(&bench);
    let bearer = format!("authorization: Bearer {secret}");
    let put = |path: &str, body: &[u8]| service.request("PUT", path, &[&bearer], body);
    for body in [&b""[..], b"no archive", &[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0], &vec![b'x'; 1 << 20]] {
        let answer = put("/api/v1/stages", body);
        assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
        assert!(!answer.contains("/tmp/"), "{answer}");
    }
    for path in [
        "/api/v1/stages/..%2f..%2fx/1.0.0/yank",
        "/api/v1/stages/camera/1/yank",
        "/api/v1/stages/nobody/1.0.0/yank",
    ] {
        assert!(put(path, b"").starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(put("/api/v1/stages?allow=everything", b"").starts_with("HTTP/1.1 400"));
    assert!(service.get("/?from=-1", &[]).starts_with("HTTP/1.1 400"));
    let answer = service.request("PUT", "/config.json", &[&bearer], b"{}");
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET,HEAD"), "{answer}");
    // A body that is shorter than was said, a request that is none, a length that nobody has.
    let broken =
        format!("PUT /api/v1/stages HTTP/1.1\r\nhost: x\r\n{bearer}\r\ncontent-length: 100\r\n\r\nabc");
    for broken in [broken.as_bytes(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET / HT"] {
        TcpStream::connect(&service.address).unwrap().write_all(broken).unwrap();
    }
    let large = format!(
        "PUT /api/v1/stages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}\r\ncontent-length: 99999999999\r\n\r\n"
    );
    assert!(service.raw(large.as_bytes()).starts_with("HTTP/1.1 413"));
    assert!(service.get("/health", &[]).ends_with("ok\n"));
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("0 versions"));
    // What is wrong on the server is told there, and not to strangers.
    std::fs::create_dir_all(bench.path("shop/ca/me/camera")).unwrap();
    let answer = service.get("/ca/me/camera", &[]);
    assert!(answer.starts_with("HTTP/1.1 500") && !answer.contains("director"), "{answer}");
    let errors = std::fs::read_to_string(bench.path("errors")).unwrap();
    assert!(errors.contains("a request failed"), "{errors}");
    // The file of tokens has no token.
    assert!(!std::fs::read_to_string(bench.path("tokens.json")).unwrap().contains(&secret));
}

/// One registry that does not answer keeps nobody from seeing what the others have.
#[test]
fn all_registries_are_searched_side_by_side() {
    let bench = Bench::new("");
    stage(&bench, "camera", "1.0.0");
    succeeds(&bench, &["publish", "camera", "--registry", "./shop"]);
    let service = Service::of(&bench, &["shop"]);
    bench.write("pib.toml", &format!("{PROJECT}\n[stages]\n\n[registries.shop]\nindex = \"http://{}\"\n\n[registries.dead]\nindex = \"http://127.0.0.1:9\"\n\n[registries.gone]\nindex = \"oci://127.0.0.1:9/a\"\n", service.address));
    let ran = bench.run(&["search", "birds"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "camera 1.0.0  shop  Films <b>birds</b>\n"),
        "{}",
        ran.errors
    );
    for registry in ["http://127.0.0.1:9", "oci://127.0.0.1:9/a"] {
        assert!(ran.errors.contains(&format!("cannot search the registry {registry}")), "{}", ran.errors);
    }
    let all = succeeds(&bench, &["search"]);
    assert!(all.contains("  bundled  ") && all.contains("  shop     "), "{all}");
}

/// Who publishes a stage first owns it; they name others, and nobody else publishes or yanks.
#[test]
fn a_stage_belongs_to_its_owners() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let tokens = ["ann", "bob", "eve"].map(|name| {
        let said = succeeds(&bench, &["registry", "token", name, "--tokens", "tokens.json"]);
        said.lines().next().unwrap().to_owned()
    });
    let [ann, bob, eve] = tokens.each_ref().map(String::as_str);
    let service = Service::start(&bench);
    let index = format!("http://{}", service.address);
    let run = |token: &str, args: &[&str], exit: i32, words: &str| {
        let (code, said) = run_as(&bench, &service, token, &[args, &["--registry", &index]].concat());
        assert!(code == Some(exit) && said.contains(words), "{args:?}: {said}");
    };
    run(ann, &["owner", "list", "camera"], 8, "404");
    stage(&bench, "camera", "1.0.0");
    run(ann, &["publish", "camera"], 0, "Published camera 1.0.0");
    run(eve, &["owner", "list", "camera"], 0, "ann\n");
    stage(&bench, "camera", "1.1.0");
    run(bob, &["publish", "camera"], 8, "belongs to ann, and the token is of bob");
    run(eve, &["yank", "camera@1.0.0"], 8, "belongs to ann");
    run(eve, &["owner", "add", "camera", "eve"], 8, "belongs to ann");
    run(ann, &["owner", "add", "camera", "bbo"], 8, "nobody of that name");
    run(ann, &["owner", "add", "camera", "bob"], 0, "bob is an owner of camera");
    run(ann, &["owner", "add", "camera", "bob"], 0, "already");
    run(bob, &["publish", "camera"], 0, "Published camera 1.1.0");
    run(bob, &["owner", "remove", "camera", "ann"], 0, "not an owner of camera");
    run(bob, &["owner", "remove", "camera", "bob"], 8, "only owner");
    run(ann, &["yank", "camera@1.1.0"], 8, "belongs to bob");
    // What was published at the folder belongs to nobody until a token names the first owner.
    stage(&bench, "light", "1.0.0");
    succeeds(&bench, &["publish", "light", "--registry", "./shop"]);
    run(eve, &["owner", "list", "light"], 0, "has no owners");
    run(eve, &["yank", "light@1.0.0"], 0, "yanked");
    run(eve, &["owner", "add", "light", "ann"], 0, "ann is an owner");
    run(eve, &["yank", "light@1.0.0", "--undo"], 8, "belongs to ann");
    // The lists are served to nobody, and are in nobody's way.
    assert!(service.get("/owners/camera.json", &[]).starts_with("HTTP/1.1 404"));
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("3 versions of 2 stages"));
    let ran = bench.run(&["owner", "list", "camera", "--registry", "./shop"]);
    assert!(ran.code == Some(2) && ran.errors.contains("has no owners"), "{}", ran.errors);
}

/// Through one server and at the folder itself: each version is in the index once.
#[test]
fn publishers_at_the_server_and_at_the_folder_are_in_turn() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let all = token(&bench, &[]);
    let service = Service::start(&bench);
    let index = format!("http://{}", service.address);
    for name in ["one", "two", "three", "four"] {
        stage(&bench, name, "1.0.0");
    }
    std::thread::scope(|scope| {
        for (name, registry) in
            [("one", "./shop"), ("two", index.as_str()), ("three", "./shop"), ("four", index.as_str())]
        {
            let (bench, service, all) = (&bench, &service, &all);
            scope.spawn(move || {
                let (code, said) = run_as(bench, service, all, &["publish", name, "--registry", registry]);
                assert_eq!(code, Some(0), "{said}");
            });
        }
    });
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("4 versions of 4 stages"));
}

/// Runs `pib login` with a token on standard input.
fn logs_in(bench: &Bench, args: &[&str], input: &str) -> (Option<i32>, String) {
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.arg("login").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pib.spawn().unwrap();
    // A login that fails before it reads is as good.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_token_is_kept_once_the_server_knows_it() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let secret = token(&bench, &["--scope", "publish-update", "--stage", "cam*", "--days", "1"]);
    let service = Service::start(&bench);
    let index = format!("http://{}", service.address);
    let config = bench.path("../.config/pib/config.toml");
    bench.write("../.config/pib/config.toml", "# mine\n[hooks]\nfuel = 2000000000\n");
    // A name that nothing of the user's gives an address, though a project does.
    bench.write("pib.toml", &format!("{PROJECT}\n[stages]\n\n[registries.shop]\nindex = \"{index}\"\n"));
    let (code, said) = logs_in(&bench, &["shop"], &secret);
    assert!(code == Some(2) && said.contains(&format!("pib login shop {index}")), "{said}");
    for (input, words, exit) in
        [("pib_wrong\n", "401", 8), ("", "no token on standard input", 2), ("two words", "blanks", 2)]
    {
        let (code, said) = logs_in(&bench, &["shop", &index], input);
        assert!(code == Some(exit) && said.contains(words), "{input}: {said}");
        assert!(input.len() < 4 || !said.contains(input), "{said}");
    }
    let (code, said) = logs_in(&bench, &["shop", "http://stages.example.org"], &secret);
    assert!(code == Some(2) && said.contains("unprotected"), "{said}");
    assert!(!std::fs::read_to_string(&config).unwrap().contains("token"));

    let (code, said) = logs_in(&bench, &["shop", &index], &format!("{secret}\n"));
    assert!(code == Some(0) && said.contains("ann, who may publish-update for cam*, until "), "{said}");
    assert!(!said.contains(&secret), "{said}");
    let kept = std::fs::read_to_string(&config).unwrap();
    assert!(kept.starts_with("# mine\n[hooks]\nfuel = 2000000000\n") && kept.contains(&secret), "{kept}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&config.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // It is used from then on, and the address need not be given again.
    for args in [&["whoami"][..], &["whoami", "shop"], &["whoami", &index]] {
        assert!(succeeds(&bench, args).starts_with(&format!("{index}: ann, who may")));
    }
    assert_eq!(logs_in(&bench, &["shop"], &secret).0, Some(0));
    stage(&bench, "camera", "1.0.0");
    let ran = bench.run(&["publish", "camera", "--registry", "shop"]);
    assert!(ran.code == Some(8) && ran.errors.contains("`publish-new`"), "{}", ran.errors);

    assert!(succeeds(&bench, &["logout", "shop"]).contains("Removed"));
    let left = std::fs::read_to_string(&config).unwrap();
    assert!(left.contains(&index) && !left.contains("pib_"), "{left}");
    assert!(succeeds(&bench, &["logout", "shop"]).contains("no token"));
    let ran = bench.run(&["whoami"]);
    assert!(ran.code == Some(2) && ran.errors.contains("pib login NAME ADDRESS"), "{}", ran.errors);
}

/// Tokens that are made at the same time are all in the file, and logins at the same time are all in the config.
#[test]
fn tokens_that_are_made_or_kept_at_the_same_time_are_all_there() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    let secret = token(&bench, &[]);
    let start = |args: &[&str], input: &str| {
        let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        let mut child = pib.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child
    };
    let names: Vec<String> = (0..8).map(|number| format!("person{number}")).collect();
    let made = names.iter().map(|name| start(&["registry", "token", name, "--tokens", "tokens.json"], ""));
    made.collect::<Vec<_>>().into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
    let tokens = std::fs::read_to_string(bench.path("tokens.json")).unwrap();
    assert!(names.iter().all(|name| tokens.contains(name)), "{tokens}");

    let service = Service::start(&bench);
    let index = format!("http://{}", service.address);
    // What a killed login left is gone after the next.
    let left = bench.path("../.config/pib/.pib-new-0123456789abcdef");
    bench.write("../.config/pib/.pib-new-0123456789abcdef", "token");
    let kept = names.iter().map(|name| start(&["login", name, &index], &secret));
    kept.collect::<Vec<_>>().into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
    let config = std::fs::read_to_string(bench.path("../.config/pib/config.toml")).unwrap();
    assert!(names.iter().all(|name| config.contains(&format!("[registries.{name}]"))), "{config}");
    assert!(!left.exists());

    // One registry that does not answer keeps nobody from knowing of the others.
    let text = config + "\n[registries.gone]\nindex = \"http://127.0.0.1:9\"\ntoken = \"x\"\n";
    std::fs::write(bench.path("../.config/pib/config.toml"), text).unwrap();
    let ran = bench.run(&["whoami"]);
    assert!(ran.code == Some(0) && ran.out.contains("ann, who may"), "{}{}", ran.out, ran.errors);
    assert!(ran.errors.contains("http://127.0.0.1:9"), "{}", ran.errors);
    let ran = bench.run(&["whoami", "http://me:hunter2@127.0.0.1:8"]);
    assert!(ran.code == Some(2) && !ran.errors.contains("hunter2"), "{}", ran.errors);
    let (code, said) = logs_in(&bench, &["long", &index], &"a".repeat(5000));
    assert!(code == Some(2) && said.contains("longer than 4096 bytes"), "{said}");
}
