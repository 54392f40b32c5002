//! Builds of a small system: by the plain client, of a part that fails, and one that is interrupted.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::ledger;
use crate::world::{Images, World, docker, judge};

#[test]
fn the_plain_client_builds_the_written_context() {
    let world = World::new();
    world.tiny("plainjob", "RUN echo \"for $ARCH\" > /etc/mine\n");
    world.run("plainjob", &["plan", "--context", "context"]);
    let context = world.path("plainjob/context");
    let label = format!("{}={}", ledger::PROJECT, ledger::project(&world.path("plainjob")));
    let _images = Images("plainjob");
    // With its cache, the classic builder would use steps that another test takes away meanwhile.
    let options = ["build", "-q", "--no-cache", "-t", "pib/plainjob:plain", "--label", &label];
    docker(&[&options[..], &[context.to_str().unwrap()]].concat());
    assert_eq!(
        docker(&["run", "--rm", "--network=none", "pib/plainjob:plain", "cat", "/etc/mine"]),
        "for aarch64\n"
    );
}

#[test]
fn a_failing_part_is_shown_and_harms_nothing() {
    let world = World::new();
    let _images = Images("failjob");
    world.tiny("failjob", "RUN true\n");
    let image = world.path("failjob/target/failjob-rpi4-arm64.img");
    std::fs::write(&image, "earlier").unwrap();
    let lock = world.path("failjob/pib.lock");
    world.run("failjob", &["plan"]);
    std::fs::write(
        world.path("failjob/stages/mine/Dockerfile.part"),
        "RUN echo first\nRUN echo all is lost >&2; exit 7\n",
    )
    .unwrap();
    let output = world.pib("failjob", &["build"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{errors}");
    for part in ["mine", "all is lost", "exit code 7"] {
        assert!(errors.contains(part), "no `{part}` in:\n{errors}");
    }
    assert_eq!(std::fs::read(&image).unwrap(), b"earlier");
    let text = std::fs::read_to_string(&lock).unwrap();
    assert!(text.contains("[[base]]") && text.contains("name = \"mine\""), "{text}");
}

#[test]
fn ctrl_c_stops_the_build_and_leaves_nothing_running() {
    let world = World::new();
    let _images = Images("stopjob");
    world.tiny("stopjob", "RUN echo is-sleeping-now && sleep 600\n");
    let log = std::fs::File::create(world.path("log")).unwrap();
    let mut build = world.pib("stopjob", &["build", "--verbose"]);
    let mut build = build.stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while !std::fs::read_to_string(world.path("log")).unwrap().contains("] is-sleeping-now") {
        assert!(
            build.try_wait().unwrap().is_none(),
            "{}",
            std::fs::read_to_string(world.path("log")).unwrap()
        );
        assert!(since.elapsed() < Duration::from_secs(900));
        std::thread::sleep(Duration::from_millis(200));
    }
    judge::tool("kill", &["-INT", &build.id().to_string()]).unwrap();
    let stopped = Instant::now();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert!(stopped.elapsed() < Duration::from_secs(10));
    let sleeping = || judge::tool("pgrep", &["-f", "sleep 600"]).is_ok();
    while sleeping() {
        assert!(stopped.elapsed() < Duration::from_secs(30), "the step still runs");
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut left: Vec<_> =
        std::fs::read_dir(world.path("stopjob/target")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".pib-lock", "logs"]);
}
