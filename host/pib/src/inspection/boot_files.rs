//! Reads what the boot chain's check asks for.

use std::collections::HashMap;
use std::io::{self, Read as _, Write};

use pib_debian::decompress::{self, Format};
use pib_disk::{DiskImage, FileKind, FilesReader, Handle, ReadingError};
use pib_plan::boot::archive::Initramfs;
use pib_plan::boot::media::{BootMedia, BootPartition, RootFacts};

use super::ramdisk;

/// The largest initramfs that is read, as it is and unpacked.
const MAX_INITRAMFS: u64 = 1 << 30;
/// The largest list of built-in modules.
const MAX_LIST: u64 = 4 << 20;
/// The most kernels that are looked at.
const MAX_KERNELS: usize = 64;

/// Reads an image for the check. What was read for one model is kept for the next.
pub(super) struct BootFiles<'a> {
    disk: &'a DiskImage,
    /// By partition, and by the numbers that files with file systems have got.
    open: HashMap<u32, Box<dyn FilesReader>>,
    archives: HashMap<(u32, String), Result<Initramfs, String>>,
    roots: HashMap<u32, Result<RootFacts, String>>,
    ramdisks: HashMap<(u32, String), Result<u32, String>>,
}

impl<'a> BootFiles<'a> {
    pub(super) fn new(disk: &'a DiskImage) -> Self {
        Self {
            disk,
            open: HashMap::new(),
            archives: HashMap::new(),
            roots: HashMap::new(),
            ramdisks: HashMap::new(),
        }
    }

    fn files(&mut self, partition: u32) -> Result<&mut dyn FilesReader, String> {
        use std::collections::hash_map::Entry;
        match self.open.entry(partition) {
            Entry::Occupied(entry) => Ok(&mut **entry.into_mut()),
            Entry::Vacant(entry) => {
                let files = self.disk.files(partition).map_err(|error| error.to_string())?;
                Ok(&mut **entry.insert(files))
            }
        }
    }

    fn find(&mut self, partition: u32, path: &str) -> Result<Option<(Handle, u64)>, String> {
        let text = |error: ReadingError| error.to_string();
        let files = self.files(partition)?;
        let Some(entry) = files.find(path).map_err(text)? else { return Ok(None) };
        let metadata = files.metadata(entry).map_err(text)?;
        Ok((metadata.kind == FileKind::File).then_some((entry, metadata.size)))
    }

    fn read_initramfs(&mut self, partition: u32, path: &str) -> Result<Initramfs, String> {
        let files = self.files(partition)?;
        let bytes = files.read(path, MAX_INITRAMFS).map_err(|error| error.to_string())?;
        let mut found = Initramfs::default();
        let mut left: Vec<u8> = bytes;
        // A few archives follow one another, of which the last one may be compressed as a whole.
        while let Some(rest) = found.add(&left)? {
            let packed = &left[rest.at..];
            let format = Format::of(packed);
            if format == Format::Plain {
                return Err("is compressed in a way that pib does not read, or damaged".to_owned());
            }
            let fail = |error: io::Error| format!("cannot be unpacked: {error}");
            let mut unpacked = Vec::new();
            let decoder = decompress::decoder(format, packed).map_err(fail)?;
            decoder.take(MAX_INITRAMFS).read_to_end(&mut unpacked).map_err(fail)?;
            left = unpacked;
        }
        Ok(found)
    }

    fn read_root(&mut self, partition: u32) -> Result<RootFacts, String> {
        let text = |error: ReadingError| error.to_string();
        let files = self.files(partition)?;
        let mut facts = RootFacts::default();
        let folder = "/lib/modules";
        if files.find(folder).map_err(text)?.is_none() {
            return Ok(facts);
        }
        for version in files.list(folder).map_err(text)?.into_iter().take(MAX_KERNELS) {
            let list = format!("{folder}/{version}/modules.builtin");
            if files.find(&list).map_err(text)?.is_some() {
                let list = files.read(&list, MAX_LIST).map_err(text)?;
                facts.builtin.extend(String::from_utf8_lossy(&list).lines().map(str::to_owned));
            }
            facts.versions.push(version);
        }
        Ok(facts)
    }
}

impl BootMedia for BootFiles<'_> {
    fn partitions(&self) -> Vec<BootPartition> {
        let partition = |found: &pib_disk::FoundPartition| BootPartition {
            number: found.number,
            kind: found.kind.clone(),
            filesystem: found.filesystem.text().to_owned(),
            label: found.label.clone(),
            uuid: found.uuid.clone(),
            partuuid: found.partuuid.clone(),
            name: found.name.clone(),
        };
        self.disk.partitions().iter().map(partition).collect()
    }

    fn is_empty(&mut self, partition: u32) -> Result<bool, String> {
        let files = self.files(partition)?;
        let root = files.root();
        files.children(root).map(|names| names.is_empty()).map_err(|error| error.to_string())
    }

    fn size(&mut self, partition: u32, path: &str) -> Result<Option<u64>, String> {
        Ok(self.find(partition, path)?.map(|(_, size)| size))
    }

    fn head(&mut self, partition: u32, path: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        let Some((entry, size)) = self.find(partition, path)? else { return Ok(None) };
        let mut head = Head { bytes: Vec::new(), most };
        match self.files(partition)?.copy_entry(entry, &mut head, size) {
            Ok(_) => Ok(Some(head.bytes)),
            Err(ReadingError::Write(_)) if head.bytes.len() == most => Ok(Some(head.bytes)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn ramdisk(&mut self, partition: u32, path: &str) -> Result<u32, String> {
        let key = (partition, path.to_owned());
        if let Some(known) = self.ramdisks.get(&key) {
            return known.clone();
        }
        // Tables number partitions from 1 on.
        let number = u32::MAX - u32::try_from(self.ramdisks.len()).unwrap_or(u32::MAX / 2);
        let opened = self.files(partition).and_then(|files| ramdisk::open(files, path));
        let found = opened.map(|files| {
            self.open.insert(number, files);
            number
        });
        self.ramdisks.insert(key, found.clone());
        found
    }

    fn initramfs(&mut self, partition: u32, path: &str) -> Result<Initramfs, String> {
        let key = (partition, path.to_owned());
        if let Some(known) = self.archives.get(&key) {
            return known.clone();
        }
        let found = self.read_initramfs(partition, path);
        self.archives.insert(key, found.clone());
        found
    }

    fn root(&mut self, partition: u32) -> Result<RootFacts, String> {
        if let Some(known) = self.roots.get(&partition) {
            return known.clone();
        }
        let found = self.read_root(partition);
        self.roots.insert(partition, found.clone());
        found
    }
}

/// Takes the first bytes of a file, and stops its reader then.
struct Head {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(self.most - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..take]);
        match take {
            0 if !bytes.is_empty() => Err(io::Error::other("the rest is not wanted")),
            _ => Ok(take),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
