//! Small makefiles, and what they mean.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn read_with(text: &str, given: &[(&str, &str)], goal: Option<&str>) -> Makefile {
    let given: BTreeMap<String, String> =
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut files = |name: &str| match name {
        "Makefile" => Some(text.to_owned()),
        "config.mk" => Some("BOARD = rpi3\n".to_owned()),
        "again.mk" => Some("include again.mk\n".to_owned()),
        _ => None,
    };
    read(&mut files, "Makefile", &given, goal)
}

fn value(text: &str, name: &str) -> String {
    read_with(text, &[], None).value(name).unwrap_or_default()
}

fn notes(text: &str) -> Vec<String> {
    let mut makefile = read_with(text, &[], None);
    let names: Vec<String> = makefile.names().map(str::to_owned).collect();
    names.iter().for_each(|name| drop(makefile.value(name)));
    makefile.notes().iter().map(|note| format!("{}:{}: {}", note.file, note.line, note.text)).collect()
}

#[test]
fn assignments() {
    assert_eq!(value("A = 1\nB = $(A) 2\nA = 3\n", "B"), "3 2");
    assert_eq!(value("A = 1\nB := $(A) 2\nA = 3\n", "B"), "1 2");
    assert_eq!(value("A = 1\nA ?= 2\nB ?= x # why\n", "B"), "x");
    assert_eq!(value("A = 1\nA += $(B)\nB = 2\n", "A"), "1 2");
    assert_eq!(value("A = one \\\n   two\\\n three\n", "A"), "one two three");
    assert_eq!(value("export A ?= a\\#b\n", "A"), "a#b");
    assert_eq!(value("define A\none\ntwo\nendef\nB = 1\n", "A"), "one\ntwo");
    assert_eq!(value("-include config.mk\n-include none.mk\nBOARD ?= rpi4\n", "BOARD"), "rpi3");
    assert_eq!(value("A = a$$b ${B}\nB = x$C\nC = y\n", "A"), "a$b xy");
    assert_eq!(
        read_with("A = 1\noverride B = 2\n", &[("A", "9"), ("B", "9")], None).value("A").unwrap(),
        "9"
    );
}

#[test]
fn conditionals() {
    let text =
        "OS ?= arch\nifeq ($(OS),arch)\nA = 1\nelse ifeq '$(OS)' 'raspios'\nA = 2\nelse\nA = 3\nendif\n";
    for (os, expected) in [("arch", "1"), ("raspios", "2"), ("debian", "3")] {
        assert_eq!(read_with(text, &[("OS", os)], None).value("A").unwrap(), expected);
    }
    assert_eq!(value("ifdef X\nA = 1\nelse\nA = 2\nendif\nifneq (a,b)\nA += 3\nendif\n", "A"), "2 3");
    assert_eq!(value("ifdef X\nifdef Y\nelse\nA = 1\nendif\nendif\n", "A"), "");
}

#[test]
fn functions_that_need_only_texts() {
    assert_eq!(value("A = $(filter-out ro,os ro x)\n", "A"), "os x");
    assert_eq!(value("A = $(if $(B),yes,no) $(or ,$(B),z) $(subst -,_,a-b)\n", "A"), "no z a_b");
    assert_eq!(value("A = $(patsubst %.c,%.o,a.c b) $(B:.x=.y)\nB = q.x\n", "A"), "a.o b q.y");
    assert_eq!(value("f = <$(1)-$(2)>\nA = $(call f,a,b)\n", "A"), "<a-b>");
}

#[test]
fn what_has_no_value_is_noted_and_never_run() {
    let noted = notes("A := $(shell touch /tmp/x)\nB != date\ninclude lost.mk\n");
    assert!(noted[0].contains("Makefile:1: $(shell ...) was not computed"), "{noted:?}");
    assert!(noted[1].contains("Makefile:2") && noted[2].contains("lost.mk"), "{noted:?}");
    // Also what is computed only once the whole makefile was read is told with its line.
    assert_eq!(
        notes("B = $(A)\nA = 1 $(shell date)\n"),
        ["Makefile:2: $(shell ...) was not computed, and has no value here"]
    );
    let mut makefile = read_with("all:\n\ttrue\n\t$(MAKE) x=$(shell date)\n", &[], None);
    assert_eq!(makefile.calls("all").len(), 1);
    assert!(makefile.notes().iter().all(|note| note.line == 3), "{:?}", makefile.notes());
    for name in ["$(HOME)", "${USER}"] {
        assert!(notes(&format!("A := {name}/x\n"))[0].contains("Makefile:1: $("), "{name}");
    }
    assert_eq!(notes("HOME = /x\nA := $(HOME) $(NO_SUCH) $$HOME\n"), [""; 0]);
    assert!(notes("A = $(B)\nB = $(A)\n").iter().any(|note| note.contains("refers to itself")));
    assert!(notes("include again.mk\n").iter().any(|note| note.contains("circle")));
    assert!(notes("ifeq (a\nendif\nendif\nA = $(B\n").len() > 2);
}

#[test]
fn rules_call_make_for_variants() {
    let text = "BOARD ?= rpi4\nkiosk:\n\t@ $(MAKE) os BOARD=rpi3 STAGES='a b' && echo done\nrpi2: BOARD=rpi2\nrpi2: os\n\
                os: one | two\n\t$(MAKE) -C builder os BUILD_OPTS=\"--build-arg A=$(BOARD)\" NC=$(NC)\n";
    let mut makefile = read_with(text, &[], None);
    let [kiosk] = &makefile.calls("kiosk")[..] else { panic!("one call") };
    assert_eq!((kiosk.goals.as_slice(), kiosk.variables["STAGES"].as_str()), (&["os".to_owned()][..], "a b"));
    let [os] = &makefile.calls("os")[..] else { panic!("one call") };
    assert_eq!(
        (os.folder.as_deref(), os.variables["BUILD_OPTS"].as_str()),
        (Some("builder"), "--build-arg A=rpi4")
    );
    assert_eq!(makefile.prerequisites("os"), ["one", "two"]);
    assert!(makefile.own_variables("rpi2").eq(["BOARD"]) && makefile.is_setting("BOARD"));
    assert_eq!(read_with(text, &[], Some("rpi2")).value("BOARD").unwrap(), "rpi2");
}

#[test]
fn values_that_grow_without_end_are_cut() {
    let mut text = "A0 = xxxxxxxxxxxxxxxx\n".to_owned();
    for at in 1..30 {
        text.push_str(&format!("A{at} = $(A{0})$(A{0})\n", at - 1));
    }
    let mut makefile = read_with(&text, &[], None);
    assert!(makefile.value("A29").unwrap().len() <= 512 << 10);
    assert!(!makefile.notes().is_empty());
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(text in "([a-c$(){}=:?+, \\n\\t#\\\\]|ifeq|endif|define|endef|include|\\$\\(shell )*") {
        notes(&text);
    }
}
