//! Sets of a stage's usable versions, as the solver computes with them.

use std::fmt;

use pubgrub::{Ranges, VersionSet};

/// A set of positions in the ascending list of a stage's usable versions.
///
/// A requirement becomes a set by asking `VersionReq::matches` of every version in the list, so pre-releases mean
/// here exactly what they mean there; no set of intervals over all possible versions could say that. Every interval
/// is half-open, so that equal sets are equal values, as the solver demands.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Picks(Ranges<u32>);

impl Picks {
    /// Returns the set of those positions below `count` that `test` accepts.
    pub(super) fn matching(count: u32, test: impl Fn(u32) -> bool) -> Self {
        let mut ranges = Ranges::empty();
        let mut start = None;
        for position in 0..count {
            match (start, test(position)) {
                (None, true) => start = Some(position),
                (Some(first), false) => {
                    ranges = ranges.union(&Ranges::between(first, position));
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(first) = start {
            ranges = ranges.union(&Ranges::between(first, count));
        }
        Self(ranges)
    }

    /// Returns how many positions below `count` are in the set.
    pub(super) fn count(&self, count: u32) -> u32 {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let segments = self.0.iter().map(|(low, high)| {
            let low = match low {
                Included(low) => *low,
                Excluded(low) => low.saturating_add(1),
                Unbounded => 0,
            };
            let high = match high {
                Included(high) => high.saturating_add(1),
                Excluded(high) => *high,
                Unbounded => count,
            };
            high.min(count).saturating_sub(low)
        });
        segments.sum()
    }

    /// Returns the highest position below `count` that is in the set.
    pub(super) fn highest(&self, count: u32) -> Option<u32> {
        (0..count).rev().find(|position| self.0.contains(position))
    }
}

impl fmt::Display for Picks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Picks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl VersionSet for Picks {
    type V = u32;

    fn empty() -> Self {
        Self(Ranges::empty())
    }

    fn full() -> Self {
        Self(Ranges::full())
    }

    fn singleton(position: u32) -> Self {
        Self(Ranges::between(position, position.saturating_add(1)))
    }

    fn complement(&self) -> Self {
        Self(self.0.complement())
    }

    fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0))
    }

    fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0))
    }

    fn contains(&self, position: &u32) -> bool {
        self.0.contains(position)
    }

    fn is_disjoint(&self, other: &Self) -> bool {
        self.0.is_disjoint(&other.0)
    }

    fn subset_of(&self, other: &Self) -> bool {
        self.0.subset_of(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COUNT: u32 = 24;

    fn set(bits: u32) -> Picks {
        Picks::matching(COUNT, |position| bits >> position & 1 == 1)
    }

    proptest! {
        #[test]
        fn sets_behave_as_bits(a in 0..1_u32 << COUNT, b in 0..1_u32 << COUNT) {
            let (left, right) = (set(a), set(b));
            for position in 0..COUNT {
                prop_assert_eq!(left.contains(&position), a >> position & 1 == 1);
            }
            prop_assert_eq!(left.intersection(&right), set(a & b));
            prop_assert_eq!(left.union(&right), set(a | b));
            prop_assert_eq!(left.complement().intersection(&right), set(!a & b));
            prop_assert_eq!(left.complement().complement(), left.clone());
            prop_assert_eq!(left.is_disjoint(&right), a & b == 0);
            prop_assert_eq!(left.subset_of(&right), a & b == a);
            prop_assert_eq!(left.count(COUNT), a.count_ones());
            prop_assert_eq!(left.complement().count(COUNT), COUNT - a.count_ones());
            prop_assert_eq!(left.highest(COUNT), a.checked_ilog2());
        }
    }
}
