//! Edits of the user's `config.toml` that keep comments, order and layout.

use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::edit::{EditError, syntax, written};

/// Returns `text` with the user's token for the registry `name` at the address `index`.
///
/// # Errors
/// When the text is not TOML, or `registries` or the registry is no table.
pub fn set_token(text: &str, name: &str, index: &str, token: &str) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(syntax)?;
    let all = document.entry("registries").or_insert_with(|| {
        let mut table = Table::new();
        // A header without keys of its own is left out.
        table.set_implicit(true);
        Item::Table(table)
    });
    let all = table(all, "registries")?;
    if all.get(name).is_none() {
        all.insert(name, Item::Table(Table::new()));
    }
    let registry = registry(all, name)?;
    registry.insert("index", value(index));
    registry.insert("token", value(token));
    Ok(written(&document, text))
}

/// Returns `text` without the user's token for the registry `name`, and whether it had one. The registry's address stays.
///
/// # Errors
/// When the text is not TOML, or `registries` or the registry is no table.
pub fn remove_token(text: &str, name: &str) -> Result<(String, bool), EditError> {
    let mut document: DocumentMut = text.parse().map_err(syntax)?;
    let Some(all) = document.get_mut("registries") else { return Ok((text.to_owned(), false)) };
    let all = table(all, "registries")?;
    if all.get(name).is_none() {
        return Ok((text.to_owned(), false));
    }
    let removed = registry(all, name)?.remove("token").is_some();
    Ok((written(&document, text), removed))
}

fn registry<'a>(all: &'a mut dyn TableLike, name: &str) -> Result<&'a mut dyn TableLike, EditError> {
    let path = format!("registries.{name}");
    let Some(item) = all.get_mut(name) else { return Err(EditError::NotATable(path)) };
    table(item, &path)
}

fn table<'a>(item: &'a mut Item, path: &str) -> Result<&'a mut dyn TableLike, EditError> {
    item.as_table_like_mut().ok_or_else(|| EditError::NotATable(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::user::UserConfig;

    #[test]
    fn a_token_is_added_and_replaced_where_the_registry_stands() {
        let index = "https://stages.example.org";
        let fresh = set_token("", "acme", index, "pib_1").unwrap();
        assert_eq!(fresh, format!("[registries.acme]\nindex = \"{index}\"\ntoken = \"pib_1\"\n"));
        let kept = "# mine\n[hooks]\nfuel = 7 # much\n\n[registries.acme] # ours\nindex = \"https://old.example.org\"\n";
        let changed = set_token(kept, "acme", index, "pib_2").unwrap();
        assert!(
            changed.starts_with("# mine\n[hooks]\nfuel = 7 # much\n\n[registries.acme] # ours\n"),
            "{changed}"
        );
        assert!(!changed.contains("old.example.org") && changed.contains("token = \"pib_2\""), "{changed}");
        let inline =
            set_token("registries = { acme = { index = \"https://a.example\" } }\n", "acme", index, "t");
        let config = UserConfig::parse("config.toml", &inline.unwrap()).unwrap();
        assert_eq!(config.registries["acme"].token.as_deref(), Some("t"));
    }

    #[test]
    fn a_removed_token_leaves_the_rest() {
        let text = "[registries.acme]\nindex = \"https://a.example\"\n# secret\ntoken = \"t\"\n\n[hooks]\nfuel = 7\n";
        let (left, removed) = remove_token(text, "acme").unwrap();
        assert!(
            removed && !left.contains("token") && left.contains("https://a.example") && left.contains("fuel")
        );
        for text in [left.as_str(), "", "[registries.other]\nindex = \"https://a.example\"\n"] {
            assert_eq!(remove_token(text, "acme").unwrap(), (text.to_owned(), false));
        }
    }

    #[test]
    fn what_is_no_table_is_told() {
        for text in ["registries = 1\n", "[registries]\nacme = 1\n", "[[registries]]\n"] {
            assert!(
                matches!(set_token(text, "acme", "https://a", "t"), Err(EditError::NotATable(_))),
                "{text}"
            );
            assert!(matches!(remove_token(text, "acme"), Err(EditError::NotATable(_))), "{text}");
        }
        assert!(matches!(set_token("[", "acme", "https://a", "t"), Err(EditError::Syntax(_))));
    }

    proptest! {
        #[test]
        fn what_was_set_is_read(token in "[!-~]{1,60}", name in "[a-z][a-z0-9-]{0,10}[a-z0-9]") {
            prop_assume!(!name.contains("--"));
            let text = set_token("[hooks]\nfuel = 7\n", &name, "https://a.example/x", &token).unwrap();
            let config = UserConfig::parse("config.toml", &text).unwrap();
            prop_assert_eq!(config.registries[&name].token.as_deref(), Some(&*token));
            let (text, removed) = remove_token(&text, &name).unwrap();
            prop_assert!(removed && !UserConfig::parse("config.toml", &text).unwrap().has_token());
        }
    }
}
