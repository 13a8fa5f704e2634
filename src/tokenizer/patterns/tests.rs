//! The translations compared with Oniguruma, on text of odd Unicode.

use super::names::{BRACKETS, HEX, PROPERTIES, WORD};
use super::*;
use crate::tokenizer::tests::Draws;

type Spans = Vec<(usize, usize)>;

/// Patterns of published tokenizers.
#[rustfmt::skip]
const PUBLISHED: &[(&str, &str)] = &[
    ("gpt2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"),
    ("llama3", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
    ("qwen2", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
    ("o200k", "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
    ("tekken", "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
    ("deepseek", "[\r\n]"),
    ("deepseek", "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅ]+"),
    ("deepseek", "\\s?[!-/:-~！-／：-～‘-‟　-。]+"),
    ("deepseek", "\\s+$"),
    ("deepseek", "[一-龥ࠀ-一가-퟿]+"),
    ("deepseek", "\\p{N}"),
    ("phi4", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"),
    ("cl100k-now", "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"),
    ("deepseek-v3", "\\p{N}{1,3}"),
    ("deepseek-v3", "[一-龥぀-ゟ゠-ヿ]+"),
    ("deepseek-v3", "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
    ("kimi-k2", "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
    ("gpt4 of early ports", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
];

fn by_onig(pattern: &str, text: &str) -> Spans {
    onig::Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).find_iter(text).collect()
}

fn by_fancy(pattern: &str, text: &str) -> Spans {
    let pattern = fancy_regex::Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    pattern.find_iter(text).map(|found| found.map(|found| (found.start(), found.end())).unwrap()).collect()
}

fn refused(pattern: &str) -> String {
    match translate(pattern) {
        Err(TokenizerError::Pattern { part, .. }) => part,
        other => panic!("{pattern}: {other:?}"),
    }
}

/// Texts of characters that readers treat differently, and of random ones.
fn texts() -> Vec<String> {
    let parts = [
        "don't DON'T donſt weſ'ſ",
        "it'K WE'LL",
        "a\u{85}b \u{85}",
        "x\u{200b}y \u{200d}",
        "\u{feff}start",
        "l\u{2028}m\u{2029}",
        "\u{a0}nb\u{3000}wide",
        "ǅungla ǈ",
        "İstanbul ıI",
        "e\u{301}Z\u{351}a\u{34a}",
        "\u{1e290}\u{10d4a}\u{16d40}\u{1c89}",
        "①② ½ Ⅷ ٣٤٥ १२३ 一二 ９９９",
        "12345678 1,234.50",
        "tabs\t\t x \r\n\r\n y\n \n  z   \n",
        "end   ",
        "==>>>///\n\n",
        "日本語テキスト、中文。한국어",
        "العربية שלום",
        "🚣\u{200d}♀\u{fe0f}🇩🇪",
        "_snake CamelXYZ",
        "$100 €5 +<=>^`|~",
        "\u{ad}soft",
        "ﬁ ß ẞ ſs ﬆ",
        "²³¹",
    ];
    let mut draws = Draws::of(7);
    let mixed = |draws: &mut Draws| (0..6).map(|_| *draws.of_all(&parts)).collect::<Vec<_>>().join(*draws.of_all(&["", " ", "\n", "  "]));
    let random = |draws: &mut Draws| (0..40).filter_map(|_| char::from_u32(0x20 + draws.below(0x3000) as u32)).collect::<String>();
    let mixed = (0..60).map(|_| mixed(&mut draws)).collect::<Vec<_>>();
    mixed.into_iter().chain((0..40).map(|_| random(&mut draws))).chain(["", "\n", "a\n", "\n\n"].map(String::from)).collect()
}

#[test]
fn published_patterns_find_what_oniguruma_finds() {
    let texts = texts();
    for (name, pattern) in PUBLISHED {
        let translated = translate(pattern).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (onig, fancy) = (onig::Regex::new(pattern).unwrap(), fancy_regex::Regex::new(&translated).unwrap());
        for text in &texts {
            let expected = onig.find_iter(text).collect::<Spans>();
            let found = fancy.find_iter(text).map(|found| found.map(|found| (found.start(), found.end())).unwrap()).collect::<Spans>();
            assert_eq!(found, expected, "{name}: {translated} on {text:?}");
        }
    }
    let is_changed = |name: &str| PUBLISHED.iter().any(|(of, pattern)| *of == name && translate(pattern).unwrap() != *pattern);
    assert!(!is_changed("llama3") && !is_changed("qwen2") && is_changed("cl100k-now"));
}

/// The reason for the translation: without it, the readers differ.
#[test]
fn repetitions_of_intervals_are_not_possessive() {
    for (pattern, text, translated) in [
        (r"\p{N}{1,3}+", "1234567", r"(?:\p{N}{1,3})+"),
        (r"a{2}?b", "b", r"(?:a{2})?b"),
        (r"x$", "x\ny", r"x(?=\n|\z)"),
        (r"^y", "x\ny", r"(?:\A|(?<=\n)(?!\z))y"),
        (r"a(?i)b|c", "C", r"a(?i:b|c)"),
        (r"[[:alpha:]]+", "éa", r"[[\p{Alphabetic}]]+"),
        (r"\w", "\u{200d}", r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼-¾]"),
    ] {
        let expected = by_onig(pattern, text);
        assert_ne!(fancy_regex::Regex::new(pattern).map(|_| by_fancy(pattern, text)).ok(), Some(expected.clone()), "{pattern}");
        assert_eq!(translate(pattern).unwrap(), translated);
        assert_eq!(by_fancy(translated, text), expected, "{pattern}");
    }
    assert_eq!(by_onig(r"(?m:a.b)", "a\nb"), by_fancy(&translate(r"(?m:a.b)").unwrap(), "a\nb"));
}

#[test]
fn parts_with_another_meaning_are_refused_by_name() {
    for (pattern, part) in [
        (r"a\X", r"\X"),
        (r"\Ga", r"\G"),
        (r"a\Z", r"\Z"),
        (r"(a)\1", r"\1"),
        (r"(?<n>a)\k<n>", r"\k"),
        (r"\K", r"\K"),
        (r"\p{Block=Basic_Latin}", r"\p{Block=Basic_Latin}"),
        (r"\pL", r"\p"),
        (r"(?x: a )", r"(?x"),
        (r"(?~ab)", r"(?~"),
        (r"(?(1)a|b)", r"(?("),
        (r"(*FAIL)", r"("),
        (r"(?#note)", r"(?#"),
        (r"(?i:é)", "é"),
        (r"(?i:ss)", "s"),
        (r"(?i:\p{Lu})", r"\p{Lu}"),
        (r"(?i:[^a])", "[^"),
        (r"a+?*", "a+?*"),
        (r"(?:a*?)+", "(?:a*?)+"),
        (r"(?:a|b*)+", "(?:a|b*)+"),
        (r"(?<=a+)b", "a+"),
        (r"(?<=a|bc)b", "|"),
        (r"a{5,2}", "{5,2}"),
        (r"[]a]", "["),
        (r"[\w-.]", "-"),
        (r"[a-c-e]", "-"),
        (r"[[:nothing:]]", "[:nothing:]"),
        (r"\xE9", r"\xE9"),
        (r"\M-a", r"\M"),
        (r"^*", "^*"),
        (r"a)", ")"),
        (r"(a", "(a"),
        (r"[a", "[a"),
        (r"\", r"\"),
    ] {
        assert!(refused(pattern).starts_with(part), "{pattern}: {}", refused(pattern));
    }
    let deep = "(".repeat(200) + &")".repeat(200);
    assert!(translate(&deep).is_err());
    let error = translate(r"a\X").unwrap_err().to_string();
    assert!(error.contains(r#""a\\X""#) && error.contains("Oniguruma"), "{error}");
}

/// Every name of a set of characters, over the planes that have any.
#[test]
fn sets_are_of_the_same_characters() {
    let codes = (0..0x32400_u32).chain(0xe0000..0xe0200).chain([0xf0000, 0x10_fffd, 0x10_ffff]);
    let all = codes.filter_map(char::from_u32).collect::<String>();
    let properties = PROPERTIES.iter().map(|name| (format!(r"\p{{{name}}}+"), format!(r"\p{{{name}}}+")));
    let brackets = BRACKETS.iter().map(|(name, members)| (format!("[[:{name}:]]+"), format!("[{members}]+")));
    let others = [(r"\w+".into(), format!("[{WORD}]+")), (r"\h+".into(), format!("[{HEX}]+"))];
    let same = [r"\s+", r"\S+", r"\d+", r"\D+", ".+"].map(|pattern| (pattern.to_owned(), pattern.to_owned()));
    for (pattern, translated) in properties.chain(brackets).chain(others).chain(same) {
        let found = by_fancy(&translated, &all);
        assert!(!found.is_empty(), "{pattern}");
        assert_eq!(found, by_onig(&pattern, &all), "{pattern}");
    }
}

fn atom(draws: &mut Draws, depth: usize) -> String {
    const CHARS: &[&str] =
        &["a", "s", "t", "'", "1", " ", r"\n", r"\r", "K", "ſ", "ß", "é", r"\.", "]", "}", "{", r"\/", "-", r"\x{41}", r"\u00E9", "&", "~"];
    const SETS: &[&str] =
        &[r"\s", r"\S", r"\d", r"\w", r"\W", r"\h", r"\H", r"\R", r"\N", r"\O", ".", r"\p{L}", r"\P{L}", r"\p{^Lu}", r"\p{Han}"];
    const MEMBERS: &[&str] = &[
        "a",
        "s",
        "a-z",
        r"\s",
        r"\w",
        r"\W",
        r"\p{L}",
        r"\r\n",
        "1",
        "é",
        "[a-f]",
        r"[^\d]",
        "[:alpha:]",
        "[:^space:]",
        r"\h",
        r"\b",
        "&",
        "~",
        r"\-",
        r"\]",
        "0-9",
        r"&&\p{L}",
    ];
    match draws.below(if depth == 0 { 8 } else { 14 }) {
        0..=3 => (*draws.of_all(CHARS)).into(),
        4 => (*draws.of_all(SETS)).into(),
        5 | 6 => {
            let opening = *draws.of_all(&["[", "[", "[^"]);
            opening.to_owned() + &(0..=draws.below(3)).map(|_| *draws.of_all(MEMBERS)).collect::<String>() + "]"
        }
        7 => (*draws.of_all(&["^", "$", r"\A", r"\z", r"\b", r"\B"])).into(),
        _ => {
            let openings = ["(?:", "(?:", "(", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?m:", "(?-i:", "(?<n>", "(?i)"];
            format!("{}{})", *draws.of_all(&openings), alternatives(draws, depth - 1))
        }
    }
}

fn alternatives(draws: &mut Draws, depth: usize) -> String {
    const REPETITIONS: &[&str] = &[
        "*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,3}", "{1,3}+", "{1,3}?", "{2}?", "{,2}", "{1,}", "{2}+", "{1,2}*",
        "+*",
    ];
    let repeated = |draws: &mut Draws| {
        let atom = atom(draws, depth);
        if draws.below(3) == 0 { atom + *draws.of_all(REPETITIONS) } else { atom }
    };
    let sequence = |draws: &mut Draws| (0..=draws.below(3)).map(|_| repeated(draws)).collect::<String>();
    (0..=draws.below(10) / 6).map(|_| sequence(draws)).collect::<Vec<_>>().join("|")
}

#[test]
fn random_patterns_find_what_oniguruma_finds_or_are_refused() {
    const CHARS: &[&str] = &[
        "a", "s", "S", "t", "'", "1", "23", " ", "\n", "\r\n", "\r", "K", "k", "\u{212a}", "ſ", "ß", "ẞ", "é", "É", "日", "ﬆ", "²", "Ⅷ",
        "\u{200c}", "\u{85}", "½", ".", "]", "}", "-", "&", "~", "\u{300}", "\t",
    ];
    let mut draws = Draws::of(88);
    let texts = (0..30).map(|_| (0..draws.below(14)).map(|_| *draws.of_all(CHARS)).collect::<String>()).collect::<Vec<_>>();
    let mut n_same = 0;
    for _ in 0..3000 {
        let pattern = alternatives(&mut draws, 2);
        let Ok(translated) = translate(&pattern) else { continue };
        let Ok(onig) = onig::Regex::new(&pattern) else { continue };
        let fancy = fancy_regex::Regex::new(&translated).unwrap_or_else(|error| panic!("{pattern} as {translated}: {error}"));
        for text in &texts {
            // A pattern that backtracks too often has no answer.
            let found = fancy.find_iter(text).map(|found| found.map(|found| (found.start(), found.end()))).collect::<Result<Spans, _>>();
            let Ok(found) = found else { break };
            assert_eq!(found, onig.find_iter(text).collect::<Spans>(), "{pattern} as {translated} on {text:?}");
        }
        n_same += 1;
    }
    assert!(n_same > 1000, "{n_same}");
}
