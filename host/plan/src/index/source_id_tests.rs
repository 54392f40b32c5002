use super::*;
use proptest::prelude::*;

#[test]
fn texts_are_the_documented_ones() {
    let git =
        GitSource::new("https://example.org/kvm.git", GitReference::Tag("v3".into()), Some("stages/kvm"))
            .unwrap();
    assert_eq!(
        SourceId::from(git.clone()).to_string(),
        "git+https://example.org/kvm.git?tag=v3&path=stages/kvm"
    );
    let fixed = SourceId::from(git.clone().at_commit(&"a1".repeat(20)).unwrap());
    assert!(fixed.to_string().ends_with(&format!("#{}", "a1".repeat(20))));
    assert!(fixed.satisfies(&git.clone().into()));
    assert!(!SourceId::from(git).satisfies(&fixed));
    assert_eq!(SourceId::bundled().to_string(), "bundled");
    let without_slash = SourceId::registry("https://acme.example").unwrap();
    assert_eq!(without_slash.to_string(), "registry+https://acme.example/");
    assert_eq!(without_slash, SourceId::registry("https://acme.example//").unwrap());
}

#[test]
fn nonsense_is_refused() {
    for bad in
        ["", "https://x", "registry+", "registry+/", "git+", "path+", "git+u?x=1", "git+u?tag", "git+u#zz"]
    {
        assert!(bad.parse::<SourceId>().is_err(), "{bad}");
    }
    for bad in ["git+u?tag=%4", "git+u?tag=%zz", "git+u?tag=", "git+u?path=", "path+a\nb", "git+a b"] {
        assert!(bad.parse::<SourceId>().is_err(), "{bad}");
    }
}

#[test]
fn a_registry_has_no_user_and_no_message_has_one() {
    for url in [
        "https://me:hunter2@x.example/",
        "https://hunter2@x.example",
        "https://stages.example:hunter2@x.example/a@b",
        "https:/me:hunter2@x.example/",
        "HTTPS://me:hunter2@x.example/",
        "https://a b:hunter2@x.example/",
    ] {
        let error = SourceId::registry(url).unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("x.example"), "{error}");
        assert!(format!("registry+{url}").parse::<SourceId>().is_err());
    }
    let error = GitSource::new("https://me:hunter2@x.example/?", GitReference::Default, None).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(SourceId::registry("https://x.example/@me").is_ok());
}

fn any_source() -> impl Strategy<Value = SourceId> {
    let reference = prop_oneof![
        Just(GitReference::Default),
        "\\PC{1,12}".prop_map(GitReference::Branch),
        "\\PC{1,12}".prop_map(GitReference::Tag),
        "[ -~]{1,12}".prop_map(GitReference::Rev),
    ];
    let git = ("[a-z:/@.%~+=&-]{1,30}[a-z]", reference, proptest::option::of("\\PC{1,12}"), any::<bool>())
        .prop_map(|(url, reference, path, fixed)| {
            let git = GitSource::new(&url, reference, path.as_deref()).unwrap();
            if fixed { git.at_commit(&"0f".repeat(20)).unwrap() } else { git }.into()
        });
    prop_oneof![
        Just(SourceId::bundled()),
        "[!-~]{0,30}[a-z]/{0,2}".prop_filter_map("a user", |url| SourceId::registry(&url).ok()),
        "[ -~é]{1,30}".prop_map(|path| SourceId::path(&path).unwrap()),
        git,
    ]
}

proptest! {
    #[test]
    fn text_round_trips(source in any_source()) {
        prop_assert_eq!(source.to_string().parse::<SourceId>(), Ok(source.clone()));
        let json = serde_json::to_string(&source).unwrap();
        prop_assert_eq!(serde_json::from_str::<SourceId>(&json).unwrap(), source);
    }

    #[test]
    fn any_text_parses_or_is_refused(text in "(git\\+|path\\+|registry\\+)?\\PC{0,40}") {
        if let Ok(source) = text.parse::<SourceId>() {
            prop_assert_eq!(source.to_string().parse::<SourceId>(), Ok(source));
        }
    }
}

/// A token in the place of a user would stand in the lock, and be shown by every command.
#[test]
fn a_token_is_no_user_of_a_git_repository() {
    for url in ["https://ghp_hunter2@github.com/a/b.git", "http://github_pat_x@127.0.0.1/x"] {
        let error = GitSource::new(url, GitReference::Default, None).unwrap_err().to_string();
        assert!(error.contains("no token before the host") && !error.contains("hunter2"), "{error}");
    }
    assert!(GitSource::new("https://org@dev.example.org/x", GitReference::Default, None).is_ok());
}
