//! The part of an init stage, without what pib does itself.

/// Returns a part without the instructions that add the base and the emulator, and the lines of these; none where it has
/// no such instruction.
pub(super) fn without_base(text: &str) -> Option<(String, Vec<usize>)> {
    let (mut kept, mut dropped) = (String::new(), Vec::new());
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let mut whole = format!("{line}\n");
        let mut last = line;
        // An instruction goes on behind a backslash.
        while last.trim_end().ends_with('\\') && !last.trim_start().starts_with('#') {
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next);
            whole.push('\n');
            last = next;
        }
        if is_pibs_own(&whole) {
            dropped.push(at + 1);
        } else {
            kept.push_str(&whole);
        }
    }
    if dropped.is_empty() {
        return None;
    }
    let says_something = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !kept.lines().any(says_something) {
        kept.push_str("RUN true\n");
    }
    Some((kept, dropped))
}

fn is_pibs_own(instruction: &str) -> bool {
    let instruction = instruction.trim();
    let word = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let is_placeholder = instruction.starts_with('%') && instruction.ends_with('%');
    let is_base = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains('%') || text.contains("rootfs") || text.contains("qemu-")
    };
    match word.as_str() {
        "FROM" => true,
        "ADD" | "COPY" => is_base(instruction),
        _ => is_placeholder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_base_and_the_emulator_go() {
        let text = "# init\nFROM scratch\n%ADD_BASE_ROOTFS_TGZ%\nCOPY qemu-arm-static \\\n  /usr/bin/\nCOPY stages/__init__/x /x\nRUN a \\\n  && b\n";
        let (kept, dropped) = without_base(text).unwrap();
        assert_eq!(kept, "# init\nCOPY stages/__init__/x /x\nRUN a \\\n  && b\n");
        assert_eq!(dropped, [2, 3, 4]);
        assert_eq!(without_base("RUN a\n"), None);
        assert_eq!(without_base("FROM scratch\n").unwrap().0, "RUN true\n");
    }
}
