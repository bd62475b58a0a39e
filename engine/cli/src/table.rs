//! Columns of text: every cell but the last is padded to its column's width,
//! three spaces apart and at least ten wide, as Docker's tables are.

const MINIMUM_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Returns `rows`, aligned, a line each.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(rows, column)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let spaces = widths[column].saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', spaces));
            }
        }
        text.push('\n');
    }
    text
}

/// A row's last cell does not widen its column.
fn width(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter(|row| row.len() > column + 1);
    let widest = cells.map(|row| row[column].chars().count() + PADDING).max();
    widest.unwrap_or(0).max(MINIMUM_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let table = [
            row(&["DRIVER", "VOLUME NAME"]),
            row(&["local", "a"]),
            row(&["a-longer-driver", ""]),
        ];
        assert_eq!(
            render(&table),
            "DRIVER            VOLUME NAME\nlocal             a\na-longer-driver   \n"
        );
        assert_eq!(render(&[row(&["a", "ä", "c"])]), "a         ä         c\n");
    }
}
