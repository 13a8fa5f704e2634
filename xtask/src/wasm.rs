//! Reads just enough of a WebAssembly file to see whether its exports run the static constructors on every call.
//!
//! When nobody calls `__wasm_call_ctors`, the linker takes a program for one that starts anew with every call: it wraps
//! **each** export in a function that first runs all constructors. Burn registers thousands, so every call into the
//! engine, down to the smallest helper, would cost 14 ms instead of 0.2. The names are stripped, but the wrappers have
//! a shape that nothing else has (lld/wasm/Writer.cpp, `createCommandExportWrapper`): no locals, call the constructors,
//! push the parameters in order, call the function.

use std::collections::HashMap;

/// This many exports beginning with the same bare call are no accident.
const MANY: usize = 3;

/// How many exports of `wasm` are wrapped in a call of one and the same constructor function.
pub fn exports_that_run_constructors(wasm: &[u8]) -> Result<usize, String> {
    let module = Module::read(wasm).ok_or("this is no WebAssembly module that we can read")?;
    let mut wrappers_of = HashMap::new();
    for &function in &module.exported_functions {
        if let Some(constructors) = module.wrapped_call(function) {
            *wrappers_of.entry(constructors).or_insert(0) += 1;
        }
    }
    let most = wrappers_of.into_values().max().unwrap_or(0);
    Ok(if most >= MANY { most } else { 0 })
}

#[derive(Default)]
struct Module<'a> {
    /// Number of parameters and of results.
    types: Vec<(usize, usize)>,
    n_imported_functions: usize,
    /// The type of each function that is not imported.
    functions: Vec<usize>,
    exported_functions: Vec<usize>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Module<'a> {
    fn read(wasm: &'a [u8]) -> Option<Self> {
        let mut module = Self::default();
        let mut reader = Reader(wasm.strip_prefix(b"\0asm\x01\0\0\0")?);
        while !reader.0.is_empty() {
            let id = reader.byte()?;
            let section = Reader(reader.sized()?);
            match id {
                1 => module.read_types(section)?,
                2 => module.read_imports(section)?,
                3 => module.functions = section.items(Reader::number)?,
                7 => module.read_exports(section)?,
                10 => module.bodies = section.items(Reader::sized)?,
                _ => {}
            }
        }
        Some(module)
    }

    fn read_types(&mut self, section: Reader<'a>) -> Option<()> {
        self.types = section.items(|reader| {
            // Only plain function types: compilers of today's Rust make no others.
            (reader.byte()? == 0x60).then_some(())?;
            let n_params = reader.sized()?.len();
            let n_results = reader.sized()?.len();
            Some((n_params, n_results))
        })?;
        Some(())
    }

    fn read_imports(&mut self, section: Reader<'a>) -> Option<()> {
        let kinds = section.items(|reader| {
            reader.sized()?;
            reader.sized()?;
            let kind = reader.byte()?;
            match kind {
                0 => drop(reader.number()?),
                1 => {
                    reader.byte()?;
                    reader.limits()?;
                }
                2 => reader.limits()?,
                3 => drop((reader.byte()?, reader.byte()?)),
                _ => return None,
            }
            Some(kind)
        })?;
        self.n_imported_functions = kinds.into_iter().filter(|&kind| kind == 0).count();
        Some(())
    }

    fn read_exports(&mut self, section: Reader<'a>) -> Option<()> {
        let exports = section.items(|reader| {
            reader.sized()?;
            Some((reader.byte()?, reader.number()?))
        })?;
        let functions = exports.into_iter().filter(|&(kind, _)| kind == 0);
        self.exported_functions = functions.map(|(_, index)| index).collect();
        Some(())
    }

    fn type_of(&self, function: usize) -> Option<(usize, usize)> {
        let own = function.checked_sub(self.n_imported_functions)?;
        self.types.get(*self.functions.get(own)?).copied()
    }

    /// What `function` calls first, if it is a wrapper around another function and nothing else.
    fn wrapped_call(&self, function: usize) -> Option<usize> {
        let own = function.checked_sub(self.n_imported_functions)?;
        let (n_params, n_results) = self.type_of(function)?;
        let mut body = Reader(self.bodies.get(own)?);
        let no_locals = body.number()? == 0;
        let constructors = body.call()?;
        for param in 0..n_params {
            let pushes_it = body.byte()? == LOCAL_GET && body.number()? == param;
            pushes_it.then_some(())?;
        }
        let same_type = self.type_of(body.call()?)? == (n_params, n_results);
        let bare = self.type_of(constructors)? == (0, 0);
        (no_locals && same_type && bare).then_some(constructors)
    }
}

const CALL: u8 = 0x10;
const LOCAL_GET: u8 = 0x20;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// An unsigned LEB128 number.
    fn number(&mut self) -> Option<usize> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).ok();
            }
        }
        None
    }

    /// Bytes with their number before them.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn limits(&mut self) -> Option<()> {
        let has_maximum = self.byte()? & 1 == 1;
        self.number()?;
        if has_maximum {
            self.number()?;
        }
        Some(())
    }

    fn call(&mut self) -> Option<usize> {
        (self.byte()? == CALL).then_some(())?;
        self.number()
    }

    /// A list with its length before it.
    fn items<T>(mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let n = self.number()?;
        (0..n).map(|_| item(&mut self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module of: an import, the constructors, a function `(i32) -> i32`, and `n` wrappers of it that are exported.
    fn module(n: u8, wrapper: &[u8]) -> Vec<u8> {
        let section = |id: u8, contents: Vec<u8>| [vec![id, u8::try_from(contents.len()).unwrap()], contents].concat();
        let types = vec![2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f];
        let imports = vec![1, 1, b'm', 1, b'f', 0, 0];
        let functions = [vec![2 + n, 0, 1], vec![1; n.into()]].concat();
        let exports = (0..n).flat_map(|i| [1, b'a' + i, 0, 3 + i]);
        let exports = std::iter::once(n).chain(exports).collect();
        let sized = |body: &[u8]| [&[u8::try_from(body.len()).unwrap()], body].concat();
        let mut bodies = vec![2 + n];
        bodies.extend(sized(&[0, 0x0b]));
        bodies.extend(sized(&[0, LOCAL_GET, 0, 0x0b]));
        (0..n).for_each(|_| bodies.extend(sized(wrapper)));
        [
            b"\0asm\x01\0\0\0".to_vec(),
            section(1, types),
            section(2, imports),
            section(3, functions),
            section(7, exports),
            section(10, bodies),
        ]
        .concat()
    }

    #[test]
    fn wrapped_exports_are_seen() {
        let wrapper = [0, CALL, 1, LOCAL_GET, 0, CALL, 2, 0x0b];
        assert_eq!(exports_that_run_constructors(&module(4, &wrapper)), Ok(4));
        assert_eq!(exports_that_run_constructors(&module(2, &wrapper)), Ok(0));
    }

    #[test]
    fn other_exports_are_not() {
        let plain = [0, LOCAL_GET, 0, CALL, 2, 0x0b];
        assert_eq!(exports_that_run_constructors(&module(4, &plain)), Ok(0));
        assert!(exports_that_run_constructors(b"\0asm").is_err());
    }
}
