//! Builds that succeed.

use std::collections::{BTreeMap, BTreeSet};

use pib::engine::{Base, EngineError, Secret};
use pib_event::{Event, Silent};
use pib_plan::assemble::{ContextFile, FileSource};
use pib_plan::id::{Arch, Digest};

use super::lab::{LABEL, Lab, Recorder, bytes_file, export};
use super::rootfs::{CAPABILITY, base_digest, base_tar};

pub(super) async fn a_build_runs_foreign_programs_and_reports_its_stages(lab: &Lab) {
    let files = vec![
        bytes_file("stages/__init__/a/one", "first", false),
        bytes_file("stages/__init__/run", "#!/bin/sh\necho ran > /etc/ran\n", true),
    ];
    let stages = [
        ("__init__", "COPY stages/__init__/a/one /etc/one\nCOPY stages/__init__/run /bin/run\nRUN run"),
        ("empty", "ENV NOTHING=1"),
        ("os", "RUN echo said aloud && cat /etc/one > /etc/two"),
    ];
    let plan = lab.plan(&stages, files);
    let recorder = Recorder::default();
    let tag = lab.tag("built");
    let request = lab.request(&plan, &tag);
    let id = lab.engine.build(&request, &recorder).await.unwrap();
    let events = recorder.take();
    let started: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::StepStarted { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    let stages = started.iter().filter(|id| id.starts_with("stage:"));
    assert_eq!(stages.collect::<BTreeSet<_>>().len(), 3, "{started:?}");
    for stage in ["stage:__init__", "stage:os"] {
        let finished = Event::StepFinished { id: stage.to_owned(), cached: false };
        assert!(events.contains(&finished), "{events:#?}");
    }
    let log = Event::Log { id: "stage:os".to_owned(), line: "said aloud".to_owned() };
    assert!(events.contains(&log), "{events:#?}");
    let detail = |event: &Event| matches!(event, Event::StepDetail { id, detail } if id == "stage:os" && detail.contains("RUN echo said aloud"));
    assert!(events.iter().any(detail), "{events:#?}");

    let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
    assert_eq!((image.id, image.platform.as_str()), (id.clone(), "linux/arm64"));
    assert_eq!(image.labels[LABEL], lab.name);
    let exported = export(lab, &tag).await;
    assert_eq!(exported["etc/two"].content, b"first");
    assert_eq!(exported["etc/ran"].content, b"ran\n");
    assert_eq!(exported["bin/run"].mode & 0o7777, 0o755);
    assert_eq!(exported["etc/one"].mode & 0o7777, 0o644);
    assert_eq!(exported["etc/one"].owner, (0, 0));

    lab.engine.build(&request, &recorder).await.unwrap();
    let finished: Vec<Event> = recorder
        .take()
        .into_iter()
        .filter(|event| matches!(event, Event::StepFinished { id, .. } if id.starts_with("stage:")))
        .collect();
    let cached = |event: &Event| matches!(event, Event::StepFinished { cached: true, .. });
    assert!(finished.len() == 3 && finished.iter().all(cached), "{finished:?}");
}

pub(super) async fn a_changed_file_is_sent_and_only_its_stage_is_built_again(lab: &Lab) {
    let build = async |text: &str| {
        // The same size both times: only the content tells them apart.
        let files = vec![bytes_file("stages/os/file", text, false)];
        let plan =
            lab.plan(&[("first", "RUN echo one > /etc/1"), ("os", "COPY stages/os/file /etc/file")], files);
        let tag = lab.tag("latest");
        let recorder = Recorder::default();
        lab.engine.build(&lab.request(&plan, &tag), &recorder).await.unwrap();
        let exported = export(lab, &tag).await;
        let cached = |stage: &str| {
            let finished = Event::StepFinished { id: format!("stage:{stage}"), cached: true };
            recorder.0.lock().unwrap().contains(&finished)
        };
        (exported["etc/file"].content.clone(), cached("first"), cached("os"))
    };
    assert_eq!(build("aaaa").await.0, b"aaaa");
    assert_eq!(build("bbbb").await, (b"bbbb".to_vec(), true, false));
    assert_eq!(build("aaaa").await, (b"aaaa".to_vec(), true, true));
}

pub(super) async fn a_secret_reaches_its_instruction_and_nothing_else(lab: &Lab) {
    let plan = lab.plan(
        &[("os", "RUN --mount=type=secret,id=token cat /run/secrets/token && test -s /run/secrets/token")],
        vec![],
    );
    let tag = lab.tag("secret");
    let mut request = lab.request(&plan, &tag);
    request.secrets = vec![Secret { id: "token".to_owned(), value: b"open-sesame".to_vec() }];
    assert!(!format!("{request:?}").contains("open-sesame"));
    if !lab.engine.abilities().mounts {
        let error = lab.engine.build(&request, &Silent).await.unwrap_err();
        assert!(matches!(error, EngineError::NeedsBuildKit { .. }), "{error:?}");
        assert!(error.to_string().contains(&lab.engine.builder()), "{error}");
        return;
    }
    let recorder = Recorder::default();
    lab.engine.build(&request, &recorder).await.unwrap();
    let events = recorder.take();
    assert!(!format!("{events:?}").contains("open-sesame"), "{events:?}");
    assert!(events.contains(&Event::Log { id: "stage:os".to_owned(), line: "***".to_owned() }), "{events:?}");
    let exported = export(lab, &tag).await;
    assert!(exported.values().all(|entry| !entry.content.windows(11).any(|bytes| bytes == b"open-sesame")));
}

pub(super) async fn a_build_stops_at_its_target_and_big_files_arrive_whole(lab: &Lab) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big");
    let bytes: Vec<u8> =
        (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let big = ContextFile {
        path: "stages/a/big".to_owned(),
        source: FileSource::File(path.clone()),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        mode: pib_plan::mode::Mode::FILE,
    };
    let plan = lab.plan(&[("a", "COPY stages/a/big /big"), ("b", "RUN exit 1")], vec![big]);
    let target = "a".parse().unwrap();
    let tag = lab.tag("target");
    let mut request = lab.request(&plan, &tag);
    (request.target, request.no_cache) = (Some(&target), true);
    lab.engine.build(&request, &Silent).await.unwrap();
    let exported = export(lab, &tag).await;
    assert!(exported["big"].content == bytes);
    // The plan's digest is a promise: a file that is no longer what it was must not be built in silence.
    let mut changed = bytes;
    changed[4_000_000] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let mut plan = plan;
    plan.context[0].path = "stages/a/other".to_owned();
    plan.dockerfile = plan.dockerfile.replace("stages/a/big", "stages/a/other");
    let tag = lab.tag("changed");
    let mut request = lab.request(&plan, &tag);
    request.target = Some(&target);
    let error = lab.engine.build(&request, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("changed while it was sent"), "{error:?}");
}

pub(super) async fn two_builds_at_once_do_not_disturb_each_other(lab: &Lab) {
    let build = async |text: &str| {
        let files = vec![bytes_file("stages/os/file", text, false)];
        let plan =
            lab.plan(&[("os", "COPY stages/os/file /etc/file"), ("after", "RUN cat /etc/file")], files);
        let tag = lab.tag(text);
        lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
        String::from_utf8(export(lab, &tag).await["etc/file"].content.clone()).unwrap()
    };
    let (one, two, three) = tokio::join!(build("one"), build("two"), build("three"));
    assert_eq!((one.as_str(), two.as_str(), three.as_str()), ("one", "two", "three"));
}

pub(super) async fn every_platform_is_built_as_itself(lab: &Lab) {
    let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
    for arch in [Arch::Armv7, Arch::Armv6] {
        let from = lab.tag(&format!("base-{arch}"));
        let base = Base {
            rootfs_tar: base_tar(),
            digest: base_digest(),
            tag: &from,
            platform: arch.platform(),
            labels: &labels,
        };
        lab.engine.load_base(&base, &Silent).await.unwrap();
        let mut plan = lab.plan(&[("first", "RUN echo x > /etc/x"), ("os", "RUN cat /etc/x")], vec![]);
        plan.dockerfile = plan.dockerfile.replace(&lab.base(), &from);
        plan.arch = arch;
        let tag = lab.tag(&format!("{arch}-built"));
        let request = lab.request(&plan, &tag);
        lab.engine.build(&request, &Silent).await.unwrap();
        let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
        // Podman's answer leaves the variant out.
        assert!(arch.platform().starts_with(&image.platform), "{}", image.platform);
        assert!(image.platform == arch.platform() || lab.engine.info().name == "Podman");
        assert_eq!(export(lab, &tag).await["etc/x"].content, b"x\n");
    }
}

pub(super) async fn a_base_in_the_context_is_unpacked_with_all_that_its_files_have(lab: &Lab) {
    let bytes = std::fs::read(base_tar()).unwrap();
    let base = ContextFile {
        path: "base.tar".to_owned(),
        source: FileSource::File(base_tar().to_owned()),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        mode: pib_plan::mode::Mode::FILE,
    };
    let mut plan = lab.plan(&[("first", "RUN echo x > /etc/x"), ("os", "RUN cat /etc/x")], vec![base]);
    let from = format!("FROM {} AS first", lab.base());
    assert!(plan.dockerfile.contains(&from));
    plan.dockerfile = plan.dockerfile.replace(&from, "FROM scratch AS first\nADD base.tar /");
    let tag = lab.tag("built");
    let request = lab.request(&plan, &tag);
    lab.engine.build(&request, &Silent).await.unwrap();
    let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
    assert_eq!(image.platform, "linux/arm64");
    let exported = export(lab, &tag).await;
    assert_eq!(exported["etc/x"].content, b"x\n");
    assert_eq!(exported["special/setuid"].mode & 0o7777, 0o4755);
    assert_eq!(exported["special/capability"].xattrs["security.capability"], CAPABILITY);
}

pub(super) async fn what_has_a_label_is_found_and_can_be_removed(lab: &Lab) {
    let plan = lab.plan(&[("os", "RUN echo x > /etc/x")], vec![]);
    let tag = lab.tag("built");
    let mut request = lab.request(&plan, &tag);
    request.labels.insert("dev.pib.colour".to_owned(), "green, = and \"blue\"".to_owned());
    let id = lab.engine.build(&request, &Silent).await.unwrap();
    let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
    assert_eq!(image.labels["dev.pib.colour"], "green, = and \"blue\"");
    let listed = lab.engine.container_images(&format!("{LABEL}={}", lab.name)).await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|image| image.id.as_str()).collect();
    assert!(ids.contains(&id.as_str()), "{ids:?} {id}");
    assert!(lab.engine.remove_image(&tag).await.unwrap());
    assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None);
    assert!(!lab.engine.remove_image(&tag).await.unwrap());
}

/// Podman's builds hold the images that they start from, other builds' caches among them.
pub(super) async fn what_is_in_use_for_a_moment_is_removed_after_it(lab: &Lab) {
    let plan = lab.plan(&[("os", "RUN echo y > /etc/y")], vec![]);
    let tag = lab.tag("held");
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    let held = lab.engine.export(&tag).await.unwrap();
    let release = async {
        // Some answers of the engine later than the first request to remove the image.
        for _ in 0..3 {
            lab.engine.container_image(&lab.base()).await.unwrap();
        }
        drop(held);
    };
    let (removed, ()) = tokio::join!(lab.engine.remove_image(&tag), release);
    assert!(removed.unwrap());
    assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None);
}
