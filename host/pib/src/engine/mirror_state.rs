//! Recognises in what a build printed that the packages' mirror is being updated, or has moved on.
//!
//! apt fills a screen with it; what helps is one sentence.

/// Why packages could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MirrorState {
    /// The mirror's files do not fit each other.
    Updating {
        /// The file that does not fit.
        url: String,
    },
    /// The mirror no longer has a package that the lists in the build name.
    MovedOn {
        /// The package's file.
        url: String,
    },
}

impl MirrorState {
    /// Returns what the last lines of an instruction that failed say of the mirror, where apt's failure was its end.
    pub(super) fn of(lines: &[String]) -> Option<Self> {
        let last = lines.iter().rev().find(|line| !line.trim().is_empty())?;
        let state = last.starts_with("E: ").then(|| lines.iter().find_map(|line| of_line(line)))??;
        // A mirror that is trusted without a release file is asked for lists that nothing names.
        let unreleased = lines.iter().any(|line| line.starts_with("Ign:") && line.ends_with(" Release"));
        (!unreleased || matches!(state, Self::MovedOn { .. })).then_some(state)
    }

    /// Returns what is wrong.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Updating { url } => {
                format!("the mirror is being updated: {url} does not fit the mirror's signed list")
            }
            Self::MovedOn { url } => format!(
                "the mirror no longer has {url}: the lists of packages in this build are older than the mirror"
            ),
        }
    }

    /// Returns what to do.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Updating { .. } => "Try again in some minutes, or name another `mirror` in [project].",
            Self::MovedOn { .. } => {
                "`pib build --no-cache` fetches the lists again, and with them newer packages."
            }
        }
    }
}

/// Reads a line such as `E: Failed to fetch http://.../Packages.xz  Hash Sum mismatch`.
///
/// That a server has no such file is told of a release file too: then the address is wrong, or the release.
fn of_line(line: &str) -> Option<MirrorState> {
    let (_, rest) = line.split_once("E: Failed to fetch ")?;
    let (url, reason) = rest.split_once(char::is_whitespace)?;
    let url = || url.to_owned();
    let misfits = ["Mirror sync in progress?", "Hash Sum mismatch", "File has unexpected size"];
    if misfits.iter().any(|text| reason.contains(text)) {
        return Some(MirrorState::Updating { url: url() });
    }
    let is_gone = reason.trim_start().starts_with("404");
    let is_release = rest.contains("/InRelease ") || rest.contains("/Release ");
    match is_gone && !is_release {
        true if rest.contains("/dists/") => Some(MirrorState::Updating { url: url() }),
        true => Some(MirrorState::MovedOn { url: url() }),
        false => None,
    }
}

#[cfg(test)]
#[path = "mirror_state_tests.rs"]
mod tests;
