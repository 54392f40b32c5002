//! The bill of materials of an image: SPDX 2.3 and CycloneDX 1.6, both as JSON.
//!
//! Formats: <https://spdx.github.io/spdx-spec/v2.3/> and <https://cyclonedx.org/docs/1.6/json/>; addresses of packages are
//! package URLs (<https://github.com/package-url/purl-spec>). Nothing in a document depends on when it is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pib_debian::InstalledPackage;
use pib_plan::id::Digest;
use serde_json::{Value, json};

use super::licence;
use super::system::{PackageContent, PackageKind, SystemContent};

/// The form of a bill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BillFormat {
    /// SPDX 2.3.
    #[default]
    Spdx,
    /// CycloneDX 1.6.
    CycloneDx,
}

/// What a bill is of.
#[derive(Debug, Clone)]
pub struct BillSubject {
    /// The image's file name.
    pub name: String,
    /// The digest of the file.
    pub digest: Digest,
    /// The stages that it was built of, as name and version.
    pub stages: Vec<(String, String)>,
    /// The stage that brought each package, by the package's name.
    pub brought: BTreeMap<String, String>,
}

/// The bill of materials of an image.
#[derive(Debug)]
pub struct BillOfMaterials<'a> {
    subject: BillSubject,
    packages: &'a [PackageContent],
    kind: PackageKind,
    /// The name of the distribution in package URLs.
    distribution: String,
    /// The time of the newest file, in RFC 3339.
    time: String,
}

/// What stands for itself in a package URL.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

impl<'a> BillOfMaterials<'a> {
    /// Returns the bill of a system.
    pub fn of(system: &'a SystemContent, subject: BillSubject) -> Self {
        let newest = system.files.values().map(|facts| facts.metadata.mtime).max().unwrap_or(0);
        Self {
            subject,
            packages: &system.packages,
            kind: system.package_kind,
            distribution: system.id.clone().unwrap_or_else(|| "debian".to_owned()),
            time: rfc3339(newest),
        }
    }

    /// Returns the document.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_text(&self, format: BillFormat) -> Result<String, serde_json::Error> {
        let document = match format {
            BillFormat::Spdx => self.spdx(),
            BillFormat::CycloneDx => self.cyclonedx(),
        };
        Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
    }

    fn purl(&self, package: &InstalledPackage) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        format!(
            "pkg:{}/{}/{}@{}?arch={}",
            self.kind.purl_type(),
            encoded(&self.distribution),
            encoded(&package.name),
            encoded(&package.version),
            encoded(&package.arch)
        )
    }

    fn spdx(&self) -> Value {
        let image = "SPDXRef-image";
        let mut packages = vec![json!({
            "SPDXID": image,
            "name": self.subject.name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "primaryPackagePurpose": "OPERATING-SYSTEM",
            "checksums": [{ "algorithm": "SHA256", "checksumValue": self.subject.digest.hex() }],
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
        })];
        let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
        let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", image)];
        for (name, version) in &self.subject.stages {
            let id = stage_id(name);
            packages.push(spdx_stage(&id, name, version));
            relations.push(relation(image, "GENERATED_FROM", &id));
        }
        let ids = self.ids();
        for (content, id) in self.packages.iter().zip(&ids) {
            packages.push(self.spdx_package(id, content));
            relations.push(relation(image, "CONTAINS", id));
            if let Some(stage) = self.stage_of(&content.package) {
                relations.push(relation(&stage_id(stage), "CONTAINS", id));
            }
        }
        json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": self.subject.name,
            "documentNamespace": format!(
                "{}/spdx/{}-{}",
                env!("CARGO_PKG_REPOSITORY"),
                utf8_percent_encode(&self.subject.name, UNRESERVED),
                self.subject.digest.hex()
            ),
            "creationInfo": {
                "created": self.time,
                "creators": [format!("Tool: pib-{}", env!("CARGO_PKG_VERSION"))],
            },
            "packages": packages,
            "relationships": relations,
        })
    }

    /// Returns the stage that brought a package, if it is one that the image was built of.
    fn stage_of(&self, package: &InstalledPackage) -> Option<&str> {
        let stage = self.subject.brought.get(&package.name)?;
        self.subject.stages.iter().any(|(name, _)| name == stage).then_some(stage)
    }

    /// Returns an identifier for each package: a name may be there for two architectures.
    fn ids(&self) -> Vec<String> {
        let id = |content: &PackageContent| {
            let package = &content.package;
            format!(
                "SPDXRef-{}-{}-{}",
                self.kind.purl_type(),
                identifier(&package.name),
                identifier(&package.arch)
            )
        };
        self.packages.iter().map(id).collect()
    }

    fn spdx_package(&self, id: &str, PackageContent { package, licences, .. }: &PackageContent) -> Value {
        let is_known = !licences.is_empty() && licences.iter().all(|name| licence::is_known(name));
        let mut value = json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": if is_known { licences.join(" AND ") } else { "NOASSERTION".to_owned() },
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": self.purl(package),
            }],
        });
        if !package.maintainer.is_empty() {
            value["supplier"] = party(&package.maintainer).into();
        }
        if let Some(homepage) = &package.homepage {
            value["homepage"] = homepage.clone().into();
        }
        if let Some(source) = &package.source {
            value["sourceInfo"] = format!("built from the source package {source}").into();
        }
        if !is_known && !licences.is_empty() {
            let names = licences.join(", ");
            value["licenseComments"] = format!("{} names: {names}", self.kind.licences_from()).into();
        }
        value
    }

    fn cyclonedx(&self) -> Value {
        let image = "image";
        let ids = self.ids();
        let components: Vec<Value> =
            self.packages.iter().zip(&ids).map(|(content, id)| self.component(id, content)).collect();
        let stages = self.subject.stages.iter().map(|(name, version)| {
            json!({ "type": "file", "bom-ref": stage_id(name), "name": name, "version": version,
                    "properties": [{ "name": "pib:kind", "value": "stage" }] })
        });
        let hex = self.subject.digest.hex();
        json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": format!("urn:uuid:{}", uuid(&hex)),
            "version": 1,
            "metadata": {
                "timestamp": self.time,
                "tools": { "components": [
                    { "type": "application", "name": "pib", "version": env!("CARGO_PKG_VERSION") }
                ] },
                "component": {
                    "type": "operating-system",
                    "bom-ref": image,
                    "name": self.subject.name,
                    "hashes": [{ "alg": "SHA-256", "content": hex }],
                },
            },
            "components": stages.chain(components).collect::<Vec<_>>(),
            "dependencies": self.dependencies(image, &ids),
        })
    }

    fn component(&self, id: &str, PackageContent { package, licences, bytes }: &PackageContent) -> Value {
        let mut properties = vec![json!({ "name": "pib:bytes", "value": bytes.to_string() })];
        if let Some(stage) = self.subject.brought.get(&package.name) {
            properties.push(json!({ "name": "pib:stage", "value": stage }));
        }
        if let Some(source) = &package.source {
            properties.push(json!({ "name": "pib:source-package", "value": source }));
        }
        let mut value = json!({
            "type": "library",
            "bom-ref": id,
            "name": package.name,
            "version": package.version,
            "purl": self.purl(package),
            "properties": properties,
        });
        let licences: Vec<Value> = licences
            .iter()
            .map(|name| {
                let key = if licence::is_known(name) { "id" } else { "name" };
                json!({ "license": { key: name } })
            })
            .collect();
        if !licences.is_empty() {
            value["licenses"] = licences.into();
        }
        if !package.maintainer.is_empty() {
            value["publisher"] = package.maintainer.clone().into();
        }
        value
    }

    /// Returns what needs what, of the packages that are there.
    fn dependencies(&self, image: &str, ids: &[String]) -> Value {
        let mut by_name: HashMap<&str, BTreeSet<&String>> = HashMap::new();
        for (content, id) in self.packages.iter().zip(ids) {
            for name in content.package.provides.iter().chain([&content.package.name]) {
                by_name.entry(name).or_default().insert(id);
            }
        }
        let mut entries = vec![json!({ "ref": image, "dependsOn": ids })];
        for (content, id) in self.packages.iter().zip(ids) {
            let needed: BTreeSet<&String> = content
                .package
                .needs
                .iter()
                .filter_map(|name| by_name.get(&**name))
                .flatten()
                .copied()
                .filter(|needed| *needed != id)
                .collect();
            entries.push(json!({ "ref": id, "dependsOn": needed }));
        }
        entries.into()
    }
}

fn spdx_stage(id: &str, name: &str, version: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "comment": "a stage of pib, by which the image was built",
    })
}

fn stage_id(name: &str) -> String {
    format!("SPDXRef-stage-{}", identifier(name))
}

/// Returns a name with what SPDX's identifiers take: letters, digits, `.` and `-`. Others are written as numbers.
fn identifier(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '.' || c == '-' => text.push(c),
            c => text.push_str(&format!(".{:x}.", u32::from(c))),
        }
    }
    text
}

/// Returns a maintainer as SPDX writes parties: `Organization: NAME (ADDRESS)`.
fn party(maintainer: &str) -> String {
    match maintainer.split_once('<') {
        Some((name, address)) => {
            format!("Organization: {} ({})", name.trim(), address.trim_end_matches('>').trim())
        }
        None => format!("Organization: {}", maintainer.trim()),
    }
}

/// Returns a UUID of a digest's first bytes, with the marks of version 8, which is free to use (RFC 9562, section 5.8).
fn uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// Returns a moment in RFC 3339, in seconds of UTC.
fn rfc3339(seconds: i64) -> String {
    pib_plan::moment::Moment::from_micros(seconds.max(0).unsigned_abs().saturating_mul(1_000_000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_no_character_that_spdx_refuses_and_stay_apart() {
        assert_eq!(identifier("libstdc++6"), "libstdc.2b..2b.6");
        assert_ne!(identifier("a+b"), identifier("a_b"));
        assert_eq!(uuid(&"0123456789abcdef".repeat(4)), "01234567-89ab-8def-8123-456789abcdef");
        assert_eq!(party("A Team <a@b.c>"), "Organization: A Team (a@b.c)");
    }
}
