//! The facts about a project that a part may read, each as an `ARG`.

use serde::{Deserialize, Serialize};

/// One project variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
