//! Downloaded packages are kept between builds, and in no layer.

use super::{Loop, text};
use crate::engine::project::Scratch;
use crate::exported;
use crate::world::Images;

const PART: &str = "RUN apt-get install --yes bc && ls /var/cache/apt/archives | grep -c 'deb$'\n";

/// Builds the stage anew, and returns what apt says of its downloads.
fn needs(project: &Loop, args: &[&str]) -> String {
    let args = [&["build", "--until", "mine", "--verbose", "--no-cache", "mine"], args].concat();
    let output = project.output(&args);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let line =
        said.lines().find_map(|line| line.split_once("Need to get ")).unwrap_or_else(|| panic!("{said}"));
    line.1.to_owned()
}

/// Where two equal builds of a stage differ, before the clean-up.
const CHANCE: [&str; 5] = [
    "var/log/",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
];

/// Makes a project with a name of its own: what an earlier run of the test left would make it pass.
fn project(name: &str, part: &str) -> Loop {
    Loop::new(Box::leak(format!("{name}-{}", std::process::id()).into_boxed_str()), part)
}

#[test]
fn a_stage_that_is_built_again_downloads_nothing() {
    let project = project("dailydebs", PART);
    let first = needs(&project, &[]);
    assert!(!first.starts_with("0 B"), "{first}");
    for args in [&[][..], &["--no-native"]] {
        let again = needs(&project, args);
        assert!(again.starts_with("0 B/"), "{args:?}: {again}");
        let layer = "ls -R /var/cache/apt/archives; ls -d /.pib";
        let left = text(&project.output(&["run", "--at", "mine", "--", "sh", "-c", layer]).stdout);
        assert!(!left.contains(".deb") && left.contains("archives"), "{left}");
    }
    // All stages anew keep them, too.
    let output = project.output(&["build", "--until", "mine", "--verbose", "--no-cache"]);
    assert!(text(&output.stderr).contains("Need to get 0 B/"), "{}", text(&output.stderr));
}

/// What apt itself keeps in the folder that the mount covers: there it is in the mount.
const COVERED: [&str; 2] = ["var/cache/apt/archives/lock", "var/cache/apt/archives/partial"];

/// The root file systems of an install with the mount and of one without are compared, path by path: after the stage,
/// and as they are in the image.
#[test]
fn the_mount_leaves_no_trace_in_the_root_file_system() {
    let with = "RUN apt-get install --yes bc dbus iputils-ping libcap2-bin\n";
    // What empties the folder gets no mount, and leaves what a mount would.
    let without =
        "RUN apt-get install --yes bc dbus iputils-ping libcap2-bin && rm -f /var/cache/apt/archives/*.deb\n";
    let project = project("dailytrace", with);
    let items = || exported::items(project.name, &mut |_, _| {});
    let stage = |part| {
        project.write("stages/mine/Dockerfile.part", part);
        drop(Images(project.name));
        (needs(&project, &[]), items())
    };
    let image = || {
        drop(Images(project.name));
        project.run(&["build"]);
        items()
    };
    let (first, one) = stage(with);
    let finished = image();
    let (second, twin) = stage(with);
    let (third, other) = stage(without);
    let downloads = [first, second, third].map(|needs| !needs.starts_with("0 B/"));
    assert_eq!(downloads, [true, false, true], "the mount is not where it should be");
    assert!(one.contains_key("usr/bin/bc") && one.contains_key("var/cache/apt/archives"));

    let chance = exported::differences(("once", &one), ("again", &twin));
    for path in chance.keys() {
        let known = CHANCE.iter().any(|start| path.starts_with(start));
        assert!(known, "two equal builds differ at /{path}: {}", exported::shown(&chance));
    }
    let mut differences = exported::differences(("with", &one), ("without", &other));
    differences.retain(|path, _| !chance.contains_key(path) && !COVERED.contains(&path.as_str()));
    assert!(differences.is_empty(), "{}", exported::shown(&differences));

    let differences = exported::differences(("with", &finished), ("without", &image()));
    eprintln!("{} and {} paths compared", one.len(), finished.len());
    assert!(differences.is_empty(), "{}", exported::shown(&differences));
}

/// A part chooses the ids of its caches, and two projects may have one name; what one of them plants is not the other's.
#[test]
fn projects_find_nothing_in_each_others_caches() {
    const HOST: &str = "unix:///var/run/docker.sock";
    let _images = Images("planted");
    let project = |part: &str| {
        let project = Scratch::new("planted", HOST);
        project.part("mine", part);
        project
    };
    let (id, folder) = ("--mount=type=cache,id=shared,target=/c", "--mount=type=cache,target=/c");
    let nonce = crate::world::nonce();
    for mount in [id, folder] {
        let plants = project(&format!("RUN {mount} echo {nonce} > /c/planted\n"));
        plants.must_build();
        let other = project(&format!("RUN {mount} : {nonce}; ! test -e /c/planted\n"));
        other.must_build();
        // It is there for the project itself.
        plants.part("mine", &format!("RUN {mount} grep {nonce} /c/planted\n"));
        plants.must_build();
    }
}
