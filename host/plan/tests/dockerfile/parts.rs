//! Parts, from what people write to what hides something.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

/// An instruction as people write them, some across lines.
fn plain() -> impl Strategy<Value = String> {
    let simple = select(vec![
        "RUN true\n",
        "run a && b\n",
        "RUN a \\\n  # why\n\n  && b\n",
        "RUN a \\ \t\n#\\\n b\n",
        "RUN [\"a\", \"b\\u0041\\\\\"]\n",
        "RUN --mount=type=tmpfs,target=/t --network=none a\n",
        "RUN <<EOF\nset -eu\n# c\n\n  FROM x\\\n\"q\" 'r' $X\nEOF\n",
        "RUN cat <<-'A' <<B > /x \\\n # c\n && d\n\ta\n\tA\nFROM b\nB\n",
        "RUN <<EOF\n#!/bin/sh -e\nRUN b \\\nEOF\n",
        "RUN <<-E\n\t#!/bin/sh\n\ta\nE\n",
        "RUN echo $((1<<2)) \"<<EOF\"\n",
        "RUN a <<< b\n",
        "COPY <<EOF /x\nFROM a\nEOF\n",
        "COPY <<-'A' <<\"B\" /x/\n\t$c\n\tA\n# d\nB\n",
        "ENV A=\"b c\" \\\n  D=e\n",
        "ENV A b c\n",
        "ARG Y=1\n",
        "ARG X\n",
        "SHELL [\"/bin/bash\", \"-c\"]\n",
        "USER pi\n",
        "WORKDIR /x\n",
        "COPY stages/s0 /x\n",
        "COPY --from=s0 /a /b\n",
        "LABEL a=b \"c d\"='$e' \\\n  f=\"$X\"\n",
        "# FROM x\n",
        "ENV A=a\\ b B='$X' C=\"\\$X \\\"q\\\" \\n\" D=${X:-b c}\n",
        "ENV A=\"${X:-b c}\" B=${Y:+$X}x C=it\\'s\n",
        "ENV A $X \"b\" 'FROM x' \\\\ c\n",
        "ENV A=b\\\n  FROM=x \\\n# FROM y\n  RUN='z'\n",
        "ARG Y=\"$X\" Z='a b' W\n",
        "ARG FROM=x\n",
        "COPY [\"stages/s0/a b\", \"stages/s0/$X\", \"/x y/\"]\n",
        "COPY stages/s0/it\\'s stages/s0/*.[ch] $X/\n",
        "copy --chown=0:0 --chmod=755 stages/s0/\"a\" '/b'\n",
        "ADD https://example.org/f /f\n",
        "RUN --mount=TYPE=Tmpfs,DST=/t,size=1 --mount=type=bind,from=s0,src=/a,target=/b,ro a\n",
        "RUN [ -e /x ] || a\n",
        "RUN -- --a b\n",
        "RUN echo 'FROM x' \\\n  \"FROM y\" \\\n  FROM z\n",
        "RUN a # FROM x\n",
        "RUN a \\\n# FROM x \\\n# ONBUILD y\\\\\n  b\n",
        "RUN <<'FROM'\nFROM x\n FROM\nFROM\n",
        "RUN echo é \u{a0} \u{2003}x\n",
        "\tRuN\ta\t\\\t\n\tb\t\n",
        "CMD [\"a\", \"b\"]\n",
        "CMD a \"b\" $X\n",
        "EXPOSE 80 $X/tcp\n",
        "USER \"$X\"\n",
        "WORKDIR /a/$X/'b c'\n",
        "MAINTAINER me <a@b>\n",
        "# escape=\\\nRUN a\n",
        "# check=skip=all\n# x = y\nRUN a\n",
        "\n",
    ]);
    simple.prop_map(str::to_owned)
}

/// What does not look like one, in pieces.
const HOSTILE: &[&str] = &[
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV A=b",
    "FROM x AS s1\n",
    "ONBUILD RUN a\n",
    "VOLUME /x\n",
    "<<EOF",
    "<<-EOF",
    "<<'EOF'",
    "<<\\EOF",
    "3<<EOF",
    "<<\"E F\"",
    "EOF\n",
    "EOF",
    "\tEOF\n",
    "\n",
    "\n",
    "\\\n",
    "\\ \t\n",
    "\\\t\n",
    "\\\\\n",
    "\\\\\\\n",
    "\\",
    "#",
    "# c\n",
    "# c \\\n",
    " ",
    "\t",
    "\r",
    "\r\n",
    "\\\r\n",
    "\0",
    "\u{feff}",
    "\u{a0}",
    "\u{2028}",
    "\u{85}",
    "\u{b}",
    "\u{c}",
    "\u{3000}",
    "\u{200b}",
    "a",
    "b",
    "'",
    "\"",
    "$",
    "${",
    "}",
    "${A:-b c}",
    "`",
    "`\n",
    "[\"a\", \"b\"]",
    "[\"a\"",
    "]",
    "[ -e /x ]",
    "\\u0041",
    "--mount=type=tmpfs,target=/t ",
    "--mount=type=bind,from=s0,target=/y ",
    "--",
    "-- ",
    "# escape=`\n",
    "# syntax=x\n",
    "é",
    ";",
    "&&",
    "<",
    "<<",
    "<<<",
    ">",
    "/x ",
    "stages/s0/f ",
    "SHELL [\"/bin/bash\", \"-c\"]\n",
    "USER x\n",
    "RUN a\n",
    "ru",
    "n",
    "=",
    "ONBUILD FROM x AS s1\n",
    "FROM x AS s1 \\\n",
    "FROM",
    "LABEL ",
    "ARG ",
    "ENV ",
    "EXPOSE ",
    "USER ",
    "WORKDIR ",
    "CMD ",
    "A=",
    "X=",
    "\"X\"=",
    "$X",
    "${X}",
    "${X:-b}",
    "${X:+b c}",
    "${X:?b}",
    "${X%b}",
    "$1",
    "$$",
    "\\$",
    "\\'",
    "\\\"",
    "='",
    "=\"",
    "--FROM=s0 ",
    "--from=s0 ",
    "--mount=type=tmpfs,type=secret,id=s0.k,target=/t ",
    "--mount=TYPE=secret,ID=s0.k ",
    "--mount=from=s0,FROM=evil:1,target=/t ",
    "--chown=$X ",
    "--chmod=$X ",
    "\\\n# FROM x\n",
    "\\\n\n",
    "\\\n \t\n",
    "\\ \\\n",
    "\r\\\n",
    "\u{2003}",
    "\u{200f}",
    "<<FROM\n",
    "FROM\n",
    "oNbUiLd ",
];

fn hostile() -> impl Strategy<Value = String> {
    proptest::collection::vec(select(HOSTILE), 1..12).prop_map(|pieces| pieces.concat())
}

pub(crate) fn parts() -> impl Strategy<Value = Vec<String>> {
    let chunk =
        prop_oneof![9 => plain(), 1 => hostile(), 2 => hostile().prop_map(|text| format!("RUN a{text}\n"))];
    proptest::collection::vec(proptest::collection::vec(chunk, 1..4).prop_map(|chunks| chunks.concat()), 1..4)
}

/// Tells whether a part has something.
type IsIn = fn(&str) -> bool;

/// What people do not write, or engines do not read alike; each must be among what is generated.
const FEATURES: &[(&str, IsIn)] = &[
    ("a continued line", |text| text.contains("\\\n")),
    ("a continuation at the end of a part", |text| text.ends_with("\\\n") || text.ends_with('\\')),
    ("two backslashes at the end of a line", |text| text.contains("\\\\\n")),
    ("a comment in a continued line", |text| text.contains("\\\n#")),
    ("a heredoc", |text| text.contains("<<EOF\n")),
    ("a heredoc with tabs or quotes", |text| {
        text.contains("<<-") || text.contains("<<'") || text.contains("<<\"")
    }),
    ("a heredoc without an end", |text| text.contains("<<EOF") && !text.contains("\nEOF")),
    ("a carriage return", |text| text.contains('\r')),
    ("a NUL", |text| text.contains('\0')),
    ("a byte order mark", |text| text.contains('\u{feff}')),
    ("a directive at the start", |text| text.starts_with("# escape=") || text.starts_with("# syntax=")),
    ("an odd escape", |text| text.contains("\\u0041") || text.contains("<<\\") || text.contains('`')),
    ("a line break of Unicode", |text| text.contains(['\u{2028}', '\u{85}'])),
    ("a control character or space of Unicode", |text| {
        text.contains(['\u{b}', '\u{c}', '\u{a0}', '\u{3000}', '\u{200b}'])
    }),
    ("a FROM", |text| text.contains("FROM x AS s1")),
    ("a FROM in a continuation", |text| text.contains("\\\nFROM") || text.contains("\\\n# FROM")),
    ("a FROM in a heredoc", |text| text.contains("<<EOF\nFROM") || text.contains("<<'FROM'")),
    ("an ONBUILD", |text| text.to_uppercase().contains("ONBUILD ")),
    ("a variable in a word", |text| text.contains("${X") || text.contains("$X")),
    ("a quote without its end", |text| text.matches('"').count() % 2 == 1),
    ("fields of a mount twice or in capitals", |text| {
        text.contains("type=tmpfs,type") || text.contains("TYPE=") || text.contains(",FROM=")
    }),
    ("a keyword in lower case", |text| text.contains("run ") || text.contains("copy ")),
];

/// How many of the generated sets of parts have each feature, and of how many of these the parts were planned.
#[derive(Default)]
pub(crate) struct Features(pub(crate) BTreeMap<&'static str, (u32, u32)>);

impl Features {
    pub(crate) fn add(&mut self, parts: &[String], planned: bool) {
        for &(name, has) in FEATURES {
            let count = self.0.entry(name).or_default();
            if parts.iter().any(|part| has(part)) {
                count.0 += 1;
                count.1 += u32::from(planned);
            }
        }
    }

    /// Fails where a feature was hardly ever generated.
    pub(crate) fn judge(&self) {
        assert_eq!(self.0.len(), FEATURES.len(), "two features have one name");
        let rare: Vec<_> = self.0.iter().filter(|(_, (generated, _))| *generated < 20).collect();
        assert!(rare.is_empty(), "hardly ever generated: {rare:?}");
    }
}

/// Returns values of arguments, as config has them.
pub(crate) fn value() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "a", " ", "\"", "'", "\\", "$", "${", "}", "$X", "`", "#", "<<EOF", "[", "]", "=", "\u{a0}",
        "\u{2028}", "é", "FROM x", "\\n", "&&", ";",
    ];
    proptest::collection::vec(select(PIECES), 0..8).prop_map(|pieces| pieces.concat())
}
