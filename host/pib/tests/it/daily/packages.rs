//! Downloaded packages are kept between builds, and in no layer.

use super::{Loop, text};

const PART: &str = "RUN apt-get install --yes bc && ls /var/cache/apt/archives | grep -c 'deb$'\n";

/// Builds the stage anew, and returns what apt says of its downloads.
fn needs(project: &Loop, args: &[&str]) -> String {
    let args = [&["build", "--until", "mine", "--verbose", "--no-cache", "mine"], args].concat();
    let output = project.output(&args);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let line =
        said.lines().find_map(|line| line.split_once("Need to get ")).unwrap_or_else(|| panic!("{said}"));
    line.1.to_owned()
}

#[test]
fn a_stage_that_is_built_again_downloads_nothing() {
    // A name of its own: what an earlier run of the test left would make it pass.
    let name: &'static str = Box::leak(format!("dailydebs-{}", std::process::id()).into_boxed_str());
    let project = Loop::new(name, PART);
    let first = needs(&project, &[]);
    assert!(!first.starts_with("0 B"), "{first}");
    for args in [&[][..], &["--no-native"]] {
        let again = needs(&project, args);
        assert!(again.starts_with("0 B/"), "{args:?}: {again}");
        let layer = "ls -R /var/cache/apt/archives; ls -d /.pib";
        let left = text(&project.output(&["run", "--at", "mine", "--", "sh", "-c", layer]).stdout);
        assert!(!left.contains(".deb") && left.contains("archives"), "{left}");
    }
    // All stages anew keep them, too.
    let output = project.output(&["build", "--until", "mine", "--verbose", "--no-cache"]);
    assert!(text(&output.stderr).contains("Need to get 0 B/"), "{}", text(&output.stderr));
}
