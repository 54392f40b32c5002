//! Makes the tree the device's own: its identity goes in, what differs from build to build goes out.
//!
//! What somebody may have meant is not taken for a trace of the build. Engines mount `/etc/hosts` and
//! `/etc/resolv.conf` over the build's, so what the tree has there is a stage's or the base's: it stays where it says
//! anything. Whatever else is taken out and is not there in every build is told.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::identity::Identity;
use crate::tree::{Content, Kind, Node, Tree};

/// Folders whose content belongs to a running system, with the modes that they have while it is off.
const RUNTIME: [(&str, u16); 5] =
    [("dev", 0o755), ("proc", 0o555), ("run", 0o755), ("sys", 0o555), ("tmp", 0o1777)];
/// Folders that keep nothing but copies of what is elsewhere.
const CACHES: [&str; 3] = ["var/cache/ldconfig", "var/cache/man", "var/lib/apt/lists"];
/// Files that the build leaves and no device needs.
const LEFTOVERS: [&str; 5] = [
    // Where native tools were mounted: in a system that is exported after a stage in the middle.
    ".pib",
    ".dockerenv",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/lib/systemd/random-seed",
];

/// The emulators of the systems that pib builds, which engines and other tools put in for the build. One of another
/// architecture is a program like any other.
const EMULATORS: [&str; 2] = ["usr/bin/qemu-aarch64-static", "usr/bin/qemu-arm-static"];
/// The most bytes of a text that are looked at.
const MAX_TEXT: usize = 1 << 20;
/// The names that a hosts file has without anybody's doing.
const USUAL_NAMES: [&str; 9] = [
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
];

/// Normalises the tree in place; returns what was taken out and might be missed, a sentence each.
pub(crate) fn normalise(tree: &mut Tree, identity: &Identity, spool: &File) -> io::Result<Vec<String>> {
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
    let removed = remove_emulators(tree);
    forget_identity(tree);
    set_identity(tree, identity, spool)?;
    settle_passwords(tree, identity, spool)?;
    let epoch = identity.epoch;
    tree.each(|node| {
        // A folder's time says when something in it came or went, which depends on how an engine copies and mounts.
        node.mtime = if node.kind == Kind::Folder { epoch } else { node.mtime.min(epoch) };
    });
    Ok(removed)
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

/// Removes what was logged, and keeps the folders and links: programs expect those.
fn remove_logs(tree: &mut Tree) {
    for path in tree.below("var/log") {
        if tree.get(&path).is_some_and(|node| !matches!(node.kind, Kind::Folder | Kind::Symlink(_))) {
            tree.remove(&path);
        }
    }
}

/// Removes the emulators of the device's own architectures: there they are of no use.
fn remove_emulators(tree: &mut Tree) -> Vec<String> {
    let there: Vec<&str> = EMULATORS.into_iter().filter(|path| tree.get(path).is_some()).collect();
    there.iter().for_each(|path| tree.remove(path));
    let told = |path: &str| {
        format!("/{path} was taken out: a build may need this emulator, and the device runs without")
    };
    there.into_iter().map(told).collect()
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

/// Returns the text of a small file, where there is one.
fn text_of(tree: &Tree, path: &str, spool: &File) -> io::Result<Option<String>> {
    Ok(bytes_of(tree, path, spool)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the first bytes of a file, where there is one.
fn bytes_of(tree: &Tree, path: &str, spool: &File) -> io::Result<Option<Vec<u8>>> {
    let Some(Node { kind: Kind::File(content), .. }) = tree.get(path) else { return Ok(None) };
    let bytes = match content {
        Content::Bytes(bytes) => bytes.clone(),
        Content::Spool { offset, size } => {
            let mut bytes = vec![0; usize::try_from(*size).unwrap_or(usize::MAX).min(MAX_TEXT)];
            spool.read_exact_at(&mut bytes, *offset)?;
            bytes
        }
    };
    Ok(Some(bytes))
}

/// Returns whether a hosts file says what no system says by itself: it has another name for this machine than the
/// usual ones, or another machine.
///
/// The line of 127.0.1.1 has the name of the machine; the one of a base is not the device's.
fn is_own_hosts(text: &str) -> bool {
    text.lines().map(|line| line.split('#').next().unwrap_or_default()).any(|line| {
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else { return false };
        let here = address.starts_with("127.") || address == "::1" || address.starts_with("f");
        !here || (address != "127.0.1.1" && words.any(|name| !USUAL_NAMES.contains(&name)))
    })
}

/// Returns whether a hosts file has this name.
fn has_host(text: &str, name: &str) -> bool {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split_whitespace().skip(1)).any(|word| word == name)
}

fn set_identity(tree: &mut Tree, identity: &Identity, spool: &File) -> io::Result<()> {
    if tree.get("etc").is_none() {
        return Ok(());
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
    match text_of(tree, "etc/hosts", spool)?.filter(|text| is_own_hosts(text)) {
        // It stays as it is; without the machine's own name in it, programs such as sudo wait for the network.
        Some(own) if !has_host(&own, short) && own.len() < MAX_TEXT => {
            let end = if own.ends_with('\n') { "" } else { "\n" };
            let text = format!("{own}{end}127.0.1.1\t{names}\n");
            if let Some(node) = tree.get("etc/hosts").cloned() {
                let kind = Kind::File(Content::Bytes(text.into_bytes()));
                tree.put("etc/hosts", Node { kind, ..node });
            }
        }
        Some(_) => {}
        None if tree.get("etc/hosts").is_some_and(|node| matches!(node.kind, Kind::Symlink(_))) => {}
        None => tree.put("etc/hosts", file(&hosts, 0o644)),
    }
    // Empty, and not absent: then systemd makes an id at the first boot, also where the root is read-only.
    tree.put("etc/machine-id", file("", 0o444));
    let resolver = text_of(tree, "etc/resolv.conf", spool)?;
    let has_servers =
        resolver.is_some_and(|text| text.lines().any(|line| line.trim_start().starts_with("nameserver")));
    let resolved = ["usr/lib/systemd/systemd-resolved", "lib/systemd/systemd-resolved"];
    if has_servers {
        // The engine's own is mounted over it during the build, so this one is meant for the device.
    } else if resolved.iter().any(|path| tree.get(path).is_some()) {
        let link = Kind::Symlink("/run/systemd/resolve/resolv.conf".to_owned());
        tree.put("etc/resolv.conf", Node { mtime: identity.epoch, ..Node::new(link, 0o777) });
    } else if !tree.get("etc/resolv.conf").is_some_and(|node| matches!(node.kind, Kind::Symlink(_))) {
        tree.put("etc/resolv.conf", file("", 0o644));
    }
    Ok(())
}

/// Has no password, nor that of any user of a package, be of a later day than the files of the image: programs that make users write
/// the day into `/etc/shadow` (the third field, in days since 1970).
fn settle_passwords(tree: &mut Tree, identity: &Identity, spool: &File) -> io::Result<()> {
    const PATH: &str = "etc/shadow";
    let last = identity.epoch / (24 * 60 * 60);
    let Some(bytes) = bytes_of(tree, PATH, spool)?.filter(|bytes| bytes.len() < MAX_TEXT) else {
        return Ok(());
    };
    let settled = |line: &[u8]| {
        let mut fields: Vec<Vec<u8>> = line.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
        if let Some(day) = fields.get_mut(2)
            && std::str::from_utf8(day)
                .ok()
                .and_then(|day| day.parse::<u64>().ok())
                .is_some_and(|day| day > last)
        {
            *day = last.to_string().into_bytes();
        }
        fields.join(&b':')
    };
    let lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(settled).collect();
    let new = lines.join(&b'\n');
    if let Some(node) = tree.get(PATH).filter(|_| new != bytes).cloned() {
        tree.put(PATH, Node { kind: Kind::File(Content::Bytes(new)), ..node });
    }
    Ok(())
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
        normalise(&mut tree, &identity(), &tempfile::tempfile().unwrap()).unwrap();
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

    /// Returns a normalised tree with these texts and links, and the warnings that normalising gave.
    fn normalised_texts(texts: &[(&str, &str)], links: &[&str]) -> (Tree, Vec<String>) {
        let mut tree = Tree::new();
        for (path, text) in texts {
            tree.put(path, Node::new(Kind::File(Content::Bytes(text.as_bytes().to_vec())), 0o640));
        }
        for path in links {
            tree.put(path, Node::new(Kind::Symlink("/elsewhere".to_owned()), 0o777));
        }
        let identity = Identity { hostname: "pi".to_owned(), mount_points: Default::default(), ..identity() };
        let told = normalise(&mut tree, &identity, &tempfile::tempfile().unwrap()).unwrap();
        (tree, told)
    }

    #[test]
    fn what_a_stage_has_put_there_stays() {
        let hosts = "127.0.0.1 localhost\n10.0.0.5 server.lan server # the server\n";
        let resolver = "search lan\nnameserver 10.0.0.1\n";
        let resolved = ("usr/lib/systemd/systemd-resolved", "x");
        let texts = [
            ("etc/hosts", hosts),
            ("etc/resolv.conf", resolver),
            ("usr/bin/qemu-x86_64-static", "x"),
            ("var/log/syslog", "x"),
            resolved,
        ];
        let (tree, told) = normalised_texts(&texts, &["var/log/nginx", "var/log/journal/x"]);
        assert_eq!(text(&tree, "etc/hosts"), format!("{hosts}127.0.1.1\tpi\n"));
        assert_eq!(tree.get("etc/hosts").unwrap().mode, 0o640);
        assert_eq!(text(&tree, "etc/resolv.conf"), resolver);
        for path in ["usr/bin/qemu-x86_64-static", "var/log/nginx", "var/log/journal/x"] {
            assert!(tree.get(path).is_some(), "{path}");
        }
        assert!(tree.get("var/log/syslog").is_none() && told.is_empty(), "{told:?}");
        // One that names the device already is left alone, byte for byte.
        for own in ["127.0.0.1 localhost pi", "10.0.0.5 server\n127.0.1.1 pi\n", "127.0.0.1 pi app.test\n"] {
            let (tree, _) = normalised_texts(&[("etc/hosts", own)], &[]);
            assert_eq!(text(&tree, "etc/hosts"), own);
        }
    }

    #[test]
    fn passwords_are_no_younger_than_the_image() {
        let shadow =
            "root:*:19000:0:99999:7:::\nme:$y$j9T$x:20785:0:99999:7:::\nsshd:!:20785::::::\nodd:!:x\nno\n\n";
        let mut tree = Tree::new();
        let node = Node::new(Kind::File(Content::Bytes(shadow.as_bytes().to_vec())), 0o640);
        tree.put("etc/shadow", Node { gid: 42, ..node });
        let identity = Identity { epoch: 20_000 * 86_400 + 7, ..identity() };
        normalise(&mut tree, &identity, &tempfile::tempfile().unwrap()).unwrap();
        assert_eq!(text(&tree, "etc/shadow"), shadow.replace("20785", "20000"));
        let node = tree.get("etc/shadow").unwrap();
        assert_eq!((node.mode, node.gid), (0o640, 42));
    }

    #[test]
    fn what_every_system_has_is_made_anew() {
        for usual in [
            "",
            "# nothing\n",
            "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n",
        ] {
            let (tree, _) =
                normalised_texts(&[("etc/hosts", usual), ("etc/resolv.conf", "# by hand\n")], &[]);
            assert!(text(&tree, "etc/hosts").contains("127.0.1.1\tpi\n"), "{usual}");
            assert_eq!(text(&tree, "etc/resolv.conf"), "");
        }
        let (tree, _) = normalised_texts(&[("etc/x", "")], &["etc/hosts", "etc/resolv.conf"]);
        let link = Kind::Symlink("/elsewhere".to_owned());
        assert_eq!(
            (&tree.get("etc/hosts").unwrap().kind, &tree.get("etc/resolv.conf").unwrap().kind),
            (&link, &link)
        );
    }

    #[test]
    fn an_emulator_of_the_device_itself_goes_and_is_told() {
        let (tree, told) = normalised_texts(&[("usr/bin/qemu-arm-static", "x"), ("etc/x", "")], &[]);
        assert!(tree.get("usr/bin/qemu-arm-static").is_none());
        assert!(told.len() == 1 && told[0].contains("/usr/bin/qemu-arm-static"), "{told:?}");
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
        let spool = tempfile::tempfile().unwrap();
        normalise(&mut old, &identity(), &spool).unwrap();
        normalise(&mut new, &identity(), &spool).unwrap();
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
