//! Why a card does not hold the image.

use std::io;

use pib_plan::id::Digest;
use pib_plan::size::ByteSize;

/// Says why an image was not written, or is not on the device as it should be.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FlashError {
    /// The image cannot be read.
    #[error("could not read the image at byte {offset}")]
    #[diagnostic(code(pib::flash::image))]
    #[diagnostic(help("If it is compressed, its file is damaged or cut short: fetch or build it again."))]
    Image {
        /// Where, in bytes of the plain image.
        offset: u64,
        /// What the system or the decoder said.
        #[source]
        source: io::Error,
    },
    /// The image has nothing that could boot.
    #[error("the image has {size} bytes, which is less than a partition table")]
    #[diagnostic(code(pib::flash::empty))]
    #[diagnostic(help("Nothing was written. Fetch or build the image again."))]
    Empty {
        /// Its size in bytes.
        size: u64,
    },
    /// The image is not what its map says.
    #[error("the image does not fit its block map: the checksum of its bytes {start} to {end} is wrong")]
    #[diagnostic(code(pib::flash::checksum))]
    #[diagnostic(help(
        "The image or the map was damaged or changed. Build or fetch both again; with --no-bmap the map is not used."
    ))]
    Checksum {
        /// The first byte of the range.
        start: u64,
        /// The byte after its last.
        end: u64,
    },
    /// The image has another size than its map says.
    #[error("the image has {found} bytes, and its block map is of one that has {mapped}")]
    #[diagnostic(code(pib::flash::map_size))]
    #[diagnostic(help("The image was cut short, or the map is of another one. Fetch or build both again."))]
    MapSize {
        /// The size that the map has.
        mapped: u64,
        /// The size that the image has.
        found: u64,
    },
    /// What was fetched has another digest.
    #[error("the image has the digest {found}, and {expected} was asked for")]
    #[diagnostic(code(pib::flash::digest))]
    #[diagnostic(help("{}Fetch the image again, or correct --digest.", nothing_boots(*is_written)))]
    Digest {
        /// The digest that was given.
        expected: Digest,
        /// The digest of what arrived.
        found: Digest,
        /// Whether something was written to the device before that was known.
        is_written: bool,
    },
    /// The image is not the one that was looked at first.
    #[error("the image was changed while it was written to the device")]
    #[diagnostic(code(pib::flash::changed))]
    #[diagnostic(help(
        "Nothing can boot from the device now. Run the same command when nothing changes the image."
    ))]
    Changed,
    /// The image does not fit on the device.
    #[error("the image{} is larger than the device, which has {}", size_text(*image), ByteSize(*device))]
    #[diagnostic(code(pib::flash::too_large))]
    #[diagnostic(help("Use a larger card."))]
    TooLarge {
        /// The size of the image in bytes; none where it is known only that it is larger.
        image: Option<u64>,
        /// The size of the device in bytes.
        device: u64,
    },
    /// The device does not take what is written to it, or does not give what it holds.
    #[error("could not {action} the device at byte {offset}")]
    #[diagnostic(code(pib::flash::device))]
    #[diagnostic(help(
        "If it was unplugged, plug it in and run the same command: it goes on where it was. Else the device is \
         failing: use another one. Nothing can boot from it now."
    ))]
    Device {
        /// What was being done.
        action: &'static str,
        /// Where, in bytes.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The device gave back other bytes than were written.
    #[error("the device does not hold what was written to it: the first difference is {}", place(*offset, *within))]
    #[diagnostic(code(pib::flash::differs))]
    #[diagnostic(help(
        "The device is failing, or has less room than it says, as counterfeit cards do. Nothing can boot from it now; \
         use another one."
    ))]
    Differs {
        /// Where, in bytes.
        offset: u64,
        /// Within how many bytes from there.
        within: u64,
    },
    /// The user stopped it.
    #[error("the device is not complete: writing it was stopped")]
    #[diagnostic(code(pib::flash::stopped))]
    #[diagnostic(help("Run the same command again: it goes on where it was."))]
    Stopped,
    /// The threads of this machine gave out.
    #[error("could not start what reads the image")]
    #[diagnostic(code(pib::flash::thread))]
    Thread(#[source] io::Error),
}

fn nothing_boots(is_written: bool) -> &'static str {
    if is_written { "Nothing can boot from the device now. " } else { "Nothing was written. " }
}

fn size_text(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!(", {},", ByteSize(size)))
}

fn place(offset: u64, within: u64) -> String {
    match within {
        1 => format!("at byte {offset}"),
        _ => format!("in the {within} bytes from byte {offset}"),
    }
}
