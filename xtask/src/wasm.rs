//! Reads just enough of a WebAssembly file to see whether its exports run the static constructors on every call.
//!
//! When nobody calls `__wasm_call_ctors`, the linker takes a program for one that starts anew with every call: it wraps
//! **each** export in a function that first runs all constructors. Burn registers thousands, so every call into the
//! engine, down to the smallest helper, would cost 14 ms instead of 0.2. The names are stripped, but the wrappers have
//! a shape that nothing else has (lld/wasm/Writer.cpp, `createCommandExportWrapper`): no locals, call the constructors,
//! push the parameters in order, call the function.

use std::collections::HashMap;

use wasmparser::{ExternalKind, FuncType, FunctionBody, Operator, Parser, Payload, TypeRef};

/// This many exports beginning with the same bare call are no accident.
const MANY: usize = 3;

/// How many exports of `wasm` are wrapped in a call of one and the same constructor function.
pub fn exports_that_run_constructors(wasm: &[u8]) -> Result<usize, String> {
    let module = Module::read(wasm).map_err(|why| format!("this is no WebAssembly module that we can read: {why}"))?;
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
    types: Vec<FuncType>,
    n_imported_functions: usize,
    /// The type of each function that is not imported.
    functions: Vec<u32>,
    exported_functions: Vec<u32>,
    bodies: Vec<FunctionBody<'a>>,
}

impl<'a> Module<'a> {
    fn read(wasm: &'a [u8]) -> wasmparser::Result<Self> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                // Compilers of today's Rust make no types but those of functions.
                Payload::TypeSection(section) => module.types = section.into_iter_err_on_gc_types().collect::<Result<_, _>>()?,
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        module.n_imported_functions += usize::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(section) => module.functions = section.into_iter().collect::<Result<_, _>>()?,
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        module.exported_functions.extend((export.kind == ExternalKind::Func).then_some(export.index));
                    }
                }
                Payload::CodeSectionEntry(body) => module.bodies.push(body),
                _ => {}
            }
        }
        Ok(module)
    }

    fn own(&self, function: u32) -> Option<usize> {
        (function as usize).checked_sub(self.n_imported_functions)
    }

    fn type_of(&self, function: u32) -> Option<&FuncType> {
        self.types.get(*self.functions.get(self.own(function)?)? as usize)
    }

    /// The function that `function` calls first, if it is a wrapper around another function and nothing else.
    fn wrapped_call(&self, function: u32) -> Option<u32> {
        let own_type = self.type_of(function)?;
        let body = self.bodies.get(self.own(function)?)?;
        let has_locals = body.get_locals_reader().ok()?.get_count() > 0;
        let mut operators = body.get_operators_reader().ok()?;
        let mut next = || operators.read().ok();
        let Operator::Call { function_index: constructors } = next()? else { return None };
        for param in 0..own_type.params().len() {
            let pushes_it = matches!(next()?, Operator::LocalGet { local_index } if local_index as usize == param);
            pushes_it.then_some(())?;
        }
        let Operator::Call { function_index: wrapped } = next()? else { return None };
        let is_bare = self.type_of(constructors)? == &FuncType::new([], []);
        (!has_locals && is_bare && self.type_of(wrapped)? == own_type).then_some(constructors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: u8 = 0x10;
    const LOCAL_GET: u8 = 0x20;

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
