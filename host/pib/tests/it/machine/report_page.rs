//! The report of a build, looked at in a real browser, and bills of materials, judged by their published schemas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pib::inspection::{ListChange, OpenedImage, ReportPage, StepTime, Watch};
use pib_plan::id::Digest;

use crate::pure::inspect::{good, image};
use crate::skip::{lacks, skip};
use crate::world::World;

/// What would turn the page's background red, if it were taken for markup.
const MARKUP: &str = "</li></style><style>html,body,main{background:#f00 !important}</style>";

/// Writes the page of an image with texts of a stranger.
fn page(world: &World) -> PathBuf {
    let mut system = good();
    let status = String::from_utf8(system["var/lib/dpkg/status"].clone()).unwrap();
    let evil = status.replace("Version: 1:4.1", &format!("Version: 1:4.1{MARKUP}"));
    assert_ne!(evil, status);
    system.insert("var/lib/dpkg/status".to_owned(), evil.into_bytes());
    let path = image(world, "report.img", &system);
    let opened = OpenedImage::open(&path, Watch::default()).unwrap();
    let system = opened.system(false).unwrap().unwrap();
    let chains = opened.chains("rpi4", false);
    let step = |title: &str, seconds| StepTime {
        title: title.to_owned(),
        time: Duration::from_secs(seconds),
        cached: false,
    };
    let change = ListChange { what: "Packages", added: vec![MARKUP.to_owned()], ..ListChange::default() };
    let text = ReportPage {
        name: "report.img",
        digest: Digest::of(b"image"),
        sizes: (40 << 20, 80 << 20),
        stages: &[("os".to_owned(), "1.1.1".to_owned())],
        partitions: opened.disk().partitions(),
        system: &system,
        brought: &BTreeMap::from([("login".to_owned(), "os".to_owned())]),
        chains: &chains,
        times: &[step("Building stage os", 71), step("Writing report.img", 5)],
        changes: Some(&[change]),
    }
    .to_text();
    let file = world.path("report.html");
    std::fs::write(&file, text).unwrap();
    file
}

/// Takes a picture of a page in a window of this size; returns its pixels.
fn picture(page: &Path, width: u32, height: u32) -> Vec<[u8; 3]> {
    let shot = page.with_extension(format!("{width}.png"));
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", shot.display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success() && shot.exists(), "{output:?}");
    pixels(&shot)
}

/// Returns the pixels of a picture: the browser's own format is read by Python, which every Debian has, by hand.
fn pixels(shot: &Path) -> Vec<[u8; 3]> {
    let script = "import sys, zlib, struct\n\
        data = open(sys.argv[1], 'rb').read()\n\
        at, body = 8, b''\n\
        while at < len(data):\n\
        \x20   size, kind = struct.unpack('>I4s', data[at:at + 8])\n\
        \x20   part = data[at + 8:at + 8 + size]\n\
        \x20   if kind == b'IHDR': width, height, depth, colour = struct.unpack('>IIBB', part[:10])\n\
        \x20   if kind == b'IDAT': body += part\n\
        \x20   at += 12 + size\n\
        step = {2: 3, 6: 4}[colour]\n\
        rows, raw, before = [], zlib.decompress(body), bytearray(width * step)\n\
        for row in range(height):\n\
        \x20   start = row * (width * step + 1)\n\
        \x20   how, line = raw[start], bytearray(raw[start + 1:start + 1 + width * step])\n\
        \x20   for i in range(len(line)):\n\
        \x20       a = line[i - step] if i >= step else 0\n\
        \x20       b, c = before[i], before[i - step] if i >= step else 0\n\
        \x20       p = a + b - c\n\
        \x20       near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]\n\
        \x20       line[i] = (line[i] + [0, a, b, (a + b) // 2, near][how]) & 255\n\
        \x20   before = line\n\
        \x20   rows.append(b''.join(bytes(line[i:i + 3]) for i in range(0, len(line), step)))\n\
        sys.stdout.buffer.write(b''.join(rows))\n";
    let output = Command::new("python3").args(["-c", script]).arg(shot).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

#[test]
fn a_browser_shows_the_report_on_a_desk_and_on_a_telephone() {
    let world = World::new();
    let page = page(&world);
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(
        !text.contains("<script") && !text.contains("http:") && !text.contains("https:"),
        "it needs more"
    );
    if lacks(&["python3"]) {
        return;
    }
    if Command::new("chromium").arg("--version").stdin(Stdio::null()).output().is_err() {
        return skip("there is no chromium, which is 300 MB: apt-get install chromium");
    }
    for (width, height) in [(1280, 1600), (390, 1600)] {
        let pixels = picture(&page, width, height);
        assert_eq!(pixels.len(), (width * height) as usize);
        let corner = pixels[0];
        let painted = pixels.iter().filter(|pixel| **pixel != corner).count();
        assert!(painted * 100 > pixels.len(), "{width}: the page is empty");
        // A colour of the picture of sizes, and none of what the package's version asks for.
        assert!(pixels.contains(&[0x2f, 0x6f, 0xab]), "{width}: there is no picture");
        let red = pixels.iter().filter(|pixel| **pixel == [0xff, 0, 0]).count();
        assert_eq!(red, 0, "{width}: a text of the image is taken for markup");
    }
}

/// Judges both documents by the schemas that their publishers give, with the programs of their projects.
const JUDGE: &str = "import sys\n\
    from cyclonedx.schema import SchemaVersion\n\
    from cyclonedx.validation.json import JsonStrictValidator\n\
    from spdx_tools.spdx.parser.parse_anything import parse_file\n\
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document\n\
    faults = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
    if faults: sys.exit('CycloneDX: %s' % faults)\n\
    faults = validate_full_spdx_document(parse_file(sys.argv[2]), 'SPDX-2.3')\n\
    if faults: sys.exit('SPDX: %s' % faults[:5])\n";
/// The programs that have the schemas.
const JUDGES: [&str; 2] = ["cyclonedx-python-lib[json-validation]>=9,<12", "spdx-tools>=0.8,<0.9"];

#[test]
fn bills_of_materials_are_what_their_schemas_ask_for() {
    let world = World::new();
    let path = image(&world, "good.img", &good());
    let mut files = Vec::new();
    for (format, name) in [("cyclonedx", "good.cdx.json"), ("spdx", "good.spdx.json")] {
        let text = world.run(".", &["sbom", path.to_str().unwrap(), "--format", format]);
        std::fs::write(world.path(name), text).unwrap();
        files.push(world.path(name));
    }
    if lacks(&["python3"]) {
        return;
    }
    let venv = tempfile::tempdir().unwrap();
    let made = Command::new("python3").args(["-m", "venv"]).arg(venv.path()).output().unwrap();
    if !made.status.success() {
        return skip("python3 cannot make a virtual environment: apt-get install python3-venv");
    }
    let python = venv.path().join("bin/python");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let installed = Command::new(&python).args(pip).args(JUDGES).stdin(Stdio::null()).output().unwrap();
    if !installed.status.success() {
        return skip("pip cannot install what has the schemas of SPDX and CycloneDX");
    }
    let judged = Command::new(&python).args(["-c", JUDGE]).args(&files).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
}
