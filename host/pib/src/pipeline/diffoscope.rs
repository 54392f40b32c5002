//! Says in what the contents of files differ that two builds do not have alike, by diffoscope, where this machine has it.
//!
//! It is started for a few small files, for a short time, and little of what it prints is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pib_disk::{Aspect, Difference, pax};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::job::Built;
use crate::project::{Session, blocking};
use pib_event::ReporterExt as _;

/// The program.
const PROGRAM: &str = "diffoscope";
/// The id of the step in events.
const STEP: &str = "diffoscope";
/// How many files it looks at.
const MAX_FILES: usize = 3;
/// The largest file that it looks at, in bytes.
const MAX_SIZE: u64 = 16 << 20;
/// How long it may take to say its version, and to compare two files.
const TO_START: Duration = Duration::from_secs(20);
const TO_COMPARE: Duration = Duration::from_secs(60);
/// How much of what it prints is read, in bytes, and how many lines of that are told.
const MAX_OUTPUT: u64 = 64 << 10;
const MAX_LINES: usize = 20;
/// The longest line that is told, in characters.
const MAX_LINE: usize = 160;

/// Returns in what the contents of the first of these files differ between two builds, by path. Nothing where there is no
/// diffoscope.
pub(super) async fn summaries(
    session: &Session,
    builds: (&Built, &Built),
    differences: &[Difference],
) -> BTreeMap<String, String> {
    let of_content = differences.iter().filter(|difference| difference.aspects.contains(&Aspect::Content));
    let paths: Vec<String> = of_content.take(MAX_FILES).map(|difference| difference.path.clone()).collect();
    if paths.is_empty() || !is_here(Path::new(PROGRAM)).await {
        return BTreeMap::new();
    }
    session.reporter.started(STEP, "Comparing files with diffoscope");
    let found = compare_all(builds, paths).await.unwrap_or_default();
    session.reporter.finished(STEP, false);
    found
}

/// Returns whether the program can be started.
async fn is_here(program: &Path) -> bool {
    run(Command::new(program).arg("--version"), TO_START).await.is_some()
}

/// Takes the files out of both builds and compares each pair; `None` where one of the two cannot be read.
async fn compare_all(builds: (&Built, &Built), paths: Vec<String>) -> Option<BTreeMap<String, String>> {
    let folder = tempfile::tempdir().ok()?;
    let first = extract(builds.0, &paths, folder.path().join("first")).await?;
    let second = extract(builds.1, &paths, folder.path().join("second")).await?;
    let mut found = BTreeMap::new();
    for (path, file) in first {
        let Some(other) = second.get(&path) else { continue };
        if let Some(text) = compare(Path::new(PROGRAM), &file, other).await {
            found.insert(path, text);
        }
    }
    Some(found)
}

/// Writes those of the files that a build has and that are small enough into a folder; returns where each is.
async fn extract(built: &Built, paths: &[String], folder: PathBuf) -> Option<BTreeMap<String, PathBuf>> {
    let tree = built.engine.export(&built.tag).await.ok()?;
    let paths = paths.to_vec();
    blocking::read(tree, move |tree| take(tree, &paths, &folder)).await.ok()?.ok()
}

fn take(tar: impl Read, paths: &[String], folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    std::fs::create_dir(folder)?;
    let mut found = BTreeMap::new();
    pax::for_each(tar, |meta, content| {
        let name = String::from_utf8_lossy(meta.path.strip_prefix(b"./").unwrap_or(&meta.path)).into_owned();
        let number = paths.iter().position(|path| path.trim_start_matches('/') == name);
        let Some(number) = number.filter(|_| meta.size <= MAX_SIZE && meta.size > 0) else { return Ok(()) };
        // The end of a name tells diffoscope little that the content does not, and is a stranger's.
        let path = folder.join(number.to_string());
        io::copy(&mut content.take(MAX_SIZE), &mut File::create(&path)?)?;
        found.insert(paths[number].clone(), path);
        Ok(())
    })?;
    Ok(found)
}

/// Returns what the program says of two files, cut to a few lines; `None` where it fails, or takes too long.
async fn compare(program: &Path, first: &Path, second: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(["--text", "-", "--text-color", "never", "--no-progress", "--max-diff-block-lines", "10"]);
    command.arg(first).arg(second);
    let text = String::from_utf8_lossy(&run(&mut command, TO_COMPARE).await?).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with("--- ") && !line.starts_with("+++ "));
    let short = |line: &str| -> String { line.chars().take(MAX_LINE).collect() };
    let mut told: Vec<String> = lines.take(MAX_LINES + 1).map(short).collect();
    if told.len() > MAX_LINES {
        told.truncate(MAX_LINES);
        told.push("...".to_owned());
    }
    (!told.is_empty()).then(|| told.join("\n"))
}

/// Returns the first of what a program prints, which is then stopped; `None` where it cannot be started, or says nothing in
/// time.
async fn run(command: &mut Command, limit: Duration) -> Option<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command.env("LC_ALL", "C.UTF-8");
    let mut child = command.spawn().ok()?;
    let mut out = child.stdout.take()?.take(MAX_OUTPUT);
    let mut printed = Vec::new();
    let reading = async { out.read_to_end(&mut printed).await };
    tokio::time::timeout(limit, reading).await.ok()?.ok()?;
    Some(printed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::*;

    /// Makes a program that stands in for diffoscope.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn what_the_program_says_is_told_in_few_lines() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        let says = |script: &str| program(folder.path(), script);
        let differ =
            says("echo '--- /tmp/1'; echo '+++ /tmp/2'; echo '@@ -1 +1 @@'; echo -a; echo +b; exit 1");
        assert_eq!(compare(&differ, &one, &two).await.as_deref(), Some("@@ -1 +1 @@\n-a\n+b"));
        let told = compare(&says("yes | head -c 3000000; exit 1"), &one, &two).await.unwrap();
        assert_eq!((told.lines().count(), told.lines().last()), (MAX_LINES + 1, Some("...")));
        let told = compare(&says("head -c 30000 /dev/zero | tr '\\0' x"), &one, &two).await.unwrap();
        assert_eq!(told.len(), MAX_LINE);
        assert_eq!(compare(&says("exit 2"), &one, &two).await, None);
        assert_eq!(compare(Path::new("/nonexistent/diffoscope"), &one, &two).await, None);
        assert!(!is_here(Path::new("/nonexistent/diffoscope")).await);
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let hangs = program(folder.path(), "exec sleep 60");
        let began = Instant::now();
        assert_eq!(run(&mut Command::new(&hangs), Duration::from_millis(200)).await, None);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn small_files_are_taken_by_their_whole_path() {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in
            [("./etc/odd", "one"), ("etc/other", "two"), ("x/etc/odd", "three"), ("etc/empty", "")]
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_entry_type(tar::EntryType::Regular);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let paths = ["/etc/odd", "/etc/other", "/etc/empty", "/etc/none"].map(str::to_owned);
        let found = take(bytes.as_slice(), &paths, &folder.path().join("first")).unwrap();
        let texts: Vec<_> = found
            .iter()
            .map(|(path, file)| (path.as_str(), std::fs::read_to_string(file).unwrap()))
            .collect();
        assert_eq!(texts, [("/etc/odd", "one".to_owned()), ("/etc/other", "two".to_owned())]);
    }
}
