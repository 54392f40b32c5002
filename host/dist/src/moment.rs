//! Moments, as the formats of a release write them.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    year: u64,
    month: u64,
    day: u64,
    weekday: u64,
    second: u64,
}

impl Moment {
    /// Returns the moment that is `epoch` seconds after the start of 1970.
    pub(crate) fn of(epoch: u64) -> Self {
        let (days, second) = (epoch / 86_400, epoch % 86_400);
        // Years are counted from March, so that the leap day is the last of a year; 719,468 days are before 1970.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        Self { year, month, day, weekday: days % 7, second }
    }

    fn clock(self) -> String {
        format!("{:02}:{:02}:{:02}", self.second / 3600, self.second / 60 % 60, self.second % 60)
    }

    /// Returns the moment as in `2026-11-29T13:00:00Z`.
    pub(crate) fn rfc3339(self) -> String {
        format!("{:04}-{:02}-{:02}T{}Z", self.year, self.month, self.day, self.clock())
    }

    /// Returns the moment as in `Sun, 29 Nov 2026 13:00:00 +0000`.
    pub(crate) fn rfc2822(self) -> String {
        let weekday = DAYS.get(usize::try_from(self.weekday).unwrap_or_default()).unwrap_or(&"");
        let month = MONTHS.get(usize::try_from(self.month - 1).unwrap_or_default()).unwrap_or(&"");
        format!("{weekday}, {:02} {month} {:04} {} +0000", self.day, self.year, self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (epoch, rfc3339, rfc2822) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_795_959_549, "2026-11-29T13:39:09Z", "Sun, 29 Nov 2026 13:39:09 +0000"),
            (4_107_542_399, "2100-02-28T23:59:59Z", "Sun, 28 Feb 2100 23:59:59 +0000"),
        ] {
            assert_eq!(Moment::of(epoch).rfc3339(), rfc3339);
            assert_eq!(Moment::of(epoch).rfc2822(), rfc2822);
        }
    }
}
