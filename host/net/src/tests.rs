use std::io::Read;
use std::sync::atomic::{AtomicI64, Ordering};

use super::testing::{Answer, Server};
use super::*;

async fn bytes(server: &Server, path: &str, limit: u64) -> Result<Vec<u8>, NetError> {
    Http::new().unwrap().bytes(&server.url(path), limit).await
}

/// A body that ends before its announced length.
fn cut() -> Answer {
    Answer { head: "200 OK\r\nContent-Length: 100".to_owned(), body: b"half".to_vec() }
}

#[tokio::test]
async fn what_fails_for_a_passing_reason_is_tried_again() {
    let server = Server::start();
    let busy = Answer::status("429 Too Many Requests\r\nRetry-After: 0");
    server.set("x", [Answer::status("503 Service Unavailable"), busy, cut(), Answer::file("data")]);
    assert_eq!(bytes(&server, "x", 10_000).await.unwrap(), b"data");
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn what_will_not_change_is_not_tried_again() {
    let server = Server::start();
    let missing = bytes(&server, "nosuch", 10).await.unwrap_err();
    assert!(missing.is_not_found() && missing.to_string().contains("/nosuch"), "{missing}");
    server.set("no", [Answer::status("403 Forbidden")]);
    let refused = bytes(&server, "no", 10).await.unwrap_err();
    assert!(!refused.is_not_found() && refused.to_string().contains("403"), "{refused}");
    assert_eq!(server.asked(), ["nosuch", "no"]);
}

#[tokio::test]
async fn a_lasting_failure_ends() {
    let server = Server::start();
    server.set("x", [Answer::status("500 Internal Server Error\r\nRetry-After: 0")]);
    assert!(matches!(bytes(&server, "x", 10).await, Err(NetError::Status { .. })));
    assert_eq!(server.asked().len(), ATTEMPTS as usize);
}

#[tokio::test]
async fn no_answer_is_longer_than_the_limit() {
    let server = Server::start();
    server.set("told", [Answer::file("12345")]);
    server.set("untold", [Answer { head: "200 OK".to_owned(), body: b"12345".to_vec() }]);
    for path in ["told", "untold"] {
        assert_eq!(bytes(&server, path, 5).await.unwrap(), b"12345");
        assert!(matches!(bytes(&server, path, 4).await, Err(NetError::TooLarge { limit: 4, .. })), "{path}");
    }
}

#[tokio::test]
async fn a_download_starts_again_and_tells_its_digest() {
    let server = Server::start();
    server.set("x", [cut(), Answer::file("data")]);
    let mut file = tempfile::tempfile().unwrap();
    let moved = AtomicI64::new(0);
    let count = |bytes| {
        moved.fetch_add(bytes, Ordering::Relaxed);
    };
    let digest = Http::new().unwrap().download(&server.url("x"), 100, &mut file, &count).await.unwrap();
    assert_eq!((digest, moved.load(Ordering::Relaxed)), (Digest::of(b"data"), 4));
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "data");
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    let server = Server::start();
    server.set("a", [Answer::status("302 Found\r\nLocation: /b")]);
    server.set("b", [Answer::file("data")]);
    server.set("loop", [Answer::status("302 Found\r\nLocation: /loop")]);
    assert_eq!(bytes(&server, "a", 10).await.unwrap(), b"data");
    assert!(matches!(bytes(&server, "loop", 10).await, Err(NetError::Transport { .. })));
}

#[tokio::test]
async fn a_server_that_asks_for_an_hour_is_not_waited_for() {
    let server = Server::start();
    server.set("x", [Answer::status("429 Too Many Requests\r\nRetry-After: 3600")]);
    let error = bytes(&server, "x", 10).await.unwrap_err();
    assert!(error.to_string().contains("429") && error.to_string().contains("3600 seconds"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn what_a_server_has_no_time_for_is_sent_again() {
    let server = Server::start();
    let url = server.url("x");
    let put = async || {
        let http = Http::new().unwrap();
        http.send(Method::PUT, &url, b"body".to_vec(), 1000).await.map(|(status, _)| status.as_u16()).unwrap()
    };
    let busy = || Answer::status("429 Too Many Requests\r\nRetry-After: 0");
    server.set("x", [busy(), busy(), Answer::file("done")]);
    assert_eq!((put().await, server.asked().len()), (200, 3));
    // Neither for ever, nor where it asks for an hour, nor for another reason.
    server.set("x", [busy()]);
    assert_eq!((put().await, server.asked().len()), (429, 3 + 4));
    server.set("x", [Answer::status("429 Too Many Requests\r\nRetry-After: 3600")]);
    assert_eq!((put().await, server.asked().len()), (429, 3 + 4 + 1));
    server.set("x", [Answer::status("503 Service Unavailable\r\nRetry-After: 0")]);
    assert_eq!((put().await, server.asked().len()), (503, 3 + 4 + 2));
}

/// A server that sends this, and then the second text again and again, with pauses; returns its address.
fn endless(start: &'static str, again: &'static str, pause: Duration) -> Url {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // What comes before the question is no answer to it.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(start.as_bytes());
                while stream.write_all(again.as_bytes()).is_ok() {
                    std::thread::sleep(pause);
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_server_that_goes_on_for_ever_is_left() {
    let drip = Duration::from_millis(20);
    let full = Duration::ZERO;
    let mut all = tokio::task::JoinSet::new();
    for (start, again, pause, words) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", "{", drip, "fewer than 1000 bytes a second"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", drip, "fewer than 1000"),
        ("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxx", full, "larger than the 60000 bytes"),
        ("HTTP/1.1 200 OK\r\n", "X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", full, "failed"),
        ("HTTP/1.1 200 OK\r\n", "X-A: a\r\n", drip, "failed"),
        ("HTTP/1.1 200 OK\r\nX-A: ", "a", drip, "no answer for 1 seconds"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", drip, "no answer for 1 seconds"),
        ("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", drip, "no answer for 1 seconds"),
        ("", "", drip, "no answer for 1 seconds"),
    ] {
        all.spawn(async move {
            let began = std::time::Instant::now();
            let second = Duration::from_secs(1);
            let http = Http::with_bounds(second, second).unwrap();
            let error = http.bytes(&endless(start, again, pause), 60_000).await.unwrap_err().to_string();
            assert!(error.contains(words), "{start:?} {again:?}: {error}");
            assert!(began.elapsed() < Duration::from_secs(30), "{start:?} {again:?}: {:?}", began.elapsed());
            // A server that was silent for the whole second is not asked again: four attempts take four seconds.
            let is_silent = words.starts_with("no answer");
            assert!(!is_silent || began.elapsed() < second * 4, "{again:?}: {:?}", began.elapsed());
            // What else is asked of a server is as patient.
            let began = std::time::Instant::now();
            let url = endless(start, again, pause);
            let error = http.send(Method::GET, &url, Vec::new(), 60_000).await.unwrap_err().to_string();
            assert!(error.contains(words), "{start:?} {again:?}: {error}");
            assert!(began.elapsed() < Duration::from_secs(30), "{start:?} {again:?}: {:?}", began.elapsed());
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}
