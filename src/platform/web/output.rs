//! Makes files for the visitor to download. Their bytes are held by the browser as blobs, not in the worker's memory.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::JsValue;
use web_sys::{Blob, Url};

use super::js::reason;
use crate::platform::PlatformError;

/// Bytes that are collected before the browser takes them as a blob.
const PART_BYTES: u64 = 32 << 20;

/// The files that are made. Dropping it frees them.
#[derive(Debug)]
pub struct Output {
    urls: Rc<RefCell<Vec<String>>>,
}

/// A file that is being made.
#[derive(Debug)]
pub struct OutputFile {
    name: String,
    /// Blobs of the bytes before `part`.
    blobs: Array,
    part: Array,
    part_bytes: u64,
    urls: Rc<RefCell<Vec<String>>>,
}

impl Output {
    /// # Errors
    ///
    /// [`PlatformError::Address`] for a folder, which only the command writes into.
    pub fn new(folder: Option<&str>) -> Result<Self, PlatformError> {
        match folder {
            None => Ok(Self { urls: Rc::default() }),
            Some(what) => Err(PlatformError::Address { what: what.into(), expected: "left out in a browser".into() }),
        }
    }

    /// # Errors
    ///
    /// Never; natively the file may exist already.
    pub fn create(&self, name: &str) -> Result<OutputFile, PlatformError> {
        Ok(OutputFile { name: name.into(), blobs: Array::new(), part: Array::new(), part_bytes: 0, urls: self.urls.clone() })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for url in self.urls.borrow().iter() {
            let _ = Url::revoke_object_url(url);
        }
    }
}

impl OutputFile {
    /// # Errors
    ///
    /// [`PlatformError::Write`] if the browser has no room.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PlatformError> {
        let len = u32::try_from(bytes.len()).map_err(|error| self.failed(&JsValue::from(error.to_string())))?;
        let copy = Uint8Array::new_with_length(len);
        copy.copy_from(bytes);
        self.part.push(&copy);
        self.part_bytes += bytes.len() as u64;
        if self.part_bytes >= PART_BYTES { self.end_part() } else { Ok(()) }
    }

    /// Returns the file's `blob:` address, which works in the page, too.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Write`].
    pub fn finish(mut self) -> Result<String, PlatformError> {
        self.end_part()?;
        let blob = Blob::new_with_blob_sequence(&self.blobs).map_err(|error| self.failed(&error))?;
        let url = Url::create_object_url_with_blob(&blob).map_err(|error| self.failed(&error))?;
        self.urls.borrow_mut().push(url.clone());
        Ok(url)
    }

    fn end_part(&mut self) -> Result<(), PlatformError> {
        let blob = Blob::new_with_u8_array_sequence(&self.part).map_err(|error| self.failed(&error))?;
        self.blobs.push(&blob);
        (self.part, self.part_bytes) = (Array::new(), 0);
        Ok(())
    }

    fn failed(&self, error: &JsValue) -> PlatformError {
        PlatformError::Write { name: self.name.clone(), why: reason(error) }
    }
}
