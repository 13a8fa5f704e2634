//! Fields for numbers: a fault is told at the field, and nothing of it reaches the engine.

use leptos::prelude::*;

use crate::terms::{Count, Fraction, ShareOf};

/// A field for one number. The number is taken when the field is left. If it is refused, the typed text stays, the reason
/// is told below it (test id: the field's with `-error`), and the value before is kept, which the reason names.
#[component]
pub fn NumberField(
    name: &'static str,
    label: &'static str,
    step: &'static str,
    /// The value that is in use.
    value: Signal<String>,
    /// Takes a typed text, or refuses it with a sentence.
    take: Callback<String, Result<(), String>>,
) -> impl IntoView {
    // The refusal, and the value in use then: any other value ends it.
    let refused = RwSignal::new(None::<(String, String)>);
    let error = Memo::new(move |_| {
        let used = value.get();
        refused.with(|refused| refused.as_ref().filter(|(then, _)| *then == used).map(|(_, why)| format!("{why} {used} is used.")))
    });
    let change = move |event: leptos::ev::Event| match take.run(event_target_value(&event)) {
        Ok(()) => {
            refused.set(None);
            // Shows the number in its usual form, even if it did not change.
            event_target::<web_sys::HtmlInputElement>(&event).set_value(&value.get_untracked());
        }
        Err(why) => refused.set(Some((value.get_untracked(), why))),
    };
    let id = format!("{name}-error");
    view! {
        <label class="field count">
            {label}
            <input
                type="number" step=step data-testid=name prop:value=move || value.get() on:change=change
                aria-invalid=move || error.with(Option::is_some).to_string() aria-describedby=id.clone()
            />
            <span class="error" role="alert" id=id.clone() data-testid=id>{move || error.get()}</span>
        </label>
    }
}

/// Reads a whole number of at most `most`, if that is less than the setting's own limit.
pub fn whole(of: Count, most: u64, typed: &str) -> Result<u64, String> {
    let (least, most) = (*of.range().start(), most.min(*of.range().end()));
    let number = typed.trim().parse().ok().filter(|number| of.check_up_to(*number, most).is_ok());
    number.ok_or_else(|| refusal(&format!("a whole number from {least} to {most}"), typed))
}

/// Reads a number of the sampling.
pub fn fraction(of: Fraction, typed: &str) -> Result<f32, String> {
    let (least, most) = of.range().into_inner();
    let number = typed.trim().parse().ok().filter(|number| of.check(*number).is_ok());
    number.ok_or_else(|| refusal(&format!("a number from {least} to {most}"), typed))
}

/// Reads a share of the channels, typed in percent.
pub fn percent(of: ShareOf, typed: &str) -> Result<f64, String> {
    let expected = match of {
        ShareOf::Core => "more than 0 and less than 100 percent",
        ShareOf::Halo => "more than 0 and at most 100 percent",
        ShareOf::Removed => "0 to 100 percent",
    };
    let share = typed.trim().parse::<f64>().ok().map(|percent| percent / 100.0).filter(|share| of.check(*share).is_ok());
    share.ok_or_else(|| refusal(expected, typed))
}

fn refusal(expected: &str, typed: &str) -> String {
    match typed.trim() {
        // A browser hands over nothing if the text is no number.
        "" => format!("This must be {expected}."),
        typed => format!("This must be {expected}; {} is not.", typed.chars().take(20).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_or_refused_with_their_range() {
        assert_eq!(whole(Count::Sequences, u64::MAX, " 64 "), Ok(64));
        for typed in ["0", "100001", "1.5", "-1", "x", "1e3"] {
            let refused = whole(Count::Sequences, u64::MAX, typed).unwrap_err();
            assert_eq!(refused, format!("This must be a whole number from 1 to 100000; {typed} is not."));
        }
        assert_eq!(whole(Count::MaxNewTokens, 512, "513").unwrap_err(), "This must be a whole number from 1 to 512; 513 is not.");
        assert_eq!(whole(Count::Sequences, u64::MAX, "").unwrap_err(), "This must be a whole number from 1 to 100000.");
        assert_eq!(fraction(Fraction::Temperature, "0.7"), Ok(0.7));
        for typed in ["-0.1", "5.1", "NaN", "inf", "warm"] {
            assert!(fraction(Fraction::Temperature, typed).unwrap_err().contains("from 0 to 5"), "{typed}");
        }
        assert_eq!((percent(ShareOf::Core, "1"), percent(ShareOf::Halo, "100")), (Ok(0.01), Ok(1.0)));
        for (of, typed) in
            [(ShareOf::Core, "0"), (ShareOf::Core, "100"), (ShareOf::Halo, "0"), (ShareOf::Halo, "101"), (ShareOf::Halo, "x")]
        {
            assert!(percent(of, typed).unwrap_err().contains("percent"), "{of:?}: {typed}");
        }
    }
}
