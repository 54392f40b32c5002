//! What a registry's server answers is what the description of its interface says.

#![allow(clippy::unwrap_used)] // Test helpers outside test functions.

use std::sync::OnceLock;

use serde_json::Value;

fn description() -> &'static Value {
    static DESCRIPTION: OnceLock<Value> = OnceLock::new();
    DESCRIPTION.get_or_init(|| {
        let path = crate::world::root().join("host/docs/registry-api.openapi.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    })
}

/// Returns what is described at the address of a request: of several that fit, the one with the fewest variable parts.
fn operation(method: &str, target: &str) -> Option<&'static Value> {
    let path = target.split('?').next().unwrap();
    let is_variable = |part: &str| part.starts_with('{');
    let fits = |template: &str| {
        let (wanted, found): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == found.len()
            && wanted.iter().zip(found).all(|(wanted, found)| is_variable(wanted) || *wanted == found)
    };
    let paths = description()["paths"].as_object().unwrap();
    let all = paths.iter().filter(|(template, _)| fits(template));
    let (_, item) =
        all.min_by_key(|(template, _)| template.split('/').filter(|part| is_variable(part)).count())?;
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    item.get(&method)
}

/// Checks that an answer's status, and the kind of its body, are described.
pub(crate) fn check(method: &str, target: &str, answer: &str) {
    let Some(operation) = operation(method, target) else { return };
    let status = answer.split(' ').nth(1).unwrap();
    let described = &operation["responses"][status];
    assert!(described.is_object(), "{method} {target}: {status} is not described");
    let kind = answer.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    let kind = kind.split(';').next().unwrap();
    let kinds = described["content"].as_object();
    assert!(
        kinds.is_none_or(|kinds| kinds.contains_key(kind)),
        "{method} {target}: {status} with {kind} is not described"
    );
}
