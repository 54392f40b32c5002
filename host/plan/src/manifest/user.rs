//! `config.toml`: what a user has decided for all projects. A project or a stage cannot change it.

use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, ManifestText};
use crate::hook::Limits;

/// The file's name within pib's folder among the user's config files.
pub const FILE_NAME: &str = "config.toml";

/// A parsed and checked `config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserConfig {
    /// How much hooks may use: `[hooks]`.
    pub hooks: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    hooks: Option<Spanned<Limits>>,
}

impl UserConfig {
    /// Parses `text`, which was read from `file`.
    ///
    /// # Errors
    /// When the text does not fit the schema, or a limit is out of its range.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        let source = ManifestText::new(file, text);
        let schema: Schema = source.parse()?;
        let Some(hooks) = schema.hooks else { return Ok(Self::default()) };
        hooks.get_ref().check().map_err(|problem| {
            source.error(hooks.span(), format!("limit of hooks: {problem}"), "in this table")
        })?;
        Ok(Self { hooks: hooks.into_inner() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::ByteSize;

    #[test]
    fn what_is_not_set_stays_as_it_is() {
        assert_eq!(UserConfig::parse("config.toml", "").unwrap(), UserConfig::default());
        let config = UserConfig::parse("config.toml", "[hooks]\nmemory = \"1GiB\"\nfuel = 7\n").unwrap();
        let expected = Limits { memory: ByteSize(1 << 30), fuel: 7, ..Limits::default() };
        assert_eq!(config.hooks, expected);
    }

    #[test]
    fn mistakes_are_told() {
        let fails = |text: &str| UserConfig::parse("config.toml", text).unwrap_err();
        assert!(fails("[hook]\n").to_string().contains("unknown key `hook`"));
        assert_eq!(fails("[hooks]\nmemroy = \"1GiB\"\n").advice(), Some("Did you mean `memory`?"));
        assert!(fails("[hooks]\nstack = \"1k\"\n").to_string().contains("`stack` is 1024"));
        assert!(fails("[hooks]\nfuel = -1\n").to_string().contains("the integer `-1`"));
    }
}
