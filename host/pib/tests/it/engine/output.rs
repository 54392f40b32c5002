//! What a build prints, however much it is.

use std::process::Stdio;

use crate::world::{Images, World};

/// A gigabyte of output, binary and in lines, neither fills the memory nor the disk, and harms no terminal.
#[test]
fn a_gigabyte_of_output_is_bounded() {
    let world = World::new();
    let _images = Images("flood");
    world.tiny(
        "flood",
        "RUN dd if=/dev/urandom of=/tmp/noise bs=1M count=4 && for i in $(seq 128); do cat /tmp/noise /tmp/noise; done\n\
         RUN echo the last word && exit 3\n",
    );
    let mut pib = world.pib("flood", &["build", "--verbose"]);
    let mut child = pib.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut errors, &mut bytes).map(|_| bytes).unwrap()
    });
    let mut most = 0;
    let status = loop {
        let memory = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        most = most.max(peak.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let shown = reading.join().unwrap();
    let text = String::from_utf8(shown).expect("what is shown is text");
    assert_eq!(status.code(), Some(6), "{}", &text[text.len().saturating_sub(2000)..]);
    assert!(text.contains("the last word") && text.contains("exit code 3"));
    assert!(
        !text.contains(|c: char| c.is_control() && !"\n\t".contains(c)),
        "a control character got through"
    );
    let log = std::fs::metadata(world.path("flood/target/logs/latest.log")).unwrap().len();
    eprintln!("peak of memory: {most} KiB; log: {log} bytes; shown: {} bytes", text.len());
    assert!(most < 200 << 10, "{most} KiB");
    assert!(log < 18 << 20, "{log} bytes");
}
