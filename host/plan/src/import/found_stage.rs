//! Where the tree has the stages that a variant lists.

use std::collections::BTreeMap;

use super::init_part;
use super::makefile_settings::Settings;
use super::tree::{Tree, plain_path};
use crate::id::{INIT, StageName};

/// The stages that were found, and what is written for some.
#[derive(Default)]
pub(super) struct Found {
    /// The text of the part, by the stage's folder.
    pub(super) parts: BTreeMap<String, String>,
    /// Files that are written beside the manifest.
    files: BTreeMap<String, String>,
}

impl Found {
    /// Finds the stages of a variant.
    pub(super) fn find(&mut self, tree: &mut Tree<'_>, settings: &mut Settings) {
        for name in settings.stages.clone() {
            if name.parse::<StageName>().is_err() {
                let why =
                    "a stage's name has a-z, 0-9 and `-`: rename its folder, and add it by `pib add --path`";
                tree.leave_out(format!("stage {name}"), why.to_owned());
                continue;
            }
            let Some((folder, text)) = look(tree, settings, &name) else {
                let why = "the tree does not have it: fetch what the product is built on (a submodule?), and import again, or \
                           add it by `pib add`";
                tree.leave_out(format!("stage {name}"), why.to_owned());
                continue;
            };
            let folder = if name == INIT { self.init(tree, settings, &folder, &text) } else { folder };
            self.parts.entry(folder.clone()).or_insert(text);
            settings.folders.push((name, folder));
        }
    }

    /// Returns the folder of the init stage: its own, or one for a part without what pib does itself.
    fn init(&mut self, tree: &mut Tree<'_>, settings: &Settings, folder: &str, text: &str) -> String {
        let Some((part, dropped)) = init_part::without_base(text) else { return folder.to_owned() };
        for line in dropped {
            tree.leave_out(
                format!("{folder}/Dockerfile.part, line {line}"),
                "pib itself starts from the base, and needs no emulator in it".to_owned(),
            );
        }
        let own = format!("imported/{}/{INIT}", settings.os);
        self.files.insert(format!("{own}/Dockerfile.part"), part);
        own
    }

    /// Returns the files that are written, by path.
    pub(super) fn written(self) -> Vec<(String, String)> {
        self.files.into_iter().collect()
    }
}

/// Returns the folder of a stage, and its part's text.
fn look(tree: &mut Tree<'_>, settings: &Settings, name: &str) -> Option<(String, String)> {
    let roots = [Some("."), settings.builder.as_deref()];
    for root in roots.into_iter().flatten() {
        // pi-builder's makefile lays the stages of the system over those that all systems share.
        let folders = [
            format!("{root}/stages/{}/{name}", settings.given_os),
            format!("{root}/stages/common/{name}"),
            format!("{root}/stages/{name}"),
        ];
        for folder in folders {
            let names = [format!("Dockerfile.{}.part", settings.given_os), "Dockerfile.part".to_owned()];
            for part in names {
                if let Some(text) = tree.text(&format!("{folder}/{part}")) {
                    if part != "Dockerfile.part" && settings.os != settings.given_os {
                        let wanted = format!("Dockerfile.{}.part", settings.os);
                        tree.leave_out(
                            format!("{folder}/{part}"),
                            format!("pib reads `{wanted}`: rename it"),
                        );
                    }
                    return Some((plain_path(&folder)?, text));
                }
            }
        }
    }
    None
}
