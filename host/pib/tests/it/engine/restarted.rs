//! An engine that started anew, and whose build cache speaks of layers that are gone.

#![allow(clippy::unwrap_used, clippy::panic)] // Test helpers outside test functions.

use super::kind::docker;
use super::project::{Scratch, stderr_text};

/// An engine that is killed, or whose store was tidied by hand, can lose layers that its build cache names still. Docker
/// says so at every build that its cache serves.
#[test]
fn a_build_does_without_layers_that_an_engine_has_lost() {
    let engine = docker("256m");
    let project = Scratch::new("restarted", &engine.host());
    project.part("mine", "RUN echo some > /etc/some\n");
    project.must_build();
    engine.lose_images();
    let warning = "the engine's build cache names layers that are gone";
    let build = |content: &str, warns: bool| {
        project.part("mine", &format!("RUN echo {content} > /etc/some\n"));
        let output = project.build();
        let said = stderr_text(&output);
        assert_eq!((output.status.code(), said.contains(warning)), (Some(0), warns), "{said}");
        said
    };
    build("other", true);
    // What was built then is what the cache names now.
    let said = build("more", false);
    assert!(said.contains("Building stage __init__: cached"), "{said}");
}
