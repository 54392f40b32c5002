//! `[engines]`, in `config.toml`: the engines that builds of several targets are spread over.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, ManifestText};
use crate::id;

/// How many targets an engine builds at once, where nothing is said of it.
const SLOTS: u32 = 2;
/// The most that it can be told to.
const MAX_SLOTS: u32 = 64;

/// An engine that the user has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedEngine {
    /// Its address, or the name of a Docker context.
    pub address: String,
    /// The platforms whose programs it runs natively, as container engines write them; empty where only the engine's own is
    /// meant.
    pub platforms: Vec<String>,
    /// How many targets it builds at once.
    pub slots: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EngineSchema {
    address: Spanned<String>,
    #[serde(default)]
    platforms: Vec<Spanned<String>>,
    slots: Option<Spanned<u32>>,
}

/// Checks the tables.
pub(super) fn check(
    source: &ManifestText,
    tables: BTreeMap<Spanned<String>, EngineSchema>,
) -> Result<BTreeMap<String, NamedEngine>, ManifestError> {
    tables.into_iter().map(|(name, table)| table.check(source, &name)).collect()
}

impl EngineSchema {
    fn check(
        self,
        source: &ManifestText,
        name: &Spanned<String>,
    ) -> Result<(String, NamedEngine), ManifestError> {
        let Self { address, platforms, slots } = self;
        id::check_name(name.get_ref())
            .map_err(|error| source.error(name.span(), format!("name of an engine: {error}"), "this name"))?;
        let of = |what: &str| format!("engine `{}`: {what}", name.get_ref());
        if address.get_ref().trim().is_empty() || address.get_ref().chars().any(char::is_control) {
            let error = source.error(address.span(), of("it has no address"), "this address");
            return Err(error.with_help(
                "Write unix:///PATH, tcp://HOST:PORT, ssh://USER@HOST, or the name of a Docker context.",
            ));
        }
        if let Some(wrong) = platforms.iter().find(|platform| !is_platform(platform.get_ref())) {
            // Mistakes in this file show no value: it may hold tokens.
            let error = source.error(wrong.span(), of("not a platform"), "this platform");
            return Err(error.with_help(
                "Write platforms as engines do: \"linux/arm64\", \"linux/arm/v7\", \"linux/amd64\".",
            ));
        }
        let wrong = slots.as_ref().filter(|slots| !(1..=MAX_SLOTS).contains(slots.get_ref()));
        if let Some(wrong) = wrong {
            let what = of(&format!("`slots` is {}, and may be from 1 to {MAX_SLOTS}", wrong.get_ref()));
            return Err(source.error(wrong.span(), what, "this number"));
        }
        let engine = NamedEngine {
            address: address.into_inner(),
            platforms: platforms.into_iter().map(Spanned::into_inner).collect(),
            slots: slots.map_or(SLOTS, Spanned::into_inner),
        };
        Ok((name.get_ref().clone(), engine))
    }
}

/// Returns whether a text is an operating system, a processor and perhaps a variant of it, with `/` between them.
fn is_platform(text: &str) -> bool {
    let words: Vec<&str> = text.split('/').collect();
    let is_word = |word: &&str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    matches!(words.len(), 2 | 3) && words[0] == "linux" && words.iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use crate::manifest::user::UserConfig;

    use super::*;

    fn parse(text: &str) -> Result<BTreeMap<String, NamedEngine>, ManifestError> {
        UserConfig::parse("config.toml", text).map(|config| config.engines)
    }

    #[test]
    fn engines_have_addresses_and_perhaps_platforms_and_slots() {
        let text = "[engines.desk]\naddress = \"unix:///run/docker.sock\"\n\n[engines.pi]\naddress = \"ssh://pi5\"\n\
                    platforms = [\"linux/arm64\", \"linux/arm/v7\"]\nslots = 4\n";
        let engines = parse(text).unwrap();
        let desk =
            NamedEngine { address: "unix:///run/docker.sock".to_owned(), platforms: vec![], slots: SLOTS };
        let platforms = ["linux/arm64", "linux/arm/v7"].map(str::to_owned).to_vec();
        let pi = NamedEngine { address: "ssh://pi5".to_owned(), platforms, slots: 4 };
        assert_eq!(
            engines.into_iter().collect::<Vec<_>>(),
            [("desk".to_owned(), desk), ("pi".to_owned(), pi)]
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (text, words) in [
            ("address = \"\"", "it has no address"),
            ("slots = 1", "does not say `address`"),
            ("address = \"a\"\nslots = 0", "may be from 1 to 64"),
            ("address = \"a\"\nslots = 65", "may be from 1 to 64"),
            ("address = \"a\"\nplatforms = [\"arm64\"]", "engine `pi`: not a platform"),
            ("address = \"a\"\nplatforms = [\"windows/amd64\"]", "not a platform"),
            ("address = \"a\"\nplatform = \"linux/arm64\"", "unknown key `platform`"),
        ] {
            let error = parse(&format!("[engines.pi]\n{text}\n")).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        assert!(parse("[engines.Pi]\naddress = \"a\"\n").unwrap_err().to_string().contains("`Pi`"));
    }
}
