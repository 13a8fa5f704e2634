//! The figures of the text: lines, functions, and the first words of doc comments and of tests.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};

/// First words that a doc comment must not have, because the noun is then missing.
pub const DOC_BEGINNINGS: [&str; 8] = ["Of", "What", "Those", "None of", "Whether", "Which", "Where", "How"];
/// First words that the name of a test should not have.
pub const TEST_BEGINNINGS: [&str; 7] = ["what", "whatever", "it", "one", "a", "an", "the"];

/// Counts of lines by their kind.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Lines {
    pub files: usize,
    pub code: usize,
    pub docs: usize,
    pub tests: usize,
    /// Including empty lines and comments.
    pub total: usize,
}

impl std::ops::AddAssign for Lines {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.code += other.code;
        self.docs += other.docs;
        self.tests += other.tests;
        self.total += other.total;
    }
}

/// The lines, doc comments and tests of one file, read from its tokens.
#[derive(Default)]
pub struct Text {
    /// For each line that is not empty: true for code, false for a doc comment.
    is_code: BTreeMap<usize, bool>,
    /// The complete text of each doc comment.
    pub docs: Vec<String>,
    /// The names of functions marked as tests.
    pub tests: Vec<String>,
}

impl Text {
    pub fn read(source: &str) -> Result<Self, String> {
        let tokens = source.parse::<TokenStream>().map_err(|why| format!("{why}, in line {}", why.span().start().line))?;
        let mut text = Self::default();
        text.walk(tokens);
        Ok(text)
    }

    /// Counts the lines; those within a range of `test_lines` count as tests.
    pub fn lines(&self, source: &str, is_test: bool, test_lines: &[(usize, usize)]) -> Lines {
        let mut lines = Lines { files: 1, total: source.lines().count(), ..Lines::default() };
        for (&line, &is_code) in &self.is_code {
            if is_test || test_lines.iter().any(|&(first, last)| (first..=last).contains(&line)) {
                lines.tests += 1;
            } else if is_code {
                lines.code += 1;
            } else {
                lines.docs += 1;
            }
        }
        lines
    }

    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        let mut in_docs = None;
        let mut is_test = false;
        while let Some(token) = tokens.get(at) {
            if let Some((attribute, n_tokens)) = attribute(&tokens[at..]) {
                at += n_tokens;
                if let Some(doc) = doc_text(attribute) {
                    self.add_doc(&doc, attribute.span(), in_docs == Some(n_tokens));
                    // The docs of a file and of its first item differ by the `!`.
                    in_docs = Some(n_tokens);
                    continue;
                }
                is_test |= attribute.stream().into_iter().last().is_some_and(|last| last.to_string() == "test");
                self.mark_code(attribute.span());
            } else {
                if let (true, TokenTree::Ident(word), Some(name)) = (is_test, token, tokens.get(at + 1))
                    && word == "fn"
                {
                    self.tests.push(name.to_string());
                    is_test = false;
                }
                self.add_code(token);
                at += 1;
            }
            in_docs = None;
        }
    }

    fn add_code(&mut self, token: &TokenTree) {
        match token {
            TokenTree::Group(group) => {
                if group.delimiter() != Delimiter::None {
                    self.mark_code(group.span_open());
                    self.mark_code(group.span_close());
                }
                self.walk(group.stream());
            }
            other => self.mark_code(other.span()),
        }
    }

    fn mark_code(&mut self, span: Span) {
        self.is_code.extend((span.start().line..=span.end().line).map(|line| (line, true)));
    }

    fn add_doc(&mut self, doc: &str, span: Span, continues: bool) {
        for line in span.start().line..=span.end().line {
            self.is_code.entry(line).or_insert(false);
        }
        match self.docs.last_mut() {
            Some(last) if continues => last.extend(["\n", doc]),
            _ => self.docs.push(doc.to_owned()),
        }
    }
}

/// The brackets of an attribute at the beginning of `tokens`, and its number of tokens.
fn attribute(tokens: &[TokenTree]) -> Option<(&Group, usize)> {
    let is = |at: usize, c: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == c);
    let n_before = if is(1, '!') { 2 } else { 1 };
    match tokens.get(n_before) {
        Some(TokenTree::Group(group)) if is(0, '#') && group.delimiter() == Delimiter::Bracket => Some((group, n_before + 1)),
        _ => None,
    }
}

/// The text of an attribute for a line of a doc comment.
fn doc_text(attribute: &Group) -> Option<String> {
    let tokens: Vec<_> = attribute.stream().into_iter().collect();
    let [TokenTree::Ident(name), TokenTree::Punct(_), TokenTree::Literal(text)] = tokens.as_slice() else { return None };
    let text = syn::parse_str::<syn::LitStr>(&text.to_string()).ok()?;
    (name == "doc").then(|| text.value())
}

/// `true` if a doc comment begins with one of [`DOC_BEGINNINGS`].
pub fn is_headless(doc: &str) -> bool {
    let mut words = doc.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    DOC_BEGINNINGS.iter().any(|beginning| match beginning.split_once(' ') {
        None => first == *beginning,
        Some(both) => (first, second) == both,
    })
}

/// `true` if the name of a test begins with one of [`TEST_BEGINNINGS`].
pub fn is_vague_test(name: &str) -> bool {
    TEST_BEGINNINGS.contains(&name.split('_').next().unwrap_or_default())
}
