//! Speaks of instructions as their authors wrote them, also of those that were merged.

use pib_plan::assemble::BuildPlan;
use pib_plan::merge;

use super::log_lines::shorten;
use super::part_location::Location;
use pib_event::Mask;

/// Returns what is shown of the instruction at this place.
pub(super) fn shown(plan: &BuildPlan, location: Option<Location>, mask: &Mask) -> Option<String> {
    let location = location?;
    let text = mask.apply(shorten(&location.text));
    let merged = plan.merged_at(&location.stage, location.line);
    Some(match merged.map(|merged| merged.instructions.len()) {
        Some(count @ 2..) => format!("{text} (and {} more)", count - 1),
        _ => text,
    })
}

/// Returns which instruction failed of those that became the one at `line` of a part, and its text; what the merged one
/// says of that itself is taken out of what it printed.
pub(super) fn failed(
    plan: &BuildPlan,
    stage: Option<&str>,
    line: Option<usize>,
    printed: &mut Vec<String>,
    mask: &Mask,
) -> Option<(usize, String)> {
    let merged = plan.merged_at(stage?, line?)?;
    let failed = printed.iter().rev().find_map(|line| merge::failed_line(line));
    printed.retain(|line| merge::failed_line(line).is_none());
    // Of merged COPYs nobody tells, and what one of them meets the first one meets.
    let own = merged.instructions.iter().find(|own| Some(own.line) == failed);
    let own = own.or_else(|| merged.instructions.first())?;
    Some((own.line, mask.apply(shorten(&own.text))))
}
