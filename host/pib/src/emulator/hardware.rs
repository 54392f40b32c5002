//! Writes QEMU's command line for each kind of machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The name of the port that the agent in the system opens, in `/dev/virtio-ports`.
pub(super) const PORT_NAME: &str = "pib.test";

/// The address of the Raspberry Pi's network card, one of Raspberry Pi's own. Linux calls a card on USB `eth0` only where its
/// address is one that a maker gave (drivers/net/usb/usbnet.c), and `usb0` is not what systems configure.
const PI_ADDRESS: &str = "b8:27:eb:00:00:01";

/// Has systemd wait longer than its minute and a half for disks and services: an emulated machine is slow, and slower on a
/// busy one. Before systemd 254, the second counts for disks, too.
const PATIENCE: [&str; 2] =
    ["systemd.default_device_timeout_sec=300", "systemd.default_timeout_start_sec=300"];

/// How much translated code QEMU keeps, in MiB, before it drops all of it and translates again. A system takes some 150 MiB to
/// come up. QEMU's own bound is 1 GiB: after a restart, the first system's code would then still be kept, and QEMU would check
/// each write of the second one to a page that any of it was made from, which makes that start several times slower.
const TRANSLATED: &str = "tcg,thread=multi,tb-size=160";

/// Has a 64-bit kernel keep one set of page tables. QEMU forgets its translated addresses each time that a system call changes
/// the set, and what they keep apart, the kernel's memory from a processor that looks ahead, QEMU's processors do not do.
const ONE_PAGE_TABLE: &str = "kpti=off";

/// A kind of machine that QEMU runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    /// QEMU's own machine with a 64-bit processor: the fastest, and the one with a watchdog of a PC.
    Virt64,
    /// The same with a 32-bit processor.
    Virt32,
    /// A Raspberry Pi 3 B, with its own devices and device tree. It is several times slower.
    RaspberryPi3,
}

/// What the firmware of a board would have loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: Option<PathBuf>,
    /// The device tree, for machines that do not make their own.
    pub device_tree: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
}

/// Where the serial console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// To standard input and output, with QEMU's keys: Ctrl-A X ends it.
    Terminal,
    /// To the end of it that is kept.
    Kept,
}

/// A machine to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineOptions {
    /// Its kind.
    pub hardware: Hardware,
    /// What it starts.
    pub boot: BootFiles,
    /// The image, which is only read.
    pub disk: PathBuf,
    /// Its memory in MiB; a board that has no choice ignores it.
    pub memory: u64,
    /// The port of this machine that leads to the system's ssh server.
    pub ssh: Option<u16>,
    /// Whether a window shows what the system draws.
    pub graphic: bool,
    /// Where the serial console goes.
    pub console: Console,
    /// The socket at which pib waits for the agent.
    pub agent: Option<PathBuf>,
}

impl Hardware {
    /// Returns QEMU's program, and Debian's package that has it.
    pub fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Virt64 | Self::RaspberryPi3 => ("qemu-system-aarch64", "qemu-system-arm"),
            Self::Virt32 => ("qemu-system-arm", "qemu-system-arm"),
        }
    }

    /// Returns the most memory that the machine has, in MiB, where that is less than a board may have: without high memory, what
    /// 32 bits address ends at 4 GiB, and memory begins at 1 GiB.
    pub fn most_memory(self) -> Option<u64> {
        (self == Self::Virt32).then_some(3 << 10)
    }

    /// Returns the kernel's name of the serial console.
    fn console(self) -> &'static str {
        match self {
            Self::Virt64 | Self::Virt32 => "ttyAMA0",
            Self::RaspberryPi3 => "ttyS1,115200",
        }
    }

    /// Returns the machine, its processor and its memory.
    fn machine(self, memory: u64) -> Vec<String> {
        // Without high memory, 32-bit kernels find all devices where they look for them.
        let words: &[&str] = match self {
            Self::Virt64 => &["-M", "virt", "-cpu", "cortex-a72", "-smp", "2"],
            Self::Virt32 => &["-M", "virt,highmem=off", "-cpu", "cortex-a15", "-smp", "2"],
            Self::RaspberryPi3 => &["-M", "raspi3b"],
        };
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        if self != Self::RaspberryPi3 {
            words.extend(["-m".to_owned(), format!("{memory}M")]);
        }
        words
    }
}

impl MachineOptions {
    /// Returns the kernel's command line: the image's own, with QEMU's console in the place of the board's.
    fn command_line(&self) -> String {
        let own = self.boot.command_line.split_whitespace();
        // What the image says of the same comes later, and counts.
        let added = (self.hardware != Hardware::Virt32).then_some(ONE_PAGE_TABLE);
        let words = PATIENCE.into_iter().chain(added).chain(own);
        let mut words: Vec<&str> = words.filter(|word| !word.starts_with("console=")).collect();
        if self.graphic {
            words.push("console=tty0");
        }
        // What init says goes to the last one.
        let console = format!("console={}", self.hardware.console());
        words.push(&console);
        if self.agent.is_some() {
            words.push(super::additions::FIRST_PROGRAM);
        }
        words.join(" ")
    }

    /// Returns QEMU's arguments.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
        let machine = self.hardware.machine(self.memory);
        add(&machine.iter().map(String::as_str).collect::<Vec<_>>());
        add(&["-accel", TRANSLATED, "-nodefaults", "-no-user-config"]);
        add(&["-append", &self.command_line()]);
        // What the system writes goes to a temporary file that QEMU has unlinked.
        let drive = format!("format=raw,snapshot=on,file={}", value(&self.disk));
        let mut network = "user,id=net".to_owned();
        if let Some(port) = self.ssh {
            network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{port}-:22"));
        }
        add(&["-netdev", &network]);
        if self.hardware == Hardware::RaspberryPi3 {
            add(&["-drive", &format!("if=sd,{drive}")]);
            add(&["-device", &format!("usb-net,netdev=net,mac={PI_ADDRESS}")]);
            // The first serial port is the one of Bluetooth.
            add(&["-serial", "null"]);
        } else {
            add(&["-drive", &format!("if=none,id=card,{drive}"), "-device", "virtio-blk-pci,drive=card"]);
            add(&["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "i6300esb"]);
            add(&["-device", "virtio-rng-pci"]);
        }
        match self.console {
            Console::Terminal => add(&["-chardev", "stdio,id=console,mux=on,signal=off"]),
            Console::Kept => add(&["-chardev", "stdio,id=console,signal=off"]),
        }
        add(&["-serial", "chardev:console"]);
        match self.console {
            Console::Terminal => add(&["-mon", "chardev=console,mode=readline"]),
            Console::Kept => add(&["-monitor", "none"]),
        }
        match (self.graphic, self.hardware) {
            (false, _) => add(&["-display", "none"]),
            // Without a window of its own, QEMU would serve the picture to whoever reaches a port of this machine.
            (true, Hardware::RaspberryPi3) => {
                add(&["-display", "gtk", "-device", "usb-kbd", "-device", "usb-tablet"]);
            }
            (true, _) => {
                add(&["-display", "gtk", "-device", "virtio-gpu-pci", "-device", "qemu-xhci"]);
                add(&["-device", "usb-kbd", "-device", "usb-tablet"]);
            }
        }
        if let Some(socket) = &self.agent {
            let socket = format!("socket,id=agent,path={}", value(socket));
            let port = format!("virtserialport,chardev=agent,name={PORT_NAME}");
            add(&["-device", "virtio-serial-pci", "-chardev", &socket, "-device", &port]);
        }
        let BootFiles { kernel, initramfs, device_tree, command_line: _ } = &self.boot;
        let files =
            [("-kernel", Some(kernel)), ("-initrd", initramfs.as_ref()), ("-dtb", device_tree.as_ref())];
        for (option, path) in files {
            if let Some(path) = path {
                words.extend([OsString::from(option), path.into()]);
            }
        }
        words
    }
}

/// Returns a path as the value of one of QEMU's options, in which a comma stands for itself when it is doubled.
fn value(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(hardware: Hardware) -> MachineOptions {
        MachineOptions {
            hardware,
            boot: BootFiles {
                kernel: "/t/kernel".into(),
                initramfs: Some("/t/initramfs".into()),
                device_tree: None,
                command_line: "console=tty0 console=ttyS1,115200 root=LABEL=PIROOT ro".to_owned(),
            },
            disk: "/t/a,b.img".into(),
            memory: 512,
            ssh: Some(2222),
            graphic: false,
            console: Console::Kept,
            agent: Some("/t/agent".into()),
        }
    }

    fn line(options: &MachineOptions) -> String {
        let words = options.arguments();
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_consoles_of_a_board_become_that_of_the_machine() {
        let line = line(&options(Hardware::Virt64));
        assert!(
            line.contains(
                "timeout_start_sec=300 kpti=off root=LABEL=PIROOT ro console=ttyAMA0 rdinit=/pib-test/init"
            ),
            "{line}"
        );
        assert!(line.contains("snapshot=on,file=/t/a,,b.img"), "{line}");
        assert!(line.contains("hostfwd=tcp:127.0.0.1:2222-:22") && line.contains("-m 512M"), "{line}");
    }

    #[test]
    fn each_machine_has_its_own_devices() {
        let virt32 = line(&options(Hardware::Virt32));
        assert!(virt32.starts_with("-M virt,highmem=off -cpu cortex-a15") && !virt32.contains("kpti"));
        let pi = line(&MachineOptions { agent: None, ..options(Hardware::RaspberryPi3) });
        assert!(
            pi.contains("if=sd,")
                && pi.contains("usb-net,netdev=net,mac=b8:27:eb:")
                && !pi.contains("virtio"),
            "{pi}"
        );
        let open = MachineOptions { console: Console::Terminal, graphic: true, ..options(Hardware::Virt64) };
        let open = line(&open);
        assert!(
            open.contains("mux=on") && open.contains("console=tty0") && open.contains("-display gtk"),
            "{open}"
        );
    }
}
