//! Reads disk files of pi-builder: commands of parted(8), a line each, and behind `#` what the partition is called and where
//! it is mounted.
//!
//! `mklabel msdos` or `gpt` comes first. `mkpart primary fat32 0 256MiB # label=BOOT mount=/boot` makes a partition from one position of
//! the disk to another; `reserved=` is the share of an ext4 that only root may use, and `100%` the end of the card.

use super::partition::{
    Ext4Writer, Filesystem, Layout, LayoutError, PartitionSize, PartitionSpec, PartitionTable,
};
use super::placement::{ALIGNMENT, FIRST, LOGICAL_TABLE};
use crate::size::ByteSize;

/// What positions are rounded to, as parted does with `-a optimal`.
const STEP: u64 = 1 << 20;
/// The largest file that is read, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// The largest disk that a position may be on: more than any table addresses.
const MAX_POSITION: u64 = 1 << 60;
/// The alignments that are tried where the usual one does not fit, as powers of two: 2 MiB, 1 MiB, then larger ones.
const OTHER_ALIGNMENTS: [u32; 10] = [21, 20, 23, 24, 25, 26, 27, 28, 29, 30];
/// The units of parted: decimal ones and binary ones, and sectors.
const UNITS: [(&str, u64); 10] = [
    ("b", 1),
    ("s", 512),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// What a disk file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// The kind of the table.
    pub table: PartitionTable,
    /// The partitions, in the order of the table.
    pub partitions: Vec<PartitionSpec>,
}

/// Says why a disk file makes no partitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {what}")]
pub struct DiskFileError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Where a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    At(u64),
    Card,
}

/// A partition as its line describes it.
struct Described {
    line: usize,
    spec: PartitionSpec,
    begin: u64,
    end: End,
}

/// What the lines so far have said.
#[derive(Default)]
struct Reader {
    table: Option<PartitionTable>,
    /// The unit of positions that have none; megabytes, as in parted, where none is named.
    unit: Option<u64>,
    partitions: Vec<Described>,
}

impl DiskFile {
    /// Reads a disk file; `file` is what errors call it.
    ///
    /// # Errors
    /// When a line is not understood, or the partitions are none that an image can have.
    pub fn parse(file: &str, text: &str) -> Result<Self, DiskFileError> {
        let fail = |line: usize, what: String| DiskFileError { file: file.to_owned(), line, what };
        if text.len() > MAX_TEXT {
            return Err(fail(1, format!("the file has more than {} KiB", MAX_TEXT >> 10)));
        }
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(text.lines()) {
            let (command, comment) = line.split_once('#').unwrap_or((line, ""));
            let words: Vec<&str> = command.split_whitespace().collect();
            reader.command(number, &words, comment).map_err(|what| fail(number, what))?;
        }
        let last = reader.partitions.last().map_or(1, |part| part.line);
        let Some(table) = reader.table else {
            return Err(fail(1, "there is no `mklabel msdos` or `mklabel gpt`".to_owned()));
        };
        let lines: Vec<usize> = reader.partitions.iter().map(|part| part.line).collect();
        let partitions = placed(table, reader.partitions).map_err(|(line, what)| fail(line, what))?;
        let layout =
            Layout { table, size: None, partitions, foreign_root: false, writer: Ext4Writer::Mkext4 };
        layout.check().map_err(|error| match &error {
            LayoutError::Wrong { partition: Some(number), what } => {
                let what = format!("the layout {what}");
                fail(lines.get(*number).copied().unwrap_or(last), what)
            }
            _ => fail(last, error.to_string()),
        })?;
        Ok(Self { table, partitions: layout.partitions })
    }
}

impl Reader {
    fn command(&mut self, line: usize, words: &[&str], comment: &str) -> Result<(), String> {
        match words {
            [] => Ok(()),
            ["mklabel" | "mktable", name] => self.label(name),
            ["unit", name] => {
                let unit = UNITS.iter().find(|(unit, _)| name.eq_ignore_ascii_case(unit));
                let (_, unit) = unit.ok_or_else(|| format!("`{name}` is not a unit that pib reads"))?;
                self.unit = Some(*unit);
                Ok(())
            }
            // A master boot record with more than four partitions gets an extended one by itself.
            ["mkpart", "extended", ..] => Ok(()),
            ["mkpart", "primary" | "logical", filesystem, begin, end] => {
                let spec = described(filesystem, comment)?;
                let begin = match self.position(begin)? {
                    End::At(begin) => begin,
                    End::Card => return Err("the partition begins where the card ends".to_owned()),
                };
                let end = self.position(end)?;
                self.partitions.push(Described { line, spec, begin, end });
                Ok(())
            }
            ["mkpart", ..] => Err("write `mkpart primary FILESYSTEM BEGIN END`".to_owned()),
            ["set", number, flag, state] => self.set(number, flag, state),
            [command, ..] => Err(format!(
                "pib does not read `{command}`; it reads mklabel, mkpart, unit, and set for the flags boot and lba"
            )),
        }
    }

    fn label(&mut self, name: &str) -> Result<(), String> {
        if self.table.is_some() {
            return Err("the file has a second partition table".to_owned());
        }
        self.table = Some(match name {
            "msdos" | "dos" | "mbr" => PartitionTable::Mbr,
            "gpt" => PartitionTable::Gpt,
            _ => return Err(format!("the table `{name}` is not one that pib writes; write msdos or gpt")),
        });
        Ok(())
    }

    fn set(&mut self, number: &str, flag: &str, state: &str) -> Result<(), String> {
        let is_on = match state {
            "on" => true,
            "off" => false,
            _ => return Err(format!("a flag is set to on or off, not to `{state}`")),
        };
        let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let part = index.and_then(|index| self.partitions.get_mut(index));
        let part = part.ok_or_else(|| format!("there is no partition {number} before this line"))?;
        match flag {
            "boot" => part.spec.active = is_on,
            // The type of a FAT32 partition says so.
            "lba" => {}
            _ => return Err(format!("pib does not set the flag `{flag}`, only boot and lba")),
        }
        Ok(())
    }

    /// Reads a position on the disk.
    fn position(&self, text: &str) -> Result<End, String> {
        let shown = || text.chars().take(40).collect::<String>();
        if let Some(share) = text.strip_suffix('%') {
            return match share {
                "0" => Ok(End::At(0)),
                "100" => Ok(End::Card),
                _ => Err(format!(
                    "`{}` is a share of a card whose size is not known; write the position as 512MiB or 4GiB",
                    shown()
                )),
            };
        }
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = match unit.to_ascii_lowercase() {
            unit if unit.is_empty() => Some(self.unit.unwrap_or(1_000_000)),
            unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size),
        };
        let position = unit.and_then(|unit| scaled(number, unit)).filter(|at| *at <= MAX_POSITION);
        position.map(End::At).ok_or_else(|| format!("`{}` is not a position such as 512MiB or 100%", shown()))
    }
}

/// Returns a decimal number, which may have a fraction, of a unit.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / u128::from(digits);
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}

/// Returns a partition by its file system and by what stands behind `#`.
fn described(filesystem: &str, comment: &str) -> Result<PartitionSpec, String> {
    let filesystem = match filesystem {
        "fat32" => Filesystem::Vfat,
        "ext4" => Filesystem::Ext4,
        _ => {
            let shown: String = filesystem.chars().take(40).collect();
            return Err(format!("the file system `{shown}` is not one of fat32 and ext4"));
        }
    };
    let value = |name: &str| {
        let pairs = comment.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
    };
    let Some(label) = value("label") else {
        return Err(
            "the partition has no label, by which the system would find it; write `# label=NAME`".to_owned()
        );
    };
    let reserved = value("reserved").map(|text| {
        let number = text.parse().map_err(|_| format!("`reserved={text}` is not a whole number of percent"));
        number.map(Some)
    });
    let mut spec = PartitionSpec::new(label, filesystem, value("mount").unwrap_or_default());
    spec.reserved = reserved.unwrap_or(Ok(None))?;
    Ok(spec)
}

/// Gives each partition the size and the alignment by which it lies where its line says; an error is about a line.
fn placed(table: PartitionTable, partitions: Vec<Described>) -> Result<Vec<PartitionSpec>, (usize, String)> {
    let specs = partitions.iter().map(|part| part.spec.clone()).collect();
    let layout =
        Layout { table, size: None, partitions: specs, foreign_root: false, writer: Ext4Writer::Mkext4 };
    let count = partitions.len();
    let mut at = FIRST;
    let mut specs = Vec::with_capacity(count);
    for (index, Described { line, mut spec, begin, end }) in partitions.into_iter().enumerate() {
        // Before the first one is the table; it begins where pib has it begin, if it then ends where it is to.
        let is_aligned = matches!(end, End::At(end) if (end / STEP * STEP).is_multiple_of(ALIGNMENT));
        let begin = match begin.next_multiple_of(STEP) {
            begin if index == 0 && begin < ALIGNMENT && is_aligned => ALIGNMENT,
            begin if index == 0 => begin.max(FIRST),
            begin => begin,
        };
        if begin < at {
            let (begin, at) = (ByteSize(begin), ByteSize(at));
            return Err((
                line,
                format!("the partition begins at {begin}, and the one before it ends at {at}"),
            ));
        }
        let size = match end {
            End::At(end) => (end / STEP * STEP).checked_sub(begin).filter(|size| *size > 0),
            End::Card => Some(0),
        };
        let size = size.ok_or_else(|| (line, "the partition ends before it begins".to_owned()))?;
        let from = if layout.is_logical(index) { at.saturating_add(LOGICAL_TABLE) } else { at };
        let fits = |align: &u64| from.next_multiple_of(*align) == begin && size.is_multiple_of(*align);
        let others = OTHER_ALIGNMENTS.iter().map(|shift| 1 << shift);
        let align = std::iter::once(ALIGNMENT).chain(others).find(fits).ok_or_else(|| {
            let (begin, at) = (ByteSize(begin), ByteSize(at));
            let what = "pib leaves no room between partitions, so let it begin where the one before it ends";
            (line, format!("the partition begins at {begin}, and what is before it ends at {at}; {what}"))
        })?;
        spec.align = (align != ALIGNMENT).then_some(ByteSize(align));
        match end {
            End::At(_) => spec.size = PartitionSize::Fixed(ByteSize(size)),
            End::Card if index + 1 < count => {
                return Err((line, "the partition takes the rest of the card, and others follow".to_owned()));
            }
            End::Card if spec.filesystem != Filesystem::Ext4 => {
                return Err((line, "only an ext4 can take the rest of a card".to_owned()));
            }
            End::Card => spec.grow = true,
        }
        at = begin.saturating_add(size);
        specs.push(spec);
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn parse(text: &str) -> Result<DiskFile, String> {
        DiskFile::parse("disk/x.conf", text).map_err(|error| error.to_string())
    }

    /// Returns where the partitions lie, in MiB.
    fn regions(file: &DiskFile) -> Vec<(u64, u64)> {
        let DiskFile { table, partitions } = file.clone();
        let layout =
            Layout { table, size: None, partitions, foreign_root: false, writer: Ext4Writer::Mkext4 };
        let placement = layout.place(&vec![64 * MIB; layout.partitions.len()]).unwrap();
        placement.regions.iter().map(|region| (region.offset / MIB, region.end() / MIB)).collect()
    }

    #[test]
    fn partitions_lie_where_the_file_says() {
        let file = parse(
            "mklabel msdos\n\nmkpart primary fat32\t0\t256MiB\t# label=BOOT mount=/boot\n\
             mkpart primary ext4 256MiB 512MiB # label=STATE\tmount=/var/lib/app reserved=0\n\
             # the system\nmkpart primary ext4 512MiB 6.5GiB # label=ROOT mount=/\n\
             mkpart primary ext4 6.5GiB 100% # label=DATA mount=/data\n",
        )
        .unwrap();
        assert_eq!(file.table, PartitionTable::Mbr);
        assert_eq!(regions(&file), [(4, 256), (256, 512), (512, 6656), (6656, 6720)]);
        let of = |index: usize| &file.partitions[index];
        assert_eq!((of(0).filesystem, &*of(0).mount, of(0).align), (Filesystem::Vfat, "/boot", None));
        assert_eq!((of(1).reserved, of(2).reserved, of(2).grow), (Some(0), None, false));
        assert_eq!((of(3).size, of(3).grow, &*of(3).label), (PartitionSize::Auto, true, "DATA"));
    }

    #[test]
    fn other_tables_units_and_positions_are_read() {
        let file = parse(
            "mktable gpt\nunit MiB\nmkpart primary fat32 1 101 # label=A mount=/boot\n\
             mkpart primary ext4 101 2048 # label=B mount=/\nset 2 boot on\nset 1 lba on\n",
        )
        .unwrap();
        assert_eq!((file.table, regions(&file)), (PartitionTable::Gpt, vec![(1, 101), (101, 2048)]));
        assert!(file.partitions[1].active && !file.partitions[0].active);
        let decimal = "mklabel msdos\nmkpart primary fat32 0% 134217728B # label=A mount=/boot\n\
                       mkpart primary ext4 262144s 2147.483648MB # label=B mount=/\n";
        assert_eq!(regions(&parse(decimal).unwrap()), [(4, 128), (128, 2048)]);
        let logical = "mklabel msdos\nmkpart primary fat32 0 64MiB # label=A mount=/boot\n\
                       mkpart primary ext4 64MiB 128MiB # label=B mount=/\n\
                       mkpart primary ext4 128MiB 192MiB # label=C mount=/c\nmkpart extended 192MiB 100%\n\
                       mkpart logical ext4 196MiB 256MiB # label=D\nmkpart logical ext4 257MiB 300MiB # label=E\n";
        assert_eq!(regions(&parse(logical).unwrap())[3..], [(196, 256), (257, 300)]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let file = |line: &str| {
            format!("mklabel msdos\nmkpart primary fat32 0 64MiB # label=A mount=/boot\n{line}\n")
        };
        for (line, says) in [
            ("mkpart primary btrfs 64MiB 100% # label=R mount=/", "`btrfs` is not one of fat32 and ext4"),
            ("mkpart primary ext4 64MiB 100% # mount=/", "the partition has no label"),
            ("mkpart primary ext4 64MiB 50% # label=R mount=/", "`50%` is a share of a card"),
            (
                "mkpart primary ext4 32MiB 100% # label=R mount=/",
                "begins at 32MiB, and the one before it ends at 64MiB",
            ),
            ("mkpart primary ext4 67MiB 999MiB # label=R mount=/", "what is before it ends at 64MiB"),
            ("mkpart primary ext4 64MiB 64MiB # label=R mount=/", "ends before it begins"),
            ("mkpart primary ext4 64MiB -1s # label=R mount=/", "`-1s` is not a position"),
            ("mkpart primary ext4 64MiB 1..5GiB # label=R mount=/", "is not a position"),
            ("mkpart primary ext4 64MiB 99999999TiB # label=R mount=/", "is not a position"),
            (
                "mkpart primary ext4 64MiB 100% # label=R mount=/ reserved=x",
                "`reserved=x` is not a whole number",
            ),
            ("mkpart primary ext4 64MiB 100% # label=R mount=/ reserved=60", "at most 50"),
            ("mkpart primary ext4 64MiB 100% # label=R mount=/x", "no partition for `/`"),
            ("mkpart primary ext4 64MiB 99MiB # label=A mount=/", "two partitions with the label `A`"),
            ("mkpart ext4 64MiB 100%", "write `mkpart primary FILESYSTEM"),
            ("mklabel gpt", "a second partition table"),
            ("resizepart 1 100%", "pib does not read `resizepart`"),
            ("set 1 esp on", "does not set the flag `esp`"),
            ("set 7 boot on", "no partition 7"),
            ("set 1 boot maybe", "on or off"),
        ] {
            let error = parse(&file(line)).unwrap_err();
            assert!(error.starts_with("disk/x.conf, line 3: ") && error.contains(says), "{line}: {error}");
        }
        let two =
            file("mkpart primary ext4 64MiB 100% # label=R mount=/\nmkpart primary ext4 100% 100% # label=B");
        assert!(parse(&two).unwrap_err().contains("line 4: the partition begins where the card ends"));
        assert!(parse("").unwrap_err().contains("line 1: there is no `mklabel"));
        assert!(parse("mklabel sun").unwrap_err().contains("`sun`"));
        assert!(parse(&"\n".repeat(MAX_TEXT + 1)).unwrap_err().contains("64 KiB"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in prop::collection::vec(
            "(mklabel (msdos|gpt)|mkpart (primary|logical|extended) (ext4|fat32) [0-9.]{0,22}(%|s|[KMGT]?i?B)? [0-9]{1,20}(%|MiB|TB)? # (label=[A-C] ?)?(mount=/[a-c]? ?)?(reserved=[0-9]{1,3})?|.{0,30})", 0..8)) {
            let _ = DiskFile::parse("x", &lines.join("\n"));
        }
    }
}
