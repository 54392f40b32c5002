//! A moment of the calendar, to the microsecond, in UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Microseconds since 1970; written as `2026-11-28T03:50:00.123456Z` (RFC 3339), and without the fraction where that is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(u64);

/// The microseconds of a second.
const SECOND: u64 = 1_000_000;
/// The seconds of a day.
const DAY: u64 = 86_400;
/// The first moment of the year 10000, which RFC 3339 cannot write.
const END: u64 = 253_402_300_800 * SECOND;

/// Says that a text is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no moment such as 2026-11-28T03:50:00Z")]
pub struct MomentError;

impl Moment {
    /// Returns the moment so many microseconds after the start of 1970; the last of the year 9999 where it is later.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros.min(END - 1))
    }

    /// Returns the whole seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0 / SECOND
    }

    /// Returns the microseconds since 1970.
    pub fn micros(self) -> u64 {
        self.0
    }
}

impl TryFrom<String> for Moment {
    type Error = MomentError;

    fn try_from(text: String) -> Result<Self, MomentError> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds() / DAY);
        let clock = self.seconds() % DAY;
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.0 % SECOND {
            0 => f.write_str("Z"),
            fraction => write!(f, ".{fraction:06}Z"),
        }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(MomentError)
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if year < 1970 || !(1..=12).contains(&month) || day == 0 {
            return Err(MomentError);
        }
        let fraction = if text.get(19..20) == Some(".") { number(20, 26)? } else { 0 };
        let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        let found = Self(seconds * SECOND + fraction);
        // What is written otherwise than it is read is no moment: 31 February, the hour 24, a blank in the middle.
        if found.to_string() == text { Ok(found) } else { Err(MomentError) }
    }
}

/// Returns the days from 1970-01-01 to the given day of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that the leap day comes last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Returns the year, month and day that is so many days after 1970-01-01.
fn date(after: u64) -> (u64, u64, u64) {
    // A year has at most 366 days, and at least 365.
    let guess = 1970 + after / 366;
    let year = (guess..).take_while(|year| days(*year, 1, 1) <= after).last().unwrap_or(guess);
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= after).unwrap_or(1);
    (year, month, after - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_written_as_people_write_them() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_825_600 * SECOND, "2000-02-29T12:00:00Z"),
            (1_795_252_544 * SECOND + 20, "2026-11-21T09:15:44.000020Z"),
            (END - 1, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Moment::from_micros(micros).to_string(), text);
            assert_eq!(text.parse(), Ok(Moment(micros)));
        }
        assert_eq!(Moment::from_micros(u64::MAX), Moment(END - 1));
        assert_eq!(Moment(1_795_252_544 * SECOND + 20).seconds(), 1_795_252_544);
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-11-21 09:15:44Z",
            "2026-11-21T09:15:44",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-21T09:15:44+00",
            "2026-00-10T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "+026-11-21T09:15:44Z",
            "2026-11-21T09:15:44.Z",
            "2026-11-21T09:15:44.5Z",
            "2026-11-21T09:15:44.000000Z",
            "2026-11-21T09:15:44.1234567Z",
            "2026-11-21T09:15:44ZZ",
        ] {
            assert_eq!(text.parse::<Moment>(), Err(MomentError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(micros in 0..END) {
            let moment = Moment::from_micros(micros);
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,24}") {
            let _ = text.parse::<Moment>();
        }
    }
}
