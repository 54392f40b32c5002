//! Tests that take the machine: they boot what was built, kill what works, emulate whole systems, compile, and come in crowds.

// The longest comes first: tests start in the order of their names, and at the end nothing waits for it alone.
mod arch;
mod bucket_registry;
mod crowd;
mod device_stages;
mod elsewhere;
mod example;
mod faulty_cards;
mod flash;
mod format;
mod growth;
mod kills;
mod main_job;
mod more_stages;
mod moved;
mod object_stores;
mod oci_stages;
mod promises;
mod protected_roots;
mod publisher;
mod raspios;
mod registry_builds;
mod registry_crowd;
mod registry_pages;
mod report_page;
mod scan;
mod shared_stores;
mod stage;
mod system;
mod tutorial;
mod whole_lock;
