//! Components for tests, written by hand: small, and each with one fault.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};

/// What every guest has: memory, an allocator that never frees, the host's functions, and helpers that write answers.
///
/// The layouts are those of the component model's canonical ABI. The context lies in 104 bytes, the part behind it.
const COMMON: &str = r#"
  (import "pib:stage/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "pib:stage/host@0.1.0" "read-file" (func $read (param i32 i32 i32)))
  (global $free (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (loop $more
      (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
          (br $more))))
    (local.get $at))
  ;; Writes a list's place and length to 1024, which is where answers are.
  (func $list (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1028) (local.get 1))
    (i32.const 1024))
  ;; Writes a good answer of `render`: part, files.
  (func $rendered (param i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (local.get 0))
    (i32.store (i32.const 1032) (local.get 1))
    (i32.store (i32.const 1036) (local.get 2))
    (i32.store (i32.const 1040) (local.get 3))
    (i32.const 1024))
  ;; Answers with the package's own part and these files.
  (func $same (param $context i32) (param $files i32) (param $count i32) (result i32)
    (call $rendered (i32.load offset=104 (local.get $context)) (i32.load offset=108 (local.get $context))
      (local.get $files) (local.get $count)))
"#;

/// What is wrong with nothing.
pub(crate) const FINE: &str = "(call $list (i32.const 0) (i32.const 0))";
/// The part as it is.
pub(crate) const SAME: &str = "(call $same (local.get 0) (i32.const 0) (i32.const 0))";

/// Returns a component whose functions have these bodies, with `rest` beside them and this many pages of memory.
pub(crate) fn guest(pages: u32, rest: &str, validate: &str, render: &str) -> Vec<u8> {
    component(&format!(
        "(module {COMMON} (memory (export \"memory\") {pages}) {rest}
           (func $validate (export \"pib:stage/hook@0.1.0#validate\") (param i32) (result i32) {validate})
           (func $render (export \"pib:stage/hook@0.1.0#render\") (param i32) (result i32) {render}))"
    ))
}

/// Makes a component for the world `stage` of a core module's text.
fn component(text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/v0.1.0");
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve
        .push_source("stage.wit", &std::fs::read_to_string(folder.join("stage.wit")).unwrap())
        .unwrap();
    let world = resolve.select_world(&[package], Some("stage")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// Returns a component that has nothing but an import and the export of a hook for some version.
pub(crate) fn shell(import: &str, version: &str) -> Vec<u8> {
    wat::parse_str(format!(
        "(component (import \"{import}\" (instance $i))
           (export \"pib:stage/hook@{version}\" (instance $i)))"
    ))
    .unwrap()
}

/// Returns a hook that finds nothing wrong and leaves the part as it is.
pub(crate) fn harmless() -> Vec<u8> {
    guest(2, "", FINE, SAME)
}

/// Returns a hook that gives one diagnostic about the key `timeout`: an error where `severity` is 1.
pub(crate) fn critic(severity: u8, message: &str, help: &str) -> Vec<u8> {
    let record = [u32::from(severity), 1, 2048, 7, 2100, message.len() as u32, 1, 3000, help.len() as u32];
    let record: String =
        record.iter().flat_map(|number| number.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    let rest = format!(
        "(data (i32.const 1100) \"{record}\") (data (i32.const 2048) \"timeout\")
         (data (i32.const 2100) \"{message}\") (data (i32.const 3000) \"{help}\")"
    );
    guest(2, &rest, "(call $list (i32.const 1100) (i32.const 1))", SAME)
}

/// Returns a hook that renders one file with this path and content beside the part.
pub(crate) fn writer(path: &str, content: &str) -> Vec<u8> {
    let record = [2048, path.len() as u32, 3000, content.len() as u32, 0];
    let record: String =
        record.iter().flat_map(|number| number.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    let rest = format!(
        "(data (i32.const 1100) \"{record}\") (data (i32.const 2048) \"{path}\")
         (data (i32.const 3000) \"{content}\")"
    );
    guest(2, &rest, FINE, "(call $same (local.get 0) (i32.const 1100) (i32.const 1))")
}

/// Returns a hook that renders this text as the part, without files.
pub(crate) fn part(text: &str) -> Vec<u8> {
    let escaped = text.replace('\n', "\\n").replace('"', "\\\"");
    let rest = format!("(data (i32.const 2048) \"{escaped}\")");
    let render =
        format!("(call $rendered (i32.const 2048) (i32.const {}) (i32.const 0) (i32.const 0))", text.len());
    guest(2, &rest, FINE, &render)
}

/// Returns a hook that renders a file `read` with what `read-file` gives for a path; the reason, where it refuses.
pub(crate) fn reader(path: &str) -> Vec<u8> {
    let rest = format!("(data (i32.const 2048) \"read\") (data (i32.const 2100) \"{path}\")");
    // The result lies at 1200: which of both, place, length. The record of the file is put together at 1100.
    let render = format!(
        "(call $read (i32.const 2100) (i32.const {}) (i32.const 1200))
         (i32.store (i32.const 1100) (i32.const 2048))
         (i32.store (i32.const 1104) (i32.const 4))
         (i32.store (i32.const 1108) (i32.load (i32.const 1204)))
         (i32.store (i32.const 1112) (i32.load (i32.const 1208)))
         (i32.store8 (i32.const 1116) (i32.const 0))
         (call $same (local.get 0) (i32.const 1100) (i32.const 1))",
        path.len()
    );
    guest(2, &rest, FINE, &render)
}
