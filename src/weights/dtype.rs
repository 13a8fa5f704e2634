//! The element types of the safetensors format.

use std::fmt;

macro_rules! dtypes {
    ($($name:ident = $bits:literal),* $(,)?) => {
        /// The type of a tensor's elements, under the format's own names.
        #[allow(non_camel_case_types, reason = "the names in the file")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum Dtype { $($name),* }

        impl Dtype {
            /// Every dtype of the format.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in the file.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Bits of one element; the smallest types share bytes.
            pub fn size_bits(self) -> u64 {
                match self { $(Self::$name => $bits),* }
            }
        }
    };
}

dtypes! {
    BOOL = 8, F4 = 4, F6_E2M3 = 6, F6_E3M2 = 6, U8 = 8, I8 = 8,
    F8_E5M2 = 8, F8_E4M3 = 8, F8_E8M0 = 8, F8_E4M3FNUZ = 8, F8_E5M2FNUZ = 8,
    I16 = 16, U16 = 16, F16 = 16, BF16 = 16, I32 = 32, U32 = 32, F32 = 32,
    C64 = 64, F64 = 64, I64 = 64, U64 = 64,
}

impl Dtype {
    /// The dtype with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.name() == name)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
