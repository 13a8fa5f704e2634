//! Tables as CSV: the only writer, of whole tables and of rows appended to a file.
//!
//! Texts come from models, tokenizers and names of files, and spreadsheets take a field that begins like a formula for one, in quotes or
//! not: `=cmd|…` would run a program. Such a field gets an apostrophe in front, which a spreadsheet does not show
//! ([OWASP](https://owasp.org/www-community/attacks/CSV_Injection)).

use super::{Cell, Column, DataTable, Notation};

impl DataTable {
    /// The table as CSV by RFC 4180, but with `\n` line ends. The first line has the columns' names.
    pub fn to_csv(&self) -> String {
        let lines = self.rows.iter().map(|row| self.csv_cells(row) + "\n");
        self.csv_head() + "\n" + &lines.collect::<String>()
    }

    /// The first line of the CSV file, without its line end.
    pub fn csv_head(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name, false)).collect::<Vec<_>>().join(",")
    }

    /// A row of the CSV file, or its first cells, without the line end.
    pub fn csv_cells(&self, cells: &[Cell]) -> String {
        let text = |(cell, column): (&Cell, &Column)| match cell {
            Cell::Number(number) if column.notation == Notation::Scientific => format!("{number:e}"),
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => quoted(text, column.notation == Notation::Quoted),
            Cell::Nothing => String::new(),
        };
        cells.iter().zip(&self.columns).map(text).collect::<Vec<_>>().join(",")
    }
}

/// A field of a CSV file, in quotes if it needs them or if `always`.
fn quoted(text: &str, always: bool) -> String {
    let text = &if is_formula(text) { format!("'{text}") } else { text.to_owned() };
    match always || text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// `true` if a spreadsheet may take a text for a formula. A number is none, whatever its sign.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) && text.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_a_csv_file() {
        let mut table = DataTable::new("loss", "Loss", &["arm", "loss (nats)", "tokens"]);
        table.push(["Prune SW, +SA".into(), 3.5_f64.into(), 100_usize.into()]);
        table.push(["a \"b\"".into(), Cell::Nothing, 0_usize.into()]);
        assert_eq!(table.columns[1], Column::new("loss", "nats"));
        assert_eq!(table.to_csv(), "arm,loss,tokens\n\"Prune SW, +SA\",3.5,100\n\"a \"\"b\"\"\",,0\n");
        assert_eq!(table.cell(0, "loss"), Some(&Cell::Number(3.5)));
        assert_eq!((table.cell(2, "loss"), table.cell(0, "none")), (None, None));
    }

    #[test]
    fn no_cell_is_a_formula() {
        let mut table = DataTable::new("t", "T", &["token"]);
        let texts = ["=cmd|' /C calc'!A1", "+1+1", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "-1.5", "+2", "a=b", "'", "-"];
        texts.iter().for_each(|text| table.push([(*text).into()]));
        let told = "token\n'=cmd|' /C calc'!A1\n'+1+1\n'-x\n'@SUM(A1)\n'\t=1\n\"'\r=1\"\n'＝1+1\n-1.5\n+2\na=b\n'\n'-\n";
        assert_eq!(table.to_csv(), told);
    }

    #[test]
    fn notations_decide_how_a_csv_file_writes_cells() {
        let mut table = DataTable::new("t", "T", &["model", "seed", "loss_proxy", "delta"]);
        table = table.with_notation(Notation::Quoted, &["model"]).with_notation(Notation::Scientific, &["loss_proxy"]);
        table.push(["m".into(), u64::MAX.into(), 1.5e-4_f32.into(), 1.5e-4_f32.into()]);
        table.push([Cell::Nothing, 7_u64.into(), f32::MAX.into(), (-0.25_f32).into()]);
        assert_eq!(table.to_csv(), "model,seed,loss_proxy,delta\n\"m\",18446744073709551615,1.5e-4,0.00015\n,7,3.4028235e38,-0.25\n");
        assert_eq!(table.csv_cells(&table.rows[0][..2]), "\"m\",18446744073709551615");
        let selected = table.select(&["delta", "none", "model"]);
        assert_eq!(selected.to_csv(), "delta,model\n0.00015,\"m\"\n-0.25,\n");
    }
}
