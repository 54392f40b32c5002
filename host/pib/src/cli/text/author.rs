//! What authors of stages are shown.

use crate::author::HOOK_FOLDER;
use crate::author::check::CheckedStage;
use crate::author::component::BuiltHook;
use crate::author::preview::RenderedStage;
use crate::author::scaffold::{HookLanguage, NewStage};

impl NewStage {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let path = self.path.display();
        match self.hook {
            HookLanguage::None => format!("Created stage {} in {path}", self.name),
            HookLanguage::Rust => format!(
                "Created stage {} in {path}\nBuild its hook with `pib stage build {path}`; its code is in {path}/{HOOK_FOLDER}/src/lib.rs",
                self.name
            ),
        }
    }
}

impl BuiltHook {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let kib = self.size.div_ceil(1024);
        format!("Built {} ({kib} KiB, {}, {})", self.path.display(), self.world, self.digest)
    }
}

impl CheckedStage {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let passed = self.passed.iter().map(|line| format!("ok {line}\n"));
        let warnings = self.warnings.iter().map(|line| format!("warning: {line}\n"));
        passed.chain(warnings).collect()
    }
}

impl RenderedStage {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for told in &self.diagnostics {
            let key = told.key.as_ref().map(|key| format!(" `{key}`:")).unwrap_or_default();
            text.push_str(&format!("{}:{key} {}\n", told.severity, told.message));
            if let Some(help) = &told.help {
                text.push_str(&format!("  {help}\n"));
            }
        }
        if let Some(part) = &self.part {
            text.push_str(part);
        }
        for file in &self.files {
            let kind = if file.executable { ", executable" } else { "" };
            text.push_str(&format!(
                "\n--- stages/{}/{} ({} bytes{kind})\n",
                self.stage, file.path, file.size
            ));
            text.push_str(file.text.as_deref().unwrap_or("(not text)\n"));
        }
        text
    }
}
