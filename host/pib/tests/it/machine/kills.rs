//! The engine, the program and its terminal are killed at random moments: nothing stays stuck, nothing is left.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::kind::{Private, docker};
use crate::engine::project::Scratch;
use crate::world::judge;

/// How often something is killed.
const ROUNDS: u32 = 100;
/// After how many kills a build is let through, beside the one after each engine's death.
const BETWEEN: u32 = 4;
/// What decides the victims and the moments, unless `PIB_TEST_SEED` does.
const SEED: u64 = 6;

/// Numbers that look random, the same for the same seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Client(&'static str),
    Terminal,
    Engine,
}

impl Victim {
    fn choose(random: &mut Random) -> Self {
        match random.below(100) {
            0..24 => Self::Client("KILL"),
            24..40 => Self::Client("TERM"),
            40..56 => Self::Client("INT"),
            56..68 => Self::Client("HUP"),
            68..92 => Self::Terminal,
            _ => Self::Engine,
        }
    }

    /// Returns whether a build may end so when this was killed under it; it may always have been done before.
    fn explains(self, status: ExitStatus) -> bool {
        let expected = match self {
            Self::Client("KILL") => status.signal() == Some(9),
            // In the moment before it listens, a signal does what it does to any program.
            Self::Client(_) => status.code() == Some(130) || status.signal().is_some(),
            Self::Terminal => status.code() == Some(130) || status.signal() == Some(1),
            Self::Engine => status.code() == Some(5),
        };
        expected || status.success()
    }
}

#[test]
fn a_hundred_kills_leave_nothing_stuck_and_nothing_behind() {
    let seed = std::env::var("PIB_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    eprintln!("the seed is {seed}");
    let mut random = Random(seed.max(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let engine = docker("700m");
    let project = Scratch::new("killed", &engine.host());
    change(&project, 0, SHORT);
    project.must_build();
    let (mut engines, mut clients, mut terminals) = (0, 0, 0);
    for round in 1..=ROUNDS {
        let victim = Victim::choose(&mut random);
        // Half of the builds would go on for a long time, so that what is not stopped is found.
        let stops = victim != Victim::Engine && round % 2 == 1;
        change(&project, round, if stops { LONG } else { SHORT });
        let moment = Duration::from_millis(random.below(1600));
        match victim {
            Victim::Client(signal) => {
                clients += 1;
                let mut build = start(&project);
                std::thread::sleep(moment);
                _ = judge::tool("kill", &[&format!("-{signal}"), &build.id().to_string()]);
                ends(victim, round, &mut build, &engine);
            }
            Victim::Terminal => {
                terminals += 1;
                let (terminal, mut build) = start_in_terminal(&project);
                std::thread::sleep(moment);
                drop(terminal);
                ends(victim, round, &mut build, &engine);
            }
            Victim::Engine => {
                engines += 1;
                let mut build = start(&project);
                std::thread::sleep(moment);
                kill_engine(&engine);
                ends(victim, round, &mut build, &engine);
                answers(&engine);
            }
        }
        nothing_is_left(&engine, round);
        if victim == Victim::Engine || round % BETWEEN == 0 {
            change(&project, round, SHORT);
            project.must_build();
            let image = format!("{}?offset={}", project.image().display(), 4 << 20);
            let text = judge::debugfs(&image, "cat /etc/round").unwrap();
            assert_eq!(text.trim(), round.to_string(), "round {round}");
        }
    }
    eprintln!(
        "killed: the program {clients} times, its terminal {terminals} times, the engine {engines} times"
    );
    assert!(clients > 40 && terminals > 10 && engines > 3);
    change(&project, 0, SHORT);
    project.must_build();
}

/// How many seconds an instruction sleeps.
const SHORT: &str = "0.3";
const LONG: &str = "600";

/// Changes what is built, so that no round finds the last one's work.
fn change(project: &Scratch, round: u32, seconds: &str) {
    project.part("mine", &format!("RUN echo {round} > /etc/round\nRUN sleep {seconds}\nRUN sleep 0.1\n"));
}

fn start(project: &Scratch) -> Child {
    let log = File::create(project.path("log")).unwrap();
    let program = ["--default-signal=HUP", env!("CARGO_BIN_EXE_pib"), "build"];
    let mut build = project.command("env".as_ref(), &program);
    build.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// The other end of a terminal. What is shown on it is read, so that nobody waits for a full one.
struct Terminal {
    closing: Arc<AtomicBool>,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    fn new(master: OwnedFd) -> Self {
        let closing = Arc::new(AtomicBool::new(false));
        let (closed, mut master) = (Arc::clone(&closing), File::from(master));
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !closed.load(Ordering::Relaxed) {
                if !matches!(master.read(&mut buffer), Ok(count) if count > 0) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self { closing, reading: Some(reading) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            _ = reading.join();
        }
    }
}

/// Starts a build as the one program of a terminal.
fn start_in_terminal(project: &Scratch) -> (Terminal, Child) {
    use rustix::fs::OFlags;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
    let slave = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
    // Tests that were started by `nohup` ignore what a closed terminal sends, and so would all that they start.
    let program = ["--default-signal=HUP", "setsid", "--ctty", env!("CARGO_BIN_EXE_pib"), "build"];
    let mut session = project.command("env".as_ref(), &program);
    let build = session.env("TERM", "xterm").stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
    (Terminal::new(master), build)
}

/// Waits until the build has ended, which must be soon and as expected.
fn ends(victim: Victim, round: u32, build: &mut Child, engine: &Private) {
    let since = Instant::now();
    let status = loop {
        match build.try_wait().unwrap() {
            Some(status) => break status,
            None if since.elapsed() > Duration::from_secs(30) => {
                _ = build.kill();
                panic!("round {round}, {victim:?}: pib hangs; the engine's log:\n{}", engine.log());
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(victim.explains(status), "round {round}, {victim:?}: pib ended with {status}");
}

/// Kills the engine. A program that it is about to start bears its name up to `execve`, and may be gone by now.
fn kill_engine(engine: &Private) {
    let processes = engine.processes();
    let engines = processes.iter().filter(|(_, line)| line.starts_with("dockerd "));
    let killed = engines.filter(|(id, _)| judge::tool("kill", &["-KILL", &id.to_string()]).is_ok()).count();
    assert!(killed > 0, "no engine was there to be killed: {processes:?}");
}

/// Waits until the engine, which is started again by itself, answers.
fn answers(engine: &Private) {
    let since = Instant::now();
    let asks = || Command::new("docker").args(["--host", &engine.host(), "version"]).output().unwrap();
    while !asks().status.success() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "the engine does not start again:\n{}",
            engine.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until nothing of a build runs in the engine any more; there must be no container either.
fn nothing_is_left(engine: &Private, round: u32) {
    let since = Instant::now();
    let engines_own = |line: &str| {
        ["sh ", "dockerd ", "containerd "].iter().any(|own| line.starts_with(own)) || line.trim().is_empty()
    };
    loop {
        let processes = engine.processes();
        let left: Vec<_> = processes.iter().filter(|(_, line)| !engines_own(line)).collect();
        if left.is_empty() {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "round {round}: {left:?} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    let containers = judge::tool("docker", &["--host", &engine.host(), "ps", "--all", "--quiet"]).unwrap();
    assert_eq!(containers, "", "round {round}: a container is left");
}
