// One digit of a search: counts the tokens that share the digits found so far, by their next digit. Grid: [parts].
// Needs: search.wgsl; VOCAB, PARTS, COUNTING.

var<workgroup> near: array<atomic<u32>, WORDS * DIGITS>;

fn largest_key() -> u32 {
    var largest = -3.4e38;
    for (var i = 0u; i < PARTS; i++) {
        largest = max(largest, bitcast<f32>(found[2u * i].x));
    }
    return key_of(largest);
}

fn count(id: u32, search: Search) {
    let key = key_of(logits[id]);
    if (stage.level > 0u && (key >> (32u - 8u * stage.level)) != search.prefix) {
        return;
    }
    let at = WORDS * ((key >> (24u - 8u * stage.level)) % DIGITS);
    let mass = mass_of(key, search.top);
    let low = atomicAdd(&near[at], mass.x);
    atomicAdd(&near[at + 1u], mass.y + u32(low + mass.x < low));
    atomicAdd(&near[at + 2u], 1u);
    atomicMax(&near[at + 3u], ~id);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    for (var i = tid; i < WORDS * DIGITS; i += 256u) {
        atomicStore(&near[i], 0u);
        if (group.x == 0u) {
            // The bins of the next dispatch.
            atomicStore(&bins[WORDS * DIGITS * (stage.slot + 1u) + i], 0u);
        }
    }
    var search = Search();
    if (stage.level == 0u) {
        search.top = largest_key();
    } else {
        search = stand(tid);
    }
    workgroupBarrier();
    for (var id = 256u * group.x + tid; id < VOCAB; id += 256u * COUNTING) {
        count(id, search);
    }
    workgroupBarrier();
    let mine = WORDS * tid;
    if (atomicLoad(&near[mine + 2u]) > 0u) {
        let at = WORDS * DIGITS * stage.slot + mine;
        let mass = atomicLoad(&near[mine]);
        let low = atomicAdd(&bins[at], mass);
        atomicAdd(&bins[at + 1u], atomicLoad(&near[mine + 1u]) + u32(low + mass < low));
        atomicAdd(&bins[at + 2u], atomicLoad(&near[mine + 2u]));
        atomicMax(&bins[at + 3u], atomicLoad(&near[mine + 3u]));
    }
    if (group.x == 0u && tid == 0u) {
        searches[stage.slot] = search;
    }
}
