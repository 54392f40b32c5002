//! The contract of engines: what each of them must do, whichever it is.
//!
//! Every clause runs against Docker with BuildKit, against its classic builder and against Podman.

use super::kind::Kind;
use super::lab::Lab;
use super::project::{Scratch, stderr_text};
use super::{base, build, cancel, export, failure, readers, same};
use crate::world::judge;

/// Makes a test of each clause for each kind of engine.
macro_rules! clauses {
    ($($area:ident: $($clause:ident),+;)+) => {
        mod docker_with_buildkit { clauses!(@ BuildKit, $($($area $clause)+)+); }
        mod docker_classic { clauses!(@ Classic, $($($area $clause)+)+); }
        mod podman { clauses!(@ Podman, $($($area $clause)+)+); }
    };
    (@ $kind:ident, $($area:ident $clause:ident)+) => {
        use super::*;
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $clause() {
                $area::$clause(&Lab::of(Kind::$kind, stringify!($clause)).await).await;
            }
        )+
    };
}

clauses! {
    base: a_base_is_loaded_once_and_is_the_same_everywhere, a_broken_base_is_refused,
        a_name_is_no_proof_of_a_base;
    build: a_build_runs_foreign_programs_and_reports_its_stages,
        a_changed_file_is_sent_and_only_its_stage_is_built_again,
        a_secret_reaches_its_instruction_and_nothing_else,
        a_build_stops_at_its_target_and_big_files_arrive_whole,
        two_builds_at_once_do_not_disturb_each_other,
        every_platform_is_built_as_itself,
        a_base_in_the_context_is_unpacked_with_all_that_its_files_have,
        what_has_a_label_is_found_and_can_be_removed,
        what_is_in_use_for_a_moment_is_removed_after_it;
    export: an_export_keeps_what_it_says, an_abandoned_export_leaves_no_container,
        a_cut_export_is_never_taken_for_a_whole_one;
    failure: a_failing_instruction_is_told_with_its_own_output,
        an_instruction_that_is_none_is_told_with_its_line,
        an_engine_that_vanishes_is_an_error_and_not_a_hang,
        a_flood_of_binary_output_is_bounded;
    cancel: an_abandoned_build_stops_in_the_engine;
    same: a_system_is_the_same_on_every_engine;
    readers: parts_are_read_as_they_were_planned, values_are_read_as_they_were_meant;
}

/// What Podman cannot do is told, and the image is made all the same.
#[test]
fn a_project_builds_on_podman() {
    let (options, _podman) = Kind::Podman.options();
    let project = Scratch::new("onpodman", &options.host.unwrap());
    project.part("mine", "RUN echo \"for $ARCH\" > /etc/mine\n");
    let output = project.build();
    let said = stderr_text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("this engine cannot export everything"), "{said}");
    // The same engine makes nothing better of it; another one may.
    let up_to_date = |output: &std::process::Output| {
        assert!(output.status.success(), "{}", super::project::stderr_text(output));
        String::from_utf8_lossy(&output.stdout).contains("is up to date")
    };
    assert!(up_to_date(&project.build()));
    let docker = super::lab::options().host.unwrap_or("unix:///var/run/docker.sock".to_owned());
    let by_docker = || project.pib(&["build"]).env("DOCKER_HOST", &docker).output().unwrap();
    assert!(!up_to_date(&by_docker()));
    assert!(up_to_date(&by_docker()));
    // Podman would lose something of it, and it is there already.
    assert!(up_to_date(&project.build()));
    let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    let refusing = manifest.replace("native = false", "native = false\nlosses = \"refuse\"");
    std::fs::write(project.path("pib.toml"), refusing).unwrap();
    assert!(up_to_date(&project.build()));
    let refused = project.pib(&["build", "--no-cache"]).output().unwrap();
    let said = stderr_text(&refused);
    assert!(refused.status.code() == Some(5) && said.contains("pib::engine::lossy"), "{said}");
    let image = format!("{}?offset={}", project.image().display(), 4 << 20);
    assert_eq!(judge::debugfs(&image, "cat /etc/mine").unwrap().trim(), "for aarch64");
}
