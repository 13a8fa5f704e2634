//! The permitted imports: the map at the head of `src/lib.rs`, as a table that is checked.

/// The rooms (the library's top-level modules), and the rooms that each may import. Every room imports only rooms
/// above it here.
pub const MAY_IMPORT: [(&str, &[&str]); 23] = [
    ("words", &[]),
    ("terms", &[]),
    ("protocol", &["terms"]),
    ("share", &["words", "terms"]),
    ("tables", &["terms"]),
    // Only tests need `share`: the names of figures are those of old links.
    ("language", &["words", "terms", "share", "tables"]),
    // Only tests need `words` and `share`: an id must be valid in a link.
    ("catalog", &["words", "terms", "share"]),
    ("draw", &["words", "terms", "language", "tables"]),
    ("weights", &[]),
    ("platform", &["words", "terms", "weights"]),
    ("tokenizer", &["platform"]),
    ("job", &["terms", "protocol", "platform"]),
    ("sampling", &["terms"]),
    ("tensors", &["platform"]),
    ("model", &["terms", "weights", "tensors"]),
    ("loading", &["terms", "platform", "job", "weights", "tensors", "model"]),
    ("saving", &["terms", "platform", "job", "weights", "model", "loading"]),
    // Only tests need `sampling`: the GPU's choice is compared with it.
    ("decode", &["terms", "platform", "sampling", "tensors", "model"]),
    ("analysis", &["terms", "tokenizer", "job", "tensors", "model"]),
    ("experiments", &["terms", "protocol", "platform", "tokenizer", "job", "tensors", "model", "analysis"]),
    (
        "engine",
        &[
            "terms",
            "protocol",
            "tokenizer",
            "weights",
            "platform",
            "job",
            "sampling",
            "tensors",
            "model",
            "loading",
            "saving",
            "decode",
            "analysis",
            "experiments",
        ],
    ),
    ("cli", &["words", "terms", "protocol", "share", "language", "catalog", "tables", "draw", "platform", "job", "engine"]),
    ("ui", &["words", "terms", "protocol", "share", "language", "catalog", "tables", "draw"]),
];

/// Crates of tensors, which these modules must not use.
const TENSOR_CRATES: [&str; 5] = ["burn", "cubecl", "wgpu", "tokenizers", "half"];
const WITHOUT_TENSORS: [&str; 11] =
    ["words", "terms", "language", "tables", "catalog", "protocol", "share", "draw", "platform", "cli", "ui"];

/// Modules that must not read files or open connections.
const WITHOUT_IO: [&str; 11] =
    ["words", "terms", "language", "tables", "draw", "job", "sampling", "tensors", "model", "analysis", "experiments"];

/// The room of a source file (its path below `src/`); `None` for the library's head and the binaries.
fn room(path: &str) -> Option<&str> {
    let name = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    // A module's tests may be next to it.
    let name = name.trim_end_matches("_tests");
    (!matches!(name, "lib" | "bin")).then_some(name)
}

/// Finds uses of forbidden crates and system functions in a source file (its path below `src/`).
pub fn violations(path: &str, source: &str) -> Vec<String> {
    let Some(room) = room(path) else { return Vec::new() };
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    if WITHOUT_TENSORS.contains(&room) {
        let tensors = TENSOR_CRATES.iter().filter(|name| has_path(&code, name));
        // The platform requests the GPU.
        let tensors = tensors.filter(|name| room != "platform" || **name == "tokenizers");
        found.extend(tensors.map(|name| format!("src/{path}: `{room}` may not import the crate `{name}`")));
    }
    if WITHOUT_IO.contains(&room) {
        let io = ["std::fs", "std::net", "web_sys"].into_iter().filter(|forbidden| code.contains(forbidden));
        found.extend(io.map(|forbidden| format!("src/{path}: `{room}` does no I/O, but names `{forbidden}`")));
    }
    found
}

/// `true` if `name::` occurs as the beginning of a path.
fn has_path(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_and_files_that_a_room_does_without_are_found() {
        let n = |path, source| violations(path, source).len();
        assert_eq!(n("ui/mod.rs", "use burn::tensor::Tensor;"), 1);
        assert_eq!(n("ui/mod.rs", "// burn::Tensor is not for here"), 0);
        assert_eq!(n("ui/chart.rs", "let half = crate::ui::half::x(); my_burn::y();"), 0);
        assert_eq!(n("platform/gpu.rs", "use wgpu::Device;"), 0);
        assert_eq!(n("model/llama.rs", "use burn::prelude::*;"), 0);
        assert_eq!(n("model/llama.rs", "std::fs::read(path)"), 1);
        assert_eq!(n("hub/cache.rs", "std::fs::read(path)"), 0);
    }

    #[test]
    fn rooms_import_only_what_is_above_them_in_the_table() {
        for (index, (room, allowed)) in MAY_IMPORT.iter().enumerate() {
            for named in *allowed {
                assert!(MAY_IMPORT[..index].iter().any(|(above, _)| above == named), "{room} imports {named}");
            }
        }
    }
}
