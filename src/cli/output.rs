//! The command's two streams. Nothing that is printed can end the command: a reader of stdout that goes away ends it quietly once its work
//! is done, a full disk with a sentence, and stderr, which only carries progress and notes, may be closed at any time.
//!
//! What is printed for people has no control characters but line breaks and tabs, and no characters that hide or reorder text: names,
//! prompts, model texts and exports come from anywhere, and a terminal obeys what they would say (see [`crate::words::shown`]).

use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::words::{is_hidden, shown};

/// The exit code of a command whose reader went away, as shells report the end by SIGPIPE: 128 + 13.
pub const BROKEN_PIPE: u8 = 141;

/// The pause between lines of progress where they stay, as in a log.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// The first error of stdout; nothing is written after it.
static FAILED: OnceLock<std::io::Error> = OnceLock::new();

/// Prints a line of a result.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}

/// Prints a line of progress or a note beside the results, over the progress that stands there.
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::output::note(format_args!($($text)*)) };
}

pub(super) use {say, tell};

pub fn line(text: Arguments<'_>) {
    write(&format!("{}\n", shown(&text.to_string())));
}

pub fn note(text: Arguments<'_>) {
    show(&format!("{}{}\n", over(), shown(&text.to_string())));
}

/// Shows how far the work is, from 0 to 1: on a terminal in place of what was shown before, elsewhere a line now and then, and at the end.
pub fn progress(text: &str, share: f64) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    if stderr().is_terminal() {
        return show(&format!("{}{}", over(), shown(text)));
    }
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if share >= 1.0 || last.is_none_or(|last| last.elapsed() >= PROGRESS_PAUSE) {
        *last = Some(Instant::now());
        show(&format!("{}\n", shown(text)));
    }
}

/// Clears the progress that is shown.
pub fn clear_progress() {
    show(over());
}

/// Prints a JSON document. Characters that hide or reorder text stand in it as `\u` and their code, which means the same.
pub fn json(document: &str) {
    let mut text = String::with_capacity(document.len() + 1);
    for c in document.chars() {
        // Outside of strings JSON has ASCII only, and inside of them serde_json has escaped all below a space.
        if c != '\n' && is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text.push('\n');
    write(&text);
}

/// The exit code of a command that would end with `code`.
pub fn exit_code(code: u8) -> u8 {
    match FAILED.get() {
        None => code,
        Some(why) if why.kind() == ErrorKind::BrokenPipe => BROKEN_PIPE,
        Some(why) => {
            tell!("linchpin: the results could not be printed: {why}. Files that the command has written are complete.");
            2
        }
    }
}

/// Prints a text for people as it is, with the styles of a terminal: help that no outside text is a part of.
pub fn styled(print: impl FnOnce() -> std::io::Result<()>) {
    if let Err(why) = print() {
        let _ = FAILED.set(why);
    }
}

fn write(text: &str) {
    if FAILED.get().is_some() {
        return;
    }
    let mut out = stdout().lock();
    if let Err(why) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        let _ = FAILED.set(why);
    }
}

/// One write for each text, so that the lines of several commands on one terminal do not mix. A failure is ignored: a closed terminal
/// needs no progress.
fn show(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

/// The text that clears the line of progress: on a terminal its code, and elsewhere nothing.
fn over() -> &'static str {
    if stderr().is_terminal() { "\r\x1b[K" } else { "" }
}
