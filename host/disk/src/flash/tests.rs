//! Flashing, with devices that fail, lie and vanish.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use pib_event::Silent;
use pib_plan::id::Digest;

use super::*;
use crate::blocks::UsedBlocks;
use crate::bmap::BlockMap;
use crate::device::ALIGN;

/// What is wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// A block that cannot be written.
    Write(u64),
    /// A block that cannot be read, though it was written.
    Read(u64),
    /// A byte that is not kept.
    Forgets(u64),
    /// It has less room than it says: what is written beyond is written from its start again.
    Wraps(u64),
    /// After so many writes nothing more is taken.
    Vanishes(u64),
}

/// A device in memory.
struct Fake {
    bytes: Mutex<Vec<u8>>,
    fault: Fault,
    writes: AtomicU64,
}

impl Fake {
    fn new(size: usize, fault: Fault) -> Self {
        Self { bytes: Mutex::new(vec![0xa5; size]), fault, writes: AtomicU64::new(0) }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap()
    }

    fn with(&self, fault: Fault) -> Self {
        Self { bytes: Mutex::new(self.bytes().clone()), fault, writes: AtomicU64::new(0) }
    }
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Device for Fake {
    fn size(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn block(&self) -> u64 {
        512
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(buffer.as_ptr().addr().is_multiple_of(ALIGN) && offset.is_multiple_of(512));
        let end = offset + buffer.len() as u64;
        if matches!(self.fault, Fault::Read(bad) if (offset..end).contains(&bad))
            && self.writes.load(Ordering::Relaxed) > 0
        {
            return Err(broken());
        }
        buffer.copy_from_slice(&self.bytes()[offset as usize..end as usize]);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(
            bytes.as_ptr().addr().is_multiple_of(ALIGN)
                && offset.is_multiple_of(512)
                && bytes.len().is_multiple_of(512)
        );
        let count = self.writes.fetch_add(1, Ordering::Relaxed);
        let end = offset + bytes.len() as u64;
        match self.fault {
            Fault::Write(bad) if (offset..end).contains(&bad) => return Err(broken()),
            Fault::Vanishes(most) if count >= most => return Err(io::Error::from_raw_os_error(19)),
            _ => {}
        }
        let mut held = self.bytes();
        let kept = if let Fault::Forgets(at) = self.fault { held.get(at as usize).copied() } else { None };
        for (number, sector) in bytes.chunks(512).enumerate() {
            let at = offset + 512 * number as u64;
            let at = (if let Fault::Wraps(real) = self.fault { at % real } else { at }) as usize;
            held[at..at + sector.len()].copy_from_slice(sector);
        }
        if let (Fault::Forgets(at), Some(byte)) = (self.fault, kept) {
            held[at as usize] = byte;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

const SIZE: usize = 14 << 20;

/// Returns an image with a partition table's signature, and the map of its used blocks.
fn image() -> (Vec<u8>, BlockMap) {
    let mut image = vec![0; SIZE + 1000];
    let used = UsedBlocks::default();
    let mut put = |start: usize, length: usize| {
        used.add(start as u64, length as u64);
        for (at, byte) in image[start..start + length].iter_mut().enumerate() {
            *byte = ((start + at).wrapping_mul(2_654_435_761) >> 11) as u8;
        }
    };
    put(0, 512);
    put(20_480, 8192);
    put((1 << 20) - 4096, 8192);
    put(2 << 20, 5 << 20);
    put(9 << 20, 4096);
    put(SIZE - 4096, 5096);
    used.add(10 << 20, 1 << 20);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let read = |buffer: &mut [u8], at: u64| {
        buffer.copy_from_slice(&image[at as usize..at as usize + buffer.len()]);
        Ok(())
    };
    let map = BlockMap::of(image.len() as u64, &used.into_ranges(), read).unwrap();
    (image, map)
}

fn options(map: Option<&BlockMap>) -> FlashOptions<'_> {
    let identity = Digest::of(if map.is_some() { b"map" } else { b"all" });
    FlashOptions {
        map,
        size: None,
        replacement: None,
        identity,
        name: "a.img",
        delta: false,
        verify: true,
        sync_every: Duration::ZERO,
    }
}

fn plain(image: &[u8]) -> ImageSource {
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, image).unwrap();
    ImageSource::of_file(file).unwrap()
}

fn stream(image: &[u8]) -> ImageSource {
    let packed = zstd::encode_all(image, 1).unwrap();
    ImageSource::of_stream(io::Cursor::new(packed)).unwrap()
}

fn run(device: &Fake, source: ImageSource, options: &FlashOptions<'_>) -> Result<Flashed, FlashError> {
    flash(device, source, options, &|| Ok(()), &AtomicBool::new(false), &Silent)
}

fn holds(device: &Fake, image: &[u8], map: Option<&BlockMap>) -> bool {
    let held = device.bytes();
    let all = [(0, image.len() as u64)];
    let ranges: Vec<_> = map.map_or(all.to_vec(), |map| map.byte_ranges().collect());
    ranges
        .iter()
        .all(|(start, end)| held[*start as usize..*end as usize] == image[*start as usize..*end as usize])
}

fn boots(device: &Fake) -> bool {
    device.bytes()[510..512] == [0x55, 0xaa]
}

#[test]
fn a_device_holds_the_image_and_nothing_else_is_touched() {
    let (image, map) = image();
    for map in [None, Some(&map)] {
        for source in [plain, stream] {
            let device = Fake::new(16 << 20, Fault::None);
            let flashed = run(&device, source(&image), &options(map)).unwrap();
            assert!(holds(&device, &image, map) && boots(&device));
            assert_eq!(flashed.size, image.len() as u64);
            assert!(flashed.verify_time.is_some() && flashed.resumed.is_none());
            let untouched = device.bytes()[8 << 20..9 << 20].iter().all(|byte| *byte == 0xa5);
            assert_eq!(untouched, map.is_some());
        }
    }
}

#[test]
fn what_a_device_does_not_take_give_back_or_keep_is_told_with_its_offset() {
    let (image, map) = image();
    let offset_of = |fault, source: fn(&[u8]) -> ImageSource| {
        let device = Fake::new(16 << 20, fault);
        let error = run(&device, source(&image), &options(Some(&map))).unwrap_err();
        assert!(!boots(&device), "{fault:?}");
        match error {
            FlashError::Device { offset, .. } => (offset, 0),
            FlashError::Differs { offset, within } => (offset, within),
            other => panic!("{fault:?}: {other}"),
        }
    };
    for bad in [3 << 20, (6 << 20) + 512, (10 << 20) + 1024, 0, 1 << 19] {
        assert_eq!(offset_of(Fault::Write(bad), plain), (bad, 0));
    }
    assert_eq!(offset_of(Fault::Read((5 << 20) + 1024), plain), ((5 << 20) + 1024, 0));
    let byte = (5 << 20) + 777;
    assert_eq!(offset_of(Fault::Forgets(byte), plain), (byte, 1));
    assert_eq!(offset_of(Fault::Forgets(byte), stream), (5 << 20, 4096));
    // A card of 8 MiB that claims to have 16: what was written first is not there any more.
    let (offset, _) = offset_of(Fault::Wraps(8 << 20), plain);
    assert!((2 << 20..8 << 20).contains(&offset) || offset < 1 << 20, "{offset}");
}

#[test]
fn a_device_that_vanishes_at_any_write_is_written_on_where_it_was() {
    let (image, map) = image();
    for source in [plain, stream] {
        let mut device = Fake::new(16 << 20, Fault::None);
        let mut resumed = 0;
        let whole = Fake::new(16 << 20, Fault::None);
        run(&whole, source(&image), &options(Some(&map))).unwrap();
        for most in 0..whole.writes.load(Ordering::Relaxed) {
            device = device.with(Fault::Vanishes(most));
            assert!(run(&device, source(&image), &options(Some(&map))).is_err() || most > 2);
            resumed += usize::from(!boots(&device));
        }
        assert!(resumed > 2);
        let device = device.with(Fault::None);
        run(&device, source(&image), &options(Some(&map))).unwrap();
        assert!(holds(&device, &image, Some(&map)) && boots(&device));
    }
}

#[test]
fn what_is_marked_as_written_is_not_written_again_unless_the_image_is_another() {
    let (image, map) = image();
    let device = Fake::new(16 << 20, Fault::Vanishes(6));
    assert!(run(&device, plain(&image), &options(Some(&map))).is_err());
    let again = device.with(Fault::None);
    let flashed = run(&again, plain(&image), &options(Some(&map))).unwrap();
    assert!(flashed.resumed.is_some_and(|position| position >= 4 << 20), "{flashed:?}");
    assert!(flashed.written < map.mapped_bytes() && holds(&again, &image, Some(&map)));
    // What the marker promises is compared all the same.
    let changed = device.with(Fault::None);
    changed.bytes()[(3 << 20) + 3] ^= 1;
    run(&changed, stream(&image), &options(Some(&map))).unwrap();
    assert!(holds(&changed, &image, Some(&map)));
    let other = device.with(Fault::None);
    let flashed = run(&other, plain(&image), &options(None)).unwrap();
    assert_eq!(flashed.resumed, None);
    assert!(holds(&other, &image, None));
}

#[test]
fn only_what_differs_is_written() {
    let (image, map) = image();
    let device = Fake::new(16 << 20, Fault::None);
    run(&device, plain(&image), &options(Some(&map))).unwrap();
    let delta = FlashOptions { delta: true, ..options(Some(&map)) };
    let before = device.writes.load(Ordering::Relaxed);
    let flashed = run(&device, stream(&image), &delta).unwrap();
    assert_eq!((flashed.written, device.writes.load(Ordering::Relaxed)), (0, before));
    device.bytes()[(5 << 20) + 5] ^= 1;
    let flashed = run(&device, stream(&image), &delta).unwrap();
    assert_eq!(flashed.written, 4096 + (1 << 20));
    assert!(holds(&device, &image, Some(&map)) && boots(&device));
    device.bytes()[20_480] ^= 1;
    assert_eq!(run(&device, plain(&image), &delta).unwrap().written, 1 << 20);
    assert!(holds(&device, &image, Some(&map)) && boots(&device));
    let failing = device.with(Fault::Forgets((6 << 20) + 9));
    failing.bytes()[(6 << 20) + 9] ^= 1;
    assert!(run(&failing, plain(&image), &delta).is_err() && !boots(&failing));
}

#[test]
fn an_image_that_is_not_what_was_asked_for_leaves_nothing_that_boots() {
    let (image, map) = image();
    let mut changed = image.clone();
    changed[(9 << 20) + 7] ^= 1;
    for source in [plain, stream] {
        let device = Fake::new(16 << 20, Fault::None);
        let error = run(&device, source(&changed), &options(Some(&map))).unwrap_err();
        assert!(matches!(error, FlashError::Checksum { start, .. } if start == 9 << 20), "{error}");
        assert!(!boots(&device));
        for other in [&image[..image.len() - 1], &[&image[..], b"x"].concat()] {
            let error = run(&device, source(other), &options(Some(&map))).unwrap_err();
            assert!(matches!(error, FlashError::MapSize { .. }), "{error}");
        }
        assert!(!boots(&device));
    }
    let device = Fake::new(16 << 20, Fault::None);
    let refuse =
        || Err(FlashError::Digest { expected: Digest::of(b"a"), found: Digest::of(b"b"), is_written: true });
    let options = options(None);
    let stopped = AtomicBool::new(false);
    assert!(flash(&device, stream(&image), &options, &refuse, &stopped, &Silent).is_err() && !boots(&device));
    stopped.store(true, Ordering::Relaxed);
    let outcome = flash(&device, plain(&image), &options, &|| Ok(()), &stopped, &Silent);
    assert!(matches!(outcome, Err(FlashError::Stopped)) && !boots(&device));
}

#[test]
fn an_image_that_is_empty_leaves_the_device_as_it_was() {
    for size in [0, 2, 511] {
        for source in [plain, stream] {
            let device = Fake::new(16 << 20, Fault::None);
            let before = device.bytes().clone();
            let error = run(&device, source(&vec![7; size]), &options(None)).unwrap_err();
            assert!(matches!(error, FlashError::Empty { .. }), "{error}");
            assert!(*device.bytes() == before, "{size}");
        }
    }
}

#[test]
fn nothing_is_written_beyond_a_device_that_is_too_small() {
    let (image, map) = image();
    for map in [None, Some(&map)] {
        for source in [plain, stream] {
            let device = Fake::new(SIZE, Fault::None);
            let error = run(&device, source(&image), &options(map)).unwrap_err();
            assert!(matches!(error, FlashError::TooLarge { .. }), "{error}");
            assert!(!boots(&device));
        }
    }
    // A gigabyte of zeros in some kilobytes.
    let bomb = zstd::encode_all(io::Read::take(io::repeat(0), 1 << 30), 1).unwrap();
    let device = Fake::new(SIZE, Fault::None);
    let source = ImageSource::of_stream(io::Cursor::new(bomb)).unwrap();
    assert!(matches!(run(&device, source, &options(None)), Err(FlashError::TooLarge { image: None, .. })));
    let cut = zstd::encode_all(&image[..], 1).unwrap();
    let source = ImageSource::of_stream(io::Cursor::new(cut[..cut.len() / 2].to_vec())).unwrap();
    assert!(matches!(run(&device, source, &options(None)), Err(FlashError::Image { .. })));
    assert!(!boots(&device));
}

#[test]
fn what_is_replaced_is_on_the_device_and_in_what_is_read_back() {
    let (image, map) = image();
    // Over the end of the head, and over the end of a piece.
    let ranges = [((1 << 20) - 100, (1 << 20) + 100), ((4 << 20) - 7, (4 << 20) + 8)];
    let cut = |bytes: &[u8]| -> Vec<u8> {
        ranges.iter().flat_map(|(start, end)| bytes[*start as usize..*end as usize].to_vec()).collect()
    };
    let old = cut(&image);
    let replacement = Replacement::new(&ranges, &old, &vec![0x5a; old.len()]).unwrap();
    let mut wanted = image.clone();
    for (start, end) in ranges {
        wanted[start as usize..end as usize].fill(0x5a);
    }
    for map in [None, Some(&map)] {
        for source in [plain, stream] {
            let device = Fake::new(16 << 20, Fault::None);
            let options = FlashOptions { replacement: Some(&replacement), ..options(map) };
            run(&device, source(&image), &options).unwrap();
            assert!(holds(&device, &wanted, map) && boots(&device));
            let delta = FlashOptions { delta: true, ..options };
            assert_eq!(run(&device, source(&image), &delta).unwrap().written, 0);
            // The image that is flashed without it differs from what the device has.
            assert!(
                run(&device, source(&image), &FlashOptions { replacement: None, ..delta }).unwrap().written
                    > 0
            );
            assert!(holds(&device, &image, map));
        }
    }
    let failing = Fake::new(16 << 20, Fault::Forgets(4 << 20));
    let options = FlashOptions { replacement: Some(&replacement), ..options(None) };
    assert!(
        matches!(run(&failing, plain(&image), &options), Err(FlashError::Differs { offset, .. }) if offset == 4 << 20)
    );
    // Another image than the one that was looked at, and one that ends before.
    for other in [&wanted[..], &image[..2 << 20]] {
        for source in [plain, stream] {
            let device = Fake::new(16 << 20, Fault::None);
            assert!(
                matches!(run(&device, source(other), &options), Err(FlashError::Changed)) && !boots(&device)
            );
        }
    }
}

#[test]
fn the_copy_of_an_old_table_at_the_end_of_a_larger_device_is_cleared() {
    let (image, map) = image();
    let device = Fake::new(16 << 20, Fault::None);
    device.bytes()[(16 << 20) - 512..][..8].copy_from_slice(b"EFI PART");
    run(&device, plain(&image), &options(Some(&map))).unwrap();
    assert!(device.bytes()[(16 << 20) - 33 * 512..].iter().all(|byte| *byte == 0));
    assert!(device.bytes()[(16 << 20) - 34 * 512..(16 << 20) - 33 * 512].iter().all(|byte| *byte == 0xa5));
    assert!(holds(&device, &image, Some(&map)) && boots(&device));
    // Where only that is wrong, a delta mends it, and a device that forgets it is not called good.
    device.bytes()[(16 << 20) - 512..][..8].copy_from_slice(b"EFI PART");
    let delta = FlashOptions { delta: true, ..options(Some(&map)) };
    let forgetful = device.with(Fault::Forgets((16 << 20) - 512));
    assert!(run(&forgetful, plain(&image), &delta).is_err() && !boots(&forgetful));
    assert!(run(&device, plain(&image), &delta).unwrap().written > 0);
    assert!(holds(&device, &image, Some(&map)) && boots(&device));
}
