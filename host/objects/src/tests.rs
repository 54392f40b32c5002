//! Buckets and repositories as servers of the tests' own show them: their faults above all. Real servers are asked by the
//! tests of the program.

use std::ffi::OsString;
use std::io::{Read as _, Seek as _};
use std::sync::Arc;

use pib_event::Mask;
use pib_net::testing::{Answer, Server};
use pib_plan::id::Digest;
use pib_plan::object_address::ObjectAddress;

use crate::{Access, ContentStore, FoundManifest, ObjectError, Repositories};

const SECRET: &str = "wJalrXUtnFEMI";

fn access(endpoint: &str, home: Option<&std::path::Path>) -> Access {
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "eu-west-1"),
    ];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Access::new(Arc::new(variables.into()), home.map(std::path::Path::to_owned), Mask::default())
}

fn store(address: &str, access: Access) -> ContentStore {
    ContentStore::new(address.parse::<ObjectAddress>().unwrap(), access)
}

/// Fetches the file of a digest; returns what came.
async fn fetch(
    store: &ContentStore,
    digest: &Digest,
    size: u64,
) -> Result<Option<(Digest, String)>, ObjectError> {
    let mut file = tempfile::tempfile().unwrap();
    let Some(found) = store.download(digest, size, &mut file).await? else { return Ok(None) };
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    Ok(Some((found, text)))
}

fn object(digest: &Digest) -> String {
    format!("team/pib/{}/{}", &digest.hex()[..2], digest.hex())
}

/// An object as a bucket gives it.
fn given(text: &str) -> Answer {
    let head = format!(
        "200 OK\r\nContent-Length: {}\r\nETag: \"x\"\r\nLast-Modified: Sun, 29 Nov 2026 01:00:00 GMT",
        text.len()
    );
    Answer { head, body: text.as_bytes().to_vec() }
}

/// A refusal as a bucket gives it.
fn refusal(status: &str, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message><AWSAccessKeyId>AKIAEXAMPLE\
         </AWSAccessKeyId><StringToSign>{SECRET}</StringToSign></Error>"
    );
    Answer { head: format!("{status}\r\nContent-Length: {}", body.len()), body: body.into_bytes() }
}

#[tokio::test]
async fn a_bucket_has_files_by_their_digests() {
    let server = Server::start();
    let store = store("s3://team/pib/", access(server.url("").as_str(), None));
    let (right, none, long) = (Digest::of(b"right"), Digest::of(b"none"), Digest::of(b"long"));
    server.set(&object(&right), [given("right")]);
    server.set(&object(&long), [given("longer than that")]);
    assert_eq!(fetch(&store, &right, 5).await.unwrap(), Some((right, "right".to_owned())));
    assert_eq!(fetch(&store, &none, 5).await.unwrap(), None);
    assert!(matches!(fetch(&store, &long, 5).await, Err(ObjectError::TooLarge(5))));
}

#[tokio::test]
async fn what_a_bucket_refuses_is_told_without_what_it_shows() {
    let digest = Digest::of(b"x");
    for (status, code, words) in [
        ("404 Not Found", "NoSuchBucket", "no bucket `team`"),
        ("403 Forbidden", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("403 Forbidden", "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("403 Forbidden", "AccessDenied", "does not let you"),
        ("400 Bad Request", "SomethingElse", "`SomethingElse`"),
        ("400 Bad Request", "<b>", "400"),
    ] {
        let server = Server::start();
        let store = store("s3://team/pib", access(server.url("").as_str(), None));
        server.set(&object(&digest), [refusal(status, code)]);
        let error = fetch(&store, &digest, 5).await.unwrap_err().to_string();
        assert!(error.contains(words), "{code}: {error}");
        assert!(!error.contains(SECRET) && !error.contains("AKIA"), "{error}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_down_or_unprotected_is_told() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (endpoint, words) in [
        (format!("http://127.0.0.1:{port}"), "refused"),
        ("http://s3.example".to_owned(), "unprotected"),
        ("https://me:hunter2@s3.example".to_owned(), "AWS_ENDPOINT_URL"),
        ("ftp://s3.example".to_owned(), "takes https"),
    ] {
        let store = store("s3://team", access(&endpoint, None));
        let error = fetch(&store, &Digest::of(b"x"), 5).await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("hunter2"), "{endpoint}: {error}");
    }
}

fn registry(server: &Server) -> String {
    format!("oci://127.0.0.1:{}/team/store", server.url("").port().unwrap())
}

fn blob(digest: &Digest) -> String {
    format!("v2/team/store/blobs/{digest}")
}

#[tokio::test]
async fn a_repository_has_files_by_their_digests() {
    let (server, elsewhere) = (Server::start(), Server::start());
    let store = store(&registry(&server), Access::default());
    let (right, none, long, moved) =
        (Digest::of(b"right"), Digest::of(b"none"), Digest::of(b"long"), Digest::of(b"moved"));
    let busy = Answer::status("429 Too Many Requests\r\nRetry-After: 0");
    server.set(&blob(&right), [busy, Answer::file("right")]);
    server.set(&blob(&long), [Answer { head: "200 OK".to_owned(), body: b"longer than that".to_vec() }]);
    server.set(
        &blob(&moved),
        [Answer::status(&format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url("m")))],
    );
    elsewhere.set("m", [Answer::file("moved")]);
    assert_eq!(fetch(&store, &right, 5).await.unwrap(), Some((right, "right".to_owned())));
    assert_eq!(fetch(&store, &none, 5).await.unwrap(), None);
    assert!(matches!(fetch(&store, &long, 5).await, Err(ObjectError::TooLarge(5))));
    assert_eq!(fetch(&store, &moved, 5).await.unwrap(), Some((moved, "moved".to_owned())));
}

#[tokio::test]
async fn texts_stand_under_keys() {
    let server = Server::start();
    let (key, none) = (Digest::of(b"key"), Digest::of(b"none"));
    let bucket = store("s3://team/pib", access(server.url("").as_str(), None));
    let object = |key: &Digest| format!("team/pib/entries/{}.json", key.hex());
    let repository = store(&registry(&server), Access::default());
    let manifest = |key: &Digest| format!("v2/team/store/manifests/pib-{}", &key.hex()[..24]);
    let text = "{\"annotations\": {\"dev.pib.entry\": \"{\\\"a\\\": 1}\"}}";
    server.set(&object(&key), [given("{\"a\": 1}")]);
    server.set(&manifest(&key), [Answer::file(text)]);
    for store in [&bucket, &repository] {
        assert_eq!(store.entry(&key, 8).await.unwrap(), Some(b"{\"a\": 1}".to_vec()), "{store}");
        assert_eq!(store.entry(&none, 8).await.unwrap(), None, "{store}");
    }
    server.set(&object(&key), [given("{\"a\": 1}")]);
    server.set(&manifest(&key), [Answer::file(text)]);
    for store in [&bucket, &repository] {
        assert!(matches!(store.entry(&key, 7).await, Err(ObjectError::TooLarge(7))), "{store}");
    }
    for wrong in ["", "{}", "{\"annotations\": {\"other\": \"x\"}}", &"x".repeat(100_000)] {
        server.set(&manifest(&key), [Answer::file(wrong)]);
        assert!(repository.entry(&key, 8).await.is_err());
    }
}

#[tokio::test]
async fn a_registry_that_asks_who_you_are_gets_a_token_and_no_other_server_does() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    let digest = Digest::of(b"right");
    let realm = server.url("token");
    let asks = format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\",service=\"here\"");
    server.set(&blob(&digest), [Answer::status(&asks), Answer::file("right")]);
    let wanted = "token?service=here&scope=repository%3Ateam%2Fstore%3Apull";
    server.set(wanted, [Answer::file("{\"token\": \"abcdef\"}")]);
    let found = fetch(&store(&registry(&server), access("", Some(home.path()))), &digest, 5).await.unwrap();
    assert_eq!(found, Some((digest, "right".to_owned())));
    assert_eq!(server.asked(), [blob(&digest), wanted.to_owned(), blob(&digest)]);
    for (answer, words) in [
        ("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://auth.example/\"", "not protected"),
        ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", "docker login"),
        ("401 Unauthorized", "docker login"),
        ("403 Forbidden", "does not let you"),
        ("500 Internal Server Error\r\nRetry-After: 0", "500"),
        ("429 Too Many Requests\r\nRetry-After: 3600", "429"),
    ] {
        server.set(&blob(&digest), [Answer::status(answer)]);
        let store = store(&registry(&server), access("", Some(home.path())));
        let error = fetch(&store, &digest, 5).await.unwrap_err().to_string();
        assert!(error.contains(words), "{answer}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_a_registry_leads_to_is_told_no_login() {
    let (server, elsewhere, home) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    let host = format!("127.0.0.1:{}", server.url("").port().unwrap());
    std::fs::create_dir(home.path().join(".docker")).unwrap();
    let config =
        format!("{{\"auths\": {{\"{host}\": {{\"username\": \"me\", \"password\": \"hunter2\"}}}}}}");
    std::fs::write(home.path().join(".docker/config.json"), config).unwrap();
    let digest = Digest::of(b"right");
    let leads = format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url("m"));
    server.set(&blob(&digest), [Answer::status(&leads)]);
    // It asks for the login as if it were the registry.
    for asks in ["Basic realm=\"x\"".to_owned(), format!("Bearer realm=\"{}\"", elsewhere.url("token"))] {
        elsewhere.set("m", [Answer::status(&format!("401 Unauthorized\r\nWWW-Authenticate: {asks}"))]);
        let store = store(&registry(&server), access("", Some(home.path())));
        let error = fetch(&store, &digest, 5).await.unwrap_err().to_string();
        assert!(error.contains("the server that the registry leads to"), "{error}");
    }
    assert_eq!(elsewhere.asked(), ["m", "m"]);
}

fn repositories(server: &Server) -> (Repositories, String) {
    (Repositories::new(Access::default()), format!("127.0.0.1:{}", server.url("").port().unwrap()))
}

#[tokio::test]
async fn tags_come_in_pages_of_one_server() {
    let server = Server::start();
    let (all, host) = repositories(&server);
    let repository = all.get(&host, "team/camera").unwrap();
    let page = |tags: &str, link: &str| Answer {
        head: format!("200 OK\r\nLink: <{link}>; rel=\"next\""),
        body: format!("{{\"name\":\"x\",\"tags\":{tags}}}").into_bytes(),
    };
    assert_eq!(repository.tags(10).await.unwrap(), None);
    let (first, next) = ("v2/team/camera/tags/list?n=1000", "v2/team/camera/tags/list?n=1000&last=b");
    server.set(first, [page("[\"a\",\"b\"]", &format!("/{next}"))]);
    server.set(next, [Answer::file("{\"tags\":[\"c\"]}")]);
    assert_eq!(repository.tags(10).await.unwrap().unwrap(), ["a", "b", "c"]);
    assert!(repository.tags(2).await.unwrap_err().to_string().contains("more than 2"));
    server.set(first, [Answer::file("{\"tags\":null}")]);
    assert_eq!(repository.tags(10).await.unwrap().unwrap(), Vec::<String>::new());
    for link in [
        "http://x.example/v2/team/camera/tags/list?last=b",
        "/v2/other/tags/list?last=b",
        &format!("/{first}"),
    ] {
        server.set(first, [page("[\"a\"]", link)]);
        let error = repository.tags(10).await.unwrap_err().to_string();
        assert!(error.contains("is the rest of the list"), "{error}");
    }
    // Pages without an end.
    server.set(first, [page("[]", &format!("/{next}"))]);
    server.set(next, [page("[]", &format!("/{next}"))]);
    assert!(repository.tags(10).await.unwrap_err().to_string().contains("more than 10"));
    server.set(first, [Answer::file("[]")]);
    assert!(repository.tags(10).await.unwrap_err().to_string().contains("not a list"));
}

#[tokio::test]
async fn a_manifest_is_the_one_that_the_registry_says_it_is() {
    let server = Server::start();
    let (all, host) = repositories(&server);
    let repository = all.get(&host, "team/camera").unwrap();
    let path = "v2/team/camera/manifests/1.0.0";
    let with = |digest: Digest| Answer {
        head: format!("200 OK\r\nDocker-Content-Digest: {digest}"),
        body: b"text".to_vec(),
    };
    assert_eq!(repository.manifest("1.0.0", None).await.unwrap(), FoundManifest::Nothing);
    server.set(path, [with(Digest::of(b"text"))]);
    let found = repository.manifest("1.0.0", None).await.unwrap();
    assert_eq!(found, FoundManifest::Manifest(b"text".to_vec()));
    server.set(path, [Answer::status("304 Not Modified")]);
    let known = Digest::of(b"text");
    assert_eq!(repository.manifest("1.0.0", Some(&known)).await.unwrap(), FoundManifest::Unchanged);
    assert!(repository.manifest("1.0.0", None).await.is_err());
    server.set(path, [with(Digest::of(b"other"))]);
    let error = repository.manifest("1.0.0", None).await.unwrap_err().to_string();
    assert!(
        error.contains(&Digest::of(b"other").to_string()) && error.contains(&known.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_may_have_a_list_of_repositories() {
    let server = Server::start();
    let (all, host) = repositories(&server);
    assert!(all.check(&host).await.unwrap_err().to_string().contains("no OCI registry"));
    server.set("v2/", [Answer::status("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"")]);
    all.check(&host).await.unwrap();
    let list = "v2/_catalog?n=1000";
    assert_eq!(all.list(&host, "team", 10).await.unwrap(), None);
    server.set(list, [Answer::status("403 Forbidden")]);
    assert_eq!(all.list(&host, "team", 10).await.unwrap(), None);
    server
        .set(list, [Answer::file("{\"repositories\":[\"team/camera\",\"team/a/b\",\"teams/x\",\"team\"]}")]);
    assert_eq!(all.list(&host, "team", 10).await.unwrap().unwrap(), ["camera", "a/b"]);
    server.set(list, [Answer::status("500 Internal Server Error\r\nRetry-After: 0")]);
    assert!(all.list(&host, "team", 10).await.unwrap_err().to_string().contains("500"));
}
