//! What an archive of the past has that mirrors have no more.

use super::*;

#[tokio::test]
async fn what_mirrors_have_no_more_comes_from_the_archive_of_the_past() {
    let server = Server::start();
    let mirror = |path: &str| Mirror { url: server.url(path), origin: "a test".to_owned() };
    let mirrors = Mirrors::on("trixie", mirror("debian"), vec![mirror("none"), mirror("sec")]);
    let addresses = |mirrors: &Mirrors, archive: &str| {
        let found = mirrors.addresses(archive, 1_795_252_544, "pool/x.deb").unwrap();
        found.iter().map(|url| url.path().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&mirrors, "debian"), ["/debian/pool/x.deb"]);
    assert_eq!(addresses(&mirrors, "debian-security"), ["/none/pool/x.deb", "/sec/pool/x.deb"]);
    assert!(mirrors.addresses("elsewhere", 0, "x").is_err());
    let mirrors = mirrors.with_past(server.url("past"));
    let past = "past/debian-security/20261121T154544Z/pool/x.deb";
    assert_eq!(addresses(&mirrors, "debian-security")[2], format!("/{past}"));

    let reporter: Arc<dyn Reporter> = Arc::new(Warnings::default());
    let http = Http::new().unwrap();
    let fetch = async || {
        let folder = tempfile::tempdir().unwrap();
        let urls = mirrors.addresses("debian-security", 1_795_252_544, "pool/x.deb").unwrap();
        let list = vec![Wanted { urls, size: 4, digest: Digest::of(b"good") }];
        let mut found = Vec::new();
        let fetched = download::download(&http, folder.path(), list, &reporter, |path| {
            found = std::fs::read(path).unwrap();
        });
        fetched.await.map(|()| found)
    };
    // Another file of that name, on one mirror, is not taken.
    server.set("none/pool/x.deb", [Answer::file("evil")]);
    server.set(past, [Answer::file("good")]);
    assert_eq!(fetch().await.unwrap(), b"good");
    server.set(past, [Answer::status("404 Not Found")]);
    let problem = fetch().await.unwrap_err();
    assert!(matches!(problem, DebianError::Nowhere { .. }), "{problem}");
    let text = problem.to_string();
    for part in ["pib.lock", "/none/pool/x.deb", "/sec/pool/x.deb", past, "pib update --base"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Debian's service has each archive by its name and the moment.
#[tokio::test]
async fn a_release_is_opened_as_it_was_at_a_moment() {
    let archive = Archive::new();
    let host = HostApt::default().with_past(Some(archive.server.url("past")));
    let at = |moment: &str| {
        let mirrors = Mirrors::on("trixie", archive.mirror("deb"), vec![archive.mirror("sec")]);
        mirrors.at_moment(moment.parse().unwrap(), &host)
    };
    let open_at = async |moment: &str| {
        let mirrors = at(moment).unwrap();
        let context = Context { now: mirrors.now(), ..archive.context() };
        let signer = || Signer { keyring: Keyring::parse(&archive.public).unwrap(), text: None };
        let signed: Vec<Signed> = mirrors.archives.iter().map(|own| (own.clone(), signer())).collect();
        open(&context, "arm64", &signed).await.map_err(|error| in_the_past(error, &mirrors))
    };
    // The release of that week is out of date today, and was not then. Mirrors are not asked.
    archive.publish(MAIN, "trixie", "unstable", "9", None);
    let (place, index) = ("past/debian/20251102T000000Z/dists/trixie", "main/binary-arm64/Packages.xz");
    archive.publish(place, "trixie", "unstable", "1", None);
    let (_, packages) = open_at("2025-11-02T00:00:00Z").await.unwrap();
    assert_eq!(packages.get("x").unwrap().version, "1");
    let text = format!(
        "Suite: unstable\nCodename: trixie\nDate: Sat, 01 Nov 2025 00:00:00 UTC\n\
         Valid-Until: Sat, 08 Nov 2025 00:00:00 UTC\nSHA256:\n {} 1 {index}\n",
        Digest::of(b"x").hex()
    );
    for (stamp, moment, expected) in [
        ("20251107T120000Z", "2025-11-07T12:00:00Z", "being updated"),
        ("20251109T000000Z", "2025-11-09T00:00:00Z", "it was valid until 2025-11-08 only"),
        ("20251030T000000Z", "2025-10-30T00:00:00Z", "in the future"),
    ] {
        archive.sign(&format!("past/debian/{stamp}/dists/trixie"), &text, &archive.key);
        let error = open_at(moment).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{moment}: {error}");
    }
    // There was no such release then, or no archive yet.
    let error = open_at("2019-01-01T00:00:00Z").await.unwrap_err();
    assert!(matches!(error, DebianError::NotInThePast { .. }), "{error}");
    let error = error.to_string();
    for part in ["2019-01-01T00:00:00Z", "past/debian/20190101T000000Z", "no release `trixie` then"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(at("2005-03-11T23:59:59Z").unwrap_err().to_string().contains("it begins on 2005-03-12"));
}

#[test]
fn an_archive_of_somebody_else_has_no_past() {
    let server = Server::start();
    let mirror = || Mirror { url: server.url("a"), origin: "a test".to_owned() };
    let mut mirrors = Mirrors::on("trixie", mirror(), vec![mirror()]);
    mirrors.archives[1].archive.name = "mine".to_owned();
    mirrors.archives[1].archive.origin = Some(pib_plan::package_archive::ArchiveOrigin {
        url: server.url("a").to_string(),
        keys: vec![],
        key_url: server.url("key").to_string(),
    });
    let error = mirrors.at_moment("2025-11-02T00:00:00Z".parse().unwrap(), &HostApt::default()).unwrap_err();
    assert!(matches!(&error, DebianError::WithoutPast { archive } if archive == "mine"), "{error}");
}
