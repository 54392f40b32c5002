//! A repository behind a real ssh server, reached with a key of a real agent.

use crate::bench::{Bench, PROJECT, Ran};
use crate::forge::Repo;
use crate::sshd::{Agent, Server};

#[test]
fn a_stage_comes_from_a_real_server_by_the_key_of_the_agent() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::new(PROJECT);
    let repo = Repo::new(&bench.folder.path().join("repos/kvm"));
    repo.stage("", "kvm", "1.0.0");
    let commit = repo.commit();
    let run = |agent: &Agent, args: &[&str]| -> Ran {
        let environment = server.environment(agent);
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        bench.run_with(&[&["--json"], args].concat(), &environment)
    };
    let url = server.address(&repo.folder);
    let (me, other) = (server.agent("me"), server.agent("other"));
    let before = bench.files();
    let fails = |agent: &Agent, url: &str, says: &[&str]| {
        let ran = run(agent, &["add", "--git", url]);
        assert_eq!(ran.code, Some(8), "{}", ran.errors);
        let trial = format!("ssh -T -p {} tester@127.0.0.1", server.port);
        for words in says.iter().copied().chain(["ssh to tester@127.0.0.1 failed", &trial]) {
            assert!(ran.errors.contains(words), "no `{words}` in: {}", ran.errors);
        }
        assert_eq!(bench.files(), before);
    };
    fails(&other, &url, &["Permission denied (publickey)", "takes none of your keys", "ssh-add"]);
    server.knows(None);
    fails(&me, &url, &["Host key verification failed", "does not know the server's key"]);
    server.knows(Some("other"));
    fails(&me, &url, &["Host key verification failed", "knows another one"]);
    server.knows(Some("host"));
    fails(&me, &format!("{url}-x"), &["does not appear to be a git repository", "may read the repository"]);

    let added = run(&me, &["add", "--git", &url]);
    assert_eq!(added.code, Some(0), "{}", added.errors);
    let lock = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    assert!(
        lock.contains(&format!("source = \"git+{}", server.address(&repo.folder))) && lock.contains(&commit)
    );
    // What was fetched needs the server no more, and what is new there comes over the same way.
    drop(other);
    repo.stage("", "kvm", "2.0.0");
    repo.commit();
    assert_eq!(bench.run(&["plan", "--frozen"]).code, Some(0));
    let updated = run(&me, &["update", "kvm"]);
    assert!(updated.out.contains("1.0.0 -> 2.0.0"), "{}{}", updated.out, updated.errors);
}
