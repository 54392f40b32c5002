//! The servers that are compared: pib's own, and nginx with the same folder.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::clients::Connection;
use crate::run::{Outcome, command};

/// A process that ends with this value.
pub(super) struct Process(pub(super) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A registry's server.
pub(super) struct PibServer {
    process: Process,
    pub(super) address: String,
}

/// What the server has counted.
pub(super) struct Counters {
    pub(super) sent: u64,
    pub(super) unchanged: u64,
    pub(super) bytes: u64,
}

impl PibServer {
    pub(super) fn start(pib: &Path, shop: &Path, work: &Path) -> Outcome<Self> {
        let mut serve = command(&pib.to_string_lossy(), &["registry", "serve", "--listen", "127.0.0.1:0"]);
        serve.arg(shop).env("PIB_CACHE_DIR", work.join("server-cache"));
        let child = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = Process(child.map_err(|error| format!("could not run pib: {error}"))?);
        let mut line = String::new();
        let out = process.0.stdout.take().ok_or("the server has no output")?;
        BufReader::new(out).read_line(&mut line).map_err(|error| error.to_string())?;
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let address = address.ok_or_else(|| format!("the server did not start: {line}"))?;
        Ok(Self { process, address: address.trim_end_matches(';').to_owned() })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Returns what the server has counted of files.
    pub(super) fn counters(&self) -> Outcome<Counters> {
        let (_, body) = Connection::open(&self.address)?.get("metrics")?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let sum = |metric: &str, label: &str| -> u64 {
            let lines = text.lines().filter(|line| line.starts_with(metric) && line.contains(label));
            lines.filter(|line| !line.contains("route=\"/metrics\"")).filter_map(value).sum()
        };
        Ok(Counters {
            sent: sum("pib_registry_requests_total{", "status=\"200\""),
            unchanged: sum("pib_registry_requests_total{", "status=\"304\""),
            bytes: sum("pib_registry_sent_bytes_total{", ""),
        })
    }
}

fn value(line: &str) -> Option<u64> {
    line.rsplit(' ').next()?.parse().ok()
}

/// nginx, with as many workers as there are cores.
pub(super) struct Nginx {
    process: Process,
    pub(super) address: String,
}

impl Nginx {
    pub(super) fn start(shop: &Path, work: &Path) -> Outcome<Self> {
        let folder = work.join("nginx");
        let fail = |error| format!("could not make {}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(fail)?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| format!("there is no free port: {error}"))?.to_string();
        let (root, here) = (shop.display(), folder.display());
        let config = format!(
            "daemon off;\nworker_processes auto;\nworker_rlimit_nofile 40000;\npid {here}/pid;\nerror_log {here}/errors;\nuser root;\n\
             events {{ worker_connections 20000; }}\n\
             http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 300; sendfile on; tcp_nodelay on;\n\
             client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c; uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;\n\
             server {{ listen {address}; root {root}; etag on; }} }}\n"
        );
        fs::write(folder.join("nginx.conf"), config).map_err(fail)?;
        let mut run = command("nginx", &["-e", "errors", "-c"]);
        run.arg(folder.join("nginx.conf")).arg("-p").arg(&folder).env("PATH", crate::bench::measure::path());
        let child =
            run.stdin(Stdio::null()).spawn().map_err(|error| format!("could not run nginx: {error}"))?;
        let server = Self { process: Process(child), address };
        let since = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            if since.elapsed() > Duration::from_secs(10) {
                let errors = fs::read_to_string(folder.join("errors")).unwrap_or_default();
                return Err(format!("nginx did not start: {errors}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Returns the processes: the first one and its workers.
    pub(super) fn processes(&self) -> Outcome<Vec<u32>> {
        let id = self.process.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.map_err(|error| format!("could not list nginx's workers: {error}"))?;
        Ok(std::iter::once(id).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, it would leave its workers.
        let id = self.process.0.id().to_string();
        let _ = command("kill", &["-TERM", &id]).status();
        let _ = self.process.0.wait();
    }
}

/// Returns the memory that processes have, in KiB.
pub(super) fn memory(processes: &[u32]) -> Outcome<u64> {
    let of = |id: &u32| -> Outcome<u64> {
        let path = format!("/proc/{id}/status");
        let text = fs::read_to_string(&path).map_err(|error| format!("could not read {path}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        Ok(line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default())
    };
    processes.iter().map(of).sum()
}
