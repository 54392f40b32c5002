//! Hides secrets in everything that is shown or logged.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use pib_plan::redaction::without_logins;

use super::{Event, Reporter};

/// The shortest text that is hidden. A shorter one would blot out half of the output, and tell more than it hides.
const SHORTEST: usize = 4;
/// A longer text is hidden piece by piece, so that it is found although long lines of output are split.
const PIECE: usize = 256;
/// What stands in the place of a hidden text.
const STARS: &str = "***";

/// The texts that must not be shown. Clones share one list: what is added later is hidden by all of them.
#[derive(Clone, Default)]
pub struct Mask(Arc<RwLock<Vec<String>>>);

impl Mask {
    /// Hides every line of a secret that is not very short.
    pub fn hide(&self, secret: &[u8]) {
        let text = String::from_utf8_lossy(secret);
        let mut texts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST) {
            texts.extend(pieces(line));
        }
        texts.sort();
        texts.dedup();
    }

    /// Returns the text with every hidden text in it replaced by `***`. Hidden texts that overlap are replaced as one.
    #[must_use]
    pub fn apply(&self, text: String) -> String {
        let mut hidden: Vec<Range<usize>> = Vec::new();
        for secret in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut from = 0;
            while let Some(found) = text[from..].find(secret.as_str()) {
                let start = from + found;
                hidden.push(start..start + secret.len());
                // The next one may begin within this one.
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if hidden.is_empty() {
            return text;
        }
        hidden.sort_by_key(|range| range.start);
        let (mut shown, mut end) = (String::with_capacity(text.len()), 0);
        for range in hidden {
            if range.start >= end {
                shown.push_str(&text[end..range.start]);
                shown.push_str(STARS);
            }
            end = end.max(range.end);
        }
        shown.push_str(&text[end..]);
        shown
    }

    /// Returns how many bytes at the end of `bytes` may be the beginning of a hidden text, less than `limit`.
    ///
    /// Whoever splits a line holds them back for the next piece; else neither piece would have the whole text.
    pub fn begun(&self, bytes: &[u8], limit: usize) -> usize {
        let texts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let begun = |hidden: &String| {
            let longest = (hidden.len() - 1).min(bytes.len());
            (1..=longest).rev().find(|&length| hidden.as_bytes().starts_with(&bytes[bytes.len() - length..]))
        };
        texts.iter().filter_map(begun).filter(|&length| length < limit).max().unwrap_or(0)
    }
}

/// Cuts a long line into pieces of about the same length, so that none is too short to be hidden.
fn pieces(line: &str) -> Vec<String> {
    let count = (line.len() / PIECE).max(1);
    let bound = |number: usize| {
        let mut at = (line.len() * number) / count;
        while !line.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    (0..count).map(|number| line[bound(number)..bound(number + 1)].to_owned()).collect()
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

/// A reporter that hides secrets in what it passes on.
pub struct Masked {
    mask: Mask,
    inner: Arc<dyn Reporter>,
}

impl Masked {
    /// Returns a reporter in front of `inner`.
    pub fn new(mask: Mask, inner: Arc<dyn Reporter>) -> Self {
        Self { mask, inner }
    }
}

impl Reporter for Masked {
    fn report(&self, event: Event) {
        self.inner.report(event.map_texts(|text| without_logins(self.mask.apply(text))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{Difference, ReporterExt as _};

    #[test]
    fn every_line_of_a_secret_is_hidden() {
        let mask = Mask::default();
        let earlier = mask.clone();
        mask.hide(b"hunter2");
        mask.hide(b"hunter22\nabc\n  second line \n");
        let text = "hunter22 hunter2 abc second line".to_owned();
        assert_eq!(earlier.apply(text), "*** *** abc ***");
        mask.hide(b"abab");
        assert_eq!(earlier.apply("xabababx".to_owned()), "x***x");
        assert!(!format!("{mask:?}").contains("hunter"));
    }

    #[test]
    fn a_long_secret_is_hidden_wherever_it_is_cut() {
        let secret: String = (0..700).map(|number| char::from(b'a' + (number * number % 23) as u8)).collect();
        let mask = Mask::default();
        mask.hide(secret.as_bytes());
        let shown = mask.apply(format!("key={secret}."));
        assert!(!shown.contains(&secret[690..]) && !shown.contains(&secret[..10]), "{shown}");
        let umlauts = "ü".repeat(600);
        mask.hide(umlauts.as_bytes());
        assert!(!mask.apply(umlauts).contains('ü'));
    }

    #[test]
    fn what_may_become_a_secret_is_known() {
        let mask = Mask::default();
        mask.hide(b"hunter2");
        assert_eq!(mask.begun(b"pw=hunt", 100), 4);
        assert_eq!(mask.begun(b"pw=hunter2", 100), 0);
        assert_eq!(mask.begun(b"pw=", 100), 0);
        assert_eq!(mask.begun(b"hunt", 4), 0);
        assert_eq!(Mask::default().begun(b"hunt", 100), 0);
    }

    #[test]
    fn events_are_masked_on_their_way() {
        struct Keep(Mutex<Vec<Event>>);
        impl Reporter for Keep {
            fn report(&self, event: Event) {
                self.0.lock().unwrap().push(event);
            }
        }
        let (mask, keep) = (Mask::default(), Arc::new(Keep(Mutex::default())));
        mask.hide(b"hunter2");
        let masked = Masked::new(mask, keep.clone());
        masked.report(Event::Log { id: "a".into(), line: "is hunter2".into() });
        masked.warn("hunter2!");
        masked.report(Event::Error {
            code: None,
            message: "hunter2".into(),
            help: Some("hunter2".into()),
            causes: vec!["hunter2".into()],
            places: vec![],
            problems: vec![],
            differences: vec![Difference {
                name: "hunter2".into(),
                aspects: vec!["content".into()],
                stage: None,
                before: Some("hunter2".into()),
                after: None,
                summary: None,
            }],
            exit_code: 6,
            logs: vec!["hunter2.log".to_owned()],
        });
        let shown = format!("{:?}", keep.0.lock().unwrap());
        assert_eq!((shown.matches("***").count(), shown.matches("hunter2").count()), (7, 1), "{shown}");
    }
}
