//! Small trees in memory, and the projects that come of them.

use std::collections::BTreeMap;

use super::*;

/// A product in the layout of those that call pi-builder in a folder below.
const PRODUCT: &str = "-include config.mk\n\
    export BOARD ?= rpi4\nEDITION ?= plain\nSTAGES ?= __init__ os web tidy __cleanup__\nADMIN_PASSWD ?= hunter2\n\
    define extras\nweb\nendef\n\
    os:\n\t$(MAKE) -C builder os \\\n\t\tBOARD=$(BOARD) \\\n\t\tSTAGES='$(STAGES)' \\\n\t\tHOSTNAME=box \\\n\
    \t\tBUILD_OPTS=\"--build-arg EDITION=$(EDITION) --build-arg ADMIN_PASSWD='$(ADMIN_PASSWD)'\"\n\
    lite:\n\t$(MAKE) os BOARD=rpi2 STAGES=\"__init__ os tidy __cleanup__\"\n\
    gold:\n\t$(MAKE) os EDITION=gold STAGES='__init__ web os extra __cleanup__'\n\
    STAMP := $(shell date)\n";

fn tree() -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([("Makefile".to_owned(), PRODUCT.to_owned())]);
    let mut part = |path: &str, text: &str| files.insert(format!("{path}/Dockerfile.part"), text.to_owned());
    part("builder/stages/arch/__init__", "FROM scratch\n%ADD_BASE_ROOTFS_TGZ%\nRUN one $ARCH\n");
    part("builder/stages/arch/os", "RUN two $LOCALE\n");
    part("builder/stages/arch/__cleanup__", "RUN rm -f /x\n");
    part("stages/web", "ARG EDITION\nARG ADMIN_PASSWD\nRUN three\n");
    part("stages/tidy", "RUN four\n");
    files.insert(
        "builder/Makefile".to_owned(),
        "OS ?= arch\nLOCALE ?= de_DE\nTIMEZONE ?= Europe/Berlin\n".to_owned(),
    );
    files
}

fn import_with(files: &BTreeMap<String, String>, targets: &[&str]) -> Result<Imported, ImportError> {
    let options = ImportOptions {
        folder: "My_Box".to_owned(),
        targets: targets.iter().map(|name| (*name).to_owned()).collect(),
    };
    import(&mut |path: &str| files.get(path).cloned(), &options)
}

#[test]
fn a_product_becomes_a_project_with_targets() {
    let imported = import_with(&tree(), &[]).unwrap();
    let manifest = ProjectManifest::parse(FILE_NAME, &imported.manifest).unwrap();
    let project = &manifest.project;
    assert_eq!(
        (project.name.as_str(), project.os.as_str(), project.board.as_str()),
        ("my-box", "arch", "rpi4")
    );
    assert_eq!((project.locale.as_str(), project.hostname.as_str()), ("de_DE.UTF-8", "box"));
    assert_eq!(imported.stages, ["__init__", "os", "web", "tidy", "__cleanup__"]);
    assert_eq!(manifest.variables, BTreeMap::from([("EDITION".to_owned(), "plain".to_owned())]));
    let order = |manifest: &ProjectManifest| {
        manifest.order.names().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let (lite, gold) = (&manifest.targets["lite"], &manifest.targets["gold"]);
    assert_eq!(lite.project.board, "rpi2");
    assert!(!lite.stages.iter().any(|stage| stage.name.as_str() == "web"));
    assert_eq!(
        (gold.variables["EDITION"].as_str(), order(gold).as_str()),
        ("gold", "__init__ web os __cleanup__")
    );
    let [(path, part)] = &imported.files[..] else { panic!("{:?}", imported.files) };
    assert_eq!((path.as_str(), part.as_str()), ("imported/arch/__init__/Dockerfile.part", "RUN one $ARCH\n"));
}

#[test]
fn a_product_of_debian_has_the_stages_that_all_systems_share() {
    let mut files = tree();
    let makefile = "OS ?= debian\nARCH_DIST_REPO_URL ?= http://mirror.example.org/arch\n".to_owned();
    files.insert("builder/Makefile".to_owned(), makefile);
    for (from, to) in [
        ("arch/__init__", "debian/__init__"),
        ("arch/os", "common/os"),
        ("arch/__cleanup__", "common/__cleanup__"),
    ] {
        let text = files.remove(&format!("builder/stages/{from}/Dockerfile.part")).unwrap();
        files.insert(format!("builder/stages/{to}/Dockerfile.part"), text);
    }
    let imported = import_with(&files, &[]).unwrap();
    assert_eq!(imported.stages, ["__init__", "os", "web", "tidy", "__cleanup__"]);
    assert!(imported.manifest.contains("\"builder/stages/common/os\""), "{}", imported.manifest);
    // The mirror is one of Arch's.
    let manifest = ProjectManifest::parse(FILE_NAME, &imported.manifest).unwrap();
    assert_eq!(manifest.project.mirror, None);
    // Its init stage is bare, and says nothing of a base.
    assert!(
        imported.left_out.iter().any(|left| left.why.contains("pib's own `__init__` makes one of debian"))
    );
}

/// Raspberry Pi OS has another name in pi-builder, which its parts know.
#[test]
fn raspberry_pi_os_keeps_the_name_that_its_parts_know() {
    let mut files = tree();
    files.insert("builder/Makefile".to_owned(), "OS ?= rpios\n".to_owned());
    for name in ["__init__", "os", "__cleanup__"] {
        files.remove(&format!("builder/stages/arch/{name}/Dockerfile.part")).unwrap();
        let part = format!("builder/stages/common/{name}/Dockerfile.part");
        files.insert(part, "RUN [ \"$OS\" = rpios ]\n".to_owned());
    }
    files.insert("builder/stages/common/os/Dockerfile.rpios.part".to_owned(), "RUN true\n".to_owned());
    let imported = import_with(&files, &[]).unwrap();
    let manifest = ProjectManifest::parse(FILE_NAME, &imported.manifest).unwrap();
    assert_eq!((manifest.project.os.as_str(), manifest.variables["OS"].as_str()), ("raspios", "rpios"));
    assert!(imported.left_out.iter().any(|left| left.why.contains("`Dockerfile.raspios.part`: rename it")));
}

#[test]
fn secrets_are_named_and_their_values_are_nowhere() {
    let imported = import_with(&tree(), &[]).unwrap();
    assert!(imported.secrets.contains("ADMIN_PASSWD"));
    assert!(!format!("{imported:?}").contains("hunter2"));
}

#[test]
fn what_is_left_out_is_told() {
    let imported = import_with(&tree(), &[]).unwrap();
    let told: Vec<String> =
        imported.left_out.iter().map(|left| format!("{}: {}", left.what, left.why)).collect();
    for expected in [
        "stage extra: the tree does not have it",
        "$(shell ...) was not computed",
        "the base: ",
        "line 1: pib itself",
    ] {
        assert!(told.iter().any(|line| line.contains(expected)), "{expected}: {told:#?}");
    }
}

#[test]
fn only_the_targets_that_are_wanted_come() {
    assert_eq!(import_with(&tree(), &["lite"]).unwrap().targets, ["lite"]);
    let error = import_with(&tree(), &["none"]).unwrap_err();
    assert!(format!("{error:?}").contains("lite"), "{error:?}");
}

#[test]
fn trees_without_what_is_needed_are_refused() {
    assert!(matches!(import_with(&BTreeMap::new(), &[]), Err(ImportError::NoMakefile)));
    let bare = BTreeMap::from([("Makefile".to_owned(), "include Makefile\nSTAGES = $(STAGES)\n".to_owned())]);
    assert!(matches!(import_with(&bare, &[]), Err(ImportError::NoStages)));
}
