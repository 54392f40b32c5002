//! A real browser, driven over its debugging pipe: pages are opened, keys pressed, pictures taken, and judged by axe-core.

#![allow(clippy::unwrap_used)] // Test helpers outside test functions.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use pib_plan::id::Digest;
use serde_json::{Value, json};

use crate::skip::skip;
use crate::world::root;

/// What judges whether a page is accessible, and the digest of its file.
const AXE: &str = "axe-core@4.14.1";
const AXE_DIGEST: &str = "sha256:29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";
/// After so many seconds a browser is ended that hangs.
const PATIENCE: &str = "180";
/// How long a page may take to be what a test waits for.
const WAIT: Duration = Duration::from_secs(15);

/// A browser with one page, which ends with this value.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    number: u64,
    /// What went wrong in pages.
    pub(crate) faults: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Browser {
    /// Starts a browser; `None` where there is none, which is then said.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        if Command::new("chromium").arg("--version").stdin(Stdio::null()).output().is_err() {
            skip("there is no chromium, which is 300 MB: apt-get install chromium");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        // The browser takes its orders from descriptor 3, and answers on 4.
        let script =
            format!("exec timeout --foreground {PATIENCE} chromium \"$@\" 3<&0 4>&1 0</dev/null 1>&0 2>&0");
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--remote-debugging-pipe", "--no-first-run", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (session, faults) = (None, Vec::new());
        let mut browser = Self { child, input, output, session, number: 0, faults, _profile: profile };
        let target = browser.command("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.command("Target.attachToTarget", attach);
        let allowed = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        browser.command("Browser.grantPermissions", allowed);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.command(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Has the browser do something, which must succeed.
    fn command(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params);
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut order = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let mut text = Vec::new();
            self.output.read_until(0, &mut text).unwrap();
            assert_eq!(text.pop(), Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&text).unwrap();
            if message["id"] == self.number {
                return message;
            }
            let entry = &message["params"]["entry"];
            if message["method"] == "Runtime.exceptionThrown" || entry["level"] == "error" {
                self.faults.push(message["params"].to_string());
            }
        }
    }

    /// Gives the window a size, as of a phone where `is_phone`, and the user's wish for a scheme of colours.
    pub(crate) fn window(&mut self, (width, height): (u32, u32), is_phone: bool, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.command("Emulation.setDeviceMetricsOverride", size);
        let wish = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setEmulatedMedia", wish);
    }

    /// Has pages run no scripts.
    pub(crate) fn without_scripts(&mut self) {
        self.command("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.command("Page.navigate", json!({ "url": url }));
        self.wait_for("document.readyState === 'complete'");
    }

    /// Returns the value of an expression, or of the promise that it is.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        self.value(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn value(&mut self, expression: &str) -> Result<Value, String> {
        let order = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let answer = self.ask("Runtime.evaluate", order);
        let result = &answer["result"];
        match (&answer["error"], &result["exceptionDetails"]) {
            (Value::Null, Value::Null) => Ok(result["result"]["value"].clone()),
            (error, Value::Null) => Err(error.to_string()),
            (_, exception) => Err(exception.to_string()),
        }
    }

    /// Waits until a condition holds, also on the page that follows this one.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, condition: &str) {
        let until = Instant::now() + WAIT;
        // On the way from a page to another, there is nothing to ask.
        while self.value(condition) != Ok(json!(true)) {
            assert!(Instant::now() < until, "{condition} does not hold");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Presses a key: `Tab`, `Enter`, `ArrowDown`, or a character.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "ArrowDown" => (40, ""),
            character => (0, character),
        };
        let down = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": text });
        self.command("Input.dispatchKeyEvent", down);
        self.command(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        );
    }

    /// Types a text.
    pub(crate) fn types(&mut self, text: &str) {
        for character in text.chars() {
            self.press(&character.to_string());
        }
    }

    /// Presses Tab until what is focused fits a selector.
    #[track_caller]
    pub(crate) fn tab_to(&mut self, selector: &str) {
        let is_there = format!("document.activeElement.matches({})", json!(selector));
        for _ in 0..40 {
            self.press("Tab");
            if self.evaluate(&is_there) == true {
                return;
            }
        }
        panic!("the keyboard does not reach {selector}");
    }

    /// Takes a picture of the page, and keeps it in `target/browser`.
    pub(crate) fn picture(&mut self, name: &str) {
        let shot = self.command("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = base64::prelude::BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        assert!(bytes.len() > 5000, "{name}: the page is empty");
        let folder = root().join("target/browser");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Returns what keeps people from using the page, a line each, by axe-core.
    pub(crate) fn barriers(&mut self, axe: &str) -> Vec<String> {
        self.value(axe).unwrap();
        let found = self.evaluate(
            "axe.run().then((found) => found.violations.flatMap((rule) => \
             rule.nodes.map((node) => `${rule.id}: ${node.failureSummary} ${node.html}`)))",
        );
        found.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }
}

/// Returns the text of axe-core, from the package registry or from an earlier run; `None` where it is not available, which is then said.
#[track_caller]
pub(crate) fn axe() -> Option<String> {
    let kept: PathBuf = root().join("target/browser").join(format!("{AXE}.js"));
    if !kept.exists() {
        let folder = tempfile::tempdir().unwrap();
        let pack = ["pack", "--silent", AXE];
        let npm = Command::new("npm").args(pack).current_dir(folder.path()).stdin(Stdio::null()).output();
        if !npm.is_ok_and(|output| output.status.success()) {
            skip("npm cannot fetch axe-core: apt-get install npm");
            return None;
        }
        let unpack = "tar xzf axe-core-*.tgz package/axe.min.js && cat package/axe.min.js";
        let text =
            Command::new("sh").args(["-c", unpack]).current_dir(folder.path()).output().unwrap().stdout;
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        // Another test may write it at the same time: each writes all of it.
        let own = kept.with_extension(std::process::id().to_string());
        std::fs::write(&own, text).unwrap();
        std::fs::rename(own, &kept).unwrap();
    }
    let text = std::fs::read(&kept).unwrap();
    assert_eq!(Digest::of(&text).to_string(), AXE_DIGEST, "{}", kept.display());
    Some(String::from_utf8(text).unwrap())
}
