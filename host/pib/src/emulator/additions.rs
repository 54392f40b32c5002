//! What is added to an initramfs so that the booted system has an agent that runs tests. The disk is not changed.
//!
//! The kernel unpacks archives that follow one another, each over what the one before it left (Linux'
//! Documentation/driver-api/early-userspace/buffer-format.rst). The added one has a first program of its own, which has the
//! initramfs put a unit and the agent into `/run`, and then starts the initramfs's own first program. `/run` is handed on to
//! the booted system, and systemd reads units from `/run/systemd/system` in all of its versions. Credentials and
//! `systemd.extra-unit` would be simpler, but need systemd 256, and Debian 12 has 252.
//!
//! What runs in the initramfs uses what every one of them has: a shell, `mkdir`, `ln` and `mount`.

/// The word of the kernel's command line that has the added program run first.
pub(super) const FIRST_PROGRAM: &str = "rdinit=/pib-test/init";

/// Has initramfs-tools call the hook at its end, or does so itself where systemd is the first program: `/run` is handed on
/// as it is then.
const INIT: &str = "#!/bin/sh
if [ -f /scripts/init-bottom/ORDER ]; then
  echo '/pib-test/hook' >> /scripts/init-bottom/ORDER
else
  mkdir -p /run
  mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run
  /bin/sh /pib-test/hook
fi
exec /init \"$@\"
";

/// Puts the agent and its unit into `/run`. `cp` and `cat` are not in every initramfs.
const HOOK: &str = "#!/bin/sh
put() { while IFS= read -r line; do printf '%s\\n' \"$line\"; done < \"$1\" > \"$2\"; }
mkdir -p /run/pib /run/systemd/system/sysinit.target.wants
put /pib-test/agent /run/pib/agent
put /pib-test/pib-test.service /run/systemd/system/pib-test.service
ln -s ../pib-test.service /run/systemd/system/sysinit.target.wants/pib-test.service
";

/// Early, so that also a system that does not come up can be asked why.
const UNIT: &str = "[Unit]
Description=Runs the tests of pib test
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=/bin/sh /run/pib/agent
StandardInput=null
StandardOutput=null
StandardError=null
";

/// The agent. A command gets neither the port nor a way to its outputs' files; the file `code` is there only where it ended
/// by itself.
const AGENT: &str = "port=/dev/virtio-ports/pib.test
modprobe -q virtio_console 2>/dev/null
while [ ! -c \"$port\" ]; do sleep 0.2; done
exec 3<>\"$port\" || exit 1
cd /run/pib || exit 1
printf 'ready %s\\n' \"$(cat /proc/sys/kernel/random/boot_id)\" >&3
while read -r verb nonce limit most script <&3; do
  [ \"$verb\" = run ] || continue
  rm -f code out err
  printf %s \"$script\" | base64 -d > script
  (cd / && exec timeout -k 5 \"$limit\" /bin/sh -c '/bin/sh /run/pib/script; echo $? > /run/pib/code' 3<&-) < /dev/null > out 2> err
  code=timeout
  [ -s code ] && read -r code < code
  o=$(head -c \"$most\" out | base64 | tr -d '\\n')
  e=$(head -c \"$most\" err | base64 | tr -d '\\n')
  printf 'end %s %s %s. %s.\\n' \"$nonce\" \"$code\" \"$o\" \"$e\" >&3
  rm -f code out err script
done
";

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// Adds the agent to an initramfs.
pub fn with_agent(mut initramfs: Vec<u8>) -> Vec<u8> {
    let entries = [
        ("pib-test", FOLDER, ""),
        ("pib-test/init", PROGRAM, INIT),
        ("pib-test/hook", PROGRAM, HOOK),
        ("pib-test/pib-test.service", FILE, UNIT),
        ("pib-test/agent", FILE, AGENT),
        ("TRAILER!!!", 0, ""),
    ];
    pad(&mut initramfs);
    for (at, (name, mode, content)) in entries.into_iter().enumerate() {
        entry(&mut initramfs, at, name, mode, content.as_bytes());
    }
    initramfs
}

/// Appends an entry in cpio's "new ASCII" form.
fn entry(to: &mut Vec<u8>, number: usize, name: &str, mode: u32, content: &[u8]) {
    to.extend(b"070701");
    let (size, name_size) = (content.len(), name.len() + 1);
    // Inode, mode, user, group, links, time, size, two devices of two numbers, length of the name, checksum.
    for field in [number + 1, mode as usize, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
        to.extend(format!("{field:08X}").into_bytes());
    }
    to.extend(name.as_bytes());
    to.push(0);
    pad(to);
    to.extend(content);
    pad(to);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use pib_plan::boot::archive::Initramfs;

    use super::*;

    #[test]
    fn an_initramfs_has_the_agent_beside_what_it_had() {
        let first = with_agent(Vec::new());
        let mut found = Initramfs::default();
        // Whatever is compressed ends anywhere.
        assert_eq!(found.add(&with_agent([&first[..], &[0; 5]].concat())), Ok(None));
        assert_eq!(found.names.iter().filter(|name| *name == "pib-test/agent").count(), 2);
        assert_eq!(found.names.len(), 10);
    }

    #[test]
    fn the_scripts_are_ones_that_a_shell_reads() {
        for script in [INIT, HOOK, AGENT] {
            let read = std::process::Command::new("sh").args(["-n", "-c", script]).status().unwrap();
            assert!(read.success(), "{script}");
        }
        assert!(
            AGENT.contains(super::super::hardware::PORT_NAME) && FIRST_PROGRAM.ends_with("/pib-test/init")
        );
    }
}
