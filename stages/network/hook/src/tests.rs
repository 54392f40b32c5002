use pib_plugin_sdk::testing::Harness;
use pib_plugin_sdk::{Severity, Value};

use super::*;

/// A harness with the schema's defaults and these settings.
fn harness(settings: &[(&str, &str)]) -> Harness {
    let text = |value: &str| Value::Text(value.to_owned());
    let mut harness = Harness::new("network")
        .board_trait("wifi", "true")
        .setting("link", text("wired"))
        .setting("method", text("dhcp"))
        .setting("dns", Value::List(Vec::new()))
        .setting("hidden", Value::Boolean(false));
    for (key, value) in settings {
        let value = match *key {
            "dns" => Value::List(value.split(',').map(str::to_owned).collect()),
            "hidden" => Value::Boolean(true),
            "passphrase" => Value::Secret("network.passphrase".to_owned()),
            _ => text(value),
        };
        harness = harness.setting(key, value);
    }
    harness
}

fn files(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let harness = harness(settings);
    assert_eq!(harness.validate::<NetworkStage>(), []);
    let rendered = harness.render::<NetworkStage>("RUN true\n").unwrap();
    assert_eq!(rendered.part, "RUN true\n");
    let text = |content| String::from_utf8(content).unwrap();
    rendered.files.into_iter().map(|file| (file.path, text(file.content))).collect()
}

/// Returns what is wrong, as `key: message`.
fn wrong(settings: &[(&str, &str)]) -> String {
    let told = harness(settings).validate::<NetworkStage>();
    assert!(told.iter().any(|told| told.severity == Severity::Error), "{told:?}");
    assert!(told.iter().all(|told| told.help.is_some()), "{told:?}");
    let line = |told: &Diagnostic| format!("{}: {}", told.key.clone().unwrap_or_default(), told.message);
    told.iter().map(line).collect::<Vec<_>>().join("; ")
}

const WIFI: [(&str, &str); 4] = [("link", "wifi"), ("ssid", "home"), ("country", "DE"), ("passphrase", "")];

#[test]
fn a_wired_link_needs_nothing() {
    let expected = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\n[DHCPv4]\nUseDomains=yes\n\
                    RouteMetric=100\n\n[IPv6AcceptRA]\nRouteMetric=100\n";
    assert_eq!(files(&[]), [("root/etc/systemd/network/70-pib.network".to_owned(), expected.to_owned())]);
    let own_dns = files(&[("dns", "9.9.9.9,2620:fe::fe"), ("interface", "eth0")]);
    let text = &own_dns[0].1;
    assert!(text.contains("Name=eth0\n") && text.contains("DNS=9.9.9.9\nDNS=2620:fe::fe\n"), "{text}");
    assert_eq!(text.matches("UseDNS=no\n").count(), 3, "DHCP, its like for IPv6, and routers: {text}");
}

#[test]
fn fixed_addresses_are_rendered() {
    let fixed = [
        ("method", "static"),
        ("address", "192.168.1.20/24"),
        ("gateway", "192.168.1.1"),
        ("dns", "192.168.1.1"),
    ];
    let expected = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nAddress=192.168.1.20/24\n\
                    DNS=192.168.1.1\n\n[Route]\nGateway=192.168.1.1\nMetric=100\n";
    assert_eq!(files(&fixed)[0].1, expected);
    files(&[("method", "static"), ("address", "fd00::20/64"), ("gateway", "fd00::1")]);
    files(&[("method", "static"), ("address", "fd00::20/64"), ("gateway", "fe80::1")]);
    // A network of two addresses has no others.
    files(&[("method", "static"), ("address", "10.0.0.0/31"), ("gateway", "10.0.0.1")]);
}

#[test]
fn wifi_has_a_place_for_its_key() {
    let found = files(&[&WIFI[..], &[("hidden", "")]].concat());
    assert!(found[0].1.contains("Name=wlan0\n") && found[0].1.contains("RouteMetric=600"), "{}", found[0].1);
    assert_eq!(found[1].0, "root/etc/wpa_supplicant/wpa_supplicant-wlan0.conf");
    let expected = "ctrl_interface=/run/wpa_supplicant\ncountry=DE\n\nnetwork={\n  ssid=686f6d65\n  scan_ssid=1\n  #psk\n}\n";
    assert_eq!(found[1].1, expected);
    assert_eq!(found[2].0, "root/etc/systemd/network/80-wired.network.d/70-pib.conf");
    assert!(found[2].1.contains("RequiredForOnline=no\n") && found[2].1.contains("RouteMetric=100\n"));
    let open = harness(&WIFI[..3]);
    let told = open.validate::<NetworkStage>();
    assert_eq!((told.len(), told[0].severity), (1, Severity::Warning), "{told:?}");
    let part = "RUN --mount=type=secret,id=network.passphrase true\n";
    assert_eq!(harness(&WIFI).render::<NetworkStage>(part).unwrap().part, part);
    let rendered = open.render::<NetworkStage>(part).unwrap();
    assert_eq!(rendered.part, "RUN true\n");
    assert!(String::from_utf8_lossy(&rendered.files[1].content).contains("key_mgmt=NONE"));
}

#[test]
fn a_board_without_wifi_is_told_of() {
    let mut harness = harness(&WIFI);
    harness.context.board_traits = vec![("wifi".to_owned(), "false".to_owned())];
    let told = harness.validate::<NetworkStage>();
    assert_eq!((told.len(), told[0].severity, told[0].key.as_deref()), (1, Severity::Warning, Some("link")));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let fixed = |address, gateway| [("method", "static"), ("address", address), ("gateway", gateway)];
    for (settings, say) in [
        (&[("method", "static")][..], "method: a static network needs an address"),
        (&[("address", "10.0.0.2/8")], "address: `address` is given, and DHCP"),
        (&[("gateway", "10.0.0.1")], "gateway: `gateway` is given, and DHCP"),
        (&[("dns", "dns.example")], "dns: `dns.example` is no IP address"),
        (&[("interface", "eth0; reboot")], "interface: "),
        (&[("interface", "-x")], "interface: "),
        (&[("ssid", "home")], "ssid: `ssid` is about Wi-Fi"),
        (&[("passphrase", "")], "passphrase: `passphrase` is about Wi-Fi"),
        (&[("link", "wifi")], "link: Wi-Fi needs the name of the network; link: Wi-Fi needs the country"),
        (&[("link", "wifi"), ("ssid", "home"), ("country", "de")], "country: `de` is no country"),
        (&fixed("10.0.0.300/8", "10.0.0.1"), "address: `10.0.0.300/8` is no IP address"),
        (&fixed("10.0.0.3", "10.0.0.1"), "does not say how long"),
        (&fixed("10.0.0.3/33", "10.0.0.1"), "no length from 1 to 32"),
        (&fixed("10.0.0.3/+8", "10.0.0.1"), "no length from 1 to 32"),
        (&fixed("10.0.0.0/24", "10.0.0.1"), "the network itself"),
        (&fixed("10.0.0.255/24", "10.0.0.1"), "reaches everybody"),
        (&fixed("127.0.0.1/8", "127.0.0.2"), "no address that a device can have"),
        (
            &fixed("192.168.1.20/24", "192.168.2.1"),
            "gateway: the gateway `192.168.2.1` is not in the device's network, 192.168.1.0/24",
        ),
        (&fixed("192.168.1.20/24", "fd00::1"), "not in the device's network"),
        (&fixed("192.168.1.20/24", "fe80::1"), "not in the device's network"),
        (&fixed("fd00::20/64", "fd01::1"), "not in the device's network"),
        (&fixed("192.168.1.20/24", "192.168.1.20"), "the device itself"),
        (&fixed("192.168.1.20/24", "router"), "gateway: `router` is no IP address"),
    ] {
        let found = wrong(settings);
        assert!(found.contains(say), "{settings:?}: {found}");
    }
    let long = "x".repeat(33);
    assert!(wrong(&[("link", "wifi"), ("country", "DE"), ("ssid", &long)]).contains("33 bytes"));
}
