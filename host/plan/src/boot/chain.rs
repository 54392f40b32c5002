//! Follows the boot chain of an image as a model's firmware does, and collects what is wrong.

use serde::Serialize;

use super::archive::{Initramfs, is_module};
use super::config_txt::{ConfigTxt, MAX_AUTOBOOT, Start};
use super::fault::Fault;
use super::kernel_image::{HEAD, KernelImage};
use super::media::{BootMedia, BootPartition, RootFacts, found_by_firmware};
use super::model::{Generation, Model};
use super::root::{self, Root};
use crate::id::Arch;

/// The boot chain of an image on one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chain {
    /// The model's name.
    pub model: &'static str,
    /// Whether this is the start that tries an update.
    pub is_try: bool,
    /// The partition that the firmware reads.
    pub partition: Option<u32>,
    /// The file of that partition which is read in its place: kernel and all that follows are in its file system.
    pub ramdisk: Option<String>,
    /// The firmware's files that are read.
    pub firmware: Vec<String>,
    /// The kernel.
    pub kernel: Option<String>,
    /// The initramfs.
    pub initramfs: Vec<String>,
    /// The device tree.
    pub device_tree: Option<String>,
    /// The overlays.
    pub overlays: Vec<String>,
    /// The kernel's command line.
    pub command_line: Option<String>,
    /// The partition with the root; none where it is on another disk, or not known.
    pub root: Option<u32>,
    /// What is not decided by the image, e.g. the state of a pin.
    pub notes: Vec<String>,
    /// What would keep the board from starting.
    pub faults: Vec<Fault>,
}

/// The most bytes of a text that are read.
const MAX_TEXT: usize = 64 << 10;
/// Follows the chain on a model: as always, and as in a try of an update where the image is made for that.
/// `foreign_root` says that the root may be on another disk.
pub fn check(model: &'static Model, media: &mut dyn BootMedia, foreign_root: bool) -> Vec<Chain> {
    let mut chains = vec![Walk::new(model, media, Start::Normal, foreign_root).follow()];
    let first = chains[0].partition;
    let tries = Walk::new(model, media, Start::Try, foreign_root).is_made_for_tries();
    if tries && first.is_some() {
        chains.push(Walk::new(model, media, Start::Try, foreign_root).follow());
    }
    chains
}

struct Walk<'a> {
    model: &'static Model,
    media: &'a mut dyn BootMedia,
    partitions: Vec<BootPartition>,
    start: Start,
    foreign_root: bool,
    /// The partition that is read.
    at: u32,
    chain: Chain,
}

impl<'a> Walk<'a> {
    fn new(model: &'static Model, media: &'a mut dyn BootMedia, start: Start, foreign_root: bool) -> Self {
        let chain = Chain {
            model: model.title,
            is_try: start == Start::Try,
            partition: None,
            ramdisk: None,
            firmware: Vec::new(),
            kernel: None,
            initramfs: Vec::new(),
            device_tree: None,
            overlays: Vec::new(),
            command_line: None,
            root: None,
            notes: Vec::new(),
            faults: Vec::new(),
        };
        let partitions = media.partitions();
        Self { model, media, partitions, start, foreign_root, at: 0, chain }
    }

    fn fault(&mut self, fault: Fault) {
        if !self.chain.faults.contains(&fault) {
            self.chain.faults.push(fault);
        }
    }

    /// Notes what cannot be read and goes on as if it were not there.
    fn readable<T>(&mut self, partition: u32, outcome: Result<Option<T>, String>) -> Option<T> {
        outcome.unwrap_or_else(|reason| {
            let is_own = self.partitions.iter().any(|own| own.number == partition);
            self.fault(match self.chain.ramdisk.clone().filter(|_| !is_own) {
                Some(name) => Fault::BrokenRamdisk { name, reason: format!("cannot be read: {reason}") },
                None => Fault::Unreadable { partition, reason },
            });
            None
        })
    }

    fn has(&mut self, path: &str) -> bool {
        self.size(path).is_some()
    }

    fn size(&mut self, path: &str) -> Option<u64> {
        let outcome = self.media.size(self.at, path);
        self.readable(self.at, outcome)
    }

    fn head(&mut self, path: &str, most: usize) -> Option<Vec<u8>> {
        let outcome = self.media.head(self.at, path, most);
        self.readable(self.at, outcome)
    }

    fn text(&mut self, path: &str) -> Option<String> {
        self.head(path, MAX_TEXT).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn config(&mut self, text: &str) -> ConfigTxt {
        let (model, start) = (self.model, self.start);
        ConfigTxt::read(text, model, start, &mut |name| self.text(name))
    }

    fn is_fat(&self, number: u32) -> bool {
        self.partitions.iter().any(|partition| partition.number == number && partition.filesystem == "vfat")
    }

    /// Returns whether the image has something else for a start that tries an update.
    fn is_made_for_tries(&mut self) -> bool {
        let Some(first) = self.first_partition() else { return false };
        self.at = first;
        let autoboot = self.text("autoboot.txt").unwrap_or_default();
        autoboot.contains("[tryboot]") || self.has("tryboot.txt")
    }

    fn first_partition(&mut self) -> Option<u32> {
        let found = self.partitions.iter().find(|partition| partition.filesystem == "vfat").cloned();
        let Some(BootPartition { number, kind, .. }) = found else {
            self.fault(Fault::NoBootPartition);
            return None;
        };
        if kind.len() > 2 && !self.model.reads_gpt() {
            self.fault(Fault::Gpt);
        }
        if !found_by_firmware(&kind) {
            self.fault(Fault::PartitionType { partition: number, found: kind });
        }
        Some(number)
    }

    fn follow(mut self) -> Chain {
        let Some(first) = self.first_partition() else { return self.chain };
        self.at = first;
        let is_empty = self.media.is_empty(first).map(|is_empty| is_empty.then_some(()));
        if self.readable(first, is_empty).is_some() {
            self.fault(Fault::Empty { partition: first });
            return self.chain;
        }
        if self.model.generation == Generation::Card {
            self.firmware("bootcode.bin");
        }
        let Some(is_a_b) = self.choose_partition() else { return self.chain };
        self.chain.partition = Some(self.at);
        let is_try = self.start == Start::Try && !is_a_b;
        let mut config = self.config_file(if is_try { "tryboot.txt" } else { "config.txt" });
        if config.flag("boot_ramdisk") == Some(true) && self.model.reads_ramdisks() {
            let Some(inner) = self.enter_ramdisk(is_try) else { return self.chain };
            config = inner;
        }
        self.start_files(&config);
        self.system(&config);
        self.chain
    }

    /// Reads `config.txt`, or what takes its place, and notes what is wrong with it.
    fn config_file(&mut self, name: &str) -> ConfigTxt {
        let text = self.text(name).unwrap_or_default();
        let config = self.config(&text);
        config.faults().into_iter().for_each(|fault| self.fault(fault));
        for filter in &config.undecided {
            self.chain.notes.push(format!("what is behind [{filter}] in {name} was left out"));
        }
        config
    }

    /// Goes to the partition that `autoboot.txt` names; returns whether updates are tried by partition.
    fn choose_partition(&mut self) -> Option<bool> {
        let Some(size) = self.size("autoboot.txt") else { return Some(false) };
        if size > MAX_AUTOBOOT as u64 {
            self.fault(Fault::Autoboot { size });
        }
        let text = self.head("autoboot.txt", MAX_AUTOBOOT).unwrap_or_default();
        let config = self.config(&String::from_utf8_lossy(&text));
        let is_a_b = config.flag("tryboot_a_b") == Some(true);
        let Some(wanted) = config.get("boot_partition").map(str::to_owned) else { return Some(is_a_b) };
        match wanted.parse().ok().filter(|number| self.is_fat(*number)) {
            Some(number) => {
                self.at = number;
                Some(is_a_b)
            }
            None => {
                self.fault(Fault::BootPartition { partition: wanted });
                None
            }
        }
    }

    /// Goes to the file system in `boot.img`, where all that follows is read; returns what its `config.txt` says.
    fn enter_ramdisk(&mut self, is_try: bool) -> Option<ConfigTxt> {
        let name = if is_try { "tryboot.img" } else { "boot.img" }.to_owned();
        let limit = self.model.ramdisk_limit();
        let entered = match self.size(&name) {
            None => Err(Fault::Ramdisk { name }),
            Some(size) if size > limit => Err(Fault::RamdiskSize { name, size, limit }),
            Some(_) => match self.media.ramdisk(self.at, &name) {
                Ok(number) => Ok((name, number)),
                Err(reason) => Err(Fault::BrokenRamdisk { name, reason }),
            },
        };
        let (name, number) = entered.map_err(|fault| self.fault(fault)).ok()?;
        self.chain.firmware.push(name.clone());
        self.chain.ramdisk = Some(name);
        self.at = number;
        let name = if is_try && self.has("tryboot.txt") { "tryboot.txt" } else { "config.txt" };
        Some(self.config_file(name))
    }

    fn firmware(&mut self, name: &str) {
        match self.has(name) {
            true => self.chain.firmware.push(name.to_owned()),
            false => self.fault(Fault::Firmware { name: name.to_owned() }),
        }
    }

    /// The main part of the firmware, and the file that fits it to the board's memory.
    fn start_files(&mut self, config: &ConfigTxt) {
        let four = match self.model.generation {
            Generation::Whole => return,
            Generation::Eeprom => "4",
            Generation::Card => "",
        };
        // The smallest share of memory for pictures takes the variant that has no more than that needs.
        let variant = if config.flag("start_x") == Some(true) {
            "x"
        } else if config.flag("start_debug") == Some(true) {
            "db"
        } else if config.get("gpu_mem") == Some("16") {
            "cd"
        } else {
            ""
        };
        let separator = if four.is_empty() && !variant.is_empty() { "_" } else { "" };
        let name = |stem: &str, ending: &str| format!("{stem}{four}{separator}{variant}.{ending}");
        let (start, fixup) = (name("start", "elf"), name("fixup", "dat"));
        self.firmware(config.get("start_file").unwrap_or(&start));
        self.firmware(config.get("fixup_file").unwrap_or(&fixup));
    }

    /// The kernel and what is loaded with it.
    fn system(&mut self, config: &ConfigTxt) {
        let is_64bit = self.is_64bit(config);
        let kernel = match config.get("kernel") {
            Some(kernel) => kernel.to_owned(),
            // The 5 takes the kernel of the 4 where its own is not there.
            None if self.model.generation == Generation::Whole && !self.has(self.model.kernel) => {
                "kernel8.img".to_owned()
            }
            None => self.model.default_kernel(is_64bit).to_owned(),
        };
        let trees = self.tree_names(config);
        let prefix = self.prefix(config, &kernel, &trees);
        let path = |name: &str| match name.strip_prefix('/') {
            Some(whole) => whole.to_owned(),
            None => format!("{prefix}{name}"),
        };
        self.kernel(&path(&kernel), is_64bit);
        let trees: Vec<String> = trees.iter().map(|name| path(name)).collect();
        self.tree(trees);
        self.overlays(config, &prefix);
        let archives = self.archives(config, &path(&kernel));
        let found: Vec<Initramfs> = archives.iter().filter_map(|name| self.initramfs(&path(name))).collect();
        let has_archive = !archives.is_empty();
        self.command_line(&path(config.get("cmdline").unwrap_or("cmdline.txt")), has_archive, &found);
    }

    fn is_64bit(&mut self, config: &ConfigTxt) -> bool {
        let known = match config.get("kernel") {
            Some("kernel8.img" | "kernel_2712.img") => Some(true),
            Some("kernel.img" | "kernel7.img" | "kernel7l.img") => Some(false),
            _ => None,
        };
        let is_64bit = self.model.generation == Generation::Whole
            || known.or(config.flag("arm_64bit")).unwrap_or(self.model.prefers_64_bits());
        if is_64bit && !self.model.runs(Arch::Arm64) {
            self.fault(Fault::Mode);
        }
        is_64bit
    }

    /// Returns the device trees that the firmware looks for, in their order.
    fn tree_names(&self, config: &ConfigTxt) -> Vec<String> {
        if let Some(name) = config.get("device_tree") {
            return vec![name.to_owned()];
        }
        let Model { tree, upstream_tree, .. } = *self.model;
        let mut names = match config.flag("upstream_kernel") {
            Some(true) => vec![upstream_tree.to_owned(), tree.to_owned()],
            _ => vec![tree.to_owned()],
        };
        names.dedup();
        names
    }

    /// Returns what stands before the names of the system's files: nothing, unless kernel and device tree are there.
    fn prefix(&mut self, config: &ConfigTxt, kernel: &str, trees: &[String]) -> String {
        let implied = if config.flag("upstream_kernel") == Some(true) { "upstream/" } else { "" };
        let prefix = config.get("os_prefix").unwrap_or(implied).trim_start_matches('/').to_owned();
        let is_there = self.has(&format!("{prefix}{kernel}"))
            && trees.iter().any(|tree| self.has(&format!("{prefix}{tree}")));
        if is_there { prefix } else { String::new() }
    }

    fn kernel(&mut self, path: &str, is_64bit: bool) {
        let Some(head) = self.head(path, HEAD) else {
            return self.fault(Fault::Kernel { name: path.to_owned() });
        };
        let found = KernelImage::of(&head);
        let fits = match found {
            KernelImage::Arm64 | KernelImage::Gzip => is_64bit,
            KernelImage::Arm32 => !is_64bit,
            KernelImage::Unknown => false,
        };
        if !fits {
            let bits = if is_64bit { 64 } else { 32 };
            self.fault(Fault::KernelKind { name: path.to_owned(), found: found.text(), bits });
        }
        self.chain.kernel = Some(path.to_owned());
    }

    fn tree(&mut self, names: Vec<String>) {
        let Some(name) = names.iter().find(|name| self.has(name)).cloned() else {
            return self.fault(Fault::Tree { names });
        };
        self.check_tree(&name);
        self.chain.device_tree = Some(name);
    }

    /// A device tree and an overlay begin with the same number (Devicetree Specification 0.4, section 5.2).
    fn check_tree(&mut self, name: &str) {
        if self.head(name, 4).is_some_and(|head| head != 0xd00d_feed_u32.to_be_bytes()) {
            self.fault(Fault::NotTree { name: name.to_owned() });
        }
    }

    fn overlays(&mut self, config: &ConfigTxt, prefix: &str) {
        let folder = config.get("overlay_prefix").unwrap_or("overlays/").to_owned();
        let prefix = if self.has(&format!("{prefix}{folder}README")) { prefix } else { "" };
        // The map gives some overlays another name on some models.
        let has_map = self.has(&format!("{prefix}{folder}overlay_map.dtb"));
        let other = match self.model.generation {
            Generation::Whole => "-pi5",
            _ => "-pi4",
        };
        for name in &config.overlays {
            let path = format!("{prefix}{folder}{name}.dtbo");
            let mapped = format!("{prefix}{folder}{name}{other}.dtbo");
            let found = [path.clone(), mapped].into_iter().take(if has_map { 2 } else { 1 });
            match found.into_iter().find(|path| self.has(path)) {
                Some(path) => {
                    self.check_tree(&path);
                    self.chain.overlays.push(path);
                }
                None => self.fault(Fault::Overlay { name: name.clone(), path }),
            }
        }
    }

    /// Returns the names of the initramfs's files.
    fn archives(&mut self, config: &ConfigTxt, kernel: &str) -> Vec<String> {
        let named = config.get("initramfs").and_then(|text| text.split_whitespace().next());
        if let Some(names) = named.or(config.get("ramfsfile")) {
            return names.split(',').map(|name| name.trim().to_owned()).collect();
        }
        // `kernel8.img` goes with `initramfs8`, and so on.
        let name = kernel.rsplit('/').next().unwrap_or_default();
        let automatic = name.strip_prefix("kernel").and_then(|name| name.strip_suffix(".img"));
        match automatic.filter(|_| config.flag("auto_initramfs") == Some(true)) {
            Some(rest) => vec![format!("initramfs{rest}")],
            None => Vec::new(),
        }
    }

    fn initramfs(&mut self, path: &str) -> Option<Initramfs> {
        if !self.has(path) {
            self.fault(Fault::Initramfs { name: path.to_owned() });
            return None;
        }
        self.chain.initramfs.push(path.to_owned());
        match self.media.initramfs(self.at, path) {
            Ok(found) => Some(found),
            Err(reason) => {
                self.fault(Fault::BrokenInitramfs { name: path.to_owned(), reason });
                None
            }
        }
    }

    fn command_line(&mut self, name: &str, has_archive: bool, archives: &[Initramfs]) {
        let Some(text) = self.text(name) else {
            return self.fault(Fault::CommandLine { name: name.to_owned() });
        };
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > 1 {
            self.fault(Fault::CommandLines { name: name.to_owned(), lines });
        }
        let line = text.lines().next().unwrap_or_default().trim().to_owned();
        self.chain.command_line = Some(line.clone());
        let root = match root::of(&line, &self.partitions, has_archive, self.foreign_root) {
            Ok(root) => root,
            Err(fault) => return self.fault(fault),
        };
        match root {
            Root::Elsewhere(what) => self.chain.notes.push(format!("the root, {what}, is not in the image")),
            Root::Partition(number) => {
                self.chain.root = Some(number);
                self.root(number, &line, has_archive, archives);
            }
        }
    }

    /// Checks that the kernel can mount the root and start its first program.
    fn root(&mut self, number: u32, line: &str, has_archive: bool, archives: &[Initramfs]) {
        let filesystem = self.partitions.iter().find(|partition| partition.number == number);
        let filesystem = filesystem.map(|partition| partition.filesystem.clone()).unwrap_or_default();
        if let Some(wanted) = root::argument(line, "rootfstype")
            && !wanted.split(',').any(|wanted| wanted == filesystem)
        {
            self.fault(Fault::RootType {
                wanted: wanted.to_owned(),
                partition: number,
                found: filesystem.clone(),
            });
        }
        let facts = match self.media.root(number) {
            Ok(facts) => facts,
            Err(reason) => return self.fault(Fault::Unreadable { partition: number, reason }),
        };
        let init = root::argument(line, "init").unwrap_or("/sbin/init").to_owned();
        let outcome = self.media.size(number, &init);
        if self.readable(number, outcome).is_none() {
            self.fault(Fault::Init { partition: number, path: init });
        }
        // An initramfs that could not be unpacked is told already.
        if has_archive && archives.is_empty() {
            return;
        }
        let version = archives.iter().find_map(Initramfs::kernel_version);
        if let Some(version) = version
            && !facts.versions.iter().any(|found| found == version)
        {
            let (version, found) = (version.to_owned(), facts.versions.clone());
            self.fault(Fault::Version { version, found });
        }
        let slot: Vec<String> = self.model.storage.iter().map(|module| (*module).to_owned()).collect();
        self.driver("card slot", slot, &facts, archives);
        self.driver("root's file system", vec![filesystem], &facts, archives);
    }

    /// Checks that one of these modules is built in or in an initramfs. Where nothing says what is built in, nothing is
    /// known.
    fn driver(
        &mut self,
        what: &'static str,
        modules: Vec<String>,
        facts: &RootFacts,
        archives: &[Initramfs],
    ) {
        if facts.builtin.is_empty() && archives.iter().all(|archive| archive.builtin.is_empty()) {
            return;
        }
        let has = |module: &String| {
            facts.builtin.iter().any(|path| is_module(path, module))
                || archives.iter().any(|archive| archive.has_module(module))
        };
        if !modules.iter().any(has) {
            self.fault(Fault::Driver { what, modules });
        }
    }
}
