//! Shows work that may be over at once, or take long, as a step only when it takes longer than a moment.

use std::time::Duration;

use pib_event::{Reporter, ReporterExt as _};

/// What nobody would wait for an explanation of.
const MOMENT: Duration = Duration::from_millis(400);

/// Does `work`; when it is not done after a moment, it is the step `id` from then on.
pub(crate) async fn shown<T, E>(
    reporter: &dyn Reporter,
    id: &str,
    title: impl Into<String>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::pin!(work);
    if let Ok(quick) = tokio::time::timeout(MOMENT, &mut work).await {
        return quick;
    }
    reporter.started(id, title);
    let outcome = work.await;
    match &outcome {
        Ok(_) => reporter.finished(id, false),
        Err(_) => reporter.failed(id),
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use pib_event::Event;

    #[derive(Default)]
    struct Keep(Mutex<Vec<Event>>);

    impl Reporter for Keep {
        fn report(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[tokio::test]
    async fn only_what_takes_long_is_a_step() {
        let keep = Keep::default();
        let quick = shown(&keep, "quick", "Asking", async { Ok::<_, ()>(1) }).await;
        assert!(quick == Ok(1) && keep.0.lock().unwrap().is_empty());
        let slow = async {
            tokio::time::sleep(MOMENT * 2).await;
            Err::<(), _>("no")
        };
        assert_eq!(shown(&keep, "slow", "Asking", slow).await, Err("no"));
        let events = keep.0.into_inner().unwrap();
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(events[1], Event::StepFailed { id: "slow".into() });
    }
}
