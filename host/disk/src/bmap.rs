//! Block maps: which blocks of an image have to be written, and the checksums of their content.
//!
//! Format: bmap 2.0 of the Yocto project's bmap-tools (`bmaptools/BmapCreate.py`): XML, in which the checksum of the
//! text itself is taken with zeros in its own place. 1.4 differs in the number only; 1.3 has SHA-1 and other names.

use std::fmt::Write as _;
use std::io;

use pib_plan::id::Digest;
use roxmltree::{Document, Node};
use sha1::Digest as _;
use sha2::Sha256;

/// The largest block map that is read, in bytes: that of an image with half a million ranges.
pub const MAX_BLOCK_MAP: u64 = 64 << 20;
/// The sizes of blocks that are read, in bytes.
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 512..=1 << 24;

/// Which blocks of an image have to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMap {
    /// The size of the image in bytes.
    pub image_size: u64,
    /// The size of a block in bytes; the image's last one may be shorter.
    pub block_size: u64,
    /// The ranges of blocks, in order, none of which touches another.
    pub ranges: Vec<MappedRange>,
}

/// Blocks that have to be written, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedRange {
    /// The number of the first block.
    pub first: u64,
    /// The number of the last block.
    pub last: u64,
    /// The checksum of their bytes, where the map has one.
    pub checksum: Option<Checksum>,
}

/// The checksum of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// As maps from version 1.4 on have it.
    Sha256([u8; 32]),
    /// As maps of version 1.3 have it.
    Sha1([u8; 20]),
}

/// Takes the checksum of bytes that arrive one after the other, to compare it with the expected one.
#[derive(Debug, Clone)]
pub(crate) enum Summing {
    Sha256(Box<Sha256>, [u8; 32]),
    Sha1(Box<sha1::Sha1>, [u8; 20]),
}

impl Summing {
    /// Begins with no bytes.
    pub(crate) fn new(expected: Checksum) -> Self {
        match expected {
            Checksum::Sha256(sum) => Self::Sha256(Box::default(), sum),
            Checksum::Sha1(sum) => Self::Sha1(Box::default(), sum),
        }
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher, _) => sha2::Digest::update(&mut **hasher, bytes),
            Self::Sha1(hasher, _) => hasher.update(bytes),
        }
    }

    /// Returns whether the bytes had the expected checksum.
    pub(crate) fn fits(self) -> bool {
        match self {
            Self::Sha256(hasher, expected) => <[u8; 32]>::from(sha2::Digest::finalize(*hasher)) == expected,
            Self::Sha1(hasher, expected) => <[u8; 20]>::from(hasher.finalize()) == expected,
        }
    }
}

/// Says why a text is not a block map that can be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BlockMapError(String);

impl BlockMap {
    /// Makes the map of an image whose ranges of blocks are given, each its first block and the one after its last.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub(crate) fn of(
        image_size: u64,
        ranges: &[(u64, u64)],
        read: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<Self> {
        let block_size = crate::blocks::BLOCK;
        let mut buffer = vec![0; 1 << 20];
        let mut mapped = Vec::with_capacity(ranges.len());
        for (first, end) in ranges {
            let (mut at, stop) = (first * block_size, (end * block_size).min(image_size));
            let mut hasher = Sha256::default();
            while at < stop {
                let count = usize::try_from(stop - at).unwrap_or(buffer.len()).min(buffer.len());
                read(&mut buffer[..count], at)?;
                sha2::Digest::update(&mut hasher, &buffer[..count]);
                at += count as u64;
            }
            let checksum = Checksum::Sha256(sha2::Digest::finalize(hasher).into());
            mapped.push(MappedRange { first: *first, last: end - 1, checksum: Some(checksum) });
        }
        Ok(Self { image_size, block_size, ranges: mapped })
    }

    /// Returns how many bytes have to be written.
    pub fn mapped_bytes(&self) -> u64 {
        self.byte_ranges().map(|(start, end)| end - start).sum()
    }

    /// Returns the ranges in bytes of the image, each its start and its end.
    pub fn byte_ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|range| {
            (range.first * self.block_size, ((range.last + 1) * self.block_size).min(self.image_size))
        })
    }

    /// Returns the map's text. The same map gives the same text.
    pub fn to_xml(&self) -> String {
        let blocks = self.image_size.div_ceil(self.block_size);
        let mapped: u64 = self.ranges.iter().map(|range| range.last - range.first + 1).sum();
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n\
             <!-- Which blocks of the image have to be written: `pib flash` and `bmaptool copy` read this. -->\n\
             <bmap version=\"2.0\">\n    <ImageSize> {} </ImageSize>\n    <BlockSize> {} </BlockSize>\n    \
             <BlocksCount> {blocks} </BlocksCount>\n    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
             <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {} </BmapFileChecksum>\n    <BlockMap>\n",
            self.image_size,
            self.block_size,
            "0".repeat(64),
        );
        for MappedRange { first, last, checksum } in &self.ranges {
            text.push_str("        <Range");
            if let Some(Checksum::Sha256(sum)) = checksum {
                _ = write!(text, " chksum=\"{}\"", hex(sum));
            }
            _ = match first == last {
                true => writeln!(text, "> {first} </Range>"),
                false => writeln!(text, "> {first}-{last} </Range>"),
            };
        }
        text.push_str("    </BlockMap>\n</bmap>\n");
        let own = Digest::of(text.as_bytes()).hex();
        text.replacen(&"0".repeat(64), &own, 1)
    }

    /// Reads the text of a map, a stranger's perhaps: its checksum is compared, and its ranges must be in order, inside
    /// of the image, and as many as it says.
    ///
    /// # Errors
    /// When it is not a map of version 1.3 to 2.x, or one that is damaged or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, BlockMapError> {
        if text.len() as u64 > MAX_BLOCK_MAP {
            return Err(BlockMapError(format!("it is larger than {} MiB", MAX_BLOCK_MAP >> 20)));
        }
        let document = Document::parse(text).map_err(|error| BlockMapError(error.to_string()))?;
        let root = document.root_element();
        let version = root.attribute("version").unwrap_or_default().trim();
        let is_old = version == "1.3";
        if root.tag_name().name() != "bmap" || !(is_old || version == "1.4" || version.starts_with("2.")) {
            return Err(BlockMapError(format!(
                "it is not a block map of version 1.3, 1.4 or 2: `{version}`"
            )));
        }
        if !is_old && element(root, "ChecksumType")? != "sha256" {
            return Err(BlockMapError("its checksums are not of the type sha256".to_owned()));
        }
        check_own_checksum(text, root, is_old)?;
        let (image_size, block_size) = (number(root, "ImageSize")?, number(root, "BlockSize")?);
        let blocks = number(root, "BlocksCount")?;
        if !BLOCK_SIZES.contains(&block_size) || blocks != image_size.div_ceil(block_size) {
            let message = format!("{blocks} blocks of {block_size} bytes do not make {image_size} bytes");
            return Err(BlockMapError(message));
        }
        let list = child(root, "BlockMap")?;
        let ranges = list.children().filter(Node::is_element).map(|node| range(node, blocks, is_old));
        let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        if let Some(pair) = ranges.windows(2).find(|pair| pair[1].first <= pair[0].last) {
            let message = format!("block {} comes after block {}", pair[1].first, pair[0].last);
            return Err(BlockMapError(message));
        }
        let mapped: u64 = ranges.iter().map(|range| range.last - range.first + 1).sum();
        let promised = number(root, "MappedBlocksCount")?;
        if mapped != promised {
            let message = format!("it maps {mapped} blocks and says that it maps {promised}");
            return Err(BlockMapError(message));
        }
        Ok(Self { image_size, block_size, ranges })
    }
}

/// Compares a map's text with the checksum in it.
fn check_own_checksum(text: &str, root: Node<'_, '_>, is_old: bool) -> Result<(), BlockMapError> {
    let name = if is_old { "BmapFileSHA1" } else { "BmapFileChecksum" };
    let node = child(root, name)?;
    let own = element(root, name)?;
    let wrong = || BlockMapError("its own checksum is wrong: it was damaged or changed".to_owned());
    let start = node.range().start;
    let at = start + text.get(start..).and_then(|rest| rest.find(own)).ok_or_else(wrong)?;
    let zeroed = [&text[..at], &"0".repeat(own.len()), &text[at + own.len()..]].concat();
    let is = if is_old { hex(&sha1::Sha1::digest(&zeroed)) } else { Digest::of(zeroed.as_bytes()).hex() };
    if own.eq_ignore_ascii_case(&is) { Ok(()) } else { Err(wrong()) }
}

fn child<'a, 'b>(parent: Node<'a, 'b>, name: &str) -> Result<Node<'a, 'b>, BlockMapError> {
    let found = parent.children().find(|node| node.tag_name().name() == name);
    found.ok_or_else(|| BlockMapError(format!("it has no {name}")))
}

fn element<'a>(root: Node<'a, '_>, name: &str) -> Result<&'a str, BlockMapError> {
    Ok(child(root, name)?.text().unwrap_or_default().trim())
}

fn number(root: Node<'_, '_>, name: &str) -> Result<u64, BlockMapError> {
    let text = element(root, name)?;
    text.parse().map_err(|_| BlockMapError(format!("its {name} is not a number: `{text}`")))
}

/// Reads a range: `3` or `3-17`, with its checksum.
fn range(node: Node<'_, '_>, blocks: u64, is_old: bool) -> Result<MappedRange, BlockMapError> {
    let text = node.text().unwrap_or_default().trim();
    let malformed = || BlockMapError(format!("its range `{text}` is not one of its {blocks} blocks"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parse = |text: &str| text.trim().parse::<u64>().map_err(|_| malformed());
    let (first, last) = (parse(first)?, parse(last)?);
    if node.tag_name().name() != "Range" || first > last || last >= blocks {
        return Err(malformed());
    }
    let bad = || BlockMapError(format!("the checksum of its range `{text}` is malformed"));
    let sum = node.attribute(if is_old { "sha1" } else { "chksum" });
    let checksum = sum.map(|sum| match is_old {
        true => unhex(sum).map(Checksum::Sha1),
        false => unhex(sum).map(Checksum::Sha256),
    });
    let checksum = checksum.map(|sum| sum.ok_or_else(bad)).transpose()?;
    Ok(MappedRange { first, last, checksum })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.trim();
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> BlockMap {
        let image: Vec<u8> = (0..40_000_u32).map(|number| number as u8).collect();
        let read = |buffer: &mut [u8], at: u64| {
            buffer.copy_from_slice(&image[at as usize..at as usize + buffer.len()]);
            Ok(())
        };
        BlockMap::of(40_000, &[(0, 1), (3, 5), (9, 10)], read).unwrap()
    }

    /// Returns a text with its checksum made right again.
    fn resealed(text: &str) -> String {
        let start = text.find("<BmapFileChecksum> ").unwrap() + "<BmapFileChecksum> ".len();
        let zeroed = [&text[..start], &"0".repeat(64), &text[start + 64..]].concat();
        [&text[..start], &Digest::of(zeroed.as_bytes()).hex(), &text[start + 64..]].concat()
    }

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let map = map();
        assert_eq!(BlockMap::parse(&map.to_xml()).unwrap(), map);
        assert_eq!(map.mapped_bytes(), 4096 * 3 + 40_000 - 9 * 4096);
        assert_eq!(map.to_xml(), self::map().to_xml());
    }

    #[test]
    fn a_map_that_was_changed_or_contradicts_itself_is_refused() {
        let text = map().to_xml();
        let fails = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            BlockMap::parse(&resealed(&text.replace(from, to))).unwrap_err().to_string()
        };
        let changed = BlockMap::parse(&text.replace("> 3-4 <", "> 3-5 <")).unwrap_err().to_string();
        assert!(changed.contains("own checksum"), "{changed}");
        assert!(fails("> 3-4 <", "> 3-5 <").contains("says that it maps 4"));
        assert!(fails("> 9 <", "> 10 <").contains("not one of its 10 blocks"));
        assert!(fails("> 9 <", "> 4 <").contains("comes after"));
        assert!(fails("> 3-4 <", "> 4-3 <").contains("not one of"));
        assert!(fails("> 40000 <", "> 400000 <").contains("do not make"));
        assert!(fails("> 4096 <", "> 0 <").contains("do not make"));
        assert!(fails("> sha256 <", "> md5 <").contains("sha256"));
        assert!(fails("version=\"2.0\"", "version=\"3.0\"").contains("3.0"));
        assert!(fails("chksum=\"", "chksum=\"0").contains("malformed"));
        for end in (0..text.len()).step_by(7) {
            assert!(BlockMap::parse(&text[..end]).is_err());
        }
        let bomb = "<!DOCTYPE b [<!ENTITY a \"aaaa\">]><bmap version=\"2.0\">&a;</bmap>";
        assert!(BlockMap::parse(bomb).is_err());
    }

    #[test]
    fn maps_of_version_1_3_are_read() {
        let body = |sum: &str| {
            format!(
                "<?xml version=\"1.0\" ?>\n<bmap version=\"1.3\"><ImageSize> 8192 </ImageSize><BlockSize> 4096 </BlockSize>\
                 <BlocksCount> 2 </BlocksCount><MappedBlocksCount> 1 </MappedBlocksCount><BmapFileSHA1> {sum} </BmapFileSHA1>\
                 <BlockMap><Range sha1=\"{}\"> 1 </Range></BlockMap></bmap>",
                hex(&sha1::Sha1::digest([0; 4096]))
            )
        };
        let text = body(&hex(&sha1::Sha1::digest(body(&"0".repeat(40)))));
        let map = BlockMap::parse(&text).unwrap();
        let mut summing = Summing::new(map.ranges[0].checksum.unwrap());
        summing.update(&[0; 4096]);
        assert!(summing.fits());
        assert!(BlockMap::parse(&body(&"1".repeat(40))).is_err());
    }
}
