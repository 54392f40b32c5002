//! What a shell is told while a command is typed; and the list that `pib add` offers.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};

use crate::bench::{Bench, PROJECT};

/// Asks the program as its script for fish does: the words that are typed, the last of them begun.
fn offered(bench: &Bench, words: &[&str]) -> Vec<String> {
    let args = [&["--", "pib"], words].concat();
    let ran = bench.run_with(&args, &[("PIB_COMPLETE", "fish")]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    ran.out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn bench() -> Bench {
    Bench::new(&format!(
        "{PROJECT}\n[target.kitchen]\nboard = \"zero2w\"\n\n[registries.shop]\nindex = \"https://stages.example.org\"\n"
    ))
}

#[test]
fn names_of_everything_are_offered() {
    let bench = bench();
    for (words, expected, other) in [
        (&["bui"][..], "build", "plan"),
        (&["add", "wat"], "watchdog", "rootssh"),
        (&["add", "watchdog@"], "watchdog@1.0.0", "watchdog"),
        (&["info", "root"], "rootssh", "watchdog"),
        (&["add", "--config", "watch"], "watchdog.", "rootssh."),
        (&["add", "--config", "watchdog.ti"], "watchdog.timeout=", "watchdog.max-load="),
        (&["build", "--target", ""], "kitchen", "router"),
        (&["tree", "--target", "k"], "kitchen", "router"),
        (&["new", "x", "--board", "rpi"], "rpi4", "zero2w"),
        (&["new", "x", "--os", "rasp"], "raspios", "debian"),
        (&["new", "x", "--arch", "armv7"], "armv7", "arm64"),
        (&["add", "acme", "--registry", "s"], "shop", "router"),
        (&["publish", "x", "--registry", ""], "shop", "router"),
        (&["login", ""], "shop", "router"),
        (&["inspect", "--board", "z"], "zero2w", "rpi4"),
        (&["remove", ""], "watchdog", "rootssh"),
        (&["explain", "lock::"], "lock::stale", "usage"),
        (&["explain", "pib::lock::"], "pib::lock::stale", "lock::stale"),
        (&["config", "image."], "image.compress", "project.board"),
        (&["schema", ""], "stage.toml", "build"),
    ] {
        let found = offered(&bench, words);
        assert!(found.contains(&expected.to_owned()), "{words:?}: {found:?}");
        assert!(!found.contains(&other.to_owned()), "{words:?}: {found:?}");
    }
}

/// A project may be a stranger's: what a shell puts into a command line has nothing in it that the shell would run.
#[test]
fn a_strangers_project_offers_nothing_that_a_shell_runs() {
    let bench = Bench::new(&format!("{PROJECT}\n[target.'$(touch x)']\nboard = \"rpi5\"\n"));
    assert!(!offered(&bench, &["build", "--target", ""]).iter().any(|word| word.contains('$')));
    let broken = Bench::new("[project\n\u{1b}]0;x\u{7}");
    for words in [&["build", "--target", ""][..], &["add", "wat"], &["config", ""]] {
        assert!(!offered(&broken, words).iter().any(|word| word.contains('\u{1b}')), "{words:?}");
    }
    assert!(offered(&broken, &["add", "wat"]).contains(&"watchdog".to_owned()));
}

#[test]
fn every_shell_gets_a_script_that_asks_the_program() {
    let bench = bench();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = bench.run(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        assert!(ran.out.contains("PIB_COMPLETE") && ran.out.contains("pib"), "{shell}: {}", ran.out);
    }
}

/// The script is given to a real bash, which asks the program for a command line that is begun.
#[test]
fn bash_completes_the_name_of_a_stage() {
    let bench = bench();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_pib")).parent().unwrap();
    let script = "source <(pib completions bash); COMP_WORDS=(pib add watc); COMP_CWORD=2; COMP_TYPE=9; \
                  COMP_LINE='pib add watc'; COMP_POINT=12; $(complete -p pib | sed 's/.*-F \\([^ ]*\\).*/\\1/') pib watc add; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script]);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = bench.in_here(bash);
    let output = command.env("PATH", path).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        out.lines().any(|line| line.trim() == "watchdog"),
        "{out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Bash offers files itself, and quotes their names: what pib offers is put on the command line as it is.
#[test]
fn a_file_with_a_command_for_a_name_is_not_offered_to_bash() {
    let bench = bench();
    for name in ["x$(touch PWNED).img", "x;touch PWNED;.img", "x y.img"] {
        bench.write(name, "");
    }
    let script = "source <(\"$PIB\" completions bash); COMP_WORDS=(\"$PIB\" inspect x); COMP_CWORD=2; COMP_TYPE=9; \
                  _clap_complete_pib \"$PIB\" x inspect; printf '%s|' \"${COMPREPLY[@]}\"; complete -p pib";
    let mut bash = Command::new("bash");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_pib"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    bash.args(["-c", script]);
    let output = bench.in_here(bash).env("PIB", "pib").env("PATH", path).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!out.contains("PWNED") && !out.contains(".img"), "{out}");
    assert!(out.contains("-o default"), "{out}");
    // A shell that quotes gets them.
    assert!(offered(&bench, &["inspect", "x"]).iter().any(|file| file.ends_with(".img")));
}

#[test]
fn without_a_terminal_add_lists_the_stages() {
    let bench = bench();
    bench.fails(
        &["add"],
        2,
        &["no stage is named", "pib add NAME", "Root logs in by ssh", "A read-only root"],
    );
    bench.fails(&["add", "--json"], 2, &["no stage is named"]);
}

/// Returns a terminal: the end that a person has, and the one that the program gets.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    (master.into(), File::options().read(true).write(true).custom_flags(flags).open(name).unwrap())
}

/// Runs `pib add` on a terminal, types `keys` when the list is there, and returns how it ended.
fn typed(bench: &Bench, keys: &str) -> Option<i32> {
    let (mut person, terminal) = terminal();
    let mut pib = Command::new(env!("CARGO_BIN_EXE_pib"));
    pib.arg("add").env("TERM", "xterm").stdin(terminal.try_clone().unwrap());
    let mut pib = bench.in_here(pib);
    let mut child = pib.stdout(Stdio::null()).stderr(terminal).spawn().unwrap();
    drop(pib);
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    // The first one of the list, which shows some of the stages at a time.
    while !String::from_utf8_lossy(&seen).contains("apt-repo") {
        let count = person.read(&mut part).unwrap();
        seen.extend_from_slice(&part[..count]);
    }
    person.write_all(keys.as_bytes()).unwrap();
    // What it draws must be taken from the terminal, or it waits.
    let drain = std::thread::spawn(move || while person.read(&mut part).is_ok_and(|count| count > 0) {});
    let code = child.wait().unwrap().code();
    drain.join().unwrap();
    code
}

#[test]
fn on_a_terminal_add_offers_a_list_to_search() {
    let bench = bench();
    let before = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    assert_eq!(typed(&bench, "\u{1b}"), Some(0));
    assert_eq!(std::fs::read_to_string(bench.path("pib.toml")).unwrap(), before);
    assert_eq!(typed(&bench, "firstb\r"), Some(0));
    let after = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    assert!(after.contains("firstboot = "), "{after}");
}
