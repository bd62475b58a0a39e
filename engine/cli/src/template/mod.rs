//! The part of Go's templates that `--format` is used with: fields, `json`,
//! `join`, `index`, `len`, `upper`, `lower`, `title`, `split`, `println`, `eq`,
//! `ne`, `not`, `and`, `or`, pipelines, `if`, `with` and `range`.
//!
//! What it does not know is an error with the word in it, never an empty text.

mod eval;
mod lex;
mod parse;

use serde_json::Value;

pub(crate) use parse::Template;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template parsing error: {0}")]
    Parse(String),
    #[error("template evaluation error: {0}")]
    Evaluate(String),
}

impl Template {
    /// Returns the text the template makes of `value`.
    ///
    /// # Errors
    /// When a field is not there, or a function does not fit its arguments.
    pub(crate) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        eval::render(self, value)
    }
}

#[cfg(test)]
mod tests;
