//! The JSON schemas of the files that people write, for editors.

/// A file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaFile {
    /// `pib.toml`.
    Project,
    /// `stage.toml`.
    Stage,
}

impl SchemaFile {
    /// Returns the schema. A test of `pib-plan` makes it from the types that read the file.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Project => include_str!("../../../docs/pib-toml.schema.json"),
            Self::Stage => include_str!("../../../docs/stage-toml.schema.json"),
        }
    }
}
