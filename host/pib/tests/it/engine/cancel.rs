//! Builds that are abandoned.

use std::time::Duration;

use pib_event::Event;

use super::lab::{Lab, Recorder, runs, until};

pub(super) async fn an_abandoned_build_stops_in_the_engine(lab: &Lab) {
    let stops = lab.engine.abilities().stops;
    let (instruction, word) = lab.sleeping(if stops { 100_000 } else { 8 });
    let plan = lab.plan(&[("os", &format!("{instruction}\nRUN echo more > /etc/more"))], vec![]);
    let tag = lab.tag("cancelled");
    let request = lab.request(&plan, &tag);
    let recorder = Recorder::default();
    let building = lab.engine.build(&request, &recorder);
    tokio::select! {
        result = building => panic!("it ended: {result:?}"),
        _ = until("start", Duration::from_secs(60), || runs(&word)) => {}
    }
    let warned = recorder.take().iter().any(|event| matches!(event, Event::Warning { .. }));
    assert_eq!(warned, !stops, "what goes on is told, and nothing else");
    let took = until("stop", Duration::from_secs(if stops { 5 } else { 20 }), || !runs(&word)).await;
    assert!(!stops || took < Duration::from_secs(3), "it took {took:?}");
    // What comes after the instruction is not reached, also while the engine does something else.
    let other = lab.plan(&[("os", "RUN echo other > /etc/other")], vec![]);
    let other_tag = lab.tag("after");
    lab.engine.build(&lab.request(&other, &other_tag), &recorder).await.unwrap();
    assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None);
}
