//! Keeps unwanted crates out of the page: Cargo lists the linked ones, for the page's features.

use crate::{env, process};

/// A crate in the output of `cargo tree`, with its features.
#[derive(Debug, PartialEq)]
struct Package {
    name: String,
    features: Vec<String>,
}

/// Checks that the page has no tensor code.
pub fn check_page() -> Result<(), String> {
    let packages = dependencies("ui")?;
    let offenders = packages.iter().filter(|p| is_tensor_code(&p.name));
    none(offenders.map(|p| p.name.clone()), "the page (features ui) must do without")
}

/// Checks that the engine has no interface, and only those parts of Burn that help in a browser. Without a clock and
/// threads, autotune and fusion cost start-up time and size for nothing.
pub fn check_engine() -> Result<(), String> {
    let packages = dependencies("worker")?;
    if !packages.iter().any(|p| p.name == "burn") {
        return Err("the engine (features worker) has no Burn in it: is this check still right?".to_owned());
    }
    let crates = packages.iter().map(|p| &p.name).filter(|name| is_unwanted_crate(name)).cloned();
    let features = packages.iter().flat_map(unwanted_features);
    none(crates.chain(features), "the engine (features worker) must do without")
}

fn is_tensor_code(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["burn", "cubecl", "cubek", "wgpu"];
    name == "tokenizers" || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_unwanted_crate(name: &str) -> bool {
    name == "burn-fusion" || name.starts_with("leptos") || name.contains("cuda")
}

fn unwanted_features(package: &Package) -> Vec<String> {
    // The crate wgpu lists every graphics interface that it could use, and selects by target.
    if !is_tensor_code(&package.name) || package.name.starts_with("wgpu") {
        return Vec::new();
    }
    let unwanted = package.features.iter().filter(|f| matches!(f.as_str(), "autotune" | "fusion" | "vulkan"));
    unwanted.map(|feature| format!("{}/{feature}", package.name)).collect()
}

fn none(found: impl Iterator<Item = String>, complaint: &str) -> Result<(), String> {
    let found: Vec<_> = found.collect();
    if found.is_empty() { Ok(()) } else { Err(format!("{complaint} {}", found.join(", "))) }
}

fn dependencies(features: &str) -> Result<Vec<Package>, String> {
    let mut cargo = env::command("cargo");
    cargo.args(["tree", "--locked", "--package", "linchpin", "--target", "wasm32-unknown-unknown"]);
    cargo.args(["--no-default-features", "--features", features]);
    cargo.args(["--edges", "normal", "--prefix", "none", "--format", "{p}|{f}"]);
    let tree = process::output(&mut cargo)?;
    let mut packages: Vec<_> = tree.lines().filter_map(package).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages.dedup();
    Ok(packages)
}

fn package(line: &str) -> Option<Package> {
    // A repeated package is marked, and has the same features.
    let (package, features) = line.trim_end_matches(" (*)").split_once('|')?;
    Some(Package { name: package.split(' ').next()?.to_owned(), features: features.split(',').map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autotune_and_fusion_are_found() {
        let cubecl = package("cubecl-runtime v0.11.3|autotune,default,std (*)").unwrap();
        assert_eq!(unwanted_features(&cubecl), ["cubecl-runtime/autotune"]);
        let other = package("serde v1.0.0 (proc-macro)|fusion").unwrap();
        assert_eq!(unwanted_features(&other), [""; 0]);
        assert!(is_unwanted_crate("burn-fusion") && !is_unwanted_crate("burn-autodiff"));
        assert!(is_tensor_code("burn-wgpu") && !is_tensor_code("serde"));
    }
}
