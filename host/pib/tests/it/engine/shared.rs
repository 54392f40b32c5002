//! What one machine has built, another takes out of the shared cache: the image is the same, and nothing runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use pib_plan::id::Digest;

use super::kind::{Kind, Private, docker};
use super::project::{Scratch, stderr_text};
use crate::world::{Images, World, nonce};

/// Variables by which a machine reaches a cache.
type Variables = Vec<(String, String)>;

/// A machine with an engine, and a project on it that is the same on each.
pub(crate) struct Machine {
    project: Scratch,
    variables: Variables,
}

/// What a build did.
pub(crate) struct Built {
    /// The instructions that the engine executed, each as `STAGE INSTRUCTION`.
    executed: Vec<String>,
    /// The digest of the image.
    image: Digest,
    /// All that was said.
    said: String,
}

impl Machine {
    /// Makes the project on a machine whose engine is at `host`, with a cache of built stages at `url`.
    pub(crate) fn new(name: &str, host: &str, url: &str, write: &str, variables: &Variables) -> Self {
        let project = Scratch::new(name, host);
        let config = project.path(".config/pib");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("config.toml"), format!("[cache]\nurl = \"{url}\"\nwrite = \"{write}\"\n"))
            .unwrap();
        Self { project, variables: variables.clone() }
    }

    fn output(&self, args: &[&str]) -> Output {
        let mut pib = self.project.pib(&[&["build", "--json"], args].concat());
        pib.envs(self.variables.iter().cloned()).output().unwrap()
    }

    pub(crate) fn build(&self) -> Built {
        self.build_with(&[])
    }

    fn build_with(&self, args: &[&str]) -> Built {
        let output = self.output(args);
        let said = stderr_text(&output);
        assert!(output.status.success(), "{said}");
        let events = String::from_utf8(output.stderr).unwrap();
        let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let executed = events.filter(|event| event["event"] == "step-detail").filter_map(|event| {
            let stage = event["id"].as_str()?.strip_prefix("stage:")?.to_owned();
            let (_, instruction) = event["detail"].as_str()?.split_once(' ')?;
            (!instruction.starts_with("FROM ")).then(|| format!("{stage} {instruction}"))
        });
        let executed = executed.collect();
        let image = fs::read(self.project.image()).unwrap_or_else(|error| panic!("{error}: {said}"));
        Built { executed, image: Digest::of(&image), said }
    }

    /// Has the project have the parts, and the lock of another machine's.
    fn like(&self, other: &Self) {
        fs::copy(other.project.path("pib.lock"), self.project.path("pib.lock")).unwrap();
        for stage in ["__init__", "mine", "__cleanup__"] {
            let part = other.project.path(&format!("stages/{stage}/Dockerfile.part"));
            self.project.part(stage, &fs::read_to_string(part).unwrap());
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        _ = self.project.pib(&["clean"]).output();
    }
}

/// A part with all that layers are made of.
fn part(nonce: &str) -> String {
    format!(
        "ENV WORD=\"of {nonce}\"\nWORKDIR /work/deep\nRUN echo {nonce} > a && ln a b && chmod 4750 a && ln -s a c\n\
         RUN busybox rm /special/hardlink && busybox rm -r /tmp && mkdir /tmp && busybox mknod /special/null c 1 3\n\
         RUN dd if=/dev/zero of=/work/sparse bs=1 count=1 seek=1000000 2>/dev/null && echo x >> b\n\
         RUN busybox chown 7:8 /special/user && busybox rm -r /work/deep && echo \"$WORD\" > /etc/word\nUSER 7\n"
    )
}

fn names(executed: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = executed.iter().filter_map(|line| line.split(' ').next()).collect();
    names.dedup();
    names
}

/// Builds on the machine's own engine, and then on another one, which is empty.
pub(crate) fn goes_round(name: &str, url: &str, variables: &Variables) -> (Machine, Machine, Private) {
    let own = Kind::BuildKit.options().0.host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let first = Machine::new(name, &own, url, "always", variables);
    first.project.part("mine", &part(&nonce()));
    first.project.part("__cleanup__", "RUN echo \"$WORD\" > /etc/cleaned\n");
    let built = first.build();
    assert!(built.executed.iter().any(|line| line.starts_with("mine RUN")), "{:?}", built.executed);
    assert!(built.said.contains("Added 3 stages to the shared cache"), "{}", built.said);

    let engine = docker("500m");
    let second = Machine::new(name, &engine.host(), url, "always", variables);
    second.like(&first);
    let pulled = second.build();
    let ran: Vec<_> = pulled.executed.iter().filter(|line| line.contains(" RUN ")).collect();
    assert!(ran.is_empty(), "{ran:?}");
    assert!(
        pulled.said.contains("The stages up to __cleanup__ come from the shared cache"),
        "{}",
        pulled.said
    );
    assert!(!pulled.said.contains("the shared cache has"), "{}", pulled.said);
    assert_eq!(pulled.image, built.image);
    // A shell needs the stages in the engine, too.
    let output = second.output(&["--until", "__cleanup__"]);
    assert!(output.status.success() && !stderr_text(&output).contains(" RUN "), "{}", stderr_text(&output));

    // Only the last stage is another: it alone is built, and what is built is added.
    second.project.part("__cleanup__", "RUN echo \"another $WORD\" > /etc/cleaned\n");
    let partly = second.build();
    let ran: Vec<String> = partly.executed.iter().filter(|line| line.contains(" RUN ")).cloned().collect();
    assert_eq!(names(&ran), ["__cleanup__"], "{ran:?}");
    assert!(partly.said.contains("The stages up to mine come from the shared cache"), "{}", partly.said);
    assert!(partly.said.contains("Added 1 stage to"), "{}", partly.said);
    first.like(&second);
    assert_eq!(first.build().image, partly.image);
    (first, second, engine)
}

/// Makes of a file's bytes what somebody may have put in their place.
type Damage<'a> = &'a dyn Fn(&Path, &[u8]) -> Vec<u8>;

/// Returns the files of a cache in a folder, but for its entries.
fn packs(cache: &Path) -> Vec<PathBuf> {
    let folders = cache.read_dir().unwrap().flatten().filter(|folder| folder.file_name() != "entries");
    folders.flat_map(|folder| folder.path().read_dir().unwrap().flatten()).map(|file| file.path()).collect()
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let entries = cache.join("entries").read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn a_folder_serves_an_empty_engine_and_what_is_wrong_in_it_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let (_first, second, engine) = goes_round("sharedfolder", cache.to_str().unwrap(), &Vec::new());
    assert_eq!(entries(&cache).len(), 4);
    let expected = second.build().image;
    let good: Vec<(PathBuf, Vec<u8>)> = packs(&cache)
        .into_iter()
        .chain(entries(&cache))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let one = entries(&cache).remove(0);
    let damages: [(&str, Damage<'_>); 5] = [
        ("truncated", &|_, bytes| bytes[..bytes.len() / 2].to_vec()),
        ("changed", &|_, bytes| bytes.iter().map(|byte| byte ^ 1).collect()),
        ("longer", &|_, bytes| [bytes, b"x"].concat()),
        ("another key's", &|path, bytes| if path == one { bytes.to_vec() } else { fs::read(&one).unwrap() }),
        ("of another archive", &|_, bytes| {
            let text = String::from_utf8_lossy(bytes);
            match text.split_once("\"rootfs\":{\"digest\":\"sha256:") {
                Some((head, tail)) => {
                    format!("{head}\"rootfs\":{{\"digest\":\"sha256:{}{}", "0".repeat(64), &tail[64..])
                        .into_bytes()
                }
                None => bytes.to_vec(),
            }
        }),
    ];
    for (how, damage) in damages {
        for (path, bytes) in &good {
            fs::write(path, damage(path, bytes)).unwrap();
        }
        let other =
            Machine::new("sharedother", &engine.host(), cache.to_str().unwrap(), "never", &Vec::new());
        other.like(&second);
        let name = |text: String| text.replace("sharedother", "sharedfolder");
        let manifest = name(fs::read_to_string(other.project.path("pib.toml")).unwrap());
        fs::write(other.project.path("pib.toml"), manifest).unwrap();
        _ = second.project.pib(&["clean"]).output().unwrap();
        let output = other.output(&["--no-native"]);
        let said = stderr_text(&output);
        assert!(output.status.success(), "{how}: {said}");
        assert!(said.contains("the shared cache has something wrong"), "{how}: {said}");
        let image = other.project.path("target/sharedfolder-rpi4-arm64.img");
        assert_eq!(Digest::of(&fs::read(image).unwrap()), expected, "{how}");
        _ = other.project.pib(&["clean"]).output().unwrap();
    }
}

#[test]
fn a_cache_that_cannot_be_used_costs_a_warning() {
    let own = Kind::BuildKit.options().0.host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let oci = format!("oci://127.0.0.1:{port}/cache");
    for url in [file.to_str().unwrap(), "/proc/version/cache", &oci] {
        let machine = Machine::new("sharednone", &own, url, "always", &Vec::new());
        machine.project.part("mine", &format!("RUN echo {}\n", nonce()));
        let built = machine.build();
        assert_eq!(built.said.matches("the shared cache cannot be used").count(), 1, "{}", built.said);
    }
}

#[test]
fn a_name_is_no_proof_of_a_fetched_stage() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let url = cache.to_str().unwrap();
    let own = Kind::BuildKit.options().0.host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let first = Machine::new("sharedname", &own, url, "always", &Vec::new());
    first.project.part("mine", &format!("RUN echo {} > /etc/mine\n", nonce()));
    first.build();
    let engine = docker("500m");
    let second = Machine::new("sharedname", &engine.host(), url, "never", &Vec::new());
    second.like(&first);
    second.project.part("__cleanup__", "RUN echo one > /etc/cleaned\n");
    second.build();
    // Another user of the engine gives the name to something else.
    let docker = |args: &[&str]| {
        let mut docker = std::process::Command::new("docker");
        let output = docker.args(["--host", &engine.host()]).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let list = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let name = list.lines().find(|line| line.starts_with("pib-stages:")).unwrap();
    let other = list.lines().find(|line| line.starts_with("pib/sharedname:")).unwrap();
    docker(&["tag", other, name]);
    docker(&["rmi", other]);
    second.project.part("__cleanup__", "RUN echo two > /etc/cleaned\n");
    let again = second.build();
    assert!(again.said.contains("The stages up to mine come from the shared cache"), "{}", again.said);
    assert!(again.said.contains("is another than pib has loaded under this name"), "{}", again.said);
    first.like(&second);
    assert_eq!(first.build().image, again.image);
}

#[test]
fn what_a_secret_is_in_stays_here() {
    const SECRET: &str = "correct-horse-battery-staple";
    let own = Kind::BuildKit.options().0.host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let machine = Machine::new("sharedsecret", &own, cache.to_str().unwrap(), "always", &Vec::new());
    let stage =
        "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\n[config.pass]\ntype = \"secret\"\nrequired = true\n";
    machine.project.part(
        "mine",
        &format!(
            "RUN --mount=type=secret,id=mine.pass echo {} && cat /run/secrets/mine.pass > /leak\n",
            nonce()
        ),
    );
    fs::write(machine.project.path("stages/mine/stage.toml"), stage).unwrap();
    fs::write(machine.project.path("pass"), SECRET).unwrap();
    let manifest = fs::read_to_string(machine.project.path("pib.toml")).unwrap();
    let manifest = manifest.replace(
        "{ path = \"stages/mine\" }",
        "{ path = \"stages/mine\", config = { pass = { file = \"pass\" } } }",
    );
    fs::write(machine.project.path("pib.toml"), manifest).unwrap();
    machine.project.part("__init__", &format!("RUN echo {} > /etc/nonce\n", nonce()));
    let built = machine.build();
    assert!(built.said.contains("Added 1 stage to"), "{}", built.said);
    assert_eq!((entries(&cache).len(), packs(&cache).len()), (1, 1));
    let raw = zstd::decode_all(&fs::read(&packs(&cache)[0]).unwrap()[..]).unwrap();
    assert!(!raw.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
}

#[test]
fn nothing_is_taken_where_everything_is_built_again_and_ci_alone_adds() {
    let own = Kind::BuildKit.options().0.host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let machine = |ci: &str| {
        let variables = vec![("CI".to_owned(), ci.to_owned())];
        Machine::new("sharedci", &own, &format!("file://{}", cache.display()), "ci", &variables)
    };
    let desk = machine("");
    desk.project.part("mine", &format!("RUN echo {} > /etc/nonce\n", nonce()));
    desk.build();
    assert!(!cache.exists());
    let runner = machine("true");
    runner.like(&desk);
    let built = runner.build_with(&["--no-cache"]);
    assert!(built.said.contains("Added 3 stages"), "{}", built.said);
    let again = runner.build_with(&["--no-cache"]);
    assert!(
        !again.said.contains("come from the shared cache") && !again.said.contains("Added"),
        "{}",
        again.said
    );
    assert!(again.executed.iter().any(|line| line.starts_with("mine ")), "{:?}", again.executed);
    assert_eq!((built.image, again.image), (desk.build().image, built.image));
}

#[test]
fn a_recorded_stage_is_taken_by_who_has_the_same_recording() {
    const NAME: &str = "sharedrecorded";
    let _images = Images(NAME);
    let first = World::new();
    let cache = first.path("stages");
    first.tiny(NAME, &format!("RUN echo {} && apt-get update\n", nonce()));
    let manifest = fs::read_to_string(first.path(NAME).join("pib.toml")).unwrap();
    fs::write(first.path(NAME).join("pib.toml"), manifest + "\n[build]\nnetwork = \"recorded\"\n").unwrap();
    let configure = |world: &World| {
        fs::create_dir_all(world.path("config/pib")).unwrap();
        let text = format!("[cache]\nurl = \"{}\"\nwrite = \"always\"\n", cache.display());
        fs::write(world.path("config/pib/config.toml"), text).unwrap();
    };
    configure(&first);
    first.run(NAME, &["build"]);
    // On an engine that reaches no network, as version control has the project.
    let (other, engine) = (World::new(), docker("3g"));
    configure(&other);
    let (folder, copy) = (first.path(NAME), other.path(NAME));
    fs::create_dir_all(copy.join("stages/mine")).unwrap();
    for file in ["pib.toml", "pib.lock", "pib.fetch.lock", "stages/mine/Dockerfile.part"] {
        fs::copy(folder.join(file), copy.join(file)).unwrap();
    }
    let build = other.pib(NAME, &["build", "--locked"]).env("DOCKER_HOST", engine.host()).output().unwrap();
    let said = stderr_text(&build);
    assert!(build.status.success(), "{said}");
    assert!(said.contains("The stages up to __cleanup__ come from the shared cache"), "{said}");
    let sum = |folder: &Path| {
        fs::read_to_string(folder.join(format!("target/{NAME}-rpi4-arm64.img.sha256"))).unwrap()
    };
    assert_eq!(sum(&folder), sum(&copy));
    let lock = |folder: &Path| fs::read_to_string(folder.join("pib.fetch.lock")).unwrap();
    assert_eq!(lock(&folder), lock(&copy));
}
