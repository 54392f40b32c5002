//! Tests that take the machine: they boot what was built, kill what works, emulate whole systems, compile, and come in crowds.

mod bucket_registry;
mod crowd;
mod elsewhere;
mod example;
mod flash;
mod format;
mod growth;
mod kills;
mod main_job;
mod moved;
mod object_stores;
mod report_page;
mod same;
mod scan;
mod squashfs_boot;
mod stage;
mod tutorial;
mod whole_lock;
