//! The tar stream that an engine sends.

use std::io::{self, Read as _, Write as _};

use pib_disk::{DiskImage, FileKind, ReadingError, pax, walk};

/// An entry says how many bytes follow, and no more than these are given.
#[test]
fn rootfs_tar() {
    bolero::check!().for_each(|input: &[u8]| {
        let mut given = 0;
        let outcome = pax::for_each(input, |meta, data| {
            let size = io::copy(&mut data.take(meta.size.saturating_add(1)), &mut io::sink())?;
            assert!(size <= meta.size, "{:?} has more than it says", meta.path);
            given += size;
            Ok(())
        });
        assert!(given <= input.len() as u64 || outcome.is_err());
    });
}

/// Reads everything in an image, as far as it goes.
#[test]
fn image_file() {
    bolero::check!().for_each(|input: &[u8]| {
        let Ok(mut file) = tempfile::tempfile() else { return };
        if file.write_all(input).is_err() {
            return;
        }
        let Ok(image) = DiskImage::open(file) else { return };
        for partition in image.partitions() {
            let Ok(mut files) = image.files(partition.number) else { continue };
            let outcome = walk(&mut *files, &mut |files, path, entry, metadata| {
                if metadata.kind == FileKind::File {
                    let mut content = Vec::new();
                    let size = files.copy_entry(entry, &mut content, 1 << 20);
                    assert!(size.is_ok_and(|size| size == content.len() as u64) || content.len() <= 1 << 20);
                }
                drop(files.find(path));
                Ok::<_, ReadingError>(())
            });
            if let Err(error) = outcome {
                assert!(!error.to_string().is_empty());
            }
        }
    });
}

#[test]
fn extended_header() {
    bolero::check!().for_each(|input: &[u8]| {
        let Ok(records) = pax::records(input) else { return };
        let length: usize = records.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(length <= input.len());
    });
}
