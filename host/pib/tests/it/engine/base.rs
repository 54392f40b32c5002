//! Loading what builds start from.

use std::collections::BTreeMap;
use std::path::Path;

use pib::engine::Base;
use pib_event::{Event, Silent};

use super::lab::{LABEL, Lab, Recorder};
use super::rootfs::base_tar;

pub(super) async fn a_base_is_loaded_once_and_is_the_same_everywhere(lab: &Lab) {
    let first = lab.engine.container_image(&lab.base()).await.unwrap().unwrap();
    assert_eq!(first.platform, "linux/arm64");
    assert_eq!(first.labels[LABEL], lab.name);

    let labels = BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]);
    let recorder = Recorder::default();
    let tag = lab.base();
    let base = Base { rootfs_tar: base_tar(), tag: &tag, platform: "linux/arm64", labels: &labels };
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
    let (tag, labels) = (lab.tag("broken"), BTreeMap::from([(LABEL.to_owned(), lab.name.clone())]));
    let base = Base { rootfs_tar: &path, tag: &tag, platform: "linux/arm64", labels: &labels };
    let error = lab.engine.load_base(&base, &Silent).await.unwrap_err();
    assert!(error.to_string().contains("loading the base"), "{error:?}");
    assert_eq!(lab.engine.container_image(&tag).await.unwrap(), None);
}
