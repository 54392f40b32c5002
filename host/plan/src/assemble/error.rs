//! Why stages cannot be assembled.

use crate::id::StageName;
use crate::manifest::ManifestError;

/// The most file system layers that engines take (overlay2 allows 128), less those of the base.
pub const MAX_LAYERS: usize = 120;

/// Says why stages cannot be assembled.
#[derive(Debug, Clone, thiserror::Error, miette::Diagnostic)]
pub enum AssembleError {
    /// There is nothing to assemble.
    #[error("there is no stage to build")]
    #[diagnostic(code(pib::assemble::no_stages))]
    NoStages,
    /// A part is wrong beside the other ones.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Part(Box<ManifestError>),
    /// Engines do not agree on which of two values a part sees.
    #[error("stage `{stage}` takes the argument {arg}, which the ENV of stage `{by}` overrides")]
    #[diagnostic(code(pib::assemble::hidden))]
    #[diagnostic(help("{help}"))]
    Hidden {
        /// The stage with the argument.
        stage: StageName,
        /// The argument.
        arg: String,
        /// The stage with the `ENV`.
        by: StageName,
        /// What to do: where the argument comes from decides.
        help: String,
    },
    /// A value that is not one line would become instructions.
    #[error("the argument {arg} of stage `{stage}` has a line break or another control character")]
    #[diagnostic(code(pib::assemble::not_one_line))]
    #[diagnostic(help("A value of a stage's config is one line of text."))]
    NotOneLine {
        /// The stage.
        stage: StageName,
        /// The argument.
        arg: String,
    },
    /// Engines would not read the line that it becomes.
    #[error(
        "the argument {arg} of stage `{stage}` has {size} bytes, and engines read lines of at most 65,000"
    )]
    #[diagnostic(code(pib::assemble::too_long))]
    #[diagnostic(help(
        "Put the value into a file of the project, and let a config key of type `path` name it."
    ))]
    TooLong {
        /// The stage.
        stage: StageName,
        /// The argument.
        arg: String,
        /// How many.
        size: usize,
    },
    /// A name that would become instructions.
    #[error("the base `{name}` is not the name of a container image or a path of the context")]
    #[diagnostic(code(pib::assemble::not_a_base))]
    #[diagnostic(help(
        "A name has letters, digits and . _ - / : @ +, without spaces: debian:trixie@sha256:..."
    ))]
    NotABase {
        /// The name.
        name: String,
    },
    /// The engine would refuse the result.
    #[error(
        "the stages make {layers} file system layers{merged}, and container engines take at most {MAX_LAYERS}"
    )]
    #[diagnostic(code(pib::assemble::too_many_layers))]
    #[diagnostic(help("Join RUN instructions with && in the parts that have most: {most}."))]
    TooManyLayers {
        /// How many.
        layers: usize,
        /// How many fewer they would be with what can be merged, as a part of the sentence.
        merged: String,
        /// The stages with most of them.
        most: String,
    },
}
