//! The dates of Debian's archive, as seconds since 1970.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a date such as `Sat, 21 Nov 2026 09:15:44 UTC`.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (_weekday, rest) = text.split_once(", ")?;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let &[day, month, year, clock, zone] = words.as_slice() else { return None };
    if !matches!(zone, "UTC" | "GMT" | "+0000") {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let in_range = (1970..=9999).contains(&year) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    (in_range && second <= 60).then(|| days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second)
}

/// Returns the date as `2026-11-21`.
pub(super) fn print(seconds: u64) -> String {
    let mut left = seconds / 86400;
    let mut year = 1970;
    while left >= days(year + 1, 1, 1) - days(year, 1, 1) {
        left -= days(year + 1, 1, 1) - days(year, 1, 1);
        year += 1;
    }
    let start =
        |month| if month > 12 { days(year + 1, 1, 1) } else { days(year, month, 1) } - days(year, 1, 1);
    let month = (1..=12).rev().find(|month| start(*month) <= left).unwrap_or(1);
    format!("{year:04}-{month:02}-{:02}", left - start(month) + 1)
}

/// Returns the moment as `20261121T091544Z`.
pub(super) fn stamp(seconds: u64) -> String {
    let clock = seconds % 86400;
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{}T{hour:02}{minute:02}{second:02}Z", print(seconds).replace('-', ""))
}

/// Returns the days from 1970-01-01 to the given day of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that the leap day comes last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let before = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    before - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_printed() {
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(parse("Tue, 29 Feb 2000 12:00:00 UTC"), Some(951_825_600));
        assert_eq!(parse("Sat, 21 Nov 2026 09:15:44 UTC"), Some(1_795_252_544));
        assert_eq!(print(0), "1970-01-01");
        assert_eq!(print(951_825_600), "2000-02-29");
        assert_eq!(print(1_795_252_544), "2026-11-21");
        assert_eq!(print(1_798_761_599), "2026-12-31");
        assert_eq!(stamp(1_795_252_544), "20261121T091544Z");
        assert_eq!(stamp(0), "19700101T000000Z");
    }

    #[test]
    fn other_texts_are_no_dates() {
        for text in
            ["", "now", "Sat, 21 Nov 2026", "Sat, 21 Nov 2026 25:00:00 UTC", "Sat, 21 Nov 2026 09:15:44 CET"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
