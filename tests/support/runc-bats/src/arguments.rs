//! Options as Go's programs take them: one dash or two, a value after `=` or in
//! the next word.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What a helper was called with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    options: HashMap<String, String>,
    words: Vec<String>,
}

impl Arguments {
    /// Sorts `words` into options, of which those named `with_value` have one,
    /// and what is left.
    ///
    /// # Errors
    /// When an option has no value that needs one.
    pub(crate) fn parse(
        mut words: impl Iterator<Item = String>,
        with_value: &[&str],
    ) -> Result<Self> {
        let mut parsed = Self {
            options: HashMap::new(),
            words: Vec::new(),
        };
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-') else {
                parsed.words.push(word);
                continue;
            };
            let option = option.strip_prefix('-').unwrap_or(option);
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if with_value.contains(&option) => {
                    let next = words.next();
                    (
                        option,
                        next.with_context(|| format!("{word} has no value"))?,
                    )
                }
                None => (option, String::new()),
            };
            parsed.options.insert(name.to_owned(), value);
        }
        Ok(parsed)
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Returns the word at a place.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn word(&self, place: usize) -> Result<&str> {
        let word = self.words.get(place).map(String::as_str);
        word.with_context(|| format!("word {} is missing", place + 1))
    }

    /// Writes this process's id where `--pid-file` says, and returns that path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_pid_file(&self) -> Result<Option<PathBuf>> {
        let Some(path) = self.option("pid-file") else {
            return Ok(None);
        };
        let path = Path::new(path);
        let text = format!("{}\n", std::process::id());
        let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("write {}", path.display()))?;
        Ok(Some(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(line.split(' ').map(str::to_owned), &["mode", "pid-file"])
    }

    #[test]
    fn options_have_one_dash_or_two_and_values_in_two_forms() {
        let parsed = parse("--mode null -pid-file=/p --no-stdin sock").unwrap();
        assert_eq!(parsed.option("mode"), Some("null"));
        assert_eq!(parsed.option("pid-file"), Some("/p"));
        assert_eq!(parsed.option("no-stdin"), Some(""));
        assert_eq!(parsed.word(0).unwrap(), "sock");
        assert!(parsed.word(1).is_err());
        assert!(parse("sock --mode").is_err());
    }
}
