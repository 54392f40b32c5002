//! What differs, where an error says that something does: for programs that read events.

use pib_event::Difference;

use super::error::Error;
use super::irreproducible::Irreproducible;

impl Error {
    /// Returns what two builds, or an image and its project, do not have alike; of very many the first. Nothing for an error
    /// of another kind.
    pub fn differences(&self) -> Vec<Difference> {
        match self {
            Self::Irreproducible { files, .. } => files.iter().map(of_file).collect(),
            Self::Unverified { differences, .. } => differences.clone(),
            _ => Vec::new(),
        }
    }
}

fn of_file(file: &Irreproducible) -> Difference {
    Difference {
        name: file.difference.path.clone(),
        aspects: file.difference.aspects.iter().map(|aspect| aspect.text().to_owned()).collect(),
        stage: file.stage.clone(),
        before: None,
        after: None,
        summary: file.summary.clone(),
    }
}

#[cfg(test)]
mod tests {
    use pib_disk::{Aspect, Difference as FileDifference};

    use super::*;

    #[test]
    fn files_are_told_with_their_stages() {
        let aspects = vec![Aspect::Content, Aspect::Time];
        let difference = FileDifference { path: "/etc/odd".to_owned(), aspects };
        let files = vec![Irreproducible {
            difference,
            stage: Some("odd".to_owned()),
            summary: Some("-a\n+b".to_owned()),
        }];
        let found = Error::Irreproducible { files, all: 1 }.differences();
        assert_eq!(found[0].name, "/etc/odd");
        assert_eq!(found[0].aspects, ["content", "time"]);
        assert_eq!((found[0].stage.as_deref(), found[0].summary.as_deref()), (Some("odd"), Some("-a\n+b")));
        assert!(Error::Interrupted.differences().is_empty());
    }
}
