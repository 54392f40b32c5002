//! What a project may begin with: some of the example projects, which are part of the program.

use std::io::Write as _;
use std::path::Path;

use include_dir::{Dir, include_dir};
use pib_file::Folder;
use pib_plan::manifest::project::FILE_NAME;
use pib_plan::suggest;

use crate::project::Error;

static EXAMPLES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../examples");

/// The templates: the name, the folder of the example, the board, and what comes of it.
const TEMPLATES: [(&str, &str, &str, &str); 4] = [
    ("router", "wifi-router", "rpi4", "a Wi-Fi network of its own, whose devices reach what is at the cable"),
    ("camera", "camera", "zero2w", "a camera on the wireless network"),
    ("kiosk", "kiosk", "rpi4", "a screen that shows one web page"),
    ("nas", "nas", "rpi4", "a file server with a read-only system"),
];
/// The name of what is no template: a project with the stage `os` alone.
const EMPTY: &str = "empty";

/// What a project begins with.
#[derive(Debug)]
pub(super) struct ProjectTemplate {
    /// The board that it is made for.
    pub board: &'static str,
    /// Its files beside `pib.toml`: paths within the project, and texts.
    pub files: Vec<(&'static str, &'static str)>,
    example: &'static str,
}

/// Returns the names of templates, and what comes of each.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let named = TEMPLATES.iter().map(|(name, _, _, help)| (*name, *help));
    named.chain([(EMPTY, "a system that boots, and nothing else")])
}

/// Returns a template by its name; nothing for a project that begins empty.
///
/// # Errors
/// When there is no such template.
pub(super) fn find(name: Option<&str>) -> Result<Option<ProjectTemplate>, Error> {
    let Some(name) = name.filter(|name| *name != EMPTY) else { return Ok(None) };
    let Some((_, folder, board, _)) = TEMPLATES.iter().find(|(known, ..)| *known == name) else {
        let names = || all().map(|(name, _)| name);
        let help = match suggest::nearest(name, names()) {
            Some(near) => format!("Did you mean `{near}`? The templates are {}.", suggest::list(names())),
            None => format!("The templates are {}.", suggest::list(names())),
        };
        return Err(Error::usage(format!("unknown template `{name}`"), help));
    };
    Ok(Some(ProjectTemplate::of(folder, board)))
}

/// Writes the files of a template into a project's folder.
///
/// # Errors
/// When a file is there already, or cannot be written.
pub(super) fn write(project: &Folder, files: &[(&str, &str)]) -> Result<(), Error> {
    for (path, text) in files {
        let written = project
            .make_folder(Path::new(path).parent().unwrap_or(Path::new("")))
            .and_then(|_| project.create_new(path))
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Error::io("write the file", project.path().join(path), error))?;
    }
    Ok(())
}

impl ProjectTemplate {
    /// Reads an example. It is part of the program, and a test reads each.
    fn of(folder: &str, board: &'static str) -> Self {
        let mut template = Self { board, files: Vec::new(), example: "" };
        if let Some(root) = EXAMPLES.get_dir(folder) {
            template.add(root, folder);
        }
        template
    }

    /// Adds the manifest, and the files of stages; READMEs and locks are the example's own.
    fn add(&mut self, from: &'static Dir<'static>, root: &str) {
        for file in from.files() {
            let path = file.path().strip_prefix(root).unwrap_or(file.path());
            let (Some(path), Some(text)) = (path.to_str(), file.contents_utf8()) else { continue };
            match path {
                FILE_NAME => self.example = text,
                _ if path.starts_with("stages/") => self.files.push((path, text)),
                _ => {}
            }
        }
        for folder in from.dirs() {
            self.add(folder, root);
        }
    }

    /// Returns its `pib.toml`, with another table `[project]`.
    pub(super) fn manifest(&self, project: &str) -> String {
        let (above, rest) = self.example.split_once("[project]\n").unwrap_or_default();
        let below = rest.find("\n[").map_or("", |end| &rest[end..]);
        format!("{above}{project}{below}")
    }
}

#[cfg(test)]
mod tests {
    use pib_plan::manifest::project::ProjectManifest;

    use super::*;

    #[test]
    fn every_template_is_a_project_with_another_name_and_board() {
        for (name, ..) in TEMPLATES {
            let template = find(Some(name)).unwrap().unwrap();
            assert!(template.example.contains(&format!("board = \"{}\"", template.board)), "{name}");
            let table = "[project]\nname = \"mine\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi3\"\n\
                         arch = \"arm64\"\n";
            let text = template.manifest(table);
            ProjectManifest::parse(FILE_NAME, &text).unwrap();
            assert!(text.starts_with("# ") && text.contains("\n\n[stages]\n"), "{text}");
            let own = template.files.iter().filter(|(path, _)| path.ends_with("/stage.toml")).count();
            assert_eq!(text.matches("path = \"stages/").count(), own, "{name}");
        }
    }

    #[test]
    fn an_unknown_template_names_the_real_ones() {
        let error = find(Some("cammera")).unwrap_err();
        let help = format!("{error:?}");
        assert!(help.contains("Did you mean `camera`?") && help.contains("`nas` and `empty`"), "{help}");
        assert!(find(Some("empty")).unwrap().is_none() && find(None).unwrap().is_none());
    }
}
