//! Importing a product with a dozen variants.

use std::fs;
use std::path::Path;

use super::measure::{median, millis, run_pib};
use crate::run::{Outcome, capture, root};

/// How many variants the product has, and how many stages.
const VARIANTS: usize = 12;
const STAGES: usize = 40;

/// Measures `pib import` on a product that is written for this.
pub(super) fn import(pib: &Path) -> Outcome {
    let work = root().join("target/bench/import");
    let _ = fs::remove_dir_all(&work);
    let failed = |error: std::io::Error| format!("could not write {}: {error}", work.display());
    let names: Vec<String> = (0..STAGES).map(|at| format!("stage-{at}")).collect();
    for name in &names {
        let folder = work.join("stages/debian").join(name);
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::write(folder.join("Dockerfile.part"), "RUN echo $BOARD $EDITION\n").map_err(failed)?;
    }
    let mut makefile =
        format!("OS ?= debian\nBOARD ?= rpi4\nEDITION ?= plain\nSTAGES ?= {}\n", names.join(" "));
    for at in 0..VARIANTS {
        makefile.push_str(&format!("v{at}:\n\t$(MAKE) os EDITION=e{at} HOSTNAME=box{at}\n"));
    }
    makefile.push_str("os:\n\ttrue\n");
    fs::write(work.join("Makefile"), makefile).map_err(failed)?;
    let time = median(20, || {
        let _ = fs::remove_file(work.join("pib.toml"));
        capture(run_pib(pib, &work).args(["import", "."])).map(drop)
    })?;
    println!("pib import, {VARIANTS} variants       {:>8.1} ms   (target: under 100 ms)", millis(time));
    let _ = fs::remove_dir_all(&work);
    Ok(())
}
