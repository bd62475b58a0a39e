//! Reads the report that nextest writes: names, failures, and self-declared skips.
//!
//! Understands exactly that writer's form, not XML in general.

/// One run of all tests.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) tests: Vec<Test>,
}

/// One test of the run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) failed: bool,
    pub(crate) skipped: bool,
}

impl Report {
    /// Returns how many tests failed.
    pub(crate) fn failed(&self) -> usize {
        self.tests.iter().filter(|test| test.failed).count()
    }

    /// Returns the tests that passed by skipping themselves.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = &Test> {
        self.tests
            .iter()
            .filter(|test| test.skipped && !test.failed)
    }
}

/// Returns the tests of a report.
pub(crate) fn parse(xml: &str) -> Report {
    let tests = xml.split("<testcase ").skip(1).filter_map(test).collect();
    Report { tests }
}

fn test(text: &str) -> Option<Test> {
    let (case, _) = text.split_once("</testcase>").unwrap_or((text, ""));
    let name = format!(
        "{} {}",
        attribute(case, "classname")?,
        attribute(case, "name")?
    );
    let failed = case.contains("<failure") || case.contains("<error");
    let skipped = case
        .lines()
        .any(|line| after_tag(line).starts_with("skipped: "));
    Some(Test {
        name,
        failed,
        skipped,
    })
}

/// Returns the line without the tags that nextest puts before a first line of output.
fn after_tag(line: &str) -> &str {
    line.rsplit_once('>')
        .map_or(line, |(_, rest)| rest)
        .trim_start()
}

fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text
        .find(&format!("{name}=\""))
        .filter(|at| *at == 0 || text.as_bytes()[at - 1] == b' ')?;
    let rest = &text[start + name.len() + 2..];
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_failures_and_skips_are_told_apart() {
        let xml = r#"<testsuite name="base">
            <testcase name="a" classname="base" time="0.1">
            </testcase>
            <testcase name="m::b" classname="base" time="0.1"><failure message="x"/></testcase>
            <testcase name="c" classname="base::bin/x" time="0.1">
                <system-err>skipped: needs cgroup v2
</system-err></testcase></testsuite>"#;
        let report = parse(xml);
        let names: Vec<&str> = report.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["base a", "base m::b", "base::bin/x c"]);
        assert_eq!((report.failed(), report.skipped().count()), (1, 1));
    }
}
