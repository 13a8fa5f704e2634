//! The names of the matrices in a decoder layer.

/// A matrix of a decoder layer, as the search for the largest weights names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matrix {
    /// `q_proj`, or GPT-2's fused `c_attn`.
    Query,
    Key,
    Value,
    Output,
    Gate,
    /// `up_proj`, or GPT-2's `c_fc` and its like.
    Up,
    Down,
}

impl Matrix {
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];
}
