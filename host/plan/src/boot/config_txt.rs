//! Reads `config.txt`, and `autoboot.txt`, as a model's firmware does: filters, includes, and of each setting the last.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::model::Model;

/// The longest part of a line that the firmware reads.
pub const MAX_LINE: usize = 98;
/// The most bytes of `autoboot.txt` that are read.
pub const MAX_AUTOBOOT: usize = 512;
/// How many files are included at most.
const MAX_INCLUDES: usize = 64;

/// What `config.txt` says to a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigTxt {
    settings: BTreeMap<String, String>,
    /// The overlays, in their order.
    pub overlays: Vec<String>,
    /// The files that are to be included and are not there.
    pub missing: Vec<String>,
    /// The files that include themselves, or one that includes them; they are left out there.
    pub around: Vec<String>,
    /// How many files were to be included.
    pub includes: usize,
    /// Lines of which the firmware does not read the end.
    pub long_lines: Vec<String>,
    /// Filters that depend on what only a running board knows, e.g. a pin; what is behind them was left out.
    pub undecided: Vec<String>,
}

/// How a board was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// As always.
    Normal,
    /// To try an update: the flag `tryboot` is set for this start.
    Try,
}

/// Which of the filters in force hold. Filters of one kind replace each other, those of different kinds add up.
#[derive(Debug, Clone, Copy)]
struct Filters {
    model: bool,
    start: bool,
    known: bool,
}

impl Filters {
    const ALL: Self = Self { model: true, start: true, known: true };

    fn hold(self) -> bool {
        self.model && self.start && self.known
    }
}

impl ConfigTxt {
    /// Reads a text. `include` gives the texts of other files, none where there is no such file.
    pub fn read(
        text: &str,
        model: &Model,
        start: Start,
        include: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Self {
        let mut config = Self::default();
        config.add(text, model, start, include, &mut Vec::new());
        config
    }

    fn add(
        &mut self,
        text: &str,
        model: &Model,
        start: Start,
        include: &mut dyn FnMut(&str) -> Option<String>,
        open: &mut Vec<String>,
    ) {
        let mut filters = Filters::ALL;
        for line in text.lines().map(str::trim) {
            if let Some(filter) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                self.filter(filter, model, start, &mut filters);
                continue;
            }
            if line.is_empty() || line.starts_with('#') || !filters.hold() {
                continue;
            }
            if line.len() > MAX_LINE {
                self.long_lines.push(line.to_owned());
            }
            let line: String = line.chars().take(MAX_LINE).collect();
            if let Some(name) = line.strip_prefix("include ").map(str::trim) {
                self.include(name, model, start, include, open);
            } else if let Some(rest) = line.strip_prefix("initramfs ") {
                self.settings.insert("initramfs".to_owned(), rest.trim().to_owned());
            } else if let Some((name, value)) = line.split_once('=') {
                self.set(name.trim(), value.trim());
            }
        }
    }

    /// Adds an included file. One that is being read already is left out: the firmware would read on for ever.
    fn include(
        &mut self,
        name: &str,
        model: &Model,
        start: Start,
        include: &mut dyn FnMut(&str) -> Option<String>,
        open: &mut Vec<String>,
    ) {
        let key = name.to_lowercase();
        if key == "config.txt" || open.contains(&key) {
            self.around.push(name.to_owned());
            return;
        }
        self.includes += 1;
        if self.includes > MAX_INCLUDES {
            return;
        }
        match include(name) {
            Some(text) => {
                open.push(key);
                self.add(&text, model, start, include, open);
                open.pop();
            }
            None => self.missing.push(name.to_owned()),
        }
    }

    /// Returns whether there are more included files than are read here.
    fn has_too_many(&self) -> bool {
        self.includes > MAX_INCLUDES
    }

    /// Returns what is wrong with the text itself.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let missing = self.missing.iter().map(|name| Fault::Include { name: name.clone() });
        let around = self.around.iter().map(|name| Fault::IncludeLoop { name: name.clone() });
        let many = self.has_too_many().then_some(Fault::Includes { count: self.includes });
        let long = self.long_lines.iter().map(|line| Fault::LongLine { line: line.clone() });
        missing.chain(around).chain(many).chain(long).collect()
    }

    fn set(&mut self, name: &str, value: &str) {
        match name {
            // An empty one ends the parameters of the one before.
            "dtoverlay" | "device_tree_overlay" if value.is_empty() => {}
            "dtoverlay" | "device_tree_overlay" => {
                let overlay = value.split([',', ':']).next().unwrap_or_default();
                self.overlays.push(overlay.trim_end_matches(".dtbo").to_owned());
            }
            _ => {
                self.settings.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn filter(&mut self, filter: &str, model: &Model, start: Start, filters: &mut Filters) {
        let is_model = filter.strip_prefix("pi").or_else(|| filter.strip_prefix("cm"));
        match filter {
            "all" => *filters = Filters::ALL,
            "none" => filters.model = false,
            "tryboot" => filters.start = start == Start::Try,
            _ if is_model.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) => {
                filters.model = model.filters.contains(&filter);
            }
            // The HDMI port decides settings of pictures only.
            _ if filter.starts_with("HDMI:") => {}
            // What depends on a monitor, a pin or a serial number is not known here. The rest of the chain must start
            // without it.
            _ => {
                filters.known = false;
                self.undecided.push(filter.to_owned());
            }
        }
    }

    /// Returns a setting's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Returns whether a setting is set to a number other than 0; none where it is not set.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value.parse::<i64>().is_ok_and(|number| number != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::models;
    use super::*;

    fn config_of(text: &str) -> ConfigTxt {
        read(text, "rpi4")
    }

    fn read(text: &str, board: &str) -> ConfigTxt {
        let model = models(board).next().unwrap();
        ConfigTxt::read(text, model, Start::Normal, &mut |name| match name {
            "more.txt" => Some("kernel=included\n[pi1]\nkernel=wrong\n".to_owned()),
            "around.txt" => Some("include around.txt\n".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn filters_of_one_kind_replace_each_other_and_all_resets() {
        let text = "a=1\n[pi4]\na=4\nb=4\n[pi3]\na=3\n[all]\nc=1\n[none]\nc=2\n[all]\n# c=3\n[cm4]\nd=1\n[pi02]\nd=2";
        let config = read(text, "rpi4");
        assert_eq!(
            [config.get("a"), config.get("b"), config.get("c"), config.get("d")],
            [Some("4"), Some("4"), Some("1"), None]
        );
        assert_eq!(read(text, "cm4").get("d"), Some("1"));
        assert_eq!(read(text, "zero2w").get("d"), Some("2"));
    }

    #[test]
    fn files_are_included_and_their_filters_end_with_them() {
        let config = read("include more.txt\nx=1\ninclude gone.txt\ninclude around.txt", "rpi3");
        assert_eq!((config.get("kernel"), config.get("x")), (Some("included"), Some("1")));
        assert_eq!(
            (config.missing, config.around),
            (vec!["gone.txt".to_owned()], vec!["around.txt".to_owned()])
        );
        let many = read(&"include more.txt\n".repeat(1000), "rpi3");
        assert!(many.has_too_many() && !config_of("include more.txt").has_too_many());
    }

    #[test]
    fn overlays_are_listed_without_their_parameters() {
        let config = read(
            "dtoverlay=vc4-kms-v3d,cma-512\ndtoverlay=\ndtoverlay=disable-bt\n[gpio4=1]\ndtoverlay=x",
            "rpi4",
        );
        assert_eq!(config.overlays, ["vc4-kms-v3d", "disable-bt"]);
        assert_eq!(config.undecided, ["gpio4=1"]);
    }

    #[test]
    fn the_end_of_a_long_line_is_not_read() {
        let config = read(&format!("kernel={}", "x".repeat(100)), "rpi4");
        assert_eq!((config.get("kernel").unwrap().len(), config.long_lines.len()), (MAX_LINE - 7, 1));
    }

    #[test]
    fn a_try_reads_what_is_for_it() {
        let text = "[all]\nboot_partition=2\n[tryboot]\nboot_partition=3\n";
        let model = models("rpi4").next().unwrap();
        let partition = |start| {
            let config = ConfigTxt::read(text, model, start, &mut |_| None);
            config.get("boot_partition").map(str::to_owned)
        };
        assert_eq!(
            (partition(Start::Normal).as_deref(), partition(Start::Try).as_deref()),
            (Some("2"), Some("3"))
        );
    }
}
