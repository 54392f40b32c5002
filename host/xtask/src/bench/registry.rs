//! A registry of stages and its server: publishing, locking against many stages, reads beside nginx, and idle connections.

mod clients;
mod files;
mod oci;
mod servers;

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::measure::{median, millis};
use crate::run::{Outcome, capture, command, has, root};
use files::{in_folder, stage_folders, write};
use servers::{Nginx, PibServer};

/// How much is measured.
struct Scale {
    /// How many stages are published.
    published: usize,
    /// How many stages the registry has that is locked against and read from.
    stages: usize,
    /// How many of these a project needs.
    needed: usize,
    /// How long reads are counted.
    reading: Duration,
    /// How many connections are idle.
    idle: usize,
}

const WHOLE: Scale =
    Scale { published: 1000, stages: 50_000, needed: 100, reading: Duration::from_secs(5), idle: 10_000 };
const SMALL: Scale =
    Scale { published: 20, stages: 500, needed: 20, reading: Duration::from_secs(1), idle: 200 };

/// How many clients read at the same time.
const CLIENTS: usize = 32;

/// Measures all of it; `small` measures little, to try the measurement itself.
pub(super) fn registry(pib: &Path, args: &[String]) -> Outcome {
    let scale = if args.iter().any(|arg| arg == "small") { SMALL } else { WHOLE };
    let work = root().join("target/bench/registry");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|error| format!("could not make {}: {error}", work.display()))?;
    // For both ends of the connections; the server inherits it.
    let files = format!("--nofile={0}:{0}", 2 * scale.idle + 1000);
    capture(&mut command("prlimit", &["--pid", &std::process::id().to_string(), &files]))?;
    let outcome = publish(pib, &work, &scale)
        .and_then(|()| oci::oci(pib, &work, scale.needed))
        .and_then(|()| serve(pib, &work, &scale));
    let _ = fs::remove_dir_all(&work);
    outcome
}

/// Publishes stages to a folder, beside packing them with tar.
fn publish(pib: &Path, work: &Path, scale: &Scale) -> Outcome {
    let folder = work.join("publish");
    let names = stage_folders(&folder, scale.published)?;
    let ours = median(1, || {
        let mut run = in_folder(pib, &folder, work);
        run.args(["publish", "--registry", "./shop", "--yes", "--allow-similar", "--allow-dirty"])
            .args(&names);
        capture(&mut run).map(drop)
    })?;
    let pack =
        "mkdir packed; for name in stage-*; do tar -cf - \"$name\" | gzip > \"packed/$name.tgz\"; done";
    let theirs = median(1, || capture(command("sh", &["-euc", pack]).current_dir(&folder)).map(drop))?;
    println!(
        "publishing {} stages to a folder       {:>8.1} ms   {:.2} ms each",
        names.len(),
        millis(ours),
        millis(ours) / names.len() as f64
    );
    println!(
        "packing the same with tar and gzip     {:>8.1} ms   {:.1} times pib's",
        millis(theirs),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// Makes a registry of many stages, and measures its server.
fn serve(pib: &Path, work: &Path, scale: &Scale) -> Outcome {
    let shop = work.join("shop");
    write(&shop.join("config.json"), "{\"v\":1}\n")?;
    let paths: Vec<String> = (0..scale.stages).map(path_of).collect();
    for (number, path) in paths.iter().enumerate() {
        write(&shop.join(path), &index_file(&name_of(number)))?;
    }
    let server = PibServer::start(pib, &shop, work)?;
    lock(pib, work, scale, &server)?;
    reads(&server, &shop, work, &paths, scale)?;
    idle(&server, &shop, work, scale)
}

/// Locks a project against the server: with nothing cached, and again.
fn lock(pib: &Path, work: &Path, scale: &Scale, server: &PibServer) -> Outcome {
    let project = work.join("project");
    let step = scale.stages / scale.needed;
    let needed = (0..scale.needed).map(|number| name_of(number * step));
    let stages: String =
        needed.map(|name| format!("{name} = {{ version = \"1\", registry = \"shop\" }}\n")).collect();
    let text = format!(
        "[project]\nname = \"many\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n[base]\nimage = \"debian@sha256:{:064x}\"\n\n\
         [stages]\n{stages}\n[registries.shop]\nindex = \"http://{}\"\n",
        1, server.address
    );
    write(&project.join("pib.toml"), &text)?;
    for (title, is_cold) in [("nothing cached", true), ("asked again", false)] {
        let _ = fs::remove_file(project.join("pib.lock"));
        if is_cold {
            let _ = fs::remove_dir_all(work.join("cache"));
        }
        let before = server.counters()?;
        let time = median(1, || capture(in_folder(pib, &project, work).arg("lock")).map(drop))?;
        let after = server.counters()?;
        println!(
            "pib lock, {} of {} stages, {title:<14} {:>6.1} ms   ({} sent, {} unchanged, {} KiB)",
            scale.needed,
            scale.stages,
            millis(time),
            after.sent - before.sent,
            after.unchanged - before.unchanged,
            (after.bytes - before.bytes) / 1024
        );
    }
    Ok(())
}

/// Counts how many index files a second the server sends, beside nginx with the same folder.
fn reads(server: &PibServer, shop: &Path, work: &Path, paths: &[String], scale: &Scale) -> Outcome {
    let ours = clients::reads_per_second(&server.address, paths, CLIENTS, scale.reading)?;
    println!("reads a second, {CLIENTS} clients             {ours:>8.0}");
    let Some(nginx) = nginx(shop, work)? else { return Ok(()) };
    let theirs = clients::reads_per_second(&nginx.address, paths, CLIENTS, scale.reading)?;
    println!("the same from nginx                    {theirs:>8.0}      {:.1} times pib's", theirs / ours);
    Ok(())
}

/// Measures the memory that idle connections take, beside nginx.
fn idle(server: &PibServer, shop: &Path, work: &Path, scale: &Scale) -> Outcome {
    let show = |who: &str, address: &str, memory: &dyn Fn() -> Outcome<u64>| -> Outcome {
        let before = memory()?;
        let connections = clients::idle(address, scale.idle)?;
        let after = memory()?;
        drop(connections);
        println!(
            "memory with {} idle connections, {who:<6} {:>6.1} MiB   {:.1} KiB each",
            scale.idle,
            after as f64 / 1024.0,
            after.saturating_sub(before) as f64 / scale.idle as f64
        );
        Ok(())
    };
    show("pib", &server.address, &|| servers::memory(&[server.id()]))?;
    let Some(nginx) = nginx(shop, work)? else { return Ok(()) };
    show("nginx", &nginx.address, &|| servers::memory(&nginx.processes()?))
}

fn nginx(shop: &Path, work: &Path) -> Outcome<Option<Nginx>> {
    if !has("nginx") {
        println!("nginx is not installed: nothing to compare with");
        return Ok(None);
    }
    Nginx::start(shop, work).map(Some)
}

fn name_of(number: usize) -> String {
    format!("s{number:05}")
}

fn path_of(number: usize) -> String {
    let name = name_of(number);
    format!("{}/{}/{name}", &name[..2], &name[2..4])
}

/// Returns an index file with some versions.
fn index_file(name: &str) -> String {
    let line = |minor: usize| {
        let digest = format!("sha256:{minor:064x}");
        format!(
            "{{\"name\":\"{name}\",\"vers\":\"1.{minor}.0\",\"phase\":\"normal\",\"description\":\"One of many\",\"license\":\"MIT\",\
             \"cksum\":\"{digest}\",\"content\":\"{digest}\",\"size\":1}}\n"
        )
    };
    (0..5).map(line).collect()
}
