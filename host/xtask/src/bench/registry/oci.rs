//! Stages in an OCI registry, Debian's `docker-registry`: publishing into it, and locking against it.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::files::{in_folder, stage_folders, write};
use super::servers::Process;

use crate::bench::measure::{median, millis};
use crate::run::{Outcome, capture, command, has};

/// Publishes some stages, and locks a project of all of them with nothing cached, and again.
pub(super) fn oci(pib: &Path, work: &Path, count: usize) -> Outcome {
    if !has("docker-registry") {
        println!("docker-registry is not installed: no OCI registry to measure");
        return Ok(());
    }
    let folder = work.join("oci");
    let server = OciRegistry::start(&folder)?;
    let names = stage_folders(&folder.join("stages"), count)?;
    let index = format!("oci://{}/shop", server.address);
    let published = median(1, || {
        let mut run = in_folder(pib, &folder.join("stages"), work);
        run.args(["publish", "--registry", &index, "--yes", "--allow-similar", "--allow-dirty"]).args(&names);
        capture(&mut run).map(drop)
    })?;
    println!("publishing {count} stages to an OCI registry {:>8.1} ms", millis(published));
    let project = folder.join("project");
    let stages: String =
        names.iter().map(|name| format!("{name} = {{ version = \"1\", registry = \"shop\" }}\n")).collect();
    write(
        &project.join("pib.toml"),
        &format!(
            "[project]\nname = \"many\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n\
             [base]\nimage = \"debian@sha256:{:064x}\"\n\n[stages]\n{stages}\n[registries.shop]\nindex = \"{index}\"\n",
            1
        ),
    )?;
    for title in ["nothing cached", "asked again"] {
        let _ = fs::remove_file(project.join("pib.lock"));
        let before = server.answers()?;
        let time = median(1, || capture(in_folder(pib, &project, work).arg("lock")).map(drop))?;
        let [sent, unchanged] = server.answers()?;
        println!(
            "pib lock, {count} stages of an OCI registry, {title:<14} {:>6.1} ms   ({} sent, {} unchanged)",
            millis(time),
            sent - before[0],
            unchanged - before[1],
        );
    }
    Ok(())
}

/// An OCI registry, which notes what it answers.
struct OciRegistry {
    _process: Process,
    address: String,
    log: PathBuf,
}

impl OciRegistry {
    fn start(folder: &Path) -> Outcome<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| format!("there is no free port: {error}"))?.to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {address}\n",
            folder.join("data").display()
        );
        write(&folder.join("config.yml"), &config)?;
        let log = folder.join("log");
        let fail = |error| format!("could not write {}: {error}", log.display());
        let out = File::create(&log).map_err(fail)?;
        let errors = out.try_clone().map_err(fail)?;
        let mut run = command("docker-registry", &["serve"]);
        let run = run.arg(folder.join("config.yml")).stdin(Stdio::null()).stdout(out).stderr(errors);
        let child = run.spawn().map_err(|error| format!("could not run docker-registry: {error}"))?;
        let server = Self { _process: Process(child), address, log };
        let since = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            if since.elapsed() > Duration::from_secs(20) {
                return Err(format!(
                    "docker-registry did not start: {}",
                    fs::read_to_string(&server.log).unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Returns how often it has answered with 200 so far, and with 304.
    fn answers(&self) -> Outcome<[usize; 2]> {
        let text = fs::read_to_string(&self.log)
            .map_err(|error| format!("could not read {}: {error}", self.log.display()))?;
        Ok(["200", "304"].map(|status| text.matches(&format!(" HTTP/1.1\" {status} ")).count()))
    }
}
