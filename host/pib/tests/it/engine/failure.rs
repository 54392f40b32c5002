//! Builds that fail, are stopped, or lose their engine.

use std::time::{Duration, Instant};

use pib::engine::{ConnectOptions, Engine, EngineError};
use pib::event::{Event, Silent};

use super::lab::{Lab, Proxy, Recorder, runs, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_instruction_is_told_with_its_own_output() {
    let lab = Lab::new("fail").await;
    let plan = lab.plan(
        &[
            ("good", "RUN echo fine"),
            ("bad", "ENV X=1\nRUN seq 1 100 && printf 'b\\377d' && exit 3"),
            ("never", "RUN echo no"),
        ],
        vec![],
    );
    for &builder in lab.builders() {
        let tag = lab.tag("failed");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let error = lab.engine.build(&request, &Silent).await.unwrap_err();
        let EngineError::BuildFailed { stage, line, instruction, exit_code, log_tail, .. } = &error else {
            panic!("{builder:?} {error:?}");
        };
        assert_eq!((stage.as_deref(), *line, *exit_code), (Some("bad"), Some(2), Some(3)), "{builder:?}");
        assert!(instruction.starts_with("RUN seq 1 100"), "{builder:?} {instruction}");
        assert_eq!(log_tail.len(), 40, "{builder:?} {log_tail:?}");
        assert_eq!(log_tail[38..], ["100", "b\u{fffd}d"], "{builder:?}");
        assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None, "{builder:?}");
    }
    for &builder in lab.builders() {
        let mut plan = lab.plan(&[("good", "RUN echo fine"), ("bad", "RUN true\nRUN false")], vec![]);
        plan.dockerfile = plan.dockerfile.replace("RUN false", "FLY away");
        let tag = lab.tag("refused");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let error = lab.engine.build(&request, &Silent).await.unwrap_err();
        // Podman finds out only when it gets there.
        let (EngineError::BuildRefused { stage, line, message }
        | EngineError::BuildFailed { stage, line, message, .. }) = &error
        else {
            panic!("{builder:?} {error:?}");
        };
        assert_eq!((stage.as_deref(), *line), (Some("bad"), Some(2)), "{builder:?} {message}");
        assert!(message.contains("FLY"), "{builder:?} {message}");
    }
    let plan = lab.plan(&[("bad", "COPY stages/bad/none /x")], vec![]);
    let tag = lab.tag("failed");
    let error = lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("COPY stages/bad/none"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_build_stops_in_the_engine() {
    let lab = Lab::new("cancel").await;
    for &builder in lab.builders() {
        let seconds = lab.seconds(builder);
        let seconds = seconds.as_str();
        let plan = lab.plan(&[("os", &format!("RUN sleep {seconds}"))], vec![]);
        let tag = lab.tag("cancelled");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let building = lab.engine.build(&request, &Silent);
        tokio::select! {
            result = building => panic!("{builder:?} ended: {result:?}"),
            _ = until("start", Duration::from_secs(60), || runs(seconds)) => {}
        }
        // Podman is known to go on with a build whose client has gone.
        if lab.engine.info().name == "Podman" {
            continue;
        }
        let took = until("stop", Duration::from_secs(5), || !runs(seconds)).await;
        assert!(took < Duration::from_secs(3), "{builder:?} took {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_vanishes_is_an_error_and_not_a_hang() {
    let lab = Lab::new("vanish").await;
    for &builder in lab.builders() {
        let seconds = lab.seconds(builder);
        let seconds = seconds.as_str();
        let mut proxy = Proxy::new();
        let options = ConnectOptions { host: Some(proxy.host.clone()), ..ConnectOptions::default() };
        let engine = Engine::connect(&options).await.unwrap();
        let plan = lab.plan(&[("first", "RUN true"), ("os", &format!("RUN sleep {seconds}"))], vec![]);
        let tag = lab.tag("vanished");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let cutting = async {
            until("start", Duration::from_secs(60), || runs(seconds)).await;
            proxy.cut().await;
            Instant::now()
        };
        let (result, cut) = tokio::join!(engine.build(&request, &Silent), cutting);
        assert!(cut.elapsed() < Duration::from_secs(5), "{builder:?} {:?}", cut.elapsed());
        let error = result.unwrap_err();
        assert!(matches!(error, EngineError::Disconnected { .. }), "{builder:?} {error:?}");
        if lab.engine.info().name != "Podman" {
            until("stop", Duration::from_secs(5), || !runs(seconds)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_binary_output_is_bounded() {
    let lab = Lab::new("flood").await;
    let plan = lab.plan(
        &[("first", "RUN true"), ("os", "RUN head -c 3000000 /dev/zero && echo end && exit 1")],
        vec![],
    );
    for &builder in lab.builders() {
        let recorder = Recorder::default();
        let tag = lab.tag("flood");
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        let error = lab.engine.build(&request, &recorder).await.unwrap_err();
        let EngineError::BuildFailed { log_tail, .. } = &error else { panic!("{builder:?} {error:?}") };
        assert!(log_tail.len() <= 40 && log_tail.iter().all(|line| line.len() <= 4096), "{builder:?}");
        for event in recorder.take() {
            if let Event::Log { line, .. } = event {
                assert!(line.len() <= 4096 && !line.contains('\0'), "{builder:?}");
            }
        }
    }
}
