//! `pib boot`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pib_plan::size::ByteSize;

use super::options::TargetArg;
use super::tty::KeptTerminal;
use crate::ops::boot::{self, BootBoard, BootOptions};
use crate::ops::{Error, Session};

/// Start an image in QEMU, with its console on this terminal
#[derive(Debug, Args)]
pub(super) struct Boot {
    /// The image, also a compressed one; the project's own in `target/` if none is named
    #[arg(value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// The machine: QEMU's own, or a Raspberry Pi 3, which is several times slower
    #[arg(long, value_enum, default_value = "virt")]
    board: Board,
    /// Have this port of this machine lead to the system's ssh server; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    ssh: Option<u16>,
    /// Show what the system draws in a window
    #[arg(long)]
    graphic: bool,
    /// The machine's memory, e.g. 512MiB; 1GiB otherwise
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<ByteSize>,
    /// The card's size, e.g. 32GiB; that of the image otherwise
    #[arg(long, value_name = "SIZE")]
    card: Option<ByteSize>,
    #[command(flatten)]
    target: TargetArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Board {
    /// QEMU's own machine
    Virt,
    /// A Raspberry Pi 3 B
    Rpi3,
}

pub(super) async fn run(session: &Session, args: Boot) -> Result<(), Error> {
    let board = match args.board {
        Board::Virt => BootBoard::Virt,
        Board::Rpi3 => BootBoard::RaspberryPi3,
    };
    let options = BootOptions {
        image: args.image,
        board,
        ssh: args.ssh,
        graphic: args.graphic,
        memory: args.memory.map(|size| size.0),
        card: args.card.map(|size| size.0),
    };
    let _terminal = KeptTerminal::new();
    boot::boot(&args.target.session(session), &options).await
}

/// Reads a size of memory. A number alone would be bytes, which nobody means.
fn memory(text: &str) -> Result<ByteSize, String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("it has no unit; write {text}MiB or {text}GiB"));
    }
    text.parse().map_err(|error: pib_plan::size::SizeError| error.to_string())
}
