//! The tar stream that an engine sends.

use std::io::{self, Read as _};

use pib_disk::pax;

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

#[test]
fn extended_header() {
    bolero::check!().for_each(|input: &[u8]| {
        let Ok(records) = pax::records(input) else { return };
        let length: usize = records.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(length <= input.len());
    });
}
