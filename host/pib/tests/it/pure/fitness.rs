//! What cannot work is told before a build; what stages know of the image; and locks of earlier stages.

use crate::bench::{Bench, PROJECT};

/// What pib locked before the bundled stages knew of the layout.
const EARLIER_LOCK: &str = r#"# This file is written by pib; it says exactly what the build consists of. Keep it in version control.
# To change it, edit pib.toml and run `pib lock`, or run `pib update`.
version = 1

[[stage]]
name = "__cleanup__"
version = "1.0.0"
source = "bundled"
checksum = "sha256:972d93b1637af6444c9d374d64d40e1e617015f116ccea9304d7f9a2a928a733"
content = "sha256:1f639672b5ea704b660011c57f6aa5e3096482a225e6f57a91dd3256f237e884"

[[stage]]
name = "__init__"
version = "1.0.0"
source = "bundled"
checksum = "sha256:889d0739ec7ae02ee1dc37d4736d3d01da001c703d73cc0e1a945a0e91a7b173"
content = "sha256:d38726078effb97a6f33c48db1ee13d8e089716d280fe9c941cbd164fc6da4ae"

[[stage]]
name = "network"
version = "1.0.1"
source = "bundled"
checksum = "sha256:cc3f3ef8430e8b83dbdc1af505bf7abcb5479f7a739b8fee470eb8bdf5c51e0c"
content = "sha256:a354a70e75f61957953cf755f6a3547f56329e72f2a8db31178b74ec1df663d0"
hook = "sha256:cf3e1e6537f8718962dfe4d5d8cd99f981cbdb8cb42cb03c2cd861521323d18a"
hook-world = "pib:stage@0.1.0"
dependencies = [
    "os",
]

[[stage]]
name = "os"
version = "1.0.0"
source = "bundled"
checksum = "sha256:35fc09e7120fc3290b6a864047261fdb7dbe3cf879255cbb9a05bca57e8f2aaf"
content = "sha256:5bbfcba4c135226a8de7ae70900d1050d6977f14064fadf25dd229cd840fb4fc"

[[stage]]
name = "ro"
version = "1.1.0"
source = "bundled"
checksum = "sha256:532217024a1e40b58784fac8bdfea4d18b92a4cecbaf3f9cea0b4b785d9b338b"
content = "sha256:0b48c4ddb955c98c18ef631fc41b669353cda759781a48b58100fe3bacb7ad25"
hook = "sha256:47808d301fd84058c7c1012bd9b026d6e2bfc87e8fa5d1a8d31533442b38bb09"
hook-world = "pib:stage@0.1.0"
dependencies = [
    "os",
]

[[stage]]
name = "watchdog"
version = "1.1.0"
source = "bundled"
checksum = "sha256:c6f8afa89746dc7a64530f5d3a907a69c7c50bcd4bb144c70dfa9a09b3df6238"
content = "sha256:5f47b05df3b5d0cd95d3f565c331a2273083b4236385f48b1149661209e43cb1"
hook = "sha256:32099609b711916fef3073c4fb57f7cedd74a1a0e5eaf37dd0d0eecc5b0e4b59"
hook-world = "pib:stage@0.1.0"
dependencies = [
    "os",
]
"#;

/// What cannot work is refused before anything is fetched or built, by whichever command meets it, with what would work.
#[test]
fn what_cannot_work_is_told_before_a_build() {
    let bench = Bench::new(PROJECT);
    for (args, says) in [
        (&["new", "x", "--board", "rpi5"][..], &["no driver for its chip RP1", "`rpi4`", "--kernel"][..]),
        (&["new", "x", "--board", "rpi5", "--release", "bookworm"], &["no device tree", "6.1"]),
        (
            &["new", "x", "--board", "zerow"],
            &["no system for the Raspberry Pi Zero W on armv6", "`zero2w`", "--os raspios"],
        ),
        (
            &["new", "x", "--os", "alpine"],
            &["no default release of `alpine`", "`debian`, `raspios` and `arch`"],
        ),
        (
            &["new", "x", "--arch", "armv6"],
            &["no system for the Raspberry Pi 4 on armv6", "`arm64` and `armv7`"],
        ),
        (&["new", "x", "--release", "trixi"], &["unknown release `trixi`", "`trixie` and `bookworm`"]),
        (&["new", "localhost"], &["cannot be a device's host name"]),
    ] {
        let code = if args.contains(&"localhost") { 3 } else { 2 };
        bench.fails(args, code, says);
        assert!(!bench.path("x").exists(), "{args:?}");
    }
    let made = bench.run(&["new", "pi2", "--board", "rpi2"]);
    assert_eq!((made.code, made.out.as_str()), (Some(0), "Created pi2 for rpi2 (armv7)\n"));

    let change = |from: &str, to: &str| Bench::new(&PROJECT.replace(from, to));
    for (from, to, says) in [
        ("rpi4", "rpi5", &["no driver for its chip RP1", "board = \"rpi5\"", "kernel = \"NAME\""][..]),
        ("arch =", "timezone = \"US/Pacific\"\narch =", &["tzdata-legacy", "`America/Los_Angeles`"]),
        ("arch =", "timezone = \"Europe/Berln\"\narch =", &["Did you mean `Europe/Berlin`?"]),
        ("arch =", "locale = \"en_US.utf8\"\narch =", &["Did you mean `en_US.UTF-8`?"]),
        ("arch =", "hostname = \"localhost\"\narch =", &["host name"]),
        (
            "[stages]",
            "[[image.partition]]\nlabel = \"A\"\nfilesystem = \"ext4\"\nmount = \"/data\"\n\n[stages]",
            &["no partition for `/`", "[[image.partition]]"],
        ),
    ] {
        let bench = change(from, to);
        for command in [&["plan"][..], &["build"], &["lock"]] {
            bench.fails(command, 3, says);
        }
    }

    // A kernel of one's own is the way out, once its stage is in the build.
    let rpi5 = PROJECT.replace("rpi4", "rpi5").replace("arch =", "kernel = \"mykernel\"\narch =");
    Bench::new(&rpi5).fails(
        &["plan"],
        3,
        &["`mykernel` is to bring the kernel", "pib add --path stages/mykernel"],
    );
    let bench = Bench::new(&format!("{rpi5}mykernel = {{ path = \"stages/mykernel\" }}\n"));
    bench.stage("mykernel", "", Some("RUN true\n"));
    let plan = bench.run(&["plan"]);
    assert_eq!(plan.code, Some(0), "{}", plan.errors);
    // So is an `os` of one's own.
    let own = PROJECT.replace("rpi4", "rpi5").replace("os = \"1\"", "os = { path = \"stages/os\" }");
    let bench = Bench::new(&own);
    bench.stage("os", "", Some("RUN true\n"));
    bench.write("stages/os/stage.toml", "[stage]\nname = \"os\"\nversion = \"1.0.0\"\n");
    let plan = bench.run(&["plan"]);
    assert_eq!(plan.code, Some(0), "{}", plan.errors);
}

/// The layout's labels reach the parts that write fstab and the kernel's command line.
#[test]
fn stages_are_told_of_the_layout() {
    let partitions = "\n[[image.partition]]\nlabel = \"BOOTFS\"\nfilesystem = \"vfat\"\nmount = \"/boot/firmware\"\n\n\
                      [[image.partition]]\nlabel = \"ROOTFS\"\nfilesystem = \"ext4\"\nmount = \"/\"\n";
    let dockerfile = Bench::new(&format!("{PROJECT}{partitions}")).run(&["plan", "--dockerfile"]).out;
    assert!(dockerfile.contains("ARG ROOT_DEVICE=\"LABEL=ROOTFS\"\n"), "{dockerfile}");
    let fstab = "ARG FSTAB=\"LABEL=ROOTFS / ext4 defaults,noatime 0 1;LABEL=BOOTFS /boot/firmware vfat ";
    assert!(dockerfile.contains(fstab), "{dockerfile}");
}

/// A lock of the bundled stages' earlier versions is obeyed: what it holds never changes.
#[test]
fn locks_of_earlier_stages_are_obeyed() {
    let bench = Bench::new(&format!("{PROJECT}ro = \"1\"\nnetwork = \"1\"\n"));
    bench.write("pib.lock", EARLIER_LOCK);
    let plan = bench.run(&["plan", "--locked"]);
    assert_eq!(plan.code, Some(0), "{}", plan.errors);
    for line in
        ["__init__ 1.0.0", "os 1.0.0", "ro 1.1.0", "network 1.0.1", "watchdog 1.1.0", "__cleanup__ 1.0.0"]
    {
        assert!(plan.out.contains(line), "no {line} in {}", plan.out);
    }
    let dockerfile = bench.run(&["plan", "--locked", "--dockerfile"]).out;
    assert!(!dockerfile.contains("ARG ROOT_DEVICE"), "an earlier stage sees no more than it did");
}

/// What is wrong with a layout is told at its line.
#[test]
fn a_layout_that_cannot_be_is_told_at_its_line() {
    for (from, to, says) in [
        ("[stages]", "[image]\nsize = \"256MiB\"\n\n[stages]", &["size = \"256MiB\"", "need 516MiB"][..]),
        ("[stages]", "[image]\ntable = \"ebr\"\n\n[stages]", &["table = \"ebr\"", "`mbr`"]),
        (
            "[stages]",
            "[image]\ntable = \"gpt\"\n\n[target.old]\nboard = \"rpi3\"\n\n[stages]",
            &["table = \"gpt\"", "target `old`", "Raspberry Pi 3 B reads no GPT"],
        ),
        (
            "[stages]",
            "[[image.partition]]\nlabel = \"A\"\nfilesystem = \"ext4\"\nmount = \"/\"\nsize = \"150%\"\n\n[stages]",
            &["size = \"150%\"", "`1%` to `100%`"],
        ),
        (
            "[stages]",
            "[[image.partition]]\nlabel = \"A\"\nfilesystem = \"zfs\"\nmount = \"/\"\n\n[stages]",
            &["filesystem = \"zfs\""],
        ),
    ] {
        Bench::new(&PROJECT.replace(from, to)).fails(&["plan"], 3, says);
    }
}
