//! Tests that need neither an engine nor a network, nor anything that [`crate::world`] sets up.

mod base_lock;
mod boot;
mod cli;
mod doors;
mod endless;
mod events;
mod failures;
mod fields;
mod fitness;
mod git;
mod hidden;
mod hooks;
mod hostile;
pub(crate) mod inspect;
mod links;
mod locks;
mod output;
mod private;
mod registry;
mod rules;
mod stage;
mod targets;
mod tls;
mod tokens;
mod trust;
mod vendor;
