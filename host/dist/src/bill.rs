//! The bill of materials of the program, in the form of CycloneDX 1.6.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Package;
use crate::moment::Moment;

/// Returns the bill of materials of `program`, which consists of `packages`; the first of the project's own with the
/// name `pib` is the program itself.
#[must_use]
pub fn bill(packages: &[Package], program: &[u8], epoch: u64) -> String {
    let is_program = |package: &&Package| package.is_own && package.name == "pib";
    let digest = hex::encode(Sha256::digest(program));
    let components: Vec<Value> =
        packages.iter().filter(|package| !is_program(package)).map(component).collect();
    let program = packages.iter().find(is_program).map(|package| {
        let mut program = component(package);
        program["type"] = json!("application");
        program["hashes"] = json!([{ "alg": "SHA-256", "content": digest }]);
        program
    });
    // What is no crate is linked into the program as a whole.
    let others: Vec<&str> =
        packages.iter().map(|package| &*package.url).filter(|url| !is_crate(url)).collect();
    let dependencies: Vec<Value> = packages
        .iter()
        .map(|package| {
            let own: Vec<&str> = package.uses.iter().map(String::as_str).collect();
            let uses = if is_program(&package) { [own, others.clone()].concat() } else { own };
            json!({ "ref": package.url, "dependsOn": uses })
        })
        .collect();
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&digest),
        "version": 1,
        "metadata": {
            "timestamp": Moment::of(epoch).rfc3339(),
            "lifecycles": [{ "phase": "build" }],
            "component": program,
        },
        "components": components,
        "dependencies": dependencies,
    });
    format!("{document:#}\n")
}

fn is_crate(url: &str) -> bool {
    url.starts_with("pkg:cargo/")
}

fn component(package: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": package.url,
        "name": package.name,
        "version": package.version,
        "licenses": [{ "expression": package.license }],
        "purl": package.url,
    });
    if let Some(description) = &package.description {
        component["description"] = json!(description);
    }
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = package.repository.as_deref().filter(|url| url.starts_with("https://")) {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

/// Returns the serial number, which derives from the program's digest, so that it is the same for the same program.
fn serial(digest: &str) -> String {
    // The digits that say that it is a UUID of its maker's own form (version 8).
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_described_with_what_it_consists_of() {
        let package = |name: &str, url: &str, uses: &[&str]| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: "MIT".to_owned(),
            url: url.to_owned(),
            uses: uses.iter().map(|url| (*url).to_owned()).collect(),
            is_own: name == "pib",
            ..Package::default()
        };
        let packages = [
            package("pib", "pkg:cargo/pib@1.0.0", &["pkg:cargo/zstd@1.0.0"]),
            package("zstd", "pkg:cargo/zstd@1.0.0", &[]),
            package("musl", "pkg:generic/musl@1.0.0", &[]),
        ];
        let text = bill(&packages, b"program", 1_795_959_549);
        let bill: Value = serde_json::from_str(&text).unwrap();
        let program = &bill["metadata"]["component"];
        assert_eq!((&program["name"], &program["type"]), (&json!("pib"), &json!("application")));
        // `printf program | sha256sum`
        let digest = "1310ca2c8932dbd118668bd97442558a3e1f546b5e15c69699dfbd6024f548d8";
        assert_eq!(program["hashes"][0]["content"], json!(digest));
        assert_eq!(bill["components"].as_array().unwrap().len(), 2);
        assert_eq!(
            bill["dependencies"][0],
            json!({ "ref": "pkg:cargo/pib@1.0.0",
                    "dependsOn": ["pkg:cargo/zstd@1.0.0", "pkg:generic/musl@1.0.0"] })
        );
        assert_eq!(bill["metadata"]["timestamp"], json!("2026-11-29T13:39:09Z"));
    }
}
