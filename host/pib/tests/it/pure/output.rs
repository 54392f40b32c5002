//! Where output goes: pipes that break, devices that are full, and the pages of the help.

use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};

use crate::bench::{Bench, PROJECT};

/// Returns the program in a project, with nothing of this machine but the path.
fn pib(bench: &Bench, args: &[&str]) -> Command {
    let mut pib = Command::new(env!("CARGO_BIN_EXE_pib"));
    pib.args(args).current_dir(bench.path("")).env("PIB_CACHE_DIR", bench.folder.path().join("cache"));
    pib.env("DOCKER_HOST", "unix:///nonexistent/engine.sock").stdin(Stdio::null());
    pib
}

/// Returns the end of a pipe that nobody reads.
fn broken() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Returns a terminal that was closed.
fn closed() -> Stdio {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    let terminal = std::fs::File::options().write(true).custom_flags(flags).open(name).unwrap();
    drop(master);
    terminal.into()
}

#[test]
fn a_terminal_that_was_closed_is_passed_over() {
    let bench = Bench::new(PROJECT);
    assert_eq!(bench.run(&["plan"]).code, Some(0));
    for args in [&["plan"][..], &["tree"], &["completions", "bash"]] {
        let output = pib(&bench, args).stdout(closed()).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{args:?}");
    }
    let wrong = Bench::new(&PROJECT.replace("rpi4", "rpi44"));
    assert_eq!(pib(&wrong, &["plan"]).stdout(closed()).stderr(closed()).status().unwrap().code(), Some(3));
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    let bench = Bench::new(PROJECT);
    // That the stages' hooks run is told; after this they have.
    assert_eq!(bench.run(&["plan"]).code, Some(0));
    for args in
        [&["plan"][..], &["plan", "--json"], &["tree"], &["plan", "--dockerfile"], &["completions", "bash"]]
    {
        let output = pib(&bench, args).stdout(broken()).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{args:?}");
    }
    for args in [&["--help"][..], &["help", "build"], &["--version"]] {
        let output = pib(&bench, args).stdout(broken()).stderr(Stdio::piped()).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{args:?}");
    }
    let wrong = Bench::new(&PROJECT.replace("rpi4", "rpi44"));
    for args in [&["plan"][..], &["plan", "--json"], &["plan", "--verbose"]] {
        let status = pib(&wrong, args).stdout(broken()).stderr(broken()).status().unwrap();
        assert_eq!(status.code(), Some(3), "{args:?}");
    }
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let output = pib(&bench, &["plan"]).stdout(full()).stderr(Stdio::piped()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("write to standard output"), "{errors}");
    assert_eq!(pib(&wrong, &["plan"]).stdout(full()).stderr(full()).status().unwrap().code(), Some(3));
}

#[test]
fn the_first_page_of_the_help_is_a_map() {
    let bench = Bench::new(PROJECT);
    let pages: Vec<String> = [&["--help"][..], &["help"], &["-h"]].map(|args| bench.run(args).out).to_vec();
    assert_eq!(pages[0], pages[1]);
    insta::assert_snapshot!("help", pages[0]);
    assert!(bench.run(&["--version"]).out.starts_with("pib 0."));
    let none = bench.run(&[]);
    assert!(none.code == Some(2) && none.errors.contains("Describe a device:"), "{}", none.errors);
}
