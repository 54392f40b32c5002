//! "Did you mean": the nearest of a list of known words.

/// Returns the candidate that `word` was most likely meant to be, if any is near enough.
///
/// Near means at most a third of the word's length in edits (Damerau-Levenshtein), the tie going to the
/// first; a candidate that merely differs in case or in `_` for `-` always counts.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_lowercase().replace('_', "-");
    let word = fold(word);
    let limit = word.chars().count().div_ceil(3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns how many edits (Damerau-Levenshtein) lead from one word to the other.
pub fn distance(one: &str, other: &str) -> usize {
    strsim::damerau_levenshtein(one, other)
}

/// Returns the nearest candidate as [`nearest`] does, unless another one is as near.
pub fn only_nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let near = nearest(word, candidates.iter().copied())?;
    let word = word.to_lowercase();
    let as_near = candidates.iter().filter(|other| distance(&word, other) <= distance(&word, near));
    (as_near.count() <= 1).then_some(near)
}

/// Returns "`a`, `b` and `c`", for messages that list choices.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// Returns words as alternatives of a sentence: "`a`, `b` or `c`".
pub fn alternatives<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let all = list(words);
    match all.rsplit_once("` and `") {
        Some((rest, last)) => format!("{rest}` or `{last}"),
        None => all,
    }
}

/// Returns a number of things: "1 stage", "2 stages".
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_word_only_when_it_is_near() {
        let known = ["watchdog", "rootssh", "ro", "os"];
        assert_eq!(nearest("watchdgo", known), Some("watchdog"));
        assert_eq!(nearest("RootSSH", known), Some("rootssh"));
        assert_eq!(nearest("kubernetes", known), None);
    }

    #[test]
    fn lists_read_as_a_sentence() {
        assert_eq!(list([]), "nothing");
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn words_and_numbers_read_well() {
        assert_eq!(alternatives(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!((alternatives(["a"]), alternatives([])), ("`a`".to_owned(), "nothing".to_owned()));
        assert_eq!([count(0, "stage"), count(1, "stage")], ["0 stages", "1 stage"]);
    }
}
