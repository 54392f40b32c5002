//! Bodies that come from elsewhere than the server that a part asked: other names, archives of the past, stores.

use futures_util::future::BoxFuture;
use pib_objects::Access;

use super::*;

/// Lists of the test: a line for each file, `NAME OTHER TEXT`.
struct TestLists;

impl Lists for TestLists {
    fn names(&self) -> &[&str] {
        &["List"]
    }

    fn listed(&self, list: &str, path: &str) -> Option<Listed> {
        let mut words = list.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let [_, other, text] = *words.find(|words| words[0] == path)? else { return None };
        let others = vec![other.to_owned()];
        Some(Listed { digest: Digest::of(text.as_bytes()), size: text.len() as u64, others })
    }

    /// Every list here is of `old` and of `new`.
    fn others(&self, _: &str, name: &str) -> Vec<String> {
        ["old", "new", "../../outside"].map(|folder| format!("../{folder}/{name}")).to_vec()
    }

    /// What the server has in `new` does not fit.
    fn fitting<'a>(&'a self, address: &'a str, place: &'a str) -> BoxFuture<'a, Option<String>> {
        assert!(address.starts_with(PUBLIC) && !place.starts_with(PUBLIC));
        Box::pin(std::future::ready(place.contains("/new/").then(|| place.replace("/new/", "/old/"))))
    }
}

#[tokio::test]
async fn a_list_that_nothing_fits_is_taken_by_its_other_name() {
    let world = World::new();
    let list = "a ../old/a right\n";
    world.server.set("new/List", [Answer::file("a ../old/a another\n")]);
    world.server.set("old/List", [Answer::file(list)]);
    world.server.set("new/a", [Answer::file("wrong")]);
    world.server.set("old/a", [Answer::file("right")]);
    let options = |recording, unknown| Options {
        lists: Some(Arc::new(TestLists)),
        ..world.options(recording, unknown)
    };
    let recorder = Recorder::new(options(Recording::default(), Unknown::Record)).unwrap();
    assert_eq!(get(&recorder, "new/List").await.1, list.as_bytes());
    assert_eq!(get(&recorder, "new/a").await.1, b"right");
    let recording = recorder.recording();
    let known: Vec<String> = recording.iter().map(|(asked, _)| asked.url.clone()).collect();
    assert_eq!(known, [format!("{PUBLIC}/new/List"), format!("{PUBLIC}/new/a")]);

    // Without the store, it is found by the other name again, and nothing outside of the folder is asked for.
    world.empty_store();
    let later = Recorder::new(options(recording.clone(), Unknown::Refuse)).unwrap();
    assert_eq!(later.fill(|_| ()).await, Vec::<String>::new());
    assert_eq!(get(&later, "new/a").await.1, b"right");
    assert!(world.server.asked().iter().all(|path| !path.contains("outside")));

    // A mirror that has it by its own name.
    world.server.set("new/List", [Answer::file(list)]);
    world.server.set("new/a", [Answer::file("right")]);
    for path in ["old/List", "old/a"] {
        world.server.set(path, [Answer::status("404 Not Found")]);
    }
    world.empty_store();
    let later = Recorder::new(options(recording.clone(), Unknown::Refuse)).unwrap();
    assert_eq!(later.fill(|_| ()).await, Vec::<String>::new());

    // One that has moved on by both names.
    world.server.set("new/List", [Answer::file("a ../old/a another\n")]);
    world.server.set("new/a", [Answer::file("another")]);
    world.empty_store();
    let later = Recorder::new(options(recording, Unknown::Refuse)).unwrap();
    let missing = later.fill(|_| ()).await;
    assert!(
        missing.len() == 2 && missing.iter().all(|text| text.contains("another file by now")),
        "{missing:?}"
    );
}

#[tokio::test]
async fn what_a_list_names_is_compared_before_a_part_gets_it() {
    let world = World::new();
    let list = "a/late x/late right\na/other x/other right\na/past x/past right\na/wrong x/wrong right\na/none x/none right\n";
    world.server.set("d/List", [Answer::file(list)]);
    let wrong = || [Answer::file("WRONG"), Answer::file("longer than that")];
    // The mirror is done after a while.
    world.server.set("d/a/late", [Answer::file("WRONG"), Answer::file("right")]);
    world.server.set("d/a/other", wrong());
    world.server.set("d/x/other", [Answer::file("right")]);
    world.server.set("d/a/past", wrong());
    world.server.set("past/d/a/past", [Answer::file("right")]);
    world.server.set("d/a/wrong", wrong());
    let mut options = world.options(Recording::default(), Unknown::Record);
    options.lists = Some(Arc::new(TestLists));
    options.past = vec![Past { public: PUBLIC.to_owned(), archive: world.server.url("past").to_string() }];
    let recorder = Recorder::new(options).unwrap();
    // What no list names yet is given as it is.
    assert_eq!(get(&recorder, "d/List").await.1, list.as_bytes());
    for path in ["late", "other", "past"] {
        assert_eq!(get(&recorder, &format!("d/a/{path}")).await.1, b"right", "{path}");
    }
    let (status, _) = get(&recorder, "d/a/wrong").await;
    assert!(status.contains(" 502 ") && status.contains("brought up to date"), "{status}");
    assert!(get(&recorder, "d/a/none").await.0.contains(" 404 "));
    assert_eq!(recorder.failed().len(), 1);
    let known: Vec<u16> = recorder.recording().iter().map(|(_, found)| found.status).collect();
    assert_eq!(known, [200, 200, 404, 200, 200]);
}

#[tokio::test]
async fn a_mirror_that_stays_out_of_step_is_waited_for_once() {
    let world = World::new();
    world
        .server
        .set("d/List", [Answer::file("a/one x/one right\na/two x/two right\na/three x/three right\n")]);
    for name in ["one", "two"] {
        world.server.set(&format!("d/a/{name}"), (0..9).map(|_| Answer::file("WRONG")));
    }
    world.server.set("d/a/three", [Answer::file("right")]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let report = {
        let told = told.clone();
        move |text: &str| told.lock().unwrap().push(text.to_owned())
    };
    let mut options = world.options(Recording::default(), Unknown::Record);
    options.lists = Some(Arc::new(TestLists));
    options.waiting = Some(Arc::new(report));
    let recorder = Recorder::new(options).unwrap();
    get(&recorder, "d/List").await;
    let asked = |path: &str| world.server.asked().iter().filter(|asked| asked.contains(path)).count();
    assert!(get(&recorder, "d/a/one").await.0.contains(" 502 "));
    assert_eq!(asked("d/a/one"), 3, "it is asked for again after each pause");
    // Nor is it refused without a question for longer than it would be waited for: here not at all.
    for _ in 0..2 {
        assert!(get(&recorder, "d/a/two").await.0.contains(" 502 "));
    }
    assert_eq!(asked("d/a/two"), 2, "what the same list names is not waited for again");
    assert_eq!(get(&recorder, "d/a/three").await.1, b"right");
    let mut patient = world.options(recorder.recording(), Unknown::Record);
    patient.lists = Some(Arc::new(TestLists));
    patient.pauses = vec![Duration::from_millis(1), Duration::from_secs(3)];
    let patient = Recorder::new(patient).unwrap();
    for (count, expected) in [(3, 5), (1, 5)] {
        for _ in 0..count {
            assert!(get(&patient, "d/a/two").await.0.contains(" 502 "));
        }
        assert_eq!(asked("d/a/two"), expected, "a file that was just refused is asked for again");
    }
    let told = told.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].contains("d/List names"), "{told:?}");
}

#[tokio::test]
async fn archives_of_the_past_have_what_mirrors_have_not() {
    let world = World::new();
    world.server.set("past/pool/a.deb", [Answer::file("old")]);
    world.server.set("past/dists/x", [Answer::file("old")]);
    let mut options = world.options(Recording::default(), Unknown::Record);
    let archive = world.server.url("past").to_string();
    options.past = vec![Past { public: PUBLIC.to_owned(), archive }];
    let recorder = Recorder::new(options).unwrap();
    assert_eq!(get(&recorder, "pool/a.deb").await.1, b"old");
    assert!(get(&recorder, "pool/b.deb").await.0.contains("404"));
    assert!(get(&recorder, "dists/x").await.0.contains("404"), "indexes are of the snapshot");
}

#[tokio::test]
async fn an_index_that_has_changed_is_found_in_the_past() {
    let world = World::new();
    world.server.set("dists/x", [Answer::file("old"), Answer::file("newer"), Answer::file("new")]);
    world.server.set("past/dists/x", [Answer::file("old")]);
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    assert_eq!(get(&recorder, "dists/x").await.1, b"old");
    for _ in ["of another size", "of the same"] {
        world.empty_store();
        let mut options = world.options(recorder.recording(), Unknown::Refuse);
        let archive = world.server.url("past").to_string();
        options.past = vec![Past { public: PUBLIC.to_owned(), archive }];
        assert_eq!(get(&Recorder::new(options).unwrap(), "dists/x").await.1, b"old");
    }
    world.empty_store();
    let missing = world.recorder(recorder.recording(), Unknown::Refuse).fill(|_| ()).await;
    assert!(missing.len() == 1 && missing[0].contains("another file by now"), "{missing:?}");
}

#[tokio::test]
async fn stores_of_others_have_what_is_recorded() {
    let world = World::new();
    world.server.set("a", [Answer::file("in a store"), Answer::status("404 Not Found")]);
    let first = world.recorder(Recording::default(), Unknown::Record);
    get(&first, "a").await;
    let recording = first.recording();
    let (_, response) = recording.iter().next().unwrap();
    let folder = world.folder.path().join("shared");
    let body = first.body(response).unwrap();
    let store = pib_file::Folder::make(&folder).unwrap();
    assert!(put(&store, &response.digest, &body).unwrap());
    assert!(!put(&store, &response.digest, &body).unwrap(), "it is there");
    assert!(put(&store, &Digest::of(b"x"), &body).is_err(), "it is another file");
    let put_there = folder.join(body.strip_prefix(world.folder.path().join("store")).unwrap());
    std::fs::write(&put_there, "IN A STORE").unwrap();
    assert!(put(&store, &response.digest, &body).unwrap(), "what is damaged is replaced");
    assert_eq!(std::fs::read(&put_there).unwrap(), b"in a store");
    // A link in the store leads nowhere.
    let (elsewhere, hex) = (world.folder.path().join("elsewhere"), Digest::of(b"y").hex());
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.join(&hex[..2])).unwrap();
    let file = world.folder.path().join("y");
    std::fs::write(&file, "y").unwrap();
    assert!(put(&store, &Digest::of(b"y"), &file).is_err());
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    let web = Server::start();
    let below = body.strip_prefix(world.folder.path().join("store")).unwrap().display().to_string();
    web.set(&format!("own/{below}"), [Answer::file("in a store")]);
    let wrong = Server::start();
    wrong.set(&below, [Answer::file("not at all")]);
    let stores = [
        vec![RemoteStore::new(world.folder.path(), "shared", &Access::default())],
        vec![
            RemoteStore::new(world.folder.path(), "none", &Access::default()),
            RemoteStore::Web(web.url("own/")),
        ],
        vec![RemoteStore::Web(wrong.url("")), RemoteStore::Web(web.url("own"))],
    ];
    for stores in stores {
        world.empty_store();
        let mut options = world.options(recording.clone(), Unknown::Refuse);
        options.stores = stores;
        let recorder = Recorder::new(options).unwrap();
        assert_eq!(recorder.fill(|_| ()).await, Vec::<String>::new());
        assert_eq!(get(&recorder, "a").await.1, b"in a store");
    }
    world.empty_store();
    let mut options = world.options(recording, Unknown::Refuse);
    options.stores = vec![RemoteStore::Web(wrong.url(""))];
    let recorder = Recorder::new(options).unwrap();
    let missing = recorder.fill(|_| ()).await;
    assert!(missing.len() == 1 && missing[0].contains("no longer available"), "{missing:?}");
    let troubles = recorder.troubles();
    assert!(troubles.len() == 1 && troubles[0].contains("under the name of sha256:"), "{troubles:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_told_once_and_asked_once() {
    let world = World::new();
    let (broken, good) = (Server::start(), world.folder.path().join("good"));
    let store = pib_file::Folder::make(&good).unwrap();
    let files: Vec<Digest> = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes())).to_vec();
    for (digest, text) in files.iter().zip(["a", "b", "c"]) {
        let path = world.folder.path().join(text);
        std::fs::write(&path, text).unwrap();
        put(&store, digest, &path).unwrap();
        broken.set(&crate::store::below(digest).to_string_lossy(), [Answer::status("403 Forbidden")]);
    }
    let list = || {
        vec![
            RemoteStore::new(world.folder.path(), "none", &Access::default()),
            RemoteStore::Web(broken.url("")),
            RemoteStore::new(world.folder.path(), "good", &Access::default()),
        ]
    };
    let stores = Stores::new(list(), false).unwrap();
    for digest in &files {
        assert!(stores.take(digest, 1, world.folder.path()).await.unwrap().is_some());
    }
    let troubles = stores.troubles();
    assert!(
        troubles.len() == 2 && troubles.iter().all(|text| text.contains("cannot be used")),
        "{troubles:?}"
    );
    assert!(troubles.iter().any(|text| text.contains("no such folder")), "{troubles:?}");
    assert_eq!(broken.asked().len(), 1);
    let offline = Stores::new(list(), true).unwrap();
    assert!(offline.take(&files[0], 1, world.folder.path()).await.unwrap().is_some());
    assert_eq!((offline.troubles().len(), broken.asked().len()), (1, 1));
}
