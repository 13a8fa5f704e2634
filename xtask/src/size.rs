//! What a visitor downloads before anything works, and how much of it we allow.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::env;

/// In bytes, compressed by gzip at its best, with 1 KB = 1,000 bytes and 1 MB = 1,000,000.
const PAGE_BUDGET: u64 = 400_000;
const ENGINE_BUDGET: u64 = 3_000_000;

/// One WebAssembly file of the page.
pub struct Measured {
    pub name: String,
    pub bytes: u64,
    pub gzip_bytes: u64,
    pub budget: u64,
}

/// The WebAssembly files of a built page; both must be there.
pub fn measure(dist: &Path) -> Result<Vec<Measured>, String> {
    let names = wasm_files(dist)?;
    let mut files = Vec::new();
    for (prefix, budget) in [("app", PAGE_BUDGET), ("engine", ENGINE_BUDGET)] {
        let mut found = names.iter().filter(|name| name.starts_with(prefix));
        let (Some(name), None) = (found.next(), found.next()) else {
            return Err(format!("{} should have one {prefix}*.wasm: {names:?}", dist.display()));
        };
        let contents = std::fs::read(dist.join(name)).map_err(|why| format!("cannot read {name}: {why}"))?;
        files.push(Measured { name: name.clone(), bytes: contents.len() as u64, gzip_bytes: gzip_bytes(&contents), budget });
    }
    Ok(files)
}

/// Names of the WebAssembly files at the top of a folder.
pub fn wasm_files(dist: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(dist).map_err(|why| format!("cannot read {}: {why}", dist.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| env::has_extension(name, "wasm")).collect())
}

/// Fails on the first file above its budget, if any.
pub fn check(files: &[Measured]) -> Result<(), String> {
    let above: Vec<_> = files.iter().filter(|file| file.gzip_bytes > file.budget).collect();
    match above.first() {
        None => Ok(()),
        Some(file) => {
            Err(format!("{} is {} gzipped; at most {} is allowed", file.name, thousands(file.gzip_bytes), thousands(file.budget)))
        }
    }
}

pub fn table(files: &[Measured]) -> String {
    let mut lines = vec![format!("    {:<32} {:>12} {:>12} {:>12}", "bytes", "plain", "gzip -9", "allowed")];
    lines.extend(files.iter().map(|file| {
        let [plain, gzip, budget] = [file.bytes, file.gzip_bytes, file.budget].map(thousands);
        format!("    {:<32} {plain:>12} {gzip:>12} {budget:>12}", file.name)
    }));
    lines.join("\n")
}

fn gzip_bytes(contents: &[u8]) -> u64 {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
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
        let file = |gzip_bytes| Measured { name: "app.wasm".into(), bytes: 1_000_000, gzip_bytes, budget: PAGE_BUDGET };
        assert!(check(&[file(400_000)]).is_ok());
        assert!(check(&[file(400_001)]).is_err());
        assert!(gzip_bytes(&vec![0; 100_000]) < 1_000);
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
    }
}
