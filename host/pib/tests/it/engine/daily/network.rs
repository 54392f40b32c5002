//! The stage `network`, as far as a build shows it: Wi-Fi, whose key is made of a secret. The main job boots the rest.

use super::secrets::nowhere;
use super::{Loop, text};

/// What shells, Dockerfiles, TOML and sed each have a meaning for.
const SSID: &str = "  A \"net\" \\ of $HOME's ";
const PASSPHRASE: &str = " \"correct-horse\" pass\\word \\\" $(x) '#1' ";
/// The piece of it that no escaping changes, wherever it may have been written to.
const PIECE: &str = "correct-horse";
/// What IEEE 802.11 makes of both: PBKDF2 with HMAC-SHA1 and 4096 rounds.
const KEY: &str = "9395552bc0ba99a30870330be565cb4e7b0275ddcd7cf882a000d67dde426e2d";

/// A project whose `os` is no more than the service manager.
fn project(name: &'static str) -> Loop {
    let project = Loop::new(name, "RUN true\n");
    project.stage("os", "", "RUN apt-get install --yes systemd\n");
    project.edit("[stages]", "[patch]\nos = { path = \"stages/os\" }\n\n[stages]");
    project
}

/// Adds the stage with these settings of its Wi-Fi.
fn add(project: &Loop, settings: &[(&str, &str)]) {
    let settings: Vec<String> =
        settings.iter().map(|(key, value)| format!("network.{key}={value}")).collect();
    let options = settings.iter().flat_map(|setting| ["--config", setting.as_str()]);
    project.run(&["add", "network"].into_iter().chain(options).collect::<Vec<_>>());
}

/// Runs pib with a passphrase, and returns its exit code, its output and its errors.
fn run(project: &Loop, passphrase: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let output = project.world.pib(project.name, args).env("WIFI_PASS", passphrase).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Returns what a command prints in the system with the stage `network`.
#[track_caller]
fn look(project: &Loop, command: &str) -> String {
    let (code, out, errors) =
        run(project, PASSPHRASE, &["run", "--at", "network", "--", "sh", "-ec", command]);
    assert_eq!(code, Some(0), "{command}: {out}{errors}");
    out
}

#[test]
fn the_key_of_a_wireless_network_is_on_the_device_and_its_passphrase_nowhere() {
    let project = project("dailywifi");
    let wifi = [("link", "wifi"), ("country", "DE"), ("ssid", SSID)];
    add(&project, &[&wifi[..], &[("passphrase", "env:WIFI_PASS"), ("hidden", "true")]].concat());
    let (code, out, errors) = run(&project, PASSPHRASE, &["build", "--until", "network", "--verbose"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(!out.contains(PIECE) && !errors.contains(PIECE), "{out}{errors}");

    let files =
        "stat -c '%a %U:%G' /etc/wpa_supplicant/wpa_supplicant-*.conf; cat /etc/wpa_supplicant/*.conf";
    let ssid: String = SSID.bytes().map(|byte| format!("{byte:02x}")).collect();
    let expected = format!(
        "600 root:root\nctrl_interface=/run/wpa_supplicant\ncountry=DE\n\nnetwork={{\n  ssid={ssid}\n  scan_ssid=1\n  \
         psk={KEY}\n}}\n"
    );
    assert_eq!(look(&project, files), expected);
    let installed =
        "dpkg-query -W -f '${Package} ${Status}\\n' wpasupplicant firmware-brcm80211 wireless-regdb";
    assert_eq!(look(&project, installed).matches(" install ok installed\n").count(), 3);
    let enabled = look(&project, "systemctl is-enabled wpa_supplicant@wlan0 systemd-networkd");
    assert_eq!(enabled, "enabled\nenabled\n");
    let networkd =
        look(&project, "stat -c %a /etc/systemd/network/*; cat /etc/systemd/network/70-pib.network");
    assert!(networkd.starts_with("644\n755\n[Match]\nName=wlan0\n"), "{networkd}");

    // The Dockerfile, the context, the container image's history and layers, and all logs.
    let (_, dockerfile, _) = run(&project, PASSPHRASE, &["plan", "--dockerfile"]);
    assert!(dockerfile.contains("ARG SSID=") && !dockerfile.contains(PIECE), "{dockerfile}");
    let (code, _, errors) = run(&project, PASSPHRASE, &["plan", "--context", "target/context"]);
    assert_eq!(code, Some(0), "{errors}");
    nowhere(&project, &[PASSPHRASE, PIECE]);

    // wpa_passphrase itself would take the first 63 characters of more, and no device would get in.
    for (passphrase, fault) in [
        ("x".repeat(64).as_str(), "must have 8 to 63 characters"),
        ("seven77", "must have 8 to 63 characters"),
        ("eight\u{1}88", "no key can be made of the passphrase"),
    ] {
        let (code, _, errors) = run(&project, passphrase, &["build", "--until", "network"]);
        assert!(code == Some(6) && errors.contains(fault), "{passphrase:?}: {code:?} {errors}");
    }
}

#[test]
fn an_open_wireless_network_needs_no_secret() {
    let project = project("dailyopen");
    // Units are called otherwise than such an interface.
    let open = [("link", "wifi"), ("country", "DE"), ("ssid", "café"), ("interface", "wl-guest")];
    add(&project, &open);
    let file = look(&project, "cat /etc/wpa_supplicant/wpa_supplicant-wl-guest.conf");
    assert!(file.contains("  ssid=636166c3a9\n  key_mgmt=NONE\n}"), "{file}");
    let unit = "systemctl is-enabled \"wpa_supplicant@$(systemd-escape wl-guest).service\"; \
                ls /etc/systemd/system/multi-user.target.wants/";
    let enabled = look(&project, unit);
    assert!(
        enabled.starts_with("enabled\n") && enabled.contains("wpa_supplicant@wl\\x2dguest.service"),
        "{enabled}"
    );
}
