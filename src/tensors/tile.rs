//! The text of the product kernel: register tiles over tiles in workgroup memory.
//!
//! A workgroup computes `rows x columns` results and proceeds along k in steps of `depth`. Each step brings a piece
//! of `a` and a piece of `b` into workgroup memory, laid out k by k with four rows (columns) to a vec4, while the
//! next piece is already being read into registers. An invocation then adds outer products of `tall` rows and `wide`
//! columns. With `slices` above 1, that number of groups of invocations divides a tile's k among them, which keeps
//! the GPU busy on a small product.
//!
//! Where k is long, an invocation adds up [`BLOCK`] terms at a time, and then the blocks (`total`): one after the
//! other, the 49,152 terms of a head's backward pass round to 7e-5 of their sum.
//!
//! Everything is unrolled in the text, because drivers put an array that a loop indexes into slow memory.

use std::fmt::Write;

/// Sizes of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    pub rows: usize,
    pub columns: usize,
    depth: usize,
    tall: usize,
    wide: usize,
    slices: usize,
}

const SMALL: Tile = Tile { rows: 32, columns: 32, depth: 64, tall: 4, wide: 4, slices: 4 };
const MEDIUM: Tile = Tile { rows: 64, columns: 64, depth: 32, tall: 8, wide: 4, slices: 1 };
const LARGE: Tile = Tile { rows: 128, columns: 128, depth: 16, tall: 8, wide: 8, slices: 1 };

/// Terms along k that are added one after the other where there are more than twice as many; a multiple of every depth.
const BLOCK: usize = 1024;

/// Number of workgroups that fill a GPU. Larger tiles read less; smaller tiles give more workgroups.
const MANY: usize = 96;

/// The properties of a product, beside its tile, on which the kernel's text depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    pub a: Operand,
    pub b: Operand,
    pub y_in_fours: bool,
    /// `true` if k is summed in blocks.
    pub in_blocks: bool,
}

impl Variant {
    /// `true` for a k that is summed in blocks.
    pub fn sums_in_blocks(k: usize) -> bool {
        k > 2 * BLOCK
    }
}

/// The storage of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operand {
    /// `true` if neighbours in memory are neighbours along k.
    pub along_k: bool,
    /// `true` if four values can be read at a time.
    pub in_fours: bool,
    pub is_bf16: bool,
}

/// Text under construction. Writing to a string cannot fail.
struct Text(String);

impl Text {
    fn line(&mut self, args: std::fmt::Arguments<'_>) {
        self.0.write_fmt(args).unwrap_or_default();
        self.0.push('\n');
    }
}

/// Appends a line.
macro_rules! line {
    ($text:expr, $($args:tt)*) => { $text.line(format_args!($($args)*)) };
}

impl Tile {
    /// The tile for a product. On an H100, over the shapes of SmolLM2-135M and Llama-3.2-1B with 1 to 2,048 rows, the
    /// chosen tile was the fastest, or nearly.
    pub fn for_shape(m: usize, n: usize, batch: usize) -> Self {
        let tiles = |tile: Self| m.div_ceil(tile.rows) * n.div_ceil(tile.columns) * batch;
        match () {
            () if m > LARGE.rows / 2 && tiles(LARGE) >= 2 * MANY => LARGE,
            () if m > MEDIUM.rows / 2 && tiles(MEDIUM) >= MANY => MEDIUM,
            () => SMALL,
        }
    }

    pub fn threads(self) -> usize {
        self.down() * self.across() * self.slices
    }

    /// A key that differs between kernels with different text.
    pub fn key(self, Variant { a, b, y_in_fours, in_blocks }: Variant) -> u32 {
        let flags = [a.along_k, a.in_fours, b.along_k, b.in_fours, b.is_bf16, y_in_fours, in_blocks];
        flags.iter().fold(self.rows as u32, |key, flag| 2 * key + u32::from(*flag))
    }

    /// Invocations along the rows of a tile; `across` counts those along its columns.
    fn down(self) -> usize {
        self.rows / self.tall
    }

    fn across(self) -> usize {
        self.columns / self.wide
    }

    pub fn source(self, Variant { a, b, y_in_fours, in_blocks }: Variant) -> String {
        let mut text = Text(String::new());
        let memory = (self.rows + self.columns) / 4 * self.depth;
        let sums = if self.slices > 1 { self.threads() * self.tall * self.wide / 4 } else { 0 };
        line!(text, "var<workgroup> tile: array<vec4<f32>, {}>;", memory.max(sums));
        reader(&mut text, "a", a);
        reader(&mut text, "b", b);
        line!(text, "@compute @workgroup_size({})", self.threads());
        line!(text, "fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {{");
        line!(text, "let row0 = group.y * {}u; let column0 = group.x * {}u;", self.rows, self.columns);
        line!(text, "let a0 = group.z * info.a_stride; let b0 = group.z / info.share * info.b_stride;");
        self.place(&mut text);
        for load in 0..self.loads() {
            line!(text, "var p{load}_0: vec4<f32>; var p{load}_1: vec4<f32>; var p{load}_2: vec4<f32>; var p{load}_3: vec4<f32>;");
        }
        for (i, j) in self.sums() {
            line!(text, "var y{i}_{j} = vec4<f32>();");
            if in_blocks {
                line!(text, "var total{i}_{j} = vec4<f32>();");
            }
        }
        self.fetch(&mut text, a, b, "0u");
        line!(text, "for (var k = 0u; k < info.k; k += {}u) {{", self.depth);
        line!(text, "workgroupBarrier();");
        self.store(&mut text, a, b);
        line!(text, "workgroupBarrier();");
        line!(text, "if (k + {0}u < info.k) {{ let next = k + {0}u;", self.depth);
        self.fetch(&mut text, a, b, "next");
        line!(text, "}}");
        self.accumulate(&mut text);
        if in_blocks {
            line!(text, "if (k % {BLOCK}u == {}u) {{", BLOCK - self.depth);
            self.sums().for_each(|(i, j)| line!(text, "total{i}_{j} += y{i}_{j}; y{i}_{j} = vec4<f32>();"));
            line!(text, "}}");
        }
        line!(text, "}}");
        if in_blocks {
            self.sums().for_each(|(i, j)| line!(text, "y{i}_{j} += total{i}_{j};"));
        }
        self.finish(&mut text, y_in_fours);
        line!(text, "}}");
        text.0
    }

    /// Writes the position of an invocation's results: `x` counts fours of columns, `y_` fours of rows.
    fn place(self, text: &mut Text) {
        let (across, down) = (self.across(), self.down());
        let lanes = across.min(8);
        line!(
            text,
            "let at = tid % {}u; let slice = {};",
            across * down,
            if self.slices > 1 { format!("tid / {}u", across * down) } else { "0u".into() }
        );
        line!(text, "let x = at % {lanes}u + at / {}u * {lanes}u; let y_ = at / {lanes}u % {down}u;", lanes * down);
    }

    /// Indices of an invocation's results: rows one by one, columns in fours.
    fn sums(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.tall).flat_map(move |i| (0..self.wide / 4).map(move |j| (i, j)))
    }

    /// Number of 4 x 4 blocks of `a`, and of `b`, that a step brings in.
    fn blocks(self) -> (usize, usize) {
        (self.rows * self.depth / 16, self.columns * self.depth / 16)
    }

    /// Number of blocks that one invocation brings in.
    fn loads(self) -> usize {
        let (a, b) = self.blocks();
        (a + b).div_ceil(self.threads())
    }

    /// Calls `body(text, load, is_a, number)` for each block that an invocation brings in, to write its code. `load`
    /// counts the blocks; `number` is the block's number within `a` or `b`.
    fn each_block(self, text: &mut Text, mut body: impl FnMut(&mut Text, usize, bool, &str)) {
        let (of_a, _) = self.blocks();
        let threads = self.threads();
        for load in 0..self.loads() {
            let first = load * threads;
            if first + threads <= of_a {
                body(text, load, true, &format!("(tid + {first}u)"));
            } else if first >= of_a {
                body(text, load, false, &format!("(tid + {}u)", first - of_a));
            } else {
                line!(text, "if (tid < {}u) {{", of_a - first);
                body(text, load, true, &format!("(tid + {first}u)"));
                line!(text, "}} else {{");
                body(text, load, false, &format!("(tid - {}u)", of_a - first));
                line!(text, "}}");
            }
        }
    }

    /// A block's place along rows (columns) and along k, in fours, such that neighbouring invocations read neighbours.
    fn block_at(self, is_a: bool, operand: Operand, number: &str) -> (String, String) {
        let fours = if is_a { self.rows / 4 } else { self.columns / 4 };
        let depth = self.depth / 4;
        match operand.along_k {
            true => (format!("({number} % 4u + {number} / {}u * 4u)", 4 * depth), format!("({number} / 4u % {depth}u)")),
            false => (format!("({number} % {fours}u)"), format!("({number} / {fours}u)")),
        }
    }

    /// Reads the blocks at `k` into registers; zeros beyond the matrices.
    fn fetch(self, text: &mut Text, a: Operand, b: Operand, k: &str) {
        self.each_block(text, |text, load, is_a, number| {
            let (name, operand, origin, limit) = if is_a { ("a", a, "row0", "info.m") } else { ("b", b, "column0", "info.n") };
            let (side, depth) = self.block_at(is_a, operand, number);
            line!(text, "{{ let side = {origin} + {side} * 4u; let depth = {k} + {depth} * 4u;");
            for i in 0..4 {
                match operand.along_k {
                    true => line!(text, "p{load}_{i} = read_{name}({name}0, side + {i}u, depth, {limit}, info.k);"),
                    false => line!(text, "p{load}_{i} = read_{name}({name}0, depth + {i}u, side, info.k, {limit});"),
                }
            }
            line!(text, "}}");
        });
    }

    /// Puts the blocks into workgroup memory, k by k.
    fn store(self, text: &mut Text, a: Operand, b: Operand) {
        self.each_block(text, |text, load, is_a, number| {
            let operand = if is_a { a } else { b };
            let (first, fours) = if is_a { (0, self.rows / 4) } else { (self.rows / 4 * self.depth, self.columns / 4) };
            let (side, depth) = self.block_at(is_a, operand, number);
            line!(text, "{{ let to = {first}u + {depth} * {}u + {side};", 4 * fours);
            let turned = if operand.along_k { "transpose" } else { "" };
            line!(text, "let block = {turned}(mat4x4<f32>(p{load}_0, p{load}_1, p{load}_2, p{load}_3));");
            for i in 0..4 {
                line!(text, "tile[to + {}u] = block[{i}];", i * fours);
            }
            line!(text, "}}");
        });
    }

    /// Adds the outer products of a step, eight of them in each round. The rounds are counted from 0 by 1, so that a
    /// browser can prove that every index is within the tile, and omit its bounds checks (a quarter of the time).
    fn accumulate(self, text: &mut Text) {
        const UNROLLED: usize = 8;
        let (rows, columns) = (self.rows / 4, self.columns / 4);
        let of_b = rows * self.depth;
        let a_round = UNROLLED * self.slices;
        line!(text, "for (var r = 0u; r < {}u; r++) {{", self.depth / a_round);
        for outer in 0..UNROLLED {
            line!(text, "{{ let deep = r * {a_round}u + {}u + slice;", outer * self.slices);
            for i in 0..self.tall / 4 {
                line!(text, "let a{i} = tile[deep * {rows}u + {}u + y_];", i * self.down());
            }
            for j in 0..self.wide / 4 {
                line!(text, "let b{j} = tile[{}u + deep * {columns}u + x];", of_b + j * self.across());
            }
            for (i, j) in self.sums() {
                line!(text, "y{i}_{j} += a{}.{} * b{j};", i / 4, ["x", "y", "z", "w"][i % 4]);
            }
            line!(text, "}}");
        }
        line!(text, "}}");
    }

    /// Writes the results; if there are several slices, adds their sums.
    fn finish(self, text: &mut Text, y_in_fours: bool) {
        let (threads, across, down) = (self.threads(), self.across(), self.down());
        let fours = self.wide / 4;
        if self.slices == 1 {
            for (i, j) in self.sums() {
                let row = format!("row0 + ({}u + y_) * 4u + {}u", i / 4 * down, i % 4);
                write_four(text, y_in_fours, &row, &format!("column0 + ({}u + x) * 4u", j * across), &format!("y{i}_{j}"));
            }
            return;
        }
        line!(text, "workgroupBarrier();");
        for (index, (i, j)) in self.sums().enumerate() {
            line!(text, "tile[{}u + tid] = y{i}_{j};", index * threads);
        }
        line!(text, "workgroupBarrier();");
        line!(text, "for (var e = slice; e < {}u; e += {}u) {{", self.tall * fours, self.slices);
        line!(text, "var sum = vec4<f32>();");
        line!(text, "for (var s = 0u; s < {}u; s++) {{ sum += tile[e * {threads}u + s * {}u + at]; }}", self.slices, across * down);
        line!(text, "let i = e / {fours}u;");
        let row = format!("row0 + (i / 4u * {down}u + y_) * 4u + i % 4u");
        write_four(text, y_in_fours, &row, &format!("column0 + (e % {fours}u * {across}u + x) * 4u"), "sum");
        line!(text, "}}");
    }
}

/// `read_a(first, row, column, rows, columns)`: four neighbours of a row-major matrix, zeros beyond it.
fn reader(text: &mut Text, name: &str, operand: Operand) {
    line!(text, "fn read_{name}(first: u32, row: u32, column: u32, rows: u32, columns: u32) -> vec4<f32> {{");
    line!(text, "var four = vec4<f32>();");
    line!(text, "let at = first + row * info.{name}_pitch + column;");
    match (operand.in_fours, operand.is_bf16) {
        (true, false) => line!(text, "if (row < rows && column < columns) {{ four = {name}[at / 4u]; }}"),
        (true, true) => {
            line!(text, "if (row < rows && column < columns) {{ let w = {name}[at / 4u];");
            line!(text, "four = bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u)); }}");
        }
        (false, is_bf16) => {
            let one = match is_bf16 {
                true => format!("bitcast<f32>(({name}[(at + i) / 2u] >> (16u * ((at + i) % 2u))) << 16u)"),
                false => format!("{name}[at + i]"),
            };
            line!(text, "for (var i = 0u; i < 4u; i++) {{ if (row < rows && column + i < columns) {{ four[i] = {one}; }} }}");
        }
    }
    line!(text, "return four; }}");
}

/// Writes four neighbouring results, as far as they are inside the matrix.
fn write_four(text: &mut Text, in_fours: bool, row: &str, column: &str, value: &str) {
    line!(text, "{{ let row = {row}; let column = {column};");
    line!(text, "let to = group.z * info.y_stride + row * info.y_pitch + column;");
    match in_fours {
        true => line!(text, "if (row < info.m && column < info.n) {{ y[to / 4u] = {value}; }} }}"),
        false => {
            line!(text, "for (var i = 0u; i < 4u; i++) {{ if (row < info.m && column + i < info.n) {{ y[to + i] = {value}[i]; }} }} }}");
        }
    }
}
