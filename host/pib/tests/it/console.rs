//! Commands that pages of the book show with their output: reads them, and compares what a page shows with what came.

/// A command in a block `console` of a page, and what the page shows below it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The line of the page, which begins with 1.
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

/// The beginning of the comment that keeps a block from being run; the reason follows.
const NOT_RUN: &str = "<!-- not run: ";

/// Returns the commands of a page in their order, but for blocks with a comment `not run` above them.
pub(crate) fn commands(page: &str) -> Vec<Shown> {
    let mut found = Vec::new();
    let (mut inside, mut runs) = (false, true);
    let mut before = "";
    for (at, line) in page.lines().enumerate() {
        match line {
            "```console" => (inside, runs) = (true, !before.starts_with(NOT_RUN)),
            "```" => inside = false,
            _ if inside && runs => match line.strip_prefix("$ ") {
                Some(command) => {
                    found.push(Shown { line: at + 1, command: command.to_owned(), output: Vec::new() });
                }
                None => found.last_mut().unwrap().output.push(line.to_owned()),
            },
            _ => {}
        }
        before = line;
    }
    found
}

/// Returns whether an output is what a page shows. There a line `...` stands for any number of lines, and `...` at the end of
/// a line for any text. Numbers, digests and white space may differ.
pub(crate) fn is_shown(shown: &[String], output: &str) -> bool {
    let output: Vec<String> = output.lines().map(general).collect();
    fits(shown, &output)
}

fn fits(shown: &[String], output: &[String]) -> bool {
    let Some((first, rest)) = shown.split_first() else { return output.is_empty() };
    if first == "..." {
        return (0..=output.len()).any(|skipped| fits(rest, &output[skipped..]));
    }
    let Some((line, others)) = output.split_first() else { return false };
    let fits_line = match first.strip_suffix("...") {
        Some(start) => line.starts_with(general(start).trim_end()),
        None => *line == general(first),
    };
    fits_line && fits(rest, others)
}

/// Returns a line with one sign for each number, each digest and each unit of sizes, and single spaces.
fn general(line: &str) -> String {
    let mut general = String::new();
    for word in line.split_whitespace() {
        if !general.is_empty() {
            general.push(' ');
        }
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let mut rest = word;
        while let Some(c) = rest.chars().next() {
            let digest = rest.find(|c| !is_hex(c)).unwrap_or(rest.len());
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let length = if digest >= 12 { digest } else { number };
            let is_number = digest >= 12 || c.is_ascii_digit();
            general.push(if is_number { '#' } else { c });
            rest = &rest[if is_number { length } else { c.len_utf8() }..];
        }
    }
    ["KiB", "MiB", "GiB"].iter().fold(general, |line, unit| line.replace(unit, "iB"))
}

#[test]
fn what_differs_from_run_to_run_may_differ() {
    let shown = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let page = shown(&["Wrote 731 MiB in 24.1 s", "...", "sha256:719c1cdf556b6453", "base x-...", "end"]);
    assert!(is_shown(&page, "Wrote 1.2 GiB in 3 s\na\nb\nsha256:00aa11bb22cc33dd\nbase x-trixie\nend\n"));
    assert!(is_shown(&page, "Wrote  1 GiB in 3 s\nsha256:719c1cdf556b6453\nbase x-\nend"));
    assert!(!is_shown(&page, "Read 1 GiB in 3 s\nsha256:719c1cdf556b6453\nbase x-\nend"));
    assert!(!is_shown(&page, "Wrote 1 GiB in 3 s\nsha256:719c1cdf556b6453\nbase x-\nend\nmore"));
    assert!(is_shown(&[], "") && !is_shown(&[], "something"));
}

#[test]
fn a_block_with_a_reason_is_not_run() {
    let page = "```console\n$ one\nits output\n$ two\n```\n<!-- not run: no board -->\n```console\n$ three\n```\n\
                ```sh\n$ four\n```\n";
    let found = commands(page);
    let [one, two] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.line, &*one.command, &*one.output), (2, "one", &["its output".to_owned()][..]));
    assert_eq!((two.line, &*two.command, two.output.len()), (4, "two", 0));
}
