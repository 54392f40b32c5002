//! What the types of values are called in messages: TOML's words, in the place of those of Rust and serde.

/// A value of the wrong type: the type that it has, and the one that it should have, as TOML calls them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongType {
    /// E.g. ``number `5` ``.
    pub(crate) found: String,
    /// E.g. `a table`.
    pub(crate) expected: String,
    /// Whether quotes around what was found would make it right.
    pub(super) lacks_quotes: bool,
}

impl WrongType {
    /// Reads what serde and the crate `toml` say where a value has a wrong type; `None` where they say something else.
    pub(crate) fn of(message: &str) -> Option<Self> {
        if message.starts_with("invalid length ") && message.contains(", expected struct ") {
            // Serde takes a list for a table, value by value.
            let (found, expected) = ("list".to_owned(), "a table".to_owned());
            return Some(Self { found, expected, lacks_quotes: false });
        }
        if message == "wanted string or table" {
            let (found, expected) = ("wrong kind of value".to_owned(), "a text or a table".to_owned());
            return Some(Self { found, expected, lacks_quotes: false });
        }
        let rest = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "))?;
        let (value, type_name) = rest.split_once(", expected ")?;
        let number = value.starts_with("integer") || value.starts_with("floating point");
        let text = type_name.starts_with("a string") || type_name.starts_with("a version");
        Some(Self { found: found(value), expected: expected(type_name), lacks_quotes: number && text })
    }
}

/// Returns what the author of a manifest calls an expected type, e.g. `a table` for `struct EngineSchema`.
fn expected(type_name: &str) -> String {
    let word = match type_name {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, not below 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a nonzero u8" => "a whole number from 1 to 255",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
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
fn found(value: &str) -> String {
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
    fn what_is_said_of_a_wrong_type_is_read() {
        let read = |message: &str| {
            WrongType::of(message).map(|wrong| (wrong.found, wrong.expected, wrong.lacks_quotes))
        };
        let words = |found: &str, expected: &str, lacks_quotes| {
            Some((found.to_owned(), expected.to_owned(), lacks_quotes))
        };
        let version = "invalid type: integer `5`, expected a version such as \"1.0.0\"";
        assert_eq!(
            read("invalid length 0, expected struct BuildSchema with 9 elements"),
            words("list", "a table", false)
        );
        assert_eq!(read("wanted string or table"), words("wrong kind of value", "a text or a table", false));
        assert_eq!(read(version), words("number `5`", "a version such as \"1.0.0\"", true));
        assert_eq!(read("missing field `name`"), None);
    }

    #[test]
    fn nobody_reads_the_names_of_types() {
        for (name, word) in [
            ("struct EngineSchema", "a table"),
            ("u32", "a whole number from 0 to 4294967295"),
            ("a nonzero u16", "a whole number from 1 to 65535"),
            ("u64", "a whole number, not below 0"),
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
