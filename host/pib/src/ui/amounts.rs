//! Durations and sizes as people say them.

/// Returns a duration as people say it: `0.4s`, `12s`, `3m 05s`.
pub(super) fn elapsed(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        _ => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// Returns a number of bytes as people say it: `812 B`, `4.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let step = ((u64::BITS - 1 - bytes.leading_zeros()) / 10).min(4);
    // One digit after the point, in whole numbers: bytes are many, and a float would not hold them.
    let tenths = (u128::from(bytes) * 10) >> (10 * step);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[step as usize - 1])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(elapsed(Duration::from_millis(420)), "0.4s");
        assert_eq!(elapsed(Duration::from_secs(185)), "3m 05s");
        let sizes = [0, 1023, 1024, 1_048_575, 5_242_880, 3 << 30, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1023.9 KiB", "5.0 MiB", "3.0 GiB", "16777215.9 TiB"]);
    }
}
