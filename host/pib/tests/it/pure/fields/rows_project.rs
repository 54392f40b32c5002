//! The rows of `pib.toml`.

use super::Effect::{Base, Build, From, Image, Nothing, Refused};
use super::sample::Sample;
use super::{Effect, Row};

const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
const THIRD: &str = "sha256:3333333333333333333333333333333333333333333333333333333333333333";
const FOURTH: &str = "sha256:4444444444444444444444444444444444444444444444444444444444444444";
const FIFTH: &str = "sha256:5555555555555555555555555555555555555555555555555555555555555555";
const SIXTH: &str = "sha256:6666666666666666666666666666666666666666666666666666666666666666";
const BOOT: &str = "{ label = \"BOOT\", filesystem = \"vfat\", mount = \"/boot/firmware\" }";
const ROOT: &str = "{ label = \"ROOT\", filesystem = \"ext4\", mount = \"/\" }";

/// A value of `pib.toml`, where the name of the field is its path.
fn set(field: &'static str, path: &'static str, value: &'static str, effect: Effect) -> Row {
    Row::new(field, effect, move |sample| sample.set("pib.toml", path, value))
}

/// A value of the target, which is built.
fn of_target(field: &'static str, path: &'static str, value: &'static str, effect: Effect) -> Row {
    set(field, path, value, effect).start(|sample| sample.target = true)
}

/// A value of the target, where the project itself is built.
fn of_other_target(field: &'static str, path: &'static str, value: &'static str) -> Row {
    set(field, path, value, Nothing("the project itself is built, and not this target"))
}

/// Two partitions, one of which has another value.
fn partition(sample: &mut Sample, path: &str, boot: &str, root: &str) {
    sample.set("pib.toml", path, &format!("[{boot}, {root}]"));
}

/// A value of the root's partition.
fn of_partition(field: &'static str, old: &'static str, new: &'static str, effect: Effect) -> Row {
    Row::new(field, effect, move |sample| {
        let root = ROOT.replace(old, new);
        assert_ne!(root, ROOT);
        partition(sample, "image.partition", BOOT, &root);
    })
    .start(|sample| partition(sample, "image.partition", BOOT, ROOT))
}

/// A value of the root's partition in the target, which is built.
fn of_target_partition(field: &'static str, old: &'static str, new: &'static str, effect: Effect) -> Row {
    Row::new(field, effect, move |sample| {
        let root = ROOT.replace(old, new);
        assert_ne!(root, ROOT);
        partition(sample, "target.kiosk.image.partition", BOOT, &root);
    })
    .start(|sample| {
        sample.target = true;
        partition(sample, "target.kiosk.image.partition", BOOT, ROOT);
    })
}

pub(super) fn rows() -> Vec<Row> {
    let all = [
        project(),
        elsewhere(),
        stages(),
        image(),
        image_partitions(),
        base(),
        target(),
        target_image(),
        target_stages(),
        target_base(),
    ];
    all.into_iter().flatten().collect()
}

fn project() -> Vec<Row> {
    vec![
        set("pib.toml: project.name", "project.name", "\"gadget\"", From("facts")),
        set("pib.toml: project.os", "project.os", "\"raspios\"", Refused("raspios")),
        set("pib.toml: project.release", "project.release", "\"forky\"", Base),
        set("pib.toml: project.board", "project.board", "\"rpi3\"", From("facts")),
        set("pib.toml: project.arch", "project.arch", "\"armv7\"", Base),
        set("pib.toml: project.hostname", "project.hostname", "\"box\"", From("facts")),
        set("pib.toml: project.locale", "project.locale", "\"de_DE.UTF-8\"", From("facts")),
        set("pib.toml: project.timezone", "project.timezone", "\"Europe/Berlin\"", From("facts")),
        set(
            "pib.toml: project.kernel",
            "project.kernel",
            "\"late\"",
            Nothing("it only ends a check of pib's own kernels"),
        ),
        set("pib.toml: project.kernel", "project.kernel", "\"nothing\"", Refused("nothing")),
        set("pib.toml: project.mirror", "project.mirror", "\"http://mirror.example/debian\"", From("facts")),
        set(
            "pib.toml: project.security-mirror",
            "project.security-mirror",
            "\"http://mirror.example/security\"",
            From("facts"),
        ),
        set(
            "pib.toml: build.native",
            "build.native",
            "false",
            Nothing("the same comes of a build without native tools"),
        ),
        set("pib.toml: build.network=recorded", "build.network", "\"recorded\"", From("__init__")).locks(),
        set("pib.toml: build.network=open", "build.network", "\"open\"", Nothing("it is so without a word")),
        set(
            "pib.toml: build.losses=refuse",
            "build.losses",
            "\"refuse\"",
            Nothing("an engine is refused, or gives what it would give"),
        )
        .locks(),
        set("pib.toml: build.losses=allow", "build.losses", "\"allow\"", Nothing("it is so without a word")),
    ]
}

/// Where files and stages come from that others have.
fn elsewhere() -> Vec<Row> {
    vec![
        set(
            "pib.toml: stores",
            "stores.own",
            "\"store\"",
            Nothing("where files come from is not what they are"),
        ),
        set(
            "pib.toml: stores",
            "stores.own",
            "\"s3://team-store/pib\"",
            Nothing("where files come from is not what they are"),
        ),
        set(
            "pib.toml: cache.url",
            "cache.url",
            "\"oci://x.example/team/cache\"",
            Nothing("who built a stage is not what it is"),
        ),
        set("pib.toml: cache.url", "cache.url", "\"/srv/cache\"", Refused("a project cannot name a folder")),
        set("pib.toml: stores", "stores.own", "\"ftp://x.example\"", Refused("store")),
        set("pib.toml: stores", "stores.own", "\"oci://x.example/Team\"", Refused("not a repository")),
        set(
            "pib.toml: cache.write=never",
            "cache",
            "{ url = \"s3://team-cache\", write = \"never\" }",
            Nothing("who built a stage is not what it is"),
        ),
        set(
            "pib.toml: cache.write=ci",
            "cache",
            "{ url = \"s3://team-cache\", write = \"ci\" }",
            Nothing("who built a stage is not what it is"),
        ),
        set(
            "pib.toml: cache.write=always",
            "cache",
            "{ url = \"s3://team-cache\", write = \"always\" }",
            Nothing("who built a stage is not what it is"),
        ),
    ]
}

fn stages() -> Vec<Row> {
    vec![
        set("pib.toml: stages.*.path", "stages.early", "{ path = \"stages/late\" }", Refused("late")),
        Row::new(
            "pib.toml: stages.*.path",
            Nothing("where the same stage comes from is not what it is"),
            |sample| {
                sample.rename("stages/early/", "parts/early/");
                sample.set("pib.toml", "stages.early.path", "\"parts/early\"");
            },
        )
        .locks(),
        set("pib.toml: stages.*.config", "stages.late.config.text", "\"two\"", From("late")),
        set("pib.toml: stages.*.config", "stages.late.config.unknown", "\"two\"", Refused("unknown")),
        set("pib.toml: stages.*.version", "stages.watchdog", "\"1\"", From("os")).locks(),
        set("pib.toml: stages.*.version", "stages.watchdog", "\"99\"", Refused("watchdog")),
        Row::new("pib.toml: patch.*.path", From("__cleanup__"), |sample| {
            sample.write(
                "stages/mine/stage.toml",
                "[stage]\nname = \"__cleanup__\"\nversion = \"1.1.0\"\nphase = \"cleanup\"\n",
            );
            sample.write("stages/mine/Dockerfile.part", "RUN true\n");
            sample.set("pib.toml", "patch.__cleanup__", "{ path = \"stages/mine\" }");
        })
        .locks(),
        set("pib.toml: patch.*.version", "patch.__cleanup__", "\"1\"", Refused("where else")),
        set(
            "pib.toml: patch.*.config",
            "patch.late",
            "{ path = \"stages/late\", config = { text = \"x\" } }",
            Refused("patches cannot have"),
        ),
        set("pib.toml: vendor.path", "vendor.path", "\"vendor\"", Refused("vendor")),
    ]
}

fn image() -> Vec<Row> {
    vec![
        set(
            "pib.toml: image.compress=none",
            "image.compress",
            "\"none\"",
            Nothing("it is so where nothing is given"),
        ),
        // Bills stand beside the image: where one is missing, the image is written again.
        set("pib.toml: image.sbom=spdx", "image.sbom", "[\"spdx\"]", Build),
        set("pib.toml: image.sbom=cyclonedx", "image.sbom", "[\"cyclonedx\"]", Build),
        set("pib.toml: image.compress=xz", "image.compress", "\"xz\"", Image),
        set("pib.toml: image.compress=zstd", "image.compress", "\"zstd\"", Image),
        set("pib.toml: image.foreign-root", "image.foreign-root", "true", Image),
        set("pib.toml: image.writer=mke2fs", "image.writer", "\"mke2fs\"", Image),
        set(
            "pib.toml: image.writer=mkext4",
            "image.writer",
            "\"mkext4\"",
            Nothing("it is so where nothing is given"),
        ),
        set(
            "pib.toml: image.table=mbr",
            "image.table",
            "\"mbr\"",
            Nothing("it is so where nothing is given"),
        ),
        set("pib.toml: image.table=gpt", "image.table", "\"gpt\"", Image),
        set("pib.toml: image.size", "image.size", "\"8GiB\"", Image),
        set("pib.toml: image.a-b", "image.a-b", "true", From("facts")),
    ]
}

fn image_partitions() -> Vec<Row> {
    vec![
        of_partition("pib.toml: image.partition.[].label", "ROOT", "SYSTEM", From("facts")),
        of_partition("pib.toml: image.partition.[].mount", "\"/\"", "\"/data\"", Refused("mounted on `/`")),
        of_partition("pib.toml: image.partition.[].filesystem=vfat", "ext4", "vfat", Refused("FAT root")),
        Row::new("pib.toml: image.partition.[].filesystem=ext4", From("facts"), |sample| {
            partition(
                sample,
                "image.partition",
                &BOOT.replace("vfat", "ext4").replace("/boot/firmware", "/data"),
                ROOT,
            );
        })
        .start(|sample| partition(sample, "image.partition", &BOOT.replace("/boot/firmware", "/data"), ROOT)),
        of_partition(
            "pib.toml: image.partition.[].filesystem=swap",
            "ext4",
            "swap",
            Refused("has no `mount`"),
        ),
        of_partition(
            "pib.toml: image.partition.[].filesystem=none",
            "ext4",
            "none",
            Refused("has no `mount`"),
        ),
        of_partition("pib.toml: image.partition.[].filesystem=squashfs", "ext4", "squashfs", From("facts")),
        of_partition("pib.toml: image.partition.[].filesystem=erofs", "ext4", "erofs", From("facts")),
        of_partition("pib.toml: image.partition.[].align", " }", ", align = \"1MiB\" }", Image),
        of_partition("pib.toml: image.partition.[].reserved", " }", ", reserved = 5 }", Image),
        of_partition("pib.toml: image.partition.[].active", " }", ", active = true }", Image),
        of_partition("pib.toml: image.partition.[].type", " }", ", type = \"8e\" }", Image),
        of_partition("pib.toml: image.partition.[].grow", " }", ", grow = true }", From("facts")),
        of_partition("pib.toml: image.partition.[].size", " }", ", size = \"3GiB\" }", Image),
        of_partition("pib.toml: image.partition.[].free", " }", ", free = \"300MiB\" }", Image),
    ]
}

fn tarball(sample: &mut Sample, at: &str, kind: &str, place: &str, digest: &str) {
    let key = if at.is_empty() { "base".to_owned() } else { format!("{at}.base") };
    sample.set("pib.toml", &key, &format!("{{ {kind} = \"{place}\", digest = \"{digest}\" }}"));
}

fn base() -> Vec<Row> {
    let from_file = |sample: &mut Sample| tarball(sample, "", "path", "base.tar", DIGEST);
    let from_url = |sample: &mut Sample| tarball(sample, "", "url", "http://example.org/base.tar", DIGEST);
    let from_image =
        |sample: &mut Sample| sample.set("pib.toml", "base.image", &format!("\"debian@{DIGEST}\""));
    vec![
        Row::new("pib.toml: base.path", Base, from_file),
        set("pib.toml: base.path", "base.path", "\"other.tar\"", Nothing("the digest says what it is"))
            .start(from_file),
        Row::new("pib.toml: base.digest", Base, |sample| tarball(sample, "", "path", "base.tar", OTHER))
            .start(from_file),
        set(
            "pib.toml: base.url",
            "base.url",
            "\"http://example.org/moved.tar\"",
            Nothing("the digest says what it is"),
        )
        .start(from_url),
        Row::new("pib.toml: base.digest", Base, |sample| {
            tarball(sample, "", "url", "http://example.org/base.tar", THIRD)
        })
        .start(from_url),
        Row::new("pib.toml: base.image", Base, from_image),
        Row::new("pib.toml: base.image", Base, |sample| {
            sample.set("pib.toml", "base.image", &format!("\"debian@{OTHER}\""))
        })
        .start(from_image),
        Row::new("pib.toml: base.image", Nothing("the digest says what it is"), |sample| {
            sample.set("pib.toml", "base.image", &format!("\"mirror.example/debian:13@{DIGEST}\""));
        })
        .start(from_image),
    ]
}

fn target_image() -> Vec<Row> {
    let mut rows = target_partition();
    rows.extend([
        of_target("pib.toml: target.*.image.sbom=spdx", "target.kiosk.image.sbom", "[\"spdx\"]", Build),
        of_target(
            "pib.toml: target.*.image.sbom=cyclonedx",
            "target.kiosk.image.sbom",
            "[\"cyclonedx\"]",
            Build,
        ),
        of_target("pib.toml: target.*.image.compress=none", "target.kiosk.image.compress", "\"none\"", Image)
            .start(|sample| {
                sample.target = true;
                sample.set("pib.toml", "image.compress", "\"xz\"");
            }),
        of_target("pib.toml: target.*.image.compress=xz", "target.kiosk.image.compress", "\"xz\"", Image),
        of_target("pib.toml: target.*.image.compress=zstd", "target.kiosk.image.compress", "\"zstd\"", Image),
        of_target("pib.toml: target.*.image.foreign-root", "target.kiosk.image.foreign-root", "true", Image),
        of_target("pib.toml: target.*.image.writer=mke2fs", "target.kiosk.image.writer", "\"mke2fs\"", Image),
        of_target("pib.toml: target.*.image.writer=mkext4", "target.kiosk.image.writer", "\"mkext4\"", Image)
            .start(|sample| {
                sample.target = true;
                sample.set("pib.toml", "image.writer", "\"mke2fs\"");
                // Otherwise it would be the image of any target that has all that is usual.
                sample.set("pib.toml", "image.size", "\"6GiB\"");
            }),
        of_target("pib.toml: target.*.image.table=gpt", "target.kiosk.image.table", "\"gpt\"", Image),
        of_target("pib.toml: target.*.image.table=mbr", "target.kiosk.image.table", "\"mbr\"", Image).start(
            |sample| {
                sample.target = true;
                sample.set("pib.toml", "image.table", "\"gpt\"");
                sample.set("pib.toml", "image.size", "\"7GiB\"");
            },
        ),
        of_target("pib.toml: target.*.image.a-b", "target.kiosk.image.a-b", "true", From("facts")),
        of_target("pib.toml: target.*.image.size", "target.kiosk.image.size", "\"8GiB\"", Image),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].filesystem=squashfs",
            "ext4",
            "squashfs",
            From("facts"),
        ),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].filesystem=erofs",
            "ext4",
            "erofs",
            From("facts"),
        ),
        of_target_partition("pib.toml: target.*.image.partition.[].label", "ROOT", "SYSTEM", From("facts")),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].mount",
            "\"/\"",
            "\"/data\"",
            Refused("mounted on `/`"),
        ),
    ]);
    rows
}

fn target_partition() -> Vec<Row> {
    vec![
        of_target_partition(
            "pib.toml: target.*.image.partition.[].filesystem=vfat",
            "ext4",
            "vfat",
            Refused("FAT root"),
        ),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].filesystem=swap",
            "ext4",
            "swap",
            Refused("has no `mount`"),
        ),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].filesystem=none",
            "ext4",
            "none",
            Refused("has no `mount`"),
        ),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].align",
            " }",
            ", align = \"1MiB\" }",
            Image,
        ),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].reserved",
            " }",
            ", reserved = 5 }",
            Image,
        ),
        of_target_partition("pib.toml: target.*.image.partition.[].active", " }", ", active = true }", Image),
        of_target_partition("pib.toml: target.*.image.partition.[].type", " }", ", type = \"8e\" }", Image),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].grow",
            " }",
            ", grow = true }",
            From("facts"),
        ),
        of_target_partition("pib.toml: target.*.image.partition.[].size", " }", ", size = \"3GiB\" }", Image),
        of_target_partition(
            "pib.toml: target.*.image.partition.[].free",
            " }",
            ", free = \"300MiB\" }",
            Image,
        ),
        Row::new("pib.toml: target.*.image.partition.[].filesystem=ext4", From("facts"), |sample| {
            let data = BOOT.replace("vfat", "ext4").replace("/boot/firmware", "/data");
            partition(sample, "target.kiosk.image.partition", &data, ROOT);
        })
        .start(|sample| {
            sample.target = true;
            partition(sample, "target.kiosk.image.partition", &BOOT.replace("/boot/firmware", "/data"), ROOT);
        }),
    ]
}

fn target() -> Vec<Row> {
    let mut rows = vec![
        of_target("pib.toml: target.*.os", "target.kiosk.os", "\"raspios\"", Refused("raspios")),
        of_target("pib.toml: target.*.release", "target.kiosk.release", "\"forky\"", Base),
        of_target("pib.toml: target.*.board", "target.kiosk.board", "\"rpi3\"", From("facts")),
        of_target("pib.toml: target.*.arch", "target.kiosk.arch", "\"armv7\"", Base),
        of_target("pib.toml: target.*.hostname", "target.kiosk.hostname", "\"post\"", From("facts")),
        of_target("pib.toml: target.*.locale", "target.kiosk.locale", "\"fr_FR.UTF-8\"", From("facts")),
        of_target("pib.toml: target.*.timezone", "target.kiosk.timezone", "\"Europe/Paris\"", From("facts")),
        of_target(
            "pib.toml: target.*.kernel",
            "target.kiosk.kernel",
            "\"late\"",
            Nothing("it only ends a check of pib's own kernels"),
        ),
    ];
    let others = [
        ("pib.toml: target.*.release", "target.kiosk.release", "\"forky\""),
        ("pib.toml: target.*.board", "target.kiosk.board", "\"rpi3\""),
        ("pib.toml: target.*.hostname", "target.kiosk.hostname", "\"post\""),
        ("pib.toml: target.*.image.compress=xz", "target.kiosk.image.compress", "\"xz\""),
        ("pib.toml: target.*.stages.*.config", "target.kiosk.stages.late.config.text", "\"three\""),
    ];
    rows.extend(others.map(|(field, path, value)| of_other_target(field, path, value)));
    rows
}

fn target_stages() -> Vec<Row> {
    vec![
        of_target(
            "pib.toml: target.*.stages.*.config",
            "target.kiosk.stages.late.config.text",
            "\"three\"",
            From("late"),
        ),
        of_target("pib.toml: target.*.stages.*.version", "target.kiosk.stages.watchdog", "\"1\"", From("os"))
            .locks(),
        of_target("pib.toml: target.*.stages.*.version", "target.kiosk.stages.early", "false", From("facts"))
            .locks(),
        Row::new(
            "pib.toml: target.*.stages.*.path",
            Nothing("where the same stage comes from is not what it is"),
            |sample| {
                sample.rename("stages/early/", "parts/early/");
                sample.set("pib.toml", "stages.early.path", "\"parts/early\"");
                sample.set("pib.toml", "target.kiosk.stages.early", "{ path = \"parts/early\" }");
            },
        )
        .start(|sample| sample.target = true)
        .locks(),
        of_target(
            "pib.toml: target.*.stages.*.path",
            "target.kiosk.stages.early",
            "{ path = \"stages/late\" }",
            Refused("late"),
        ),
    ]
}

fn target_base() -> Vec<Row> {
    fn from_file(sample: &mut Sample) {
        sample.target = true;
        tarball(sample, "target.kiosk", "path", "base.tar", FOURTH);
    }
    fn from_url(sample: &mut Sample) {
        sample.target = true;
        tarball(sample, "target.kiosk", "url", "http://example.org/base.tar", FOURTH);
    }
    vec![
        Row::new("pib.toml: target.*.base.path", Base, from_file).start(|sample| sample.target = true),
        Row::new("pib.toml: target.*.base.digest", Base, |sample| {
            tarball(sample, "target.kiosk", "path", "base.tar", FIFTH);
        })
        .start(from_file),
        set(
            "pib.toml: target.*.base.url",
            "target.kiosk.base.url",
            "\"http://example.org/moved.tar\"",
            Nothing("the digest says what it is"),
        )
        .start(from_url),
        Row::new("pib.toml: target.*.base.image", Base, |sample| {
            sample.set("pib.toml", "target.kiosk.base.image", &format!("\"debian@{SIXTH}\""));
        })
        .start(|sample| sample.target = true),
    ]
}
