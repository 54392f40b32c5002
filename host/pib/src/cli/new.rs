//! `pib new`

use std::path::PathBuf;

use clap::Args;

use super::completer;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Start a project: a folder with a pib.toml
#[derive(Debug, Args)]
pub(super) struct New {
    /// The folder to make
    path: PathBuf,
    #[command(flatten)]
    what: What,
}

/// What the device is.
#[derive(Debug, Args)]
pub(super) struct What {
    /// The project's name [default: the folder's]
    #[arg(long)]
    name: Option<String>,
    /// What the project begins with: router, camera, kiosk, nas or empty [default: empty]
    #[arg(long, add = completer::template())]
    template: Option<String>,
    /// The board: rpi1, rpi2, rpi3, rpi4, rpi5, cm3, cm4, cm5, pi400, pi500, zerow or zero2w [default: the template's, or rpi4]
    #[arg(long, add = completer::board())]
    board: Option<String>,
    /// The architecture: arm64, armv7 or armv6 [default: the best that board and system have]
    #[arg(long, add = completer::arch())]
    arch: Option<String>,
    /// The operating system: debian, raspios or arch; another one with stages of its own
    #[arg(long, default_value = "debian", add = completer::os())]
    os: String,
    /// Its release [default: the newest that the bundled stages know]
    #[arg(long)]
    release: Option<String>,
    /// The stage that brings a kernel of its own, for a board that the system's does not drive
    #[arg(long, value_name = "STAGE")]
    kernel: Option<String>,
}

impl What {
    /// Returns the options of a project in `path`.
    pub(super) fn options(self, path: PathBuf) -> ops::new::NewOptions {
        let Self { name, template, board, arch, os, release, kernel } = self;
        ops::new::NewOptions { path, name, template, board, arch, os, release, kernel }
    }
}

pub(super) fn run(session: &Session, json: bool, args: New) -> Result<(), Error> {
    let made = ops::new::new(session, &args.what.options(args.path))?;
    print_as(json, &made, |made| {
        format!("Created {} for {} ({})", made.path.display(), made.board, made.arch)
    })
}
