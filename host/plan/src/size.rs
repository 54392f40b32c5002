//! Numbers of bytes as people write them: `64MiB`, `4GiB`, `512k`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Says that a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number with a unit such as B, KiB, MiB or GiB")]
pub struct SizeError(pub String);

/// Returns a number of bytes as people say it, rounded down to a tenth: `812 B`, `4.2 MiB`.
pub fn rounded(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let step = ((u64::BITS - 1 - bytes.leading_zeros()) / 10).min(4);
    // One digit after the point, in whole numbers: bytes are many, and a float would not hold them.
    let tenths = (u128::from(bytes) * 10) >> (10 * step);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[step as usize - 1])
}

/// Units are binary whichever way they are spelt: images are laid out in powers of two.
const UNITS: [(&str, u32); 4] = [("k", 10), ("m", 20), ("g", 30), ("t", 40)];

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let fail = || SizeError(text.chars().take(40).collect());
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let number: u64 = digits.parse().map_err(|_| fail())?;
        let unit = unit.trim().to_ascii_lowercase();
        let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
        if unit.is_empty() {
            return Ok(Self(number));
        }
        let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fail)?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(fail)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().rev().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift));
        match exact {
            Some((unit, shift)) => write!(f, "{}{}", self.0 >> shift, unit_name(unit)),
            None if self.0 < 1 << 20 => write!(f, "{}B", self.0),
            None => write!(f, "{:.1}MiB", self.0 as f64 / f64::from(1 << 20)),
        }
    }
}

fn unit_name(unit: &str) -> String {
    // The binary prefix of kilo is written with a capital K in the unit's name.
    format!("{}iB", unit.to_uppercase())
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in
            [("0", 0), ("12", 12), ("12B", 12), ("1k", 1024), ("3MiB", 3 << 20), ("2 GB", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "MiB", "1.5MiB", "-1", "1XiB", "99999999999999T", "1 2"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(512 << 20).to_string(), "512MiB");
        assert_eq!(ByteSize(1000).to_string(), "1000B");
    }

    #[test]
    fn rounded_sizes_read_well() {
        let sizes = [0, 1023, 1024, 1_048_575, 5_242_880, 3 << 30, u64::MAX].map(rounded);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1023.9 KiB", "5.0 MiB", "3.0 GiB", "16777215.9 TiB"]);
    }
}
