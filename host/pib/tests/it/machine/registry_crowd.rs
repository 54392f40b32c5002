//! Many who lock at the same time against one server: real processes, and clients that ask as `pib lock` does, each with connections
//! and a cache of its own.
//!
//! `PIB_TEST_CROWD=1000 PIB_TEST_PROCESSES=50` has it tried with so many, and prints what it took.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use pib::source::Sources;
use tokio::task::JoinSet;

use crate::bench::{Bench, NO_BASE};
use crate::pure::registry_service::Service;
use crate::site::succeeds;

/// The stages of the registry.
const STAGES: [&str; 8] = ["camera", "feeder", "kiosk", "lights", "motors", "network", "sound", "zram"];

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Makes a registry with some stages of some versions.
fn registry() -> Bench {
    let bench = Bench::new("");
    for minor in 0..3 {
        for name in STAGES {
            let manifest = format!("[stage]\nname = \"{name}\"\nversion = \"1.{minor}.0\"\n");
            bench.write(&format!("{name}/stage.toml"), &manifest);
            bench.write(&format!("{name}/Dockerfile.part"), "RUN true\n");
        }
        let publish = ["publish", "--registry", "./shop", "--allow-incomplete", "--allow-similar"];
        succeeds(&bench, &[&publish[..], &STAGES].concat());
    }
    bench
}

/// Returns the most memory that a process has used so far, in KiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Asks for the index of every stage, as `pib lock` does on a machine that never has.
async fn locks(address: &str, cache: &Path) -> Result<usize, String> {
    let registries = BTreeMap::from([("shop".to_owned(), address.to_owned())]);
    let sources = Sources::new(cache, cache, registries);
    let mut versions = 0;
    let text = |error: pib::source::SourceError| format!("{error}: {:?}", std::error::Error::source(&error));
    let source = sources.registry_source(Some("shop")).map_err(text)?;
    for name in STAGES {
        versions += sources.candidates(&name.parse().unwrap(), &source).await.map_err(text)?.versions.len();
    }
    Ok(versions)
}

#[test]
fn one_server_holds_a_crowd_that_locks() {
    let bench = registry();
    let service = Service::of(&bench, &["shop"]);
    let address = format!("http://{}", service.address);

    let (processes, since) = (number("PIB_TEST_PROCESSES", 8), Instant::now());
    let stages: String =
        STAGES.iter().map(|name| format!("{name} = {{ version = \"1\", registry = \"shop\" }}\n")).collect();
    let head = "[project]\nname = \"pi\"\nboard = \"rpi4\"\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n\n[stages]\n";
    let begin = |number: usize| {
        let folder = format!("../{number}");
        bench.write(
            &format!("{folder}/pib.toml"),
            &format!("{head}{stages}\n[registries.shop]\nindex = \"{address}\"\n"),
        );
        let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        pib.current_dir(bench.path(&folder)).env("PIB_CACHE_DIR", bench.path(&format!("{folder}/cache")));
        pib.arg("lock").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<_> = (0..processes).map(begin).collect();
    for child in all {
        let errors = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        // The machine of the test has no mirror to choose a base from.
        assert!(errors.is_empty() || errors.contains(NO_BASE), "{errors}");
    }
    let locked =
        |number: usize| std::fs::read_to_string(bench.path(&format!("../{number}/pib.lock"))).unwrap();
    assert!(locked(0).matches("version = \"1.2.0\"").count() == STAGES.len(), "{}", locked(0));
    assert!((1..processes).all(|number| locked(number) == locked(0)));
    eprintln!(
        "{processes} processes: {:.1} s; the server's peak: {} KiB",
        since.elapsed().as_secs_f64(),
        peak(service.id())
    );

    let (crowd, since) = (number("PIB_TEST_CROWD", 100), Instant::now());
    let failed = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let caches = Arc::new(tempfile::tempdir().unwrap());
        let mut clients = JoinSet::new();
        for number in 0..crowd {
            let (address, caches) = (address.clone(), Arc::clone(&caches));
            clients.spawn(async move { locks(&address, &caches.path().join(number.to_string())).await });
        }
        let found = clients.join_all().await;
        found.into_iter().filter(|found| *found != Ok(3 * STAGES.len())).collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "{} of {crowd} failed: {:?}", failed.len(), failed[0]);
    eprintln!(
        "{crowd} clients: {:.1} s; the server's peak: {} KiB",
        since.elapsed().as_secs_f64(),
        peak(service.id())
    );
    assert!(service.get("/health", &[]).ends_with("ok\n"));
}
