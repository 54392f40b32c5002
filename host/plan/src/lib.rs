//! Decides what a pib build consists of. Pure: no file system, network, environment, clock or async.
//!
//! | module | what it decides |
//! |---|---|
//! | [`id`] | names, digests and architectures, valid by construction |
//! | [`stage`] | what a stage says of itself |

pub mod id;
pub mod stage;
