//! The note that another site shows the page in a frame.

use leptos::prelude::*;

use crate::ui::page::dom;

/// Says that the page is in a frame of another site, how to open it by itself, and how its host can forbid frames. Renders nothing in a
/// window of its own, or in a frame of a page of the same host.
#[component]
pub fn FrameNote() -> impl IntoView {
    dom::is_framed_elsewhere().then(|| {
        view! {
            <p class="note" data-testid="frame-note">
                "Another site shows this page in a frame. "
                <a href=dom::address() target="_blank" rel="noopener" data-testid="frame-open">"Open it by itself"</a>
                " if you did not expect that. Whoever hosts this page can forbid it with the header "
                <code>"Content-Security-Policy: frame-ancestors 'none'"</code>
                ", or with "<code>"cargo xtask build --forbid-frames"</code>" where no header can be set."
            </p>
        }
    })
}
