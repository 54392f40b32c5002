//! The links of pages that lie at the checkout's root, and elsewhere in a package.

/// Returns a page of the checkout's root with links that lead on where a package has it: into the package's book, or else to the
/// repository, at the address `repository`.
pub fn relinked(page: &str, repository: &str) -> String {
    let mut pieces = page.split("](");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str("](");
        let target = piece.split(')').next().unwrap_or_default();
        let is_whole = target.contains("://") || target.starts_with('#');
        match piece.strip_prefix("host/docs/") {
            Some(rest) => text.push_str(&format!("book/{rest}")),
            None if is_whole => text.push_str(piece),
            None => text.push_str(&format!("{repository}/blob/HEAD/{piece}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_link_of_a_packaged_page_leads_somewhere() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for name in ["README.md", "SECURITY.md"] {
            let page =
                relinked(&std::fs::read_to_string(root.join(name)).unwrap(), "https://example.org/pib");
            let targets: Vec<&str> =
                page.split("](").skip(1).filter_map(|piece| piece.split([')', '#']).next()).collect();
            assert!(!targets.is_empty(), "{name}");
            for target in targets.into_iter().filter(|target| !target.contains("://") && !target.is_empty()) {
                let path = target.strip_prefix("book/").unwrap_or("a link out of the package");
                assert!(root.join("host/docs").join(path).is_file(), "{name}: {target}");
            }
        }
    }

    #[test]
    fn whole_addresses_stay() {
        let page = "[a](https://a.example/b) [b](#c) [d](host/docs/e.md#f) [g](CHANGELOG.md)";
        let expected =
            "[a](https://a.example/b) [b](#c) [d](book/e.md#f) [g](https://r.example/blob/HEAD/CHANGELOG.md)";
        assert_eq!(relinked(page, "https://r.example"), expected);
    }
}
