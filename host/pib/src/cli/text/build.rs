//! What builds, plans and exports come to.

use crate::ops::build::BuildOutcome;
use crate::ops::export::ExportReport;
use crate::ops::plan::{OrderReason, PlanSummary, PlannedSummary, WrittenContext};
use crate::ops::targets::Outcomes;
use crate::ops::verify::Verified;
use crate::pipeline::BuildReport;

impl BuildOutcome {
    /// Returns the report for people.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Image(report) => report.to_text(),
            Self::Stages(report) => {
                format!(
                    "Built the stages up to {}: container image {}\n",
                    report.stage, report.container_image
                )
            }
        }
    }
}

impl BuildReport {
    /// Returns the report for people.
    pub(crate) fn to_text(&self) -> String {
        let size = self.size.div_ceil(1 << 20);
        let how = if self.up_to_date { " is up to date" } else { "" };
        format!("{}{how} ({size} MiB)\n{}\n", self.image.display(), self.digest)
    }
}

impl Verified {
    /// Returns the finding for people.
    pub(crate) fn to_text(&self) -> String {
        format!("{} comes from this project and its lock\n{}\n", self.image.display(), self.digest)
    }
}

impl Outcomes {
    /// Returns for people what was built; what was not is told by the error.
    pub(crate) fn to_text(&self) -> String {
        let built = self.targets.iter().filter_map(|outcome| {
            let report = outcome.report.as_ref()?;
            Some(format!("{}: {}", outcome.target, report.to_text()))
        });
        built.collect()
    }
}

impl ExportReport {
    /// Returns the report for people.
    pub(crate) fn to_text(&self) -> String {
        let size = self.exported.bytes.div_ceil(1 << 20);
        format!("{} ({} entries, {size} MiB of files)", self.path.display(), self.exported.entries)
    }
}

impl PlanSummary {
    /// Returns the plan for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("base {}\n", self.base);
        for (number, stage) in self.stages.iter().enumerate() {
            let key = stage.key.map(|key| key.hex()[..12].to_owned()).unwrap_or_default();
            let state = stage.to_build.as_ref().map_or("built".to_owned(), |why| format!("to build: {why}"));
            let PlannedSummary { name, version, source, .. } = stage;
            let key = if key.is_empty() { key } else { format!("{key}  ") };
            text.push_str(&format!("{:>3}  {name} {version}  {source}  {key}{state}\n", number + 1));
        }
        if let Some(merged) = &self.merged {
            text.push_str(&format!("{merged}\n"));
        }
        text
    }
}

impl OrderReason {
    /// Returns the reason for people.
    pub(crate) fn to_text(&self) -> String {
        format!("{} comes before {}: {}", self.first, self.second, self.why)
    }
}

/// Returns a path as a shell reads it back as one word.
fn shell_word(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    match path.chars().all(plain) && !path.is_empty() {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

impl WrittenContext {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let secrets: String = self.secrets.iter().map(|id| format!(" --secret id={id},src=FILE")).collect();
        let path = self.path.display().to_string();
        format!("Wrote {path}; build it with: docker build{secrets} {}", shell_word(&path))
    }
}
