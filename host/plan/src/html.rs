//! Strangers' texts in HTML. The functions here are the only way by which they come into a page.

/// Returns a text as HTML shows it, in an element or in an attribute in double quotes. What would not be seen, or would turn
/// round what is beside it, is shown as a sign.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_unseen(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Returns a text of several lines as HTML shows it where white space counts, as in `<pre>`.
pub fn escape_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| escape(&line.replace('\t', "    "))).collect();
    lines.join("\n")
}

/// Returns a text, still to be escaped, in which what would not be seen is shown as a sign.
pub fn visible(text: &str) -> String {
    let shown = |c: char| if is_unseen(c) && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Returns whether a character is a control, or one that decides the direction or the width of others.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_stranger_becomes_markup() {
        let all: String = (0..0x2fff).filter_map(char::from_u32).collect();
        for text in ["</title><script>", "\" onload='x'", "&lt;", "\u{202e}\u{7}\0\n", &all] {
            let shown = escape(text);
            assert!(
                !shown.contains(['<', '>', '"', '\'']) && !shown.chars().any(char::is_control),
                "{text:?}"
            );
            let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            let rest = known.iter().fold(shown, |rest, entity| rest.replace(entity, ""));
            assert!(!rest.contains('&'), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_seen_is_shown() {
        assert_eq!(visible("a\n\t<b>\u{202e}\r"), "a\n\t<b>\u{fffd}\u{fffd}");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(escape_lines("a\r\n\t<b>\u{202e}\n"), "a\n    &lt;b&gt;\u{fffd}");
    }
}
