//! Layouts with two slots: boot partition and root twice, which updates alternate between.
//!
//! Format: Raspberry Pi's documentation of `autoboot.txt` and `tryboot`
//! (<https://www.raspberrypi.com/documentation/computers/config_txt.html#autoboot-txt>): the firmware reads `autoboot.txt` in
//! the first FAT partition, and goes to the partition that it names; where the flag `tryboot` is set, to another.

use super::partition::{Filesystem, Layout, LayoutError, PartitionSize, PartitionSpec, Slot};
use crate::size::ByteSize;

/// The label and size of the partition with `autoboot.txt`: a little more than the least that FAT32 takes.
const START: &str = "START";
const START_SIZE: u64 = 40 << 20;

impl Layout {
    /// Returns the layout with boot partition and root twice, and before them a partition that says which to start.
    ///
    /// # Errors
    /// When it has no FAT partition that is mounted, or no root.
    pub fn with_slots(self) -> Result<Self, LayoutError> {
        let place = |is_it: &dyn Fn(&PartitionSpec) -> bool, what: &str| {
            self.partitions.iter().position(is_it).ok_or_else(|| LayoutError::Wrong {
                partition: None,
                what: format!("has two slots and no {what}, of which each slot has one"),
            })
        };
        let is_boot = |part: &PartitionSpec| part.filesystem == Filesystem::Vfat && !part.mount.is_empty();
        let boot = place(&is_boot, "FAT partition that is mounted")?;
        let root = place(&|part| part.mount == "/", "partition for `/`")?;
        let mut partitions = vec![PartitionSpec {
            size: PartitionSize::Fixed(ByteSize(START_SIZE)),
            slot: Some(Slot::Start),
            ..PartitionSpec::new(START, Filesystem::Vfat, "")
        }];
        for (index, twice) in [boot, root].into_iter().map(|index| (index, &self.partitions[index])) {
            if twice.grow {
                return Err(LayoutError::Wrong {
                    partition: Some(index),
                    what: format!("has `{}` in two slots, and only the last partition can grow", twice.label),
                });
            }
            partitions.extend([(Slot::A, "A"), (Slot::B, "B")].map(|(slot, name)| PartitionSpec {
                label: format!("{}-{name}", twice.label),
                slot: Some(slot),
                active: twice.active && slot == Slot::A,
                ..twice.clone()
            }));
        }
        let others = self.partitions.iter().enumerate().filter(|(index, _)| ![boot, root].contains(index));
        partitions.extend(others.map(|(_, part)| part.clone()));
        Ok(Self { partitions, ..self })
    }

    /// Returns the text of `autoboot.txt`, where the layout has slots.
    pub fn autoboot(&self) -> Option<String> {
        let number = |slot: Slot| {
            let boot = self
                .partitions
                .iter()
                .position(|part| part.slot == Some(slot) && part.filesystem == Filesystem::Vfat)?;
            Some(self.number(boot))
        };
        let (a, b) = (number(Slot::A)?, number(Slot::B)?);
        Some(format!("[all]\ntryboot_a_b=1\nboot_partition={a}\n[tryboot]\nboot_partition={b}\n"))
    }
}
