//! Which partition the kernel's command line names as the root.

use super::fault::Fault;
use super::media::BootPartition;

/// The root that a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    /// A partition of the image.
    Partition(u32),
    /// Something on another disk, or on the network.
    Elsewhere(String),
}

/// Returns the last value of an argument.
pub(super) fn argument<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut values =
        line.split_whitespace().rev().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next().map(|value| value.trim_matches('"'))
}

/// Returns the root. `has_archive` says whether an initramfs looks for it, which knows more forms than the kernel.
pub(super) fn of(
    line: &str,
    partitions: &[BootPartition],
    has_archive: bool,
    may_be_elsewhere: bool,
) -> Result<Root, Fault> {
    let Some(root) = argument(line, "root") else { return Err(Fault::NoRoot) };
    let by_folder = |name: &str| {
        ["label", "uuid", "partuuid", "partlabel"].into_iter().find_map(|kind| {
            name.strip_prefix("/dev/disk/by-")?
                .strip_prefix(kind)?
                .strip_prefix('/')
                .map(|value| (kind, value.to_owned()))
        })
    };
    let by_name = root.split_once('=').map(|(kind, value)| (kind.to_lowercase(), value.to_owned()));
    let named = by_name.or_else(|| by_folder(root).map(|(kind, value)| (kind.to_owned(), value)));
    let same =
        |found: Option<&str>, value: &str| found.is_some_and(|found| found.eq_ignore_ascii_case(value));
    let found = match &named {
        Some((kind, value)) => {
            let kernel_knows = root.starts_with("PARTUUID=") || root.starts_with("PARTLABEL=");
            if !has_archive && !kernel_knows {
                return Err(Fault::RootForm { root: root.to_owned() });
            }
            partitions.iter().find(|partition| match &**kind {
                "label" => partition.label.as_deref() == Some(value),
                "uuid" => same(partition.uuid.as_deref(), value),
                "partuuid" => same(Some(&partition.partuuid), value),
                "partlabel" => partition.name.as_deref() == Some(value),
                _ => false,
            })
        }
        None => match root.strip_prefix("/dev/mmcblk0p").map(str::parse::<u32>) {
            Some(Ok(number)) => partitions.iter().find(|partition| partition.number == number),
            Some(Err(_)) => None,
            // A disk at USB or PCIe, or the network.
            None => return Ok(Root::Elsewhere(root.to_owned())),
        },
    };
    match found {
        Some(partition) => Ok(Root::Partition(partition.number)),
        None if may_be_elsewhere => Ok(Root::Elsewhere(root.to_owned())),
        None => Err(Fault::Root { root: root.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> Vec<BootPartition> {
        let partition = |number: u32, label: &str| BootPartition {
            number,
            label: Some(label.to_owned()),
            uuid: Some("1A2B-3C4D".to_owned()),
            partuuid: format!("01234567-0{number}"),
            ..Default::default()
        };
        vec![partition(1, "PIBOOT"), partition(2, "PIROOT")]
    }

    #[test]
    fn a_root_is_found_by_each_of_its_names() {
        let find = |root: &str| of(&format!("quiet root={root} ro"), &partitions(), true, false);
        for root in [
            "LABEL=PIROOT",
            "PARTUUID=01234567-02",
            "/dev/mmcblk0p2",
            "/dev/disk/by-label/PIROOT",
            "\"LABEL=PIROOT\"",
        ] {
            assert_eq!(find(root), Ok(Root::Partition(2)), "{root}");
        }
        assert_eq!(find("UUID=1a2b-3c4d"), Ok(Root::Partition(1)));
        assert_eq!(find("LABEL=PiRoot"), Err(Fault::Root { root: "LABEL=PiRoot".to_owned() }));
        assert_eq!(find("/dev/mmcblk0p3"), Err(Fault::Root { root: "/dev/mmcblk0p3".to_owned() }));
        assert_eq!(find("/dev/sda2"), Ok(Root::Elsewhere("/dev/sda2".to_owned())));
        assert_eq!(of("ro", &partitions(), true, false), Err(Fault::NoRoot));
    }

    #[test]
    fn the_kernel_alone_knows_fewer_names() {
        let find = |root: &str| of(&format!("root={root}"), &partitions(), false, false);
        assert_eq!(find("PARTUUID=01234567-02"), Ok(Root::Partition(2)));
        assert_eq!(find("LABEL=PIROOT"), Err(Fault::RootForm { root: "LABEL=PIROOT".to_owned() }));
    }
}
