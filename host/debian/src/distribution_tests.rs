use std::sync::Mutex;
use std::time::SystemTime;

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder};
use pgp::composed::{SignedPublicKey, SignedSecretKey};
use pgp::types::{KeyDetails as _, Password};
use pib_plan::package_archive::{ArchiveOrigin, PackageArchive};
use rand::rngs::OsRng;
use url::Url;

use super::*;
use crate::keyring::Keyring;
use crate::mirror::Mirror;
use crate::package_list::tests::paragraph;
use crate::{DatePolicy, HostApt, SuiteNames};
use pib_event::Event;
use pib_net::testing::{Answer, Server};

#[path = "distribution_past_tests.rs"]
mod past;

/// A mirror with suites that a key of its own signs.
struct Archive {
    server: Server,
    key: SignedSecretKey,
    http: Http,
    /// The key's public half.
    public: String,
    warnings: Arc<Warnings>,
    reporter: Arc<dyn Reporter>,
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn report(&self, event: Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

fn key() -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
    params.primary_user_id("Test <test@example.org>".to_owned());
    params.build().unwrap().generate(OsRng).unwrap()
}

impl Archive {
    fn new() -> Self {
        let key = key();
        let public = SignedPublicKey::from(key.clone()).to_armored_string(ArmorOptions::default()).unwrap();
        let warnings = Arc::new(Warnings::default());
        Self {
            server: Server::start(),
            http: Http::new().unwrap(),
            public,
            key,
            reporter: warnings.clone(),
            warnings,
        }
    }

    fn mirror(&self, path: &str) -> Mirror {
        Mirror { url: self.server.url(path), origin: "a test".to_owned() }
    }

    fn context(&self) -> Context<'_> {
        let dates = DatePolicy::default();
        Context { http: &self.http, dates, now: SystemTime::now(), reporter: &self.reporter, lists: None }
    }

    /// Returns trixie with its security updates on these mirrors.
    fn trixie(&self, security: &[Mirror]) -> Vec<Signed> {
        let archives = Mirrors::on("trixie", self.mirror("deb"), security.to_vec()).archives;
        let signer = || Signer { keyring: Keyring::parse(&self.public).unwrap(), text: None };
        archives.into_iter().map(|own| (own, signer())).collect()
    }

    /// Publishes a suite under the name, with one package of the given version; `listed` replaces what its
    /// release file says of the index.
    fn publish(&self, name: &str, codename: &str, suite: &str, version: &str, listed: Option<&[u8]>) {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        std::io::Write::write_all(&mut encoder, paragraph("x", version, "").as_bytes()).unwrap();
        let index = encoder.finish().unwrap();
        let listed = listed.unwrap_or(&index);
        let text = format!(
            "Suite: {suite}\nCodename: {codename}\nDate: Sat, 01 Nov 2025 00:00:00 UTC\nSHA256:\n {} {} \
             main/binary-arm64/Packages.xz\n",
            Digest::of(listed).hex(),
            listed.len()
        );
        self.sign(name, &text, &self.key);
        self.server.set(&format!("{name}/main/binary-arm64/Packages.xz"), [Answer::file(index)]);
    }

    /// Publishes the release file of trixie whose only list is this one, to be fetched by its digest.
    fn sign_by_hash(&self, name: &str, listed: &[u8]) {
        let text = format!(
            "Suite: stable\nCodename: trixie\nAcquire-By-Hash: yes\nDate: Sat, 01 Nov 2025 00:00:00 UTC\nSHA256:\n \
             {} {} main/binary-arm64/Packages.xz\n",
            Digest::of(listed).hex(),
            listed.len()
        );
        self.sign(name, &text, &self.key);
    }

    fn sign(&self, name: &str, text: &str, key: &SignedSecretKey) {
        let message =
            CleartextSignedMessage::sign(OsRng, text, &key.primary_key, &Password::empty()).unwrap();
        let message = message.to_armored_string(ArmorOptions::default()).unwrap();
        self.server.set(&format!("{name}/InRelease"), [Answer::file(message)]);
    }

    /// Opens trixie with its security updates, which are beside it.
    async fn open(&self) -> Result<(Vec<Suite>, Packages), DebianError> {
        let security = [self.mirror("none"), self.mirror("sec")];
        open(&self.context(), "arm64", &self.trixie(&security)).await
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.0.lock().unwrap().clone()
    }
}

const MAIN: &str = "deb/dists/trixie";
const SECURITY: &str = "sec/dists/trixie-security";

#[tokio::test]
async fn a_security_update_replaces_the_releases_package() {
    let archive = Archive::new();
    archive.publish(MAIN, "trixie", "stable", "1.0-1", None);
    archive.publish(SECURITY, "trixie-security", "stable-security", "1.0-1+deb13u1", None);
    let (suites, packages) = archive.open().await.unwrap();
    let package = packages.get("x").unwrap();
    assert_eq!(
        (package.version.as_str(), suites[package.archive].name.as_str()),
        ("1.0-1+deb13u1", "trixie-security")
    );
    assert_eq!(archive.warnings(), Vec::<String>::new());
}

#[tokio::test]
async fn a_release_without_security_updates_is_used_with_a_warning() {
    let archive = Archive::new();
    archive.publish(MAIN, "trixie", "stable", "1", None);
    assert_eq!(archive.open().await.unwrap().0.len(), 1);
    assert!(archive.warnings()[0].contains("no mirror has security updates"), "{:?}", archive.warnings());
    let archive = Archive::new();
    archive.publish(MAIN, "trixie", "unstable", "1", None);
    assert_eq!(archive.open().await.unwrap().0.len(), 1);
    assert!(archive.warnings().is_empty());
}

#[tokio::test]
async fn the_other_name_of_a_release_helps_where_the_files_do_not_fit() {
    let archive = Archive::new();
    archive.publish(MAIN, "trixie", "stable", "2", Some(b"a newer index"));
    archive.publish("deb/dists/stable", "trixie", "stable", "1", None);
    assert_eq!(archive.open().await.unwrap().1.get("x").unwrap().version, "1");
    assert!(archive.warnings()[0].contains("`stable`"), "{:?}", archive.warnings());
    // The other name may meanwhile be another release.
    archive.publish("deb/dists/stable", "forky", "stable", "3", None);
    let problem = archive.open().await.unwrap_err();
    assert!(matches!(problem, DebianError::Updating { .. }), "{problem}");
}

#[tokio::test]
async fn parts_are_given_the_name_of_a_suite_that_a_base_is_made_of() {
    let archive = Archive::new();
    archive.server.set("key", [Answer::file(archive.public.clone())]);
    let address = "http://public.example/deb";
    let origin = ArchiveOrigin {
        url: address.to_owned(),
        keys: vec![format!("{:X}", archive.key.primary_key.fingerprint())],
        key_url: archive.server.url("key").to_string(),
    };
    let own = PackageArchive {
        name: "own".to_owned(),
        suite: "trixie".to_owned(),
        components: vec!["main".to_owned()],
        origin: Some(origin),
    };
    let recipe = Bootstrap { archives: vec![own], ..recipe(&[]) };
    let host = HostApt::default();
    let debian = ["http://d.example", "http://s.example"];
    let names = SuiteNames::new(debian, Some(&recipe), &[recipe.arch], &host, &archive.reporter).unwrap();
    let place = |suite: &str| archive.server.url(&format!("deb/dists/{suite}/InRelease")).to_string();
    let fitting =
        async |suite: &str| names.fitting(&format!("{address}/dists/{suite}/InRelease"), &place(suite)).await;
    archive.publish(MAIN, "trixie", "stable", "2", Some(b"a newer index"));
    assert_eq!(fitting("trixie").await, None, "there is no other name");
    archive.publish("deb/dists/stable", "trixie", "stable", "1", None);
    assert_eq!(fitting("trixie").await, Some(place("stable")));
    assert!(archive.warnings()[0].contains("`stable`"), "{:?}", archive.warnings());
    // The list is there by its digest, whatever it is by its name.
    let by_hash = format!("{MAIN}/main/binary-arm64/by-hash/SHA256/{}", Digest::of(b"a newer index").hex());
    archive.server.set(&by_hash, [Answer::file("a newer index")]);
    archive.sign_by_hash(MAIN, b"a newer index");
    assert_eq!(fitting("trixie").await, None);
    assert!(archive.server.asked().last().unwrap().ends_with(&Digest::of(b"a newer index").hex()));
    // Of what is not in the recipe, nothing is asked.
    let asked = archive.server.asked().len();
    assert_eq!(fitting("forky").await, None);
    assert_eq!(archive.server.asked().len(), asked);
}

#[tokio::test]
async fn a_mirror_that_is_being_updated_is_asked_again_some_times() {
    let waits = [Duration::ZERO; 2];
    let fits = |archive: &Archive| archive.publish(MAIN, "trixie", "unstable", "2", None);
    let misfits = |archive: &Archive| {
        archive.publish(MAIN, "trixie", "unstable", "2", Some(b"a newer index"));
    };
    for rounds in 0..4 {
        let archive = Archive::new();
        misfits(&archive);
        let asked = std::cell::Cell::new(0);
        let attempt = async || {
            if asked.replace(asked.get() + 1) == rounds {
                fits(&archive);
            }
            archive.open().await
        };
        let outcome = patiently(&archive.reporter, &waits, attempt).await;
        match outcome {
            Ok((_, packages)) => {
                assert_eq!((packages.get("x").unwrap().version.as_str(), rounds < 3), ("2", true))
            }
            Err(error) => {
                let text = error.to_string();
                assert_eq!(rounds, 3, "{text}");
                assert!(
                    text.starts_with("the mirror http://") && text.contains("try again in some minutes"),
                    "{text}"
                );
                assert_eq!(text.lines().count(), 1);
            }
        }
        assert_eq!(asked.get(), rounds.min(2) + 1);
    }
    // The list is named, and not there at all.
    let archive = Archive::new();
    fits(&archive);
    archive.server.set(&format!("{MAIN}/main/binary-arm64/Packages.xz"), [Answer::status("404 Not Found")]);
    let problem = archive.open().await.unwrap_err();
    assert!(problem.to_string().contains("which it does not have; try again"), "{problem}");
    // What is wrong for good is told at once.
    archive.sign(MAIN, "Suite: unstable\n", &key());
    let asked = std::cell::Cell::new(0);
    let attempt = async || {
        asked.set(asked.get() + 1);
        archive.open().await
    };
    assert!(matches!(
        patiently(&archive.reporter, &waits, attempt).await,
        Err(DebianError::Signature { .. })
    ));
    assert_eq!(asked.get(), 1);
}

#[tokio::test]
async fn an_unsigned_or_wrongly_signed_release_is_refused() {
    let archive = Archive::new();
    archive.publish(MAIN, "trixie", "stable", "1", None);
    archive.sign(MAIN, "Suite: stable\n", &key());
    let problem = archive.open().await.unwrap_err();
    assert!(matches!(problem, DebianError::Signature { .. }), "{problem}");
    assert!(problem.to_string().contains("not one that pib knows"), "{problem}");
    archive.server.set("deb/dists/trixie/InRelease", [Answer::file("Suite: stable\n")]);
    assert!(matches!(archive.open().await, Err(DebianError::Signature { .. })));
    archive.server.set("deb/dists/trixie/InRelease", [Answer::status("404 Not Found")]);
    let problem = archive.open().await.unwrap_err();
    assert!(matches!(&problem, DebianError::NoRelease { release, .. } if release == "trixie"), "{problem}");
}

fn recipe(include: &[&str]) -> Bootstrap {
    Bootstrap {
        os: "debian".to_owned(),
        release: "trixie".to_owned(),
        arch: pib_plan::id::Arch::Arm64,
        mirror: None,
        security_mirror: None,
        include: include.iter().map(|name| (*name).to_owned()).collect(),
        archives: Vec::new(),
    }
}

/// Returns the digests of the lists of suites that were found.
fn of_lists(suites: Result<Option<Vec<Suite>>, DebianError>) -> Vec<Digest> {
    digests(&recipe(&[]), &suites.unwrap().unwrap()).unwrap()
}

impl Archive {
    /// Finds the suites of trixie, with what is kept in a folder.
    async fn find(
        &self,
        folder: &Path,
        offline: bool,
    ) -> (ListCache, Result<Option<Vec<Suite>>, DebianError>) {
        let lists = ListCache::new(folder, offline).unwrap();
        let context = Context { lists: Some(&lists), ..self.context() };
        let security = [self.mirror("none"), self.mirror("sec")];
        let found = find_suites(&context, &self.trixie(&security)).await;
        (lists, found)
    }
}

#[tokio::test]
async fn what_was_chosen_of_the_same_lists_is_known_again() {
    let (archive, folder) = (Archive::new(), tempfile::tempdir().unwrap());
    archive.publish(MAIN, "trixie", "stable", "1", None);
    archive.publish(SECURITY, "trixie-security", "stable-security", "2", None);
    let chosen = vec![SnapshotPackage {
        name: "x".to_owned(),
        version: "2".to_owned(),
        arch: "arm64".to_owned(),
        archive: "debian-security".to_owned(),
        path: "pool/x.deb".to_owned(),
        size: 10,
        digest: Digest::of(b"x"),
        essential: true,
        automatic: false,
    }];
    let (lists, suites) = archive.find(folder.path(), false).await;
    let digests = of_lists(suites);
    assert_eq!((digests.len(), lists.packages(&recipe(&[]), &digests)), (2, None));
    lists.keep_packages(&recipe(&[]), &digests, &chosen);
    // The same release files are not asked for twice in one run, and not at all where there is no network.
    let asked = archive.server.asked().len();
    let context = Context { lists: Some(&lists), ..archive.context() };
    assert!(find_suites(&context, &archive.trixie(&[])).await.unwrap().is_none());
    assert_eq!(archive.server.asked().len(), asked);
    let (lists, suites) = archive.find(folder.path(), true).await;
    let suites = suites.unwrap().unwrap();
    let known = super::digests(&recipe(&[]), &suites).unwrap();
    assert_eq!(lists.packages(&recipe(&[]), &known), Some(chosen.clone()));
    assert_eq!(lists.packages(&recipe(&["y"]), &known), None);
    let context = Context { lists: Some(&lists), ..archive.context() };
    let problem = suites[0].lists(&context, Lists::Fetched("arm64")).await.unwrap_err();
    assert!(matches!(problem, DebianError::Offline { .. }), "{problem}");
    assert_eq!(archive.server.asked().len(), asked);
    // Another list is another choice.
    archive.publish(SECURITY, "trixie-security", "stable-security", "3", None);
    let (lists, suites) = archive.find(folder.path(), false).await;
    assert_eq!(lists.packages(&recipe(&[]), &of_lists(suites)), None);
}

#[tokio::test]
async fn what_is_kept_is_believed_no_more_than_what_a_mirror_says() {
    let (archive, folder) = (Archive::new(), tempfile::tempdir().unwrap());
    archive.publish(MAIN, "trixie", "unstable", "1", None);
    let (lists, suites) = archive.find(folder.path(), false).await;
    lists.keep_packages(&recipe(&[]), &of_lists(suites), &[]);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace("[]", "[ ]").replace("trixie", "forky1")).unwrap();
    }
    // What was damaged is as if it were not there.
    let (_, found) = archive.find(folder.path(), true).await;
    assert!(matches!(found, Err(DebianError::Offline { .. })), "{found:?}");
    let (lists, suites) = archive.find(folder.path(), false).await;
    assert_eq!(lists.packages(&recipe(&[]), &of_lists(suites)), None);
    // A signature is checked on every use.
    archive.sign(MAIN, "Suite: unstable\n", &key());
    for offline in [false, true] {
        let (_, found) = archive.find(folder.path(), offline).await;
        assert!(matches!(found, Err(DebianError::Signature { .. })), "{found:?}");
    }
}

#[tokio::test]
async fn no_more_is_kept_than_a_few_dozen_choices() {
    let (archive, folder) = (Archive::new(), tempfile::tempdir().unwrap());
    archive.publish(MAIN, "trixie", "unstable", "1", None);
    let (lists, suites) = archive.find(folder.path(), false).await;
    let digests = of_lists(suites);
    for number in 0..80 {
        lists.keep_packages(&recipe(&[&format!("p{number}")]), &digests, &[]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 64 + 1);
    assert_eq!(lists.packages(&recipe(&["p79"]), &digests), Some(Vec::new()));
}

#[tokio::test]
async fn damaged_security_updates_are_an_error_not_a_gap() {
    let archive = Archive::new();
    archive.publish(MAIN, "trixie", "stable", "1", None);
    archive.publish(SECURITY, "trixie-security", "stable-security", "1", Some(b"another index"));
    assert!(matches!(archive.open().await, Err(DebianError::Updating { .. })));
}

#[tokio::test]
async fn packages_are_fetched_once_and_checked() {
    let server = Server::start();
    server.set("good", [Answer::file("good")]);
    server.set("bad", [Answer::file("evil")]);
    let folder = tempfile::tempdir().unwrap();
    let reporter: Arc<dyn Reporter> = Arc::new(Warnings::default());
    let http = Http::new().unwrap();
    let wanted =
        |url: Url, text: &str| Wanted { urls: vec![url], size: 4, digest: Digest::of(text.as_bytes()) };
    for _ in 0..2 {
        let (list, mut paths) = (vec![wanted(server.url("good"), "good")], vec![]);
        download::download(&http, folder.path(), list, &reporter, |path| paths.push(path)).await.unwrap();
        assert_eq!(std::fs::read(&paths[0]).unwrap(), b"good");
    }
    assert_eq!(server.asked(), ["good"]);
    let list = vec![wanted(server.url("bad"), "good!")];
    let problem = download::download(&http, folder.path(), list, &reporter, |_| ()).await.unwrap_err();
    assert!(matches!(problem, DebianError::Mismatch { .. }), "{problem}");
    let list = vec![wanted(server.url("nosuch"), "gone")];
    let problem = download::download(&http, folder.path(), list, &reporter, |_| ()).await.unwrap_err();
    assert!(matches!(problem, DebianError::Updating { .. }), "{problem}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
