//! Taking the root file system out.

use std::io::Read as _;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptions;
use pib_event::Silent;

use pib::engine::Loss;

use super::kind::Kind;
use super::lab::{Lab, Proxy, export};
use super::rootfs::{CAPABILITY, access_list};

pub(super) async fn an_export_keeps_what_it_says(lab: &Lab) {
    let tag = lab.tag("built");
    let plan =
        lab.plan(&[("os", "RUN ln /special/user /special/linked && chmod 0600 /special/capability")], vec![]);
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    let exported = export(lab, &tag).await;
    assert_eq!(exported["special/setuid"].mode & 0o7777, 0o4755);
    let pair = [&exported["special/setuid"], &exported["special/hardlink"]];
    let linked = pair.iter().any(|entry| entry.kind == tar::EntryType::Link && entry.link.is_some());
    assert!(linked, "{pair:?}");
    assert_eq!(exported["special/capability"].xattrs["security.capability"], CAPABILITY);
    assert_eq!(exported["bin/sh"].kind, tar::EntryType::Symlink);
    if !lab.engine.abilities().losses.contains(&Loss::Attributes) {
        assert_eq!(exported["special/user"].xattrs["user.pib"], b"value");
        assert_eq!(exported["special/list"].xattrs["system.posix_acl_access"], access_list());
        assert!(exported.keys().all(|path| path != ".dockerenv"), "{:?}", exported.keys());
    } else if lab.kind == Kind::Classic {
        let kept = exported["special/user"].xattrs.contains_key("user.pib");
        assert!(!kept, "then `losses` must be corrected");
    }
    let error = lab.engine.export(&lab.tag("none")).await.err().unwrap();
    assert!(error.to_string().contains("no such container image"), "{error}");
}

/// Builds a container image that takes a while to export.
async fn big(lab: &Lab) -> String {
    let plan = lab.plan(&[("os", "RUN head -c 50000000 /dev/zero > /big")], vec![]);
    let tag = lab.tag("big");
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    tag
}

/// Returns the containers that were made to export the tag.
async fn containers(lab: &Lab, tag: &str) -> (Docker, Vec<ContainerSummary>) {
    let docker = Docker::connect_with_host(&lab.engine.info().address).unwrap();
    let docker = docker.negotiate_version().await.unwrap();
    let label = format!("{}={tag}", pib::engine::TEMPORARY);
    let filters = Some([("label".to_owned(), vec![label])].into());
    let options = ListContainersOptions { all: true, filters, ..Default::default() };
    let found = docker.list_containers(Some(options)).await.unwrap();
    (docker, found)
}

pub(super) async fn an_abandoned_export_leaves_no_container(lab: &Lab) {
    let tag = big(lab).await;
    let tar = lab.engine.export(&tag).await.unwrap();
    drop(tar);
    let since = Instant::now();
    while !containers(lab, &tag).await.1.is_empty() {
        assert!(since.elapsed() < Duration::from_secs(10), "a container is left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn a_cut_export_is_never_taken_for_a_whole_one(lab: &Lab) {
    let tag = big(lab).await;
    let mut proxy = Proxy::new(lab);
    let engine = lab.through(&proxy.host).await;
    let mut tar = engine.export(&tag).await.unwrap();
    let (mut tar, read) = tokio::task::spawn_blocking(move || {
        let mut start = vec![0; 1_000_000];
        let read = tar.read_exact(&mut start);
        (tar, read)
    })
    .await
    .unwrap();
    read.unwrap();
    proxy.cut().await;
    let rest = tokio::task::spawn_blocking(move || std::io::copy(&mut tar, &mut std::io::sink()));
    let error = rest.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("lost the connection"), "{error}");
    // It could not remove its container, for there was no engine to ask. The container is known by its label, and
    // is not taken away from under an export that may be under way.
    let (docker, left) = containers(lab, &tag).await;
    assert!(left.len() <= 1, "{left:?}");
    lab.engine.remove_leftovers(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(containers(lab, &tag).await.1.len(), left.len());
    for container in left {
        docker.remove_container(&container.id.unwrap(), None).await.unwrap();
    }
}
