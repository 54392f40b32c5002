//! Finding an engine, and what is said where there is none.

use std::time::{Duration, Instant};

use pib::engine::binfmt::{Binfmt, BinfmtStatus};
use pib::engine::{ConnectOptions, Engine, EngineError};
use pib_plan::id::Arch;

use super::lab::options;

#[tokio::test]
async fn an_engine_says_what_it_is() {
    let engine = Engine::connect(&options()).await.unwrap();
    let info = engine.info();
    assert!(info.name == "Docker" || info.name == "Podman", "{info:?}");
    assert!(info.version.starts_with(|c: char| c.is_ascii_digit()), "{info:?}");
    assert!(info.kernel.starts_with("linux "), "{info:?}");
    engine.check_binfmt(Arch::Arm64).unwrap();
    assert!(matches!(Binfmt::default().status(Arch::Armv7), BinfmtStatus::Registered { .. }));
    assert_eq!(engine.container_image("pib-test-nothing:here").await.unwrap(), None);
    assert!(!engine.remove_image("pib-test-nothing:here").await.unwrap());
}

#[tokio::test]
async fn without_an_engine_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let connect = |host: String| async move {
        let options = ConnectOptions { host: Some(host), ..ConnectOptions::default() };
        Engine::connect(&options).await.err().unwrap()
    };
    let path = folder.path().join("none.sock");
    let error = connect(format!("unix://{}", path.display())).await;
    assert!(matches!(error, EngineError::NoSocket { .. }), "{error:?}");

    let stale = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let error = connect(format!("unix://{}", stale.display())).await;
    assert!(error.to_string().contains("nobody listens"), "{error}");

    let mute = folder.path().join("mute.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    let start = Instant::now();
    let error = connect(format!("unix://{}", mute.display())).await;
    assert!(matches!(error, EngineError::NotAnswering { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());

    let error = connect("tcp://127.0.0.1:9".to_owned()).await;
    assert!(matches!(error, EngineError::NotAnswering { .. }), "{error:?}");
}
