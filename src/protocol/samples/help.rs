//! Samples of the messages between an engine and its helpers.

use super::ablation;
use crate::protocol::Request;
use crate::terms::{Change, Help, HelperText, Matrix, PassageSums, Piece, Sharing};

/// The requests to a helper that has joined.
pub(super) fn requests() -> [Request; 5] {
    let measure = |change| Help::Measure { piece: Piece { arm: 3, passage: 1 }, change };
    let scalars = Matrix::ALL.map(|matrix| (3, matrix, 5_000_000)).to_vec();
    let text = HelperText { passages: vec![vec![u32::MAX, 0]], stopword_ids: vec![7], means: Some(vec![vec![0.1]]) };
    let all = [
        Help::Read(text),
        measure(Some(Change::Edit(ablation()))),
        measure(Some(Change::Zero(scalars))),
        measure(Some(Change::Channels { channels: vec![vec![], vec![1, 2]], to_means: true })),
        measure(None),
    ];
    all.map(Request::Help)
}

pub(super) fn sharing() -> Sharing {
    Sharing { workers: 2, most: 8, helper_bytes: 5_000_000_000, lost: 1 }
}

pub(super) fn sums() -> PassageSums {
    PassageSums { loss_nats: 0.123_456_789_012_345_67, stopwords: 0.1, n_tokens: 127 }
}
