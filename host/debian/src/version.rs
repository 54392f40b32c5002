//! Compares Debian package versions, as Debian's policy manual (section 5.6.12) defines.

use std::cmp::Ordering;

/// Returns the order of two versions.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (Parts::of(left), Parts::of(right));
    (left.epoch.cmp(&right.epoch))
        .then_with(|| compare_part(left.upstream, right.upstream))
        .then_with(|| compare_part(left.revision, right.revision))
}

/// Returns whether `version` satisfies the relation `operator wanted`; an unknown operator satisfies nothing.
pub(super) fn satisfies(version: &str, operator: &str, wanted: &str) -> bool {
    let order = compare(version, wanted);
    match operator {
        "<<" => order.is_lt(),
        "<=" | "<" => order.is_le(),
        "=" => order.is_eq(),
        ">=" | ">" => order.is_ge(),
        ">>" => order.is_gt(),
        _ => false,
    }
}

struct Parts<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = match version.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, version),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream, revision }
    }
}

/// Compares by turns a run of other characters and a run of digits.
fn compare_part(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = split_run(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split_run(right, |byte| !byte.is_ascii_digit());
        let order = compare_text(left_text, right_text);
        if order.is_ne() {
            return order;
        }
        let (left_digits, left_rest) = split_run(left_rest, |byte| byte.is_ascii_digit());
        let (right_digits, right_rest) = split_run(right_rest, |byte| byte.is_ascii_digit());
        let order = compare_digits(left_digits, right_digits);
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split_run(text: &str, belongs: impl Fn(&u8) -> bool) -> (&str, &str) {
    // The runs end at ASCII digits, so that the index is always a character boundary.
    let end = text.bytes().position(|byte| !belongs(&byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// `~` sorts before the end, the end before letters, letters before everything else.
fn compare_text(left: &str, right: &str) -> Ordering {
    let rank = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    };
    let (mut left, mut right) = (left.bytes(), right.bytes());
    loop {
        let (a, b) = (left.next(), right.next());
        let order = rank(a).cmp(&rank(b));
        if order.is_ne() || (a.is_none() && b.is_none()) {
            return order;
        }
    }
}

/// Compares numbers of any length.
fn compare_digits(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_the_policy_says() {
        let sorted = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1-1",
            "1.0",
            "1.0-0.1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0a",
            "1.0+x",
            "1.00001",
            "1.2",
            "1.10",
            "1.10.1-1-1",
            "2025b",
            "1:0",
            "2:0.1",
        ];
        for (index, left) in sorted.iter().enumerate() {
            assert_eq!(compare(left, left), Ordering::Equal);
            for right in &sorted[index + 1..] {
                assert_eq!(compare(left, right), Ordering::Less, "{left} {right}");
                assert_eq!(compare(right, left), Ordering::Greater, "{right} {left}");
            }
        }
        assert_eq!(compare("1.0", "0:1.0-0"), Ordering::Equal);
        assert_eq!(compare("1.02", "1.2"), Ordering::Equal);
    }

    #[test]
    fn relations_compare() {
        assert!(satisfies("2.41-12", ">=", "2.38"));
        assert!(!satisfies("2.41-12", "<<", "2.38"));
        assert!(satisfies("1.0", "=", "1.0") && !satisfies("1.0", ">>", "1.0"));
        assert!(!satisfies("1.0", "~=", "1.0"));
    }
}
