//! Compares the description of the server's interface with its routes, and with the book's page, which is made from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::routes;

const HEAD: &str = "# The interface of a registry's server

<!-- The test `ops::registry_routes` makes this page from registry-api.openapi.json. INSTA_UPDATE=always has it write the page again. -->

What [`pib registry serve`](../guides/publishing.md#a-registrys-server) answers. Every server sends the same as an
[OpenAPI](https://spec.openapis.org/oas/v3.1.0) description at `/api/v1/openapi.json`, which is in pib's repository as `host/docs/registry-api.openapi.json`. All addresses are
below the registry's own. A request with a token has the header `Authorization: Bearer TOKEN`. Errors are JSON: `{\"error\": \"...\", \"problems\": [\"...\"]}`. An
address that takes another method answers 405.
";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn description() -> Value {
    serde_json::from_str(&std::fs::read_to_string(docs("registry-api.openapi.json")).unwrap()).unwrap()
}

/// Returns what is at each address: its path, its method, and its description.
fn operations(description: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((path.clone(), method.clone(), operation.clone()));
        }
    }
    found
}

#[test]
fn every_route_is_described_and_every_description_is_a_routes() {
    let described: BTreeSet<_> =
        operations(&description()).into_iter().map(|(path, method, _)| (path, method)).collect();
    let routes = routes();
    let pairs = |route: &super::Route| {
        let path = route.path.to_owned();
        route.methods.iter().map(move |method| (path.clone(), (*method).to_owned())).collect::<Vec<_>>()
    };
    let served: BTreeSet<_> = routes.iter().flat_map(pairs).collect();
    assert_eq!(served, described);
    assert!(served.len() > 10, "the table is empty");
}

/// Returns the book's page.
fn page() -> String {
    let description = description();
    let operations = operations(&description);
    let mut text = HEAD.to_owned();
    for tag in description["tags"].as_array().unwrap() {
        let (name, about) = (tag["name"].as_str().unwrap(), tag["description"].as_str().unwrap());
        _ = write!(text, "\n## {name}\n\n{about}\n");
        for (path, method, operation) in operations.iter().filter(|(.., of)| of["tags"][0] == *name) {
            describe(&mut text, path, &method.to_uppercase(), operation);
        }
    }
    _ = write!(text, "\n## Values\n");
    for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
        let Some(fields) = schema["properties"].as_object() else { continue };
        _ = write!(text, "\n### {name}\n\n| field | meaning |\n|---|---|\n");
        for (field, schema) in fields {
            _ = writeln!(text, "| `{field}` | {} |", schema["description"].as_str().unwrap());
        }
    }
    text
}

/// Adds what is said of an address.
fn describe(text: &mut String, path: &str, method: &str, operation: &Value) {
    let summary = operation["summary"].as_str().unwrap();
    _ = write!(text, "\n### {summary}: `{method} {path}`\n\n");
    if let Some(about) = operation["description"].as_str() {
        _ = write!(text, "{about}\n\n");
    }
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let mut rows: Vec<String> = parameters.map(parameter).collect();
    rows.extend(
        operation["requestBody"]["content"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(mime, _)| format!("| the body | `{mime}` |")),
    );
    if !rows.is_empty() {
        _ = write!(text, "| what is sent | meaning |\n|---|---|\n{}\n\n", rows.join("\n"));
    }
    text.push_str("| status | meaning |\n|---|---|\n");
    for (status, response) in operation["responses"].as_object().unwrap() {
        let json = response["content"]["application/json"]["schema"]["$ref"].as_str();
        let value = json.and_then(|json| json.rsplit('/').next()).filter(|name| *name != "Denial");
        let value =
            value.map(|name| format!(" JSON: [{name}](#{}).", name.to_lowercase())).unwrap_or_default();
        _ = writeln!(text, "| {status} | {}{value} |", response["description"].as_str().unwrap());
    }
}

fn parameter(parameter: &Value) -> String {
    let name = parameter["name"].as_str().unwrap();
    let place = match parameter["in"].as_str().unwrap() {
        "path" => format!("`{{{name}}}`"),
        "query" => format!("`?{name}=`"),
        _ => format!("header `{name}`"),
    };
    let choices = parameter["schema"]["enum"].as_array().or(parameter["schema"]["items"]["enum"].as_array());
    let choices = choices.map(|choices| {
        let words: Vec<String> = choices.iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect();
        format!(" One of {}.", words.join(", "))
    });
    let about = parameter["description"].as_str().unwrap();
    match parameter["schema"]["type"] == "array" {
        true => format!(
            "| {place} | {about}{}|",
            choices.unwrap_or_default().replace("One of", "Any of") + " Several have commas between them. "
        ),
        false => format!("| {place} | {about}{} |", choices.unwrap_or_default()),
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to write what it compares with")]
fn the_books_page_is_made_from_the_description() {
    let path = docs("reference/registry-api.md");
    let page = page();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "run the tests once with INSTA_UPDATE=always, and commit {}", path.display());
}
