//! Trees of stages.

use crate::ops::tree::Tree;
use crate::ops::why::{Asker, Why};

impl Tree {
    /// Returns the tree for people; what is below a stage is shown once, and marked `(*)` after that.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.project);
        let mut shown = Vec::new();
        self.branch(&mut text, &self.roots, "", &mut shown);
        text
    }

    fn branch<'a>(&'a self, text: &mut String, names: &'a [String], indent: &str, shown: &mut Vec<&'a str>) {
        for (number, name) in names.iter().enumerate() {
            let Some(stage) = self.stages.get(name) else { continue };
            let last = number + 1 == names.len();
            let (knot, next) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            let again = shown.contains(&name.as_str()) && !stage.dependencies.is_empty();
            let mark = if again { " (*)" } else { "" };
            text.push_str(&format!("{indent}{knot}{name} {} ({}){mark}\n", stage.version, stage.source));
            if !again {
                shown.push(name);
                self.branch(text, &stage.dependencies, &format!("{indent}{next}"), shown);
            }
        }
    }
}

impl Why {
    /// Returns the reasons for people, each below what it explains.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{} {} ({})\n", self.name, self.version, self.source);
        branch(&mut text, &self.asked_by, "");
        text
    }
}

fn branch(text: &mut String, askers: &[Asker], indent: &str) {
    for (number, asker) in askers.iter().enumerate() {
        let (knot, next) =
            if number + 1 == askers.len() { ("└── ", "    ") } else { ("├── ", "│   ") };
        let what = asker.requirement.as_deref().unwrap_or("any version");
        text.push_str(&format!("{indent}{knot}{} asks for {what}\n", asker.by));
        branch(text, &asker.asked_by, &format!("{indent}{next}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tree::TreeStage;

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let stage = |dependencies: &[&str]| TreeStage {
            version: "1.0.0".to_owned(),
            source: "bundled".to_owned(),
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
        };
        let stages = [("a", stage(&["c"])), ("b", stage(&["c"])), ("c", stage(&["d"])), ("d", stage(&[]))];
        let stages = stages.into_iter().map(|(name, stage)| (name.to_owned(), stage)).collect();
        let tree = Tree {
            project: "p".to_owned(),
            inverted: false,
            roots: vec!["a".to_owned(), "b".to_owned()],
            stages,
        };
        let expected = "p\n├── a 1.0.0 (bundled)\n│   └── c 1.0.0 (bundled)\n│       └── d 1.0.0 (bundled)\n\
            └── b 1.0.0 (bundled)\n    └── c 1.0.0 (bundled) (*)\n";
        assert_eq!(tree.to_text(), expected);
    }
}
