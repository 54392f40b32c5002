//! Builds that fail, or lose their engine.

use std::time::{Duration, Instant};

use pib::engine::EngineError;
use pib_event::{Event, Silent};

use super::lab::{Lab, Proxy, Recorder, runs, until};

pub(super) async fn a_failing_instruction_is_told_with_its_own_output(lab: &Lab) {
    let plan = lab.plan(
        &[
            ("good", "RUN echo fine"),
            ("bad", "ENV X=1\nRUN seq 1 100 && printf 'b\\377d' && exit 3"),
            ("never", "RUN echo no"),
        ],
        vec![],
    );
    let tag = lab.tag("failed");
    let request = lab.request(&plan, &tag);
    let error = lab.engine.build(&request, &Silent).await.unwrap_err();
    let EngineError::BuildFailed { stage, line, instruction, exit_code, log_tail, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((stage.as_deref(), *line, *exit_code), (Some("bad"), Some(2), Some(3)));
    assert!(instruction.starts_with("RUN seq 1 100"), "{instruction}");
    assert_eq!(log_tail.len(), 40, "{log_tail:?}");
    assert_eq!(log_tail[38..], ["100", "b\u{fffd}d"]);
    assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None);

    let plan = lab.plan(&[("bad", "COPY stages/bad/none /x")], vec![]);
    let error = lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("COPY stages/bad/none"), "{error:?}");
}

pub(super) async fn an_instruction_that_is_none_is_told_with_its_line(lab: &Lab) {
    let mut plan = lab.plan(&[("good", "RUN echo fine"), ("bad", "RUN true\nRUN false")], vec![]);
    plan.dockerfile = plan.dockerfile.replace("RUN false", "FLY away");
    let tag = lab.tag("refused");
    let request = lab.request(&plan, &tag);
    let error = lab.engine.build(&request, &Silent).await.unwrap_err();
    // Podman finds out only when it gets there.
    let (EngineError::BuildRefused { stage, line, message, .. }
    | EngineError::BuildFailed { stage, line, message, .. }) = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((stage.as_deref(), *line), (Some("bad"), Some(2)), "{message}");
    assert!(message.contains("FLY"), "{message}");
    // Lines of the whole Dockerfile are nobody's business.
    assert!(!message.contains("parse error line"), "{message}");
}

pub(super) async fn an_engine_that_vanishes_is_an_error_and_not_a_hang(lab: &Lab) {
    let stops = lab.engine.abilities().stops;
    let (instruction, word) = lab.sleeping(if stops { 100_000 } else { 8 });
    let mut proxy = Proxy::new(lab);
    let engine = lab.through(&proxy.host).await;
    let plan = lab.plan(&[("first", "RUN true"), ("os", &instruction)], vec![]);
    let tag = lab.tag("vanished");
    let request = lab.request(&plan, &tag);
    let cutting = async {
        until("start", Duration::from_secs(60), || runs(&word)).await;
        proxy.cut().await;
        Instant::now()
    };
    let (result, cut) = tokio::join!(engine.build(&request, &Silent), cutting);
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Disconnected { .. }), "{error:?}");
    let patience = Duration::from_secs(if stops { 5 } else { 20 });
    until("stop", patience, || !runs(&word)).await;
}

pub(super) async fn a_flood_of_binary_output_is_bounded(lab: &Lab) {
    let plan = lab.plan(
        &[("first", "RUN true"), ("os", "RUN head -c 3000000 /dev/zero && echo end && exit 1")],
        vec![],
    );
    let recorder = Recorder::default();
    let tag = lab.tag("flood");
    let request = lab.request(&plan, &tag);
    let error = lab.engine.build(&request, &recorder).await.unwrap_err();
    let EngineError::BuildFailed { log_tail, .. } = &error else { panic!("{error:?}") };
    assert!(log_tail.len() <= 40 && log_tail.iter().all(|line| line.len() <= 4096));
    for event in recorder.take() {
        if let Event::Log { line, .. } = event {
            assert!(line.len() <= 4096 && !line.contains('\0'));
        }
    }
}
