//! The arms of experiments, and the methods of rounding.

/// The label of an arm's, a method's or a block's code.
pub fn arm(code: &str) -> Option<String> {
    let known = match code {
        "original" => "Original",
        "intact" => "intact",
        "prune_sw" => "Prune SW",
        "prune_random" => "Prune random",
        "prune_non_sw_per_tensor" => "Prune Non-SW, per tensor",
        "prune_sw_restored" => "Prune SW, +SA",
        "sa_zero" => "SA set to 0",
        "sa_mean" => "SA set to its mean",
        "removed" => "super weights removed",
        "other_removed" => "another large weight removed",
        "full_precision" => "Full precision",
        "naive" => "Naive rounding",
        "sa_held_out" => "SA held out",
        "smooth_quant" => "SmoothQuant",
        "nearest" => "RTN",
        "sw_held_out" => "SW held out",
        "matrix" => "the whole matrix",
        _ => return of_number(code),
    };
    Some(known.into())
}

fn of_number(code: &str) -> Option<String> {
    if let Some(n) = code.strip_prefix("prune_non_sw_").and_then(|rest| rest.strip_suffix("_largest")) {
        return Some(format!("Prune Non-SW, {n} largest"));
    }
    if let Some(z) = code.strip_prefix("clipped_") {
        return Some(format!("z = {z}"));
    }
    if let Some(factor) = code.strip_prefix("factor_") {
        return Some(format!("factor {factor}"));
    }
    // "int4/1024/nearest": precision, block, method.
    let mut parts = code.strip_prefix("int")?.splitn(3, '/');
    let (bits, block, method) = (parts.next()?, parts.next()?, parts.next()?);
    let label = |code: &str| arm(code).unwrap_or_else(|| code.into());
    Some(format!("INT{bits}, {}, {}", label(block), label(method)))
}
