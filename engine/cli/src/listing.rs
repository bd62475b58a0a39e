//! Lists of objects: as a table, by a template, as JSON, or only their ids.

use serde_json::{Map, Value};

use crate::error::CliError;
use crate::table;
use crate::template::Template;

/// An object's fields, under the names that templates use.
pub(crate) type Row = Map<String, Value>;

/// A kind of list: what its columns are called and which a table shows.
#[derive(Debug)]
pub(crate) struct Columns {
    /// Field and heading, for every field a row has.
    pub headings: &'static [(&'static str, &'static str)],
    /// The field that `-q` prints.
    pub id: &'static str,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style<'a> {
    /// `--format`.
    pub format: Option<&'a str>,
    /// `-q`; a format has precedence.
    pub quiet: Quiet,
    /// The fields a table shows without a format.
    pub table: &'a [&'a str],
}

/// Whether only ids are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    Yes,
    No,
}

impl From<bool> for Quiet {
    fn from(is_quiet: bool) -> Self {
        if is_quiet { Self::Yes } else { Self::No }
    }
}

impl Columns {
    /// Returns the text of a list.
    ///
    /// # Errors
    /// When the format cannot be read or names a field that rows do not have.
    pub(crate) fn render(&self, rows: Vec<Row>, style: Style<'_>) -> Result<String, CliError> {
        match style.format {
            None if style.quiet == Quiet::Yes => Ok(self.ids(&rows)),
            None | Some("table") => Ok(self.table(&rows, style.table)),
            Some("json") => Ok(lines(
                rows.into_iter().map(|row| Value::Object(row).to_string()),
            )),
            Some(format) => self.template(rows, &unescape(format)),
        }
    }

    fn ids(&self, rows: &[Row]) -> String {
        lines(rows.iter().map(|row| cell(row, self.id)))
    }

    fn table(&self, rows: &[Row], fields: &[&str]) -> String {
        let heading = |field: &&str| self.heading(field).to_owned();
        let mut cells = vec![fields.iter().map(heading).collect()];
        let cells_of = |row: &Row| fields.iter().map(|field| cell(row, field)).collect();
        cells.extend(rows.iter().map(cells_of));
        table::render(&cells)
    }

    fn template(&self, rows: Vec<Row>, format: &str) -> Result<String, CliError> {
        let (format, is_table) = match format.strip_prefix("table ") {
            Some(format) => (format.trim(), true),
            None => (format, false),
        };
        let template: Template = format.parse()?;
        let mut texts = Vec::new();
        if is_table {
            texts.push(template.render(&self.headings_row())?);
        }
        for row in rows {
            texts.push(template.render(&Value::Object(row))?);
        }
        if !is_table {
            return Ok(lines(texts.into_iter()));
        }
        let split = |text: &String| text.split('\t').map(str::to_owned).collect();
        Ok(table::render(&texts.iter().map(split).collect::<Vec<_>>()))
    }

    fn heading<'a>(&'a self, field: &'a str) -> &'a str {
        let found = self.headings.iter().find(|(name, _)| *name == field);
        found.map_or(field, |(_, heading)| heading)
    }

    fn headings_row(&self) -> Value {
        let pairs = self.headings.iter();
        let row: Row = pairs
            .map(|(field, heading)| ((*field).to_owned(), (*heading).into()))
            .collect();
        Value::Object(row)
    }
}

fn cell(row: &Row, field: &str) -> String {
    match row.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn lines(texts: impl Iterator<Item = String>) -> String {
    texts.map(|text| text + "\n").collect()
}

/// Reads `\t` and `\n`, which a shell passes on as two characters.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: Columns = Columns {
        headings: &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Scope", "SCOPE")],
        id: "ID",
    };

    fn check(format: Option<&str>, quiet: bool, expected: &str) {
        let row = |id: &str, name: &str| {
            let Value::Object(row) = json!({"ID": id, "Name": name, "Scope": "local"}) else {
                unreachable!("an object literal")
            };
            row
        };
        let style = Style {
            format,
            quiet: quiet.into(),
            table: &["ID", "Name"],
        };
        let text = COLUMNS
            .render(vec![row("1", "a"), row("2", "b")], style)
            .unwrap();
        assert_eq!(text, expected, "{format:?}");
    }

    #[test]
    fn a_list_has_five_forms() {
        check(
            None,
            false,
            "NETWORK ID   NAME\n1            a\n2            b\n",
        );
        check(None, true, "1\n2\n");
        check(Some("{{.Name}}:{{.Scope}}"), true, "a:local\nb:local\n");
        check(
            Some("table {{.Name}}\\t{{.ID}}"),
            false,
            "NAME      NETWORK ID\na         1\nb         2\n",
        );
        check(
            Some("json"),
            false,
            "{\"ID\":\"1\",\"Name\":\"a\",\"Scope\":\"local\"}\n{\"ID\":\"2\",\"Name\":\"b\",\"Scope\":\"local\"}\n",
        );
    }
}
