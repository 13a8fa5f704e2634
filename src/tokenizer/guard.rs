//! Calls of the crate `tokenizers`, whose panics become errors where a panic can be caught: natively. In a browser a panic
//! ends the worker, so nothing that is known to panic may get here ([`super::file`] refuses it).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::platform::IN_BROWSER;

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Calls `work`; a panic is an error with its message, and prints nothing.
///
/// # Errors
///
/// The message of a panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                before(panic);
            }
        }));
    });
    let was_quiet = IS_QUIET.replace(!IN_BROWSER);
    // What the crate keeps between calls are caches of whole entries.
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(was_quiet);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        format!("the crate tokenizers broke off: {text}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_an_error_with_its_message() {
        assert_eq!(guarded(|| 3), Ok(3));
        let n = 7;
        let caught = guarded(|| -> u8 { panic!("{n} tokens") });
        assert!(caught.unwrap_err().ends_with("broke off: 7 tokens"));
        assert!(catch_unwind(|| guarded(|| ()).unwrap()).is_ok() && !IS_QUIET.get());
    }
}
