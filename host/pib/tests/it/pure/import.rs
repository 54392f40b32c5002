//! `pib import`: trees in the layout of pi-builder and of products built on it, in words of our own.

use pib_plan::manifest::project::ProjectManifest;

use crate::bench::Bench;

/// A base that nobody looks at: a plan needs its digest alone.
const BASE: &str = "\n[base]\npath = \"base.tar\"\n\
                    digest = \"sha256:1111111111111111111111111111111111111111111111111111111111111111\"\n";

const MAKEFILE: &str = "-include config.mk\n\nPROJECT ?= gadget\nOS ?= arch\nexport BOARD ?= rpi4\nARCH ?= aarch64\n\
    STAGES ?= __init__ os web ro tidy __cleanup__\nHOSTNAME ?= box\nLOCALE ?= en_US\nTIMEZONE ?= Europe/Berlin\n\
    EDITION ?= plain\nWEB_PASSWD ?= correct-horse\nDISK ?= disk/arch.conf\n\n\
    rpi2: BOARD=rpi2\nrpi2: ARCH=arm\nrpi2: os\n\n\
    gold:\n\t$(MAKE) os EDITION=gold STAGES=\"__init__ web os tidy ro __cleanup__\"\n\n\
    os:\n\tdocker build --build-arg EDITION=$(EDITION) .\n";

/// Writes a tree; the init stage adds the base itself, or leaves that to the makefile.
fn tree(adds_base: bool) -> Bench {
    let bench = Bench::new("");
    std::fs::remove_file(bench.path("pib.toml")).unwrap();
    bench.write("Makefile", MAKEFILE);
    let part = |name: &str, text: &str| bench.write(&format!("stages/arch/{name}/Dockerfile.part"), text);
    let base =
        if adds_base { "FROM scratch\n%ADD_BASE_ROOTFS_TGZ%\nCOPY qemu-arm-static /usr/bin/\n" } else { "" };
    part("__init__", &format!("# begins\n{base}RUN echo first $ARCH $LOCALE\n"));
    part("os", "RUN echo os $BOARD\n");
    part("web", "ARG EDITION\nRUN echo $EDITION > /edition\nCOPY stages/web/page /srv/page\n");
    bench.write("stages/arch/web/page", "page\n");
    part("ro", "RUN echo ro\n");
    part("tidy", "RUN echo $STAGES\n");
    part("__cleanup__", "RUN echo last\n");
    bench
}

fn import(bench: &Bench) -> String {
    let ran = bench.run(&["import", "."]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    // Tables may follow, so that the base stands at the end.
    bench.write("pib.toml", &format!("{manifest}{BASE}"));
    ran.out
}

fn planned(bench: &Bench, args: &[&str]) -> Vec<String> {
    let ran = bench.run(&[&["plan"], args].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    ran.out.lines().map(str::to_owned).collect()
}

/// Returns the stages of a plan, in order.
fn stages(bench: &Bench, args: &[&str]) -> String {
    let lines = planned(bench, args);
    let names = lines.iter().skip(1).filter_map(|line| line.split_whitespace().nth(1));
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn both_shapes_of_the_init_stage_give_what_make_would_concatenate() {
    for adds_base in [false, true] {
        let bench = tree(adds_base);
        let told = import(&bench);
        assert_eq!(bench.path("imported/arch/__init__/Dockerfile.part").exists(), adds_base);
        assert_eq!(told.contains("pib itself starts from the base"), adds_base, "{told}");
        assert_eq!(stages(&bench, &[]), "__init__ os web ro tidy __cleanup__");
        // Where nothing stands in for the kernel, no command needs a mount.
        let lines = planned(&bench, &["--dockerfile", "--emulator", "handlers"]);
        let wanted = |line: &&String| line.starts_with("RUN ") || line.starts_with("COPY ");
        let ours: Vec<&str> = lines.iter().filter(wanted).map(|line| line.as_str()).collect();
        assert_eq!(
            ours,
            [
                "RUN echo first $ARCH $LOCALE",
                "RUN echo os $BOARD",
                "RUN echo $EDITION > /edition",
                "COPY [\"stages/web/page\", \"/srv/page\"]",
                "RUN echo ro",
                "RUN echo $STAGES",
                "RUN echo last",
            ]
        );
        for value in ["ARG ARCH=\"aarch64\"", "ARG LOCALE=\"en_US\"", "ARG EDITION=\"plain\""] {
            assert!(lines.iter().any(|line| line == value), "{value}: {lines:#?}");
        }
        assert!(
            lines.iter().any(|line| line == "ARG STAGES=\"__init__ os web ro tidy __cleanup__\""),
            "{lines:#?}"
        );
    }
}

#[test]
fn variants_become_targets_and_secrets_stay_where_they_are() {
    let bench = tree(false);
    let told = import(&bench);
    assert_eq!(stages(&bench, &["--target", "gold"]), "__init__ web os tidy ro __cleanup__");
    let gold = planned(&bench, &["--dockerfile", "--target", "gold"]);
    assert!(gold.iter().any(|line| line == "ARG EDITION=\"gold\""), "{gold:#?}");
    let rpi2 = planned(&bench, &["--dockerfile", "--target", "rpi2"]);
    for line in ["ARG ARCH=\"arm\"", "ARG BOARD=\"rpi2\""] {
        assert!(rpi2.iter().any(|own| own == line), "{rpi2:#?}");
    }
    assert!(told.contains("DISK (disk/arch.conf): the tree has no such file"), "{told}");
    for (path, text) in bench.files() {
        let is_own = path.ends_with("Makefile");
        assert!(is_own || !text.contains("correct-horse"), "{}", path.display());
    }
    assert!(!told.contains("correct-horse"));
}

#[test]
fn a_disk_file_becomes_partitions_and_its_errors_have_a_line() {
    let bench = tree(false);
    let lines = "mklabel msdos\nmkpart primary fat32 0 256MiB # label=BOOT mount=/boot\n\
                 mkpart primary ext4 256MiB 4352MiB # label=ROOT mount=/ reserved=0\n";
    bench.write(
        "disk/arch.conf",
        &format!("{lines}mkpart primary ext4 4352MiB 100% # label=DATA mount=/srv\n"),
    );
    bench.write("disk/gold.conf", &format!("{lines}set 1 boot on\n"));
    let gold = MAKEFILE.replace("os EDITION=gold", "os EDITION=gold DISK=/disk/gold.conf");
    let bad = "bad:\n\t$(MAKE) os DISK=disk/bad.conf\n\n";
    bench.write("Makefile", &format!("{gold}\n{bad}"));
    bench.write("disk/bad.conf", "mklabel msdos\nmkpart primary ntfs 0 100% # label=ROOT mount=/\n");
    let told = import(&bench);
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    let manifest = ProjectManifest::parse("pib.toml", &manifest).unwrap();
    let layout = &manifest.image.layout;
    let labels: Vec<&str> = layout.partitions.iter().map(|part| &*part.label).collect();
    assert_eq!(labels, ["BOOT", "ROOT", "DATA"]);
    let placement = layout.place(&[1 << 20; 3]).unwrap();
    assert_eq!((placement.regions[1].offset, placement.regions[2].offset), (256 << 20, 4352 << 20));
    assert_eq!((layout.partitions[1].reserved, layout.partitions[2].grow), (Some(0), true));
    let gold = &manifest.targets["gold"].image.layout;
    assert_eq!((gold.partitions.len(), gold.partitions[0].active), (2, true));
    // What cannot be read is told, and pib's own partitions are there instead.
    let bad = &manifest.targets["bad"].image.layout;
    assert_eq!(bad.partitions[0].label, "PIBOOT");
    for says in
        ["disk/bad.conf, line 2: the file system `ntfs`", "disk/arch.conf: DATA to the end of the card"]
    {
        assert!(told.contains(says), "no `{says}` in {told}");
    }
}

#[test]
fn a_secret_that_a_stage_reads_is_named() {
    let bench = tree(false);
    bench.write("stages/arch/os/Dockerfile.part", "ARG WEB_PASSWD\nRUN echo $WEB_PASSWD\n");
    let told = import(&bench);
    assert!(told.contains("look like secrets") && told.contains("\n  WEB_PASSWD\n"), "{told}");
}

#[test]
fn nothing_is_run_and_nothing_is_replaced() {
    let bench = tree(false);
    bench.write("config.mk", "NOW := $(shell touch ran)\nSTAMP != touch ran\ninclude config.mk\n");
    let told = import(&bench);
    assert!(!bench.path("ran").exists());
    for line in ["config.mk, line 1", "config.mk, line 2", "circle"] {
        assert!(told.contains(line), "{told}");
    }
    bench.fails(&["import", "."], 2, &["`pib.toml` exists already"]);
}

#[test]
fn folders_that_are_no_tree_are_refused() {
    let bench = Bench::new("");
    std::fs::remove_file(bench.path("pib.toml")).unwrap();
    bench.fails(&["import", "."], 3, &["no Makefile"]);
    bench.write("Makefile", "all:\n\ttrue\n");
    bench.fails(&["import", "."], 3, &["STAGES has no value"]);
    bench.write("Makefile", "STAGES = os\nlite:\n\t$(MAKE) os STAGES=ro\n");
    bench.fails(&["import", ".", "--target", "light"], 2, &["no variant `light`", "lite"]);
    bench.fails(&["import", "nowhere"], 1, &["open the folder"]);
}

#[test]
fn a_dozen_variants_become_one_project() {
    let bench = tree(false);
    let variants: String =
        (0..12).map(|at| format!("v{at}:\n\t$(MAKE) os EDITION=e{at} HOSTNAME=box{at}\n\n")).collect();
    bench.write("Makefile", &format!("{MAKEFILE}\n{variants}"));
    import(&bench);
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    assert_eq!(manifest.matches("path = \"stages/").count(), 6, "{manifest}");
    assert_eq!(stages(&bench, &["--target", "v11"]), "__init__ os web ro tidy __cleanup__");
}
