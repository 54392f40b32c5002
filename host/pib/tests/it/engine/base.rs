//! Loading what builds start from.

use std::collections::BTreeMap;
use std::path::Path;

use pib::engine::{Base, EngineError};
use pib_event::{Event, Silent};
use pib_plan::id::Digest;

use super::kind::Kind;
use super::lab::{LABEL, Lab, Recorder};
use super::rootfs::{base_digest, base_tar};

pub(super) async fn a_base_is_loaded_once_and_is_the_same_everywhere(lab: &Lab) {
    let first = lab.engine.container_image(&lab.base()).await.unwrap().unwrap();
    assert_eq!(first.platform, "linux/arm64");
    assert_eq!(first.labels[LABEL], lab.name);

    let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
    let recorder = Recorder::default();
    let tag = lab.base();
    let base = Base {
        rootfs_tar: base_tar(),
        digest: base_digest(),
        tag: &tag,
        platform: "linux/arm64",
        labels: &labels,
    };
    lab.engine.load_base(&base, &recorder).await.unwrap();
    let events = recorder.take();
    assert!(matches!(events.last(), Some(Event::StepFinished { cached: true, .. })), "{events:?}");

    let again = lab.tag("again");
    lab.engine.load_base(&Base { tag: &again, ..base.clone() }, &Silent).await.unwrap();
    assert_eq!(lab.engine.container_image(&again).await.unwrap().unwrap().id, first.id);

    let armv7 = lab.tag("armv7");
    lab.engine
        .load_base(&Base { tag: &armv7, platform: "linux/arm/v7", ..base.clone() }, &Silent)
        .await
        .unwrap();
    let image = lab.engine.container_image(&armv7).await.unwrap().unwrap();
    // Podman's answer leaves the variant out.
    let short = lab.engine.info().name == "Podman" && image.platform == "linux/arm";
    assert!(short || image.platform == "linux/arm/v7", "{}", image.platform);

    let missing = Base { rootfs_tar: Path::new("/nonexistent.tar"), tag: "pib-test:none", ..base };
    let error = lab.engine.load_base(&missing, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent.tar"), "{error}");
}

pub(super) async fn a_broken_base_is_refused(lab: &Lab) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.tar");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let digest = Digest::of(&[7; 100_000]);
    let (tag, labels) = (lab.tag("broken"), BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]));
    let base = Base { rootfs_tar: &path, digest, tag: &tag, platform: "linux/arm64", labels: &labels };
    let error = lab.engine.load_base(&base, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("loading the base"), "{error:?}");
    assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None);
}

pub(super) async fn a_name_is_no_proof_of_a_base(lab: &Lab) {
    let first = lab.engine.container_image(&lab.base()).await.unwrap().unwrap();
    let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
    let tag = lab.tag("pretended");
    let base = Base {
        rootfs_tar: base_tar(),
        digest: base_digest(),
        tag: &tag,
        platform: "linux/arm64",
        labels: &labels,
    };
    // Another layer; and the base's own layer with an order for whoever builds on it.
    for order in ["RUN echo bad > /etc/bad", "ENV LD_PRELOAD=/bad", "ONBUILD RUN echo bad", "USER 1000"] {
        if lab.kind == Kind::Podman && order.starts_with("ONBUILD") {
            continue; // Its images have the form of OCI, which knows no such order: Podman drops it.
        }
        let mut plan = lab.plan(&[("os", "RUN true")], vec![]);
        // No part says some of these; whoever gives a container image the base's name may.
        plan.dockerfile = plan.dockerfile.replace("RUN true", order);
        lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
        assert_ne!(lab.engine.container_image(&tag).await.unwrap().unwrap().id, first.id, "{order}");
        let recorder = Recorder::default();
        let id = lab.engine.load_base(&base, &recorder).await.unwrap();
        assert_eq!(id, first.id, "{order}");
        assert_eq!(lab.engine.container_image(&tag).await.unwrap().unwrap().id, first.id, "{order}");
        let warned = |event: &Event| matches!(event, Event::Warning { message } if message.contains(&tag));
        assert!(recorder.take().iter().any(warned), "{order}");
    }
    // A damaged file does not get the name either.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.tar");
    let mut bytes = std::fs::read(base_tar()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = lab.tag("damaged");
    let error =
        lab.engine.load_base(&Base { rootfs_tar: &path, tag: &damaged, ..base }, &Silent).await.unwrap_err();
    assert!(matches!(error, EngineError::DamagedBase { .. }), "{error}");
    assert_eq!(lab.engine.container_image(&damaged).await.unwrap(), None);
}
