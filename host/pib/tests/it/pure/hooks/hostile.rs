//! What a stranger's hook can try. Each ends within its limit, with an error that names stage and hook, and takes no
//! more memory than a hook may have.

use super::{bench, flat, limits, measure};
use crate::guests::{self, FINE, SAME, guest};

const WHO: &str = "the hook `hook.wasm` of stage `mine` 1.0.0";

/// Runs a hook that must fail with these words.
#[track_caller]
fn fails(case: &str, component: &[u8], set: &str, say: &[&str]) {
    let bench = bench(component);
    if !set.is_empty() {
        limits(&bench, set);
    }
    let measured = measure(&bench, &["plan"]);
    measured.is_bounded(case);
    let errors = flat(&measured.ran.errors);
    assert_eq!(measured.ran.code, Some(3), "{case}: {errors}");
    for part in say {
        assert!(errors.contains(part), "{case}: no `{part}` in:\n{}", measured.ran.errors);
    }
    assert!(!bench.path("pib.lock").exists(), "{case}: what cannot be built is not locked");
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let component = guest(2, "", "(loop $for (br $for)) (i32.const 0)", SAME);
    fails(
        "endless loop, the defaults",
        &component,
        // Fuel is what ends it, also where many tests run at once: the clock leaves it ten times what it needs.
        "",
        &[WHO, "used up its 2000000000 units of fuel while it judged the config", "validate", "raise `fuel`"],
    );
    fails("endless loop, less fuel", &component, "fuel = 1_000_000", &[WHO, "its 1000000 units of fuel"]);
}

#[test]
fn an_endless_loop_with_all_fuel_runs_out_of_time() {
    let component = guest(2, "", FINE, "(loop $for (br $for)) (i32.const 0)");
    fails(
        "endless loop, the clock",
        &component,
        "fuel = 1_000_000_000_000_000\nseconds = 2",
        &[WHO, "took longer than 2 seconds while it rendered the part", "raise `seconds`"],
    );
}

#[test]
fn endless_recursion_runs_out_of_stack() {
    let rest = "(func $down (param i32) (result i32) (i32.add (call $down (local.get 0)) (i32.const 1)))";
    let component = guest(2, rest, "(call $down (i32.const 0))", SAME);
    fails(
        "endless recursion",
        &component,
        "",
        &[WHO, "used up its stack of 512KiB", "down", "raise `stack`"],
    );
    // The thread's own stack grows with what the user allows.
    fails(
        "endless recursion, 64 MiB of stack",
        &component,
        "stack = \"64MiB\"",
        &[WHO, "its stack of 64MiB"],
    );
}

#[test]
fn four_gibibytes_are_not_there() {
    let rest = "(func $want (if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then unreachable)))";
    let component = guest(2, rest, &format!("(call $want) {FINE}"), SAME);
    fails(
        "4 GiB, asked for",
        &component,
        "",
        &[WHO, "asked for more than its 256MiB of memory", "raise `memory`"],
    );
    let step = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let touch = "(loop $more (local.set 1 (memory.grow (i32.const 16)))
        (if (i32.eq (local.get 1) (i32.const -1)) (then unreachable))
        (memory.fill (i32.shl (local.get 1) (i32.const 16)) (i32.const 1) (i32.const 1048576)) (br $more))";
    fails("memory by and by", &guest(2, "", step, SAME), "", &[WHO, "asked for more than its 256MiB"]);
    let component =
        guest(2, &format!("(func $eat (local i32 i32) {touch})"), "(call $eat) (i32.const 0)", SAME);
    fails("memory by and by, and used", &component, "memory = \"64MiB\"", &[WHO, "more than its 64MiB"]);
    fails(
        "4 GiB from the start",
        &guest(65_536, "", FINE, SAME),
        "",
        &[WHO, "asked for more than its 256MiB"],
    );
}

#[test]
fn a_gibibyte_of_output_is_not_taken() {
    // 64 files that all have the same 16 MiB of the guest's memory as their content.
    let render = "(local $at i32)
        (local.set $at (i32.const 4096))
        (loop $next
          (i32.store offset=12 (local.get $at) (i32.const 16777216))
          (local.set $at (i32.add (local.get $at) (i32.const 20)))
          (br_if $next (i32.lt_u (local.get $at) (i32.const 5376))))
        (call $same (local.get 0) (i32.const 4096) (i32.const 64))";
    let component = guest(257, "", FINE, render);
    fails("1 GiB of files", &component, "", &[WHO, "answered with more than 16MiB", "rendered the part"]);
    let render = "(call $rendered (i32.const 0) (i32.const 134217728) (i32.const 0) (i32.const 0))";
    fails("a part of 128 MiB", &guest(2049, "", FINE, render), "", &[WHO, "answered with more than 16MiB"]);
    let render = "(call $rendered (i32.const 1048576) (i32.const 2097152) (i32.const 0) (i32.const 0))";
    fails("a part of 2 MiB", &guest(64, "", FINE, render), "", &[WHO, "the part has 2MiB"]);
    let render = "(call $same (local.get 0) (i32.const 1048576) (i32.const 2000))";
    fails("2000 files", &guest(64, "", FINE, render), "", &[WHO, "2000 files", "raise `files`"]);
}

#[test]
fn a_million_diagnostics_are_too_many() {
    let million = "(call $list (i32.const 65536) (i32.const 1000000))";
    let component = guest(700, "", million, SAME);
    fails("a million diagnostics", &component, "", &[WHO, "answered with more than 16MiB"]);
    let component = guest(2, "", "(call $list (i32.const 4096) (i32.const 1000))", SAME);
    fails("1000 diagnostics", &component, "", &[WHO, "1000 diagnostics, and 100 are the most"]);
}

#[test]
fn a_flood_of_log_lines_is_cut_and_costs_fuel() {
    // Each line has 60,000 bytes; what is too much for the log is not an error, but it is not free.
    let flood =
        "(loop $for (call $log (i32.const 1) (i32.const 4096) (i32.const 60000)) (br $for)) (i32.const 0)";
    fails(
        "endless log",
        &guest(2, "", flood, SAME),
        "fuel = 100_000_000",
        &[WHO, "used up its 100000000 units of fuel"],
    );
    let some = "(local $left i32) (local.set $left (i32.const 5000))
        (loop $for (call $log (i32.const 1) (i32.const 4096) (i32.const 1))
          (br_if $for (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (call $list (i32.const 0) (i32.const 0))";
    let rest = "(data (i32.const 4096) \"x\")";
    let bench = bench(&guest(2, rest, some, SAME));
    let ran = bench.run(&["plan", "--verbose"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(
        ran.errors.contains("mine hook, info: x") && ran.errors.contains("(4000 more lines are not shown)")
    );
    assert!(ran.errors.lines().count() < 1_100);
}

#[test]
fn rendered_paths_stay_in_the_stages_folder() {
    for (path, why) in [
        ("../../../etc/passwd", "an empty part, `.` or `..`"),
        ("a/../../b", "an empty part, `.` or `..`"),
        ("/etc/passwd", "empty or absolute"),
        ("", "empty or absolute"),
        ("a//b", "an empty part"),
    ] {
        fails(
            &format!("the path `{path}`"),
            &guests::writer(path, "x"),
            "",
            &[WHO, &format!("the file `{path}`"), why],
        );
    }
    let bench = bench(&guests::writer("files/motd", "x"));
    bench.write("stages/mine/files/motd", "own");
    bench.fails(
        &["plan"],
        3,
        &[WHO, "rendered a file that the stage has already", "`files/motd` is there twice"],
    );
}

#[test]
fn text_that_is_no_utf_8_breaks_the_interface() {
    let rest = "(data (i32.const 1100) \"\\01\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\08\\00\\00\\02\\00\\00\\00\")
        (data (i32.const 2048) \"\\ff\\fe\")";
    let component = guest(2, rest, "(call $list (i32.const 1100) (i32.const 1))", SAME);
    fails("a message that is no UTF-8", &component, "", &[WHO, "broke the interface (invalid utf-8"]);
    let log = format!("(call $log (i32.const 1) (i32.const 2048) (i32.const 2)) {FINE}");
    fails(
        "a log that is no UTF-8",
        &guest(2, rest, &log, SAME),
        "",
        &[WHO, "broke the interface (invalid utf-8"],
    );
    let beyond = "(call $list (i32.const 1100) (i32.const 536870911))";
    fails("a list beyond the memory", &guest(2, "", beyond, SAME), "", &[WHO, "broke the interface"]);
}

#[test]
fn a_rendered_part_is_a_part_like_any_other() {
    fails(
        "a part with FROM",
        &guests::part("FROM scratch\nRUN true\n"),
        "",
        &["the part `mine/Dockerfile.part, as its hook `hook.wasm` renders it` has a FROM of its own"],
    );
    fails(
        "a part with nonsense",
        &guests::part("RNU true\n"),
        "",
        &["the part `mine/", "hook.wasm", "the unknown instruction `RNU`"],
    );
    fails("an empty part", &guests::part(""), "", &["the part `mine/", "hook.wasm", "has no instruction"]);
}

#[test]
fn a_trap_shows_the_guests_backtrace_and_last_words() {
    let rest = "(data (i32.const 4096) \"panicked: no key\\1b[31m\")
        (func $check_keys (call $log (i32.const 3) (i32.const 4096) (i32.const 21)) unreachable)";
    fails(
        "a trap in validate",
        &guest(2, rest, "(call $check_keys) (i32.const 0)", SAME),
        "",
        &[
            WHO,
            "trapped (wasm `unreachable` instruction executed) while it judged the config",
            "check_keys",
            "validate",
            "panicked: no key",
        ],
    );
}

#[test]
fn what_is_no_hook_is_told_from_what_is_one() {
    fails(
        "a core module",
        &wat::parse_str("(module)").unwrap(),
        "",
        &["mine", "hook.wasm", "a core WASM module"],
    );
    let whole = guests::harmless();
    let half = &whole[..whole.len() / 2];
    fails("a truncated file", half, "", &["mine", "hook.wasm", "damaged or truncated WASM component"]);
    fails("no WASM", b"#!/bin/sh\nexit 0\n", "", &["mine", "hook.wasm", "not a WASM component"]);
    fails("an empty file", b"", "", &["mine", "hook.wasm", "not a WASM component"]);
    fails(
        "WASI sockets",
        &guests::shell("wasi:sockets/network@0.2.0", "0.1.0"),
        "",
        &["mine", "hook.wasm", "it imports `wasi:sockets/network@0.2.0`", "no file system, network"],
    );
    fails(
        "a later interface",
        &guests::shell("pib:stage/host@0.2.0", "0.2.0"),
        "",
        &["mine", "hook.wasm", "it is made for `pib:stage@0.2.0`", "Use pib 0.2.0 or newer"],
    );
    fails(
        "an interface without functions",
        &guests::shell("pib:stage/host@0.1.0", "0.1.0"),
        "",
        &[WHO, "cannot be used"],
    );
    fails(
        "a large component",
        &whole,
        "component = \"100B\"",
        &[WHO, "larger than 100B", "raise `component`"],
    );
}

#[test]
fn a_hook_that_says_no_gives_its_reason() {
    let rest = "(data (i32.const 2048) \"there is no card for this board\")";
    let render = "(i32.store (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 1032) (i32.const 31)) (i32.const 1024)";
    let component = guest(2, rest, FINE, render);
    fails(
        "an error from render",
        &component,
        "",
        &[WHO, "could not render the part: there is no card for this"],
    );
}
