//! `pib flash` beside `dd` and `bmaptool copy`, of the same image to the same loop device.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use super::measure::run_pib;
use crate::run::{Outcome, capture, command, root};

/// How often each is measured; the median counts.
const RUNS: usize = 3;

/// Measures the three in turn, so that what the machine does meanwhile slows all of them.
pub(super) fn flash(pib: &Path) -> Outcome {
    let image = root().join("target/demo/router/target/router-rpi4-arm64.img");
    if !image.exists() || !image.with_extension("img.bmap").exists() {
        return Err("nothing to write yet: run `cargo xtask demo` first".to_owned());
    }
    let failed = |error: std::io::Error| format!("could not make a card: {error}");
    let work = root().join("target/bench");
    fs::create_dir_all(&work).map_err(failed)?;
    let card = work.join("card");
    let size = fs::metadata(&image).map_err(failed)?.len();
    File::create(&card).and_then(|file| file.set_len(size + (64 << 20))).map_err(failed)?;
    let made = capture(&mut command("losetup", &["--find", "--show", &card.to_string_lossy()]))?;
    let measured = measure(pib, &image, made.trim());
    let detached = capture(&mut command("losetup", &["--detach", made.trim()]));
    let _ = fs::remove_file(&card);
    detached?;
    measured
}

fn measure(pib: &Path, image: &Path, device: &str) -> Outcome {
    let (source, target) = (format!("if={}", image.display()), format!("of={device}"));
    let image = image.to_string_lossy();
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..RUNS {
        let mut dd = command("dd", &[&source, &target, "bs=4M", "conv=fsync", "oflag=direct", "status=none"]);
        times[0].push(timed(|| capture(&mut dd).map(drop))?);
        times[1]
            .push(timed(|| capture(&mut command("bmaptool", &["-q", "copy", &image, device])).map(drop))?);
        let written = capture(run_pib(pib, &root()).args(["--json", "flash", &image, device, "--yes"]))?;
        times[2].push(seconds(&written, "write-seconds")?);
        times[3].push(seconds(&written, "verify-seconds")?);
        let delta =
            capture(run_pib(pib, &root()).args(["--json", "flash", &image, device, "--yes", "--delta"]))?;
        times[4].push(seconds(&delta, "write-seconds")?);
    }
    let [dd, bmaptool, ours, verifying, delta] = times.map(|mut times| {
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
    println!("pib flash --delta, unchanged  {delta:>8.2} s    {:.2} of a whole flash", delta / ours);
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
