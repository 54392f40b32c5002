//! What comes of a build is the same, whichever engine does it.

use std::fmt::Write as _;

use pib_disk::Identity;
use pib_event::Silent;
use pib_plan::id::Digest;
use pib_plan::part;

use super::kind::Kind;
use super::lab::{Lab, bytes_file};

/// What is left of the base and of a build, with mode, time and size.
const SYSTEM: &str = "\
    dev 755 1500000000 0\n\
    etc 755 1500000000 0\n\
    etc/deep 755 1500000000 0\n\
    etc/deep/down 755 1500000000 0\n\
    etc/deep/down/one 644 TIME 1\n\
    etc/hostname 644 1500000000 5\n\
    etc/hosts 644 1500000000 121\n\
    etc/machine-id 444 1500000000 0\n\
    etc/made 644 1500000000 5\n\
    etc/resolv.conf 644 1500000000 0\n\
    mnt 755 1500000000 0\n\
    mnt/a 755 1500000000 0\n\
    proc 555 1500000000 0\n\
    run 755 1500000000 0\n\
    sys 555 1500000000 0\n\
    tmp 1777 1500000000 0\n\
    usr 755 1500000000 0\n\
    usr/two 755 TIME 2\n";

pub(super) async fn a_system_is_the_same_on_every_engine(lab: &Lab) {
    let files = vec![
        bytes_file("stages/os/tree/etc/deep/down/one", "1", false),
        bytes_file("stages/os/tree/usr/two", "22", true),
    ];
    // The classic builder mounts nothing. What differs between releases of busybox goes, and what Podman loses.
    const MOUNT: &str = "--mount=type=tmpfs,target=/mnt/a/b ";
    let text = format!(
        "COPY stages/os/tree/ /\nRUN {MOUNT}echo made > /etc/made && /bin/busybox rm -rf /special /bin\n"
    );
    let mount_points = part::check("part", &text).unwrap().mount_points;
    let text = if lab.kind == Kind::Classic { text.replace(MOUNT, "") } else { text };
    let plan = lab.plan(&[("os", &text)], files);
    let tag = lab.tag("same");
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    let tree = lab.engine.export(&tag).await.unwrap();
    let identity =
        Identity { hostname: "same".to_owned(), epoch: 1_500_000_000, seed: Digest::of(b""), mount_points };
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("same.tar");
    let to = pib_file::Output::at(&tar).unwrap();
    let write = move || pib_disk::write_tar(tree, &identity, &to, &Silent).unwrap();
    tokio::task::spawn_blocking(write).await.unwrap();
    let mut found = String::new();
    let mut times = Vec::new();
    for entry in tar::Archive::new(std::fs::File::open(tar).unwrap()).entries().unwrap() {
        let entry = entry.unwrap();
        let (header, path) = (entry.header(), entry.path().unwrap().display().to_string());
        let path = path.trim_start_matches("./").trim_matches('/');
        // Those of the context's files derive from what is in them.
        let time = match header.mtime().unwrap() {
            time if path.ends_with("one") || path.ends_with("two") => {
                times.push(time);
                "TIME".to_owned()
            }
            time => time.to_string(),
        };
        if !path.is_empty() && path != "." {
            writeln!(found, "{path} {:o} {time} {}", header.mode().unwrap() & 0o7777, entry.size()).unwrap();
        }
    }
    assert_eq!(found, SYSTEM);
    let expected = [b"1".as_slice(), b"22"].map(context_time);
    assert_eq!(times, expected);
}

/// Returns the time that a file of the context has by its content, in seconds.
fn context_time(content: &[u8]) -> u64 {
    let digest = Digest::of(content);
    let word = digest.as_bytes().iter().take(8).fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
    946_684_800 + word / 500_000_000 % 86_400
}
