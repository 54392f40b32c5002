//! Writes the `pib.toml` of an imported project.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::makefile_settings::Settings;
use crate::layout::{DiskFile, PartitionSize, PartitionTable};

/// Returns the manifest: the project, and what differs in each target.
pub(super) fn write(main: &Settings, targets: &[(String, Settings)]) -> String {
    let mut text = project(main);
    let mut head = "\n[stages]\n";
    for (name, folder) in &main.folders {
        let _ = writeln!(text, "{head}{name} = {{ path = {} }}", quoted(folder));
        head = "";
    }
    let order = main.order();
    if !order.is_empty() {
        let _ = write!(text, "\n[order]\nlist = {}\n", list(&order));
    }
    if let Some(disk) = &main.disk {
        layout(&mut text, "image", disk, PartitionTable::Mbr);
    }
    variables(&mut text, "variables", &main.variables);
    for (name, settings) in targets {
        target(&mut text, main, name, settings);
    }
    text
}

fn project(main: &Settings) -> String {
    let release = if main.os == "arch" { "rolling" } else { "trixie" };
    let mut text = format!(
        "[project]\nname = {}\nos = {}\nrelease = {}\nboard = {}\narch = {}\n",
        quoted(&main.name),
        quoted(&main.os),
        quoted(release),
        quoted(&main.board),
        quoted(&main.arch)
    );
    if let Some(hostname) = &main.hostname {
        let _ = writeln!(text, "hostname = {}", quoted(hostname));
    }
    let _ = write!(text, "locale = {}\ntimezone = {}\n", quoted(&main.locale), quoted(&main.timezone));
    if let Some(mirror) = &main.mirror {
        let _ = writeln!(text, "mirror = {}", quoted(mirror));
    }
    text
}

fn target(text: &mut String, main: &Settings, name: &str, settings: &Settings) {
    let _ = write!(text, "\n[target.{name}]\n");
    let hostname = |settings: &Settings| settings.hostname.clone().unwrap_or_default();
    for (key, own, other) in [
        ("os", &settings.os, &main.os),
        ("board", &settings.board, &main.board),
        ("arch", &settings.arch, &main.arch),
        ("hostname", &hostname(settings), &hostname(main)),
        ("locale", &settings.locale, &main.locale),
        ("timezone", &settings.timezone, &main.timezone),
    ] {
        if own != other && !own.is_empty() {
            let _ = writeln!(text, "{key} = {}", quoted(own));
        }
    }
    if settings.os != main.os {
        let _ =
            writeln!(text, "release = {}", quoted(if settings.os == "arch" { "rolling" } else { "trixie" }));
    }
    let mut head = format!("\n[target.{name}.stages]\n");
    for (stage, _) in &main.folders {
        if !settings.folders.iter().any(|(own, _)| own == stage) {
            let _ = writeln!(text, "{head}{stage} = false");
            head.clear();
        }
    }
    for (stage, folder) in &settings.folders {
        if !main.folders.contains(&(stage.clone(), folder.clone())) {
            let _ = writeln!(text, "{head}{stage} = {{ path = {} }}", quoted(folder));
            head.clear();
        }
    }
    let order = settings.order();
    let of_main: Vec<String> = main.order().into_iter().filter(|stage| order.contains(stage)).collect();
    if order != of_main {
        let _ = write!(text, "\n[target.{name}.order]\nlist = {}\n", list(&order));
    }
    let (table, image) = (table_of(main), format!("target.{name}.image"));
    match &settings.disk {
        own if *own == main.disk => {}
        Some(own) => layout(text, &image, own, table),
        None => drop(write!(text, "\n[{image}]\ntable = \"mbr\"\npartition = []\n")),
    }
    let differs = |(key, value): &(&String, &String)| main.variables.get(*key) != Some(value);
    let own = settings.variables.iter().filter(differs);
    let own = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    variables(text, &format!("target.{name}.variables"), &own);
}

fn table_of(settings: &Settings) -> PartitionTable {
    settings.disk.as_ref().map_or(PartitionTable::Mbr, |disk| disk.table)
}

/// Writes the partitions of a disk file; `usual` is the kind of table that there is where nothing is said.
fn layout(text: &mut String, image: &str, disk: &DiskFile, usual: PartitionTable) {
    if disk.table != usual {
        let name = if disk.table == PartitionTable::Gpt { "gpt" } else { "mbr" };
        let _ = write!(text, "\n[{image}]\ntable = \"{name}\"\n");
    }
    for part in &disk.partitions {
        let _ = write!(
            text,
            "\n[[{image}.partition]]\nlabel = {}\nfilesystem = \"{}\"\n",
            quoted(&part.label),
            part.filesystem.name()
        );
        let size = Some(part.size).filter(|size| *size != PartitionSize::Auto).map(|size| size.to_string());
        let mount = Some(part.mount.clone()).filter(|mount| !mount.is_empty());
        let align = part.align.map(|align| align.to_string());
        for (key, value) in [("mount", mount), ("size", size), ("align", align)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {}", quoted(&value));
            }
        }
        if let Some(reserved) = part.reserved {
            let _ = writeln!(text, "reserved = {reserved}");
        }
        for (key, is_so) in [("active", part.active), ("grow", part.grow)] {
            if is_so {
                let _ = writeln!(text, "{key} = true");
            }
        }
    }
}

fn variables(text: &mut String, table: &str, variables: &BTreeMap<String, String>) {
    if variables.is_empty() {
        return;
    }
    let _ = write!(text, "\n[{table}]\n");
    for (name, value) in variables {
        let _ = writeln!(text, "{name} = {}", quoted(value));
    }
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", names.join(", "))
}

/// Returns a text as TOML writes it.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
