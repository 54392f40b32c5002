mod encrypted;
mod port;
mod sources;

use std::io;
use std::path::Path;

use pib_net::testing::{Answer, Server};
use pib_plan::id::Digest;
use pib_plan::recording::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// The address by which recordings know the test's server.
const PUBLIC: &str = "http://archive.example/debian";

struct World {
    folder: tempfile::TempDir,
    server: Server,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::TempDir::new().unwrap(), server: Server::start() }
    }

    fn options(&self, recording: Recording, unknown: Unknown) -> Options {
        let actual = self.server.url("").to_string();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Options {
            recording,
            store: self.folder.path().join("store"),
            journal: Some(self.folder.path().join("journal")),
            mirrors: vec![Mirror { public: PUBLIC.to_owned(), actual }],
            stores: Vec::new(),
            past: Vec::new(),
            lists: None,
            pauses: vec![Duration::ZERO; 2],
            waiting: None,
            private: Vec::new(),
            unknown,
            offline: false,
            variables: Variables {
                always: vec![pair("http_proxy", "{proxy}")],
                replay: vec![pair("APT_CONFIG", "/x")],
            },
        }
    }

    fn recorder(&self, recording: Recording, unknown: Unknown) -> Recorder {
        Recorder::new(self.options(recording, unknown)).unwrap()
    }

    /// Removes all bodies from the store.
    fn empty_store(&self) {
        std::fs::remove_dir_all(self.folder.path().join("store")).unwrap();
    }
}

/// Sends a request and returns the status line, the headers and the body.
async fn send(recorder: &Recorder, request: &str) -> (String, String, Vec<u8>) {
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    recorder.serve(theirs);
    ours.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    ours.read_to_end(&mut all).await.unwrap();
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    (status.to_owned(), headers.to_lowercase(), all[end + 4..].to_vec())
}

async fn ask(recorder: &Recorder, method: &str, url: &str) -> (String, String, Vec<u8>) {
    send(recorder, &format!("{method} {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

async fn get(recorder: &Recorder, path: &str) -> (String, Vec<u8>) {
    let (status, _, body) = ask(recorder, "GET", &format!("{PUBLIC}/{path}")).await;
    (status, body)
}

fn body(fill: u8, size: usize) -> Vec<u8> {
    (0..size).map(|number| fill.wrapping_add((number % 251) as u8)).collect()
}

#[tokio::test]
async fn what_was_given_once_is_given_again_without_the_server() {
    let world = World::new();
    let big = body(3, 700_001);
    world.server.set("a.deb", [Answer::file(big.clone()), Answer::file("another")]);
    let typed = "200 OK\r\nContent-Type: text/x\r\nSet-Cookie: a=b\r\nDate: Sat, 28 Nov 2026 10:00:00 GMT\r\nContent-Length: 0".to_owned();
    world.server.set("empty", [Answer { head: typed, body: vec![] }]);
    let moved = "302 Found\r\nLocation: http://other.example/x\r\nContent-Length: 4".to_owned();
    world.server.set("moved", [Answer { head: moved, body: b"here".to_vec() }]);
    let first = world.recorder(Recording::default(), Unknown::Record);
    let answers = async |recorder: &Recorder| {
        let mut all = Vec::new();
        for path in ["a.deb", "empty", "moved", "none"] {
            all.push(ask(recorder, "GET", &format!("{PUBLIC}/{path}")).await);
        }
        all
    };
    let live = answers(&first).await;
    assert_eq!(live[0].2, big);
    assert!(live[1].1.contains("content-type: text/x") && !live[1].1.contains("cookie"), "{live:?}");
    assert!(live.iter().all(|answer| !answer.1.contains("date:")), "the day of the build: {live:?}");
    assert!(live[2].0.contains("302") && live[2].1.contains("location: http://other.example/x"));
    assert!(live[3].0.contains("404"), "{:?}", live[3]);
    assert_eq!(answers(&first).await, live, "in the same build");
    let recording = Recording::parse("f", &first.recording().to_text()).unwrap();
    assert_eq!(recording.len(), 4);
    let asked = world.server.asked();
    assert_eq!(asked, ["a.deb", "empty", "moved", "none"], "each once");
    let later = world.recorder(recording, Unknown::Refuse);
    assert_eq!(answers(&later).await, live);
    assert_eq!(world.server.asked(), asked);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_given_again_as_one() {
    let world = World::new();
    world.server.set("x", [Answer { head: "200 OK".to_owned(), body: b"content".to_vec() }]);
    let first = world.recorder(Recording::default(), Unknown::Record);
    let url = format!("{PUBLIC}/x");
    let live = ask(&first, "GET", &url).await;
    assert!(!live.1.contains("content-length") && live.1.contains("chunked"), "{live:?}");
    let again = world.recorder(first.recording(), Unknown::Refuse);
    assert_eq!(ask(&again, "GET", &url).await, live);
    assert!(!ask(&again, "HEAD", &url).await.1.contains("content-length"));
    let text = first.recording().to_text();
    assert_eq!(Recording::parse("x", &text).unwrap(), first.recording());
}

#[tokio::test]
async fn what_is_not_recorded_is_refused_where_nothing_may_be_added() {
    let world = World::new();
    world.server.set("a", [Answer::file("a")]);
    let recorder = world.recorder(Recording::default(), Unknown::Refuse);
    let (status, _) = get(&recorder, "a").await;
    assert_eq!(status, "HTTP/1.1 403 pib.fetch.lock has no answer to this");
    let (status, _, _) = ask(&recorder, "PUT", &format!("{PUBLIC}/a")).await;
    assert!(status.starts_with("HTTP/1.1 405 pib records"), "{status}");
    assert_eq!(recorder.refused(), [format!("PUT {PUBLIC}/a"), format!("{PUBLIC}/a")]);
    assert!(world.server.asked().is_empty() && recorder.recording().is_empty());
}

#[tokio::test]
async fn a_head_is_answered_by_what_is_known_of_the_whole() {
    let world = World::new();
    world.server.set("a", [Answer::file("12345")]);
    world.server.set("b", [Answer { head: "200 OK\r\nContent-Length: 77".to_owned(), body: vec![] }]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    get(&recorder, "a").await;
    for (path, size) in [("a", 5), ("b", 77), ("b", 77)] {
        let (status, headers, body) = ask(&recorder, "HEAD", &format!("{PUBLIC}/{path}")).await;
        assert!(status.contains("200") && headers.contains(&format!("content-length: {size}")), "{headers}");
        assert!(body.is_empty());
    }
    assert_eq!(world.server.asked().len(), 2);
}

#[tokio::test]
async fn pieces_and_conditions_get_the_whole() {
    let world = World::new();
    world.server.set("a", [Answer::file("whole")]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    for _ in 0..2 {
        let request = format!(
            "GET {PUBLIC}/a HTTP/1.1\r\nHost: x\r\nRange: bytes=2-\r\nIf-None-Match: \"x\"\r\nConnection: close\r\n\r\n"
        );
        let (status, _, body) = send(&recorder, &request).await;
        assert!(status.contains("200") && body == b"whole", "{status}");
    }
}

#[tokio::test]
async fn many_requests_on_one_connection_are_answered_in_order() {
    let world = World::new();
    let bodies: Vec<Vec<u8>> = (1..9).map(|number| body(number, 40_000 * usize::from(number))).collect();
    let mut requests = String::new();
    for (number, body) in bodies.iter().enumerate() {
        world.server.set(&format!("{number}"), [Answer::file(body.clone())]);
        let end = if number + 1 == bodies.len() { "Connection: close\r\n" } else { "" };
        requests.push_str(&format!("GET {PUBLIC}/{number} HTTP/1.1\r\nHost: x\r\n{end}\r\n"));
    }
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    for _ in 0..2 {
        let (_, _, all) = send(&recorder, &requests).await;
        let mut at = 0;
        for body in &bodies {
            let found = all[at..].windows(64).position(|window| window == &body[..64]).unwrap();
            assert_eq!(&all[at + found..][..body.len()], body.as_slice());
            at += found + body.len();
        }
    }
}

#[tokio::test]
async fn what_breaks_off_or_fails_is_not_recorded() {
    let world = World::new();
    let cut = "200 OK\r\nContent-Length: 100000".to_owned();
    world.server.set("cut", [Answer { head: cut, body: body(1, 50_000) }, Answer::file("whole")]);
    world.server.set("busy", [Answer::status("503 Busy")]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let (_, body) = get(&recorder, "cut").await;
    assert!(body.len() < 100_000, "{}", body.len());
    assert!(get(&recorder, "busy").await.0.contains("503"));
    assert!(recorder.recording().is_empty());
    assert_eq!(get(&recorder, "cut").await.1, b"whole");
    assert_eq!(recorder.recording().len(), 1);
}

#[tokio::test]
async fn a_request_is_told_from_another_by_what_the_server_chooses_by() {
    let world = World::new();
    let by_accept = |body: &str| Answer {
        head: format!("200 OK\r\nVary: Accept-Encoding, Accept\r\nContent-Length: {}", body.len()),
        body: body.into(),
    };
    world.server.set("list", [by_accept("page"), by_accept("json"), by_accept("none")]);
    let challenge = "401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm=\"x\"";
    world.server.set("own", [Answer { head: challenge.to_owned(), body: vec![] }, Answer::file("own")]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let answers = async |recorder: &Recorder| {
        let mut all = Vec::new();
        for (path, header) in [
            ("list", "Accept: text/html\r\n"),
            ("list", "Accept: application/json\r\n"),
            ("list", ""),
            ("own", ""),
            ("own", "Authorization: Basic dTpw\r\n"),
        ] {
            let request =
                format!("GET {PUBLIC}/{path} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n");
            all.push(send(recorder, &request).await);
        }
        all
    };
    let live = answers(&recorder).await;
    let bodies: Vec<&[u8]> = live.iter().map(|(_, _, body)| &**body).collect();
    assert_eq!(bodies, [&b"page"[..], b"json", b"none", b"", b"own"]);
    assert!(
        live[3].0.contains(" 401 ") && live[3].1.contains("www-authenticate: basic realm=\"x\""),
        "{live:?}"
    );
    let text = recorder.recording().to_text();
    assert!(!text.contains("dTpw"), "{text}");
    let replay = world.recorder(Recording::parse("f", &text).unwrap(), Unknown::Refuse);
    assert_eq!(answers(&replay).await, live);
    assert_eq!(world.server.asked().len(), 5);
    assert_eq!((replay.count_of_new(), replay.absent()), (0, vec![format!("{PUBLIC}/own")]));
}

#[tokio::test]
async fn what_cannot_be_given_again_is_not_given_once() {
    let world = World::new();
    world.server.set("none", [Answer { head: "204 No Content".to_owned(), body: Vec::new() }]);
    let far = format!("302 Found\r\nContent-Length: 0\r\nLocation: /{}", "x".repeat(9_000));
    world.server.set("far", [Answer { head: far, body: Vec::new() }]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    for name in ["none", "far"] {
        assert!(get(&recorder, name).await.0.contains(" 502 "), "{name}");
    }
    assert!(recorder.recording().is_empty());
    assert_eq!(recorder.failed().len(), 2);
}

#[tokio::test]
async fn a_part_that_goes_away_leaves_nothing() {
    let world = World::new();
    world.server.set("a", [Answer::file(body(1, 4_000_000))]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let (mut ours, theirs) = tokio::io::duplex(1 << 12);
    recorder.serve(theirs);
    ours.write_all(format!("GET {PUBLIC}/a HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    ours.read_exact(&mut [0; 100]).await.unwrap();
    drop(ours);
    // The next one waits until the first has ended.
    assert_eq!(get(&recorder, "a").await.1.len(), 4_000_000);
    assert_eq!(recorder.recording().len(), 1);
    let left = std::fs::read_dir(world.folder.path().join("store/tmp")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_body_that_is_lost_or_damaged_is_fetched_again_and_compared() {
    let world = World::new();
    world.server.set(
        "a",
        [Answer::file("first"), Answer::file("first"), Answer::file("first"), Answer::file("other")],
    );
    let recording = {
        let recorder = world.recorder(Recording::default(), Unknown::Record);
        get(&recorder, "a").await;
        recorder.recording()
    };
    world.empty_store();
    let again = world.recorder(recording.clone(), Unknown::Refuse);
    assert_eq!(get(&again, "a").await.1, b"first");
    damage(&world.folder.path().join("store"));
    let again = world.recorder(recording.clone(), Unknown::Refuse);
    assert_eq!(get(&again, "a").await.1, b"first", "a damaged one is not given");
    let store = world.folder.path().join("store");
    assert_eq!(Store::verify(&store).unwrap(), (1, vec![]));
    damage(&store);
    let (whole, damaged) = Store::verify(&store).unwrap();
    assert_eq!((whole, damaged.len()), (0, 1));
    let again = world.recorder(recording.clone(), Unknown::Refuse);
    let (status, _) = get(&again, "a").await;
    assert!(status.contains("502") && status.contains("another file by now"), "{status}");
    assert_eq!(again.undelivered().len(), 1);
    let asked = world.server.asked().len();
    let mut options = world.options(recording, Unknown::Refuse);
    options.offline = true;
    let (status, _) = get(&Recorder::new(options).unwrap(), "a").await;
    assert!(status.contains("network is not used"), "{status}");
    assert_eq!(world.server.asked().len(), asked);
}

/// Changes every body in a store, but not its size.
fn damage(store: &Path) {
    for folder in std::fs::read_dir(store).unwrap().flatten() {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let size = file.metadata().unwrap().len() as usize;
            std::fs::write(file.path(), vec![b'x'; size]).unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_killed_build_has_recorded_is_there() {
    let world = World::new();
    world.server.set("a", [Answer::file("a")]);
    world.server.set("b", [Answer::file("b")]);
    let killed = world.recorder(Recording::default(), Unknown::Record);
    get(&killed, "a").await;
    get(&killed, "b").await;
    let journal = world.folder.path().join("journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 9]).unwrap();
    let next = world.recorder(Recording::default(), Unknown::Record);
    assert_eq!(next.recording().len(), 1, "the line that was cut is not taken");
    get(&next, "b").await;
    assert_eq!(next.recording(), killed.recording());
    assert_eq!(world.recorder(Recording::default(), Unknown::Record).recording(), killed.recording());

    // Another build of the same snapshot, at the same time.
    world.server.set("c", [Answer::file("c")]);
    get(&killed, "c").await;
    assert_eq!(next.recording().len(), 2);
    assert_eq!(next.recording_of_all().unwrap(), killed.recording());
}

#[test]
fn a_name_goes_with_its_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let (path, copy) = (folder.path().join("names/one"), folder.path().join("copy"));
    assert!(known_name(&path).unwrap().is_none());
    let first = begin_name(&path).unwrap();
    let known = known_name(&path).unwrap().unwrap();
    assert!(known.name == first && known.responses.is_empty() && !known.is_spoilt);
    std::fs::rename(&path, folder.path().join("moved")).unwrap();
    assert!(known_name(&path).unwrap().is_none());
    std::fs::rename(folder.path().join("moved"), &path).unwrap();
    assert_eq!(known_name(&path).unwrap().unwrap().name, first);
    // What a backup, or a cache of a CI service, brings back.
    std::fs::copy(&path, &copy).unwrap();
    assert!(known_name(&copy).unwrap().is_none());
    for text in ["", "\n", "pib-journal-1", "pib-journal-1 sha256:0 1 1", "{}"] {
        std::fs::write(&copy, text).unwrap();
        assert!(known_name(&copy).unwrap().is_none(), "{text}");
    }
    let again = begin_name(&path).unwrap();
    assert!(again != first && known_name(&path).unwrap().unwrap().name == again);
}

#[tokio::test]
async fn what_did_not_stop_a_command_spoils_the_name_for_those_after_it() {
    let world = World::new();
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let begin = async || drop(ask(&recorder, "GET", "/environment").await);
    begin().await;
    // A command asks again, and has it.
    world.server.set("late", [Answer::status("503 Busy")]);
    assert!(get(&recorder, "late").await.0.contains("503"));
    world.server.set("late", [Answer::file("there")]);
    assert!(get(&recorder, "late").await.0.contains("200"));
    begin().await;
    assert!(!recorder.is_spoilt());
    world.server.set("gone", [Answer::status("503 Busy")]);
    assert!(get(&recorder, "gone").await.0.contains("503"));
    assert!(!recorder.is_spoilt(), "it may be what ends the command");
    begin().await;
    assert!(recorder.is_spoilt());
}

#[tokio::test]
async fn commands_are_told_of_the_proxy_and_of_a_replay() {
    let world = World::new();
    world.server.set("a", [Answer::file("a")]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let question = "GET /environment HTTP/1.1\r\nHost: pib\r\nConnection: close\r\n\r\n";
    assert_eq!(send(&recorder, question).await.2, b"http_proxy={proxy}\n");
    get(&recorder, "a").await;
    assert_eq!(send(&recorder, question).await.2, b"http_proxy={proxy}\n");
    let replay = world.recorder(recorder.recording(), Unknown::Record);
    assert_eq!(send(&replay, question).await.2, b"http_proxy={proxy}\nAPT_CONFIG=/x\n");
}

#[tokio::test]
async fn nothing_on_this_machine_or_its_network_is_reached() {
    let world = World::new();
    world.server.set("secret", [Answer::file("secret")]);
    let actual = world.server.url("").to_string();
    let mut options = world.options(Recording::default(), Unknown::Record);
    options.mirrors = vec![Mirror { public: PUBLIC.to_owned(), actual: format!("{actual}mirror/") }];
    let recorder = Recorder::new(options).unwrap();
    let port = world.server.url("").port().unwrap();
    for url in [
        format!("{actual}secret"),
        format!("http://localhost:{port}/secret"),
        format!("http://[::ffff:127.0.0.1]:{port}/secret"),
        format!("{actual}mirror/../secret"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
    ] {
        let (status, _, body) = ask(&recorder, "GET", &url).await;
        assert!(status.contains(" 403 ") && status.contains("public internet"), "{url}: {status}");
        assert!(!body.windows(6).any(|window| window == b"secret"), "{url}");
    }
    assert!(world.server.asked().is_empty());
    for bad in ["http://u:p@archive.example/", "ftp://archive.example/"] {
        let (status, _, _) = ask(&recorder, "GET", bad).await;
        assert!(status.contains(" 400 "), "{bad}: {status}");
    }
    assert!(recorder.recording().is_empty());
}

#[tokio::test]
async fn a_redirect_leads_the_part_and_not_pib() {
    let world = World::new();
    let head = "302 Found\r\nLocation: http://127.0.0.1:1/secret\r\nContent-Length: 0".to_owned();
    world.server.set("moved", [Answer { head, body: vec![] }]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let (status, headers, _) = ask(&recorder, "GET", &format!("{PUBLIC}/moved")).await;
    assert!(status.contains("302") && headers.contains("location: http://127.0.0.1:1/secret"));
}

#[tokio::test]
async fn nonsense_is_answered_or_ends_the_connection() {
    let world = World::new();
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    for bytes in [
        &b"\0\x01\x02\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"CONNECT x HTTP/1.1\r\n\r\n",
    ] {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        recorder.serve(theirs);
        ours.write_all(bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut all = Vec::new();
        ours.read_to_end(&mut all).await.unwrap();
        assert!(all.is_empty() || all.starts_with(b"HTTP/1.1 4"), "{bytes:?}: {all:?}");
    }
}

#[tokio::test]
async fn what_is_sent_tells_one_answer_from_another() {
    let world = World::new();
    world.server.set("rpc", [Answer::file("one"), Answer::file("two")]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let post = async |recorder: &Recorder, sent: &str| {
        let length = sent.len();
        let request = format!(
            "POST {PUBLIC}/rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{sent}"
        );
        String::from_utf8(send(recorder, &request).await.2).unwrap()
    };
    assert_eq!(post(&recorder, "a").await, "one");
    assert_eq!(post(&recorder, "b").await, "two");
    assert_eq!(post(&recorder, "a").await, "one");
    let replay = world.recorder(recorder.recording(), Unknown::Refuse);
    assert_eq!(post(&replay, "b").await, "two");
    assert!(post(&replay, "c").await.contains("no answer"));
}
