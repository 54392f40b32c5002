//! The names of log files, their order and their number.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use pib_file::{Folder, Kind};

/// How often another name is tried, when several builds begin in the same second.
const TRIES: u32 = 1000;

/// Creates the log of an operation on `what`, and returns its name; the names of logs sort by time.
pub(super) fn create(folder: &Folder, now: SystemTime, what: &str) -> io::Result<(String, File)> {
    let start: String = time(now).chars().filter(|c| *c != '-' && *c != ':').collect();
    let start = start.replace(' ', "-");
    // A number is not used again after its log was removed: the newest log is the one with the greatest name.
    let used = folder.entries()?.into_iter().filter_map(|entry| {
        let name = entry.name.into_string().ok()?;
        name.strip_prefix(&start)?.strip_prefix('-')?.split('-').next()?.parse::<u32>().ok()
    });
    let mut number = used.max().map_or(0, |number| number.saturating_add(1));
    for _ in 0..TRIES {
        let name = format!("{start}-{number:03}-{what}.log");
        match folder.create_new(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number = number.saturating_add(1),
            file => return Ok((name, file?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Returns a time as `2026-11-24 21:31:50`.
pub(super) fn time(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Returns the year, month and day that are `days` after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that a leap day is the last of its year, in cycles of 400 years.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (cycle * 400 + year, month, of_month)
}

/// Removes all logs but the newest.
pub(super) fn keep_newest(folder: &Folder, keep: usize) -> io::Result<()> {
    let entries = folder.entries()?.into_iter().filter(|entry| entry.kind == Kind::RegularFile);
    // The folder gives them sorted.
    let names: Vec<String> =
        entries.filter_map(|entry| entry.name.into_string().ok()).filter(|name| is_log(name)).collect();
    for name in &names[..names.len().saturating_sub(keep)] {
        match folder.remove_file(name) {
            // Another pib may have been quicker.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns whether a file is called as logs are: `20261124-213150-000-router-rpi4-arm64.log`.
fn is_log(name: &str) -> bool {
    let numbers: Vec<&str> = name.splitn(4, '-').take(3).collect();
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    name.ends_with(".log") && numbers.iter().all(digits) && numbers.iter().map(|n| n.len()).eq([8, 6, 3])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_people_do() {
        let at = |seconds| time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00");
        assert_eq!(at(951_825_599), "2000-02-29 11:59:59");
        assert_eq!(at(1_795_252_544), "2026-11-21 09:15:44");
        assert_eq!(at(4_102_444_799), "2099-12-31 23:59:59");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00");
    }

    #[test]
    fn logs_are_told_from_other_files() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_252_544);
        for number in ["000", "001"] {
            let (name, _) = create(&folder, at, "router").unwrap();
            assert_eq!(name, format!("20261121-091544-{number}-router.log"));
            assert!(is_log(&name));
        }
        for other in ["latest.log", "a.log", "20261121-091544-router.log", "20261121-091544-000-router.txt"] {
            assert!(!is_log(other), "{other}");
        }
    }
}
