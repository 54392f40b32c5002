//! The options of instructions, and the fields of mounts: each under one name, once, with a value that engines of all ages
//! read alike.

use std::ops::Range;

use super::checked::Mount;
use super::instructions::{Flag, Instruction};
use super::lines::Fault;
use crate::packages;
use crate::suggest;

/// The options that an instruction may have.
const OPTIONS: [(&str, &[&str]); 3] = [
    ("RUN", &["mount", "network", "security", "device"]),
    ("COPY", &["from", "chown", "chmod", "link", "parents", "exclude"]),
    ("ADD", &["chown", "chmod", "link", "checksum", "keep-git-dir", "unpack", "exclude"]),
];
/// Those that may stand there several times.
const REPEATED: [&str; 3] = ["mount", "exclude", "device"];
/// The kinds of mounts.
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
/// The fields of mounts, the name that is written first, and the other names of the same.
const FIELDS: [&[&str]; 14] = [
    &["type"],
    &["id"],
    &["from"],
    &["source", "src"],
    &["target", "dst", "destination"],
    &["rw", "readwrite"],
    &["ro", "readonly"],
    &["sharing"],
    &["required"],
    &["mode"],
    &["uid"],
    &["gid"],
    &["size"],
    &["env"],
];

/// Checks the options of an instruction.
pub(super) fn check(instruction: &Instruction) -> Result<(), Fault> {
    let keyword = &*instruction.keyword;
    let known = OPTIONS.iter().find(|(own, _)| *own == keyword).map_or(&[][..], |(_, known)| known);
    for (index, flag) in instruction.options.iter().enumerate() {
        let fault =
            |what: String, help: String| Err(Fault::new(flag.whole.clone(), what, "this option", help));
        let name = &*flag.name;
        if !known.contains(&name) {
            let help = match suggest::nearest(name, known.iter().copied()) {
                Some(near) => format!("Did you mean --{near}?"),
                None if known.is_empty() => format!("{keyword} has no options: remove it."),
                None => format!("{keyword} has {}.", suggest::list(known.iter().copied())),
            };
            return fault(format!("has a {keyword} with the unknown option --{name}"), help);
        }
        if !REPEATED.contains(&name) && instruction.options[..index].iter().any(|other| other.name == name) {
            let what = format!("has a {keyword} with --{name} twice");
            return fault(what, "Engines do not agree on which of the two counts: remove one.".to_owned());
        }
        // Engines of all ages put variables into this option alone.
        if name != "chown" && flag.value.as_ref().is_some_and(|value| value.contains('$')) && name != "from" {
            let what = format!("has a {keyword} with a variable in --{name}");
            return fault(
                what,
                "Some engines put its value in, and others do not: write the value.".to_owned(),
            );
        }
    }
    Ok(())
}

/// A mount and where its fields stand.
pub(super) struct Fields {
    pub(super) mount: Mount,
    places: Vec<(&'static str, Range<usize>)>,
}

impl Fields {
    /// Returns a field's value and its place, where the mount has the field.
    pub(super) fn get(&self, name: &str) -> Option<(&str, Range<usize>)> {
        let (_, value) = self.mount.fields.iter().find(|(own, _)| *own == name)?;
        let (_, place) = self.places.iter().find(|(own, _)| *own == name)?;
        Some((value.as_deref().unwrap_or_default(), place.clone()))
    }
}

/// Reads a mount.
pub(super) fn mount(flag: &Flag) -> Result<Fields, Fault> {
    let mut at = flag.span.start;
    let mut kind = ("bind", flag.span.clone());
    let mut found: Vec<(&'static str, Option<String>)> = Vec::new();
    let mut places: Vec<(&'static str, Range<usize>)> = Vec::new();
    for field in flag.value.as_deref().unwrap_or_default().split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let whole = at..at + field.len();
        at += field.len() + 1;
        let name = field_name(key, &whole)?;
        if places.iter().any(|(own, _)| *own == name) {
            let what = format!("has a mount with `{name}` twice");
            let help = "Engines take the last one: remove the other.";
            return Err(Fault::new(whole, what, "this field", help));
        }
        let place = whole.end - value.map_or(0, str::len)..whole.end;
        if name == "type" {
            kind = (mount_kind(value.unwrap_or_default(), &place)?, place.clone());
        } else {
            found.push((name, value.map(str::to_owned)));
        }
        places.push((name, place));
    }
    let mount = Mount { kind: kind.0, fields: found, from: None, secret: None };
    let fields = Fields { mount, places };
    check_names(&fields)?;
    Ok(fields)
}

fn field_name(key: &str, whole: &Range<usize>) -> Result<&'static str, Fault> {
    // Engines do not mind capitals here.
    let lower = key.to_ascii_lowercase();
    let all = || FIELDS.iter().flat_map(|names| names.iter().copied());
    let names = FIELDS.iter().find(|names| names.contains(&&*lower));
    names.map(|names| names[0]).ok_or_else(|| {
        let what = format!("has a mount with the unknown field `{key}`");
        let help = match suggest::nearest(&lower, all()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "A mount is written type=KIND,NAME=VALUE, without spaces.".to_owned(),
        };
        Fault::new(whole.clone(), what, "this field", help)
    })
}

fn mount_kind(kind: &str, place: &Range<usize>) -> Result<&'static str, Fault> {
    let lower = kind.to_ascii_lowercase();
    KINDS.into_iter().find(|known| **known == *lower).ok_or_else(|| {
        let what = format!("has a mount of the unknown type `{kind}`");
        Fault::new(place.clone(), what, "this type", format!("The types are {}.", suggest::list(KINDS)))
    })
}

/// Refuses two names of one secret, and downloads that are another project's.
fn check_names(fields: &Fields) -> Result<(), Fault> {
    let id = fields.get("id");
    if fields.mount.kind == "secret"
        && let (Some(_), Some((_, place))) = (&id, fields.get("source"))
    {
        let what = "mounts a secret with both `id` and `source`, of which engines take the second";
        return Err(Fault::new(place, what, "this field", "Write id=STAGE.KEY alone."));
    }
    if let Some((id, place)) = id.filter(|(id, _)| fields.mount.kind == "cache" && packages::is_own_id(id)) {
        let what = format!("mounts the cache `{id}`, which is one of pib's own");
        let help = "Write another id. pib mounts downloaded packages itself, each project's own.";
        return Err(Fault::new(place, what, "this id", help));
    }
    Ok(())
}
