//! Lists an initramfs: archives in cpio's "new ASCII" form, one after the other, of which some are compressed.
//!
//! Format: Linux' Documentation/driver-api/early-userspace/buffer-format.rst.

/// The size of an entry's header.
const HEADER: usize = 110;
/// The longest name.
const MAX_NAME: usize = 4096;

/// What an initramfs holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initramfs {
    /// The paths of its entries, without a slash before them.
    pub names: Vec<String>,
    /// The modules that the kernel has built in, by the file `modules.builtin` in it.
    pub builtin: Vec<String>,
}

/// What is left of an initramfs when the archives that are not compressed have been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Where it begins.
    pub at: usize,
}

impl Initramfs {
    /// Reads the archives that `bytes` begin with; returns where something else follows, which may be compressed.
    ///
    /// # Errors
    /// When an archive is cut or broken, as the end of a sentence.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Option<Rest>, String> {
        let mut at = 0;
        loop {
            // Zeros may follow each archive.
            while bytes.get(at).is_some_and(|byte| *byte == 0) {
                at += 1;
            }
            if at >= bytes.len() {
                return Ok(None);
            }
            if !bytes[at..].starts_with(b"070701") && !bytes[at..].starts_with(b"070702") {
                return Ok(Some(Rest { at }));
            }
            at = self.entry(bytes, at)?;
        }
    }

    /// Reads the entry at `at` and returns where the next one begins.
    fn entry(&mut self, bytes: &[u8], at: usize) -> Result<usize, String> {
        let cut = || "ends in the middle".to_owned();
        let header = bytes.get(at..at + HEADER).ok_or_else(cut)?;
        let field = |number: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * number..14 + 8 * number]).ok();
            let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            value.map(|value| value as usize).ok_or_else(|| "has a broken header".to_owned())
        };
        let (size, name_size) = (field(6)?, field(11)?);
        if name_size == 0 || name_size > MAX_NAME {
            return Err("has a broken name".to_owned());
        }
        let name = bytes.get(at + HEADER..at + HEADER + name_size - 1).ok_or_else(cut)?;
        let content_at = (at + HEADER + name_size).next_multiple_of(4);
        let content = bytes.get(content_at..content_at.saturating_add(size)).ok_or_else(cut)?;
        let name = String::from_utf8_lossy(name).trim_start_matches(['.', '/']).to_owned();
        if name.ends_with("/modules.builtin") {
            self.builtin.extend(String::from_utf8_lossy(content).lines().map(str::to_owned));
        }
        if name != "TRAILER!!!" && !name.is_empty() {
            self.names.push(name);
        }
        Ok((content_at + size).next_multiple_of(4))
    }

    /// Returns whether a module is in it or built into its kernel: `-` and `_` are the same in a module's name.
    pub fn has_module(&self, module: &str) -> bool {
        self.names.iter().chain(&self.builtin).any(|path| is_module(path, module))
    }

    /// Returns the version of the kernel whose modules it has.
    pub fn kernel_version(&self) -> Option<&str> {
        self.names.iter().find_map(|name| {
            let (_, rest) = name.split_once("lib/modules/")?;
            rest.split('/').next().filter(|version| !version.is_empty())
        })
    }
}

/// Returns whether a path is that of a module's file, compressed or not.
pub fn is_module(path: &str, module: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let Some((name, ending)) = file.split_once(".ko") else { return false };
    matches!(ending, "" | ".xz" | ".zst" | ".gz") && name.replace('_', "-") == module.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = String::from("070701");
        for field in [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            header.push_str(&format!("{field:08X}"));
        }
        let mut bytes = header.into_bytes();
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn archives_are_listed_up_to_what_is_compressed() {
        let mut bytes = entry("usr/lib/modules/6.1/kernel/fs/ext4/ext4.ko.xz", b"module");
        bytes.extend(entry("usr/lib/modules/6.1/modules.builtin", b"kernel/drivers/mmc/core/mmc_block.ko\n"));
        bytes.extend(entry("TRAILER!!!", b""));
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        let at = bytes.len();
        bytes.extend([0x28, 0xb5, 0x2f, 0xfd]);
        let mut found = Initramfs::default();
        assert_eq!(found.add(&bytes), Ok(Some(Rest { at })));
        assert_eq!(found.names.len(), 2);
        assert!(found.has_module("ext4") && found.has_module("mmc-block") && !found.has_module("ext"));
        assert_eq!(found.kernel_version(), Some("6.1"));
        for end in 1..at {
            let _ = Initramfs::default().add(&bytes[..end]);
        }
        assert!(Initramfs::default().add(&bytes[..150]).is_err());
    }
}
