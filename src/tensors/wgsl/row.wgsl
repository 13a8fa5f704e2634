// Rows beyond the grid's first dimension continue in the second.

const ROWS_ACROSS: u32 = 32768u;

fn row_of(group: vec3<u32>) -> u32 {
    return group.y * ROWS_ACROSS + group.x;
}
