//! `pib new`

use std::path::PathBuf;

use clap::Args;

use super::print_as;
use crate::ops::{self, Error, Session};

/// Start a project: a folder with a pib.toml
#[derive(Debug, Args)]
pub(super) struct New {
    /// The folder to make; its name becomes the project's
    path: PathBuf,
    /// The board: rpi1, zerow, rpi2, rpi3, rpi4, zero2w or rpi5
    #[arg(long, default_value = "rpi4")]
    board: String,
    /// The architecture: arm64, armv7 or armv6 [default: the board's best]
    #[arg(long)]
    arch: Option<String>,
    /// The operating system
    #[arg(long, default_value = "debian")]
    os: String,
    /// Its release [default: the newest that the bundled stages know]
    #[arg(long)]
    release: Option<String>,
}

pub(super) fn run(session: &Session, json: bool, args: New) -> Result<(), Error> {
    let options = ops::new::NewOptions {
        path: args.path,
        board: args.board,
        arch: args.arch,
        os: args.os,
        release: args.release,
    };
    let made = ops::new::new(session, &options)?;
    print_as(json, &made, |made| {
        format!("Created {} for {} ({})", made.path.display(), made.board, made.arch)
    })
}
