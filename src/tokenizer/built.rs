//! A tokenizer of the crate whose parts are our own.

use tokenizers::{ModelWrapper, PostProcessorWrapper, TokenizerImpl};

use super::decoder::Decoder;
use super::normalizer::Normalizer;
use super::pre_tokenizer::PreTokenizer;

pub(super) type Built = TokenizerImpl<ModelWrapper, Normalizer, PreTokenizer, PostProcessorWrapper, Decoder>;
