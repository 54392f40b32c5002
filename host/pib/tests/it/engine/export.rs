//! Taking the root file system out.

use std::io::Read as _;
use std::time::{Duration, Instant};

use pib::engine::{BuilderChoice, ConnectOptions, Engine};
use pib::event::Silent;

use super::lab::{Lab, Proxy, export};
use super::rootfs::{CAPABILITY, access_list};

#[tokio::test(flavor = "multi_thread")]
async fn an_export_keeps_everything() {
    let lab = Lab::new("export").await;
    let tag = lab.tag("built");
    let plan =
        lab.plan(&[("os", "RUN ln /special/user /special/linked && chmod 0600 /special/capability")], vec![]);
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    if lab.engine.info().buildkit {
        let exported = export(&lab, &tag, BuilderChoice::Best).await;
        assert_eq!(exported["special/setuid"].mode & 0o7777, 0o4755);
        let pair = [&exported["special/setuid"], &exported["special/hardlink"]];
        assert!(
            pair.iter().any(|entry| entry.kind == tar::EntryType::Link && entry.link.is_some()),
            "{pair:?}"
        );
        assert_eq!(exported["special/user"].xattrs["user.pib"], b"value");
        assert_eq!(exported["special/capability"].xattrs["security.capability"], CAPABILITY);
        assert_eq!(exported["special/list"].xattrs["system.posix_acl_access"], access_list());
        assert!(exported.keys().all(|path| path != ".dockerenv"), "{:?}", exported.keys());
        assert_eq!(exported["bin/sh"].kind, tar::EntryType::Symlink);
    }

    let classic = export(&lab, &tag, BuilderChoice::Classic).await;
    assert_eq!(classic["special/capability"].xattrs["security.capability"], CAPABILITY);
    assert_eq!(classic["special/setuid"].mode & 0o7777, 0o4755);
    let kept = classic["special/user"].xattrs.contains_key("user.pib");
    assert!(!kept || lab.engine.info().name == "Podman", "then `losses` must be corrected");

    let error = lab.engine.export(&lab.tag("none"), BuilderChoice::Best).await.err().unwrap();
    assert!(error.to_string().contains("no such container image"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_or_abandoned_export_is_never_taken_for_a_whole_one() {
    let lab = Lab::new("cut").await;
    let plan = lab.plan(&[("os", "RUN head -c 50000000 /dev/zero > /big")], vec![]);
    let tag = lab.tag("big");
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    for &builder in lab.builders() {
        let mut proxy = Proxy::new();
        let options = ConnectOptions { host: Some(proxy.host.clone()), ..ConnectOptions::default() };
        let engine = Engine::connect(&options).await.unwrap();
        let mut tar = engine.export(&tag, builder).await.unwrap();
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
        assert!(error.to_string().contains("lost the connection"), "{builder:?} {error}");
    }
    let abandoned = lab.engine.export(&tag, BuilderChoice::Classic).await.unwrap();
    drop(abandoned);
    // The export that was cut could not remove its container, for there was no engine to ask. It is known by
    // its label, and is not taken away from under an export that may be under way.
    let docker = bollard::Docker::connect_with_host(&lab.engine.info().address).unwrap();
    let label = format!("{}={tag}", pib::engine::export::TEMPORARY);
    let options = bollard::query_parameters::ListContainersOptions {
        all: true,
        filters: Some([("label".to_owned(), vec![label])].into()),
        ..Default::default()
    };
    let start = Instant::now();
    let left = loop {
        let left = docker.list_containers(Some(options.clone())).await.unwrap();
        if left.len() <= 1 {
            break left;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    lab.engine.remove_leftovers(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(docker.list_containers(Some(options)).await.unwrap().len(), left.len());
    for container in left {
        docker.remove_container(&container.id.unwrap(), None).await.unwrap();
    }
}
