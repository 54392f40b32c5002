//! The part of a lock that belongs to one target of the project.

use super::Lockfile;

impl Lockfile {
    /// Returns what the lock holds of a target, or with `None` of the project itself: as if it were the only one.
    ///
    /// A target that the lock does not name has the project's stages: so it starts with the same versions.
    #[must_use]
    pub fn for_target(&self, target: Option<&str>) -> Self {
        let own = target.and_then(|target| self.targets.get(target));
        Self { stages: own.unwrap_or(&self.stages).clone(), targets: Default::default(), ..self.clone() }
    }

    /// Takes what [`Self::for_target`] gave, and what became of it since, back.
    pub fn set_target(&mut self, target: Option<&str>, part: Self) {
        (self.snapshot, self.fetch, self.bases) = (part.snapshot, part.fetch, part.bases);
        (self.as_of, self.refuses_losses) = (part.as_of, part.refuses_losses);
        match target {
            None => self.stages = part.stages,
            Some(target) => drop(self.targets.insert(target.to_owned(), part.stages)),
        }
    }

    /// Forgets the targets that `exists` does not know, and what need not be said.
    pub fn tidy_targets(&mut self, exists: impl Fn(&str) -> bool) {
        let stages = &self.stages;
        self.targets.retain(|target, own| exists(target) && own != stages);
    }
}

#[cfg(test)]
mod tests {
    use crate::lockfile::{LockedStage, Lockfile};

    fn stage(name: &str, version: &str) -> LockedStage {
        LockedStage {
            name: name.parse().unwrap(),
            version: version.parse().unwrap(),
            source: crate::index::SourceId::bundled(),
            checksum: None,
            content: None,
            publisher: None,
            hook: None,
            dependencies: Vec::new(),
        }
    }

    fn lock() -> Lockfile {
        let mut lock =
            Lockfile { stages: vec![stage("os", "1.0.0"), stage("ro", "1.0.0")], ..Lockfile::default() };
        let mut kiosk = lock.for_target(Some("kiosk"));
        kiosk.stages = vec![stage("camera", "2.0.0"), stage("os", "1.1.0")];
        lock.set_target(Some("kiosk"), kiosk);
        lock.set_target(Some("spare"), lock.for_target(Some("spare")));
        lock.tidy_targets(|_| true);
        lock
    }

    #[test]
    fn only_what_differs_is_written_and_all_is_read() {
        let lock = lock();
        let text = lock.to_text();
        let expected = "[[target]]\nname = \"kiosk\"\nwithout = [\n    \"ro\",\n]\n\n\
            [[target.stage]]\nname = \"camera\"\nversion = \"2.0.0\"\nsource = \"bundled\"\n\n\
            [[target.stage]]\nname = \"os\"\nversion = \"1.1.0\"\nsource = \"bundled\"\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(!text.contains("spare"));
        let read = Lockfile::parse("pib.lock", &text).unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.for_target(Some("spare")).stages, lock.stages);
        assert_eq!(read.for_target(Some("kiosk")).stages[0].name.as_str(), "camera");
    }

    #[test]
    fn what_a_target_says_of_the_project_must_be_so() {
        let text = lock().to_text();
        let error = Lockfile::parse("pib.lock", &text.replace("    \"ro\",", "    \"rw\",")).unwrap_err();
        assert!(error.to_string().contains("target `kiosk` in `pib.lock` is without `rw`"), "{error}");
        let twice = format!("{text}\n[[target]]\nname = \"kiosk\"\n");
        assert!(Lockfile::parse("pib.lock", &twice).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn targets_that_are_gone_or_alike_are_forgotten() {
        let mut lock = lock();
        let plain = lock.for_target(None);
        lock.set_target(Some("kiosk"), plain);
        lock.tidy_targets(|_| true);
        assert!(lock.targets.is_empty());
        let mut lock = self::lock();
        lock.tidy_targets(|target| target != "kiosk");
        assert!(lock.targets.is_empty());
    }
}
