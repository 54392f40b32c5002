use super::*;

fn host(files: &[(&str, &str)]) -> HostApt {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join("etc/apt").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    HostApt::read(root.path())
}

fn text(url: &Option<Url>) -> &str {
    url.as_ref().map_or("", Url::as_str)
}

#[test]
fn one_line_sources_are_read() {
    let apt = host(&[(
        "sources.list",
        "# deb http://commented.example/debian trixie main\n\
         deb-src http://sources.example/debian trixie main\n\
         deb http://packages.example/tool/debian trixie main\n\
         deb [ arch=amd64 signed-by=/x.gpg ] http://mirror.example/debian/ trixie main contrib # near\n\
         deb http://mirror.example/debian-security trixie-security main\n",
    )]);
    assert_eq!(text(&apt.main), "http://mirror.example/debian");
    assert_eq!(text(&apt.security), "http://mirror.example/debian-security");
}

#[test]
fn deb822_sources_are_read() {
    let apt = host(&[
        (
            "sources.list.d/a.sources",
            "Types: deb\nURIs: https://vendor.example/debian\nSuites: bookworm\nComponents: stable\n",
        ),
        (
            "sources.list.d/debian.sources",
            "Types: deb deb-src\n# near\nURIs: cdrom:[x]/ https://near.example/pub/debian\nSuites: trixie trixie-updates\n\
             Components: main\n\nTypes: deb\nURIs: https://near.example/sec\nSuites: trixie-security\n\
             Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
        ),
    ]);
    assert_eq!(text(&apt.main), "https://near.example/pub/debian");
    assert_eq!(text(&apt.security), "https://near.example/sec");
}

#[test]
fn debians_own_hosts_win_and_disabled_sources_do_not_count() {
    let apt = host(&[
        (
            "sources.list",
            "deb http://other.example/debian trixie main\ndeb http://deb.debian.org/debian sid main",
        ),
        (
            "sources.list.d/x.sources",
            "Enabled: no\nTypes: deb\nURIs: http://ftp.debian.org/debian\nSuites: sid\nComponents: main",
        ),
    ]);
    assert_eq!(text(&apt.main), "http://deb.debian.org/debian");
}

#[test]
fn derivatives_and_other_vendors_do_not_count() {
    let apt = host(&[(
        "sources.list",
        "deb http://archive.ubuntu.com/ubuntu noble main\n\
         deb http://raspbian.raspberrypi.org/raspbian bookworm main\n\
         deb http://archive.raspberrypi.com/debian bookworm main\n\
         deb https://packages.example/zap/6/debian bookworm main\n\
         deb ftp://ftp.example/debian bookworm main\n\
         deb file:/srv/debian bookworm main\n\
         deb https://tool.example/debian tool main\n",
    )]);
    assert_eq!(apt, HostApt::default());
    assert_eq!(host(&[]), HostApt::default());
}

#[test]
fn what_apt_says_about_dates_is_kept() {
    let apt = host(&[
        ("apt.conf", "Acquire::Check-Date \"false\";"),
        ("apt.conf.d/10valid", "Acquire::Check-Valid-Until \"true\";\n"),
        ("apt.conf.d/99valid", "// x\nAcquire::check-valid-until \"no\" ;\n"),
        ("apt.conf.d/99valid.dpkg-old", "Acquire::Check-Valid-Until \"true\";\n"),
    ]);
    assert_eq!(apt.dates, DatePolicy { check_valid_until: false, check_date: false });
}

#[test]
fn the_projects_mirror_wins_then_the_hosts_then_the_default() {
    let url = |text: &str| Some(Url::parse(text).unwrap());
    let apt = HostApt {
        main: url("http://near.example/debian"),
        security: url("http://near.example/security"),
        dates: DatePolicy::default(),
        past: None,
    };
    let urls = |(main, security): (Mirror, Vec<Mirror>)| {
        let all = std::iter::once(main).chain(security);
        all.map(|mirror| mirror.url.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        urls(choose(Some("http://mine.example/x/debian/"), None, &apt).unwrap()),
        [
            "http://mine.example/x/debian",
            "http://mine.example/x/debian-security",
            "http://near.example/security",
            DEFAULT_SECURITY
        ]
    );
    assert_eq!(
        urls(choose(None, None, &apt).unwrap()),
        ["http://near.example/debian", "http://near.example/security", DEFAULT_SECURITY]
    );
    assert_eq!(urls(choose(None, None, &HostApt::default()).unwrap()), [DEFAULT, DEFAULT_SECURITY]);
    let own = choose(None, Some("http://mine.example/sec/"), &apt).unwrap();
    assert_eq!(urls(own), ["http://near.example/debian", "http://mine.example/sec"]);
    for bad in ["", "debian", "ftp://x/debian", "http://x/debian?a=b"] {
        assert!(choose(Some(bad), None, &apt).is_err(), "{bad}");
        assert!(choose(None, Some(bad), &apt).is_err(), "{bad}");
    }
}
