//! Writes results as JUnit XML, the form that CI services read.
//!
//! Format: the schema of Jenkins' xUnit plugin (`junit-10.xsd`): a `testsuite` for each image, a `testcase` for each test,
//! whose `classname` is the stage.

use std::fmt::Write as _;

use super::TestOutcome;

/// The tests of one image.
#[derive(Debug, Clone, Copy)]
pub struct Suite<'a> {
    /// What the image is called.
    pub name: &'a str,
    /// Its tests.
    pub tests: &'a [TestOutcome],
}

/// Returns the document.
pub fn document(suites: &[Suite<'_>]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for Suite { name, tests } in suites {
        let failures = tests.iter().filter(|test| test.failure.is_some()).count();
        let seconds: f64 = tests.iter().map(|test| test.seconds).sum();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" time=\"{seconds:.3}\">",
            escaped(name),
            tests.len(),
        );
        tests.iter().for_each(|test| case(&mut xml, test));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, test: &TestOutcome) {
    let (stage, name) = (escaped(&test.stage), escaped(&test.name));
    let _ = write!(xml, "    <testcase classname=\"{stage}\" name=\"{name}\" time=\"{:.3}\"", test.seconds);
    let Some(failure) = &test.failure else { return xml.push_str("/>\n") };
    let _ = writeln!(xml, ">\n      <failure message=\"{}\"/>", escaped(&failure.reason));
    for (tag, text) in [("system-out", &failure.stdout), ("system-err", &failure.stderr)] {
        if !text.is_empty() {
            let _ = writeln!(xml, "      <{tag}>{}</{tag}>", escaped(text));
        }
    }
    xml.push_str("    </testcase>\n");
}

/// Escapes a text for content and attributes. Characters that XML 1.0 cannot have (section 2.2) become `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => _ = write!(out, "&#{};", c as u32),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_test::TestFailure;

    #[test]
    fn the_document_has_every_test() {
        let failure = TestFailure {
            reason: "it printed \"<a>\" & more\n".to_owned(),
            stdout: "]]>\u{1b}[0m".to_owned(),
            stderr: String::new(),
        };
        let outcome = |name: &str, failure| TestOutcome {
            stage: "ro".to_owned(),
            name: name.to_owned(),
            seconds: 1.25,
            failure,
        };
        let tests = [outcome("is ro", None), outcome("writes", Some(failure))];
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites>
  <testsuite name=\"router\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"2.500\">
    <testcase classname=\"ro\" name=\"is ro\" time=\"1.250\"/>
    <testcase classname=\"ro\" name=\"writes\" time=\"1.250\">
      <failure message=\"it printed &quot;&lt;a&gt;&quot; &amp; more&#10;\"/>
      <system-out>]]&gt;?[0m</system-out>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(document(&[Suite { name: "router", tests: &tests }]), expected);
    }
}
