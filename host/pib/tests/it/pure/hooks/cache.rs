//! The cache of compiled code and of answers: it is used, and a stranger's file in it is not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{bench, bounded_context, context};
use crate::bench::Bench;
use crate::guests;

fn folder(bench: &Bench) -> PathBuf {
    bench.path("../cache/hooks")
}

/// Returns the cache's files whose names begin like this.
fn files(bench: &Bench, prefix: &str) -> Vec<PathBuf> {
    let entries = folder(bench).read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect();
    found.sort();
    found
}

#[test]
fn a_poisoned_file_is_found_out_and_made_anew() {
    let bench = bench(&guests::writer("motd", "good"));
    assert_eq!(context(&bench)["stages/mine/motd"], "good");
    let (code, answer) = (files(&bench, "code-").remove(0), files(&bench, "answer-").remove(0));
    let (good_code, good_answer) = (std::fs::read(&code).unwrap(), std::fs::read(&answer).unwrap());
    let mut changed = good_code.clone();
    // Somewhere in the middle is machine code; one other byte of it would be run.
    let middle = changed.len() / 2;
    changed[middle] ^= 0xff;
    let poisons: [(&str, &[u8]); 4] = [
        ("one byte of code changed", &changed),
        ("half of the code", &good_code[..middle]),
        ("no code", b""),
        ("an answer in place of code", &good_answer),
    ];
    let made_anew = |case: &str| {
        std::fs::remove_file(&answer).unwrap();
        assert_eq!(bounded_context(&bench, case)["stages/mine/motd"], "good", "{case}");
        // What is kept now has been compiled anew.
        let now = std::fs::metadata(&code).unwrap().len();
        assert_eq!(now, good_code.len() as u64, "{case}: the poison is still there");
    };
    for (case, poison) in poisons {
        std::fs::write(&code, poison).unwrap();
        made_anew(case);
        assert!(std::fs::read(&code).unwrap() != poison, "{case}: the poison is still there");
    }
    let huge = std::fs::File::create(&code).unwrap();
    huge.set_len(8 << 30).unwrap();
    made_anew("8 GiB in place of code");
    let text = String::from_utf8_lossy(&good_answer).replace(&hex::encode("good"), &hex::encode("evil"));
    std::fs::write(&answer, text.as_bytes()).unwrap();
    let case = "another answer";
    assert_eq!(bounded_context(&bench, case)["stages/mine/motd"], "good", "{case}");
}

#[test]
fn a_file_that_another_user_sealed_is_not_believed() {
    let (mine, theirs) = (bench(&guests::writer("motd", "good")), bench(&guests::writer("motd", "good")));
    assert_eq!(context(&mine)["stages/mine/motd"], "good");
    assert_eq!(context(&theirs)["stages/mine/motd"], "good");
    let code = files(&mine, "code-").remove(0);
    let name = code.file_name().unwrap();
    std::fs::copy(folder(&theirs).join(name), &code).unwrap();
    let copied = std::fs::read(&code).unwrap();
    std::fs::remove_file(files(&mine, "answer-").remove(0)).unwrap();
    let case = "code with another user's seal";
    assert_eq!(bounded_context(&mine, case)["stages/mine/motd"], "good", "{case}");
    assert_ne!(std::fs::read(&code).unwrap(), copied);
}

#[test]
fn an_unsafe_folder_is_told_of_and_not_used() {
    let bench = bench(&guests::harmless());
    std::fs::create_dir_all(folder(&bench)).unwrap();
    std::fs::set_permissions(folder(&bench), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ran = bench.run(&["plan"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(ran.errors.contains("others can write it"), "{}", ran.errors);
    assert_eq!(folder(&bench).read_dir().unwrap().count(), 0);
}

#[test]
fn the_same_question_is_not_asked_again() {
    let rest = "(data (i32.const 4096) \"asked\")";
    let ask =
        "(call $log (i32.const 1) (i32.const 4096) (i32.const 5)) (call $list (i32.const 0) (i32.const 0))";
    let bench = bench(&guests::guest(2, rest, ask, guests::SAME));
    let asked = || {
        let ran = bench.run(&["plan", "--verbose"]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        ran.errors.contains("asked")
    };
    assert!(asked());
    assert!(!asked(), "nothing has changed");
    // What a hook is told, and what it may read, is part of the question.
    bench.write("stages/mine/file", "new");
    assert!(asked());
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &manifest.replace("timeout = 10", "timeout = 11"));
    assert!(asked());
    assert!(!asked());
}

#[test]
fn many_at_once_share_it() {
    let bench = bench(&guests::writer("motd", "good"));
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(|| bench.run(&["plan"]))).collect();
        for run in runs {
            let ran = run.join().unwrap();
            assert_eq!(ran.code, Some(0), "{}", ran.errors);
        }
    });
    assert_eq!((files(&bench, "code-").len(), files(&bench, "answer-").len()), (1, 1));
    assert_eq!(files(&bench, ".").len(), 0);
    let verified = bench.run(&["cache", "verify"]);
    assert!(verified.out.contains("things in the cache are whole"), "{}", verified.errors);
    std::fs::write(files(&bench, "code-").remove(0), "poison").unwrap();
    let verified = bench.run(&["cache", "verify"]);
    assert!(verified.out.contains("hooks/code-"), "{}", verified.out);
    assert_eq!(files(&bench, "code-").len(), 0);
}
