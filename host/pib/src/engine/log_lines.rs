//! Turns what programs print, and the instructions that start them, into lines of bounded length, fit for a terminal.

use std::collections::VecDeque;

use pib_event::Mask;

/// The longest line that is passed on whole; a longer one is split.
const MAX_LINE: usize = 4096;
/// The longest instruction that is shown.
const MAX_INSTRUCTION: usize = 200;
/// How many lines of a step are kept for the error message.
const TAIL: usize = 40;

/// Collects the output of one step. Memory is bounded whatever the step prints.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    tail: VecDeque<String>,
}

impl Lines {
    /// Takes output as it comes; calls `emit` for every line that is complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], mask: &Mask, mut emit: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.partial.len();
            let piece = &bytes[..bytes.len().min(room)];
            if let Some(end) = piece.iter().position(|&byte| byte == b'\n') {
                self.partial.extend_from_slice(&piece[..end]);
                bytes = &bytes[end + 1..];
            } else {
                self.partial.extend_from_slice(piece);
                bytes = &bytes[piece.len()..];
                if self.partial.len() < MAX_LINE {
                    return;
                }
                // What may become a secret is not split: neither half would be recognised.
                let held = mask.begun(&self.partial, MAX_LINE);
                let rest = self.partial.split_off(MAX_LINE - held);
                self.line(mask, &mut emit);
                self.partial = rest;
                continue;
            }
            self.line(mask, &mut emit);
        }
    }

    /// Emits what is left after the last line break.
    pub(super) fn finish(&mut self, mask: &Mask, mut emit: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.line(mask, &mut emit);
        }
    }

    /// Returns the last lines.
    pub(super) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    fn line(&mut self, mask: &Mask, emit: &mut impl FnMut(&str)) {
        // A secret may hold what a clean line has not, such as tabs; and a clean line may have a secret put together.
        let hidden = mask.apply(String::from_utf8_lossy(&self.partial).into_owned());
        let line = mask.apply(clean(hidden.as_bytes()));
        self.partial.clear();
        emit(&line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

/// Returns a line as a terminal would show it in the end: what a carriage return overwrote is dropped, and so
/// are control characters and escape sequences, since they could redraw the screen of whoever reads the log.
pub(super) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    let text = text.rsplit('\r').next().unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Returns an instruction on one line, not too long.
pub(super) fn shorten(instruction: &str) -> String {
    // Mounts are longer than the instruction; those of native tools and packages are pib's own.
    let own = |word: &str| word == "\\" || word.starts_with("--mount=");
    let words: Vec<&str> = instruction.split_whitespace().filter(|word| !own(word)).collect();
    let line = clean(words.join(" ").as_bytes());
    if line.chars().count() <= MAX_INSTRUCTION {
        return line;
    }
    line.chars().take(MAX_INSTRUCTION - 1).chain(['…']).collect()
}

fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        // A control sequence ends with a byte from `@` to `~`.
        Some('[') => _ = chars.by_ref().find(|c| ('@'..='~').contains(c)),
        // An operating system command ends with BEL or ESC \.
        Some(']') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(pieces: &[&[u8]], mask: &Mask) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece, mask, |line| out.push(line.to_owned()));
        }
        lines.finish(mask, |line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn a_secret_is_hidden_in_whatever_form_it_is_printed() {
        let mut state = 1_u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'A' + (state >> 24) as u8 % 26)
        };
        let long: String = (0..8000).map(|_| letter()).collect();
        for secret in [
            "wifi\tHunter2Hunter2",
            "[net]\n\tpsk\t= Hunter2Hunter2\n",
            "a\u{1b}[1mHunter2",
            "Hunter2\rHunter22",
            &long,
        ] {
            let mask = Mask::default();
            mask.hide(secret.as_bytes());
            for size in [1, 7, 4095, 4096, 10_000] {
                let text = format!("it is {secret}\n");
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
                let shown = collect(&pieces, &mask).concat();
                let left = |part: &str| part.len() > 8 && shown.contains(part);
                assert!(!shown.contains("Hunter2"), "{size}: {shown}");
                assert!(
                    !secret.as_bytes().windows(20).any(|part| left(std::str::from_utf8(part).unwrap())),
                    "{size}: {shown}"
                );
            }
        }
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        assert_eq!(collect(&[b"a", b"b\nc\n", b"\nd"], &Mask::default()), ["ab", "c", "", "d"]);
    }

    #[test]
    fn endless_and_binary_output_is_bounded_and_harmless() {
        let long = vec![b'x'; 3 * MAX_LINE + 1];
        let lines = collect(&[&long], &Mask::default());
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, MAX_LINE, 1]);
        assert_eq!(clean(b"10%\r50%\r100%\r"), "100%");
        assert_eq!(clean(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\xff\x00x\ty"), "red \u{fffd}x y");
        let mut lines = Lines::default();
        for number in 0..1000 {
            lines.push(format!("{number}\n").as_bytes(), &Mask::default(), |_| ());
        }
        assert_eq!(lines.tail().len(), TAIL);
        assert_eq!(lines.tail().last().unwrap(), "999");
    }

    #[test]
    fn secrets_are_masked_wherever_they_are_split() {
        let mask = Mask::default();
        mask.hide(b"hunter22\nabc\n");
        mask.hide(b"hunter2");
        assert_eq!(collect(&[b"pw=hunt", b"er22 hunter2 abc\n"], &mask), ["pw=*** *** abc"]);
        assert_eq!(collect(&[b"pw=hun\x1b[0mter2\n"], &mask), ["pw=***"]);
        for start in MAX_LINE - 9..=MAX_LINE {
            let text = format!("{}hunter2 and more\n", "x".repeat(start));
            let lines = collect(&[text.as_bytes()], &mask);
            assert_eq!(lines.concat(), format!("{}*** and more", "x".repeat(start)));
            assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
        }
    }

    #[test]
    fn instructions_fit_on_a_line() {
        assert_eq!(shorten("RUN a \\\n   && b"), "RUN a && b");
        assert_eq!(shorten(&"ü".repeat(300)).chars().count(), MAX_INSTRUCTION);
    }
}
