use super::*;
use crate::manifest::stage::Exports;
use crate::metadata::ConfigSchema;

fn fails(text: &str) -> ManifestError {
    check("p", text).expect_err(text)
}

#[test]
fn layers_and_sources_are_counted() {
    let text =
        "ARG X=1\nENV A=b\nRUN true\nCOPY stages/a/x stages/a/y /z/\nADD http://u:p@example.org/f?t=1 /f\n";
    let part = check("p", text).unwrap();
    assert_eq!((part.layers(), part.declares[0].name.as_str()), (3, "X"));
    let paths: Vec<_> = part.copies.iter().map(|copy| copy.path.text().unwrap()).collect();
    assert_eq!(paths, ["stages/a/x", "stages/a/y"]);
    assert_eq!(&text[part.copies[1].span.clone()], "stages/a/y");
    let [remote] = &part.remotes[..] else { panic!("{:?}", part.remotes) };
    assert_eq!((&*remote.text, remote.is_pinned), ("ADD http://example.org/f (line 5)", false));
    assert_eq!(&text[remote.span.clone()], "http://u:p@example.org/f?t=1");
    let pinned = check("p", "ADD --checksum=sha256:aa http://example.org/f /f\n").unwrap();
    assert!(pinned.remotes[0].is_pinned);
}

#[test]
fn instructions_that_reach_into_other_stages_are_refused_at_their_place() {
    for keyword in ["FROM", "ONBUILD", "VOLUME", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT"] {
        let text = format!("RUN true\n  {} x\nRUN false\n", keyword.to_lowercase());
        let error = check("Dockerfile.part", &text).unwrap_err();
        assert!(error.to_string().contains(keyword) && error.advice().is_some(), "{error}");
        assert_eq!(&text[error.span().unwrap()], keyword.to_lowercase());
    }
    assert!(check("p", "RUN echo \\\n FROM here\n").is_ok());
    for harmless in ["CMD x", "LABEL a=b", "EXPOSE 80", "MAINTAINER me"] {
        assert!(check("p", harmless).is_ok(), "{harmless}");
    }
}

#[test]
fn a_part_never_reaches_into_the_next() {
    for end in ["\\", "\\\n", "\\ \t\n", "\\\r\n", "\\\n\n  # comment\n", "\\\n#\\\n"] {
        let text = format!("RUN true\nRUN a && {end}");
        let error = fails(&text);
        assert!(error.to_string().contains("ends in a backslash"), "{text:?}: {error}");
        assert_eq!(error.span().unwrap().start, "RUN true\nRUN a && ".len(), "{text:?}");
    }
    assert!(check("p", "RUN a\n# comment \\\n").is_ok());
    assert!(fails("RUN a \\\\\nFROM x\n").to_string().contains("two backslashes"));
    assert!(fails("RUN <<EOF\nFROM x\n").to_string().contains("without the line `EOF`"));
}

#[test]
fn marks_of_editors_are_no_part_of_the_text() {
    let plain = check("p", "RUN a\nRUN <<EOF\nb\nEOF\n").unwrap();
    assert_eq!(check("p", "\u{feff}RUN a\r\nRUN <<EOF\r\nb\r\nEOF\r\n").unwrap(), plain);
}

#[test]
fn what_nobody_sees_or_engines_read_otherwise_is_refused() {
    for (text, what) in [
        ("RUN a\0b\n", "NUL"),
        ("RUN a\rRUN b\n", "carriage return"),
        ("RUN a\u{b}\n", "U+000B"),
        ("RUN a\u{85}b\n", "U+0085"),
        ("RUN a\u{2028}b\n", "U+2028"),
        ("RUN a\n\u{a0}RUN b\n", "U+00A0"),
        ("RUN a \\\u{a0}\nRUN b\n", "U+00A0"),
        ("RUN \u{a0}[\"a\"]\n", "U+00A0"),
        ("RUN a\n\u{feff}RUN b\n", "U+FEFF"),
        ("RUN\u{a0}a\n", "RUN[U+00A0]a"),
        ("\\\nRUN a\n", "nothing but a backslash"),
        ("RU\\\nN a\n", "RU"),
        ("RUN --mo\\\nunt=type=tmpfs a\n", "option"),
        ("RUN --mount=type=bind,\"source=a\" a\n", "option"),
        ("RUN [\"a\"] && b\n", "list in brackets"),
        ("RUN []\n", "list in brackets"),
        ("# escape=`\nRUN a `\n  b\n", "escape character"),
        ("# check=skip=all\n# Syntax = example.org/x\nRUN a\n", "reader of its own"),
        ("RUN\n", "nothing behind it"),
        ("COPY x\n", "without a source"),
        ("RUN [\"rm\", \"/etc//hosts\"]\n", "/etc/hosts"),
        ("SHELL /bin/bash -c\n", "no list"),
        ("ENV X\n", "gives X no value"),
        ("ENV A=1 X\n", "not NAME=VALUE"),
        ("COPY --from=$X a b\n", "plainly"),
        ("RUN echo 1.2.3.4 x >> /etc/hosts\n", "/etc/hosts"),
        ("RUN <<EOF\nset -eu\nln -sf a /etc/resolv.conf\nEOF\n", "/etc/resolv.conf"),
        ("RUN --mount=type=secret,target=/x true\n", "without naming it"),
    ] {
        let error = fails(text);
        assert!(error.to_string().contains(what) && error.advice().is_some(), "{text:?}: {error}");
    }
    let long = format!("RUN {}\n", "a".repeat(70_000));
    assert!(fails(&long).to_string().contains("65,000 bytes"));
    for good in [
        "# syntax=docker/dockerfile:1.7\nRUN a\n",
        "# check=skip=all\n# a = b c\nRUN a\n",
        "RUN [ -e /x ] || y\n",
        "ENV A b c\n",
    ] {
        assert!(check("p", good).is_ok(), "{good:?}");
    }
}

#[test]
fn empty_and_unknown_parts_are_refused() {
    assert!(check("p", "").is_err());
    assert!(check("p", "# only a comment\n").is_err());
    let error = fails("RUN true\nRNU false\n");
    assert_eq!(error.span().unwrap().start, "RUN true\n".len(), "{error}");
    assert!(error.to_string().ends_with("unknown instruction `RNU`"), "{error}");
    assert_eq!(error.advice(), Some("Did you mean RUN?"));
    assert!(fails("RUN cat<<EOF\ntext\nEOF\n").advice().unwrap().contains("<<EOF"));
}

/// Returns the part as it is written where nothing is added to its instructions.
fn written(text: &str) -> String {
    let part = check("p", text).unwrap();
    let written = Alone(&part).text();
    assert!(!written.contains("<<") && !written.contains("\\\n"), "{written}");
    // What is written is read as what it was written from.
    let again = check("p", &written).unwrap();
    assert_eq!(again.steps.len(), written.lines().count());
    assert_eq!(Alone(&again).text(), written);
    written
}

#[test]
fn every_instruction_is_written_anew() {
    for (text, expected) in [
        ("run a \\\n  # why\n\n  && b\n# c\n", "RUN a   && b\n"),
        ("RUN [ \"a\" ,\n", "RUN [\"/bin/sh\", \"-c\", \"[ \\\"a\\\" ,\"]\n"),
        ("RUN [\"a\",\"\\u0041\\\\\"]\n", "RUN [\"a\", \"A\\\\\"]\n"),
        ("RUN -- a\n", "RUN a\n"),
        ("RUN -- --x\n", "RUN [\"/bin/sh\", \"-c\", \"--x\"]\n"),
        ("RUN [ -e x ]\n", "RUN [\"/bin/sh\", \"-c\", \"[ -e x ]\"]\n"),
        (
            "SHELL [\"bash\", \"-c\"]\nRUN [ -e x ]\n",
            "SHELL [\"bash\", \"-c\"]\nRUN [\"bash\", \"-c\", \"[ -e x ]\"]\n",
        ),
        ("env A=\"b c\" \\\n  D='e$X' F=$G\\ x\n", "ENV A=\"b c\" D=\"e\\$X\" F=\"${G} x\"\n"),
        ("ENV A b  \"c\"\n", "ENV A=\"b  c\"\n"),
        ("ENV A b=c\n", "ENV A=\"b=c\"\n"),
        // A space that is none to engines belongs to the value.
        ("LABEL a \u{a0}b\n", "LABEL a=\"\u{a0}b\"\n"),
        ("ARG A B=c\n", "ARG A\nARG B=\"c\"\n"),
        ("LABEL a.b=c \"d e\"='f'\n", "LABEL a.b=\"c\" \"d e\"=\"f\"\n"),
        (
            "COPY --chmod=755 stages/a/x\tstages/a/y /z/\n",
            "COPY --chmod=755 [\"stages/a/x\", \"stages/a/y\", \"/z/\"]\n",
        ),
        ("COPY [\"stages/a/b c\", \"/d\"]\n", "COPY [\"\\\"stages/a/b c\\\"\", \"/d\"]\n"),
        ("COPY stages/a/$X/*.conf /d\n", "COPY [\"stages/a/${X}/*.conf\", \"/d\"]\n"),
        ("CMD a b\n", "CMD [\"/bin/sh\", \"-c\", \"a b\"]\n"),
        ("USER \"$X\"\nWORKDIR /a b\n", "USER ${X}\nWORKDIR \"/a b\"\n"),
        ("EXPOSE 80/tcp $P\n", "EXPOSE 80/tcp ${P}\n"),
        (
            "RUN --mount=DST=/c,TYPE=Cache,ro --mount=src=stages/a/x,target=/y a\n",
            "RUN --mount=type=cache,id=/c,target=/c,ro --mount=type=bind,source=stages/a/x,target=/y a\n",
        ),
    ] {
        assert_eq!(written(text), expected, "{text}");
    }
}

#[test]
fn heredocs_are_written_as_every_engine_reads_them() {
    let text = "RUN <<EOF\nset -eu\n# \"quoted\" \\\n\n\techo a\nEOF\nRUN b\n";
    let expected =
        "RUN [\"/bin/sh\", \"-c\", \"set -eu\\n# \\\"quoted\\\" \\\\\\n\\n\\techo a\\n\"]\nRUN b\n";
    assert_eq!(written(text), expected);
    let text = "SHELL [\"/bin/bash\", \"-ec\"]\nRUN --network=none cat <<'A' <<-B \\\n  # c\n  > /x\na\nA\n\tb\n\tB\n";
    let list = r#"["/bin/bash", "-ec", "cat <\u003c'A' <\u003c-B   > /x\na\nA\n\tb\nB"]"#;
    let expected = format!("SHELL [\"/bin/bash\", \"-ec\"]\nRUN --network=none {list}\n");
    assert_eq!(written(text), expected);
    let text = "RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n";
    assert!(
        written(text).contains("exec '/usr/bin/env' 'python3' /dev/shm/pib-heredoc\", \"sh\", \"#!/usr"),
        "{}",
        written(text)
    );
    assert_eq!(written("RUN echo $((1<<2))\n"), "RUN [\"/bin/sh\", \"-c\", \"echo $((1<\\u003c2))\"]\n");
    let copied = "COPY --chmod=0600 <<EOF <<'B' stages/a/x /etc/\na b\nEOF\n$c\nB\nRUN d\n";
    let list = "[\"heredoc/EOF\", \"heredoc/B\", \"stages/a/x\", \"/etc/\"]";
    let part = check("p", copied).unwrap();
    let line = part.lines(&part.steps[0], &Alone(&part));
    assert_eq!(line[0].text(), format!("COPY --chmod=0600 {list}"));
    assert_eq!((&*part.files[0].content, &*part.files[1].content), ("a b\n", "$c\n"));
    assert_eq!((part.copies.len(), part.steps[1].line), (1, 6));
    assert!(fails("COPY <<EOF /x\n$A\nEOF\n").advice().unwrap().contains("<<'EOF'"));
    assert!(fails("RUN <<\"RUN true\"\nFROM x\nRUN true\n").to_string().contains("plain word"));
    let huge = format!("RUN <<EOF\n{}EOF\n", "echo a\n".repeat(20_000));
    assert!(fails(&huge).to_string().contains("128 KiB"));
    let long = format!("RUN <<EOF\n{}EOF\n", "echo a\n".repeat(9_000));
    assert!(fails(&long).to_string().contains("63,000 bytes"));
    let long = format!("RUN a{}\n", " \\\n && a".repeat(12_000));
    assert!(fails(&long).to_string().contains("63,000 bytes"));
    // A file has no such bounds.
    assert!(check("p", &format!("COPY <<EOF /x\n{}\nEOF\n", "a".repeat(200_000))).is_ok());
}

/// What engines read in another way than a reader expects, by their documents and sources.
#[test]
fn what_hides_from_a_reader_is_refused_at_its_place() {
    for (text, place, what) in [
        // Fields of mounts: engines do not mind capitals, and take the last of two.
        ("RUN --mount=type=tmpfs,type=secret,id=a.b,target=/x a\n", "type=secret", "`type` twice"),
        ("RUN --mount=from=s0,from=evil:1,target=/x a\n", "from=evil:1", "`from` twice"),
        ("RUN --mount=from=s0,FROM=evil:1,target=/x a\n", "FROM=evil:1", "`from` twice"),
        ("RUN --mount=source=stages/a,src=stages/b,target=/x a\n", "src=stages/b", "`source` twice"),
        ("RUN --mount=type=secret,id=a.b,source=c.d a\n", "c.d", "both `id` and `source`"),
        ("RUN --mount=type=$T,id=a.b a\n", "--mount=type=$T,id=a.b", "a variable in --mount"),
        ("RUN --mount=type=volume,target=/x a\n", "volume", "unknown type"),
        (
            "RUN --mount=type=cache,id=pib.packages.other.debian,target=/x a\n",
            "pib.packages.other.debian",
            "pib's own",
        ),
        ("RUN --mount=type=bind,,target=/x a\n", "", "unknown field"),
        // Options.
        ("COPY --from=a:1 --from=b:1 /x /y\n", "--from=b:1", "--from twice"),
        ("COPY --FROM=a:1 /x /y\n", "--FROM=a:1", "unknown option"),
        ("ENV --x A=b\n", "--x", "unknown option"),
        ("COPY --chmod=$X stages/a/x /y\n", "--chmod=$X", "a variable in --chmod"),
        // Heredocs that would get lost.
        ("COPY --from=a /x <<EOF /y/\nb\nEOF\n", "<<EOF", "--from and a heredoc"),
        ("COPY stages/a/x <<EOF\nb\nEOF\n", "<<EOF", "no source"),
        ("ADD a\u{a0}<<EOF /y\nb\nEOF\n", "<<EOF", "no source"),
        // Names of variables, which engines put values into, too.
        ("ENV $X=1\n", "$X=1", "no variable's name"),
        ("ENV \"A\"=1\n", "\"A\"=1", "no variable's name"),
        ("ENV P\\ATH=1\n", "P\\ATH=1", "no variable's name"),
        ("ARG \"X\"=1\n", "\"X\"=1", "no variable's name"),
        ("ARG X${Y}\n", "X${Y}", "no variable's name"),
        ("LABEL $X=1\n", "$X", "name has a variable"),
        ("LABEL \"a b\" c\n", "\"a b\"", "name has a space"),
        ("LABEL a\\ b c\n", "a\\ b", "name has a space"),
        ("ENV 'a\tb' c\n", "'a\tb'", "name has a space"),
        ("ENV A\u{a0}b c\n", "A", "no value"),
        // Words.
        ("ENV A='b\\' C=d\n", "ENV", "single quotes"),
        ("ENV A='b\n", "'b", "single quote"),
        ("ENV A ${B:?c}\n", "${B:", "do not read alike"),
        ("ENV A=$1\n", "$1", "shell's own"),
        ("COPY \"stages/a/b c\" /x\n", "\"stages/a/b", "double quote"),
        ("COPY stages/a/b\\ c /x\n", "\\", "ends in a backslash"),
        ("WORKDIR ${X%a}\n", "${X%", "do not read alike"),
        ("EXPOSE \"80 90\"\n", "\"80", "double quote"),
        ("MAINTAINER --me x\n", "--me", "unknown option"),
        ("COPY --from=a\u{a0}b /x /y\n", "--from=a\u{a0}b", "letters beyond ASCII"),
        ("COPY --from=a#b:1 /x /y\n", "a#b:1", "plainly"),
    ] {
        let error = fails(text);
        assert!(error.to_string().contains(what) && error.advice().is_some(), "{text:?}: {error}");
        assert_eq!(&text[error.span().unwrap()], place, "{text:?}: {error}");
    }
}

#[test]
fn what_a_part_leaves_is_known() {
    let part =
        check("p", "ENV A=\"b c\" D='e'\nUSER pi\nWORKDIR /x\nSHELL [\"/bin/bash\", \"-c\"]\n").unwrap();
    let left = &part.leaves;
    assert!(left.user && left.workdir);
    assert_eq!(left.shell.as_deref().unwrap(), ["/bin/bash", "-c"]);
    let value = |env: &Assignment| env.value.clone().unwrap().text().unwrap().to_owned();
    let env: Vec<_> = left.env.iter().map(|env| (&*env.name, value(env))).collect();
    assert_eq!(env, [("A", "b c".to_owned()), ("D", "e".to_owned())]);
    assert!(part.check_exports(&Exports::All).is_ok());
    let error = part.check_exports(&Exports::Names(vec!["A".to_owned()])).unwrap_err();
    assert!(error.advice().unwrap().contains("exports = [\"D\"]"), "{error}");
}

#[test]
fn secrets_are_known_and_mounted() {
    let text = "RUN --network=none --mount=type=secret,id=net.pass \\\n  --mount=type=cache,id=x,target=/c true\n\
                RUN --mount=id=net.pass,target=/p,type=secret true\n";
    let part = check("p", text).unwrap();
    let mounts: Vec<_> = part.secrets.iter().map(|mount| (mount.id.as_str(), mount.placed)).collect();
    assert_eq!(mounts, [("net.pass", false), ("net.pass", true)]);
    assert_eq!(&text[part.secrets[1].span.clone()], "net.pass");
    let schema = |text: &str| toml::from_str::<ConfigSchema>(text).unwrap();
    let pass = schema("pass = { type = 'secret' }");
    assert!(part.check_secrets("net", &pass).is_ok());
    let error = part.check_secrets("ne", &pass).unwrap_err();
    assert_eq!((error.advice(), &text[error.span().unwrap()]), (Some("Did you mean `ne.pass`?"), "net.pass"));
    let error = part.check_secrets("net", &schema("pass = { type = 'string' }")).unwrap_err();
    assert!(error.advice().unwrap().contains("type = \"secret\""), "{error:?}");
    let two = schema("pass = { type = 'secret' }\nkey = { type = 'secret' }");
    let error = part.check_secrets("net", &two).unwrap_err();
    assert!(error.to_string().contains("never mounts the secret `net.key`"), "{error}");
}

#[test]
fn missing_files_and_files_of_nobody_are_named() {
    let part = check("p", "COPY stages/a/x /x\nCOPY --from=other /y /y\nCOPY stages/a/*.conf /\n").unwrap();
    assert!(part.check_copies("a", Some(&[]), |path| path == "stages/a/x").is_ok());
    let error = part.check_copies("a", Some(&[]), |_| false).unwrap_err();
    assert!(error.to_string().contains("copies `stages/a/x`, which stage `a` does not have"), "{error}");
    assert!(part.check_copies("b", Some(&[]), |_| false).is_ok(), "another stage's files are not known here");
    for text in [
        "COPY . /x\n",
        "ADD * /\n",
        "RUN --mount=type=bind,target=/c true\n",
        "RUN --mount=source=x,target=/c true\n",
    ] {
        let error = check("p", text).unwrap().check_copies("a", None, |_| true).unwrap_err();
        assert!(error.to_string().contains("not below stages/"), "{text}: {error}");
    }
}

#[test]
fn the_places_of_all_mounts_are_told() {
    let text = "RUN --mount=type=tmpfs,target=/a/b/ --network=none \\\n  --mount=dst=/c,type=cache true\n\
                RUN --mount=type=bind,from=x,source=/s,destination=/d echo --mount=type=tmpfs,target=/no\n\
                RUN --mount=type=tmpfs,target=rel --mount=type=tmpfs,target=/x/../y --mount=type=tmpfs,target=/ true\n\
                RUN --mount=type=secret,id=os.key cat /run/secrets/os.key\n";
    let part = check("p", text).unwrap();
    assert_eq!(part.mount_points, ["a/b", "c", "d"].map(str::to_owned).into());
}
