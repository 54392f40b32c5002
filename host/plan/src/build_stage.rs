//! What the Dockerfile calls its build stages.
//!
//! Dockerfiles take names like `[a-z][a-z0-9-_.]*`. BuildKit since 0.12 also reads a name as a reference to a container
//! image, which is narrower: separators (`.`, `_`, `__`, any number of `-`) stand only between letters and digits, and
//! 64 hexadecimal digits are an id. What is no such reference gets another name here, which holds a `_` or a `.`: no
//! pib stage's name does, so no two build stages share a name.

use crate::id::{CLEANUP, INIT, StageName};

/// The build stage of the program that starts commands, where no native tools bring it.
pub const RELAY: &str = "pib_relay";

/// The build stage of the emulators that pib brings.
pub const EMULATION: &str = "pib_emulation";

/// The build stage of native tools.
pub const NATIVE: &str = "pib_native";

/// Returns the name of a pib stage's build stage: mostly its own.
pub fn name(stage: &StageName) -> String {
    let own = stage.as_str();
    let stem = own.trim_end_matches('-');
    let is_id = own.len() == 64 && own.bytes().all(|byte| byte.is_ascii_hexdigit());
    match own {
        INIT => "pib_init".to_owned(),
        CLEANUP => "pib_cleanup".to_owned(),
        // `scratch` is Docker's own word for an empty base.
        _ if own == "scratch" || is_id || stem != own => format!("{stem}.{}", own.len() - stem.len()),
        _ => own.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// Returns whether every engine takes the name: by the grammar of Dockerfiles, and by that of references.
    fn is_taken(name: &str) -> bool {
        let is_dockerfile = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| is_plain(c) || matches!(c, '.' | '_' | '-'));
        let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_dockerfile && is_path_component(name) && !is_id && name != "scratch" && name.len() < 128
    }

    fn is_plain(c: char) -> bool {
        c.is_ascii_lowercase() || c.is_ascii_digit()
    }

    /// Returns whether a text is `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, a part of a container image's name.
    fn is_path_component(text: &str) -> bool {
        let mut rest = text;
        loop {
            let after = rest.trim_start_matches(is_plain);
            if after.is_empty() || after.len() == rest.len() {
                return after.len() < rest.len();
            }
            rest = after.trim_start_matches(['.', '_', '-']);
            let separator = &after[..after.len() - rest.len()];
            if !matches!(separator, "." | "_" | "__") && separator.bytes().any(|byte| byte != b'-') {
                return false;
            }
        }
    }

    #[test]
    fn the_test_itself_knows_what_engines_refuse() {
        for good in ["a", "a1", "a-b", "a--b", "a__b.c", &"a".repeat(63), &"g".repeat(64)] {
            assert!(is_taken(good), "{good}");
        }
        let refused = ["", "1a", "init__", "os-", "a-_b", "a..b", "a___b", "A", "a.", "_a", "a/b", "scratch"];
        for bad in refused.into_iter().chain([&*"a".repeat(64), &*"g".repeat(128)]) {
            assert!(!is_taken(bad), "{bad}");
        }
    }

    #[test]
    fn plain_names_stay() {
        for own in ["os", "read-only", "k8s", "a--b", "init", "native", "pib-init", &"z".repeat(64)] {
            assert_eq!(name(&own.parse().unwrap()), own);
        }
        let given = [INIT, CLEANUP, "scratch", "os-", "os--"].map(|own| name(&own.parse().unwrap()));
        assert_eq!(given, ["pib_init", "pib_cleanup", "scratch.0", "os.1", "os.2"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_engine_takes_them_and_tells_them_apart(
            mut stages in proptest::collection::btree_set(
                prop_oneof![
                    "[a-z][a-z0-9-]{0,63}",
                    "[a-f][a-f0-9]{63}",
                    "[ab][a0-]{0,5}",
                    (select(vec!["init", "native", "cleanup", "scratch", "pib", "os"]), "(-init|-native|[0-1-]{0,3})")
                        .prop_map(|(stem, rest)| format!("{stem}{rest}")),
                ],
                1..40,
            ),
        ) {
            stages.extend([INIT, CLEANUP].map(str::to_owned));
            let names: BTreeSet<String> = stages.iter().map(|own| name(&own.parse().unwrap())).collect();
            prop_assert_eq!(names.len(), stages.len());
            prop_assert!(!names.contains(NATIVE));
            for name in names.iter().map(String::as_str).chain([NATIVE]) {
                prop_assert!(is_taken(name), "{}", name);
            }
        }
    }
}
