//! What mirrors and tarballs of bases are compressed with.

use std::io;

use pib_debian::decompress::{Format, bounded, decoder};

/// The most that a small input may become here.
const MOST: u64 = 1 << 20;

#[test]
fn installed_packages() {
    bolero::check!().for_each(|input: &[u8]| {
        let Ok(packages) = pib_debian::installed(input) else { return };
        assert!(packages.iter().map(|package| package.name.len()).sum::<usize>() <= input.len());
    });
}

#[test]
fn compressed() {
    bolero::check!().for_each(|input: &[u8]| {
        let Ok(reader) = decoder(Format::of(input), input) else { return };
        let size = io::copy(&mut bounded(reader, MOST), &mut io::sink()).unwrap_or_default();
        assert!(size <= MOST);
    });
}
