//! The facts about a project that a part may read, each as an `ARG`.

use serde::{Deserialize, Serialize};

/// One project variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Variable {
    /// The project's name.
    Name,
    /// The operating system.
    Os,
    /// Its release.
    Release,
    /// The board.
    Board,
    /// The architecture, in pib's spelling.
    Arch,
    /// The host name.
    Hostname,
    /// The locale.
    Locale,
    /// The time zone.
    Timezone,
    /// The package mirror that the build reads.
    Mirror,
    /// The mirror of security updates that the build reads.
    SecurityMirror,
    /// The package mirror that the finished device reads.
    PublicMirror,
    /// The mirror of security updates that the finished device reads.
    PublicSecurityMirror,
    /// How the running system names the device of its root: the value of the kernel's `root=`.
    RootDevice,
    /// The lines of `/etc/fstab` that mount the image's partitions, with `;` between them.
    Fstab,
}

impl Variable {
    /// Every variable, in the order in which parts see them.
    pub const ALL: [Variable; 14] = [
        Variable::Name,
        Variable::Os,
        Variable::Release,
        Variable::Board,
        Variable::Arch,
        Variable::Hostname,
        Variable::Locale,
        Variable::Timezone,
        Variable::Mirror,
        Variable::SecurityMirror,
        Variable::PublicMirror,
        Variable::PublicSecurityMirror,
        Variable::RootDevice,
        Variable::Fstab,
    ];

    /// Returns the name of the `ARG`.
    pub fn arg(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Os => "OS",
            Self::Release => "RELEASE",
            Self::Board => "BOARD",
            Self::Arch => "ARCH",
            Self::Hostname => "HOSTNAME",
            Self::Locale => "LOCALE",
            Self::Timezone => "TIMEZONE",
            Self::Mirror => "MIRROR",
            Self::SecurityMirror => "SECURITY_MIRROR",
            Self::PublicMirror => "PUBLIC_MIRROR",
            Self::PublicSecurityMirror => "PUBLIC_SECURITY_MIRROR",
            Self::RootDevice => "ROOT_DEVICE",
            Self::Fstab => "FSTAB",
        }
    }
}

/// Returns a value as pi-builder spells it, which bare stages were written for.
pub fn pi_builder_spelling(variable: Variable, value: &str) -> &str {
    match (variable, value) {
        (Variable::Arch, "arm64") => "aarch64",
        (Variable::Arch, "armv6" | "armv7") => "arm",
        (Variable::Locale, _) => value.split('.').next().unwrap_or_default(),
        _ => value,
    }
}

/// Returns whether a text names a variable, as a word of its own.
pub fn is_named_in(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_as_pi_builder_does() {
        let cases = [
            (Variable::Arch, "arm64", "aarch64"),
            (Variable::Arch, "armv7", "arm"),
            (Variable::Locale, "en_US.UTF-8", "en_US"),
            (Variable::Os, "debian", "debian"),
        ];
        for (variable, own, theirs) in cases {
            assert_eq!(pi_builder_spelling(variable, own), theirs);
        }
    }

    #[test]
    fn a_name_is_a_whole_word() {
        for text in ["RUN echo $OS", "RUN echo ${OS:-x}", "ARG OS=1", "ENV OS $OS"] {
            assert!(is_named_in(text, "OS"), "{text}");
        }
        assert!(!is_named_in("RUN echo $HOST_OS $OSX", "OS"));
    }
}
