//! `pib schema`

use clap::{Args, ValueEnum};

use super::output::print_document;
use crate::ops::Error;
use crate::ops::schema::SchemaFile;

/// Write the JSON schema of pib.toml or stage.toml, for editors
#[derive(Debug, Args)]
#[command(after_help = EDITORS)]
pub(super) struct Schema {
    /// The file
    #[arg(value_enum)]
    file: Named,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Named {
    /// The file of a project
    #[value(name = "pib.toml")]
    Project,
    /// The file of a stage
    #[value(name = "stage.toml")]
    Stage,
}

const EDITORS: &str = "\
Editors with taplo or Even Better TOML check and complete a file whose first line names its schema:
  pib schema pib.toml > pib.schema.json
  #:schema ./pib.schema.json";

pub(super) fn run(args: &Schema) -> Result<(), Error> {
    let file = match args.file {
        Named::Project => SchemaFile::Project,
        Named::Stage => SchemaFile::Stage,
    };
    print_document(file.schema())
}
