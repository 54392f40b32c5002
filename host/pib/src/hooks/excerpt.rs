//! A stranger's words, made fit for a terminal.

/// Returns the text without control characters but line breaks, cut to about `most` bytes.
pub(super) fn paragraph(text: &str, most: usize) -> String {
    clean(text, most, |c| c == '\n')
}

/// Returns the text as one line, cut to about `most` bytes.
pub(super) fn line(text: &str, most: usize) -> String {
    clean(text, most, |_| false)
}

fn clean(text: &str, most: usize, stays: impl Fn(char) -> bool) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let swap = |c: char| match c {
        c if stays(c) => c,
        '\t' | '\n' => ' ',
        // Also what would make a text read in another order than it is written.
        c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '\u{fffd}',
        c => c,
    };
    let mut clean: String = text.get(..end).unwrap_or_default().trim_end().chars().map(swap).collect();
    if end < text.len() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_safe_from_it() {
        assert_eq!(line("a\u{1b}[31mb\nc\td\n", 100), "a\u{fffd}[31mb c d");
        assert_eq!(paragraph("a\nb\r\u{202e}", 100), "a\nb\u{fffd}\u{fffd}");
        assert_eq!(line("äöü", 3), "ä…");
        assert_eq!(line("", 3), "");
    }
}
