//! The workers that share a measurement.

use super::counted;
use crate::terms::Sharing;
use crate::words::bytes;

/// The help for the choice of their number: what each takes, and what else they do.
pub fn sharing(Sharing { workers, most, helper_bytes, lost }: &Sharing) -> String {
    let each = bytes(*helper_bytes as f64);
    let memory = match workers.saturating_sub(1) {
        0 => format!("Each worker beyond the first would take up to {each} of memory"),
        1 => format!("The second worker takes up to {each} of memory"),
        helpers => {
            format!("Each worker beyond the first takes up to {each} of memory, together {}", bytes((helpers as u64 * helper_bytes) as f64))
        }
    };
    let lost = match lost {
        0 => String::new(),
        n => format!(" {} failed, and the others did the work. Choose a number to start workers again.", counted(*n as f64, "worker")),
    };
    format!(
        "This browser offers {}. More workers confirm sooner, and remove channels sooner, with the same numbers. {memory}: its own copy of \
         the weights, those that an arm changes, and what passes have in common. It starts with the next measurement, while the browser \
         holds one more copy for it, and stays until another model is loaded.{lost}",
        counted(*most as f64, "processor")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_said_for_any_number_of_workers() {
        let of = |workers, lost| sharing(&Sharing { workers, most: 8, helper_bytes: 170_000_000, lost });
        assert!(of(1, 0).contains("8 processors.") && of(1, 0).contains("would take up to 170 MB of memory"), "{}", of(1, 0));
        assert!(of(2, 0).contains("The second worker takes up to 170 MB of memory:"), "{}", of(2, 0));
        assert!(of(4, 0).contains("up to 170 MB of memory, together 510 MB:"), "{}", of(4, 0));
        assert!(!of(4, 0).contains("failed") && of(4, 1).contains("1 worker failed"), "{}", of(4, 1));
    }
}
