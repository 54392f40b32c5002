//! Decides what a pib build consists of. Pure: no file system, network, environment, clock or async.
//!
//! | module | what it decides |
//! |---|---|
//! | [`id`] | names, digests and architectures, valid by construction |

pub mod id;
