//! The sizes of the files that a visitor downloads before anything works, and their budgets.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::env;

/// In bytes, compressed by gzip -9, with 1 KB = 1,000 bytes and 1 MB = 1,000,000.
const PAGE_BUDGET: u64 = 600_000;
/// Page and engine together.
const SUM_BUDGET: u64 = 4_000_000;

/// A WebAssembly file of the page, or the sum of both.
pub struct Measured {
    pub name: String,
    pub bytes: u64,
    pub gzip_bytes: u64,
    /// `None` for the engine, which has no separate budget.
    pub budget: Option<u64>,
}

/// The WebAssembly files of a built page, which must exist, and their sum.
pub fn measure(dist: &Path) -> Result<Vec<Measured>, String> {
    let names = wasm_files(dist)?;
    let mut files = Vec::new();
    for (prefix, budget) in [("app", Some(PAGE_BUDGET)), ("engine", None)] {
        let mut found = names.iter().filter(|name| name.starts_with(prefix));
        let (Some(name), None) = (found.next(), found.next()) else {
            return Err(format!("{} should have one {prefix}*.wasm: {names:?}", dist.display()));
        };
        let contents = std::fs::read(dist.join(name)).map_err(|why| format!("cannot read {name}: {why}"))?;
        files.push(Measured { name: name.clone(), bytes: contents.len() as u64, gzip_bytes: gzip_bytes(&contents), budget });
    }
    files.push(sum(&files));
    Ok(files)
}

fn sum(files: &[Measured]) -> Measured {
    Measured {
        name: "page and engine together".to_owned(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        gzip_bytes: files.iter().map(|file| file.gzip_bytes).sum(),
        budget: Some(SUM_BUDGET),
    }
}

/// Names of the WebAssembly files at the top of a folder.
pub fn wasm_files(dist: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(dist).map_err(|why| format!("cannot read {}: {why}", dist.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| env::has_extension(name, "wasm")).collect())
}

/// Fails for the first size above its budget.
pub fn check(sizes: &[Measured]) -> Result<(), String> {
    for Measured { name, gzip_bytes, budget, .. } in sizes {
        if let Some(budget) = budget.filter(|budget| gzip_bytes > budget) {
            return Err(format!("{name}: {} gzipped; at most {} is allowed", thousands(*gzip_bytes), thousands(budget)));
        }
    }
    Ok(())
}

pub fn table(sizes: &[Measured]) -> String {
    let mut lines = vec![format!("    {:<32} {:>12} {:>12} {:>12}", "bytes", "plain", "gzip -9", "allowed")];
    lines.extend(sizes.iter().map(|size| {
        let (plain, gzip, budget) = (thousands(size.bytes), thousands(size.gzip_bytes), size.budget.map(thousands));
        format!("    {:<32} {plain:>12} {gzip:>12} {:>12}", size.name, budget.unwrap_or_default())
    }));
    lines.join("\n")
}

fn gzip_bytes(contents: &[u8]) -> u64 {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(contents);
    encoder.finish().map_or(u64::MAX, |compressed| compressed.len() as u64)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_of_the_gzipped_size() {
        let file = |gzip_bytes, budget| Measured { name: "x.wasm".into(), bytes: 9_000_000, gzip_bytes, budget };
        let both = |page, engine| {
            let mut sizes = vec![file(page, Some(PAGE_BUDGET)), file(engine, None)];
            sizes.push(sum(&sizes));
            check(&sizes).is_ok()
        };
        assert!(both(600_000, 3_400_000) && both(400_000, 3_600_000));
        assert!(!both(600_001, 3_000_000) && !both(600_000, 3_400_001));
        assert!(gzip_bytes(&vec![0; 100_000]) < 1_000);
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
    }
}
