//! The example projects are planned as they stand, with the files and secrets that their READMEs ask for.

use std::fs;
use std::path::Path;

use crate::bench::Bench;
use crate::world::root;

fn copy(from: &Path, bench: &Bench, to: &str) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = format!("{to}{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), bench, &format!("{name}/")),
            false => bench.write(&name, &fs::read_to_string(entry.path()).unwrap()),
        }
    }
}

#[test]
fn every_example_is_planned() {
    let mut planned = Vec::new();
    for example in fs::read_dir(root().join("host/examples")).unwrap().flatten() {
        let name = example.file_name().into_string().unwrap();
        let bench = Bench::new("");
        copy(&example.path(), &bench, "");
        bench.write(
            "keys/me.pub",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me@desk\n",
        );
        bench.write("secrets/wg.key", "wAnQx5TPCiqSb0GY6zIL4cvwlIMtOVYjHzs7kGDdEHg=\n");
        bench.write("secrets/web", "$apr1$saltsalt$JrsGZxKxMwfHtm5Tn3wrE.\n");
        let given = [("WIFI_PASSPHRASE", "a long passphrase"), ("PIB_TRUST", "1")];
        let ran = bench.run_with(&["plan"], &given);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.errors);
        if name == "kiosk" {
            let lobby = bench.run_with(&["plan", "--target", "lobby"], &given);
            assert_eq!(lobby.code, Some(0), "{}", lobby.errors);
        }
        for own in fs::read_dir(example.path().join("stages")).into_iter().flatten().flatten() {
            let own = own.file_name().into_string().unwrap();
            assert!(ran.out.contains(&own), "{name} plans no `{own}`: {}", ran.out);
            let checked = bench.run(&["stage", "check", &format!("stages/{own}")]);
            assert_eq!(checked.code, Some(0), "{name}/{own}: {}{}", checked.out, checked.errors);
        }
        planned.push(name);
    }
    planned.sort();
    assert_eq!(planned, ["camera", "kiosk", "kvm", "router"]);
}
