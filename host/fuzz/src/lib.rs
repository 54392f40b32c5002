//! Fuzz targets for all that reads what a stranger wrote: whatever comes, a reader ends, in a value or an error that can be
//! shown.
//!
//! As a test, each target reads its corpus (`src/__fuzz__`) and a thousand inputs made from it at random. With
//! `cargo bolero test -p pib-fuzz NAME --engine libfuzzer` it goes on for as long as it is let, led by what the
//! inputs reach.

#[cfg(test)]
mod debian;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod plan;

/// Shows an error as the program does: a line of 65,536 columns once made that panic.
#[cfg(test)]
fn show(error: impl miette::Diagnostic + Send + Sync + 'static) {
    let mut shown = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none()).with_width(80);
    assert!(handler.render_report(&mut shown, &error).is_ok());
    assert!(!shown.is_empty());
}
