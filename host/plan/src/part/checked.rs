//! What is known of a part.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::dockerfile::Template;

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
    /// The secrets that its instructions mount.
    pub secrets: Vec<SecretMount>,
    /// Files of its own text, which it copies.
    pub files: Vec<InlineFile>,
    /// The build stages and container images that it copies from or mounts.
    pub froms: Vec<StageRef>,
    /// What its `ADD`s have the engine fetch.
    pub remotes: Vec<RemoteSource>,
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
    /// Its own lines as one, as its author wrote them; those of a heredoc are left out.
    pub source: String,
    /// What it says.
    pub form: Form,
}

/// What an instruction says, from which it is written for engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A `RUN`.
    Run(Run),
    /// A `COPY` or `ADD`.
    Copy(Copy),
    /// An `ENV` or `LABEL`: names and values.
    Assignments(Vec<(Template, Template)>),
    /// An `ARG`: indexes in [`Part::declares`].
    Declarations(Range<usize>),
    /// A `USER`, `WORKDIR` or `EXPOSE`.
    Words(Vec<Template>),
    /// A `SHELL` or `CMD`.
    List(Vec<String>),
    /// A `MAINTAINER`.
    Text(String),
}

/// A `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its options, in order.
    pub options: Vec<RunOption>,
    /// What it runs.
    pub command: Command,
}

/// An option of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOption {
    /// A name and its value.
    Plain(String, Option<String>),
    /// A mount.
    Mount(Mount),
}

/// A mount of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its kind: `bind`, `cache`, `tmpfs`, `secret` or `ssh`.
    pub kind: &'static str,
    /// Its other fields, each under the one name that all engines know.
    pub fields: Vec<(&'static str, Option<String>)>,
    /// What `from` names: the index in [`Part::froms`].
    pub from: Option<usize>,
    /// The secret: the index in [`Part::secrets`].
    pub secret: Option<usize>,
}

/// What a `RUN` starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A command for the shell that is chosen, which all engines pass on as it is written.
    Shell(String),
    /// A program and its arguments.
    List(Vec<String>),
}

/// A `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its options but `from`: names and values.
    pub options: Vec<(String, Option<String>)>,
    /// What `from` names: the index in [`Part::froms`].
    pub from: Option<usize>,
    /// What it copies.
    pub sources: Vec<Source>,
    /// Where to.
    pub target: Template,
}

/// What a `COPY` or `ADD` copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, pattern or address.
    Template(Template),
    /// A file of the part's own: the index in [`Part::files`].
    File(usize),
}

/// A name that an `ENV` or `ARG` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The name.
    pub name: String,
    /// The value, where it has one.
    pub value: Option<Template>,
    /// Where it stands in the part.
    pub span: Range<usize>,
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
    /// The path.
    pub path: Template,
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

/// An address that an `ADD` has the engine fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSource {
    /// The instruction for people, without what may be a password.
    pub text: String,
    /// Whether it says what the content must be: otherwise no key can know of a change.
    pub is_pinned: bool,
    /// Where the address stands in the part.
    pub span: Range<usize>,
}

impl StageRef {
    /// Returns whether it can only be a container image: stages have names without these signs.
    pub fn is_image(&self) -> bool {
        self.name.contains([':', '/', '@'])
    }

    /// Returns whether the name has its container image's digest, which nobody can write without having the image.
    pub fn is_pinned(&self) -> bool {
        self.name.contains("@sha256:")
    }
}

/// A file whose content is part of the part: a heredoc that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: String,
}
