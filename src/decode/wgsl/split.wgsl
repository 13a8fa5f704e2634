// The division of a head's positions among workgroups.

const SPLITS: u32 = 8u;
// Below this, another workgroup costs more than it saves.
const MIN_CHUNK: u32 = 64u;

// Positions that the newest of `len` positions may attend to.
fn visible(len: u32, window: u32) -> u32 {
    if (window == 0u) {
        return len;
    }
    return min(len, window);
}

fn chunk_of(n: u32) -> u32 {
    return max(MIN_CHUNK, (n + SPLITS - 1u) / SPLITS);
}

fn splits_of(n: u32) -> u32 {
    let chunk = chunk_of(n);
    return (n + chunk - 1u) / chunk;
}
