//! Our own list of English stopwords and punctuation. The super-weight paper measures how the probability of
//! stopwords shifts but publishes no list, so every figure made with this list says that it is ours.

use std::collections::HashSet;

use crate::tokenizer::Tokenizer;

const WORDS: &str = "a about above after again against all am an and any are as at be because been before being below \
    between both but by can could did do does doing down during each few for from further had has have having he her \
    here hers him his how i if in into is it its me more most my no nor not now of off on once only or other our out \
    over own same she should so some such than that the their them then there these they this those through to too \
    under until up upon very was we were what when where which while who whom why will with would you your";
const PUNCTUATION: [&str; 14] = [".", ",", ";", ":", "!", "?", "\"", "'", "-", "--", "(", ")", "...", ".\""];

/// Returns the token ids of the list in this vocabulary, with and without a leading space.
pub fn token_ids(tokenizer: &Tokenizer) -> Vec<u32> {
    let words = WORDS.split_whitespace().chain(PUNCTUATION).collect::<HashSet<_>>();
    tokenizer.ids_of_words(&words)
}
