//! What two builds do not have alike, for the error that says so.

use std::fmt;

use pib_disk::Difference;

/// A file that two builds do not have alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Irreproducible {
    /// The file and what of it differs.
    pub difference: Difference,
    /// The first stage with a difference there; `None` where the engine does not tell.
    pub stage: Option<String>,
    /// In what its content differs, in a few lines, where this machine has diffoscope.
    pub summary: Option<String>,
}

impl fmt::Display for Irreproducible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aspects: Vec<&str> = self.difference.aspects.iter().map(|aspect| aspect.text()).collect();
        // A name may have line breaks, and so look like lines of pib's own.
        let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        let path: String = self.difference.path.chars().map(escaped).collect();
        write!(f, "{path} ({})", aspects.join(", "))?;
        if let Some(stage) = &self.stage {
            write!(f, ", by stage `{stage}`")?;
        }
        self.summary.iter().flat_map(|text| text.lines()).try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Returns the first files that differ, each on a line, of `all` that do.
pub(super) fn listed(files: &[Irreproducible], all: usize) -> String {
    let lines: String = files.iter().map(|file| format!("\n  {file}")).collect();
    match all.saturating_sub(files.len()) {
        0 => lines,
        more => format!("{lines}\n  and {more} more"),
    }
}
