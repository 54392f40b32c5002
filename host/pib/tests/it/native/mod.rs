//! Native tools: the same comes of a build with and without them, and parts get the target's answers.

mod answers;
mod failures;
pub(crate) mod rootfs;
mod same;
