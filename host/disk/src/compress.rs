//! Compresses a finished image, on as many threads as there are cores, so that a reader can begin in the middle of it.
//! The bytes are the same for any number of threads.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use liblzma::stream::{Check, MtStreamBuilder};
use liblzma::write::XzEncoder;
use pib_plan::manifest::project::Compression;

/// Levels that are slow enough to be worth it and quick enough to wait for.
const ZSTD_LEVEL: i32 = 9;
const XZ_LEVEL: u32 = 6;
/// How much of the image a frame of zstd holds, in bytes: what a reader decodes to get at one of them.
const FRAME: usize = 4 << 20;
/// How much of the image a block of xz holds, in bytes: three times the dictionary of its level, as `xz -T0` has it.
const XZ_BLOCK: u64 = 24 << 20;
/// The most threads of xz, each of which takes about 140 MiB of memory.
const XZ_THREADS: usize = 16;

/// Writes what `from` gives to `to`, compressed.
///
/// zstd gets frames of their own and a table of them at the end, by which readers find them; a usual decoder skips the
/// table (the "Zstandard Seekable Format", contrib/seekable_format in zstd). xz gets blocks with their sizes (section 3.1
/// of "The .xz File Format"), which `xz -T0` decodes side by side.
///
/// # Errors
/// When a file cannot be read or written, or a thread cannot be started.
pub fn compress(mut from: impl Read, mut to: impl Write, how: Compression, threads: usize) -> io::Result<()> {
    match how {
        Compression::None => io::copy(&mut from, &mut to).map(drop),
        Compression::Zstd => zstd(from, to, threads.max(1)),
        Compression::Xz => {
            let mut builder = MtStreamBuilder::new();
            let threads = u32::try_from(threads.clamp(1, XZ_THREADS)).unwrap_or(1);
            builder.threads(threads).block_size(XZ_BLOCK).preset(XZ_LEVEL).check(Check::Crc64);
            let mut encoder = XzEncoder::new_stream(to, builder.encoder()?);
            io::copy(&mut from, &mut encoder)?;
            encoder.finish()?.flush()
        }
    }
}

/// The frames that one thread compresses: every n-th one.
struct Worker {
    frames: SyncSender<Vec<u8>>,
    compressed: Receiver<io::Result<Vec<u8>>>,
}

fn zstd(mut from: impl Read, mut to: impl Write, threads: usize) -> io::Result<()> {
    std::thread::scope(|scope| {
        let workers = (0..threads).map(|_| worker(scope)).collect::<io::Result<Vec<_>>>()?;
        let mut table = Vec::new();
        let mut sizes = Vec::new();
        let mut finish = |worker: &Worker, plain: usize| -> io::Result<()> {
            let compressed = worker.compressed.recv().map_err(|_| dead())??;
            for size in [compressed.len(), plain] {
                table.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
            }
            to.write_all(&compressed)
        };
        loop {
            let mut frame = Vec::with_capacity(FRAME);
            from.by_ref().take(FRAME as u64).read_to_end(&mut frame)?;
            if frame.is_empty() {
                break;
            }
            let worker = &workers[sizes.len() % threads];
            if let Some(before) = sizes.len().checked_sub(threads) {
                finish(worker, sizes[before])?;
            }
            sizes.push(frame.len());
            worker.frames.send(frame).map_err(|_| dead())?;
        }
        for number in sizes.len().saturating_sub(threads)..sizes.len() {
            finish(&workers[number % threads], sizes[number])?;
        }
        to.write_all(&seek_table(&table, sizes.len()))?;
        to.flush()
    })
}

fn worker<'scope>(scope: &'scope Scope<'scope, '_>) -> io::Result<Worker> {
    let (frames, incoming) = sync_channel::<Vec<u8>>(1);
    let (done, compressed) = sync_channel(1);
    std::thread::Builder::new().name("zstd".to_owned()).spawn_scoped(scope, move || {
        let mut compressor = compressor();
        for frame in incoming {
            let result = match &mut compressor {
                Ok(compressor) => compressor.compress(&frame),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            if done.send(result).is_err() {
                return;
            }
        }
    })?;
    Ok(Worker { frames, compressed })
}

fn compressor() -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    Ok(compressor)
}

fn dead() -> io::Error {
    io::Error::other("a thread that compresses ended early")
}

/// Returns the table of frames: a skippable frame with two sizes for each, their number, a byte that says that frames have
/// their own checksums, and the format's magic number.
fn seek_table(entries: &[u8], count: usize) -> Vec<u8> {
    const SKIPPABLE: u32 = 0x184d_2a5e;
    const SEEKABLE: u32 = 0x8f92_eab1;
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut table = SKIPPABLE.to_le_bytes().to_vec();
    table.extend(number(entries.len() + 9));
    table.extend(entries);
    table.extend(number(count));
    table.push(0);
    table.extend(SEEKABLE.to_le_bytes());
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..(FRAME * 5 + 1234) as u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 27) as u8)
            .collect()
    }

    fn compressed(bytes: &[u8], how: Compression, threads: usize) -> Vec<u8> {
        let mut out = Vec::new();
        compress(bytes, &mut out, how, threads).unwrap();
        out
    }

    #[test]
    fn any_number_of_threads_makes_the_same_bytes_and_they_come_back() {
        let bytes = sample();
        for how in [Compression::Zstd, Compression::Xz] {
            let one = compressed(&bytes, how, 1);
            assert!((2..=7).all(|threads| compressed(&bytes, how, threads) == one), "{how:?}");
            let mut back = Vec::new();
            match how {
                Compression::Zstd => back = zstd::decode_all(&*one).unwrap(),
                _ => drop(liblzma::read::XzDecoder::new(&*one).read_to_end(&mut back).unwrap()),
            }
            assert!(back == bytes, "{how:?}");
        }
        assert!(zstd::decode_all(&*compressed(&[], Compression::Zstd, 3)).unwrap().is_empty());
    }

    #[test]
    fn a_frame_is_found_by_the_table_and_decoded_alone() {
        let bytes = sample();
        let file = compressed(&bytes, Compression::Zstd, 2);
        let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(u32_at(file.len() - 4), 0x8f92_eab1);
        let count = u32_at(file.len() - 9);
        assert_eq!(count, 6);
        let entries = file.len() - 9 - 8 * count;
        let start: usize = (0..3).map(|frame| u32_at(entries + 8 * frame)).sum();
        let frame = zstd::decode_all(&file[start..start + u32_at(entries + 24)]).unwrap();
        assert!(frame == bytes[3 * FRAME..4 * FRAME]);
    }
}
