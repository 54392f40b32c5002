//! Where the tree does not meet its rules, with the reason. These lists only shrink.

/// Files that use one of a layer above, or an adapter another.
pub(super) const UPWARD: [(&str, &str); 0] = [];

/// Modules that define what the modules inside of them use, and use those.
///
/// Names of functions are in the hooks that stand in the registry: the SDK changes with the next ones that are published.
pub(super) const PARENTS: [&str; 1] = ["plugin-sdk/src/lib.rs"];

/// Other uses without which there would be no circle.
pub(super) const CIRCLES: [(&str, &str); 0] = [];

/// Names of modules that have two meanings in a crate.
pub(super) const NAMES: [&str; 0] = [];

/// Names that should be others, by the file that defines them; those of hooks change with the next ones published.
pub(super) const BANNED: [(&str, &str); 2] =
    [("stages/rootssh/hook/src/tests.rs", "told"), ("stages/watchdog/hook/src/lib.rs", "told")];

/// Dependencies whose terms ask that changes to themselves are published; none of them is changed here.
pub(super) const COPYLEFT: [&str; 3] = ["priority-queue", "pubgrub", "version-ranges"];

/// Dependencies of which there are two versions: RustCrypto and its users are on their way from one generation to the
/// next (wasmtime and pgp still use the earlier one); what bolero brings is in tests only; `nom` and
/// `synstructure` are in the lock alone, for a part of rcgen that is off; the others are each held back by one dependency.
pub(super) const TWICE: [&str; 26] = [
    "base64",
    "block-buffer",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "embedded-io",
    "foldhash",
    "getrandom",
    "hashbrown",
    "hmac",
    "itertools",
    "md-5",
    "nom",
    "rand",
    "rand_chacha",
    "rand_core",
    "serdect",
    "sha2",
    "spin",
    "syn",
    "synstructure",
    "toml_datetime",
    "toml_edit",
    "unicode-width",
    "winnow",
];
