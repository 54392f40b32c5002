//! Tells kernels of each architecture by their first bytes.

/// How many bytes are looked at.
pub const HEAD: usize = 64;

/// What a kernel's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelImage {
    /// For 64-bit ARM (Linux' Documentation/arch/arm64/booting.rst: the magic at 56).
    Arm64,
    /// For 32-bit ARM (Linux' arch/arm/boot/compressed/head.S: the magic of a zImage at 36).
    Arm32,
    /// Compressed with gzip, which firmware unpacks for 64 bits only.
    Gzip,
    /// Neither.
    Unknown,
}

impl KernelImage {
    /// Tells a kernel by its first bytes.
    pub fn of(head: &[u8]) -> Self {
        let at = |start: usize| head.get(start..start + 4).unwrap_or_default();
        if at(56) == b"ARM\x64" {
            Self::Arm64
        } else if at(36) == 0x016f_2818_u32.to_le_bytes() {
            Self::Arm32
        } else if head.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else {
            Self::Unknown
        }
    }

    /// Returns what to call it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Arm64 => "a kernel for 64-bit ARM",
            Self::Arm32 => "a kernel for 32-bit ARM",
            Self::Gzip => "compressed with gzip",
            Self::Unknown => "not a kernel for ARM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_by_their_magic() {
        let with = |at: usize, magic: &[u8]| {
            let mut head = [0; HEAD];
            head[at..at + magic.len()].copy_from_slice(magic);
            KernelImage::of(&head)
        };
        assert_eq!(with(56, b"ARMd"), KernelImage::Arm64);
        assert_eq!(with(36, &[0x18, 0x28, 0x6f, 0x01]), KernelImage::Arm32);
        assert_eq!(with(0, &[0x1f, 0x8b]), KernelImage::Gzip);
        assert_eq!(KernelImage::of(b"MZ"), KernelImage::Unknown);
    }
}
