//! Writes an image to a card, so that the card is never half of it and looks whole.
//!
//! The beginning of the image, with the partition table, is written last, after all else was read back. Until then the
//! card has a marker in its place, which says what is being written and how much of it is safe; the same image is written
//! on from there. Whatever ends the program leaves such a card. One thread reads, decodes and checks the image, another
//! one writes.

mod error;
mod marker;
mod options;
mod pieces;
mod replacement;
mod source;
#[cfg(test)]
mod tests;
mod verify;
mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use pib_event::{Reporter, ReporterExt as _};

pub use error::FlashError;
pub use options::FlashOptions;
pub use replacement::Replacement;
pub use source::ImageSource;

use crate::device::{Buffer, Device};
use options::CHUNK;
use pib_plan::layout::SECTOR;
use pieces::{Bounds, Chunk, Pipe, read};
use verify::{Original, verify};
use write::Writer;

/// How many pieces of the image may wait.
const WAITING: usize = 4;
/// How often the rate is told.
const TOLD: Duration = Duration::from_millis(500);
/// The ids of the steps in events.
const WRITING: &str = "flash";
const READING_BACK: &str = "read-back";

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flashed {
    /// The size of the image in bytes.
    pub size: u64,
    /// How many bytes of it have to be on a device.
    pub mapped: u64,
    /// How many bytes were written.
    pub written: u64,
    /// Up to which byte an earlier run had written the device.
    pub resumed: Option<u64>,
    /// How long writing took.
    pub write_time: Duration,
    /// How long reading back took; none where nothing was read back.
    pub verify_time: Option<Duration>,
}

/// Writes an image to a device, and reads it back.
///
/// `confirm` is called when all of the image has been read, before the device is made one that boots: it may find that
/// the image is not the one that was asked for. `stopped` ends the work at the next piece.
///
/// # Errors
/// When the image cannot be read or does not fit its map or the device, the device fails or holds other bytes than were
/// written to it, or the work was stopped. Nothing can boot from the device then, if anything was written to it.
pub fn flash(
    device: &dyn Device,
    mut source: ImageSource,
    options: &FlashOptions<'_>,
    confirm: &dyn Fn() -> Result<(), FlashError>,
    stopped: &AtomicBool,
    reporter: &dyn Reporter,
) -> Result<Flashed, FlashError> {
    let began = Instant::now();
    let mut writer = Writer::new(device, options)?;
    reporter.started(WRITING, format!("Writing {}", options.name));
    let (size, mapped) = write_body(device, &mut source, options, &mut writer, stopped, reporter)?;
    if size < SECTOR {
        return Err(FlashError::Empty { size });
    }
    confirm()?;
    writer.finish_body(size)?;
    writer.clear_old_table(size)?;
    let mut write_time = began.elapsed();
    reporter.finished(WRITING, false);
    let resumed = Some(writer.resumed).filter(|position| *position > 0);
    if writer.is_unchanged()? {
        let verify_time = options.verify.then_some(Duration::ZERO);
        return Ok(Flashed { size, mapped, written: 0, resumed, write_time, verify_time });
    }
    let mut verify_time = None;
    if options.verify {
        let since = Instant::now();
        let image = Original { source: &source, replacement: options.replacement };
        verify_body(device, image, &writer, stopped, reporter)?;
        verify_time = Some(since.elapsed());
    }
    let since = Instant::now();
    writer.write_head()?;
    write_time += since.elapsed();
    if let Some(time) = &mut verify_time {
        let since = Instant::now();
        if let Err(error) = writer.verify_head() {
            writer.unmake();
            return Err(error);
        }
        *time += since.elapsed();
        reporter.finished(READING_BACK, false);
    }
    Ok(Flashed { size, mapped, written: writer.written, resumed, write_time, verify_time })
}

/// Writes all but the head; returns the size of the image, and how much of it is mapped.
fn write_body(
    device: &dyn Device,
    source: &mut ImageSource,
    options: &FlashOptions<'_>,
    writer: &mut Writer<'_>,
    stopped: &AtomicBool,
    reporter: &dyn Reporter,
) -> Result<(u64, u64), FlashError> {
    let total = match (&*source, options.map) {
        (_, Some(map)) => Some(map.mapped_bytes()),
        (ImageSource::Plain(_, size), None) => Some(*size),
        _ => options.size,
    };
    let (send_piece, pieces) = sync_channel(WAITING);
    let (send_buffer, buffers) = sync_channel(WAITING);
    for _ in 0..WAITING {
        _ = send_buffer.send(Buffer::new(CHUNK));
    }
    let map = options.map.filter(|map| map.block_size.is_multiple_of(device.block()));
    let replacement = options.replacement;
    let bounds = Bounds { device: device.size(), block: device.block(), replacement, stopped };
    let mut progress = Progress::new(WRITING, total, reporter);
    std::thread::scope(|scope| {
        let reading = std::thread::Builder::new().name("image".to_owned()).spawn_scoped(scope, move || {
            let pipe = Pipe { pieces: send_piece, buffers };
            read(source, map, bounds, &pipe)
        });
        let reading = reading.map_err(FlashError::Thread)?;
        // Both ends go with it, also where it fails: the thread that reads waits for neither then.
        let taken = take_all(pieces, send_buffer, writer, stopped, &mut progress);
        let size = match reading.join() {
            Ok(outcome) => taken.and(outcome)?,
            Err(_) => return Err(FlashError::Thread(std::io::Error::other("it ended early"))),
        };
        if stopped.load(Ordering::Relaxed) {
            return Err(FlashError::Stopped);
        }
        Ok((size, progress.done))
    })
}

fn take_all(
    pieces: Receiver<Chunk>,
    buffers: SyncSender<Buffer>,
    writer: &mut Writer<'_>,
    stopped: &AtomicBool,
    progress: &mut Progress<'_>,
) -> Result<(), FlashError> {
    for mut piece in pieces {
        if stopped.load(Ordering::Relaxed) {
            return Err(FlashError::Stopped);
        }
        writer.take(&mut piece)?;
        progress.moved(piece.length as u64);
        // Nobody takes the last ones.
        _ = buffers.try_send(piece.buffer);
    }
    Ok(())
}

fn verify_body(
    device: &dyn Device,
    image: Original<'_>,
    writer: &Writer<'_>,
    stopped: &AtomicBool,
    reporter: &dyn Reporter,
) -> Result<(), FlashError> {
    reporter.started(READING_BACK, "Reading it back");
    let (mut theirs, mut ours) = (Buffer::new(CHUNK), Buffer::new(CHUNK));
    let total = writer.expected.iter().map(|run| run.length as u64).sum();
    let mut progress = Progress::new(READING_BACK, Some(total), reporter);
    for expected in &writer.expected {
        if stopped.load(Ordering::Relaxed) {
            return Err(FlashError::Stopped);
        }
        verify(device, image, expected, &mut theirs, &mut ours)?;
        progress.moved(expected.length as u64);
    }
    Ok(())
}

/// Tells how far a step is, how quick, and how long it still takes.
struct Progress<'a> {
    step: &'static str,
    total: Option<u64>,
    done: u64,
    began: Instant,
    told: Instant,
    reporter: &'a dyn Reporter,
}

impl<'a> Progress<'a> {
    fn new(step: &'static str, total: Option<u64>, reporter: &'a dyn Reporter) -> Self {
        let now = Instant::now();
        Self { step, total, done: 0, began: now, told: now, reporter }
    }

    fn moved(&mut self, bytes: u64) {
        self.done += bytes;
        if self.told.elapsed() < TOLD {
            return;
        }
        self.told = Instant::now();
        self.reporter.progress(self.step, self.done, self.total);
        let rate = (self.done as f64 / self.began.elapsed().as_secs_f64()) as u64;
        let left = self.total.map(|total| total.saturating_sub(self.done) / rate.max(1));
        let left = left.map_or(String::new(), |seconds| format!(", {seconds} s left"));
        self.reporter.detail(self.step, format!("{} MiB/s{left}", rate >> 20));
    }
}
