//! Explains the codes of errors, by the page of the book that lists them.

use pib_plan::suggest;
use serde::Serialize;

use crate::project::Error;

/// The page of the book.
const PAGE: &str = include_str!("../../../docs/reference/errors.md");
/// What every code begins with.
const PREFIX: &str = "pib::";
/// What begins the last paragraph of an entry.
const ADVICE: &str = "**What to do:** ";

/// What the book says of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The error's code.
    pub code: String,
    /// What it means.
    pub meaning: String,
    /// A message with this code.
    pub example: String,
    /// What to do about it.
    pub advice: String,
}

/// Returns what the book says of a code, which may be without its `pib::`.
///
/// # Errors
/// When no error has the code.
pub fn explain(code: &str) -> Result<Explanation, Error> {
    let code = code.strip_prefix(PREFIX).unwrap_or(code);
    let all = all();
    let short = |entry: &Explanation| entry.code.trim_start_matches(PREFIX).to_owned();
    if let Some(found) = all.iter().find(|entry| short(entry) == code) {
        return Ok(found.clone());
    }
    let codes: Vec<String> = all.iter().map(short).collect();
    let area = code.split("::").next().unwrap_or_default();
    let of_area = || codes.iter().filter(|known| known.split("::").next() == Some(area)).map(String::as_str);
    let help = match suggest::only_nearest(code, codes.iter().map(String::as_str)) {
        Some(near) => format!("Did you mean `{near}`?"),
        None if of_area().next().is_some() => {
            format!("The codes of `{area}` are {}.", suggest::list(of_area()))
        }
        None => "`pib explain` without a code lists all codes.".to_owned(),
    };
    Err(Error::usage(format!("no error has the code `{code}`"), help))
}

/// Returns the entries of the page, in its order.
pub fn all() -> Vec<Explanation> {
    PAGE.split("\n### `").skip(1).filter_map(entry).collect()
}

/// Reads an entry that begins within its heading.
fn entry(text: &str) -> Option<Explanation> {
    let (code, rest) = text.split_once("`\n")?;
    let (meaning, rest) = rest.split_once("```text\n")?;
    let (example, rest) = rest.split_once("\n```")?;
    let advice = rest.split("\n## ").next()?.trim().strip_prefix(ADVICE)?;
    Some(Explanation {
        code: code.to_owned(),
        meaning: meaning.trim().to_owned(),
        example: example.to_owned(),
        advice: advice.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_page_is_read() {
        let all = all();
        assert_eq!(all.len(), PAGE.matches("\n### ").count());
        for entry in &all {
            let is_whole = [&entry.meaning, &entry.example, &entry.advice].iter().all(|text| text.len() > 5);
            assert!(is_whole && entry.code.starts_with(PREFIX), "{entry:?}");
            assert!(entry.meaning.ends_with('.') && entry.advice.ends_with('.'), "{entry:?}");
            assert_eq!(explain(&entry.code).unwrap(), *entry);
        }
    }

    #[test]
    fn codes_are_found_without_their_prefix_and_others_get_an_answer() {
        assert_eq!(explain("lock::stale").unwrap().code, "pib::lock::stale");
        let help = |code: &str| match explain(code).unwrap_err() {
            Error::Usage { help, .. } => help.unwrap(),
            other => panic!("{other}"),
        };
        assert_eq!(help("lock::stael"), "Did you mean `lock::stale`?");
        assert!(help("lock::xyzzy").contains("`lock::invalid`"));
        assert!(help("E0308").contains("lists all codes"));
    }
}
