//! The one filter between strangers' texts and a terminal.
//!
//! A stage's description, a file's name, an engine's message, a line of a manifest: whoever wrote them decides about
//! every character. Control characters move the cursor, change colours and titles, and on some terminals run
//! commands; the characters that steer the direction of writing show a text in another order than it has; others
//! cannot be seen at all. None of them passes here, and no line is of any length.

/// The longest line that is shown, in characters.
const MAX_LINE: usize = 4_000;

/// Returns whether a character does something else than to be seen.
pub fn is_hidden(c: char) -> bool {
    c.is_control() || is_format(c)
}

/// Returns whether a character is none that a text shows: it steers the direction of writing, or takes no place.
fn is_format(c: char) -> bool {
    matches!(c,
        // Directions: marks, embeddings, overrides, isolates.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line breaks that only some programs see.
        | '\u{2028}' | '\u{2029}'
        // Without a width. The joiners U+200C and U+200D stay: several scripts need them.
        | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{3164}' | '\u{115f}' | '\u{1160}' | '\u{ffa0}'
        // Tags, and the private variants that can hide text.
        | '\u{e0000}'..='\u{e0fff}')
}

/// Returns a text with a sign in the place of each character that does something else than to be seen. Line breaks and
/// tabs stay; lines are cut.
pub fn visible(text: &str) -> String {
    let swap = |c: char| match c {
        '\n' | '\t' => c,
        c if is_hidden(c) => '\u{fffd}',
        c => c,
    };
    let text = text.replace("\r\n", "\n");
    cut(text.chars().map(swap).collect())
}

/// Returns a text on one line, with its words as they are: what somebody else wrote into one field makes no lines of its own.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns what a program prints without its colours and movements: they are left out, the rest is as in [`visible`].
pub fn harmless(text: &str) -> String {
    let plain = console::strip_ansi_codes(text);
    let swap = |c: char| match c {
        '\n' | '\t' => Some(c),
        c if c.is_control() => None,
        c if is_format(c) => Some('\u{fffd}'),
        c => Some(c),
    };
    cut(plain.chars().filter_map(swap).collect())
}

/// Returns the text with its long lines cut.
fn cut(text: String) -> String {
    // A line has no more characters than bytes.
    if text.split('\n').all(|line| line.len() <= MAX_LINE) {
        return text;
    }
    let shown = |line: &str| match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}… ({} bytes more)", &line[..end], line.len() - end),
        None => line.to_owned(),
    };
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// Returns a text of as many bytes, in which a sign of the same length stands for each character that does something
/// else than to be seen: places in it stay where they are.
pub fn visible_in_place(text: &str) -> String {
    let swap = |c: char| match (c, c.len_utf8()) {
        ('\n' | '\t', _) => c,
        (c, _) if !is_hidden(c) => c,
        (_, 1) => '?',
        (_, 2) => '·',
        (_, 3) => '\u{fffd}',
        _ => '\u{1fbc4}',
    };
    text.chars().map(swap).collect()
}

/// Returns a JSON document in which each such character is written as its number: the values stay the same.
pub fn json(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    let mut units = [0; 2];
    for c in document.chars() {
        // Between its values, a document has no other control characters than these.
        if matches!(c, '\n' | '\r' | '\t') || !is_hidden(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut units) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;t\u{7}\u{1b}[31mb\u{9b}2J\u{7f}\u{202e}c\u{200b}\u{e0041}\rd";

    #[test]
    fn nothing_hidden_passes_any_filter() {
        let passed = |text: &str| text.chars().any(|c| is_hidden(c) && !matches!(c, '\n' | '\t'));
        for text in [visible(HOSTILE), harmless(HOSTILE), visible_in_place(HOSTILE), json(HOSTILE)] {
            assert!(!passed(&text.replace('\r', "")), "{text:?}");
        }
        // Every character that Unicode has.
        let all: String = (0..=char::MAX as u32).filter_map(char::from_u32).collect();
        for text in [visible(&all), harmless(&all), visible_in_place(&all)] {
            assert!(!passed(&text));
        }
        assert_eq!(visible_in_place(&all).len(), all.len());
    }

    #[test]
    fn what_can_be_seen_stays() {
        for text in ["a\tb\nc", "äöü 漢字 नमस्ते 👨\u{200d}👩", "ok  fine", ""] {
            assert_eq!(
                (visible(text), harmless(text), json(text)),
                (text.to_owned(), text.to_owned(), text.to_owned())
            );
        }
        assert_eq!(visible("a\r\nb\rc"), "a\nb\u{fffd}c");
        assert_eq!(harmless("a\x1b[31mb\x1b[0m\rc\u{7}\u{9b}2J\nd"), "abc\nd");
    }

    #[test]
    fn a_json_document_keeps_its_values() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "ä"] });
        let document = json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&document).unwrap(), value);
        assert!(
            !document.contains('\u{1b}') && !document.contains('\u{202e}') && document.contains("\\u202e")
        );
    }

    #[test]
    fn long_lines_are_cut_and_said_to_be() {
        let long = format!("first\n{}\nlast", "ä".repeat(5_000));
        let shown = visible(&long);
        assert!(
            shown.starts_with("first\nää") && shown.ends_with("… (2000 bytes more)\nlast"),
            "{}",
            &shown[shown.len() - 60..]
        );
    }
}
