//! Makes the tree the device's own: its identity goes in, what differs from build to build goes out.

use crate::identity::Identity;
use crate::tree::{Content, Kind, Node, Tree};

/// Folders whose content belongs to a running system, with the modes that they have while it is off.
const RUNTIME: [(&str, u16); 5] =
    [("dev", 0o755), ("proc", 0o555), ("run", 0o755), ("sys", 0o555), ("tmp", 0o1777)];
/// Folders that keep nothing but copies of what is elsewhere.
const CACHES: [&str; 2] = ["var/cache/ldconfig", "var/lib/apt/lists"];
/// Files that the build leaves and no device needs.
const LEFTOVERS: [&str; 5] = [
    // Where native tools were mounted: in a system that is exported after a stage in the middle.
    ".pib",
    ".dockerenv",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/lib/systemd/random-seed",
];

/// Normalises the tree in place.
pub(crate) fn normalise(tree: &mut Tree, identity: &Identity) {
    remove_mount_points(tree, identity);
    for (path, mode) in RUNTIME {
        tree.remove(path);
        tree.put(path, Node::new(Kind::Folder, mode));
    }
    for path in CACHES {
        tree.remove_below(path);
    }
    for path in LEFTOVERS {
        tree.remove(path);
    }
    // The containers of Docker's classic builder get this link where a system has none.
    let is_link = |node: &Node| node.kind == Kind::Symlink("/proc/mounts".to_owned());
    if tree.get("etc/mtab").is_some_and(|node| is_link(node) && node.mtime > identity.epoch) {
        tree.remove("etc/mtab");
    }
    remove_logs(tree);
    remove_emulators(tree);
    forget_identity(tree);
    set_identity(tree, identity);
    let epoch = identity.epoch;
    tree.each(|node| {
        // A folder's time says when something in it came or went, which depends on how an engine copies and mounts.
        node.mtime = if node.kind == Kind::Folder { epoch } else { node.mtime.min(epoch) };
    });
}

/// Removes the empty files and folders that some engines leave where they mounted something: what is new and empty.
///
/// The folders that lead there stay, or are put back where an engine took those that it had made away again: the base's
/// own cannot be told from them.
fn remove_mount_points(tree: &mut Tree, identity: &Identity) {
    for point in &identity.mount_points {
        let is_left = tree.get(point).is_some_and(|node| {
            let is_empty = match &node.kind {
                Kind::Folder => tree.below(point).is_empty(),
                Kind::File(content) => content.size() == 0,
                _ => false,
            };
            is_empty && node.mtime > identity.epoch
        });
        if is_left {
            tree.remove(point);
        }
        for (at, _) in point.match_indices('/') {
            let leading = &point[..at];
            match tree.get(leading).map(|node| (&node.kind, node.mode, node.mtime)) {
                None => tree.put(leading, Node::new(Kind::Folder, 0o755)),
                // So Podman makes them.
                Some((Kind::Folder, 0o1755, mtime)) if mtime > identity.epoch => {
                    tree.put(leading, Node::new(Kind::Folder, 0o755));
                }
                Some((Kind::Folder, ..)) => {}
                Some(_) => break,
            }
        }
    }
}

/// Removes what was logged, and keeps the folders: programs expect those.
fn remove_logs(tree: &mut Tree) {
    for path in tree.below("var/log") {
        if tree.get(&path).is_some_and(|node| node.kind != Kind::Folder) {
            tree.remove(&path);
        }
    }
}

/// Removes the emulators that engines and other tools put in for the build.
fn remove_emulators(tree: &mut Tree) {
    for path in tree.below("usr/bin") {
        let name = &path["usr/bin/".len()..];
        if name.starts_with("qemu-") && name.ends_with("-static") {
            tree.remove(&path);
        }
    }
}

/// Removes what no two devices may share.
fn forget_identity(tree: &mut Tree) {
    for path in tree.below("etc/ssh") {
        if path.starts_with("etc/ssh/ssh_host_") {
            tree.remove(&path);
        }
    }
    // A link to /etc/machine-id is as good as none; a file of its own is a second identity.
    if tree.get("var/lib/dbus/machine-id").is_some_and(|node| matches!(node.kind, Kind::File(_))) {
        tree.remove("var/lib/dbus/machine-id");
    }
}

fn set_identity(tree: &mut Tree, identity: &Identity) {
    if tree.get("etc").is_none() {
        return;
    }
    let hostname = &identity.hostname;
    let short = hostname.split('.').next().unwrap_or(hostname);
    let names = if short == hostname { hostname.clone() } else { format!("{hostname} {short}") };
    let hosts = format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{names}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    );
    let file = |text: &str, mode| Node {
        mtime: identity.epoch,
        ..Node::new(Kind::File(Content::Bytes(text.as_bytes().to_vec())), mode)
    };
    tree.put("etc/hostname", file(&format!("{hostname}\n"), 0o644));
    tree.put("etc/hosts", file(&hosts, 0o644));
    // Empty, and not absent: then systemd makes an id at the first boot, also where the root is read-only.
    tree.put("etc/machine-id", file("", 0o444));
    // The build's own resolver is of no use to the device.
    let resolved = ["usr/lib/systemd/systemd-resolved", "lib/systemd/systemd-resolved"];
    if resolved.iter().any(|path| tree.get(path).is_some()) {
        let link = Kind::Symlink("/run/systemd/resolve/resolv.conf".to_owned());
        tree.put("etc/resolv.conf", Node { mtime: identity.epoch, ..Node::new(link, 0o777) });
    } else if !tree.get("etc/resolv.conf").is_some_and(|node| matches!(node.kind, Kind::Symlink(_))) {
        tree.put("etc/resolv.conf", file("", 0o644));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pib_plan::id::Digest;

    fn normalised(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            let node = Node::new(Kind::File(Content::Bytes(b"x".to_vec())), 0o600);
            tree.put(path, Node { mtime: 50, ..node });
        }
        normalise(&mut tree, &identity());
        tree
    }

    fn identity() -> Identity {
        Identity {
            hostname: "pi.example.org".to_owned(),
            epoch: 20,
            seed: Digest::of(b""),
            mount_points: ["mnt/a/b", "srv/x", "opt/y", "etc/z", "tmp/c/d"].map(str::to_owned).into(),
        }
    }

    fn text(tree: &Tree, path: &str) -> String {
        match &tree.get(path).unwrap().kind {
            Kind::File(Content::Bytes(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn traces_of_the_build_go() {
        let gone = [
            ".dockerenv",
            "dev/console",
            "proc/1",
            "run/lock/x",
            "tmp/x",
            "usr/bin/qemu-arm-static",
            "etc/ssh/ssh_host_rsa_key",
            "var/log/apt/term.log",
            "var/lib/apt/lists/x",
            "var/lib/dbus/machine-id",
        ];
        let tree = normalised(&[&gone[..], &["usr/bin/qemu-img", "etc/ssh/sshd_config"]].concat());
        for path in gone {
            assert!(tree.get(path).is_none(), "{path}");
        }
        for path in ["usr/bin/qemu-img", "etc/ssh/sshd_config", "var/log/apt", "dev", "tmp"] {
            assert!(tree.get(path).is_some(), "{path}");
        }
        assert_eq!(tree.get("tmp").unwrap().mode, 0o1777);
    }

    #[test]
    fn the_device_gets_its_name_and_no_id() {
        let tree = normalised(&["etc/machine-id", "etc/hostname", "usr/lib/systemd/systemd-resolved"]);
        assert_eq!(text(&tree, "etc/hostname"), "pi.example.org\n");
        assert!(text(&tree, "etc/hosts").contains("127.0.1.1\tpi.example.org pi\n"));
        assert_eq!(text(&tree, "etc/machine-id"), "");
        let link = Kind::Symlink("/run/systemd/resolve/resolv.conf".to_owned());
        assert_eq!(tree.get("etc/resolv.conf").unwrap().kind, link);
    }

    #[test]
    fn what_engines_do_in_their_own_ways_leaves_no_trace() {
        let node = |kind, mtime| Node { mtime, ..Node::new(kind, 0o755) };
        let mut old = Tree::new();
        old.put("opt/y", node(Kind::Folder, 10));
        old.put("srv/x/full", node(Kind::Folder, 50));
        old.put("usr", node(Kind::Folder, 10));
        old.put("mnt", node(Kind::Folder, 10));
        let mut new = old.clone();
        // One engine leaves mount points, and gives folders that it copies other times.
        new.put("mnt/a/b", node(Kind::Folder, 50));
        new.put("mnt", node(Kind::Folder, 50));
        new.put("mnt/a", Node { mode: 0o1755, ..node(Kind::Folder, 50) });
        new.put("etc/mtab", node(Kind::Symlink("/proc/mounts".to_owned()), 50));
        new.put("tmp/c", node(Kind::Folder, 50));
        new.put("etc/z", node(Kind::File(Content::Bytes(Vec::new())), 50));
        new.put("usr", node(Kind::Folder, 3_000_000_000));
        old.put("etc", node(Kind::Folder, 0));
        normalise(&mut old, &identity());
        normalise(&mut new, &identity());
        let entries = |tree: &Tree| -> Vec<(String, Node)> {
            tree.entries().map(|(path, _, node)| (path.to_owned(), node.clone())).collect()
        };
        assert_eq!(entries(&old), entries(&new));
        for kept in ["opt/y", "srv/x/full", "mnt/a"] {
            assert!(old.get(kept).is_some(), "{kept}");
        }
        for gone in ["mnt/a/b", "etc/z", "etc/mtab", "tmp/c"] {
            assert!(new.get(gone).is_none(), "{gone}");
        }
    }

    #[test]
    fn no_entry_is_newer_than_the_epoch() {
        let tree = normalised(&["etc/x", "a/b/c"]);
        assert!(tree.unique().all(|node| node.mtime <= 20));
        assert_eq!(tree.get("etc/x").unwrap().mtime, 20);
    }
}
