//! The theme: light, dark, or that of the system.

use leptos::prelude::*;

use crate::ui::page::dom;

const KEY: &str = "linchpin-theme";

#[component]
pub fn ThemeToggle() -> impl IntoView {
    let theme = RwSignal::new(match dom::remembered(KEY).as_deref() {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "auto",
    });
    Effect::new(move |_| {
        let theme = theme.get();
        dom::set_root_attribute("data-theme", (theme != "auto").then_some(theme));
        dom::remember(KEY, theme);
    });
    let next = move |_| {
        theme.update(|theme| {
            *theme = match *theme {
                "auto" => "light",
                "light" => "dark",
                _ => "auto",
            }
        });
    };
    let sign = move || match theme.get() {
        "light" => "☀",
        "dark" => "☾",
        _ => "◐",
    };
    view! {
        <button type="button" class="quiet theme" data-testid="theme-toggle" on:click=next aria-label=move || format!("Theme: {}. Press to change.", theme.get())>
            <span aria-hidden="true">{sign}</span>
            <span class="wide">{move || theme.get()}</span>
        </button>
    }
}

/// The logo: a wheel and the pin through its axle.
pub fn mark() -> impl IntoView {
    view! {
        <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
            <circle cx="12" cy="13" r="8.5" fill="none" stroke="currentColor" stroke-width="1.8"></circle>
            <circle cx="12" cy="13" r="2.6" fill="none" stroke="currentColor" stroke-width="1.6"></circle>
            <line class="pin" x1="12" y1="1.5" x2="12" y2="16.5" stroke-width="2.4" stroke-linecap="round"></line>
        </svg>
    }
}
