//! `pib flash` beside `dd` and `bmaptool copy`, of the same image to the same loop device.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use super::device::{change_file, image, with_project};
use super::measure::run_pib;
use crate::run::{Outcome, capture, command, root};

/// How often each is measured; the median counts.
const RUNS: usize = 3;

/// Measures them in turn, so that what the machine does meanwhile slows all of them.
pub(super) fn flash(pib: &Path) -> Outcome {
    let work = root().join("target/bench/flash");
    with_project(pib, &work, |project| {
        let failed = |error: std::io::Error| format!("could not make a card: {error}");
        let card = work.join("card");
        let size = fs::metadata(image(project)).map_err(failed)?.len();
        File::create(&card).and_then(|file| file.set_len(size + (64 << 20))).map_err(failed)?;
        let made = capture(&mut command("losetup", &["--find", "--show", &card.to_string_lossy()]))?;
        let measured = measure(pib, project, made.trim());
        capture(&mut command("losetup", &["--detach", made.trim()]))?;
        measured
    })
}

fn measure(pib: &Path, project: &Path, device: &str) -> Outcome {
    let image = image(project);
    let (source, target) = (format!("if={}", image.display()), format!("of={device}"));
    let image = image.to_string_lossy();
    let flash = |more: &[&str]| {
        let mut flash = run_pib(pib, &root());
        capture(flash.args(["--json", "flash", &image, device, "--yes"]).args(more))
    };
    let mut times = [const { Vec::new() }; 6];
    for run in 0..RUNS {
        let mut dd = command("dd", &[&source, &target, "bs=4M", "conv=fsync", "oflag=direct", "status=none"]);
        times[0].push(timed(|| capture(&mut dd).map(drop))?);
        let mut bmaptool = command("bmaptool", &["-q", "copy", &image, device]);
        times[1].push(timed(|| capture(&mut bmaptool).map(drop))?);
        let written = flash(&[])?;
        times[2].push(seconds(&written, "write-seconds")?);
        times[3].push(seconds(&written, "verify-seconds")?);
        change_file(project, &format!("{run} of {}\n", std::process::id()))?;
        capture(run_pib(pib, project).arg("build"))?;
        let rebuilt = flash(&["--delta"])?;
        times[4].push(seconds(&rebuilt, "write-seconds")?);
        times[5].push(seconds(&rebuilt, "verify-seconds")?);
    }
    let [dd, bmaptool, ours, verifying, delta, delta_verifying] = times.map(|mut times| {
        times.sort();
        times[RUNS / 2].as_secs_f64()
    });
    println!("dd bs=4M conv=fsync           {dd:>8.2} s");
    println!("bmaptool copy                 {bmaptool:>8.2} s");
    let ratio = ours / dd.min(bmaptool);
    println!(
        "pib flash, writing            {ours:>8.2} s    {ratio:.2} times the faster of them (target: 1)"
    );
    println!("pib flash, reading back       {verifying:>8.2} s");
    let (whole, delta) = (ours + verifying, delta + delta_verifying);
    println!(
        "pib flash --delta, rebuilt    {delta:>8.2} s    {:.2} of a whole flash, read back as well (target: 0.1)",
        delta / whole
    );
    Ok(())
}

fn timed(work: impl FnOnce() -> Outcome) -> Outcome<Duration> {
    let since = Instant::now();
    work()?;
    Ok(since.elapsed())
}

/// Returns a number of seconds in a result.
fn seconds(json: &str, name: &str) -> Outcome<Duration> {
    let value = json.lines().find_map(|line| line.trim().strip_prefix(&format!("\"{name}\": ")));
    let number = value.and_then(|value| value.trim_end_matches(',').parse::<f64>().ok());
    number.map(Duration::from_secs_f64).ok_or_else(|| format!("the result has no {name}: {json}"))
}
