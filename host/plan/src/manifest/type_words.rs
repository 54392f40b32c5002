//! What the types of values are called in messages: TOML's words, in the place of those of Rust and serde.

/// Returns what the author of a manifest calls an expected type, e.g. `a table` for `struct EngineSchema`.
pub(super) fn expected(type_name: &str) -> String {
    let word = match type_name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        name if name.starts_with("a nonzero ") => "a whole number, not below 1",
        "i128" | "u128" => "a smaller whole number",
        "f32" | "f64" => "a number",
        "semver version" => "a version such as \"1.0.0\"",
        "any value" | "a spanned value" => "another value",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list in [ ]",
        "a map" | "map" => "a table",
        name if name.starts_with("struct ") => "a table",
        "string or map" | "a string or a map" => "a text or a table",
        name => name,
    };
    word.to_owned()
}

/// Returns what the author of a manifest calls a value that was found, e.g. ``number `5` `` for ``integer `5` ``.
pub(super) fn found(value: &str) -> String {
    // The crate `toml` passes a date on under this name, which no author has written.
    if value.contains("$__toml_private_datetime") {
        return "date".to_owned();
    }
    let (kind, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim_end_matches(" as i128").trim_end_matches(" as u128");
    let word = match (kind, value) {
        (_, "map") => return "table".to_owned(),
        (_, "sequence") => return "list".to_owned(),
        (_, "unit value") => return "nothing".to_owned(),
        ("integer", _) => "number",
        ("floating", _) => return format!("number {}", rest.trim_start_matches("point ")),
        ("boolean", _) => "value",
        ("string", _) => "text",
        _ => return value.to_owned(),
    };
    format!("{word} {rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reads_the_names_of_types() {
        for (name, word) in [
            ("struct EngineSchema", "a table"),
            ("u32", "a whole number, not below 0"),
            ("a nonzero u16", "a whole number, not below 1"),
            ("a sequence", "a list in [ ]"),
            ("a boolean", "`true` or `false`"),
            ("a string", "a string"),
        ] {
            assert_eq!(expected(name), word);
        }
        for (value, words) in [
            ("map", "table"),
            ("sequence", "list"),
            ("integer `5`", "number `5`"),
            ("floating point `1.5`", "number `1.5`"),
            ("boolean `true`", "value `true`"),
            ("string \"a b\"", "text \"a b\""),
            ("integer `99999999999999999999` as i128", "number `99999999999999999999`"),
            ("string \"$__toml_private_datetime\"", "date"),
            ("a version", "a version"),
        ] {
            assert_eq!(found(value), words);
        }
    }
}
