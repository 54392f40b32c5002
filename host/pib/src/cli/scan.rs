//! `pib scan`

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use super::output::{print, print_as};
use crate::ops::scan::{self, FoundBoard, ScanOptions};
use crate::ops::{Error, Session};

/// How long `--watch` waits between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// Look for Raspberry Pis on this machine's networks
///
/// It needs no rights: each address of a network with up to 1,024 of them is tried, and what answers is known by the maker of its
/// network interface. A board behind a router is not seen.
#[derive(Debug, Args)]
pub(super) struct Scan {
    /// Look only behind this interface
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,
    /// Go on looking, and show each board once, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Scan) -> Result<(), Error> {
    let options = ScanOptions { interface: args.interface };
    if !args.watch {
        let found = scan::scan(session, &options).await?;
        return print_as(json, &found, |found| list(found));
    }
    let mut known = BTreeSet::new();
    loop {
        for board in scan::scan(session, &options).await? {
            if known.insert((board.mac, board.address)) {
                match json {
                    true => print_as(true, &board, FoundBoard::to_text)?,
                    false => print(board.to_text())?,
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the boards for people: a line each.
fn list(found: &[FoundBoard]) -> String {
    match found {
        [] => "No Raspberry Pi answered".to_owned(),
        _ => found.iter().map(FoundBoard::to_text).collect::<Vec<_>>().join("\n"),
    }
}
