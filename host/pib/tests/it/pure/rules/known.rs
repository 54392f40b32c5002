//! Where the tree does not meet its rules yet. These lists only shrink.

/// Files that use one of a layer above, or an adapter another.
pub(super) const UPWARD: [(&str, &str); 0] = [];

/// Modules that define what the modules inside of them use, and use those.
pub(super) const PARENTS: [&str; 4] =
    ["host/native/src/main.rs", "host/pib/src/cli/mod.rs", "host/pib/src/ui/mod.rs", "plugin-sdk/src/lib.rs"];

/// Other uses without which there would be no circle.
pub(super) const CIRCLES: [(&str, &str); 0] = [];

/// Names of modules that have two meanings in a crate.
pub(super) const NAMES: [&str; 3] = ["engine", "hooks", "stage"];

/// Names that should be others, by the file that defines them.
pub(super) const BANNED: [(&str, &str); 5] = [
    ("host/pib/src/project/logs.rs", "told"),
    ("host/xtask/src/engines/start.rs", "said"),
    ("host/event/src/lib.rs", "Place"),
    ("stages/rootssh/hook/src/tests.rs", "told"),
    ("stages/watchdog/hook/src/lib.rs", "told"),
];
