//! The port with a token.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use tokio::net::TcpStream;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Says something at the port of an address; returns all that is said in return.
async fn say(port: &Port, address: &str, words: &str) -> String {
    let mut stream = TcpStream::connect((address, port.number())).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // A connection that is closed while something is unread ends with an error.
    _ = stream.read_to_end(&mut all).await;
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn only_who_has_the_token_is_served() {
    let world = World::new();
    world.server.set("a.deb", [Answer::file("some bytes")]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let port = recorder.open_port(&[HERE]).await.unwrap();
    let other = recorder.open_port(&[HERE]).await.unwrap();
    assert_ne!(port.token(), other.token());
    let ask =
        |more: &str| format!("GET {PUBLIC}/a.deb HTTP/1.1\r\nHost: x\r\n{more}Connection: close\r\n\r\n");
    let credentials = |token: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("pib:{token}"));
        format!("Proxy-Authorization: Basic {text}\r\n")
    };
    for words in [
        ask(""),
        ask(&credentials(other.token())),
        format!("CONNECT archive.example:443 HTTP/1.1\r\nHost: x\r\n{}\r\n", credentials("")),
        "GET /authority HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ] {
        let answer = say(&port, "127.0.0.1", &words).await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{words}: {answer}");
    }
    let silent = say(&port, "127.0.0.1", &format!("pib {}\n{}", other.token(), ask(""))).await;
    assert_eq!(silent, "");
    assert!(!port.was_reached() && world.server.asked().is_empty());

    let answer = say(&port, "127.0.0.1", &ask(&credentials(port.token()))).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("some bytes"), "{answer}");
    assert!(port.was_reached() && !other.was_reached());
    let answer = say(&other, "127.0.0.1", &format!("pib {}\n{}", other.token(), ask(""))).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("some bytes"), "{answer}");
    assert!(other.was_reached());
    // The token is in nothing that is recorded.
    assert!(!recorder.recording().to_text().contains(port.token()));
    // What comes to another address of this machine is no part of the build.
    let words = format!("pib {}\n{}", port.token(), ask(""));
    assert_eq!(say(&port, "127.0.0.2", &words).await, "");
}

#[tokio::test]
async fn the_certificate_is_told_and_the_port_closes_with_its_owner() {
    let world = World::new();
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let port = recorder.open_port(&[HERE]).await.unwrap();
    let asked = "GET /authority HTTP/1.1\r\nHost: pib\r\nConnection: close\r\n\r\n";
    let answer = say(&port, "127.0.0.1", &format!("pib {}\n{asked}", port.token())).await;
    assert!(answer.ends_with(recorder.authority()), "{answer}");
    let number = port.number();
    drop(port);
    // The task ends at its next turn.
    while TcpStream::connect((HERE, number)).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
