//! `[project]`: the facts about what is built.

use std::ops::Range;

use toml::Spanned;

use super::schema::ProjectSchema;
use crate::board::{self, Board};
use crate::id::{Arch, NameError, StageName, check_name};
use crate::manifest::{ManifestError, ManifestText, archive_table};

/// The facts about what is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The project's name, which begins the image's file name.
    pub name: String,
    /// The target's name, where this is a variant.
    pub target: Option<String>,
    /// The operating system, e.g. `debian`.
    pub os: String,
    /// Its release, e.g. `trixie`.
    pub release: String,
    /// The board, one of [`board::BOARDS`].
    pub board: String,
    /// The architecture.
    pub arch: Arch,
    /// The device's host name; the project's name where none is given.
    pub hostname: String,
    /// The device's locale.
    pub locale: String,
    /// The device's time zone.
    pub timezone: String,
    /// The stage that brings a kernel of its own, where it is not the one that the bundled stages install.
    pub kernel: Option<StageName>,
    /// The package mirror, where the project names one.
    pub mirror: Option<String>,
    /// The mirror of security updates, where the project names one.
    pub security_mirror: Option<String>,
    /// Where these stand in the manifest, for those that are judged when the stages are known.
    pub places: Places,
}

/// Where facts stand in the manifest; a place is empty where the manifest does not have the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The release.
    pub release: Range<usize>,
    /// The board.
    pub board: Range<usize>,
    /// The architecture.
    pub arch: Range<usize>,
    /// The locale.
    pub locale: Range<usize>,
    /// The time zone.
    pub timezone: Range<usize>,
    /// The stage with the kernel.
    pub kernel: Range<usize>,
}

impl Project {
    /// Checks what a manifest says in `[project]`, where it is not a target's.
    pub(super) fn check(
        source: &ManifestText,
        schema: ProjectSchema,
        target: Option<&str>,
    ) -> Result<Self, ManifestError> {
        for (key, text) in [("name", &schema.name), ("os", &schema.os), ("release", &schema.release)] {
            check_word(source, key, text)?;
        }
        let board = check_board(source, &schema.board, &schema.arch)?;
        let hostname = schema.hostname.unwrap_or_else(|| schema.name.clone());
        check_hostname(source, &hostname)?;
        for (key, text) in [("locale", &schema.locale), ("timezone", &schema.timezone)] {
            check_setting(source, key, text)?;
        }
        // They stand in files of the system, as those of an init stage do.
        let address = |mirror: Option<Spanned<String>>| {
            mirror.map(|mirror| archive_table::read_address(source, &mirror)).transpose()
        };
        let (mirror, security_mirror) = (address(schema.mirror)?, address(schema.security_mirror)?);
        let kernel = schema.kernel.as_ref().map(|name| check_kernel(source, name)).transpose()?;
        let places = Places {
            release: schema.release.span(),
            board: schema.board.span(),
            arch: schema.arch.span(),
            locale: schema.locale.span(),
            timezone: schema.timezone.span(),
            kernel: schema.kernel.as_ref().map(Spanned::span).unwrap_or_default(),
        };
        Ok(Self {
            name: schema.name.into_inner(),
            target: target.map(str::to_owned),
            os: schema.os.into_inner(),
            release: schema.release.into_inner(),
            board: board.name.to_owned(),
            arch: *schema.arch.get_ref(),
            hostname: hostname.into_inner(),
            locale: schema.locale.into_inner(),
            timezone: schema.timezone.into_inner(),
            kernel,
            mirror,
            security_mirror,
            places,
        })
    }

    /// Returns the beginning of the names of all files that a build leaves: `router-rpi4-arm64`, or with a
    /// target `router-kiosk-rpi4-arm64`.
    pub fn file_stem(&self) -> String {
        let target = self.target.iter().map(|target| format!("-{target}")).collect::<String>();
        format!("{}{target}-{}-{}", self.name, self.board, self.arch)
    }
}

/// Checks what becomes part of file names and addresses.
fn check_word(source: &ManifestText, key: &str, text: &Spanned<String>) -> Result<(), ManifestError> {
    check_name(text.get_ref()).map_err(|error| {
        let help = "Names are made of a-z, 0-9 and `-`, start with a letter, and have at most 64 characters.";
        source.error(text.span(), format!("project.{key}: {error}"), "this one").with_help(help)
    })
}

fn check_board(
    source: &ManifestText,
    name: &Spanned<String>,
    arch: &Spanned<Arch>,
) -> Result<Board, ManifestError> {
    let board = board::find(name.get_ref()).map_err(|error| {
        let shown = source.error(name.span(), error.to_string(), "this board");
        shown.with_code("pib::manifest::unknown_board").with_help(error.help())
    })?;
    if board.archs.contains(arch.get_ref()) {
        return Ok(board);
    }
    let known: Vec<&str> = board.archs.iter().map(|arch| arch.as_str()).collect();
    let message = format!("the {} cannot run {}", board.title, arch.get_ref());
    let help = format!("Set arch to {}, or choose another board.", crate::suggest::list(known));
    Err(source.error(arch.span(), message, "these do not go together").with_help(help))
}

fn check_kernel(source: &ManifestText, name: &Spanned<String>) -> Result<StageName, ManifestError> {
    name.get_ref().parse().map_err(|error: NameError| {
        let help = "It is the name of the stage that brings the kernel, as in [stages].";
        source.error(name.span(), format!("project.kernel: {error}"), "this stage").with_help(help)
    })
}

fn check_hostname(source: &ManifestText, hostname: &Spanned<String>) -> Result<(), ManifestError> {
    let name = hostname.get_ref();
    if name == "localhost" || name.starts_with("localhost.") {
        let message =
            format!("`{name}` cannot be a device's host name: it means the device itself, on every machine");
        return Err(source
            .error(hostname.span(), message, "this one")
            .with_help("Set hostname to another name."));
    }
    if is_hostname(name) {
        return Ok(());
    }
    let message = format!("`{}` is not a host name", hostname.get_ref());
    let help = "A host name has letters, digits and `-`, in parts of at most 63 characters joined by dots.";
    Err(source.error(hostname.span(), message, "this one").with_help(help))
}

/// Checks the name of a locale or a time zone: it becomes part of a path.
fn check_setting(source: &ManifestText, key: &str, text: &Spanned<String>) -> Result<(), ManifestError> {
    let name = text.get_ref();
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-+./@".contains(c);
    if !name.is_empty() && name.chars().all(fine) && !name.contains("..") {
        return Ok(());
    }
    let message = format!("project.{key}: `{name}` is not the name of a {key}");
    Err(source.error(text.span(), message, "this one"))
}

/// Applies the rules of RFC 1123, section 2.1, and Linux's limit of 64 bytes for the whole.
pub(crate) fn is_hostname(text: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 64 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_follow_the_rfc() {
        for good in ["router", "a", "my-pi.example.org", "3com"] {
            assert!(is_hostname(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "a_b", "a b", &"a".repeat(65)] {
            assert!(!is_hostname(bad), "{bad}");
        }
    }
}
