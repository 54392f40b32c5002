//! The hook of the stage ro: which folders live in memory, and how large each may get.

use pib_plugin_sdk::{Context, Diagnostic, Hook, Rendered, export_hook};

/// The folders that services write to below /var/lib/systemd, each with a tmpfs of a mebibyte.
const STATE: [&str; 5] = ["backlight", "network", "rfkill", "timers", "timesync"];
/// Where a tmpfs would hide what the system needs.
const NEEDED: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys",
    "/usr", "/var",
];
/// Below these, a single folder may well be volatile.
const OPEN: [&str; 5] = ["/etc", "/opt", "/root", "/srv", "/var"];
const MIB: u64 = 1 << 20;
/// The least memory of the boards that are sold: more than half of it for tmpfs is worth a word.
const MUCH: u64 = 256 * MIB;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    tmp_size: u64,
    log_size: u64,
    volatile: Vec<String>,
}

/// A folder that lives in memory.
#[derive(Debug, PartialEq, Eq)]
struct Volatile {
    path: String,
    mode: &'static str,
    size: u64,
}

struct ReadOnly;

impl Hook for ReadOnly {
    fn validate(context: &Context) -> Vec<Diagnostic> {
        let config: Config = match context.config() {
            Ok(config) => config,
            Err(error) => return vec![error.into()],
        };
        let mut diagnostics = Vec::new();
        let mut folders = own(&config);
        for entry in &config.volatile {
            match added(entry, &folders) {
                Ok(folder) => folders.push(folder),
                Err(problem) => diagnostics.push(problem.key("volatile")),
            }
        }
        let all: u64 = folders.iter().map(|folder| folder.size).fold(0, u64::saturating_add);
        if diagnostics.is_empty() && all > MUCH {
            let message = format!("files in memory may take {} MiB together", all / MIB);
            let help = "A board with 512 MiB runs out of memory before that. Make tmp-size, log-size or volatile smaller.";
            diagnostics.push(Diagnostic::warning(message).help(help));
        }
        diagnostics
    }

    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let config: Config = context.config()?;
        let mut folders = own(&config);
        for entry in &config.volatile {
            let folder = added(entry, &folders).map_err(|problem| problem.message)?;
            folders.push(folder);
        }
        let lines: String = folders
            .iter()
            .map(|Volatile { path, mode, size }| {
                format!("tmpfs  {path}  tmpfs  mode={mode},size={size},nosuid,nodev,noatime  0  0\n")
            })
            .collect();
        Ok(Rendered::part(part).file("fstab", lines))
    }
}

export_hook!(ReadOnly);

/// Returns the folders that every read-only system has in memory.
fn own(config: &Config) -> Vec<Volatile> {
    let mut folders = vec![
        Volatile { path: "/tmp".to_owned(), mode: "1777", size: config.tmp_size },
        Volatile { path: "/var/tmp".to_owned(), mode: "1777", size: config.tmp_size },
        Volatile { path: "/var/log".to_owned(), mode: "0755", size: config.log_size },
    ];
    let state = STATE.map(|name| format!("/var/lib/systemd/{name}"));
    folders.extend(state.map(|path| Volatile { path, mode: "0755", size: MIB }));
    folders
}

/// Reads `PATH=SIZE`, and checks that it can be mounted beside the others.
fn added(entry: &str, others: &[Volatile]) -> Result<Volatile, Diagnostic> {
    let fail = |what: &str, help: &str| Diagnostic::error(format!("`{entry}` {what}")).help(help);
    let form = "An entry is PATH=SIZE, e.g. /var/lib/bluetooth=1MiB.";
    let (path, size) =
        entry.split_once('=').ok_or_else(|| fail("does not say how large it may get", form))?;
    let size = bytes(size).ok_or_else(|| fail("has no size that is understood", form))?;
    if size < 4096 {
        return Err(fail("is smaller than a page of memory", "Give it 4KiB or more."));
    }
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.@+".contains(&byte));
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_path = path.starts_with('/') && !parts.iter().any(|part| matches!(*part, "" | "." | ".."));
    if !plain || !is_path {
        return Err(fail("names no absolute path", "Use letters, digits and - _ . @ + between the slashes."));
    }
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let closed = |folder: &str| path == folder || (below(folder) && !OPEN.contains(&folder));
    if let Some(folder) = NEEDED.into_iter().find(|folder| closed(folder)) {
        let what = format!("would hide what the system needs in {folder}");
        return Err(fail(&what, "Name the one folder that is written to."));
    }
    let meets = |other: &&Volatile| {
        other.path == path || below(&other.path) || other.path.starts_with(&format!("{path}/"))
    };
    if let Some(other) = others.iter().find(meets) {
        let what = format!("overlaps with {}, which is in memory already", other.path);
        return Err(fail(&what, "Remove it, or name another folder."));
    }
    Ok(Volatile { path: path.to_owned(), mode: "0755", size })
}

/// Reads a size such as `64MiB`, `64M` or `1048576`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => MIB,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use pib_plugin_sdk::testing::Harness;
    use pib_plugin_sdk::{Severity, Value};

    use super::*;

    fn harness(volatile: &[&str]) -> Harness {
        Harness::new("ro")
            .setting("tmp-size", Value::Size(64 * MIB))
            .setting("log-size", Value::Size(32 * MIB))
            .setting("volatile", Value::List(volatile.iter().map(|&entry| entry.to_owned()).collect()))
    }

    #[test]
    fn every_folder_has_its_line() {
        let harness = harness(&["/var/lib/bluetooth=1MiB", "/srv/cache=64K"]);
        assert_eq!(harness.validate::<ReadOnly>(), []);
        let rendered = harness.render::<ReadOnly>("RUN true\n").unwrap();
        let fstab = String::from_utf8(rendered.files[0].content.clone()).unwrap();
        let lines: Vec<&str> = fstab.lines().collect();
        assert_eq!(lines.len(), 3 + STATE.len() + 2);
        assert_eq!(lines[0], "tmpfs  /tmp  tmpfs  mode=1777,size=67108864,nosuid,nodev,noatime  0  0");
        assert_eq!(lines[2], "tmpfs  /var/log  tmpfs  mode=0755,size=33554432,nosuid,nodev,noatime  0  0");
        assert_eq!(lines[9], "tmpfs  /srv/cache  tmpfs  mode=0755,size=65536,nosuid,nodev,noatime  0  0");
    }

    #[test]
    fn what_would_break_the_system_is_refused() {
        for (entry, say) in [
            ("/var/cache", "does not say how large"),
            ("/var/cache=lots", "no size"),
            ("/var/cache=99999999999999999999", "no size"),
            ("/var/cache=18446744073709551615G", "no size"),
            ("/var/cache=1K", "smaller than a page"),
            ("var/cache=1M", "no absolute path"),
            ("/var/../etc=1M", "no absolute path"),
            ("/var//x=1M", "no absolute path"),
            ("/=1M", "no absolute path"),
            ("/var/a#b=1M", "no absolute path"),
            ("/etc=1M", "what the system needs in /etc"),
            ("/usr/share=1M", "what the system needs in /usr"),
            ("/var/log/apt=1M", "overlaps with /var/log"),
            ("/var/lib/systemd=1M", "overlaps with /var/lib/systemd/backlight"),
            ("/tmp=1M", "overlaps with /tmp"),
        ] {
            let told = harness(&[entry]).validate::<ReadOnly>();
            assert_eq!(told.len(), 1, "{entry}: {told:?}");
            assert!(
                told[0].message.contains(say) && told[0].key.as_deref() == Some("volatile"),
                "{entry}: {told:?}"
            );
            assert!(harness(&[entry]).render::<ReadOnly>("").is_err());
        }
        let twice = harness(&["/srv/a=1M", "/srv/a=1M"]).validate::<ReadOnly>();
        assert!(twice[0].message.contains("overlaps with /srv/a"), "{twice:?}");
        assert_eq!(harness(&["/etc/app=1M", "/var/logs=1M"]).validate::<ReadOnly>(), []);
    }

    #[test]
    fn much_memory_is_worth_a_word() {
        let told = harness(&["/srv/big=1GiB"]).validate::<ReadOnly>();
        assert_eq!((told.len(), told[0].severity), (1, Severity::Warning));
    }
}
