//! What pib and a hook tell each other, as plain data: the same for every version of the interface.

use serde::{Deserialize, Serialize};

/// All that a hook is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Context {
    /// The facts about the project.
    pub project: Project,
    /// What is known of the board, as names and values.
    pub board_traits: Vec<(String, String)>,
    /// The stages of the build in their order, this one among them.
    pub stages: Vec<StageRef>,
    /// The stage whose hook it is.
    pub this: StageRef,
    /// Its settings, sorted by key; a key without a value is absent.
    pub config: Vec<(String, Value)>,
}

/// The facts about a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Project {
    /// The name.
    pub name: String,
    /// The operating system, e.g. `debian`.
    pub os: String,
    /// Its release, e.g. `trixie`.
    pub release: String,
    /// The board, e.g. `rpi4`.
    pub board: String,
    /// The architecture.
    pub arch: String,
    /// The device's host name.
    pub hostname: String,
    /// The device's locale.
    pub locale: String,
    /// The device's time zone.
    pub timezone: String,
}

/// A stage of the build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StageRef {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

/// The value of a config key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Value {
    /// A string, or one choice of an enum.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A list of strings.
    List(Vec<String>),
    /// A path or paths.
    Files(Vec<ProjectFile>),
    /// A number of bytes.
    Size(u64),
    /// The id under which the part mounts a secret; never the secret.
    Secret(String),
}

/// A file of the project that a config key names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectFile {
    /// The path by which the hook reads it.
    pub path: String,
    /// The path in the build's context, from which a part copies it.
    pub context_path: String,
}

/// Something to tell the person who wrote the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Whether the build stops.
    pub severity: Severity,
    /// The config key that it is about.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build stops.
    Error,
}

/// What a hook makes of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    /// The part to build with.
    pub part: String,
    /// Files beside those of the package.
    pub files: Vec<File>,
}

/// A file that a hook rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The path below the stage's folder in the context.
    pub path: String,
    /// The bytes.
    #[serde(with = "as_hex")]
    pub content: Vec<u8>,
    /// Whether it may be executed.
    pub executable: bool,
}

/// How much a line of a hook's log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the hook's author.
    Debug,
    /// For whoever wants to know.
    Info,
    /// Something looks wrong.
    Warn,
    /// Something is wrong.
    Error,
}

impl Level {
    /// Returns the level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Bytes in JSON, where a list of numbers would be twice as long again.
mod as_hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        hex::decode(&*text).map_err(D::Error::custom)
    }
}
