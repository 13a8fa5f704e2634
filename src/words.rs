//! The formats of numbers, sizes and token texts for people, and of digests.

/// Formats a number with up to three or four significant digits: `26.5`, `1,240`, `0.32`, `3.1e-5`.
pub fn short(value: f32) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() { "not a number".into() } else { "infinite".into() };
    }
    match size {
        0.0 => "0".into(),
        _ if !(1e-3..1e7).contains(&size) => format!("{value:.1e}"),
        _ if size >= 1000.0 => grouped(value.round() as i64),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => trimmed(format!("{value:.1}")),
        _ if size >= 1.0 => trimmed(format!("{value:.2}")),
        _ => trimmed(format!("{value:.3}")),
    }
}

fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// Formats a difference with its sign, with a real minus sign.
pub fn signed(value: f32) -> String {
    let sign = if value < 0.0 { '−' } else { '+' };
    match value.abs() {
        size if size < 0.0005 => "±0".into(),
        size if size < 0.01 => format!("{sign}{size:.3}"),
        size => format!("{sign}{}", short(size)),
    }
}

/// Groups digits by thousands: `13,180,000`.
pub fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::from(if value < 0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a number of bytes: `26.4 MB`, `269 MB`, `1.24 GB`.
pub fn bytes(n: f64) -> String {
    match n {
        _ if n >= 1e9 => format!("{:.2} GB", n / 1e9),
        _ if n >= 1e8 => format!("{:.0} MB", n / 1e6),
        _ if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        _ => format!("{:.0} KB", n / 1e3),
    }
}

/// Formats a number of bytes with two or three digits, or all digits of a small one: `269 MB`, `13.5 GB`,
/// `900 bytes`.
pub fn rough_bytes(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{n} bytes"),
        1_000_000..1_000_000_000 => format!("{:.0} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// `true` if a text has exactly `len` lower-case hexadecimal digits, as in commits and digests.
pub fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A token on one line: line breaks and tabs are replaced by arrows, and what is hidden as in [`shown`].
pub fn visible(text: &str) -> String {
    shown(&text.replace('\n', "⏎").replace('\t', "⇥"))
}

/// A text for people: line breaks and tabs stay, and every other character that is not seen, or that changes the order or the place of
/// others, is replaced by its code, as in `[U+202E]`. Joiners stay, because emoji and several scripts are written with them.
pub fn shown(text: &str) -> String {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_hidden(c) => out.push_str(&format!("[U+{:04X}]", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// `true` for characters that a terminal obeys or that hide what stands there: controls, marks of direction, and format characters
/// without a picture of their own ([Unicode's `Cf` and `Cc`](https://www.unicode.org/reports/tr44/#General_Category_Values)), but not the
/// joiners, nor the marks of some scripts that are seen.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

/// A message as a sentence: it ends in one full stop, or with the mark that it has.
pub fn sentence(message: &str) -> String {
    let message = message.trim_end();
    match message.trim_end_matches('.') {
        bare if message.ends_with(['!', '?', '…']) || bare.ends_with(['!', '?', '…']) => bare.into(),
        bare => format!("{bare}."),
    }
}

/// Cuts a text to at most this many letters.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.into() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

/// Formats a share in whole percent: `41 %`.
pub fn percent(share: f32) -> String {
    if share.is_finite() { format!("{:.0} %", share * 100.0) } else { "–".into() }
}

/// Formats a share in percent with up to three digits: `0.2 %`, `12.5 %`.
pub fn fine_percent(share: f32) -> String {
    format!("{} %", short(share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases = [
            (0.0, "0"),
            (26.5, "26.5"),
            (1239.6, "1,240"),
            (0.32, "0.32"),
            (3.1e-5, "3.1e-5"),
            (-4700.0, "-4,700"),
            (100.0, "100"),
            (9.999, "10"),
            (f32::INFINITY, "infinite"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!((signed(2.781), signed(-0.5), signed(0.0001)), ("+2.78".into(), "−0.5".into(), "±0".into()));
        assert_eq!(signed(0.000_99), "+0.001");
        assert_eq!(grouped(13_180_000), "13,180,000");
        assert_eq!([26_358_272.0, 269_060_552.0, 1_235_814_400.0, 900.0].map(bytes), ["26.4 MB", "269 MB", "1.24 GB", "1 KB"]);
        assert_eq!([900, 269_060_552, 13_500_000_000].map(rough_bytes), ["900 bytes", "269 MB", "13.5 GB"]);
        assert_eq!([0.005, 0.125, 0.3].map(fine_percent), ["0.5 %", "12.5 %", "30 %"]);
        assert_eq!(visible("a\n\u{1b}"), "a⏎[U+001B]");
    }

    #[test]
    fn nothing_hides_and_every_script_stays() {
        let hostile = "\u{1b}[2J\u{202e}gnp.exe\u{2066}\u{9b}31m\u{200b}\u{e0041}\u{2028}\r\u{7f}";
        let told = "[U+001B][2J[U+202E]gnp.exe[U+2066][U+009B]31m[U+200B][U+E0041][U+2028][U+000D][U+007F]";
        assert_eq!(shown(hostile), told);
        assert_eq!(shown(told), told);
        for plain in ["a\tb\nc", "👩‍🔬 é ẞ", "می‌خواهم", "שלום", "ภาษาไทย", "🏳️‍🌈", "क्‍ष", "한국어", "ｱ、", "−±×"]
        {
            assert_eq!(shown(plain), plain);
        }
    }

    #[test]
    fn sentences_end_once() {
        let cases = [("a", "a."), ("a.", "a."), ("a..", "a."), ("a: b. \n", "a: b."), ("a?", "a?"), ("a?.", "a?"), ("a…", "a…")];
        for (message, told) in cases {
            assert_eq!(sentence(message), told);
        }
    }

    #[test]
    fn digits_of_digests_are_counted_and_checked() {
        assert!(is_lower_hex("00af", 4) && !is_lower_hex("00af", 5) && !is_lower_hex("00ag", 4));
        assert!(!is_lower_hex("00aF", 4) && !is_lower_hex("", 1));
    }
}
