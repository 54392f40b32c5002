//! A registry's server in operation: limits, counters, the access log, and how it ends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::registry_service::{Service, stage, token};
use crate::bench::Bench;
use crate::site::succeeds;

const NOBODY: &str = "/api/v1/stages/nobody/1.0.0/yank";

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn shop() -> Bench {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    bench
}

#[test]
fn who_asks_too_often_waits() {
    let bench = shop();
    let tokens = [(); 2].map(|()| format!("authorization: Bearer {}", token(&bench, &[])));
    let limits = ["--limit-token", "2", "--limit-address", "4", "--limit-failures", "2"];
    let serve = [&["shop", "--tokens", "tokens.json", "--behind-proxy", "--access-log", "log"], &limits[..]];
    let service = Service::of(&bench, &serve.concat());
    let ask = |method: &str, path: &str, from: &str, bearer: &str| {
        let answer = service.request(method, path, &[bearer, &format!("x-forwarded-for: {from}")], b"");
        if status(&answer) == 429 {
            let wait = answer.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
            assert!((1..=61).contains(&wait.parse::<u64>().unwrap()), "{answer}");
        }
        (status(&answer), answer)
    };
    let (one, two) = (tokens[0].as_str(), tokens[1].as_str());
    for (from, bearer, expected, words) in [
        ("192.0.2.1", one, 404, ""),
        ("192.0.2.1", one, 404, ""),
        // The token is used up, wherever it is sent from; another one is not, until the address is.
        ("192.0.2.1", one, 429, "too many changes with this token"),
        ("192.0.2.2", one, 429, "too many changes with this token"),
        ("192.0.2.1", two, 404, ""),
        ("192.0.2.1", two, 429, "too many changes from your address"),
    ] {
        let (status, answer) = ask("PUT", NOBODY, from, bearer);
        assert!(status == expected && answer.contains(words), "{from}: {answer}");
    }
    // Who reads waits for nothing.
    for _ in 0..20 {
        assert_eq!(ask("GET", "/config.json", "192.0.2.1", "x-none: 1").0, 200);
        assert_eq!(ask("GET", "/api/v1/me", "192.0.2.1", one).0, 200);
    }
    // After two tokens that are none also a right one is not looked at. Elsewhere it is.
    let wrong = "authorization: Bearer pib_0123456789abcdef";
    for (expected, bearer) in [(401, wrong), (401, wrong), (429, wrong), (429, one)] {
        assert_eq!(ask("GET", "/api/v1/me", "192.0.2.3", bearer).0, expected);
    }
    assert_eq!(ask("GET", "/api/v1/me", "192.0.2.4", one).0, 200);

    let metrics = service.get("/metrics", &[]);
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    for line in [
        "pib_registry_limited_total{limit=\"token\"} 2",
        "pib_registry_limited_total{limit=\"address\"} 1",
        "pib_registry_limited_total{limit=\"failures\"} 2",
        "pib_registry_requests_total{method=\"GET\",route=\"/config.json\",status=\"200\"} 20",
        "pib_registry_publishes_total{result=\"new\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }
    assert!(metrics.contains("\npib_registry_connections "), "{metrics}");
    service.end();
    assert_eq!(service.wait(), Some(0));
    let log = std::fs::read_to_string(bench.path("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6 + 40 + 5 + 1);
    let first = &lines[0];
    assert!(first["user"] == "ann" && first["address"] == "192.0.2.1" && first["path"] == NOBODY, "{first}");
    assert!(first["status"] == 404 && first["sent"].as_u64().unwrap() > 10, "{first}");
    for secret in [&one[22..], "0123456789abcdef"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// Begins to publish a stage, and returns what is still to be sent once the server has begun to read.
fn half_published(bench: &Bench, service: &Service, secret: &str) -> (TcpStream, Vec<u8>) {
    stage(bench, "camera", "1.0.0");
    succeeds(bench, &["package", "camera", "--output", "packed"]);
    let mut archive = std::fs::read(bench.path("packed/camera-1.0.0.stage")).unwrap();
    let mut stream = TcpStream::connect(&service.address).unwrap();
    let head = format!(
        "PUT /api/v1/stages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        archive.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    let rest = archive.split_off(archive.len() / 2);
    stream.write_all(&archive).unwrap();
    (stream, rest)
}

#[test]
fn what_was_begun_goes_on_when_the_server_ends() {
    let bench = shop();
    let secret = token(&bench, &[]);
    let service = Service::of(&bench, &["shop", "--tokens", "tokens.json", "--grace", "3000"]);
    // Neither who has asked for nothing nor who has got an answer keeps the server.
    let idle = TcpStream::connect(&service.address).unwrap();
    let mut kept = TcpStream::connect(&service.address).unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    kept.read_exact(&mut [0; 12]).unwrap();
    let (mut stream, rest) = half_published(&bench, &service, &secret);
    service.end();
    while TcpStream::connect(&service.address).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(&rest).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("{\"changed\":true}"), "{answer}");
    assert_eq!(service.wait(), Some(0));
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("1 version of 1 stage"));
    drop((idle, kept));
}

#[test]
fn what_does_not_end_does_not_keep_the_server() {
    let bench = shop();
    let secret = token(&bench, &[]);
    let service = Service::of(&bench, &["shop", "--tokens", "tokens.json", "--grace", "0"]);
    let half = half_published(&bench, &service, &secret);
    service.end();
    assert_eq!(service.wait(), Some(0));
    drop(half);
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("0 versions of 0 stages"));
}

#[test]
fn who_does_not_wait_for_an_answer_is_in_the_log() {
    let bench = shop();
    let secret = token(&bench, &[]);
    let service = Service::of(&bench, &["shop", "--tokens", "tokens.json", "--access-log", "log"]);
    // Waits until so many requests have ended with this status.
    let count = |status: u16, wanted: usize| {
        let is_meant = |line: &&str| {
            line.starts_with("pib_registry_requests_total{method=\"PUT\"")
                && line.contains(&format!("status=\"{status}\""))
        };
        let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        while service.get("/metrics", &[]).lines().filter(is_meant).map(number).sum::<usize>() < wanted {
            std::thread::yield_now();
        }
    };
    // One stops in the middle of its archive.
    let (stream, _) = half_published(&bench, &service, &secret);
    drop(stream);
    count(400, 1);
    // Another one's change waits for the registry, which somebody else holds.
    stage(&bench, "light", "1.0.0");
    succeeds(&bench, &["publish", "light", "--registry", "./shop"]);
    let held = std::fs::File::open(bench.path("shop")).unwrap();
    held.lock().unwrap();
    let yank = |version: &str| {
        let mut stream = TcpStream::connect(&service.address).unwrap();
        let head = format!(
            "PUT /api/v1/stages/light/{version}/yank HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let stream = yank("1.0.0");
    let waits = format!("FLOCK  ADVISORY  WRITE {} ", service.id());
    let is_waiting = |line: &str| line.contains("->") && line.contains(&waits);
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(is_waiting) {
        std::thread::yield_now();
    }
    drop(stream);
    count(499, 1);
    // A third one is gone before anybody has looked at what it wants.
    drop(yank("2.0.0"));
    count(499, 2);
    drop(held);
    service.end();
    assert_eq!(service.wait(), Some(0));
    let log = std::fs::read_to_string(bench.path("log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let changes: Vec<Value> = lines.filter(|line| line["method"] == "PUT").collect();
    let [half, abandoned, gone] = &changes[..] else { panic!("{log}") };
    assert!(gone["status"] == 499 && gone["path"] == "/api/v1/stages/light/2.0.0/yank", "{gone}");
    assert!(half["status"] == 400 && half["received"].as_u64().unwrap() > 0, "{half}");
    assert!(abandoned["status"] == 499 && abandoned["user"] == "ann", "{abandoned}");
    assert!(abandoned["path"] == "/api/v1/stages/light/1.0.0/yank" && abandoned["sent"] == 0, "{abandoned}");
    // The change was begun, and is made.
    let index = std::fs::read_to_string(bench.path("shop/li/gh/light")).unwrap();
    assert!(index.contains("\"yanked\":true"), "{index}");
}
