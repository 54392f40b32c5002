//! The rows of `stage.toml` and of a stage's files.

use super::Effect::{From, Image, Nothing, Refused};
use super::sample::Sample;
use super::{Effect, Row, set};

const EARLY: &str = "stages/early/stage.toml";
const LATE: &str = "stages/late/stage.toml";

/// A value of a config key of the stage `late` that the project does not set.
fn of_key(field: &'static str, old: &'static str, new: &'static str, effect: Effect) -> Row {
    set(field, LATE, "config.more", new, effect).start(move |sample| sample.set(LATE, "config.more", old))
}

pub(super) fn rows() -> Vec<Row> {
    let all = [
        meta(),
        commands(),
        tests(),
        variables(),
        other_stages(),
        types(),
        config(),
        modes(),
        files(),
        links(),
    ];
    all.into_iter().flatten().collect()
}

fn meta() -> Vec<Row> {
    vec![
        set("stage.toml: stage.name", EARLY, "stage.name", "\"other\"", Refused("other")),
        set("stage.toml: stage.version", EARLY, "stage.version", "\"1.0.1\"", Image).locks(),
        set(
            "stage.toml: stage.description",
            EARLY,
            "stage.description",
            "\"Early\"",
            Nothing("it is for people"),
        ),
        set("stage.toml: stage.license", EARLY, "stage.license", "\"MIT\"", Nothing("it is for people")),
        set("stage.toml: stage.pib", EARLY, "stage.pib", "\">=99\"", Refused("99")),
        set("stage.toml: stage.pib", EARLY, "stage.pib", "\">=0.0.1\"", Nothing("this pib is one of these")),
        set("stage.toml: stage.exports", EARLY, "stage.exports", "[]", Refused("LANG")).start(|sample| {
            sample.set(EARLY, "stage.exports", "[\"LANG\"]");
            sample.write("stages/early/Dockerfile.part", "ENV LANG=C\n");
        }),
        set(
            "stage.toml: stage.exports",
            EARLY,
            "stage.exports",
            "[\"LANG\"]",
            Nothing("the part sets no such variable"),
        ),
        set("stage.toml: stage.phase=init", LATE, "stage.phase", "\"init\"", From("late")),
        set(
            "stage.toml: stage.phase=cleanup",
            "stages/facts/stage.toml",
            "stage.phase",
            "\"cleanup\"",
            From("late"),
        ),
        set(
            "stage.toml: stage.phase=normal",
            EARLY,
            "stage.phase",
            "\"normal\"",
            Nothing("it is so where nothing is given"),
        ),
    ]
}

/// Tests change no image, whatever they say.
fn tests() -> Vec<Row> {
    let fields = [
        ("stage.toml: test.[].name", "name = \"b\""),
        ("stage.toml: test.[].command", "command = \"false\""),
        ("stage.toml: test.[].exit", "exit = 1"),
        ("stage.toml: test.[].stdout", "stdout = \"a\""),
        ("stage.toml: test.[].stdout-contains", "stdout-contains = \"a\""),
        ("stage.toml: test.[].timeout", "timeout = 5"),
        ("stage.toml: test.[].after-reboot", "after-reboot = true"),
    ];
    let table = |field: &str| {
        let plain = ["name = \"a\"", "command = \"true\""];
        let key = |text: &str| text.split(' ').next().map(str::to_owned);
        let kept = plain.into_iter().filter(|text| key(text) != key(field));
        format!("[{{ {} }}]", kept.chain([field]).collect::<Vec<_>>().join(", "))
    };
    let row = |(field, text): (&'static str, &str)| {
        let value = table(text);
        Row::new(field, Nothing("tests change no image"), move |sample| sample.set(EARLY, "test", &value))
    };
    fields.map(row).into()
}

/// How its commands run.
fn commands() -> Vec<Row> {
    vec![
        set(
            "stage.toml: stage.native",
            EARLY,
            "stage.native",
            "false",
            Nothing("the same comes of a build without native tools"),
        ),
        set(
            "stage.toml: stage.network=open",
            EARLY,
            "stage.network",
            "\"open\"",
            Nothing("nothing is recorded"),
        ),
        set("stage.toml: stage.network=open", EARLY, "stage.network", "\"open\"", From("early"))
            .start(|sample| sample.set("pib.toml", "build.network", "\"recorded\"")),
        set(
            "stage.toml: stage.network=project",
            EARLY,
            "stage.network",
            "\"project\"",
            Nothing("it is so without a word"),
        ),
    ]
}

/// Each variable makes an argument of its own, even where its value is in no key.
fn variables() -> Vec<Row> {
    let names = [
        ("stage.toml: stage.uses=name", "[\"name\"]"),
        ("stage.toml: stage.uses=os", "[\"os\"]"),
        ("stage.toml: stage.uses=release", "[\"release\"]"),
        ("stage.toml: stage.uses=board", "[\"board\"]"),
        ("stage.toml: stage.uses=arch", "[\"arch\"]"),
        ("stage.toml: stage.uses=hostname", "[\"hostname\"]"),
        ("stage.toml: stage.uses=locale", "[\"locale\"]"),
        ("stage.toml: stage.uses=timezone", "[\"timezone\"]"),
        ("stage.toml: stage.uses=mirror", "[\"mirror\"]"),
        ("stage.toml: stage.uses=security-mirror", "[\"security-mirror\"]"),
        ("stage.toml: stage.uses=public-mirror", "[\"public-mirror\"]"),
        ("stage.toml: stage.uses=public-security-mirror", "[\"public-security-mirror\"]"),
        ("stage.toml: stage.uses=root-device", "[\"root-device\"]"),
        ("stage.toml: stage.uses=fstab", "[\"fstab\"]"),
    ];
    names.map(|(field, value)| set(field, EARLY, "stage.uses", value, From("early"))).into()
}

fn other_stages() -> Vec<Row> {
    vec![
        set("stage.toml: support.os", EARLY, "support.os", "[\"alpine\"]", Refused("alpine")),
        set("stage.toml: support.os", EARLY, "support.os", "[\"debian\"]", Nothing("the project has it")),
        set("stage.toml: support.boards", EARLY, "support.boards", "[\"rpi5\"]", Refused("rpi5")),
        set("stage.toml: support.arch", EARLY, "support.arch", "[\"armv6\"]", Refused("armv6")),
        set("stage.toml: dependencies", EARLY, "dependencies.late", "\"1\"", From("facts")).locks(),
        set(
            "stage.toml: dependencies",
            LATE,
            "dependencies.early",
            "\"1\"",
            Nothing("the order is the same"),
        )
        .locks(),
        set("stage.toml: dependencies", EARLY, "dependencies.late", "\"2\"", Refused("late")),
        set("stage.toml: conflicts", EARLY, "conflicts.late", "\"1\"", Refused("late")),
        set(
            "stage.toml: conflicts",
            EARLY,
            "conflicts.late",
            "\"2\"",
            Nothing("no such version is in the build"),
        ),
        set("stage.toml: order.after", EARLY, "order.after", "[\"facts\"]", From("facts")),
        set("stage.toml: order.before", LATE, "order.before", "[\"facts\"]", From("late")).start(|sample| {
            sample.set("pib.toml", "project.name", "\"ordered\"");
        }),
    ]
}

/// A key with a default is an argument of the part.
fn types() -> Vec<Row> {
    let add = |field, value, effect| set(field, LATE, "config.more", value, effect);
    vec![
        add("stage.toml: config.*.type=string", "{ type = \"string\", default = \"a\" }", From("late")),
        add("stage.toml: config.*.type=integer", "{ type = \"integer\", default = 7 }", From("late")),
        add("stage.toml: config.*.type=boolean", "{ type = \"boolean\", default = true }", From("late")),
        add(
            "stage.toml: config.*.type=enum",
            "{ type = \"enum\", default = \"b\", values = [\"a\", \"b\"] }",
            From("late"),
        ),
        add("stage.toml: config.*.type=list", "{ type = \"list\", default = [\"a\", \"b\"] }", From("late")),
        add("stage.toml: config.*.type=path", "{ type = \"path\", default = \"keys/me.pub\" }", From("late")),
        add(
            "stage.toml: config.*.type=paths",
            "{ type = \"paths\", default = [\"stages/late/notes/*\"] }",
            From("late"),
        ),
        add("stage.toml: config.*.type=size", "{ type = \"size\", default = \"1KiB\" }", From("late")),
        add("stage.toml: config.*.type=secret", "{ type = \"secret\" }", Refused("never mounts")),
        Row::new("stage.toml: config.*.type=secret", From("late"), |sample| {
            sample.set("pib.toml", "stages.late.config.more", "{ env = \"TOKEN\" }");
        })
        .start(|sample| {
            sample.set(LATE, "config.more", "{ type = \"secret\" }");
            let part = sample.text("stages/late/Dockerfile.part").to_owned();
            sample.write("stages/late/Dockerfile.part", part + "RUN --mount=type=secret,id=late.more true\n");
        }),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn config() -> Vec<Row> {
    vec![
        of_key(
            "stage.toml: config.*.default",
            "{ type = \"string\", default = \"b\" }",
            "{ type = \"string\", default = \"c\" }",
            From("late"),
        ),
        of_key(
            "stage.toml: config.*.default",
            "{ type = \"integer\", default = 8 }",
            "{ type = \"integer\", default = 9 }",
            From("late"),
        ),
        of_key(
            "stage.toml: config.*.required",
            "{ type = \"string\" }",
            "{ type = \"string\", required = true }",
            Refused("required"),
        ),
        of_key(
            "stage.toml: config.*.min",
            "{ type = \"integer\", default = 7 }",
            "{ type = \"integer\", default = 7, min = 8 }",
            Refused("least"),
        ),
        of_key(
            "stage.toml: config.*.min",
            "{ type = \"integer\", default = 7 }",
            "{ type = \"integer\", default = 7, min = 6 }",
            Nothing("the value is not less"),
        ),
        of_key(
            "stage.toml: config.*.max",
            "{ type = \"integer\", default = 7 }",
            "{ type = \"integer\", default = 7, max = 6 }",
            Refused("greatest"),
        ),
        of_key(
            "stage.toml: config.*.max",
            "{ type = \"integer\", default = 7 }",
            "{ type = \"integer\", default = 7, max = 8 }",
            Nothing("the value is not more"),
        ),
        of_key(
            "stage.toml: config.*.values",
            "{ type = \"enum\", default = \"a\", values = [\"a\"] }",
            "{ type = \"enum\", default = \"a\", values = [\"b\"] }",
            Refused("default"),
        ),
        of_key(
            "stage.toml: config.*.values",
            "{ type = \"enum\", default = \"a\", values = [\"a\"] }",
            "{ type = \"enum\", default = \"a\", values = [\"a\", \"b\"] }",
            Nothing("the value is one of them"),
        ),
        of_key(
            "stage.toml: config.*.help",
            "{ type = \"string\" }",
            "{ type = \"string\", help = \"More.\" }",
            Nothing("it is for people"),
        ),
    ]
}

fn modes() -> Vec<Row> {
    vec![
        Row::new("stage.toml: modes", From("early"), |sample| {
            sample.set(EARLY, "modes", "{ \"files/etc/one\" = \"0600\" }");
            sample.set_mode("stages/early/files/etc/one", 0o600);
        }),
        Row::new("stage.toml: modes", From("late"), |sample| {
            sample.set(LATE, "modes", "{ \"notes/\" = \"0700\" }");
        }),
        set("stage.toml: modes", EARLY, "modes", "{ \"files/none\" = \"0600\" }", Refused("files/none")),
    ]
}

fn change(field: &'static str, effect: Effect, change: fn(&mut Sample)) -> Row {
    Row::new(field, effect, change)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn files() -> Vec<Row> {
    vec![
        change("file: part", From("early"), |sample| {
            sample.write("stages/early/Dockerfile.part", "RUN false\n")
        }),
        change("file: part of this system", From("early"), |sample| {
            sample.write("stages/early/Dockerfile.debian.part", "RUN debian\n");
        }),
        change("file: part of another system", Nothing("the project has another system"), |sample| {
            sample.write("stages/early/Dockerfile.alpine.part", "RUN alpine\n");
        }),
        change("file: content, copied", From("late"), |sample| {
            sample.write("stages/late/files/etc/one", "two\n")
        }),
        change("file: content, copied by an earlier stage", From("early"), |sample| {
            sample.write("stages/late/files/etc/one", "three\n");
        })
        .start(|sample| sample.write("stages/early/Dockerfile.part", "COPY stages/ /all/\n")),
        change("file: content, beside", From("late"), |sample| {
            sample.write("stages/late/notes/beside", "two\n")
        }),
        change("file: name, copied", From("late"), |sample| {
            sample.rename("stages/late/files/etc/one", "stages/late/files/etc/two")
        }),
        change("file: name, beside", From("late"), |sample| {
            sample.rename("stages/late/notes/beside", "stages/late/notes/two")
        }),
        change("file: may be run, copied", From("late"), |sample| {
            sample.set_mode("stages/late/files/etc/one", 0o755)
        }),
        change("file: may be run, beside", From("late"), |sample| {
            sample.set_mode("stages/late/notes/beside", 0o755)
        }),
        change(
            "file: mode of a umask",
            Nothing("a checkout decides it, and [modes] what is kept"),
            |sample| {
                sample.set_mode("stages/late/files/etc/one", 0o664);
            },
        ),
        change("file: new, copied", From("late"), |sample| sample.write("stages/late/files/etc/new", "")),
        change("file: new, beside", From("late"), |sample| sample.write("stages/late/notes/new", "")),
        change("file: gone, copied", From("late"), |sample| sample.remove("stages/late/files/etc/one"))
            .start(|sample| {
                sample.write("stages/late/files/etc/other", "stays\n");
            }),
        change("file: gone, beside", From("late"), |sample| sample.remove("stages/late/notes/beside")),
        change("file: empty folder, copied", From("late"), |sample| sample.folder("stages/late/files/empty")),
        change("file: empty folder, beside", From("late"), |sample| sample.folder("stages/late/empty")),
        change("file: of tools", Nothing("it is no part of the stage"), |sample| {
            sample.write("stages/late/.gitignore", "x\n")
        }),
        change("file: of the hook's source", Nothing("it is no part of the stage"), |sample| {
            sample.write("stages/late/hook/lib.rs", "x\n");
        }),
        change("file: of the project, named by config", From("late"), |sample| {
            sample.write("keys/me.pub", "other\n")
        }),
        change("file: of the project, found by a pattern", From("late"), |sample| {
            sample.write("keys/you.pub", "key\n")
        }),
        change("file: of the project, not named", Nothing("no config names it"), |sample| {
            sample.write("keys/me.txt", "key\n")
        }),
        change("file: of a secret", From("late"), |sample| sample.give("TOKEN", "another-token")),
    ]
}

fn links() -> Vec<Row> {
    vec![
        change("file: link, copied", Refused("symbolic link"), |sample| {
            sample.link("stages/late/files/link", "etc/one")
        }),
        change("file: link, beside", Refused("symbolic link"), |sample| {
            sample.link("stages/late/link", "notes/beside")
        }),
        change("file: link of the project, named by config", From("late"), |sample| {
            sample.link("keys/link.pub", "me.pub")
        }),
        change("file: names that differ in case alone", Refused("One"), |sample| {
            sample.write("stages/late/files/etc/One", "x\n");
        }),
    ]
}
