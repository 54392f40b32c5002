//! What a hook that has changed builds again: what it answers decides, not its bytes.

use pib_plan::id::Digest;

use super::{Loop, nonce, stages};
use crate::guests;

const HOOKED: &str = "[order]\nafter = [\"mine\"]\n[hook]\ncomponent = \"hook.wasm\"\n";

#[test]
fn a_hook_builds_again_what_it_answers_differently_and_what_comes_after() {
    let project = Loop::new("dailyhooks", "RUN true\n");
    project.stage("mine", "", &format!("RUN : {}\n", nonce()));
    project.stage("hooked", HOOKED, "COPY stages/hooked/motd /motd\n");
    project.stage("late", "[order]\nafter = [\"hooked\"]\n", "RUN cp /motd /late\n");
    let hook = |component: &[u8]| project.write("stages/hooked/hook.wasm", component);
    let build = || project.executed(&["--until", "late"]);
    let locked = |component: &[u8]| {
        let lock = std::fs::read_to_string(project.world.path(project.name).join("pib.lock")).unwrap();
        lock.contains(&Digest::of(component).to_string())
    };
    hook(&guests::writer("motd", &nonce()));
    project.run(&["add", "--path", "stages/hooked"]);
    project.run(&["add", "--path", "stages/late"]);
    let first = build();
    assert!(["mine", "hooked", "late"].iter().all(|name| stages(&first).contains(name)), "{first:?}");
    assert_eq!(build(), [""; 0]);

    // Another file: from the hook's stage on.
    let answer = nonce();
    let mut component = guests::writer("motd", &answer);
    hook(&component);
    assert!(project.run(&["plan"]).contains("to build: stages/hooked/motd changed"));
    assert_eq!(stages(&build()), ["hooked", "late"]);
    assert_eq!(project.run(&["run", "--at", "late", "--", "cat", "/late"]), answer);

    // Other bytes, the same answer: a custom section, such as a compiler writes its name into.
    component.extend(*b"\0\x05\x04note");
    hook(&component);
    // All but the clean-up, which no build here has reached.
    assert_eq!(project.run(&["plan"]).matches("  built").count(), 4);
    assert_eq!(build(), [""; 0]);
    assert!(locked(&component), "the component that answered is the one in the lock");

    // Another part.
    let component = guests::part(&format!("RUN echo {} > /motd\n", nonce()));
    hook(&component);
    assert!(project.run(&["plan"]).contains("its part changed"));
    assert_eq!(stages(&build()), ["hooked", "late"]);
    assert!(locked(&component));
}
