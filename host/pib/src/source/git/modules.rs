//! `.gitmodules`: where a repository's submodules come from.

/// The largest `.gitmodules` that is read, in bytes.
pub(super) const MAX_MODULES: usize = 256 << 10;

/// Returns the address that `text` gives for the submodule at `path`.
///
/// It is read here and not as a configuration file: those may include others, and a stranger's must not.
pub(super) fn url_of(text: &str, path: &str) -> Option<String> {
    let mut sections: Vec<(Option<String>, Option<String>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            sections.push((None, None));
        } else if let Some((key, value)) = line.split_once('=')
            && let Some(section) = sections.last_mut()
        {
            let value = unquoted(value.trim());
            match key.trim().to_ascii_lowercase().as_str() {
                "path" => section.0 = Some(value),
                "url" => section.1 = Some(value),
                _ => {}
            }
        }
    }
    let wanted = |section: &&(Option<String>, Option<String>)| {
        section.0.as_deref().is_some_and(|own| own.trim_end_matches('/') == path)
    };
    sections.iter().find(wanted)?.1.clone()
}

/// Takes a value out of its quotes, or a comment off its end.
fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else {
        return value.split([';', '#']).next().unwrap_or_default().trim_end().to_owned();
    };
    let mut text = String::new();
    let mut rest = quoted.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => text.extend(rest.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_stands_beside_the_path() {
        let text = "# comment\n[submodule \"a\"]\n\tpath = libs/a\n\turl = ../a.git ; here\n\
                    [submodule \"b\"]\n\turl = \"https://example.org/b#c\"\n\tpath = \"libs/b\"\n";
        assert_eq!(url_of(text, "libs/a").as_deref(), Some("../a.git"));
        assert_eq!(url_of(text, "libs/b").as_deref(), Some("https://example.org/b#c"));
        assert_eq!(url_of(text, "libs"), None);
        assert_eq!(url_of("path = libs/a\nurl = x\n[", "libs/a"), None);
        assert_eq!(url_of("[include]\npath = /etc/passwd\n", "/etc/passwd"), None);
    }
}
