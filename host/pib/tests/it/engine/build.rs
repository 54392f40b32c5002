//! Builds that succeed.

use std::collections::{BTreeMap, BTreeSet};

use pib::engine::{Base, BuilderChoice, EngineError, Secret};
use pib::event::{Event, Silent};
use pib_plan::assemble::{ContextFile, FileSource};
use pib_plan::id::{Arch, Digest};

use super::lab::{LABEL, Lab, Recorder, bytes_file, export};
use super::rootfs::{CAPABILITY, base_tar};

#[tokio::test(flavor = "multi_thread")]
async fn a_build_runs_foreign_programs_and_reports_its_stages() {
    let lab = Lab::new("build").await;
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
    for &builder in lab.builders() {
        let recorder = Recorder::default();
        let tag = lab.tag(&format!("{builder:?}").to_lowercase());
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
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
            assert!(events.contains(&finished), "{builder:?} {events:#?}");
        }
        let log = Event::Log { id: "stage:os".to_owned(), line: "said aloud".to_owned() };
        assert!(events.contains(&log), "{builder:?} {events:#?}");
        let detail = |event: &Event| matches!(event, Event::StepDetail { id, detail } if id == "stage:os" && detail.contains("RUN echo said aloud"));
        assert!(events.iter().any(detail), "{builder:?} {events:#?}");

        let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
        assert_eq!((image.id, image.platform.as_str()), (id.clone(), "linux/arm64"));
        assert_eq!(image.labels[LABEL], lab.name);
        let exported = export(&lab, &tag, builder).await;
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
        assert!(finished.len() == 3 && finished.iter().all(cached), "{builder:?} {finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_sent_and_only_its_stage_is_built_again() {
    let lab = Lab::new("change").await;
    let build = async |text: &str| {
        // The same size both times: only the content tells them apart.
        let files = vec![bytes_file("stages/os/file", text, false)];
        let plan =
            lab.plan(&[("first", "RUN echo one > /etc/1"), ("os", "COPY stages/os/file /etc/file")], files);
        let tag = lab.tag("latest");
        let recorder = Recorder::default();
        lab.engine.build(&lab.request(&plan, &tag), &recorder).await.unwrap();
        let exported = export(&lab, &tag, BuilderChoice::Best).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_its_instruction_and_nothing_else() {
    let lab = Lab::new("secret").await;
    if !lab.engine.info().buildkit {
        return;
    }
    let plan = lab.plan(
        &[("os", "RUN --mount=type=secret,id=token cat /run/secrets/token && test -s /run/secrets/token")],
        vec![],
    );
    let tag = lab.tag("secret");
    let mut request = lab.request(&plan, &tag);
    request.secrets = vec![Secret { id: "token".to_owned(), value: b"open-sesame".to_vec() }];
    assert!(!format!("{request:?}").contains("open-sesame"));
    let recorder = Recorder::default();
    lab.engine.build(&request, &recorder).await.unwrap();
    let events = recorder.take();
    assert!(!format!("{events:?}").contains("open-sesame"), "{events:?}");
    assert!(events.contains(&Event::Log { id: "stage:os".to_owned(), line: "***".to_owned() }), "{events:?}");
    let exported = export(&lab, &tag, BuilderChoice::Best).await;
    assert!(exported.values().all(|entry| !entry.content.windows(11).any(|bytes| bytes == b"open-sesame")));

    request.builder = BuilderChoice::Classic;
    let error = lab.engine.build(&request, &Silent).await.unwrap_err();
    assert!(matches!(error, EngineError::NeedsBuildKit { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_stops_at_its_target_and_big_files_arrive_whole() {
    let lab = Lab::new("target").await;
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
        executable: false,
    };
    let plan = lab.plan(&[("a", "COPY stages/a/big /big"), ("b", "RUN exit 1")], vec![big]);
    let target = "a".parse().unwrap();
    for &builder in lab.builders() {
        let tag = lab.tag("target");
        let mut request = lab.request(&plan, &tag);
        (request.builder, request.target, request.no_cache) = (builder, Some(&target), true);
        lab.engine.build(&request, &Silent).await.unwrap();
        let exported = export(&lab, &tag, BuilderChoice::Best).await;
        assert!(exported["big"].content == bytes, "{builder:?}");
    }
    // The plan's digest is a promise: a file that is no longer what it was must not be built in silence.
    let mut changed = bytes;
    changed[4_000_000] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let mut plan = plan;
    plan.context[0].path = "stages/a/other".to_owned();
    plan.dockerfile = plan.dockerfile.replace("stages/a/big", "stages/a/other");
    for &builder in lab.builders() {
        let tag = lab.tag("changed");
        let mut request = lab.request(&plan, &tag);
        (request.builder, request.target) = (builder, Some(&target));
        let error = lab.engine.build(&request, &Silent).await.unwrap_err();
        assert!(error.to_string().contains("changed while it was sent"), "{builder:?} {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_at_once_do_not_disturb_each_other() {
    let lab = Lab::new("twice").await;
    let build = async |text: &str| {
        let files = vec![bytes_file("stages/os/file", text, false)];
        let plan =
            lab.plan(&[("os", "COPY stages/os/file /etc/file"), ("after", "RUN cat /etc/file")], files);
        let tag = lab.tag(text);
        lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
        String::from_utf8(export(&lab, &tag, BuilderChoice::Best).await["etc/file"].content.clone()).unwrap()
    };
    let (one, two, three) = tokio::join!(build("one"), build("two"), build("three"));
    assert_eq!((one.as_str(), two.as_str(), three.as_str()), ("one", "two", "three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_is_built_as_itself() {
    let lab = Lab::new("platform").await;
    let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
    for arch in [Arch::Armv7, Arch::Armv6] {
        let from = lab.tag(&format!("base-{arch}"));
        let base = Base { rootfs_tar: base_tar(), tag: &from, platform: arch.platform(), labels: &labels };
        lab.engine.load_base(&base, &Silent).await.unwrap();
        let mut plan = lab.plan(&[("first", "RUN echo x > /etc/x"), ("os", "RUN cat /etc/x")], vec![]);
        plan.dockerfile = plan.dockerfile.replace(&lab.base(), &from);
        plan.arch = arch;
        for &builder in lab.builders() {
            let tag = lab.tag(&format!("{arch}-{builder:?}").to_lowercase());
            let mut request = lab.request(&plan, &tag);
            request.builder = builder;
            lab.engine.build(&request, &Silent).await.unwrap();
            let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
            // Podman's answer leaves the variant out.
            assert!(arch.platform().starts_with(&image.platform), "{builder:?} {}", image.platform);
            assert!(image.platform == arch.platform() || lab.engine.info().name == "Podman", "{builder:?}");
            assert_eq!(export(&lab, &tag, builder).await["etc/x"].content, b"x\n", "{builder:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_in_the_context_is_unpacked_with_all_that_its_files_have() {
    let lab = Lab::new("scratch").await;
    let bytes = std::fs::read(base_tar()).unwrap();
    let base = ContextFile {
        path: "base.tar".to_owned(),
        source: FileSource::File(base_tar().to_owned()),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        executable: false,
    };
    let mut plan = lab.plan(&[("first", "RUN echo x > /etc/x"), ("os", "RUN cat /etc/x")], vec![base]);
    let from = format!("FROM {} AS first", lab.base());
    assert!(plan.dockerfile.contains(&from));
    plan.dockerfile = plan.dockerfile.replace(&from, "FROM scratch AS first\nADD base.tar /");
    for &builder in lab.builders() {
        let tag = lab.tag(&format!("{builder:?}").to_lowercase());
        let mut request = lab.request(&plan, &tag);
        request.builder = builder;
        lab.engine.build(&request, &Silent).await.unwrap();
        let image = lab.engine.container_image(&tag).await.unwrap().unwrap();
        assert_eq!(image.platform, "linux/arm64", "{builder:?}");
        let exported = export(&lab, &tag, BuilderChoice::Best).await;
        assert_eq!(exported["etc/x"].content, b"x\n", "{builder:?}");
        assert_eq!(exported["special/setuid"].mode & 0o7777, 0o4755, "{builder:?}");
        assert_eq!(exported["special/capability"].xattrs["security.capability"], CAPABILITY, "{builder:?}");
    }
}
