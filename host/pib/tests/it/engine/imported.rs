//! A pi-builder tree that was imported builds: its stages see what their makefile would have given them.

use super::project::{Scratch, stderr_text};
use super::rootfs::base_tar;
use crate::world::Images;
use pib_plan::id::Digest;

const HOST: &str = "unix:///var/run/docker.sock";

const MAKEFILE: &str = "PROJECT ?= imported\nOS ?= debian\nBOARD ?= rpi4\nARCH ?= aarch64\nEDITION ?= plain\n\
    STAGES ?= __init__ late early __cleanup__\n\ngold:\n\t$(MAKE) os EDITION=gold\n\nos:\n\ttrue\n";

#[test]
fn an_imported_tree_builds_with_its_variables_in_its_order() {
    let _images = Images("imported");
    let project = Scratch::new("imported", HOST);
    std::fs::remove_file(project.path("pib.toml")).unwrap();
    std::fs::remove_dir_all(project.path("stages")).unwrap();
    std::fs::write(project.path("Makefile"), MAKEFILE).unwrap();
    project.part(
        "debian/__init__",
        "FROM scratch\n%ADD_BASE_ROOTFS_TGZ%\nRUN mkdir -p /etc && echo $ARCH > /etc/order\n",
    );
    project.part("debian/late", "RUN echo late $EDITION $LOCALE >> /etc/order\n");
    project.part("debian/early", "RUN echo early $STAGES >> /etc/order\n");
    project.part("debian/__cleanup__", "RUN echo end >> /etc/order\n");
    let output = project.pib(&["import", "."]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));

    let digest = Digest::of(&std::fs::read(base_tar()).unwrap());
    let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    let more = format!("\n[base]\npath = \"base.tar\"\ndigest = \"{digest}\"\n\n[build]\nnative = false\n");
    std::fs::write(project.path("pib.toml"), manifest + &more).unwrap();
    for (target, edition) in [(&[][..], "plain"), (&["--target", "gold"], "gold")] {
        let args = [&["run", "--quiet"], target, &["--", "cat", "/etc/order"]].concat();
        let output = project.pib(&args).output().unwrap();
        assert!(output.status.success(), "{}", stderr_text(&output));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("aarch64\nlate {edition} en_US\nearly __init__ late early __cleanup__\nend\n")
        );
    }
}
