//! What is known of a part.

use std::collections::BTreeSet;
use std::ops::Range;

/// The shell that each part starts with.
pub const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A part that may be assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What messages call its file.
    pub file: String,
    /// The text, without a byte order mark, its lines ending in plain line breaks, also the last one.
    pub text: String,
    /// Its instructions, in order.
    pub steps: Vec<Step>,
    /// The `ARG`s that it declares.
    pub declares: Vec<Assignment>,
    /// The paths in the context that it copies from.
    pub copies: Vec<CopySource>,
    /// Where the assembler puts something in, in the order of the text.
    pub insertions: Vec<Insertion>,
    /// The secrets that its instructions mount.
    pub secrets: Vec<SecretMount>,
    /// Files of its own text, which it copies.
    pub files: Vec<InlineFile>,
    /// The build stages and container images that it copies from or mounts.
    pub froms: Vec<StageRef>,
    /// What it fetches without saying what that must be: no key can know of a change.
    pub unpinned: Vec<String>,
    /// Where its instructions mount something for their time, without the slash at the start. Engines make an empty file
    /// or folder there, and not all take it away. Left out is what cannot be told from the text: what is relative to a
    /// folder of the base's, or holds a variable.
    pub mount_points: BTreeSet<String>,
    /// What it leaves for the parts after it.
    pub leaves: State,
}

/// What a part leaves behind beside files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The shell, if it chooses one.
    pub shell: Option<Vec<String>>,
    /// Whether it chooses a user.
    pub user: bool,
    /// Whether it chooses a working directory.
    pub workdir: bool,
    /// Its environment variables.
    pub env: Vec<Assignment>,
}

/// An instruction of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line on which it starts, counted from 1.
    pub line: usize,
    /// Its keyword, in capitals.
    pub keyword: String,
}

/// A name that an `ENV` or `ARG` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The name.
    pub name: String,
    /// The value as written, where it has one.
    pub value: Option<String>,
    /// Where it stands in the part.
    pub span: Range<usize>,
}

/// A place in a part's text at which the assembler writes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insertion {
    /// The text that it takes the place of; often none.
    pub span: Range<usize>,
    /// What is written there.
    pub content: Content,
}

/// What the assembler writes into a part's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Mounts, behind the word `RUN`, for the command at this place of the text.
    Mounts(Range<usize>),
    /// The program that runs the command, as the first item of a JSON list.
    Runner,
    /// Which value the secret has, behind its id: the index in [`Part::secrets`].
    Secret(usize),
    /// The name of a build stage: the index in [`Part::froms`].
    Stage(usize),
    /// The value of this `ARG`, where it is one of pib's own.
    Value(String),
    /// The path of a file in the context: the index in [`Part::files`].
    File(usize),
    /// This text.
    Text(String),
}

/// A secret that a `RUN` instruction mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Its id.
    pub id: String,
    /// Where the id stands in the part.
    pub span: Range<usize>,
    /// Whether the instruction says where it wants the secret; else it is `/run/secrets/ID`.
    pub placed: bool,
}

/// A path in the context that a `COPY`, an `ADD` or a mount names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The path as written.
    pub path: String,
    /// Where it stands in the part.
    pub span: Range<usize>,
}

/// A build stage or container image that a part copies from or mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRef {
    /// Its name as written.
    pub name: String,
    /// Where it stands in the part.
    pub span: Range<usize>,
}

/// A file whose content is part of the part: a heredoc that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: String,
}
