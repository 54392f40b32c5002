//! Strangers' texts on their way to a terminal: every command, each with names and texts that give orders.

use std::fmt::Write as _;

use pib_plan::id::Digest;

use crate::bench::{Bench, PROJECT, Ran};

/// Escape sequences, C1 controls, carriage returns, directions of writing, what takes no place, tags.
const BAD: &str = "a\u{1b}[31mb\u{1b}]0;t\u{7}c\u{9b}2Jd\u{202e}e\u{200b}f\u{2028}g\u{e0041}h\u{7f}i\rj\u{2066}k\u{200f}l\
                   \u{1b}]8;;https://evil.example\u{1b}\\m\u{9d}0;t\u{9c}\u{feff}\u{ad}n";

/// Returns the text as it stands in a string of TOML or JSON.
fn escaped(text: &str) -> String {
    let mut units = [0; 2];
    text.chars().fold(String::new(), |mut all, c| {
        for unit in c.encode_utf16(&mut units).iter().filter(|_| u32::from(c) <= 0xffff) {
            let _ = write!(all, "\\u{unit:04x}");
        }
        all
    })
}

/// Returns whether a character does something else than to be seen.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{feff}' | '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}'
            | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_clean(case: &str, args: &[&str], ran: &Ran) {
    assert_ne!(ran.code, Some(101), "{case}, {args:?}: {}", ran.errors);
    for (name, text) in [("output", &ran.out), ("errors", &ran.errors)] {
        let found = text.chars().find(|&c| is_hidden(c));
        assert_eq!(found, None, "{case}, {args:?}: the {name} has it:\n{}", text.escape_debug());
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let is_json = args.contains(&"--json");
        assert!(is_json || longest < 10_000, "{case}, {args:?}: a line of {longest} characters");
    }
}

const COMMANDS: [&[&str]; 25] = [
    &["plan"],
    &["plan", "--dockerfile"],
    &["plan", "--context", "../context"],
    &["lock"],
    &["tree"],
    &["why", "mine"],
    &["info", "mine"],
    &["info", "fox"],
    &["search", "a"],
    &["outdated"],
    &["stage", "check", "stages/mine"],
    &["stage", "render", "stages/mine"],
    &["add", "fox", "--registry", "acme", "--dry-run"],
    &["update", "--dry-run"],
    &["fetch"],
    &["vendor"],
    &["build"],
    &["update", "fox"],
    &["remove", "fox", "--dry-run"],
    &["publish", "stages/mine", "--index", "../registry", "--check"],
    &["cache", "list"],
    &["cache", "verify"],
    &["clean", "--dry-run"],
    &["doctor", "--offline"],
    &["plan", "--why", "mine", "os"],
];

/// Runs every command, for people, for machines, and with all that there is to say.
fn all_are_clean(case: &str, bench: &Bench) {
    for args in COMMANDS {
        for more in [None, Some("--json"), Some("--verbose")] {
            let args: Vec<&str> = args.iter().copied().chain(more).collect();
            is_clean(case, &args, &bench.run(&args));
        }
    }
}

fn project() -> Bench {
    let bench = Bench::new("");
    let registry = format!(
        "[registries.acme]\nindex = \"file://{}/registry\"\n\n[stages]\n",
        bench.folder.path().display()
    );
    let stages = "mine = { path = \"stages/mine\" }\nfox = { version = \"1\", registry = \"acme\" }\n";
    bench.write("pib.toml", &PROJECT.replace("[stages]\n", &(registry + stages)));
    bench.stage("mine", "", Some("RUN true\n"));
    bench.write("../registry/config.json", "{\"v\":1}");
    bench.write("../registry/3/f/fox", "");
    bench
}

#[test]
fn texts_of_a_stage_give_no_orders() {
    let bad = escaped(BAD);
    let long = "x".repeat(100_000);
    for (case, manifest, part) in [
        ("description", format!("description = \"{bad}\"\nlicense = \"{bad}\"\n"), "RUN true\n".to_owned()),
        ("long description", format!("description = \"{long}\"\n"), "RUN true\n".to_owned()),
        ("unknown key", format!("\"{bad}\" = 1\n"), "RUN true\n".to_owned()),
        ("long unknown key", format!("\"{long}\" = 1\n"), "RUN true\n".to_owned()),
        ("raw in the manifest", format!("x = {BAD}\n"), "RUN true\n".to_owned()),
        ("config", format!("[config.\"{bad}\"]\ntype = \"string\"\n"), "RUN true\n".to_owned()),
        (
            "config help",
            format!("[config.k]\ntype = \"string\"\nhelp = \"{bad}\"\nrequired = true\n"),
            "RUN true\n".to_owned(),
        ),
        ("dependency", format!("[dependencies]\n\"{bad}\" = \"1\"\n"), "RUN true\n".to_owned()),
        ("part", String::new(), format!("RUN echo {}\n", BAD.replace('\r', ""))),
        ("unknown instruction", String::new(), format!("RNU {BAD}\n")),
        ("long line of a part", String::new(), format!("RUN {long}\nRNU {long}\n")),
    ] {
        let bench = project();
        let index = format!(
            "{{\"name\":\"fox\",\"vers\":\"1.0.0\",\"cksum\":\"{0}\",\"content\":\"{0}\"}}\n",
            Digest::of(b"")
        );
        bench.write("../registry/3/f/fox", &index);
        bench.stage("mine", &manifest, Some(&part));
        all_are_clean(case, &bench);
    }
}

#[test]
fn texts_of_a_registry_give_no_orders() {
    let bad = escaped(BAD);
    let digest = Digest::of(b"");
    let good = format!("\"name\":\"fox\",\"vers\":\"1.0.0\",\"cksum\":\"{digest}\",\"content\":\"{digest}\"");
    for (case, line) in [
        ("texts", format!("{{{good},\"description\":\"{bad}\",\"license\":\"{bad}\"}}")),
        ("support", format!("{{{good},\"support\":{{\"os\":[\"{bad}\"]}}}}")),
        ("config", format!("{{{good},\"config\":{{\"k\":{{\"type\":\"string\",\"help\":\"{bad}\"}}}}}}")),
        ("world", format!("{{{good},\"hook\":{{\"digest\":\"{digest}\",\"world\":\"{bad}\"}}}}")),
        ("phase", format!("{{{good},\"phase\":\"{bad}\"}}")),
        ("digest", good.replacen(&digest.to_string(), &bad, 1)),
        ("version", format!("{{{}}}", good.replace("1.0.0", &bad))),
        ("garbage", BAD.to_owned()),
    ] {
        let bench = project();
        bench.write("../registry/3/f/fox", &format!("{line}\n"));
        all_are_clean(case, &bench);
    }
    let bench = project();
    bench.write("../registry/config.json", &format!("{{\"v\":\"{bad}\"{BAD}"));
    all_are_clean("config.json", &bench);
}

#[test]
fn names_of_files_and_texts_of_the_project_give_no_orders() {
    let bench = project();
    bench.write(&format!("stages/mine/files/{}", BAD.replace('/', "")), "x");
    all_are_clean("a file's name", &bench);
    for text in ["[\"{}\"]\n", "{} = 1\n", "x = \"{}\n"] {
        let bench = project();
        let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
        bench.write("pib.toml", &format!("{manifest}{}", text.replace("{}", BAD)));
        all_are_clean("pib.toml", &bench);
        let bench = project();
        bench.write("pib.lock", &text.replace("{}", BAD));
        all_are_clean("pib.lock", &bench);
    }
}

#[test]
fn addresses_and_settings_give_no_orders() {
    let bad = escaped(BAD);
    let steering = escaped("a\u{202e}b\u{2066}c\u{200b}d");
    for (case, table) in [
        ("registry's address", format!("[registries.acme]\nindex = \"http://127.0.0.1:1/{steering}\"\n")),
        ("registry's bad address", format!("[registries.acme]\nindex = \"http://127.0.0.1:1/{bad}\"\n")),
        ("registry's user", format!("[registries.acme]\nindex = \"http://me:{steering}@127.0.0.1:1/\"\n")),
        ("registry's scheme", format!("[registries.acme]\nindex = \"{steering}:x\"\n")),
        (
            "registry's name",
            format!(
                "[registries.acme]\nindex = \"x:y\"\n[registries.\"{bad}\"]\nindex = \"http://127.0.0.1:1/\"\n"
            ),
        ),
    ] {
        let bench = project();
        let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
        let at = manifest.find("[registries.acme]").unwrap();
        let end = at + manifest[at..].find("[stages]").unwrap();
        bench.write("pib.toml", &format!("{}{table}{}", &manifest[..at], &manifest[end..]));
        let token = [("PIB_REGISTRIES_ACME_TOKEN", "hunter2-token")];
        for args in [&["plan"][..], &["info", "fox"], &["--json", "plan"], &["doctor"], &["search", "a"]] {
            is_clean(case, args, &bench.run_with(args, &token));
        }
    }
    let bench = project();
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &manifest.replace("file://", "http://127.0.0.1:1/"));
    for text in
        [format!("\"{bad}\" = 1\n"), format!("[registries.\"{bad}\"]\nindex = \"{bad}\"\n"), BAD.to_owned()]
    {
        bench.write("../.config/pib/config.toml", &text);
        is_clean("config.toml", &["plan"], &bench.run(&["plan"]));
    }
}
