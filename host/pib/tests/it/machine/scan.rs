//! `pib scan` finds simulated boards in a network of the test's own, and nothing else.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::skip::{lacks, skip};
use crate::world::World;

/// Devices: their hardware addresses, and whether they are Raspberry Pis. Each has a network of its own.
const DEVICES: [(&str, bool); 4] = [
    ("b8:27:eb:01:02:03", true),
    ("02:00:00:01:02:04", false),
    ("2c:cf:67:01:02:05", true),
    ("3a:35:41:01:02:06", false),
];

/// Two network namespaces, which go with this value, and their interfaces with them.
struct Namespaces {
    scanner: String,
    devices: String,
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Namespaces {
    fn new() -> Self {
        let [scanner, devices] =
            ["scanner", "devices"].map(|name| format!("pib-{name}-{}", std::process::id()));
        ip(&["netns", "add", &scanner]);
        let both = Self { scanner, devices };
        ip(&["netns", "add", &both.devices]);
        for (number, (mac, _)) in DEVICES.iter().enumerate() {
            let (near, far) = (format!("near{number}"), format!("far{number}"));
            let peer = ["peer", "name", &far, "netns", &both.devices, "address", mac];
            ip(&[&["-n", &both.scanner, "link", "add", &near, "type", "veth"][..], &peer].concat());
            let sides = [(&both.scanner, &near, "1"), (&both.devices, &far, "7")];
            for (space, interface, host) in sides {
                let address = format!("10.99.{number}.{host}/24");
                ip(&["-n", space, "address", "add", &address, "dev", interface]);
                ip(&["-n", space, "link", "set", interface, "up"]);
            }
        }
        both
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.scanner, &self.devices] {
            _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

#[test]
fn simulated_boards_are_found_and_nothing_else() {
    if lacks(&["ip"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root makes network namespaces");
    }
    let world = World::new();
    let spaces = Namespaces::new();
    let scan = |args: &[&str]| {
        let mut pib = Command::new("ip");
        pib.args(["netns", "exec", &spaces.scanner, env!("CARGO_BIN_EXE_pib"), "scan"]).args(args);
        pib.env("HOME", world.path(".")).env("PIB_CACHE_DIR", world.path("cache")).output().unwrap()
    };
    let began = Instant::now();
    let output = scan(&["--json"]);
    let took = began.elapsed();
    let errors = String::from_utf8_lossy(&output.stderr);
    let found: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let macs: Vec<&str> =
        found.as_array().unwrap().iter().filter_map(|board| board["mac"].as_str()).collect();
    let pis: Vec<&str> = DEVICES.iter().filter(|(_, is)| *is).map(|(mac, _)| *mac).collect();
    assert_eq!(macs, pis);
    assert_eq!(found[1]["address"], "10.99.2.7");
    // It ends whoever answers: a bound, not a measurement.
    assert!(took < Duration::from_secs(30), "{took:?}");
    let one = scan(&["--interface", "near2"]);
    let text = String::from_utf8_lossy(&one.stdout).into_owned();
    assert!(text.contains(DEVICES[2].0) && !text.contains(DEVICES[0].0), "{text}");
    ip(&["-n", &spaces.scanner, "link", "set", "near2", "down"]);
    for name in ["near2", "nobody"] {
        let output = scan(&["--interface", name]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && errors.contains("near0"), "{errors}");
    }
}
