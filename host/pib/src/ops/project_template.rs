//! What a project may begin with: some of the example projects, which are part of the program.

use std::io::Write as _;
use std::path::Path;

use include_dir::{Dir, include_dir};
use pib_file::Folder;
use pib_plan::board::{BOARDS, Board};
use pib_plan::id::Arch;
use pib_plan::manifest::project::FILE_NAME;
use pib_plan::{suggest, system};

use crate::project::Error;

static EXAMPLES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../examples");

/// A template, as it is listed.
#[derive(Debug)]
struct Listed {
    name: &'static str,
    /// What comes of it.
    help: &'static str,
    /// The folder of the example.
    folder: &'static str,
    board: &'static str,
    /// Whether it is nothing without Wi-Fi.
    wireless: bool,
    archs: &'static [Arch],
}

/// What Debian and Raspberry Pi OS both have.
const ANY: &[Arch] = &[Arch::Arm64, Arch::Armv7, Arch::Armv6];
/// What Chromium is built for.
const BROWSER: &[Arch] = &[Arch::Arm64, Arch::Armv7];

const TEMPLATES: [Listed; 4] = [
    Listed {
        name: "router",
        help: "a Wi-Fi network of its own, whose devices reach what is at the cable",
        folder: "wifi-router",
        board: "rpi4",
        wireless: true,
        archs: ANY,
    },
    Listed {
        name: "camera",
        help: "a camera on the wireless network",
        folder: "camera",
        board: "zero2w",
        wireless: true,
        archs: ANY,
    },
    Listed {
        name: "kiosk",
        help: "a screen that shows one web page",
        folder: "kiosk",
        board: "rpi4",
        wireless: false,
        archs: BROWSER,
    },
    Listed {
        name: "nas",
        help: "a file server with a read-only system",
        folder: "nas",
        board: "rpi4",
        wireless: false,
        archs: ANY,
    },
];
/// The systems that the templates are made for: `pure::systems` resolves each of them for each.
const SYSTEMS: [&str; 2] = ["debian", "raspios"];
/// The name of what is no template: a project with the stage `os` alone.
const EMPTY: &str = "empty";

/// What a project begins with.
#[derive(Debug)]
pub(super) struct ProjectTemplate {
    /// Its files beside `pib.toml`: paths within the project, and texts.
    pub files: Vec<(&'static str, &'static str)>,
    listed: &'static Listed,
    example: &'static str,
}

/// Returns the names of templates, and what comes of each.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let named = TEMPLATES.iter().map(|listed| (listed.name, listed.help));
    named.chain([(EMPTY, "a system that boots, and nothing else")])
}

/// Returns a template by its name; nothing for a project that begins empty.
///
/// # Errors
/// When there is no such template.
pub(super) fn find(name: Option<&str>) -> Result<Option<ProjectTemplate>, Error> {
    let Some(name) = name.filter(|name| *name != EMPTY) else { return Ok(None) };
    let Some(listed) = TEMPLATES.iter().find(|listed| listed.name == name) else {
        let names = || all().map(|(name, _)| name);
        let help = match suggest::nearest(name, names()) {
            Some(near) => format!("Did you mean `{near}`? The templates are {}.", suggest::list(names())),
            None => format!("The templates are {}.", suggest::list(names())),
        };
        return Err(Error::usage(format!("unknown template `{name}`"), help));
    };
    Ok(Some(ProjectTemplate::of(listed)))
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
    fn of(listed: &'static Listed) -> Self {
        let mut template = Self { files: Vec::new(), listed, example: "" };
        if let Some(root) = EXAMPLES.get_dir(listed.folder) {
            template.add(root, listed.folder);
        }
        template
    }

    /// Returns the board that it is made for, where the command line names none.
    pub(super) fn board(&self) -> &'static str {
        self.listed.board
    }

    /// Checks that the template's stages have what they need on a device.
    ///
    /// # Errors
    /// When the system has not all of them, the architecture has not their packages, or the board has no Wi-Fi.
    pub(super) fn check(&self, os: &str, board: &Board, arch: Arch) -> Result<(), Error> {
        let Listed { name, wireless, archs, .. } = self.listed;
        let empty = "or leave --template out and add the stages that you want with `pib add`";
        // A system of the user's own may have all of them in stages of its own.
        if !SYSTEMS.contains(&os) && system::names().any(|known| known == os) {
            let message = format!("the template `{name}` has stages that `{os}` has not");
            return Err(Error::usage(
                message,
                format!("Choose --os {}, {empty}.", SYSTEMS.join(" or --os ")),
            ));
        }
        if !archs.contains(&arch) {
            let message = format!("the template `{name}` has programs that are not built for {arch}");
            let archs = suggest::list(archs.iter().map(|arch| arch.as_str()));
            return Err(Error::usage(message, format!("Choose a board of {archs}, {empty}.")));
        }
        if *wireless && !board.wifi {
            let message =
                format!("the template `{name}` needs Wi-Fi, and the board `{}` has none", board.name);
            let boards = BOARDS.iter().filter(|board| board.wifi).map(|board| board.name);
            let help = format!("Choose one of {}, {empty}.", suggest::list(boards));
            return Err(Error::usage(message, help));
        }
        Ok(())
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

    /// Whether its `pib.toml` settles how parts reach the network.
    pub(super) fn has_build_table(&self) -> bool {
        self.example.contains("\n[build]\n")
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
        for Listed { name, .. } in TEMPLATES {
            let template = find(Some(name)).unwrap().unwrap();
            assert!(template.example.contains(&format!("board = \"{}\"", template.board())), "{name}");
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
