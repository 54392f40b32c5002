//! What a person sees: the real binary on a real terminal emulator, which runs without a display.
//!
//! `cargo xtask record` keeps what the tests see in `host/docs/terminal/`, for the book.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::engine::runs;
use crate::event_log;
use crate::world::{Images, World, nonce};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// The signs of a running step.
const SPINNER: &str = "⠋⠙⠸⠴⠦⠇⠏⠛";

/// A terminal with a shell in it, and the program in the shell's path.
struct Terminal {
    server: String,
    /// The folder of the projects, which no recording names.
    home: PathBuf,
}

impl Terminal {
    fn open(world: &World, project: &str, columns: usize, rows: usize) -> Self {
        let server = format!("pib-test-{project}-{}", std::process::id());
        let terminal = Self { server, home: world.path(".") };
        let bin = Path::new(env!("CARGO_BIN_EXE_pib")).parent().unwrap().to_owned();
        // tmux gives a shell the path of whoever asked for it, whatever the session's is.
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let cache = crate::world::cache();
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let folder = world.path(project);
        let mut tmux = terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows]);
        tmux.arg("-c").arg(folder).env("PATH", path).env("PIB_CACHE_DIR", cache);
        tmux.env("PS1", "$ ").env_remove("HISTFILE");
        let status = tmux.args(["bash", "--norc", "--noprofile"]).status();
        assert!(status.expect("tmux; run `cargo xtask setup`").success());
        terminal.until("a prompt", |screen| screen.trim() == "$");
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        // What a terminal says of itself decides how the program draws; a test's own environment must not.
        tmux.args(["-L", &self.server]).args(args).env_remove("TMUX").env_remove("NO_COLOR");
        tmux.env("LC_ALL", "C.UTF-8");
        tmux
    }

    fn tell(&self, args: &[&str]) -> String {
        let output = self.tmux(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn enter(&self, line: &str) {
        self.tell(&["send-keys", "-l", line]);
        self.tell(&["send-keys", "Enter"]);
    }

    /// Runs a command, waits for the next prompt, and returns what is on the screen.
    fn run(&self, line: &str) -> String {
        let before = self.screen();
        self.enter(line);
        self.until(line, |screen| screen != before && prompt_is_back(screen))
    }

    /// Returns what is on the screen, one row a line.
    fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// Returns what is on the screen with its colours.
    fn colours(&self) -> String {
        self.tell(&["capture-pane", "-p", "-e"])
    }

    fn clear(&self) {
        self.enter("clear");
        self.until("an empty screen", |screen| screen.trim() == "$");
    }

    fn resize(&self, columns: usize, rows: usize) {
        self.tell(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    fn until(&self, what: &str, seen: impl Fn(&str) -> bool) -> String {
        let since = Instant::now();
        loop {
            let screen = self.screen();
            if seen(&screen) {
                return screen;
            }
            assert!(since.elapsed() < PATIENCE, "waited in vain for {what} on:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Keeps a screen for the book, where `cargo xtask record` asks for it.
    fn record(&self, name: &str, screen: &str) {
        let screen = screen.replace(&*self.home.canonicalize().unwrap().to_string_lossy(), "/home/me");
        let rows: Vec<&str> = screen.trim_end().lines().map(str::trim_end).collect();
        event_log::record(&format!("{name}.txt"), &format!("{}\n", rows.join("\n")));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).output();
    }
}

fn prompt_is_back(screen: &str) -> bool {
    screen.trim_end().lines().last().is_some_and(|line| line.trim_end() == "$")
}

fn moving(screen: &str) -> Vec<&str> {
    screen.lines().filter(|line| line.starts_with(|c| SPINNER.contains(c))).collect()
}

fn part(world: &World, project: &str, text: &str) {
    std::fs::write(world.path(project).join("stages/mine/Dockerfile.part"), text).unwrap();
}

/// What programs print that would garble a terminal: colours, a clear screen, a title, a bell, no text at all.
const WILD: &str = r"printf '\033[31mred\033[2J\033]0;title\007 \033[5;5Hwild \377\376\001\r\n'";

#[test]
fn a_build_is_one_line_a_stage_at_any_width_and_a_failure_shows_its_place() {
    let world = World::new();
    let _images = Images("kiosk");
    // What the engine has from an earlier run of this test would show no instruction.
    let nonce = nonce();
    world.tiny("kiosk", &format!("RUN echo one && {WILD} && sleep 6 && : {nonce}\nRUN echo two\n"));
    let terminal = Terminal::open(&world, "kiosk", 80, 24);

    terminal.enter("pib build");
    let running = terminal.until("the first instruction", |screen| screen.contains("1/2 RUN echo one"));
    let lines = moving(&running);
    assert!(lines.len() == 1 && lines[0].contains("Building stage mine"), "{running}");
    terminal.record("running", &running);
    terminal.resize(20, 24);
    // The terminal wraps what stands there at once; the next time that the lines are drawn they fit again.
    let narrow = terminal.until("a narrow line", |screen| screen.contains("…stage mine"));
    let lines = moving(&narrow);
    assert!(lines.len() == 1 && lines[0].contains("stage mine"), "{narrow}");
    terminal.record("narrow", &narrow);
    let later = terminal.until("the next drawing", |screen| screen != narrow);
    assert_eq!(moving(&later).len(), 1, "lines were left behind:\n{later}");
    terminal.resize(80, 24);
    let built = terminal.until("the end", prompt_is_back);
    assert!(moving(&built).is_empty(), "{built}");
    let settled = |stage: &str| {
        let start = format!("ok Building stage {stage} ");
        built.lines().find_map(|line| line.strip_prefix(&start)).map(str::trim).unwrap_or_default().to_owned()
    };
    assert!(settled("mine").ends_with('s'), "{built}");
    assert!(built.contains("ok Writing kiosk-rpi4-arm64.img") && built.contains("sha256:"), "{built}");
    assert!(!built.contains("wild") && !built.contains("title"), "{built}");

    part(&world, "kiosk", &format!("RUN echo one && {WILD} && sleep 6 && : {nonce}\nRUN echo three\n"));
    terminal.clear();
    let again = terminal.run("pib build");
    for mark in ["ok Building stage __init__  cached", "ok Building stage mine  "] {
        assert!(again.contains(mark), "no `{mark}` in:\n{again}");
    }
    let colours = terminal.colours();
    assert!(colours.contains("\u{1b}[32mok"), "{colours:?}");
    terminal.record("build", &again);
    terminal.clear();
    let nothing = terminal.run("NO_COLOR=1 pib build");
    assert!(nothing.contains("is up to date"), "{nothing}");

    a_failure_shows_its_place(&world, &terminal);
    let log = std::fs::read_to_string(world.path("kiosk/target/logs/latest.log")).unwrap();
    for part in ["stage:mine| before", "exit code 7", "stage:mine: failed"] {
        assert!(log.contains(part), "no `{part}` in:\n{log}");
    }
    assert!(!log.contains('\u{1b}') && !log.contains('\u{7}'), "{log:?}");
    let logs = std::fs::read_dir(world.path("kiosk/target/logs")).unwrap().count();
    assert_eq!(logs, 4, "three builds had something to do, and one log is the newest");
}

fn a_failure_shows_its_place(world: &World, terminal: &Terminal) {
    part(
        world,
        "kiosk",
        &format!("RUN echo one\n# The next line is wrong.\nRUN echo before && {WILD} && exit 7\n"),
    );
    terminal.clear();
    let failed = terminal.run("NO_COLOR=1 pib build");
    for part in [
        "failed Building stage mine after ",
        "stage mine, line 3 of its part:",
        "exit code 7",
        "before",
        "The full log: target/logs/",
    ] {
        let flat =
            failed.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect::<Vec<_>>().join(" ");
        assert!(flat.contains(part), "no `{part}` in:\n{failed}");
    }
    assert!(!terminal.colours().contains("\u{1b}[3"), "colour although NO_COLOR is set");
    terminal.record("failure", &failed);
}

/// A shell has the terminal as it is, also when that changes its size, and gives it back.
#[test]
fn a_shell_follows_the_terminals_size() {
    let world = World::new();
    let _images = Images("looked");
    world.tiny("looked", "RUN true\n");
    let terminal = Terminal::open(&world, "looked", 80, 24);
    let opened = |screen: &str| screen.trim_end().ends_with("root@looked:/#");
    // The words that a command prints stand in it in another form, so that what was typed is not taken for them.
    let waits = |size: &str, word: &str| {
        let (start, end) = word.split_at(2);
        format!("until [ \"$(stty size)\" = '{size}' ]; do sleep 0.2; done; echo {start}''{end}")
    };
    terminal.enter("pib shell --at __init__");
    terminal.until("a shell", opened);
    terminal.enter("uname -m; cat /etc/hostname");
    let inside = terminal.until("an answer", |screen| screen.contains("aarch64\nlooked\n") && opened(screen));
    terminal.record("shell", &inside);
    terminal.enter(&waits("24 80", "small"));
    terminal.until("the first size", |screen| screen.lines().any(|line| line == "small"));
    terminal.resize(100, 30);
    terminal.enter(&waits("30 100", "large"));
    terminal.until("the size after the change", |screen| screen.lines().any(|line| line == "large"));
    // Also while a program runs inside.
    terminal.enter(&waits("20 60", "between"));
    terminal.resize(60, 20);
    terminal.until("the size of meanwhile", |screen| screen.lines().any(|line| line == "between"));
    terminal.enter("exit 4");
    terminal.until("the prompt", prompt_is_back);
    terminal.clear();
    let after = terminal.run("echo code $?; stty -a | tr ' ' '\\n' | grep -x -e '-*echo;*' -e '-*icanon'");
    assert!(
        after.contains("icanon\n") && !after.contains("-icanon\n") && !after.contains("-echo\n"),
        "{after}"
    );
}

/// A terminal of 20 columns from the beginning, one that is dumb, and one that goes away in the middle.
#[test]
fn poor_terminals_do() {
    let world = World::new();
    let _images = Images("poor");
    let seconds = format!("{}", 200_000 + std::process::id());
    world.tiny("poor", &format!("RUN sleep {seconds}\n"));
    let terminal = Terminal::open(&world, "poor", 20, 12);
    terminal.run("pib plan --locked");
    let help = terminal.run("pib --help");
    assert!(!help.contains("panicked"), "{help}");
    terminal.clear();
    terminal.enter("pib build");
    let narrow = terminal.until("a narrow line", |screen| screen.contains("stage mine"));
    assert_eq!(moving(&narrow).len(), 1, "{narrow}");
    let since = Instant::now();
    while !runs(&seconds) {
        assert!(since.elapsed() < PATIENCE, "the build does not come to its part");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(terminal);
    let gone = Instant::now();
    while runs(&seconds) {
        assert!(gone.elapsed() < Duration::from_secs(30), "the build goes on without its terminal");
        std::thread::sleep(Duration::from_millis(100));
    }

    part(&world, "poor", "RUN true\n");
    let terminal = Terminal::open(&world, "poor", 80, 24);
    let dumb = terminal.run("TERM=dumb pib build");
    assert!(dumb.contains("Building stage mine ...\n"), "{dumb}");
    assert!(moving(&dumb).is_empty(), "{dumb}");
}
