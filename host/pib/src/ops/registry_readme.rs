//! A stage's readme as HTML. It is a stranger's text: of its markup, only what Markdown has is taken, nothing is loaded from elsewhere,
//! and links lead to the web or to mail.

use pib_plan::html::visible;
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// Returns the HTML of a readme, whose headings come below one of the page's.
pub(super) fn to_html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    // Whether each link that is open is one of the page.
    let mut links = Vec::new();
    let events = Parser::new_ext(markdown, options).filter_map(move |event| harmless(event, &mut links));
    let mut text = String::new();
    html::push_html(&mut text, events);
    text
}

/// Returns what an event of a stranger's becomes; `None` where it is left out.
fn harmless<'a>(event: Event<'a>, links: &mut Vec<bool>) -> Option<Event<'a>> {
    Some(match event {
        // Markup is shown as it is written.
        Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => Event::Text(visible(&text).into()),
        Event::Code(text) => Event::Code(visible(&text).into()),
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::CodeBlock(_)) => Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)),
        Event::Start(Tag::Heading { level, .. }) => {
            let level = below(level);
            Event::Start(Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() })
        }
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
        // Of a picture, its text is shown.
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => return None,
        Event::Start(Tag::Link { link_type, dest_url, .. }) => {
            links.push(leads_outside(&dest_url));
            let title = "".into();
            let link = Event::Start(Tag::Link { link_type, dest_url, title, id: "".into() });
            return links.last().is_some_and(|is_link| *is_link).then_some(link);
        }
        Event::End(TagEnd::Link) => return links.pop().unwrap_or_default().then_some(event),
        event => event,
    })
}

/// Returns the level of a heading of a readme on the page, which has two of its own above it.
fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        HeadingLevel::H4 | HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

/// Returns whether a link leads to another site or to mail: paths in a stage's folder are not on this site.
fn leads_outside(address: &str) -> bool {
    let scheme = address.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https" | "mailto"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_laid_out() {
        let html = to_html(
            "# Camera\n\nFilms *birds*, see [the site](https://example.org).\n\n```sh\npib add\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        );
        for part in [
            "<h3>Camera</h3>",
            "<em>birds</em>",
            "<a href=\"https://example.org\">the site</a>",
            "<pre><code>pib add\n</code></pre>",
            "<td>2</td>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn a_strangers_markup_is_text() {
        let text = "<script>alert(1)</script>\n\nx <img src=x onerror=alert(1)> [a](javascript:alert(1)) [b](JAVASCRIPT:x) \
                    [c](../../secret) ![d](https://example.org/spy.png) [![e](x)](data:text/html,y) \u{202e}`\u{202e}`\n\n\
                    ```\"><script>\nx\n```\n\n[f](https://x.org/\"onclick=x)\n";
        let html = to_html(text);
        for bad in [
            "<script",
            "<img",
            "javascript",
            "JAVASCRIPT",
            "spy.png",
            "secret",
            "data:",
            "\u{202e}",
            "title=",
        ] {
            let is_shown_as_text = bad.starts_with('<');
            assert!(!html.contains(bad), "{bad} in {html}");
            assert!(!is_shown_as_text || html.contains(&bad.replace('<', "&lt;")), "{html}");
        }
        assert!(!html.contains("\"onclick"), "{html}");
    }
}
