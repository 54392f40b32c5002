//! Pieces of HTML. All texts of images are strangers': `escape` is the one way by which they come into the page.

use std::fmt::Write as _;

use pib_plan::html::escape;
use pib_plan::suggest::count;

/// Returns a number of bytes as people say it.
pub(super) fn size(bytes: u64) -> String {
    // The unit stays on the line of its number.
    pib_plan::size::rounded(bytes).replace(' ', "\u{a0}")
}

/// Returns a part of a whole in hundredths of a percent, of at most the whole.
fn share(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 10_000 / u128::from(whole.max(1));
    u64::try_from(share.min(10_000)).unwrap_or(10_000)
}

/// Returns a bar as long as a part is of a whole. It says nothing that the text beside it does not.
pub(super) fn bar(part: u64, whole: u64) -> String {
    let share = share(part, whole);
    format!(
        "<svg class=\"bar\" aria-hidden=\"true\"><rect width=\"{}.{:02}%\" height=\"100%\"/></svg>",
        share / 100,
        share % 100
    )
}

/// A table that is written row by row. Its head is of plain texts, its cells are HTML.
pub(super) struct Table {
    text: String,
}

impl Table {
    pub(super) fn new(caption: &str, head: &[&str]) -> Self {
        let cells: String =
            head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escape(cell))).collect();
        let text = format!(
            "<div class=\"wide\"><table><caption>{}</caption><thead><tr>{cells}</tr></thead><tbody>\n",
            escape(caption)
        );
        Self { text }
    }

    pub(super) fn row(&mut self, cells: &[String]) {
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        let _ = writeln!(self.text, "<tr>{cells}</tr>");
    }

    pub(super) fn finish(self) -> String {
        format!("{}</tbody></table></div>\n", self.text)
    }
}

/// Returns a list of plain texts.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: String = items.into_iter().map(|item| format!("<li>{}</li>\n", escape(&item))).collect();
    format!("<ul>{items}</ul>\n")
}

/// Returns a picture of how large groups of things are: a column for each group, a field for each thing, all as large as
/// they are. The same numbers stand in tables.
pub(super) fn treemap(label: &str, groups: &[(String, Vec<(String, u64)>)]) -> String {
    const WIDTH: u64 = 100_000;
    const HEIGHT: u64 = 40_000;
    /// Things whose field would be lower share one.
    const LEAST: u64 = 500;
    let sum =
        |items: &[(String, u64)]| items.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let whole = groups.iter().fold(0_u64, |all, (_, items)| all.saturating_add(sum(items)));
    let mut text = format!(
        "<svg class=\"map\" role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\"><title>{}</title>\n",
        escape(label)
    );
    let mut left = 0;
    for (number, (group, items)) in groups.iter().enumerate() {
        let all = sum(items);
        let width = share(all, whole) * WIDTH / 10_000;
        let mut top = 0;
        let _ = writeln!(text, "<g class=\"c{}\">", number % COLOURS);
        let mut small = (0_u64, 0_usize);
        let mut field = |top: u64, height: u64, name: &str, bytes: u64| {
            let _ = writeln!(
                text,
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"><title>{}: {} ({})</title></rect>",
                escape(group),
                escape(name),
                size(bytes)
            );
        };
        for (name, bytes) in items {
            let height = share(*bytes, all) * HEIGHT / 10_000;
            if height < LEAST {
                small = (small.0.saturating_add(*bytes), small.1 + 1);
                continue;
            }
            field(top, height, name, *bytes);
            top += height;
        }
        if small.1 > 0 {
            field(top, HEIGHT.saturating_sub(top), &count(small.1, "smaller package"), small.0);
        }
        text.push_str("</g>\n");
        left += width;
    }
    text.push_str("</svg>\n");
    text
}

/// How many colours groups have; [`STYLE`] names them.
pub(super) const COLOURS: usize = 8;

/// The page's style: for light and dark, for a desk and a telephone.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--line:#d4d8dd;--soft:#f3f5f7;--bar:#2f6fab;--good:#176b34;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e4e7ea;--paper:#14171a;--line:#3a4047;--soft:#1e2328;--bar:#6aa9e0;--good:#6fce8b;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.6rem;overflow-wrap:anywhere}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid var(--line)}
code,.num{font-family:ui-monospace,monospace;font-size:.9em;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0}caption{text-align:left;font-weight:600}
th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere}
.bar{display:block;width:100%;min-width:5rem;height:.8rem;margin-top:.3rem;background:var(--soft);fill:var(--bar)}
.map{display:block;width:100%;height:18rem;background:var(--soft)}.map rect{stroke:var(--paper);stroke-width:1px;vector-effect:non-scaling-stroke}
.c0{fill:#2f6fab}.c1{fill:#b8642a}.c2{fill:#3f8f5b}.c3{fill:#8b5aa8}.c4{fill:#a8464f}.c5{fill:#4b8a94}.c6{fill:#8a7a2d}.c7{fill:#6b7280}
.key{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}.key svg{width:.8rem;height:.8rem;margin-right:.4rem}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_drawn_of_any_sizes() {
        for sizes in [&[][..], &[0], &[u64::MAX, u64::MAX, 1], &[1, 2, 3, 1 << 40]] {
            let items: Vec<_> = sizes.iter().map(|bytes| ("<x>".to_owned(), *bytes)).collect();
            let text = treemap("sizes", &[("a".to_owned(), items.clone()), ("b".to_owned(), items)]);
            assert!(!text.contains("<x>") && text.ends_with("</svg>\n"), "{sizes:?}");
        }
        assert!(bar(u64::MAX, 0).contains("width=\"100.00%\""));
    }
}
