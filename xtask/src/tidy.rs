//! Rules of this repository that the compiler does not check.

use std::collections::BTreeMap;
use std::path::Path;

use crate::figures::Figures;
use crate::{env, modules, process};

const MAX_LINES: usize = 400;
/// Files under `src/` that may be longer, each with the reason.
const MAY_BE_LONGER: [(&str, &str); 0] = [];

/// Kinds of files that people write; data (models, texts, tokenizers) is not checked.
const WRITTEN: [&str; 17] =
    ["rs", "wgsl", "toml", "md", "html", "css", "js", "mjs", "cjs", "json", "yml", "yaml", "sh", "py", "svg", "lock", "npmrc"];
const DATA_FOLDERS: [&str; 3] = ["public/models/", "public/texts/", "tests/golden/"];

/// A place in a file, and the violation there.
type Finding = String;

/// Checks every file of the repository, and prints the figures of its Rust files.
pub fn check() -> Result<(), String> {
    let root = env::root();
    let mut findings = Vec::new();
    let mut sources = BTreeMap::new();
    for path in files()? {
        // A file that was deleted but not yet committed is also listed.
        if let Ok(bytes) = std::fs::read(root.join(&path))
            && is_written_by_people(&path)
        {
            match String::from_utf8(bytes) {
                Ok(text) => {
                    findings.extend(look_at(&path, &text));
                    if env::has_extension(&path, "rs") {
                        sources.insert(path, text);
                    }
                }
                Err(_) => findings.push(format!("{path}: is not UTF-8")),
            }
        }
    }
    for (path, _) in MAY_BE_LONGER {
        if !root.join(path).is_file() {
            findings.push(format!("{path}: listed as long in xtask/src/tidy.rs, but not there"));
        }
    }
    match Figures::measure(&sources, &modules::MAY_IMPORT) {
        Ok(figures) => {
            println!("{}", figures.table());
            findings.extend(figures.findings());
        }
        Err(why) => findings.push(why),
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(format!("{} findings\n    {}", findings.len(), findings.join("\n    ")))
}

/// Tracked files, and untracked ones that are not ignored.
fn files() -> Result<Vec<String>, String> {
    let mut git = env::command("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = process::output(&mut git)?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn is_written_by_people(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    let written = extension.is_none_or(|extension| WRITTEN.contains(&extension));
    written && !DATA_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// The path of a Rust file below `src/`.
fn below_src(path: &str) -> Option<&str> {
    path.strip_prefix("src/").filter(|below| env::has_extension(below, "rs"))
}

fn look_at(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(below_src) = below_src(path) {
        findings.extend(too_long(path, text));
        findings.extend(modules::violations(below_src, text));
        if !below_src.starts_with("platform/") && !below_src.starts_with("bin/") {
            findings.extend(lines(path, text, asks_for_the_target, "asks for the target outside src/platform/"));
        }
    }
    findings.extend(lines(path, text, has_home_folder, "names a folder of one machine"));
    findings.extend(lines(path, text, has_bare_to_do, "leaves something to do without saying where it is tracked"));
    if path.ends_with("package-lock.json") {
        findings.extend(lines(path, text, has_private_registry, "names another registry than npm's"));
    }
    findings
}

fn lines(path: &str, text: &str, is_wrong: fn(&str) -> bool, complaint: &str) -> Vec<Finding> {
    let wrong = text.lines().enumerate().filter(|(_, line)| is_wrong(line));
    wrong.map(|(n, _)| format!("{path}:{}: {complaint}", n + 1)).collect()
}

fn too_long(path: &str, text: &str) -> Option<Finding> {
    let n_lines = text.lines().count();
    let excused = MAY_BE_LONGER.iter().any(|(long, _)| *long == path);
    (n_lines > MAX_LINES && !excused).then(|| format!("{path}: {n_lines} lines; at most {MAX_LINES}"))
}

fn asks_for_the_target(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.contains("cfg") && (code.contains("target_") || code.contains("cfg(target"))
}

/// The words are assembled here so that this file does not find itself.
fn has_home_folder(line: &str) -> bool {
    let homes = ["/ho", "/ro", "/Us", "C:\\Us"];
    let rests = ["me/", "ot/", "ers/", "ers\\"];
    let found = |(home, rest): (&&str, &&str)| line.contains(&format!("{home}{rest}"));
    homes.iter().zip(rests.iter()).any(found)
}

fn has_bare_to_do(line: &str) -> bool {
    [concat!("TO", "DO"), concat!("FIX", "ME")].iter().any(|word| {
        line.match_indices(word).any(|(at, _)| {
            let inside_a_word = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = &line[at + word.len()..];
            let continues = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let tracked = rest.starts_with("(#") || rest.starts_with("(http");
            !inside_a_word && !continues && !tracked
        })
    })
}

fn has_private_registry(line: &str) -> bool {
    line.contains("\"resolved\"") && !line.contains("https://registry.npmjs.org/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n_findings(path: &str, text: &str) -> usize {
        look_at(path, text).len()
    }

    #[test]
    fn each_rule_finds_what_it_forbids() {
        assert_eq!(n_findings("src/terms.rs", &"\n".repeat(MAX_LINES)), 0);
        assert_eq!(n_findings("src/terms.rs", &"\n".repeat(MAX_LINES + 1)), 1);
        assert_eq!(n_findings("src/terms.rs", "#[cfg(target_arch = \"wasm32\")]"), 1);
        assert_eq!(n_findings("src/platform/mod.rs", "#[cfg(target_arch = \"wasm32\")]"), 0);
        assert_eq!(n_findings("README.md", concat!("see /ho", "me/me/notes")), 1);
        assert_eq!(n_findings("a.py", concat!("# TO", "DO later")), 1);
        assert_eq!(n_findings("a.py", concat!("# TO", "DO(#12): later; TO", "DOS")), 0);
        let lock = "\"resolved\": \"https://mirror.example/x.tgz\"";
        assert_eq!(n_findings("tests/e2e/package-lock.json", lock), 1);
    }

    #[test]
    fn data_is_left_alone() {
        assert!(is_written_by_people("src/lib.rs") && is_written_by_people("src/decode/wgsl/draw.wgsl") && is_written_by_people(".ci/run"));
        assert!(!is_written_by_people("public/models/x/config.json"));
        assert!(!is_written_by_people("tests/fixtures/tiny.safetensors"));
    }
}
