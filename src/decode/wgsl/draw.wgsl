// The end of the last search: finds the token with the search's key, and passes it on. Grid: [1]. Needs: search.wgsl,
// summary.wgsl; VOCAB.

var<workgroup> n_with_key: array<u32, 256>;
var<workgroup> n_before: u32;
var<workgroup> token: u32;

// Puts the id of the token with `n` earlier tokens of the same key into `token`.
fn look_for(tid: u32, key: u32, n: u32) {
    let per = (VOCAB + 255u) / 256u;
    let begin = per * tid;
    let end = min(begin + per, VOCAB);
    var mine = 0u;
    for (var id = begin; id < end; id++) {
        mine += u32(key_of(logits[id]) == key);
    }
    n_with_key[tid] = mine;
    workgroupBarrier();
    var before = 0u;
    for (var i = 0u; i < tid; i++) {
        before += n_with_key[i];
    }
    if (before <= n && n < before + mine) {
        for (var id = begin; id < end; id++) {
            if (key_of(logits[id]) == key) {
                if (before == n) {
                    token = id;
                }
                before++;
            }
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) tid: u32) {
    load_parts(tid);
    let search = stand(tid);
    if (tid == 0u) {
        n_before = n_short(search);
        // The most frequent case: the only token with its key, or the first.
        token = ~atomicLoad(&bins[WORDS * (DIGITS * (stage.slot - 1u) + search.prefix % DIGITS) + 3u]);
    }
    if (workgroupUniformLoad(&n_before) > 0u) {
        look_for(tid, search.prefix, n_before);
    }
    for (var i = tid; i < WORDS * DIGITS; i += 256u) {
        // The bins of the next token's first dispatch.
        atomicStore(&bins[i], 0u);
    }
    if (tid == 0u) {
        hand_on(token, summary());
    }
}
