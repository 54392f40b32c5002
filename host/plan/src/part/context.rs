//! What a part takes out of the context: which files an instruction's source may stand for.

use crate::assemble::Arg;
use crate::dockerfile::Template;

/// The folder of the context that holds every stage's files.
const STAGES: &str = "stages";

/// The files of the context that a source may stand for: never fewer than it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// This file, or all below this folder.
    Path(String),
    /// All below this folder that a pattern may match.
    Pattern(String),
    /// Any: which ones, a variable tells that only the engine knows.
    Any,
    /// Files beyond those of stages.
    Outside,
}

impl Reach {
    /// Returns what `source` reaches where the arguments have these values.
    pub(crate) fn of(source: &Template, args: &[Arg]) -> Self {
        let value = |name: &str| args.iter().find(|arg| arg.name == name).map(|arg| arg.value.as_str());
        Self::of_text(source.expand(value))
    }

    fn of_text((text, known): (String, bool)) -> Self {
        let mut path: Vec<&str> = Vec::new();
        let (mut pattern, mut climbs) = (false, false);
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." if pattern => climbs = true,
                ".." => drop(path.pop()),
                _ if pattern => {}
                component if component.contains(['*', '?', '[', '\\']) => pattern = true,
                component => path.push(component),
            }
        }
        match path.first() {
            Some(&STAGES) if !known || climbs => Self::Any,
            Some(&STAGES) if pattern => Self::Pattern(path.join("/")),
            Some(&STAGES) => Self::Path(path.join("/")),
            _ => Self::Outside,
        }
    }

    /// Returns whether the source may stand for this file.
    pub(crate) fn has(&self, file: &str) -> bool {
        match self {
            Self::Path(path) | Self::Pattern(path) => {
                file.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Any => true,
            Self::Outside => false,
        }
    }

    /// Returns whether it reaches no more than the files of this stage.
    pub(crate) fn stays_in(&self, stage: &str) -> bool {
        match self {
            Self::Path(path) | Self::Pattern(path) => path.split('/').nth(1) == Some(stage),
            Self::Any | Self::Outside => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(source: &str) -> Reach {
        let arg =
            |name: &str, value: &str| Arg { name: name.to_owned(), value: value.to_owned(), keyed: true };
        Reach::of(
            &Template::parse(source).unwrap(),
            &[arg("KEY", "stages/a/config/key/000-x"), arg("UP", "../..")],
        )
    }

    #[test]
    fn a_source_reaches_no_less_than_it_stands_for() {
        let path = |path: &str| Reach::Path(path.to_owned());
        assert_eq!(reach("stages/a/x"), path("stages/a/x"));
        assert_eq!(reach("/stages//a/./x/../y/"), path("stages/a/y"));
        assert_eq!(reach("$KEY"), path("stages/a/config/key/000-x"));
        assert_eq!(reach("\"stages/a/x\""), path("stages/a/x"));
        assert_eq!(reach("stages/a/../b/x"), path("stages/b/x"));
        assert_eq!(reach("stages/*/x"), Reach::Pattern("stages".to_owned()));
        assert_eq!(reach("stages/a/$OTHER"), Reach::Any);
        assert_eq!(reach("stages/a/${KEY:-x}"), Reach::Any);
        assert_eq!(reach("stages/a/*/../../b"), Reach::Any);
        for outside in
            ["", ".", "/", "*", "stag?s/a", "../x", "$OTHER", "stages/..", "stages/a/$UP/b/x", "Dockerfile"]
        {
            assert_eq!(reach(outside), Reach::Outside, "{outside}");
        }
    }

    #[test]
    fn only_whole_names_of_folders_count() {
        assert!(reach("stages/a").has("stages/a/x") && !reach("stages/a").has("stages/ab/x"));
        assert!(reach("stages/a/*").stays_in("a") && !reach("stages/*").stays_in("a"));
        assert!(reach("stages/a/$OTHER").has("stages/b/x"));
    }
}
