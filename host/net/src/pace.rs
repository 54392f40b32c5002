//! Tells a transfer that goes on from one that only pretends to.

use std::time::{Duration, Instant};

/// Watches how fast bytes arrive: a server that sends one now and then is never silent, and never done.
#[derive(Debug)]
pub struct Pace {
    window: Duration,
    floor: u64,
    began: Instant,
    bytes: u64,
    slow: u32,
}

/// Says that bytes arrive too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow {
    /// The fewest bytes a second.
    pub floor: u64,
    /// For how many seconds there were fewer.
    pub seconds: u64,
}

/// How many windows in a row must be slow: this program may have been paused in one of them.
const IN_A_ROW: u32 = 2;

impl Pace {
    /// Begins to watch, for fewer than `floor` bytes a second in windows of this length.
    pub fn new(window: Duration, floor: u64) -> Self {
        Self { window, floor, began: Instant::now(), bytes: 0, slow: 0 }
    }

    /// Takes note of bytes that have arrived.
    ///
    /// # Errors
    /// When too few have arrived in the last two windows.
    pub fn arrived(&mut self, count: usize) -> Result<(), TooSlow> {
        self.arrived_at(count, Instant::now())
    }

    fn arrived_at(&mut self, count: usize, now: Instant) -> Result<(), TooSlow> {
        self.bytes = self.bytes.saturating_add(count as u64);
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < self.window {
            return Ok(());
        }
        let is_slow = (self.bytes as f64) < self.floor as f64 * elapsed.as_secs_f64();
        self.slow = if is_slow { self.slow + 1 } else { 0 };
        (self.began, self.bytes) = (now, 0);
        match self.slow < IN_A_ROW {
            true => Ok(()),
            false => Err(TooSlow { floor: self.floor, seconds: self.window.as_secs() * u64::from(IN_A_ROW) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns after how many seconds of such a transfer there is an error.
    fn ends(rate: impl Fn(u64) -> usize) -> Option<u64> {
        let mut pace = Pace::new(Duration::from_secs(30), 1000);
        let began = pace.began;
        (1..=600).find(|second| pace.arrived_at(rate(*second), began + Duration::from_secs(*second)).is_err())
    }

    #[test]
    fn only_what_stays_slow_is_too_slow() {
        assert_eq!(ends(|_| 1), Some(60));
        assert_eq!(ends(|_| 999), Some(60));
        assert_eq!(ends(|_| 1000), None);
        assert_eq!(ends(|second| if second < 100 { 5000 } else { 0 }), Some(180));
        // As for a program that was stopped for a minute.
        assert_eq!(ends(|second| if (31..=60).contains(&second) { 0 } else { 5000 }), None);
    }
}
