//! Archives that an init stage names, beside Debian's own: what is believed of them.

use std::sync::Arc;

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder};
use pgp::composed::{SignedPublicKey, SignedSecretKey};
use pgp::types::{KeyDetails as _, Password};
use pib_event::{Event, Reporter};
use pib_net::testing::{Answer, Server};
use pib_plan::base::Bootstrap;
use pib_plan::id::{Arch, Digest};
use pib_plan::package_archive::{ArchiveOrigin, PackageArchive};
use rand::rngs::OsRng;

use crate::package_list::tests::paragraph;
use crate::{DebianError, HostApt, choose_packages};

struct Quiet;

impl Reporter for Quiet {
    fn report(&self, _event: Event) {}
}

fn new_key() -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
    params.primary_user_id("Test <test@example.org>".to_owned());
    params.build().unwrap().generate(OsRng).unwrap()
}

fn armoured(key: &SignedSecretKey) -> String {
    SignedPublicKey::from(key.clone()).to_armored_string(ArmorOptions::default()).unwrap()
}

/// Two archives on one server: of the system itself, and of its maker's additions.
struct Archives {
    server: Server,
    key: SignedSecretKey,
    lists: tempfile::TempDir,
}

/// The date of a release that is neither old nor of the future.
const DATE: &str = "Sat, 01 Nov 2025 00:00:00 UTC";

impl Archives {
    fn new() -> Self {
        let archives = Self { server: Server::start(), key: new_key(), lists: tempfile::tempdir().unwrap() };
        archives.server.set("key", [Answer::file(armoured(&archives.key))]);
        let essential = "Essential: yes\nPriority: required\n";
        let main = ["dash", "apt"].map(|name| paragraph(name, "1", essential)).concat();
        archives.publish("main", "main/binary-arm64/Packages", main.as_bytes(), DATE, "");
        let more = paragraph("dash", "1+rpt1", essential);
        archives.publish("more", "main/binary-arm64/Packages.gz", &gzip(more.as_bytes()), DATE, "");
        archives
    }

    /// Publishes a suite with one list of packages.
    fn publish(&self, name: &str, path: &str, list: &[u8], date: &str, fields: &str) {
        let text = format!(
            "Suite: stable\nCodename: trixie\nDate: {date}\n{fields}SHA256:\n {} {} {path}\n",
            Digest::of(list).hex(),
            list.len()
        );
        self.sign(name, &text, &self.key);
        self.server.set(&format!("{name}/dists/trixie/{path}"), [Answer::file(list)]);
    }

    fn sign(&self, name: &str, text: &str, key: &SignedSecretKey) {
        let message =
            CleartextSignedMessage::sign(OsRng, text, &key.primary_key, &Password::empty()).unwrap();
        let message = message.to_armored_string(ArmorOptions::default()).unwrap();
        self.server.set(&format!("{name}/dists/trixie/InRelease"), [Answer::file(message)]);
    }

    fn recipe(&self) -> Bootstrap {
        let archive = |name: &str| PackageArchive {
            name: name.to_owned(),
            suite: "trixie".to_owned(),
            components: vec!["main".to_owned()],
            origin: Some(ArchiveOrigin {
                url: self.server.url(name).to_string(),
                keys: vec![format!("{:X}", self.key.primary_key.fingerprint())],
                key_url: self.server.url("key").to_string(),
            }),
        };
        Bootstrap {
            os: "mine".to_owned(),
            release: "trixie".to_owned(),
            arch: Arch::Arm64,
            mirror: None,
            security_mirror: None,
            include: Vec::new(),
            archives: vec![archive("main"), archive("more")],
        }
    }

    async fn choose(&self, recipe: &Bootstrap) -> Result<pib_plan::snapshot::BaseSnapshot, DebianError> {
        let reporter: Arc<dyn Reporter> = Arc::new(Quiet);
        choose_packages(self.lists.path(), false, recipe, &HostApt::default(), None, &reporter).await
    }

    async fn refused(&self, recipe: &Bootstrap) -> String {
        self.choose(recipe).await.expect_err("it is believed").to_string()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn the_newest_version_of_all_archives_is_chosen_and_the_keys_are_kept() {
    let archives = Archives::new();
    let snapshot = archives.choose(&archives.recipe()).await.unwrap();
    let found: Vec<_> = snapshot
        .packages
        .iter()
        .map(|own| (own.name.as_str(), own.version.as_str(), own.archive.as_str()))
        .collect();
    assert_eq!(found, [("apt", "1", "main"), ("dash", "1+rpt1", "more")]);
    assert_eq!(snapshot.archives.len(), 2);
    for (archive, locked) in archives.recipe().archives.iter().zip(&snapshot.archives) {
        assert_eq!(archive.origin.as_ref().unwrap().keys, std::slice::from_ref(&locked.key));
        assert!(super::locked_keys(archive, locked).unwrap().is_some());
    }
    // The second time nothing but the release files and the keys is asked for; without a network not even these.
    let asked = archives.server.asked().len();
    assert_eq!(archives.choose(&archives.recipe()).await.unwrap(), snapshot);
    let new = archives.server.asked().split_off(asked);
    assert!(new.iter().all(|path| path == "key" || path.ends_with("InRelease")), "{new:?}");
    let reporter: Arc<dyn Reporter> = Arc::new(Quiet);
    let recipe = archives.recipe();
    let again =
        choose_packages(archives.lists.path(), true, &recipe, &HostApt::default(), None, &reporter).await;
    assert_eq!(again.unwrap(), snapshot);
}

#[tokio::test]
async fn a_key_is_believed_by_its_whole_fingerprint_alone() {
    let archives = Archives::new();
    let other = new_key();
    archives.server.set("key", [Answer::file(armoured(&other))]);
    let told = archives.refused(&archives.recipe()).await;
    let fingerprint = |key: &SignedSecretKey| format!("{:X}", key.primary_key.fingerprint());
    for part in ["archive `main`", "/key", &fingerprint(&archives.key), &fingerprint(&other)] {
        assert!(told.contains(part), "{part}: {told}");
    }
    archives.server.set("key", [Answer::file("<html>Not here</html>")]);
    assert!(archives.refused(&archives.recipe()).await.contains("cannot be read"));
    // Of several keys only those count that are named; an archive that another one signs is refused.
    archives.server.set("key", [Answer::file(armoured(&archives.key))]);
    archives.sign("more", "Suite: stable\n", &other);
    let told = archives.refused(&archives.recipe()).await;
    assert!(told.contains("/more/") && told.contains("not one that pib knows"), "{told}");
}

#[tokio::test]
async fn an_archive_that_lacks_what_is_needed_or_is_out_of_date_is_refused() {
    let archives = Archives::new();
    let list = paragraph("dash", "2", "");
    archives.publish("more", "main/binary-armhf/Packages.xz", list.as_bytes(), DATE, "");
    let told = archives.refused(&archives.recipe()).await;
    assert!(told.contains("main/binary-arm64/Packages.xz") && told.contains("does not list it"), "{told}");
    let path = "main/binary-arm64/Packages";
    archives.publish("more", path, list.as_bytes(), DATE, "Valid-Until: Sun, 02 Nov 2025 00:00:00 UTC\n");
    let told = archives.refused(&archives.recipe()).await;
    assert!(told.contains("valid until") && told.contains("/more/"), "{told}");
    archives.publish("more", path, list.as_bytes(), "Sat, 01 Nov 2125 00:00:00 UTC", "");
    assert!(archives.refused(&archives.recipe()).await.contains("future"));
    archives.server.set("more/dists/trixie/InRelease", [Answer::status("404 Not Found")]);
    let told = archives.refused(&archives.recipe()).await;
    assert!(told.contains("has no release `trixie`") && told.contains("the init stage"), "{told}");
}

#[tokio::test]
async fn the_keys_of_a_lock_are_those_that_the_init_stage_names() {
    let archives = Archives::new();
    let recipe = archives.recipe();
    let snapshot = archives.choose(&recipe).await.unwrap();
    // A base has them of the lock: their address is not asked again.
    archives.server.set("key", [Answer::status("404 Not Found")]);
    let files = crate::sources::files(&recipe, &snapshot).unwrap();
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let [list, keys] = ["etc/apt/sources.list.d/", "etc/apt/keyrings/"];
    let named = |name: &str| [format!("{list}{name}.sources"), format!("{keys}{name}.gpg")];
    assert_eq!(paths, [named("main"), named("more")].concat());
    assert_eq!(files[1].1, snapshot.archives[0].keyring().unwrap());
    let text = format!("Signed-By: /{keys}main.gpg\n");
    assert!(String::from_utf8_lossy(&files[0].1).ends_with(&text), "{files:?}");
    let (archive, locked) = (&recipe.archives[0], &snapshot.archives[0]);
    let both = [locked.keyring().unwrap(), binary()].concat();
    for (keys, words) in [
        (None, "there are none"),
        (Some(binary()), "expected"),
        (Some(both), "more than the init stage names"),
    ] {
        let mut changed = locked.clone();
        changed.keyring = keys.map(|keys| pib_plan::snapshot::ArchiveSnapshot::keyring_text(&keys));
        let error = super::locked_keys(archive, &changed).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("pib.lock"), "{error}");
    }
}

/// Returns a new key in OpenPGP's binary form.
fn binary() -> Vec<u8> {
    pgp::ser::Serialize::to_bytes(&SignedPublicKey::from(new_key())).unwrap()
}
