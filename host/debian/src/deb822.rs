//! Reads Debian's control syntax: paragraphs of `Name: value` fields, continued by indented lines.

use std::io::{self, BufRead};

/// The longest line that is accepted, in bytes; the longest in Debian's archive is a tenth of this.
const MAX_LINE: usize = 1 << 20;

/// Calls `field` with each field's name and value, and `end` after each paragraph.
///
/// The value's continuation lines are joined with `\n`, without their indentation. Lines that start with `#`
/// are comments.
///
/// # Errors
/// When reading fails, a line is too long, is not UTF-8, or is neither field, continuation nor comment.
pub(super) fn read(
    mut input: impl BufRead,
    mut on_field: impl FnMut(&str, &str),
    mut on_end: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let (mut line, mut value) = (Vec::new(), String::new());
    let mut name: Option<String> = None;
    let mut in_paragraph = false;
    loop {
        line.clear();
        let length = io::Read::take(&mut input, MAX_LINE as u64).read_until(b'\n', &mut line)?;
        if length == MAX_LINE {
            return Err(invalid("a line is too long"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| invalid("a line is not UTF-8"))?.trim_end();
        if text.starts_with('#') && length > 0 {
            continue;
        }
        if let Some(more) =
            line.first().filter(|byte| matches!(byte, b' ' | b'\t')).map(|_| text.trim_start())
            && !text.is_empty()
        {
            if name.is_none() {
                return Err(invalid("a continuation line follows no field"));
            }
            value.push('\n');
            value.push_str(more);
            continue;
        }
        if let Some(name) = name.take() {
            on_field(&name, &value);
        }
        if text.is_empty() {
            if std::mem::take(&mut in_paragraph) {
                on_end()?;
            }
            if length == 0 {
                return Ok(());
            }
            continue;
        }
        let (field, rest) = text.split_once(':').ok_or_else(|| invalid("a line has no `:`"))?;
        in_paragraph = true;
        name = Some(field.to_owned());
        value.clear();
        value.push_str(rest.trim());
    }
}

/// Returns every paragraph of `text` as a list of fields.
///
/// # Errors
/// As [`read`].
pub(super) fn paragraphs(text: &str) -> io::Result<Vec<Vec<(String, String)>>> {
    let current = std::cell::RefCell::new(Vec::new());
    let mut all = Vec::new();
    let take = |name: &str, value: &str| current.borrow_mut().push((name.to_owned(), value.to_owned()));
    read(text.as_bytes(), take, || {
        all.push(std::mem::take(&mut *current.borrow_mut()));
        Ok(())
    })?;
    Ok(all)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_fields_and_continuations_are_told_apart() {
        let text = "# a comment\nA: 1\nB:\n one\n  two\n\n\n \nA: 2 \n# inside\nC: x:y";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            paragraphs(text).unwrap(),
            [vec![pair("A", "1"), pair("B", "\none\ntwo")], vec![pair("A", "2"), pair("C", "x:y")]]
        );
        assert!(paragraphs("").unwrap().is_empty());
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["no colon\n", " continuation first\n"] {
            assert_eq!(paragraphs(text).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
        }
        let endless = vec![b'a'; MAX_LINE + 10];
        assert!(read(&endless[..], |_, _| (), || Ok(())).is_err());
        assert!(read(&b"A: \xff\n"[..], |_, _| (), || Ok(())).is_err());
    }
}
